"""Fit, evaluate and compare: the model of a run beside the popularity rows that stand in every table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.arrays import Bool
from recsys.bundle.catalogue import Catalogue
from recsys.evaluation.evaluate import Recommends, Report, evaluate_on
from recsys.evaluation.metrics.by_name import Named
from recsys.evaluation.metrics.item_facts import ItemFacts, facts_of
from recsys.evaluation.significance import FEW_USERS, Comparison, compare
from recsys.evaluation.tables import against, lists_table, main_table, segments_table
from recsys.models.base import fit_with
from recsys.models.own_history import OwnHistory
from recsys.models.popularity import Popularity, PopularitySettings
from recsys.pipelines.run.run import Run
from recsys.progress import Progress
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import TrainedRanker
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.training.loop import ALONE, Aids


@dataclass(frozen=True, eq=False)
class Measured:
    """What the model learned, a report per row of the table, and the model against each other row.

    warm: (n,) users who bring a history; the others get the fallback from every model."""

    name: str
    learned: Embeddings | TrainedRanker
    reports: Mapping[str, Report]
    comparisons: Mapping[str, Comparison]
    warm: Bool
    targets: int

    @property
    def report(self) -> Report:
        return self.reports[self.name]


def baselines(run: Run) -> dict[str, Embeddings | TrainedRanker]:
    """The rows that stand in every table: popularity of all time and of the last days, and where what the
    user had may come again, their own most frequent items, the row to beat there."""
    settings, train = run.settings, run.holdout.train
    rows = {"popularity": PopularitySettings()}
    if train.interactions.time is not None:
        rows |= {
            f"popularity_{days:g}_days": PopularitySettings(days=days) for days in settings.baselines_days
        }
    learned: dict[str, Embeddings | TrainedRanker] = {
        name: Popularity(row).fit(train, seed=settings.seed) for name, row in rows.items()
    }
    if settings.seen.stated != "exclude":
        learned |= {"own_history": OwnHistory().fit(train, seed=settings.seed)}
    return learned


def recommender_for(run: Run, learned: Embeddings | TrainedRanker) -> Recommender:
    """The recommender of what was learned, with the rules of the run around it."""
    names, catalogue = run.holdout.train.interactions.event_names, Catalogue.of(run.holdout.train.items)
    return recommender_of(
        learned,
        run.fallback,
        run.settings.seen,
        event_names=names,
        domains=catalogue.domains,
        availability=catalogue.availability,
    )


def judge(
    run: Run,
    recommender: Recommends,
    facts: ItemFacts,
    progress: Progress,
    metrics: Sequence[Named] | None = None,
) -> Report:
    """The report of anything that recommends, on the question of a run: same users, targets, candidates and
    metrics."""
    chosen = metrics or run.settings.metrics
    return evaluate_on(
        recommender, run.holdout, metrics=chosen, facts=facts, segments=run.segments, progress=progress
    )


def measure(run: Run, aids: Aids = ALONE, learned: Embeddings | None = None) -> Measured:
    """Fits, with such aids, and judges the model and the popularity rows on the question of a run. learned:
    what its model learned before from the same data by the same seed, which is then not fitted again."""
    holdout, own = run.holdout, _row_name(run.settings.model_name)
    fitted: Embeddings | TrainedRanker
    if learned is not None:
        fitted = learned
    else:
        with run.steps.step("learn") as progress:
            seed = run.settings.seed
            fitted = fit_with(run.learner(), holdout.train, seed=seed, progress=progress, aids=aids)
    with run.steps.step("evaluate") as progress:
        facts, others = facts_of(holdout.train), baselines(run)
        reports = {
            name: judge(run, recommender_for(run, one), facts, progress)
            for name, one in (*others.items(), (own, fitted))
        }
        warm = holdout.warm
        judged = next(iter(reports[own].values))
        other_values = {name: reports[name].values[judged] for name in others}
        comparisons = compare(reports[own].values[judged], other_values, warm=int(warm.sum()))
    return Measured(own, fitted, reports, comparisons, warm, len(holdout.targets.values))


def _row_name(name: str) -> str:
    """The model's name in the table; a baseline under trial must not hide the row of the same name."""
    return f"{name}_tried" if name in ("popularity", "own_history") else name


def table(title: str, measured: Measured) -> str:
    """The table of a run: what was judged, a row per model with intervals, its lists, segments, and paired
    tests."""
    users, warm = len(measured.warm), int(measured.warm.sum())
    sources = ", ".join(f"{count:,} {name}" for name, count in measured.report.sources().items())
    few = f"; under {FEW_USERS} warm users: too few to compare" if warm < FEW_USERS else ""
    parts = [main_table(measured.reports), lists_table(measured.reports)]
    parts.append(segments_table({name: measured.reports[name] for name in (measured.name, "popularity")}))
    lines = [
        (
            f"{title}. {users:,} users ({warm:,} warm), {measured.targets:,} targets; answered from: "
            f"{sources}{few}."
        ),
        "",
        "\n\n".join(part for part in parts if part),
        "",
        "Mean over users, 95 % bootstrap interval. Paired t-test on "
        f"{next(iter(measured.report.values))}, Holm-corrected:",
    ]
    lines += [f"- {measured.name} against {name}: {against(c)}" for name, c in measured.comparisons.items()]
    return "\n".join([*lines, *_in_words(measured)])


def _in_words(measured: Measured) -> list[str]:
    """What the table says, for who has never seen one; nothing where there is no recall or no popular
    list."""
    recall = next((name for name in measured.report.values if name.startswith("recall_at_")), None)
    popular = measured.reports.get("popularity")
    if recall is None or popular is None or popular is measured.report:
        return []
    mine, theirs = (one.interval(recall).mean for one in (measured.report, popular))
    return [
        "",
        f"In words: of what each of these {len(measured.warm):,} people did next, {mine:.0%} on average is "
        f"among the first {recall.removeprefix('recall_at_')} items of {measured.name}, and {theirs:.0%} "
        f"among the most popular.",
    ]
