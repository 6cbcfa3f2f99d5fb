"""Tunes one library by Optuna, and makes its lists, for `benchmarks.best_peers`.

    PYTHON best_peers_worker.py '{"library": "implicit", "task": "tune", "folder": FOLDER, "minutes": 30,
    "seed": 1, "k": 10}'

Runs under the Python of the library's own environment, so it imports nothing of this project. FOLDER holds
`validation.npz` and `test.npz`: the events to learn from, user by user and oldest first, and for each who is
asked about the row of `user`, the items of the history and those that are wanted, as offsets and values.
`tune` tries settings until the time is up and keeps the best in `best.json` after each trial; called again,
it goes on. `answer` learns by them from the events of the test part and writes the best k items of each
person that they have not had to `lists.npy`. Whoever has no history gets what most had.
"""

import json
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

Settings = dict[str, Any]
_ROWS = 1_024  # people who are scored at a time


class Question(NamedTuple):
    """events: (n, 3) user, item, second. matrix: users x items, how often. past: (m, 2) place among the
    asked, item, the oldest first. history: the same as asked x items. rows: (asked,) of the matrix. wanted:
    sets of items, one for each asked."""

    events: Any
    matrix: Any
    past: Any
    history: Any
    rows: Any
    wanted: list[set[int]]

    @classmethod
    def load(cls, file: Path) -> "Question":
        with np.load(file) as arrays:
            n_users, n_items = int(arrays["n_users"]), int(arrays["n_items"])
            events = np.stack([arrays["user"], arrays["item"], arrays["second"]], axis=1)
            ones = np.ones(len(events), np.float32)
            matrix = sparse.coo_matrix((ones, (events[:, 0], events[:, 1])), shape=(n_users, n_items))
            offsets, had = arrays["had_offsets"], arrays["had"]
            past = np.stack([np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), had], axis=1)
            shape = (len(offsets) - 1, n_items)
            history = sparse.coo_matrix((np.ones(len(had), np.float32), (past[:, 0], had)), shape=shape)
            ends, items = arrays["wanted_offsets"], arrays["wanted"]
            wanted = [set(items[start:end].tolist()) for start, end in pairwise(ends)]
            return cls(events, matrix.tocsr(), past, history.tocsr(), arrays["asked"], wanted)

    def gain(self, lists: Any) -> float:
        """The mean NDCG of lists (asked, k)."""
        discount = 1 / np.log2(np.arange(lists.shape[1]) + 2)
        gains = []
        for row, wanted in zip(lists.tolist(), self.wanted, strict=True):
            hit = np.array([item in wanted for item in row])
            gains.append(discount[hit].sum() / discount[: len(wanted)].sum())
        return float(np.mean(gains))

    def best(self, scores: Callable[[Any], Any], k: int) -> Any:
        """int64 (asked, k) by a function from places of the asked to scores (places, items); what they had is
        out, and whoever has no history gets what most had."""
        popular = np.asarray(self.matrix.sum(axis=0), np.float32).ravel()
        lists = np.zeros((len(self.rows), k), np.int64)
        for start in range(0, len(self.rows), _ROWS):
            places = np.arange(start, min(start + _ROWS, len(self.rows)))
            block, had = np.array(scores(places), np.float32), self.history[places]
            block[np.diff(had.indptr) == 0] = popular
            block[had.nonzero()] = -np.inf
            some = np.argpartition(-block, k, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(block, some, axis=1), axis=1)
            lists[places] = np.take_along_axis(some, order, axis=1)
        return lists


def suggest_implicit(trial: Any) -> Settings:
    kind = trial.suggest_categorical("kind", ["als", "bpr", "bm25", "tfidf"])
    if kind == "als":
        return {
            "kind": kind,
            "factors": trial.suggest_int("factors", 16, 256, log=True),
            "regularization": trial.suggest_float("regularization", 1e-3, 10, log=True),
            "alpha": trial.suggest_float("alpha", 0.1, 100, log=True),
            "iterations": trial.suggest_int("iterations", 5, 30),
            "recalculate": trial.suggest_categorical("recalculate", [True, False]),
        }
    if kind == "bpr":
        return {
            "kind": kind,
            "factors": trial.suggest_int("factors", 16, 256, log=True),
            "regularization": trial.suggest_float("bpr regularization", 1e-4, 0.1, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 5e-3, 0.2, log=True),
            "iterations": trial.suggest_int("bpr iterations", 30, 300, log=True),
        }
    own = {"K": trial.suggest_int("K", 10, 1_000, log=True)}
    if kind == "bm25":
        own |= {"K1": trial.suggest_float("K1", 0.05, 5, log=True), "B": trial.suggest_float("B", 0, 1)}
    return {"kind": kind} | own


