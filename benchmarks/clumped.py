"""Does a drawn validation part put models in the order that a stretch of time gives them?

    RECSYS_DATA=... python -m benchmarks.clumped [--quick] [--json]

poi-gowalla has times, so the true question can be asked there: places that ten people went to, people who
went to ten places, and of each one's places, by first visit, the earliest or the latest fifth is judged. The
same models are then judged on a fifth drawn at random and on a fifth drawn in clumps (`split.clumped`).
`off`: root mean square, over the models, of the difference in log ndcg_at_20 to the earliest fifth, general
levels apart. The spreads of the draw were
fitted on this very log, with another draw: the table is no proof for others.

The first two columns say what kind of events a part holds: how popular its items are, beside those of the
events to learn from, and by how much an item's number of judged events varies more than a draw would have it
(1 = as drawn; over the items with 64 events or more). The row `gowalla` counts them for the published test
part, and asks no model.
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.results import report
from recsys.arrays import Array, Bool
from recsys.data.dataset import TEST, TRAIN, Dataset, Published
from recsys.data.interactions import Interactions
from recsys.data.read.load import load_dataset
from recsys.data.split.clumped import excess_variance
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.threads import set_threads
from recsys.retrieval.recommender import recommender_of

METRIC, SHARE, AT_LEAST = "ndcg_at_20", 0.2, 10
TRUE = "earliest fifth"
_ALS = {"unobserved_weight": 0.03, "regularization": 0.003, "epochs": 8}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "popularity": ("popularity", {}),
    **{f"spectral {dim}": ("spectral", {"dim": dim, "exponent": 0.5, "filter": 0.0}) for dim in (64, 512)},
    **{f"als {dim}": ("als", {"dim": dim, **_ALS}) for dim in (64, 256)},
    **{
        f"softmax, t {temperature}, propagation {weight}": (
            "softmax",
            {"dim": 64, "epochs": 12, "temperature": temperature, "propagation": weight},
        )
        for temperature in (0.07, 0.15)
        for weight in (0.0, 0.1, 0.3)
    },
}


def first_visits() -> Dataset:
    """poi-gowalla: the first visit of each pair, by time, among places and people with at least ten."""
    data = load_dataset("poi-gowalla")
    events = data.interactions
    frame = pd.DataFrame({"user": events.user, "item": events.item}).drop_duplicates()
    for _ in range(10):
        for side in ("item", "user"):
            frame = frame[frame.groupby(side)[side].transform("size") >= AT_LEAST]
    chosen = frame.index.to_numpy()
    return data.having(replace(events.where(chosen), time=None))


def parts(data: Dataset) -> dict[str, Bool]:
    """Which events (n,) are judged, by the name of the part."""
    user = pd.Series(data.interactions.user)
    by_user = user.groupby(user)
    place, count = by_user.cumcount().to_numpy(), by_user.transform("size").to_numpy()
    fifth = np.ceil(SHARE * count)
    shuffled = user.sample(frac=1, random_state=1)
    drawn = shuffled.groupby(shuffled).cumcount().reindex(user.index).to_numpy()
    return {TRUE: place < fifth, "latest fifth": place >= count - fifth, "at random": drawn < fifth}


def kind_of(train: Interactions, judged_item: Array) -> dict[str, float]:
    """How much more popular judged events are, and how much their number varies beyond a draw."""
    learned, asked = train.item_counts(), np.bincount(judged_item, minlength=train.n_items)
    return {
        "popularity ratio": float(learned[judged_item].mean() / learned[train.item].mean()),
        "variance ratio": excess_variance(learned, asked),
    }


def row(
    name: str, data: Dataset, *, judge: str, settings: SplitSettings, models: list[str]
) -> dict[str, Any]:
    holdout = getattr(split(data, settings, seed=1), judge)
    events = holdout.train.interactions
    result: dict[str, Any] = {"part": name, **kind_of(events, holdout.targets.values)}
    users, fallback = Users.of_rows(holdout.user, holdout.history), fallback_order(events, None)
    for label in models:
        model, chosen = MODELS[label]
        engine = recommender_of(make_model(model, chosen).fit(holdout.train, seed=1), fallback, "exclude")
        values = evaluate(engine, users, holdout.targets, metrics=(METRIC,)).values[METRIC]
        result[label] = float(values.mean())
    return result


def off(row: dict[str, Any], true: dict[str, Any], models: list[str]) -> float:
    """Root mean square of the difference in log quality, after each side's mean is taken away."""
    difference = np.array([np.log(row[label]) - np.log(true[label]) for label in models])
    return float(np.std(difference))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two models and two parts; writes nothing")
    parser.add_argument("--json", action="store_true", help="the JSON object only")
    asked = parser.parse_args()
    set_threads(0)
    data, published = first_visits(), SplitSettings(kind="published")
    models = list(MODELS)[:2] if asked.quick else list(MODELS)
    rows = []
    for name, judged in list(parts(data).items())[: 1 if asked.quick else None]:
        marked = replace(data, published=Published(np.where(judged, TEST, TRAIN).astype(np.int8), name))
        rows.append(row(name, marked, judge="test", settings=published, models=models))
    # Clumps of all events but one, which a published split needs to judge.
    part = np.full(len(data.interactions), TRAIN, np.int8)
    part[-1] = TEST
    whole = replace(data, published=Published(part, "clumped"))
    clumps = SplitSettings(kind="published", clumped=SHARE)
    rows.append(row("in clumps", whole, judge="validation", settings=clumps, models=models))
    for each in rows:
        each["off"] = off(each, rows[0], models)
    if not asked.quick:
        test = split(load_dataset("gowalla"), published, seed=1).test
        rows.append({"part": "gowalla, published", **kind_of(test.train.interactions, test.targets.values)})
    report(
        "clumped",
        rows,
        title="Validation parts and a stretch of time",
        note=f"poi-gowalla, {METRIC}. `python -m benchmarks.clumped` says what the columns are.",
        quick=asked.quick,
        as_json=asked.json,
    )


if __name__ == "__main__":
    main()
