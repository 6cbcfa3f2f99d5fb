"""Do genres and what is known of users help where an item has hardly any events? ml-1m-ncf, among its 99
candidates.

    RECSYS_DATA=... python -m benchmarks.rare_items [--seeds 1,2,3] [--quick] [--json]

The published leave-one-out split. rare: the users whose item has at most ten events in training. Beside each
other: the best factorization (that of the config, softmax and iALS of 192 dims), the two-tower model with
genres, gender, age and occupation, without the correction for popularity, which it gives up to reach rare
items; and both in one inner product, so that neither is given up. Values of a user are means over the seeds.
Settings and the weight were tuned on events drawn from training.
"""

from typing import Any

import click
import numpy as np

from benchmarks.results import report
from recsys.evaluation.evaluate import evaluate_on
from recsys.evaluation.significance import compare
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.recommender import recommender_of

MOST_EVENTS, METRICS = 10, ("hit_rate_at_10", "ndcg_at_10")
TOWERS: dict[str, Any] = {
    "name": "two_tower",
    "epochs": 4,
    "temperature": 0.15,
    "history": "none",
    "sampler": "batch",
    "log_q": False,
    "item_features": [{"column": "categories", "kind": "categories"}],
    "user_features": [{"column": "gender"}, {"column": "age"}, {"column": "occupation"}],
}
WEIGHT = 2.0
FACTORIZATION, FEATURES, BOTH = "softmax + als", "two_tower with features", "all three"


def models(config: dict[str, Any], quick: bool) -> dict[str, dict[str, Any]]:
    """Settings by the name of their row."""
    weighed = zip(config["parts"], config["weights"], strict=True)
    parts, weights = zip(
        *((part, weight) for part, weight in weighed if part["name"] != "two_tower"), strict=True
    )
    towers = TOWERS
    if quick:
        parts, towers = (
            tuple(part | {"dim": 16, "epochs": 1} for part in parts),
            TOWERS | {"dim": 16, "epochs": 1},
        )
    mixture = {"name": "mixture", "parts": parts, "weights": weights}
    everything = {"name": "mixture", "parts": [*parts, towers], "weights": [*weights, WEIGHT]}
    return {FACTORIZATION: mixture, FEATURES: towers, BOTH: everything}


@click.command()
@click.option("--seeds", default="1,2,3", show_default=True, help="Seeds of learning.")
@click.option("--quick", is_flag=True, help="One epoch, one seed; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(seeds: str, quick: bool, as_json: bool) -> None:
    """Measure what features do for items with hardly any events."""
    steps, settings = Steps(quiet=as_json), load_settings("ml-1m-ncf", ())
    holdout = prepare(settings, steps).holdout
    train = holdout.train
    counts = np.bincount(train.interactions.item, minlength=train.n_items)
    rare = counts[holdout.targets.values] <= MOST_EVENTS  # one target a user
    drawn = [1] if quick else [int(seed) for seed in seeds.split(",")]
    fallback = fallback_order(train.interactions, None)
    values: dict[str, dict[str, Any]] = {}
    for name, stated in models(settings.model, quick).items():
        by_seed = []
        for seed in drawn:
            with steps.step(f"{name}, seed {seed}") as progress:
                own = {key: value for key, value in stated.items() if key != "name"}
                learned = make_model(stated["name"], own).fit(train, seed=seed, progress=progress)
            by_seed.append(
                evaluate_on(recommender_of(learned, fallback, settings.seen), holdout, metrics=METRICS).values
            )
        values[name] = {metric: np.mean([one[metric] for one in by_seed], axis=0) for metric in METRICS}
    rows = []
    for part, which in (("rare", rare), ("all", np.ones(len(rare), bool))):
        for metric in METRICS:
            base = values[FACTORIZATION][metric][which]
            for name in values:
                ours = values[name][metric][which]
                row = {"items": part, "users": len(ours), "what": name, "metric": metric, "mean": ours.mean()}
                if name != FACTORIZATION:
                    difference = compare(ours, {FACTORIZATION: base}, warm=len(ours))[
                        FACTORIZATION
                    ].difference
                    row |= {
                        f"less {FACTORIZATION}": difference.mean,
                        "low": difference.low,
                        "high": difference.high,
                    }
                rows.append(row)
    note = f"ml-1m-ncf, one target among 99 published candidates; seeds {', '.join(map(str, drawn))}."
    report("rare_items", rows, title="Items with at most ten events", note=note, quick=quick, as_json=as_json)


if __name__ == "__main__":
    main()