def rank_implicit(settings: Settings, asked: Question, k: int, seed: int) -> Any:
    from implicit.als import AlternatingLeastSquares  # type: ignore[import-not-found]
    from implicit.bpr import BayesianPersonalizedRanking  # type: ignore[import-not-found]
    from implicit.nearest_neighbours import (  # type: ignore[import-not-found]
        BM25Recommender,
        TFIDFRecommender,
    )

    own = {name: value for name, value in settings.items() if name not in ("kind", "recalculate")}
    if settings["kind"] in ("bm25", "tfidf"):
        nearest = {"bm25": BM25Recommender, "tfidf": TFIDFRecommender}[settings["kind"]](**own)
        nearest.fit(asked.matrix, show_progress=False)
        similar = nearest.similarity
        return asked.best(lambda places: (asked.history[places] @ similar).toarray(), k)
    kinds = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}
    model = kinds[settings["kind"]](**own, random_state=seed)
    model.fit(asked.matrix, show_progress=False)
    users = np.asarray(model.user_factors)[asked.rows]
    if settings.get("recalculate"):
        users = np.asarray(model.recalculate_user(np.arange(len(asked.rows)), asked.history))
    items = np.asarray(model.item_factors)
    return asked.best(lambda places: users[places] @ items.T, k)


def suggest_lightfm(trial: Any) -> Settings:
    return {
        "loss": trial.suggest_categorical("loss", ["warp", "bpr"]),
        "no_components": trial.suggest_int("no_components", 16, 256, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 5e-3, 0.2, log=True),
        "item_alpha": trial.suggest_float("item_alpha", 1e-8, 1e-3, log=True),
        "user_alpha": trial.suggest_float("user_alpha", 1e-8, 1e-3, log=True),
        "max_sampled": trial.suggest_int("max_sampled", 5, 50),
        "epochs": trial.suggest_int("epochs", 5, 60, log=True),
    }


def rank_lightfm(settings: Settings, asked: Question, k: int, seed: int) -> Any:
    from lightfm import LightFM  # type: ignore[import-not-found]

    own = {name: value for name, value in settings.items() if name != "epochs"}
    model = LightFM(**own, random_state=seed)
    model.fit((asked.matrix > 0).astype(np.float32), epochs=settings["epochs"], num_threads=2)
    bias, items = model.get_item_representations()
    users = model.get_user_representations()[1][asked.rows]
    return asked.best(lambda places: users[places] @ items.T + bias, k)


def suggest_rectools(trial: Any) -> Settings:
    kind = trial.suggest_categorical("kind", ["ease", "sasrec"])
    if kind == "ease":
        return {"kind": kind, "regularization": trial.suggest_float("regularization", 1, 5_000, log=True)}
    return {
        "kind": kind,
        "n_factors": trial.suggest_categorical("n_factors", [64, 128]),
        "n_blocks": trial.suggest_int("n_blocks", 1, 2),
        "dropout_rate": trial.suggest_float("dropout_rate", 0.1, 0.6),
        "lr": trial.suggest_float("lr", 3e-4, 3e-3, log=True),
        "epochs": trial.suggest_int("epochs", 3, 30, log=True),
    }


