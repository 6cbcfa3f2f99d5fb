"""Judges lists that any system made: the same users, targets and rules as our own, beside popularity and each
other."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import F64
from recsys.bundle.bundle import Bundle
from recsys.data.read.ranked_lists import RankedLists, read_ranked
from recsys.errors import DataError, SettingError
from recsys.evaluation.evaluate import Recommends, Report
from recsys.evaluation.foreign import BundleInDataIds
from recsys.evaluation.hindsight import Hindsight, hindsight
from recsys.evaluation.metrics.by_name import Named, resolve_all
from recsys.evaluation.metrics.item_facts import ItemFacts, facts_of
from recsys.evaluation.metrics.lists import Lists
from recsys.evaluation.outside_lists import ListRanker
from recsys.evaluation.significance import Comparison, compare_pairs
from recsys.evaluation.tables import (
    against,
    comparison_data,
    lists_table,
    main_table,
    report_data,
    segments_table,
)
from recsys.pipelines.run.evaluate import refuse_known_answers, warn_of_strangers
from recsys.pipelines.run.measure import baselines, judge, recommender_for
from recsys.pipelines.run.run import Run
from recsys.progress import Progress
from recsys.text import utc_text

Pair = tuple[str, str]


@dataclass(frozen=True)
class FileNotes:
    """What of a file was judged. seen: listed items that the seen policy took out, since the user had them.

    users: those asked who have a list. without_list: those asked who have none; each metric counts 0 for
    them. short: those asked whose list is shorter than the deepest metric after the seen policy.
    unknown_users, unknown_items: ids that the data do not have; an unknown item keeps its place and is never
    a hit. not_asked: users with a list for whom the split has no targets.
    """

    rows: int
    users: int
    without_list: int
    short: int
    seen: int
    not_asked: int
    unknown_users: int
    unknown_items: int


@dataclass(frozen=True, eq=False)
class Judged:
    """Reports by name, the notes on each file, and the paired tests: (first, second) -> comparison on
    `metric`.

    moment: unix second of the question, None for a split without one. hindsight: of each file, whether its
    lists leave out what they should predict.
    """

    title: str
    moment: int | None
    reports: Mapping[str, Report]
    notes: Mapping[str, FileNotes]
    comparisons: Mapping[Pair, Comparison]
    metric: str
    deepest: int
    targets: int
    hindsight: Mapping[str, Hindsight]

    @property
    def impossible(self) -> list[str]:
        """A sentence for each file whose lists know the future and leave it out."""
        return [
            _impossible(name, hindsight, self.moment)
            for name, hindsight in self.hindsight.items()
            if hindsight.impossible
        ]


def evaluate_candidates(run: Run, files: Mapping[str, Path], bundle: Bundle | None = None) -> Judged:
    """Judges each file of lists, by name, and a bundle if one is given, on the question of a run.

    Raises DataError where the bundle was trained on the answers, unless the settings allow leaks.
    """
    names, holdout, train = list(files), run.holdout, run.holdout.train
    if bundle is not None:
        refuse_known_answers(run, bundle)
    with run.steps.step("read lists"):
        listed = {
            name: read_ranked(path, train.user_ids, train.item_ids, run.settings.columns)
            for name, path in files.items()
        }
        for name, ranked in listed.items():
            if not ranked.lists.lengths[holdout.user].any():
                raise DataError(
                    f"{name}: none of the {len(holdout.user):,} users to judge has a list in it. Make "
                    "lists for the users of the judged part, or judge on the part they were made for "
                    "(judge=..., split.kind=...)."
                )
    with run.steps.step("evaluate") as progress:
        facts = facts_of(train)
        others: dict[str, Recommends] = {
            name: recommender_for(run, learned) for name, learned in baselines(run).items()
        }
        if bundle is not None:
            others["bundle"] = served = BundleInDataIds(bundle, train)
            warn_of_strangers(served, run.steps)
        reports = {name: judge(run, other, facts, progress) for name, other in others.items()}
        notes = {}
        for name, ranked in listed.items():
            reports[name], notes[name] = _judge_lists(run, ranked, facts, progress)
    metric = next(iter(reports[names[0]].values))
    pairs = [(name, other) for name in names for other in others] + list(combinations(names, 2))
    listed_users = {name: note.users for name, note in notes.items()}
    comparisons = compare_pairs(
        {name: report.values[metric] for name, report in reports.items()},
        pairs,
        warm={(a, b): min(listed_users[a], listed_users.get(b, listed_users[a])) for a, b in pairs},
    )
    known = {
        name: hindsight(
            ranked.lists.take(holdout.user),
            holdout.history.items,
            holdout.targets,
            train.n_items,
            domain=facts.domain,
        )
        for name, ranked in listed.items()
    }
    deepest, targets = _deepest(run.settings.metrics), len(holdout.targets.values)
    return Judged(run.title, holdout.now, reports, notes, comparisons, metric, deepest, targets, known)


def _deepest(metrics: Sequence[Named]) -> int:
    return max(metric.cut for metric in resolve_all(metrics))


def by_name(files: Sequence[Path]) -> dict[str, Path]:
    """The files by what they are called in the tables: their names without the ending."""
    names = [path.name.removesuffix(".gz").rpartition(".")[0] or path.name for path in files]
    taken = [
        name for name in names if name in ("popularity", "own_history", "bundle") or names.count(name) > 1
    ]
    if taken or any(name.startswith("popularity_") for name in names):
        name = (taken or names)[0]
        raise SettingError(
            f"two rows of the table would be called {name!r}; give each candidates file its own name."
        )
    return dict(zip(names, files, strict=True))


def _judge_lists(
    run: Run, ranked: RankedLists, facts: ItemFacts, progress: Progress
) -> tuple[Report, FileNotes]:
    """The report of a file's lists; the length of what is left of each list is measured in the same pass."""

    def count_answered(lists: Lists) -> F64:
        return np.asarray((lists.ids >= 0).sum(axis=1), np.float64)

    holdout, metrics, lengths = run.holdout, run.settings.metrics, ranked.lists.lengths
    count_answered.__name__ = f"answered_at_{max(1, int(lengths.max()))}"
    # a list is found by its user's number
    everyone = replace(holdout, known=np.ones(len(holdout.user), bool))
    system = recommender_for(run, ListRanker(ranked.lists, ranked.n_items))
    report = judge(
        replace(run, holdout=everyone), system, facts, progress, metrics=(*metrics, count_answered)
    )
    values = dict(report.values)
    left = values.pop(count_answered.__name__)
    own = lengths[holdout.user]
    # of published candidates, what is left out says nothing of seen
    inside = own if holdout.among is None else left
    notes = FileNotes(
        rows=ranked.rows,
        users=int((own > 0).sum()),
        without_list=int((own == 0).sum()),
        short=int(((left < min(_deepest(metrics), facts.n_items)) & (own > 0)).sum()),
        seen=int((inside - left).sum()),
        not_asked=int((lengths > 0).sum() - (own > 0).sum()),
        unknown_users=ranked.unknown_users,
        unknown_items=ranked.unknown_items,
    )
    return replace(report, values=values), notes


