"""Does learning from "not this" help? MovieLens ratings of 2 and less as dislikes, of 4 and more as likes,
iALS.

    RECSYS_DATA=... python -m benchmarks.dislikes [--seeds 1,2,3] [--quick] [--json]

Two logs, each cut at two moments (people who come back) and by later halves (people encoded from the first
half of what they did). `disliked_weight` is chosen on the validation part by ndcg@10, the regularization for
each weight anew; the test part is read once. disliked_at_10: how many items of an answer its person will
dislike, that is, rates 2 or less after the history that they bring. Values of a user are means over the
seeds, of warm users; differences are to the same model without the setting.
"""

from collections.abc import Sequence
from typing import Any

import click
import numpy as np

from benchmarks.results import report
from recsys.arrays import F64, Ragged
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout
from recsys.data.split.split import split
from recsys.evaluation.evaluate import evaluate_on, users_of
from recsys.evaluation.metrics.hits import hits_of
from recsys.evaluation.significance import bootstrap
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import read_data
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.recommender import recommender_of

RATINGS = ("columns.weight=rating", "prepare.min_rating=4", "prepare.disliked_rating=2")
LOGS = {
    "ml-100k": {"dim": 32, "unobserved_weight": 1.0, "half_life": None},
    "ml-latest-small": {"dim": 32, "unobserved_weight": 0.3, "half_life": None},
}
SPLITS = {
    "global time": ("split.kind=global_time", "split.validation=0.2", "split.test=0.3"),
    "later half": ("split.kind=later_half",),
}
RIDGES, WEIGHTS = (0.003, 0.01, 0.03), (0.0, 0.3, 1.0, 3.0, 10.0)
METRICS = ("ndcg_at_10", "recall_at_20")
COLUMNS = (*METRICS, "liked_at_10", "disliked_at_10", "disliked_at_20")


def disliked_later(data: Dataset, holdout: Holdout) -> Ragged:
    """For each user who is asked for something, the items that they disliked after the history that they
    bring."""
    events, place = data.disliked, np.full(data.n_users, -1)
    place[holdout.user] = np.arange(len(holdout.user))
    keys = place[events.user].astype(np.int64) * data.n_items + events.item
    history = holdout.history.items
    had = history.row_of_value() * data.n_items + history.values
    later = np.unique(keys[(place[events.user] >= 0) & ~np.isin(keys, had)])
    return Ragged.from_pairs(later // data.n_items, later % data.n_items, len(holdout.user))


def values_of(data: Dataset, holdout: Holdout, model: dict[str, Any], seeds: Sequence[int]) -> dict[str, F64]:
    """Each figure of the warm users (n,), as a mean over the seeds."""
    by_seed = []
    for seed in seeds:
        learned = make_model("als", model).fit(holdout.train, seed=seed)
        engine = recommender_of(learned, fallback_order(holdout.train.interactions, None), "exclude")
        values = dict(evaluate_on(engine, holdout, metrics=METRICS).values)
        ids = engine.recommend(users_of(holdout), 20).ids
        values["liked_at_10"] = hits_of(ids, holdout.targets)[:, :10].sum(axis=1)
        disliked = hits_of(ids, disliked_later(data, holdout))
        values |= {f"disliked_at_{k}": disliked[:, :k].sum(axis=1) for k in (10, 20)}
        by_seed.append({name: value[holdout.warm] for name, value in values.items()})
    return {name: np.mean([one[name] for one in by_seed], axis=0) for name in COLUMNS}


@click.command()
@click.option("--seeds", default="1,2,3", show_default=True, help="Seeds of learning.")
@click.option("--quick", is_flag=True, help="One log, one epoch, one seed; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(seeds: str, quick: bool, as_json: bool) -> None:
    """Measure what learning from dislikes does to likes and to dislikes."""
    steps, rows = Steps(quiet=as_json), []
    drawn = [1] if quick else [int(seed) for seed in seeds.split(",")]
    for log, stated in list(LOGS.items())[: 1 if quick else None]:
        for kind, cut in SPLITS.items():
            settings = load_settings(None, [f"data={log}", *RATINGS, *cut])
            with steps.step(f"{log}, {kind}") as progress:
                _, data, _ = read_data(settings, progress)
                parts = split(data, settings.split, seed=1)
                rows += _weight_rows(log, kind, data, parts.validation, parts.test, stated, drawn, quick)
    note = (
        f"Means over {len(drawn)} seeds and warm users; differences to weight 0 with 95 % bootstrap "
        "intervals."
    )
    report(
        "dislikes", rows, title="Learning from what people dislike", note=note, quick=quick, as_json=as_json
    )


def _weight_rows(
    log: str,
    kind: str,
    data: Dataset,
    tune: Holdout,
    test: Holdout,
    stated: dict[str, Any],
    seeds: list[int],
    quick: bool,
) -> list[dict[str, Any]]:
    """A row for each weight tried on validation, with its best ridge, and on test for the best one and for
    none."""
    rows, chosen = [], {}
    base: dict[str, F64] = {}
    for weight in WEIGHTS[: 2 if quick else None]:
        tried = [
            stated | {"regularization": ridge, "disliked_weight": weight} | ({"epochs": 1} if quick else {})
            for ridge in RIDGES[: 1 if quick else None]
        ]
        values = [values_of(data, tune, model, seeds) for model in tried]
        best = int(np.argmax([one["ndcg_at_10"].mean() for one in values]))
        chosen[weight] = tried[best], float(values[best]["ndcg_at_10"].mean())
        base = base or values[best]
        rows.append(_row(log, kind, "validation", tried[best], values[best], base))
    kept = max((weight for weight in chosen if weight), key=lambda weight: chosen[weight][1])
    first = values_of(data, test, chosen[0.0][0], seeds)
    rows.append(_row(log, kind, "test", chosen[0.0][0], first, first))
    rows.append(
        _row(log, kind, "test", chosen[kept][0], values_of(data, test, chosen[kept][0], seeds), first)
    )
    return rows


def _row(
    log: str, kind: str, part: str, model: dict[str, Any], values: dict[str, F64], base: dict[str, F64]
) -> dict[str, Any]:
    named = {"data": log, "split": kind, "part": part, "users": len(values["ndcg_at_10"])}
    named |= {"disliked_weight": model["disliked_weight"], "regularization": model["regularization"]}
    for name in COLUMNS:
        named[name] = float(values[name].mean())
        if values is not base:
            named[f"{name}, difference"] = bootstrap(values[name] - base[name]).text("+.4f")
    return named


if __name__ == "__main__":
    main()
