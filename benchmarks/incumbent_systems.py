"""The systems that `benchmarks.incumbent` replays: what each settles before the replay, learns at night and
answers.

A system is a class with `tune(run)`, `learn(past)` and `answer(users, k)`; those in SYSTEMS get their rows,
and those of MEMBERS that are asked for.
"""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.evaluation.evaluate import evaluate, users_of
from recsys.models.base import Learner, fit_with, matrix_to_learn
from recsys.models.popularity import Popularity, PopularitySettings, fallback_order
from recsys.models.registry import make_model
from recsys.models.search import Choices, Space, Span
from recsys.pipelines.run.run import Run
from recsys.pipelines.search.space import search_space
from recsys.pipelines.search.tune import Asked, Tuned, tune
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import Answer
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.training.loop import ALONE, Aids

TRIALS = 30  # of a system, all its learners together
GOAL = "ndcg_at_20"
SEED = 1
_OF_MEMBER = 6  # trials of a member of the family, a fifth of the incumbent's
_WINDOWS = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0, 365.0, None)  # days of popularity that `Ours` chooses from
_ALIKE = 0.98  # of the items that implicit answers itself; the others are ties within rounding
_SMALL, _MANY = 10_000_000, 50_000_000  # pairs of people and items
_FEW = 50  # new people in the validation part, below whom the window is chosen by everybody


class System(Protocol):
    """What can stand in the table. chosen: what `tune` settled, as plain data; cpu_s: of the last night's
    learning."""

    name: ClassVar[str]
    chosen: dict[str, Any]
    cpu_s: float

    def tune(self, run: Run) -> None:
        """Settles what is to be learned every night, by the validation part of a run, which ends before the
        replay."""

    def learn(self, past: Dataset) -> None:
        """Learns anew from all events before the night."""

    def answer(self, users: Users, k: int) -> Answer:
        """The k best items of each user, without those that they had."""


class ImplicitSettings(Settings):
    """Settings of implicit's ALS, in its words."""

    factors: int = Field(64, ge=1, description="width of the vectors")
    regularization: float = Field(1.0, gt=0, description="ridge of every row")
    alpha: float = Field(10.0, gt=1, description="confidence of one event; a pair without any has 1")
    iterations: int = Field(15, ge=1, description="sweeps over users and items")
    recalculate: bool = Field(
        False, description="answer known people by `recalculate_user`, not by their row"
    )


class ImplicitALS(Learner):
    """implicit's ALS, learned in its own environment; fold-in is its `recalculate_user`, as `recsys import`
    reads it.

    python: of that environment. cpu_s: CPU seconds of the last fit, without the start of the process.
    """

    Settings = ImplicitSettings
    search: ClassVar[Space] = {
        "factors": Span(4, 128, log=True),
        "regularization": Span(0.01, 1_000.0, log=True),
        "alpha": Span(1.1, 300.0, log=True),
        "iterations": Span(5, 30),
        "recalculate": Choices((False, True)),
    }
    python: ClassVar[Path]

    def __init__(self, settings: ImplicitSettings | None = None) -> None:
        self.settings = settings or ImplicitSettings()
        self.cpu_s = 0.0

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, factors) and a Solve encoder, with the people's rows unless
        `recalculate`.

        Raises ModelError where the lists of these vectors are not those that implicit itself gives.
        """
        with tempfile.TemporaryDirectory(prefix="incumbent-") as folder:
            arrays = self._fit_in_worker(matrix_to_learn("implicit", train), Path(folder))
        self.cpu_s = float(arrays["cpu_s"])
        items, s = arrays["items"], self.settings
        rule: dict[str, Any] = {"regularization": s.regularization, "unobserved_weight": 1.0, "exponent": 0.0}
        table = None if s.recalculate else arrays["users"]
        learned = Embeddings(items, Solve(items, items.T @ items, table, **rule, confidence=s.alpha))
        _check_lists(learned, train, arrays)
        return learned

    def _fit_in_worker(self, matrix: sparse.csr_array, folder: Path) -> Mapping[str, Any]:
        sparse.save_npz(folder / "events.npz", sparse.csr_matrix(matrix))
        (folder / "asked.json").write_text(self.settings.model_dump_json())
        process = _worker(self.python)
        print(folder, file=process.stdin, flush=True)
        if process.stdout.readline() != "done\n":
            raise ModelError("implicit's process ended; what it said stands above.")
        with np.load(folder / "found.npz") as arrays:
            return dict(arrays)


def _check_lists(learned: Embeddings, train: Dataset, arrays: Mapping[str, Any]) -> None:
    """Raises ModelError where our answers for these vectors are not those that implicit gave a few people
    itself."""
    users = Users.of_rows(arrays["people"], train.interactions.histories().take(arrays["people"]))
    engine, k = (
        recommender_of(learned, fallback_order(train.interactions, None), "exclude"),
        arrays["lists"].shape[1],
    )
    both = zip(engine.recommend(users, k).ids, arrays["lists"], strict=True)
    same = sum(len({*ours.tolist()} & {*theirs.tolist()}) for ours, theirs in both)
    if same < _ALIKE * arrays["lists"].size:
        raise ModelError(
            f"of {arrays['lists'].size} items that implicit answers, ours has {same}: not the same model."
        )


@cache
def _worker(python: Path) -> Any:
    """The process in which implicit learns, one for all fits; it ends with this one, when its input does."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [python, Path(__file__).with_name("incumbent_worker.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | one_thread,
    )


