"""How well do our models rank? Every row through the public settings, the same `Recommender` and the bars of
the data.

    python -m benchmarks.quality            all rows but the long one
    python -m benchmarks.quality --quick    the rows that take seconds
    python -m benchmarks.quality --only gowalla --only world    these configs; the other rows of the table
    stay python -m benchmarks.quality --long     EASE on gowalla beside what was published: 7 GB, ten minutes;
    its own file

The runs are listed in benchmarks/quality_jobs.py, their settings tuned on validation parts; the test parts
are read here, once a run. `published` is the figure of the literature for the same data, split and metric,
where there is one.
"""

from collections.abc import Sequence

import click

from benchmarks.quality_jobs import FACTORIZATIONS, LONG, PUBLISHED, QUICK, WORLDS, Job
from benchmarks.results import read_rows, report
from recsys.evaluation.evaluate import Report
from recsys.evaluation.planted import attainable_gain, sample_rows, truths
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import measure
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings

Row = dict[str, str | float | int | None]
NOTE = (
    "The settings of each row: the config of its data, or that config with the model that "
    "`benchmarks/quality_jobs.py` states."
)


def rows_of(data: str, reports: dict[str, Report], metrics: tuple[str, ...]) -> list[Row]:
    """One row per model and metric."""
    return [
        {
            "data": data,
            "model": model,
            "metric": metric,
            **one.interval(metric)._asdict(),
            "published": PUBLISHED.get((data, model, metric)),
        }
        for model, one in reports.items()
        for metric in metrics
    ]


def run(job: Job, steps: Steps) -> list[Row]:
    """The rows of one job, with the paired tests against the baselines as rows of their own."""
    settings, metrics = load_settings(job.config, job.assignments), job.metrics
    judged = prepare(settings, steps)
    measured = measure(judged)
    own = job.label or measured.name
    name = judged.data.name + (", repeats counted" if settings.split.repeats else "")
    reports = {own if row == measured.name else row: report for row, report in measured.reports.items()}
    rows = rows_of(name, {own: reports[own]} if job.alone else reports, metrics)
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
    if judged.world is not None:
        rows += attainable_rows(judged, dict(measured.reports), measured.name)
    return rows


def attainable_rows(judged: Run, reports: dict[str, Report], model: str) -> list[Row]:
    """The rankers that know the truth, and the model's share of the attainable gain, on the fixed sample of
    users."""
    assert judged.world is not None
    rows = sample_rows(judged.holdout, judged.settings.seed)
    known = truths(judged.world, judged.holdout, rows, ("ndcg_at_10",))
    values = {name: report.values["ndcg_at_10"][rows] for name, report in reports.items()}
    best = max(set(values) - {model}, key=lambda name: float(values[name].mean()))
    gain = attainable_gain(values[model], values[best], known["informed"].values["ndcg_at_10"])
    name = f"{judged.data.name}, {len(rows)} sampled warm users"
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


def replace_rows(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """The old rows, with all those on the data of the new ones replaced by these, in the place of the
    first."""
    fresh = {row["data"] for row in new}
    at = next((place for place, row in enumerate(old) if row["data"] in fresh), len(old))
    kept_before, kept_after = (
        [row for row in part if row["data"] not in fresh] for part in (old[:at], old[at:])
    )
    return [*kept_before, *new, *kept_after]


@click.command()
@click.option("--quick", is_flag=True, help="Only the rows that take seconds.")
@click.option("--long", is_flag=True, help="Only EASE on gowalla: 7 GB, about ten minutes.")
@click.option(
    "--only",
    multiple=True,
    metavar="CONFIG",
    help="Only this config; the table's other rows stay. Repeatable.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(quick: bool, long: bool, only: tuple[str, ...], as_json: bool) -> None:
    """Measure the ranking quality of every model on every data set."""
    steps = Steps(quiet=as_json)
    jobs = LONG if long else QUICK if quick else (*QUICK, *WORLDS, *FACTORIZATIONS)
    if only:
        jobs = tuple(job for job in jobs if job.config in only)
        if unknown := set(only) - {job.config for job in jobs}:
            raise click.UsageError(f"no row is of config {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for job in jobs:
        steps.say(f"{job.config} {' '.join(job.assignments)}")
        rows += run(job, steps)
    name, title = "quality", "Ranking quality on held-out parts"
    if long:
        name, title = "quality_long", "EASE on the published gowalla split"
    if only and not quick:
        rows = replace_rows(read_rows(name), rows)
    report(name, rows, title=title, note=NOTE, quick=quick, as_json=as_json)


if __name__ == "__main__":
    main()
