"""How well do our models rank? Every row through the public settings, the same `Recommender` and the bars of the data.

    python -m benchmarks.quality            all rows but the long one
    python -m benchmarks.quality --quick    without the gowalla tables and the further worlds
    python -m benchmarks.quality --long     EASE on gowalla beside what was published: 7 GB, ten minutes; its own file

Settings come from pipelines/configs and TUNED, tuned on validation parts; the test parts are read here, once a run.
`published` is the figure of the literature for the same data, split and metric, where there is one (see PUBLISHED).
"""

from dataclasses import dataclass

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
# He et al., "LightGCN", SIGIR 2020, and the tables that follow its split: popularity of the training part, and EASE.
PUBLISHED = {
    ("gowalla", "popularity", "recall_at_20"): 0.0416,
    ("gowalla", "popularity", "ndcg_at_20"): 0.0317,
    ("gowalla", "ease", "recall_at_20"): 0.1765,
    ("gowalla", "ease", "ndcg_at_20"): 0.1467,
}

Row = dict[str, str | float | int | None]


@dataclass(frozen=True)
class Job:
    """A run to make: a config with further settings, what to call the model where its name is not enough, metrics."""

    config: str
    assignments: tuple[str, ...] = ()
    label: str | None = None
    metrics: tuple[str, ...] = TIMED


def model(text: str) -> str:
    """The assignment that replaces the whole model of a config."""
    return "model={" + text + "}"


# Tuned on the validation half of ml-100k's users (neighbours 100-1,000, shrinkage 0-10, amplification .7-3, half_life
# 3-100 and none; regularization 30-3,000).
TUNED = (
    Job("ml-100k", (model('name="item_knn", amplification=2.0, shrinkage=0.1, half_life=5.0'),)),
    Job(
        "ml-100k",
        (model('name="item_knn", amplification=2.0, shrinkage=0.1, half_life=1e9'),),
        "item_knn, all events alike",
    ),
    Job("ml-100k", (model('name="ease", regularization=1000.0, half_life=10.0'),), "ease, half_life 10"),
    Job("ml-100k", (model('name="ease", regularization=1000.0'),)),
)
REPEATS = Job("poi-gowalla", ("split.repeats=true", "seen=allow"), None)
# `regularization` from the validation rows of the 9,000 most frequent items (50 to 1,000).
LONG = Job(
    "gowalla",
    (model('name="ease", regularization=200.0'), "metrics=['recall_at_20','ndcg_at_20']"),
    metrics=LIGHTGCN,
)


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


def run(job: Job, steps: Steps, *, alone: bool = False) -> list[Row]:
    """The rows of one data set, with the paired tests against its baselines as rows of their own.

    alone: without the rows of the baselines, which stand in the table already.
    """
    settings, metrics = load_settings(job.config, job.assignments), job.metrics
    prepared = prepare(settings, steps)
    measured = measure(settings, prepared.holdout, steps)
    own = job.label or measured.name
    name = prepared.data.name + (", repeats counted" if settings.split.repeats else "")
    reports = {own if row == measured.name else row: report for row, report in measured.reports.items()}
    rows = rows_of(name, {own: reports[own]} if alone else reports, metrics)
    for other, comparison in measured.comparisons.items():
        difference = comparison.difference
        rows.append(
            {
                "data": name,
                "model": f"{own} - {other}",
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
@click.option("--long", is_flag=True, help="Only EASE on gowalla: 7 GB, about ten minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(quick: bool, long: bool, as_json: bool) -> None:
    """Measure the ranking quality of every model on every data set."""
    steps = Steps(quiet=as_json)
    if long:
        title = "EASE on the published gowalla split"
        report("quality_long", run(LONG, steps), title=title, as_json=as_json)
        return
    jobs = [Job("world"), Job("ml-100k"), *TUNED, Job("poi-gowalla"), REPEATS, Job("ml-latest-small")]
    if not quick:
        jobs += [Job("world", (f"world.seed={seed}",)) for seed in (2, 3)]
        jobs += [Job("gowalla", ("metrics=['recall_at_20','ndcg_at_20']",), metrics=LIGHTGCN)]
    rows: list[Row] = []
    for job in jobs:
        steps.say(f"{job.config} {' '.join(job.assignments)}")
        rows += run(job, steps, alone=job in TUNED)
    report("quality", rows, title="Ranking quality on held-out parts", quick=quick, as_json=as_json)


if __name__ == "__main__":
    main()
