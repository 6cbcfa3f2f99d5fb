"""Fit, evaluate and compare: the model of a run beside the popularity rows that stand in every table."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.console import Steps, text_table
from pipelines.settings import RunSettings
from recsys.arrays import I32, Bool
from recsys.data.split import Holdout
from recsys.evaluation.evaluate import Report, evaluate
from recsys.evaluation.significance import FEW_USERS, Comparison, compare
from recsys.models.popularity import Popularity, PopularitySettings, fallback_order
from recsys.models.registry import make_model
from recsys.retrieval.bundle import recommender_of
from recsys.retrieval.ranker import Embeddings
from recsys.retrieval.users import Users

TABLE_METRICS = ("ndcg_at_10", "recall_at_20", "recall_at_100")


@dataclass(frozen=True, eq=False)
class Measured:
    """The model's embeddings and fallback, a report per row of the table, and the model against each popularity row.

    warm: (n,) users who bring a history; the others get the fallback from every model."""

    name: str
    embeddings: Embeddings
    fallback: I32
    reports: Mapping[str, Report]
    comparisons: Mapping[str, Comparison]
    warm: Bool
    targets: int

    @property
    def report(self) -> Report:
        return self.reports[self.name]


def users_of(holdout: Holdout) -> Users:
    """The people of a holdout as the recommender sees them: those whom the learner saw by their row."""
    index = np.where(holdout.known, holdout.user, -1).astype(np.int32)
    return Users(index, holdout.history, time=holdout.history_time)


def measure(settings: RunSettings, holdout: Holdout, steps: Steps) -> Measured:
    """Fits and judges the model and the popularity rows on one holdout."""
    train = holdout.train
    fallback = fallback_order(train.interactions, settings.fallback_days)
    rows = {"popularity": PopularitySettings()}
    if train.interactions.time is not None:
        rows |= {f"popularity_{days:g}_days": PopularitySettings(days=days) for days in settings.baselines_days}
    model = make_model(settings.model_name, settings.model_settings)
    with steps.step("learn") as progress:
        embeddings = model.fit(train, seed=settings.seed, progress=progress)
    with steps.step("evaluate") as progress:
        spaces = {name: Popularity(row).fit(train, seed=settings.seed) for name, row in rows.items()}
        spaces[_row_name(settings)] = embeddings
        reports = {
            name: evaluate(
                recommender_of(space, fallback, settings.seen),
                users_of(holdout),
                holdout.targets,
                metrics=settings.metrics,
                progress=progress,
            )
            for name, space in spaces.items()
        }
        warm = holdout.history.lengths > 0
        judged = settings.metrics[0]
        own = reports[_row_name(settings)]
        others = {name: report.values[judged] for name, report in reports.items() if name in rows}
        comparisons = compare(own.values[judged], others, warm=int(warm.sum()))
    return Measured(_row_name(settings), embeddings, fallback, reports, comparisons, warm, len(holdout.targets.values))


def _row_name(settings: RunSettings) -> str:
    """The model's name in the table; a popularity model under trial must not hide the row of the same name."""
    return "popularity_tried" if settings.model_name == "popularity" else settings.model_name


def table(title: str, measured: Measured) -> str:
    """The table of a run: what was judged, a row per model with 95 % intervals, and the paired tests below."""
    metrics = [name for name in TABLE_METRICS if name in measured.report.values] or list(measured.report.values)[:3]
    rows = [[name, *(_cell(report, metric) for metric in metrics)] for name, report in measured.reports.items()]
    users, warm = len(measured.warm), int(measured.warm.sum())
    sources = ", ".join(f"{count:,} {name}" for name, count in measured.report.sources().items())
    few = f"; under {FEW_USERS} warm users: too few to compare" if warm < FEW_USERS else ""
    lines = [
        f"{title}. {users:,} users ({warm:,} warm), {measured.targets:,} targets; answered from: {sources}{few}.",
        "",
        text_table(["model", *metrics], rows),
        "",
        "Mean over users, 95 % bootstrap interval. Paired t-test on "
        f"{next(iter(measured.report.values))}, Holm-corrected:",
    ]
    lines += [f"- {measured.name} against {name}: {_against(c)}" for name, c in measured.comparisons.items()]
    return "\n".join(lines)


def _cell(report: Report, metric: str) -> str:
    interval = report.interval(metric)
    return f"{interval.mean:.4f} [{interval.low:.4f}, {interval.high:.4f}]"


def _against(comparison: Comparison) -> str:
    difference = comparison.difference
    return (
        f"{difference.mean:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], "
        f"p = {comparison.p_holm:.2g}: {comparison.verdict}"
    )