class Stage(NamedTuple):
    """One search by `recsys tune`: a learner's settings to start from, changes of its space, and so many
    trials."""

    model: Mapping[str, Any]
    trials: int
    space: Sequence[str] = ()


class Searched:
    """A system of one learner, found by `recsys tune` in one stage after another, learned anew each night.

    Whoever is unknown gets what was popular in the last `days`.
    """

    name: ClassVar[str]
    days: float | None = 7.0

    def __init__(self) -> None:
        self.chosen: dict[str, Any] = {}
        self.cpu_s = 0.0

    def stages(self, run: Run) -> Iterator[Stage]:
        """The searches to make; `self.found` holds those made so far, each the mean on the validation part
        and the model."""
        raise NotImplementedError

    def tune(self, run: Run) -> None:
        self.found: list[tuple[float, dict[str, Any]]] = []
        seconds = 0.0
        for stage in self.stages(run):
            settings = run.settings.model_copy(
                update={"model": dict(stage.model), "fallback_days": self.days}
            )
            own = {key: value for key, value in stage.model.items() if key != "name"}
            space = search_space(str(stage.model["name"]), own, stage.space)
            tuned = tune(replace(run, settings=settings), space, Asked(stage.trials, metric=GOAL))
            mean, values = _lightest(tuned)
            model = {
                "name": stage.model["name"],
                **(tuned.model if values is None else space.settings(values)),
            }
            if model.get("weights") == [1.0, 0.0]:  # a mixture of one is that one
                model = model["parts"][0]
            self.found.append((mean, model))
            seconds += sum(trial.facts.get("seconds", 0.0) for trial in tuned.trials)
        mean, model = max(self.found, key=lambda one: one[0])
        tried = {str(model["name"]): mean for mean, model in self.found}
        self.chosen = {
            "model": model, "days": self.days, "validation": mean, "tried": tried, "tuning_s": seconds
        }  # fmt: skip

    def learn(self, past: Dataset) -> None:
        model = dict(self.chosen["model"])
        learner = make_model(model.pop("name"), model)
        started = time.process_time()
        learned = fit_with(learner, past, seed=SEED)
        self.cpu_s = getattr(learner, "cpu_s", time.process_time() - started)
        self._recommender = recommender_of(
            learned, fallback_order(past.interactions, self.chosen["days"]), "exclude"
        )

    def answer(self, users: Users, k: int) -> Answer:
        return self._recommender.recommend(users, k)


def _lightest(tuned: Tuned) -> tuple[float, Mapping[str, Any] | None]:
    """The mean of the model to take and, of a search for weights, its values: of the mixtures within one
    standard error of the best, that with the least weight beside the first part. Elsewhere the best, whose
    values are None."""
    weights = [field for field in tuned.best.values if field.startswith("weights.")]
    if not weights:
        return tuned.figures["mean"], None
    error = (tuned.best.facts["high"] - tuned.best.facts["low"]) / 3.92  # standard errors in a 95 % interval
    close = [one for one in tuned.trials if one.state == "done" and one.mean >= tuned.best.mean - error]
    lightest = min(close, key=lambda one: sum(one.values[field] for field in weights))
    return lightest.mean, lightest.values


class Incumbent(Searched):
    """implicit's ALS, and the popularity of the last 7 days for whoever it does not know."""

    name = "incumbent"

    def stages(self, run: Run) -> Iterator[Stage]:
        yield Stage({"name": "benchmarks.incumbent_systems:ImplicitALS"}, TRIALS)


