"""The people of an analysis: who counts, who was left out and why, and each one's figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from recsys.analysis.effects.moments import Moments, moments_by_look
from recsys.analysis.effects.pair import Quantity
from recsys.analysis.plan import Metric, Plan
from recsys.analysis.tables.exposures import NEVER, Exposures, read_exposures
from recsys.analysis.tables.outcomes import Outcomes, read_outcomes
from recsys.analysis.tables.people import Attributes, read_people
from recsys.analysis.tables.requests import Requests, sample_requests
from recsys.arrays import F64, I32, I64, Bool
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.progress import Progress, silent

MIXED, TESTER, BOT, OVERACTIVE, UNRIPE, UNTRIGGERED = (
    "saw several arms",
    "testers",
    "bots by your table",
    "bots by how much they do",
    "window not over yet",
    "lists that did not differ",
)


class Figures(NamedTuple):
    """The columns of one metric (people, c), which of them it is, and which say what was before."""

    columns: F64
    target: Quantity
    covariates: tuple[Quantity, ...]


@dataclass(frozen=True, eq=False)
class Study:
    """What is analysed. Arms are numbers, 0 = control.

    arm, first, look, warm: (n,) of analysed people: arm, second of the first exposure, in which look their
    window is over, whether they did anything before. looks: the second that ends each look. assigned_arm,
    assigned_first: (m,) of all people of one arm but testers, before anybody else was left out. excluded:
    reason -> people by arm. why: of all people of the exposures, the place in `excluded` of the reason why
    they were left out; -1 = analysed, -2 = of no arm of the plan.
    """

    plan: Plan
    exposures: Exposures
    outcomes: Outcomes
    requests: Requests | None
    until: int
    arm: I32
    first: I64
    look: I32
    looks: I64
    warm: Bool
    figures: Mapping[str, Figures]
    segments: Mapping[str, tuple[I32, list[str]]]
    assigned_arm: I32
    assigned_first: I64
    assigned_segments: Mapping[str, tuple[I32, list[str]]]
    excluded: Mapping[str, I64]
    why: I32
    waiting: I64
    rows: I64
    read_after: int

    @property
    def people(self) -> I64:
        """Analysed people by arm."""
        return np.bincount(self.arm, minlength=len(self.plan.arms)).astype(np.int64)

    def moments(self, metric: Metric, arm: int, of: Bool | None = None) -> Moments:
        """Of the people of an arm by look (looks, ...), of all of them or of some (n,)."""
        rows = self.arm == arm if of is None else (self.arm == arm) & of
        return moments_by_look(self.figures[metric.name].columns[rows], self.look[rows], len(self.looks))


def read_study(
    exposures: Any,
    outcomes: Any,
    plan: Plan,
    *,
    people: Any = None,
    until: int | None = None,
    progress: Progress = silent,
) -> Study:
    """Reads the tables (paths or Arrow tables) and leaves out who must be.

    until: unix second up to which outcomes are complete; None = the last outcome. Raises DataError where a
    table cannot be read or an arm is empty.
    """
    requests = sample_requests(outcomes, plan, progress)
    shown = read_exposures(exposures, plan, requests=requests, progress=progress)
    done = read_outcomes(outcomes, shown, progress=progress)
    known = None if people is None else read_people(people, shown, progress=progress)
    return study_of(shown, done, known, until)


def study_of(shown: Exposures, done: Outcomes, known: Attributes | None, until: int | None) -> Study:
    """Who counts, of exposures and outcomes that were read."""
    until = until or done.until
    plan, arms = shown.plan, len(shown.plan.arms)
    arm = shown.arm
    inside = shown.arms != 0
    excluded: dict[str, I64] = {}
    left = inside & ~shown.mixed
    why = np.where(inside, np.where(shown.mixed, 0, -1), -2).astype(np.int32)
    excluded[MIXED] = np.array([int((inside & shown.mixed & _saw(shown, one)).sum()) for one in range(arms)])

    def leave_out(reason: str, who: Bool) -> None:
        nonlocal left
        why[left & who] = len(excluded)
        excluded[reason] = np.bincount(arm[left & who], minlength=arms).astype(np.int64)
        left = left & ~who

    tester = _are(shown, plan.testers) | (known.tester if known else np.zeros(len(arm), bool))
    leave_out(TESTER, tester)
    assigned = left
    if shown.triggered:
        leave_out(UNTRIGGERED, shown.first == NEVER)
    days = np.where(shown.first == NEVER, 1, (shown.last - np.minimum(shown.first, shown.last)) / DAY_S + 1)
    busy = (shown.lists > plan.max_exposures_a_day * days) | (
        done.events > plan.max_events_a_day * plan.window_days
    )
    leave_out(BOT, known.bot if known else np.zeros(len(arm), bool))
    leave_out(OVERACTIVE, busy)
    ripe = np.where(shown.first == NEVER, NEVER, shown.first + plan.window_s + plan.settle_s)
    waiting = ripe[left & (ripe > until)]
    leave_out(UNRIPE, ripe > until)
    rows = np.flatnonzero(left)
    if not len(rows):
        raise DataError(_nobody(excluded, plan))
    looks, look = _looks(ripe[rows], until)
    segments = dict(shown_segments(shown))
    if known:
        segments |= dict(known.segments)
    whole = np.flatnonzero(assigned)
    return Study(
        plan=plan,
        exposures=shown,
        outcomes=done,
        requests=shown.requests,
        until=until,
        arm=arm[rows],
        first=shown.first[rows],
        look=look,
        looks=looks,
        warm=done.active_before[rows],
        figures={one.name: _figures(one, done, known, rows, plan) for one in plan.metrics},
        segments={name: (codes[rows], labels) for name, (codes, labels) in segments.items()},
        assigned_arm=arm[whole],
        assigned_first=np.minimum(shown.first, shown.last)[whole],
        assigned_segments={name: (codes[whole], labels) for name, (codes, labels) in segments.items()},
        excluded=excluded,
        why=why,
        waiting=waiting,
        rows=rows,
        read_after=known.later if known else 0,
    )


def shown_segments(shown: Exposures) -> Mapping[str, tuple[I32, list[str]]]:
    """Segments that stand among the exposures."""
    return {name: (codes, shown.labels[name]) for name, codes in shown.segments.items()}


def _figures(metric: Metric, done: Outcomes, known: Attributes | None, rows: I64, plan: Plan) -> Figures:
    sums = done.sums[metric.name]
    columns = [sums.over[rows]]
    under = None
    if sums.under is not None:
        under = len(columns)
        columns.append(sums.under[rows])
    covariates = []
    if metric.covariate is not None and known is not None:
        values = known.numbers[metric.covariate][rows]
        there = np.isfinite(values)
        covariates = [np.where(there, values, 0.0), there.astype(np.float64)]
    elif plan.past_s:
        covariates = [sums.past_over[rows], *([] if sums.past_under is None else [sums.past_under[rows]])]
        covariates.append(done.active_before[rows].astype(np.float64))
    start = len(columns)
    columns += covariates
    return Figures(
        np.stack(columns, 1), Quantity(0, under), tuple(Quantity(start + at) for at in range(len(covariates)))
    )


def _looks(ripe: I64, until: int) -> tuple[I64, I32]:
    """The end of each day from the first window that is over, the last one cut at `until`; and each person's
    look."""
    first_day = int(ripe.min()) // DAY_S
    last_day = max(first_day, (until - 1) // DAY_S)
    ends = (np.arange(first_day, last_day + 1) + 1) * DAY_S
    ends[-1] = min(int(ends[-1]), until)
    return ends, np.searchsorted(ends, ripe).astype(np.int32)


def _saw(shown: Exposures, arm: int) -> Bool:
    return np.asarray(shown.arms >> np.uint64(arm) & np.uint64(1), bool)


def _are(shown: Exposures, ids: tuple[str, ...]) -> Bool:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not ids:
        return np.zeros(len(shown.units), bool)
    return np.asarray(
        pc.is_in(shown.units.ids, pa.array(ids, pa.large_string())).to_numpy(zero_copy_only=False), bool
    )


def _nobody(excluded: Mapping[str, I64], plan: Plan) -> str:
    said = ", ".join(f"{int(counts.sum()):,} {reason}" for reason, counts in excluded.items() if counts.sum())
    fix = (
        "Wait until windows are over, or shorten window_days."
        if excluded[UNRIPE].sum()
        else "Mend the tables."
    )
    return (
        f"nobody is left to be analysed: {said}. A window is {plan.window_days:g} days from the first "
        f"exposure. {fix}"
    )
