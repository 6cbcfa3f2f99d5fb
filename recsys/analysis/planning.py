"""How many people and days an experiment needs, from a log of the time before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.analysis.effects.bounds import group_inflation
from recsys.analysis.effects.moments import moments_of
from recsys.analysis.effects.pair import spread_of
from recsys.analysis.effects.power import days_for, detectable, people_for, whole_weeks
from recsys.analysis.plan import Metric, Plan
from recsys.analysis.study import Study, study_of
from recsys.analysis.tables.exposures import Exposures
from recsys.analysis.tables.outcomes import read_outcomes
from recsys.analysis.tables.rows import Table
from recsys.arrays import F64, I64
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.progress import Progress, silent
from recsys.text import utc_text

POWER = 0.8
LOOKS = 14  # that are paid for, where people are planned


@dataclass(frozen=True)
class Need:
    """What one metric needs. mean, deviation: of a person, or of their share in a ratio; left: variance after
    CUPED.

    people: of all arms, to show `mde` with power .80; days: until they have come and their windows are over,
    in whole weeks; beyond: the log is shorter, and days were reckoned by the people of its last week.
    by_week: weeks -> the smallest effect that they show, as a share of the mean.
    """

    metric: Metric
    mean: float
    deviation: float
    left: float
    people: float
    days: int | None
    beyond: bool
    by_week: Mapping[int, float]


@dataclass(frozen=True)
class Needs:
    """What a plan needs. new_by_day: people who came for the first time on each day of the log from `since`
    on."""

    needs: list[Need]
    new_by_day: I64
    since: int
    people: int
    window_days: float
    alpha: float
    inflation: float

    @property
    def days(self) -> int | None:
        """Whole weeks until every primary metric and guardrail has what it needs; None where one never
        has."""
        asked = [one.days for one in self.needs if one.metric.role != "exploratory"]
        return None if None in asked else max(one for one in asked if one is not None)

    @property
    def planned(self) -> float:
        """People, of all arms, for `people` in the plan."""
        return max(one.people for one in self.needs if one.metric.role != "exploratory")


def _log(source: Any, plan: Plan) -> Table:
    roles = {"unit": ("unit_id", "user_id"), "time": ("timestamp", "time_ms")}
    return Table(
        source, "the log", roles, tuple(roles), {"unit": plan.columns.unit, "time": plan.columns.time}
    )


def first_second(source: Any, plan: Plan) -> int:
    """When a log begins, by the beginnings of its files."""
    times = [part.seconds("time") for part in _log(source, plan).parts(silent, beginnings=True)]
    firsts = [int(second[ok].min()) for second, ok in times if ok.any()]
    if not firsts:
        raise DataError("the log has no row with a time. Is it the right table?")
    return min(firsts)


def read_traffic(source: Any, plan: Plan, since: int, progress: Progress = silent) -> Exposures:
    """The people of a log as if all were in one arm: each from their first row at or after the second `since`
    on.

    source: exposures or outcomes. Raises DataError where nobody is left.
    """
    table = _log(source, plan)
    traffic = Exposures(plan)
    for part in table.parts(progress):
        codes = part.ids("unit", "unit id")
        second, kept = part.seconds("time")
        rows = np.flatnonzero(kept & (codes.code >= 0) & (second >= since))
        if len(rows):
            traffic.add(codes._replace(code=codes.code[rows]), second[rows])
    if not traffic.rows:
        raise DataError(
            f"the log has no rows from {utc_text(since)} on, from when on people count as new. Name an "
            f"earlier moment, or shorten past_days in the plan."
        )
    return traffic


def plan_power(
    outcomes: Any,
    plan: Plan,
    *,
    exposures: Any = None,
    since: int | None = None,
    share: float = 1.0,
    progress: Progress = silent,
) -> Needs:
    """What a plan's metrics need, by the outcomes of a time before, and exposures where only who is shown
    lists counts.

    since: unix second from which on people count as new; None = past_days after the first outcome. share: of
    all people, who will be in the experiment. Raises DataError where the log is too short for one window.
    """
    if since is None:
        since = first_second(outcomes, plan) + plan.past_s
    shown = read_traffic(outcomes if exposures is None else exposures, plan, since, progress)
    study = study_of(shown, read_outcomes(outcomes, shown, progress=progress), None, None)
    first_day = int(shown.first.min()) // DAY_S
    new = np.bincount(shown.first // DAY_S - first_day).astype(np.int64)
    comparisons = max(1, len(plan.metrics_of("primary")) * len(plan.treated))
    alpha = plan.alpha / comparisons  # what Holm asks of the least of them
    inflation = group_inflation(LOOKS, alpha, POWER)
    come = new.astype(np.float64) * share
    needs = [_need(one, study, come, alpha, inflation) for one in plan.metrics]
    return Needs(needs, new, first_day * DAY_S, len(study.arm), plan.window_days, alpha, inflation)


def _need(metric: Metric, study: Study, new: F64, alpha: float, inflation: float) -> Need:
    plan, figures = study.plan, study.figures[metric.name]
    moments = moments_of(figures.columns)
    mean, plain = (float(one) for one in spread_of(moments, figures.target))
    variance = float(spread_of(moments, figures.target, figures.covariates)[1])
    if not np.isfinite(mean) or not variance > 0:
        raise DataError(
            f"metric {metric.name!r} is the same for everybody in this log: no effect of it can be planned."
        )
    control = plan.weights[plan.control]
    least = min(plan.weights[arm] for arm in plan.treated)
    pair = control + least  # of all people, those whom the smallest comparison is made of
    treated = least / pair
    effect = (metric.margin if metric.role == "guardrail" else metric.mde) * abs(mean)
    of_pair = people_for(effect, variance, power=POWER, share=treated, alpha=alpha) * inflation
    people = of_pair / pair
    days, beyond = _days(people, new, plan)
    by_week = {}
    for week in (1, 2, 3, 4, 6, 8):
        come = _come(7 * week - plan.window_days, new)
        if come * pair * min(treated, 1 - treated) >= plan.least_people:
            size = detectable(variance, come * pair / inflation, power=POWER, share=treated, alpha=alpha)
            by_week[week] = size / abs(mean) if mean else float("inf")
    return Need(metric, mean, float(np.sqrt(plain)), variance / plain, people, days, beyond, by_week)


def _come(days: float, new: F64) -> float:
    """How many different people have come after so many days; beyond the log, as many a day as in its last
    week."""
    if days <= 0:
        return 0.0
    whole = min(int(days), len(new))
    return float(new[:whole].sum() + max(days - len(new), 0) * _recent(new))


def _recent(new: F64) -> float:
    return float(new[-8:-1].mean()) if len(new) > 1 else float(new.sum())  # the last day is not over


def _days(people: float, new: F64, plan: Plan) -> tuple[int | None, bool]:
    """Whole weeks until so many people have come and their windows are over; whether the log is too short to
    tell."""
    come, beyond = days_for(people, new), False
    if come is None:
        beyond, rate = True, _recent(new)
        if not rate or not np.isfinite(people):
            return None, True
        come = len(new) + int(np.ceil((people - new.sum()) / rate))
    return whole_weeks(max(plan.min_days, int(np.ceil(come + plan.window_days)))), beyond