class OurALS(Searched):
    """Our own ALS, with the incumbent's popularity."""

    name = "our als"

    def stages(self, run: Run) -> Iterator[Stage]:
        narrowed = ["regularization=0.0005:0.03:log", "unobserved_weight=0.003:3.0:log", "dim=16,32,64,128"]
        yield Stage({"name": "als"}, 18, narrowed)


class Ours(OurALS):
    """What an engineer would switch to: our ALS, factors that follow what is on the rise, or a mixture of
    both with what is popular, whichever is best on the validation part; and the window of popularity that is
    best there for the unknown. As many trials as the incumbent has, and fewer where there are many people and
    items."""

    name = "ours"

    def stages(self, run: Run) -> Iterator[Stage]:
        yield from super().stages(run)
        pairs = run.data.n_users * run.data.n_items
        few = pairs > _MANY  # trials: a fit takes a minute
        if pairs <= _SMALL:
            yield Stage({"name": "variational", "trend_days": 30.0}, 6, ["trend_days=15,30,90,none"])
        else:  # small, and as a mixture of one: that is judged once and not after each epoch
            trending = {"name": "variational", "dim": 32, "epochs": 8, "trend_days": 30.0}
            alone = {"name": "mixture", "parts": [trending, {"name": "popularity"}], "weights": [1.0, 0.0]}
            space = ["weights.1=0.0", "parts.0.trend_days=15,30,90,none", "parts.0.half_life=none,12,40"]
            yield Stage(alone, 3 if few else 6, space)
        best, other = [model for _, model in sorted(self.found, key=lambda one: -one[0])]
        parts = [best, other, {"name": "popularity", "days": self.days}]
        mixture = {"name": "mixture", "parts": parts, "weights": [1.0, 0.3, 0.1]}
        yield Stage(mixture, 4 if few else 6, ["weights.1=0.0:1.5", "weights.2=0.0:0.5"])

    def tune(self, run: Run) -> None:
        super().tune(run)
        self.chosen["days"] = _best_window(run)


def _best_window(run: Run) -> float | None:
    """The days of popularity that serve the validation part's new people best, or everybody where these are
    few."""
    holdout = run.holdout
    new = np.flatnonzero(~holdout.warm)
    asked = holdout.take(new) if len(new) >= _FEW else holdout
    events = asked.train.interactions
    figures = {}
    for days in _WINDOWS:
        popular = Popularity(PopularitySettings(days=days)).fit(asked.train, seed=SEED)
        engine: Recommender = recommender_of(popular, fallback_order(events, days), "exclude")
        figures[days] = evaluate(engine, users_of(asked), asked.targets, metrics=(GOAL,)).interval(GOAL).mean
    return max(figures, key=lambda days: figures[days])


SYSTEMS: tuple[type[Searched], ...] = (Incumbent, OurALS, Ours)


class Member(Searched):
    """A learner of the family of word2vec or of sequences, with the incumbent's popularity; FastText learns
    from categories, where there are any."""

    model: ClassVar[Mapping[str, Any]]

    def stages(self, run: Run) -> Iterator[Stage]:
        model = dict(self.model)
        if model["name"] == "fasttext" and "categories" in run.data.described_items.column_names:
            model["item_features"] = [{"column": "categories", "kind": "categories"}]
        yield Stage(model, _OF_MEMBER)


def _member(name: str, **settings: Any) -> type[Member]:
    own = {"name": f"our {name}", "model": {"name": name, "dim": 64, **settings}}
    return type(f"Our{name.title()}", (Member,), own)


MEMBERS: dict[str, type[Searched]] = {
    "item2vec": _member("item2vec", half_life=4.0),
    "glove": _member("glove", half_life=4.0),
    "fasttext": _member("fasttext", half_life=4.0, id_dropout=0.0),
    "node2vec": _member("node2vec", half_life=4.0, user_rows=False, negative_exponent=0.25),
    "lightgcn": _member("lightgcn"),
    "youtube_dnn": _member("youtube_dnn", initial="spectral"),
    "cooccurrence": _member("cooccurrence_svd"),
    "sequence": _member("sequence", initial="spectral"),
}


def tune_system(system: Searched, run: Run, file: Path) -> None:
    """Tunes a system, or takes what an earlier call settled from the file."""
    if file.exists():
        system.chosen = json.loads(file.read_text())
        return
    system.tune(run)
    file.write_text(json.dumps(system.chosen, indent=1) + "\n")