def rank_rectools(settings: Settings, asked: Question, k: int, seed: int) -> Any:
    import torch
    from pytorch_lightning import Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import EASEModel, SASRecModel

    data = Dataset.construct(_frame(asked.events))
    if settings["kind"] == "ease":
        ease = EASEModel(regularization=settings["regularization"])
        ease.fit(data)
        known, n_items = data.item_id_map.external_ids.astype(int), asked.matrix.shape[1]
        weights = np.zeros((n_items, n_items), np.float32)
        weights[np.ix_(known, known)] = ease.weight
        return asked.best(lambda places: (asked.history[places] > 0).astype(np.float32) @ weights, k)

    def trainer() -> Any:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        return Trainer(max_epochs=settings["epochs"], accelerator="cpu", enable_checkpointing=False, **quiet)

    torch.manual_seed(seed)
    own = {name: value for name, value in settings.items() if name not in ("kind", "epochs")}
    model = SASRecModel(
        **own, n_heads=2, session_max_len=50, loss="softmax", batch_size=128, get_trainer_func=trainer
    )
    model.fit(data)
    frame = _frame(np.column_stack([asked.past, np.arange(len(asked.past))]))
    frame = frame[frame.item_id.isin(data.item_id_map.external_ids)]
    lists = asked.best(lambda places: np.zeros((len(places), asked.matrix.shape[1])), k)
    answer = model.recommend(
        np.unique(frame.user_id),
        Dataset.construct(frame),
        k=k,
        filter_viewed=True,
        on_unsupported_targets="ignore",
    )
    lists[answer[Columns.User].to_numpy(), answer[Columns.Rank].to_numpy() - 1] = answer[Columns.Item]
    return lists


def _frame(events: Any) -> Any:
    import pandas as pd

    when = pd.to_datetime(events[:, 2], unit="s")
    return pd.DataFrame({"user_id": events[:, 0], "item_id": events[:, 1], "weight": 1.0, "datetime": when})


# what is tried first, since a search that begins by chance may spend a short time on one dear trial
STARTS: dict[str, Settings] = {
    "implicit": {"kind": "als", "factors": 64, "regularization": 0.01, "alpha": 1.0, "iterations": 15},
    "lightfm": {"loss": "warp", "no_components": 64, "learning_rate": 0.05, "epochs": 30},
    "rectools": {"kind": "ease", "regularization": 500.0},
}
LIBRARIES = {
    "implicit": (suggest_implicit, rank_implicit),
    "lightfm": (suggest_lightfm, rank_lightfm),
    "rectools": (suggest_rectools, rank_rectools),
}


def tune(library: str, folder: Path, minutes: float, seed: int, k: int) -> None:
    """Tries settings until the time is up, that of earlier calls included."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    suggest, rank = LIBRARIES[library]
    asked = Question.load(folder / "validation.npz")
    study = optuna.create_study(
        study_name=library,
        storage=f"sqlite:///{folder / library}.db",
        load_if_exists=True,
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
    )
    if not study.trials:
        study.enqueue_trial(STARTS[library])
    spent = sum(one.duration.total_seconds() for one in study.trials if one.duration)

    def objective(trial: Any) -> float:
        settings = suggest(trial)
        trial.set_user_attr("settings", settings)
        return asked.gain(rank(settings, asked, k, seed))

    def keep(study: Any, trial: Any) -> None:
        best = {"settings": study.best_trial.user_attrs["settings"], "validation": study.best_value}
        best |= {"trials": len(study.trials)}
        (folder / f"{library}.json").write_text(json.dumps(best) + "\n")
        print(f"{library}, trial {trial.number}: {trial.value}, best {study.best_value:.4f}", flush=True)

    ends = time.monotonic() + minutes * 60 - spent
    while time.monotonic() < ends:
        study.optimize(
            objective, timeout=ends - time.monotonic(), n_trials=1, callbacks=[keep], catch=(ValueError,)
        )


def answer(library: str, folder: Path, seed: int, k: int) -> None:
    """Learns by the best settings, and makes the lists of the test part."""
    settings = json.loads((folder / f"{library}.json").read_text())["settings"]
    asked = Question.load(folder / "test.npz")
    np.save(folder / f"{library}.npy", LIBRARIES[library][1](settings, asked, k, seed))


def main() -> None:
    asked = json.loads(sys.argv[1])
    beside = {"folder": Path(asked["folder"]), "seed": asked["seed"], "k": asked["k"]}
    if asked["task"] == "tune":
        tune(asked["library"], minutes=asked["minutes"], **beside)
    else:
        answer(asked["library"], **beside)


if __name__ == "__main__":
    main()