def judged_data(judged: Judged) -> dict[str, Any]:
    """The judgement as plain data, for JSON."""
    return {
        "title": judged.title,
        "moment": None if judged.moment is None else utc_text(judged.moment),
        "moment_s": judged.moment,
        "impossible": {
            name: hindsight._asdict() for name, hindsight in judged.hindsight.items() if hindsight.impossible
        },
        "targets": judged.targets,
        "rows": {name: report_data(report) for name, report in judged.reports.items()},
        "files": {name: asdict(notes) for name, notes in judged.notes.items()},
        "comparisons": [
            comparison_data(first, second, judged.metric, comparison)
            for (first, second), comparison in judged.comparisons.items()
        ],
    }


def judged_table(judged: Judged) -> str:
    """What was judged, a row per system, their lists, the segments of the files, the paired tests, and what
    is odd."""
    users = len(next(iter(judged.reports.values())).source)
    parts = [
        f"{judged.title}. {users:,} users, {judged.targets:,} targets.",
        main_table(judged.reports),
        lists_table(judged.reports),
        segments_table({name: judged.reports[name] for name in (*judged.notes, "popularity")}),
        f"Mean over users, 95 % bootstrap interval. Paired t-test on {judged.metric}, Holm-corrected:\n"
        + "\n".join(
            f"- {a} against {b}: {against(comparison)}" for (a, b), comparison in judged.comparisons.items()
        ),
        "\n".join(_sentence(name, notes, judged.deepest) for name, notes in judged.notes.items()),
        "\n".join(judged.impossible),
    ]
    return "\n\n".join(part for part in parts if part)


def _impossible(name: str, hindsight: Hindsight, moment: int | None) -> str:
    until = (
        "the training part alone"
        if moment is None
        else f"events before {utc_text(moment)} (second {moment}) alone"
    )
    return (
        f"{name} is impossible to judge: {hindsight.hit:,} of {hindsight.people:,} people have a target in "
        f"their list, where chance alone would give {hindsight.expected:,.0f} (p = {hindsight.p:.1g}). Its "
        f"lists know what the judged part holds and leave it out as already had: they were learned after the "
        f"moment of the question. Learn from {until}, leave out what was had before it, and make the lists "
        "again (`recsys split` writes that part)."
    )


def _sentence(name: str, notes: FileNotes, deepest: int) -> str:
    """What of a file was judged, and each thing that the reader should know of it."""
    odd = {
        f"{notes.without_list:,} users to judge have no list and count 0": notes.without_list,
        (
            f"{notes.short:,} users have fewer than {deepest} items, so metrics that deep are bounded"
        ): notes.short,
        f"{notes.seen:,} listed items that the user had before were left out (seen policy)": notes.seen,
        f"{notes.not_asked:,} users with a list have no target": notes.not_asked,
        f"{notes.unknown_users:,} users are not in the data": notes.unknown_users,
        (
            f"{notes.unknown_items:,} items are not in the data: they keep their places and never hit"
        ): notes.unknown_items,
    }
    said = [text for text, count in odd.items() if count]
    return (
        f"{name}: {notes.rows:,} rows, {notes.users:,} users judged"
        + "".join(f"; {text}" for text in said)
        + "."
    )
