"""What each switch of the two-tower model is worth: one changed at a time, on items with and without a past.

    RECSYS_DATA=... python -m benchmarks.tower_ablation [--seed 2] [--quick] [--json]

Data, parts, metric and the full settings are those of `benchmarks.cold_items`; the difference is the changed
model less the full one, paired by user, 95 % interval.
"""

from typing import Any

import click

from benchmarks.cold_items import BY_FEATURES, DATA, METRIC, judge, parts_of
from benchmarks.results import report
from recsys.data.read.load import load_dataset
from recsys.evaluation.significance import compare
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.retrieval.recommender import recommender_of

CHANGES: dict[str, dict[str, Any]] = {
    "full": {},
    "log_q = false": {"log_q": False},
    'sampler = "batch"': {"sampler": "batch"},
    'sampler = "uniform"': {"sampler": "uniform"},
    'sampler = "popularity"': {"sampler": "popularity"},
    "id_dropout = 0": {"id_dropout": 0.0},
    "id_dropout = 0.3": {"id_dropout": 0.3},
    'initial = "random"': {"initial": "random"},
    'history = "none", user_ids = true': {"history": "none", "user_ids": True},
    "user_ids = true": {"user_ids": True},
    "hidden = 64": {"hidden": 64},
}


@click.command()
@click.option("--seed", default=2, show_default=True, help="Draw of the items taken out, and of learning.")
@click.option("--quick", is_flag=True, help="One epoch of the first two; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(seed: int, quick: bool, as_json: bool) -> None:
    """Change one switch of the two-tower model at a time."""
    steps = Steps(quiet=as_json)
    train, asked = parts_of(load_dataset(DATA), seed)
    fallback, has_history = (
        fallback_order(train.interactions, None),
        train.interactions.histories().items.lengths > 0,
    )
    rows, full = list[dict[str, Any]](), dict[str, Any]()
    for name, change in list(CHANGES.items())[: 2 if quick else None]:
        settings = BY_FEATURES | change | ({"epochs": 1} if quick else {})
        with steps.step(name) as progress:
            learned = make_model("two_tower", settings).fit(train, seed=seed, progress=progress)
        engine = recommender_of(learned, fallback, "exclude")
        for part, events in asked.items():
            values = judge(engine, train, events, has_history)
            row = {"part": part, "settings": name, METRIC: values.mean()}
            if name == "full":
                full[part] = values
            else:
                difference = compare(values, {"full": full[part]}, warm=len(values))["full"].difference
                row |= {"less full": difference.mean, "low": difference.low, "high": difference.high}
            rows.append(row)
    rows.sort(key=lambda row: str(row["part"]))
    note = f"{DATA}, items drawn by seed {seed}, {METRIC}."
    report(
        "tower_ablation",
        rows,
        title="The switches of the two-tower model",
        note=note,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
