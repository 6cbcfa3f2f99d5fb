"""How well do our models rank? Every row through the public settings, the same `Recommender` and the bars of the data.

    python -m benchmarks.quality            all rows
    python -m benchmarks.quality --quick    without the gowalla tables and the further worlds

Settings come from pipelines/configs, tuned on validation parts; the test parts are read here, once a run. `published`
is the figure of the literature for the same data, split and metric, where there is one (see PUBLISHED).
"""

import click

from benchmarks.results import report
from pipelines.console import Steps
from pipelines.measure import measure
from pipelines.settings import RunSettings, load_settings
from pipelines.train import Prepared, prepare
from recsys.evaluation.attainable import attainable_gain, sample_rows, truths
from recsys.evaluation.evaluate import Report

TIMED = ("ndcg_at_10", "recall_at_20", "recall_at_100")
LIGHTGCN = ("recall_at_20", "ndcg_at_20")
# He et al., "LightGCN", SIGIR 2020, and the tables that follow its split: popularity of the training part.
PUBLISHED = {("gowalla", "popularity", "recall_at_20"): 0.0416, ("gowalla", "popularity", "ndcg_at_20"): 0.0317}

Row = dict[str, str | float | int | None]


def rows_of(data: str, reports: dict[str, Report], metrics: tuple[str, ...]) -> list[Row]:
    """One row per model and metric."""
    return [
        {
            "data": data,
            "model": model,
            "metric": metric,
            **found.interval(metric)._asdict(),
            "published": PUBLISHED.get((data, model, metric)),
        }
        for model, found in reports.items()
        for metric in metrics
    ]


def run(settings: RunSettings, metrics: tuple[str, ...], steps: Steps) -> list[Row]:
    """The rows of one data set, with the paired tests against popularity as rows of their own."""
    prepared = prepare(settings, steps)
    measured = measure(settings, prepared.holdout, steps)
    name = prepared.data.name
    rows = rows_of(name, dict(measured.reports), metrics)
    for other, comparison in measured.comparisons.items():
        difference = comparison.difference
        rows.append(
            {
                "data": name,
                "model": f"{measured.name} - {other}",
                "metric": metrics[0],
                **difference._asdict(),
                "published": None,
                "p_holm": comparison.p_holm,
                "warm_users": comparison.warm,
            }
        )
    if prepared.world is not None:
        rows += attainable_rows(prepared, dict(measured.reports), settings, measured.name)
    return rows


def attainable_rows(prepared: Prepared, reports: dict[str, Report], settings: RunSettings, model: str) -> list[Row]:
    """The rankers that know the truth, and the model's share of the attainable gain, on the fixed sample of users."""
    assert prepared.world is not None
    rows = sample_rows(prepared.holdout, settings.seed)
    known = truths(prepared.world, prepared.holdout, rows, ("ndcg_at_10",))
    values = {name: report.values["ndcg_at_10"][rows] for name, report in reports.items()}
    best = max(set(values) - {model}, key=lambda name: float(values[name].mean()))
    gain = attainable_gain(values[model], values[best], known["informed"].values["ndcg_at_10"])
    name = f"{prepared.data.name}, {len(rows)} sampled warm users"
    shares: list[Row] = [
        {
            "data": name,
            "model": f"{model}, over {best}",
            "metric": "attainable_gain",
            **gain._asdict(),
            "published": None,
        },
        {
            "data": name,
            "model": f"{best} / oracle",
            "metric": "share of ndcg_at_10",
            "mean": float(values[best].mean() / known["oracle"].values["ndcg_at_10"].mean()),
            "low": None,
            "high": None,
            "published": None,
        },
    ]
    return rows_of(name, known, ("ndcg_at_10",)) + shares


@click.command()
@click.option("--quick", is_flag=True, help="Only the rows that take seconds.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(quick: bool, as_json: bool) -> None:
    """Measure the ranking quality of every model on every data set."""
    steps = Steps(quiet=as_json)
    jobs: list[tuple[str, list[str], tuple[str, ...]]] = [
        ("world", [], TIMED),
        ("ml-100k", [], TIMED),
        ("poi-gowalla", [], TIMED),
        ("ml-latest-small", [], TIMED),
    ]
    if not quick:
        jobs += [("world", [f"world.seed={seed}"], TIMED) for seed in (2, 3)]
        jobs += [("gowalla", ["metrics=['recall_at_20','ndcg_at_20']"], LIGHTGCN)]
    rows: list[Row] = []
    for config, assignments, metrics in jobs:
        steps.say(f"{config} {' '.join(assignments)}")
        rows += run(load_settings(config, assignments), metrics, steps)
    report("quality", rows, title="Ranking quality on held-out parts", quick=quick, as_json=as_json)


if __name__ == "__main__":
    main()
