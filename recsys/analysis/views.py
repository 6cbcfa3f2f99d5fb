"""The effects that decided, seen in other ways: by day since the first exposure, look by look, without caps,
without the largest. Nothing here decides: it says whether what decided rests on a few people, or on the first
days alone."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from recsys.analysis.compare import EVEN, UNPLANNED, Effect, looks_of, pairs_by_look
from recsys.analysis.effects.bounds import band
from recsys.analysis.effects.moments import moments_of
from recsys.analysis.effects.pair import Pair, Quantity, contrast, pair_of, relative
from recsys.analysis.effects.power import detectable
from recsys.analysis.plan import Metric
from recsys.analysis.planning import POWER
from recsys.analysis.study import Figures, Study
from recsys.analysis.tables.outcomes import steps_of
from recsys.arrays import F64, Bool
from recsys.evaluation.significance import Interval
from recsys.history import DAY_S

LARGEST = 0.01  # of people, by how much of a metric they have


class Step(NamedTuple):
    """Some days since the first exposure (1 = the first), of people whose whole window is over. share: of the
    control, with the interval of one look."""

    first_day: float
    last_day: float
    control: float
    treated: float
    share: Interval


class Look(NamedTuple):
    """What was known at the end of a day. second: that moment; people: of control and arm; share: of the
    control, with the interval that holds whenever one looks."""

    second: int
    people: tuple[int, int]
    control: float
    treated: float
    share: Interval


class Way(NamedTuple):
    """One way to see an effect. share: of the control, with as many standard errors to a side as decided."""

    name: str
    people: int
    share: Interval


def smallest_shown(effect: Effect, power: float = POWER) -> float:
    """The effect, as a share of the control, that people and variance at hand show with this power: what was
    reached of the planned one. NaN where nothing is known."""
    low, high = effect.difference.low, effect.difference.high
    people = sum(effect.people)
    if not (np.isfinite(effect.critical) and people and effect.control and high > low):
        return float("nan")
    error = (high - low) / 2 / effect.critical
    share = effect.people[1] / people
    alpha = 2 * float(stats.norm.sf(effect.critical))
    size = detectable(error**2 * people * share * (1 - share), people, power=power, share=share, alpha=alpha)
    return abs(size / effect.control)


def by_step(study: Study, metric: Metric, code: int) -> list[Step]:
    """A primary metric of an arm by days since the first exposure; empty where the window is one step. All
    steps are of the same people, so that who comes early does not make the first days."""
    length, steps = steps_of(study.plan)
    if steps < 2:
        return []
    whole = study.outcomes.daily[metric.name][study.rows]
    target = Quantity(0, None if metric.per is None else 1)
    counted = _find_complete(study, code)
    rows = []
    for at in range(steps):
        columns = whole[:, at].astype(np.float64)
        control, treated = (moments_of(columns[counted & (study.arm == arm)]) for arm in (0, code))
        pair = pair_of(control, treated, target)
        days = at * length / DAY_S + 1, min((at + 1) * length / DAY_S, study.plan.window_days)
        critical = float(stats.t.isf(0.025, max(float(contrast(pair).df), 1.0)))
        rows.append(Step(*days, float(pair.control), float(pair.treated), _interval(pair, critical)))
    return rows


def by_look(study: Study, metric: Metric, code: int) -> list[Look]:
    """A metric of an arm at the end of each day, from the first on which both arms have enough people."""
    plan = study.plan
    pair = pairs_by_look(study, metric, code)
    share = plan.weights[plan.control] + plan.weights[plan.arms[code]]
    planned = (plan.people or UNPLANNED) * (share if plan.people else 1.0)
    critical = band(np.maximum(np.asarray(pair.n, np.float64), 1.0), plan.alpha, planned)
    with np.errstate(all="ignore"):
        effect, low, high = relative(pair, critical)
    return [
        Look(
            int(second),
            (int(pair.n_control[at]), int(pair.n_treated[at])),
            float(pair.control[at]),
            float(pair.treated[at]),
            Interval(float(effect[at]), float(low[at]), float(high[at])),
        )
        for at, second in enumerate(study.looks)
        if min(pair.n_control[at], pair.n_treated[at]) >= plan.least_people
    ]


def other_ways(study: Study, effect: Effect) -> list[Way]:
    """An effect as it was decided, and without CUPED, with other caps, and without the people who have
    most."""
    if not np.isfinite(effect.critical):
        return []
    code, metric = study.plan.arms.index(effect.arm), effect.metric
    figures, counted = study.figures[metric.name], _find_complete(study, code)
    over = figures.columns[:, 0]
    edge = float(np.quantile(over[counted], 1 - LARGEST))
    ways = [("as it was decided", figures, counted)]
    if figures.covariates:
        ways.append(("without CUPED", figures._replace(covariates=()), counted))
    if metric.cap is not None:
        ways.append(
            ("without the cap", _with(figures, study.outcomes.uncapped[metric.name][study.rows]), counted)
        )
    if (over[counted] > edge).any():
        ways.append(
            (f"capped at {edge:.4g}, which 1 % exceed", _with(figures, np.minimum(over, edge)), counted)
        )
        ways.append(("without the 1 % who have most", figures, counted & (over <= edge)))
    return [_way(study, name, some, of, code, effect.critical) for name, some, of in ways]


def _with(figures: Figures, over: F64) -> Figures:
    """With another column of what is measured."""
    return figures._replace(columns=np.concatenate([over[:, None], figures.columns[:, 1:]], axis=1))


def _way(study: Study, name: str, figures: Figures, of: Bool, code: int, critical: float) -> Way:
    weights, plan = study.plan.weights, study.plan
    treated = weights[plan.arms[code]]
    uneven = abs(treated / (treated + weights[plan.control]) - 0.5) > EVEN
    control, other = (moments_of(figures.columns[of & (study.arm == arm)]) for arm in (0, code))
    pair = pair_of(control, other, figures.target, figures.covariates, by_arm=uneven)
    return Way(name, int(pair.n), _interval(pair, critical))


def _find_complete(study: Study, code: int) -> Bool:
    """(n,): the people of control and arm whose window was over at the look that decides."""
    plan = study.plan
    mine = (study.arm == 0) | (study.arm == code)
    people = np.bincount(study.look[mine], minlength=len(study.looks)).cumsum()
    share = plan.weights[plan.control] + plan.weights[plan.arms[code]]
    return np.asarray(mine & (study.look <= looks_of(plan, people, study.looks, share).last), bool)


def _interval(pair: Pair, critical: float) -> Interval:
    with np.errstate(all="ignore"):
        return Interval(*map(float, relative(pair, critical)))
