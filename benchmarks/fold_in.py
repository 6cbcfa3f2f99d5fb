"""What a learner knows of people it has never seen: quality against having learned from them, and a request's
time.

    RECSYS_DATA=... python -m benchmarks.fold_in [--data gowalla] [--folds 5] [--judge validation] [--quick]
    [--json]

Quality: every fifth user is taken out of the events to learn from, and encoded from just those events; with
more folds the other fifths as well, in turn. The figure beside it is the same learner, seed and users, with
their events learned.
Speed: one history of 50 events to a user vector, in a catalogue of 100,000 items, dim 128, one thread; random
arrays, since no learning is needed to time that.
"""

import time
from typing import Any

import click
import numpy as np

from benchmarks.results import report
from recsys.arrays import F64, Array, Ragged
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout
from recsys.encoders.bag import Bag
from recsys.encoders.concat import Concat
from recsys.encoders.encoder import Encoder
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.significance import compare
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.threads import set_threads
from recsys.retrieval.recommender import recommender_of

SEED, METRIC, EVERY = 1, "ndcg_at_20", 5
_ALS = {"unobserved_weight": 0.01, "regularization": 0.003}


def _mixture(dim: int, weight: float) -> dict[str, Any]:
    """iALS of this dim, and spectral at this weight."""
    parts = [{"name": "als", "dim": dim, **_ALS}, {"name": "spectral", "dim": 256}]
    return {"parts": parts, "weights": [1.0, weight]}


LEARNERS: dict[str, dict[str, Any]] = {
    "als": {"dim": 64, **_ALS},
    "spectral": {"dim": 256},
    "softmax": {"dim": 64},
    "bpr": {"dim": 64},
    "mixture": _mixture(256, 0.1),
}
# What a part of the training events asks for: docs/experiments.md, 2026-11-25.
TUNED: dict[str, dict[str, dict[str, Any]]] = {
    "gowalla": {"softmax": {"fold_in_ridge": 1.0, "fold_in_epochs": 2}, "bpr": {"fold_in_ridge": 1.0}},
    "poi-gowalla": {"mixture": _mixture(128, 0.2)},
}
QUICK = {"als": {"epochs": 2}, "spectral": {"dim": 16}, "softmax": {"epochs": 1}, "bpr": {"epochs": 1}}
ITEMS, DIM, HISTORY = 100_000, 128, 50


def quality_row(
    name: str, settings: dict[str, Any], holdout: Holdout, folds: int, steps: Steps
) -> dict[str, Any]:
    """The metric on the users taken out, a fifth at a time, encoded and learned, with the paired
    difference."""
    events = holdout.train.interactions
    fallback = fallback_order(events, None)

    def judge(train: Dataset, asked: Holdout, known: bool, way: str) -> F64:
        with steps.step(f"{name}, {way}") as progress:
            learned = make_model(name, settings).fit(train, seed=SEED, progress=progress)
            index = asked.user if known else np.full(len(asked.user), -1)
            users = Users.of_rows(index, asked.history)
            engine = recommender_of(learned, fallback, "exclude")
            return evaluate(engine, users, asked.targets, metrics=(METRIC,)).values[METRIC]

    def of_fold(fold: int) -> Array:
        return np.flatnonzero((holdout.user % EVERY == fold) & (holdout.history.lengths > 0))

    everybody = np.concatenate([of_fold(fold) for fold in range(folds)])
    learned = judge(holdout.train, holdout.take(everybody), True, "learned")
    encoded = np.concatenate(
        [
            judge(
                holdout.train.having(events.where(events.user % EVERY != fold)),
                holdout.take(of_fold(fold)),
                False,
                f"fold {fold} encoded",
            )
            for fold in range(folds)
        ]
    )
    difference = compare(encoded, {"learned": learned}, warm=len(encoded))["learned"].difference
    return {
        "what": name,
        "users": len(encoded),
        "learned": float(learned.mean()),
        "encoded": float(encoded.mean()),
        "ratio": float(encoded.mean() / learned.mean()),
        "difference_low": difference.low,
        "difference_high": difference.high,
        "median_ms": None,
    }


def speed_rows(requests: int) -> list[dict[str, Any]]:
    """Milliseconds of one request to a user vector, by kind of encoder."""
    set_threads(1)
    rng = np.random.default_rng(SEED)
    items = rng.standard_normal((ITEMS, DIM), dtype=np.float32)
    solve = Solve(items, items.T @ items, None, regularization=0.003, unobserved_weight=0.01, exponent=1.0)
    bag = Bag(items, None, unit=True)
    encoders: dict[str, Encoder] = {"solve": solve, "bag": bag, "concat": Concat((solve, bag), (1.0, 0.1))}
    rows = []
    for name, encoder in encoders.items():
        seconds = []
        for _ in range(requests):
            person = Users.unknown(Ragged.of([rng.choice(ITEMS, HISTORY, replace=False)]))
            started = time.perf_counter()
            encoder.encode(person)
            seconds.append(time.perf_counter() - started)
        what = f"encoder {name}, {ITEMS:,} items, dim {encoder.dim}, {HISTORY} events"
        rows.append({"what": what, "median_ms": 1e3 * float(np.median(seconds))})
    return rows


@click.command()
@click.option("--data", default="gowalla", show_default=True, help="A config of pipelines/configs.")
@click.option(
    "--folds", type=click.IntRange(1, EVERY), default=1, show_default=True, help="Fifths of the users."
)
@click.option("--judge", type=click.Choice(["test", "validation"]), default="test", show_default=True)
@click.option("--quick", is_flag=True, help="Nearly no learning; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(data: str, folds: int, judge: str, quick: bool, as_json: bool) -> None:
    """Measure what learners know of people they have never seen."""
    steps = Steps(quiet=as_json)
    holdout = prepare(load_settings(data, (f"judge={judge}",)), steps).holdout
    rows = [
        quality_row(
            name,
            settings | TUNED.get(data, {}).get(name, {}) | (QUICK.get(name, {}) if quick else {}),
            holdout,
            folds,
            steps,
        )
        for name, settings in LEARNERS.items()
        if not (quick and name == "mixture")
    ]
    rows += speed_rows(20 if quick else 300)
    who = f"{METRIC} of {folds} of the {EVERY} fifths of the users"
    note = f"{data}, {judge} part, {who}; the difference is encoded - learned, 95 % interval."
    report(
        f"fold_in_{data}".replace("-", "_"),
        rows,
        title="People the model has never seen",
        note=note,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
