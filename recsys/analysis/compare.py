"""Each metric of each arm against the control, look by look."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from recsys.analysis.effects.bounds import END, WATCH, WIDEST, band, group_bounds, group_p, hybrid_p
from recsys.analysis.effects.moments import moments_of
from recsys.analysis.effects.pair import Contrast, Pair, contrast, pair_of, post_stratified, relative
from recsys.analysis.plan import Metric, Plan
from recsys.analysis.study import Study
from recsys.arrays import F64, I64, Array, Bool
from recsys.evaluation.significance import Interval, holm

UNPLANNED = 10_000.0  # people at which the always-valid band is narrowest where no number is planned
EVEN = 0.1  # a share of treated people that is farther from one half gets a theta for each arm
BETTER, WORSE, NO_DIFFERENCE = "better", "worse", "no difference shown"
KEPT, LOST, NOT_SHOWN = "kept", "lost", "not yet certain to be kept"
FEW, CONSTANT = "too few people", "the same for everybody"
_NONE = Interval(float("nan"), float("nan"), float("nan"))
_INTERVALS = ("difference", "share", "always", "always_share", "plain", "stratified")  # of an effect


@dataclass(frozen=True)
class Effect:
    """One metric of one arm. state: better, worse, no difference shown; of guardrails kept, lost, not shown;
    or why nothing is said.

    difference, share: the effect in units of the metric and as a share of the control, with the interval that
    decides, whose kind is named; share is NaN where the control is too near zero. always, always_share: the
    interval that holds whenever one looks, at all people so far. plain: the share without CUPED, stratified:
    weighted by what people did before. variance: what CUPED left of the variance. p: of the look that
    decides, whatever other looks there were; p_corrected: over all metrics of the role. crossed: the second
    of the first look at which it would have been decided, 0 = none. critical: how many standard errors the
    interval that decides reaches to a side.
    """

    metric: Metric
    arm: str
    people: tuple[int, int]
    control: float
    treated: float
    difference: Interval
    share: Interval
    kind: str
    always: Interval
    always_share: Interval
    plain: Interval
    stratified: Interval
    variance: float
    p: float
    p_corrected: float
    z: float
    state: str
    crossed: int = 0
    critical: float = float("nan")


@dataclass(frozen=True)
class Looks:
    """When it was looked, at how much of the planned information, and what kind of bounds decides.

    last: the look that decides, the end where that has come. information: (last + 1,) for group-sequential
    bounds, else None. ended: whether the last look is the planned end.
    """

    last: int
    information: F64 | None
    ended: bool

    @property
    def kind(self) -> str:
        if self.information is not None:
            return "group-sequential"
        return "at the end" if self.ended else "always-valid watch"


def looks_of(plan: Plan, people: I64, ends: I64, share: float = 1.0) -> Looks:
    """The looks of a comparison: `people` (looks,) with complete windows, of arms that make up `share` of all
    people.

    The end is the first look that has the planned people, or is at the planned moment.
    """
    over = ends >= plan.ends if plan.ends is not None else np.zeros(len(ends), bool)
    if plan.people is not None:
        over = over | (people >= plan.people * share)
    ended = bool(over.any())
    last = int(np.argmax(over)) if ended else len(ends) - 1
    if plan.people is None:
        return Looks(last, None, ended)
    information = np.minimum(people[: last + 1] / (plan.people * share), 1.0)
    information[-1] = 1.0 if ended else information[-1]
    return Looks(last, information, ended)


def compare_arms(study: Study) -> list[Effect]:
    """Every metric of every arm; p-values corrected by Holm over all primary metrics and arms, and by
    Benjamini and Hochberg over all exploratory ones. Guardrails stand each for itself: they can only stop."""
    alpha, arms = study.plan.alpha, range(1, len(study.plan.arms))
    effects = [_effect(study, metric, code) for metric in study.plan.metrics for code in arms]
    primary = holm({at: one.p for at, one in enumerate(effects) if one.metric.role == "primary"})
    others = [at for at, one in enumerate(effects) if one.metric.role == "exploratory"]
    corrected = dict(primary)
    if others:
        q = stats.false_discovery_control([effects[at].p for at in others])
        corrected |= dict(zip(others, q.tolist(), strict=True))
    for at, p in corrected.items():
        one = effects[at]
        state = one.state
        if state == NO_DIFFERENCE and p <= alpha:
            state = BETTER if (one.z > 0) == (one.metric.better == "higher") else WORSE
        effects[at] = replace(one, p_corrected=p, state=state)
    return effects


def pairs_by_look(
    study: Study, metric: Metric, code: int, of: Bool | None = None, *, adjusted: bool = True
) -> Pair:
    """Control and one arm by look (looks,), of all people or of some (n,)."""
    figures = study.figures[metric.name]
    weights = study.plan.weights
    treated = weights[study.plan.arms[code]]
    share = treated / (treated + weights[study.plan.control])
    with np.errstate(all="ignore"):  # looks with nobody yet
        return pair_of(
            study.moments(metric, 0, of),
            study.moments(metric, code, of),
            figures.target,
            figures.covariates if adjusted else (),
            by_arm=abs(share - 0.5) > EVEN,
        )


def _effect(study: Study, metric: Metric, code: int) -> Effect:
    plan, arm = study.plan, study.plan.arms[code]
    pair = pairs_by_look(study, metric, code)
    plain = pairs_by_look(study, metric, code, adjusted=False)
    share = plan.weights[plan.control] + plan.weights[arm]
    looks = looks_of(plan, np.asarray(pair.n, np.int64), study.looks, share)
    last = looks.last
    factor = _factor(metric)
    with np.errstate(all="ignore"):
        asked = contrast(pair, factor)
        z = np.where(_enough(study, metric, code) & np.isfinite(asked.estimate), np.nan_to_num(asked.z), 0.0)
    planned = (plan.people or UNPLANNED) * (share if plan.people else 1.0)
    n = np.asarray(pair.n, np.float64)
    now, decided = _at(pair, -1), _at(pair, last)
    base: dict[str, Any] = {
        "metric": metric,
        "arm": arm,
        "people": (int(decided.n_control), int(decided.n_treated)),
        "control": float(decided.control),
        "treated": float(decided.treated),
        "kind": looks.kind,
        "z": float(z[last]),
    }
    why = _nothing(study, metric, code, decided, last)
    if why:
        empty: dict[str, Any] = dict.fromkeys(_INTERVALS, _NONE)
        return Effect(**base, **empty, variance=1.0, p=1.0, p_corrected=1.0, state=why)
    if looks.information is not None:
        bounds = group_bounds(looks.information, plan.alpha)
        p = group_p(float(z[last]), looks.information)
        crossed = np.abs(z[: last + 1]) > bounds
        critical = min(float(bounds[-1]), WIDEST)
    else:
        bounds = band(np.maximum(n[: last + 1], 1), WATCH * plan.alpha, planned)
        bounds[-1] = stats.norm.isf(END * plan.alpha / 2) if looks.ended else bounds[-1]
        p = hybrid_p(float(z[last]), float(n[last]), plan.alpha, planned, looks.ended)
        crossed = np.abs(z[: last + 1]) > bounds
        critical = float(bounds[-1])
    valid = float(band(n[-1:], plan.alpha, planned)[0])
    state = NO_DIFFERENCE
    if metric.role == "guardrail":
        state = _guardrail(metric, float(z[last]), bool(crossed[-1]))
    return Effect(
        **base,
        difference=_interval(contrast(decided), critical),
        share=Interval(*map(float, relative(decided, critical))),
        always=_interval(contrast(now), valid),
        always_share=Interval(*map(float, relative(now, valid))),
        plain=Interval(*map(float, relative(_at(plain, last), critical))),
        stratified=_stratify(study, metric, code, last, critical),
        variance=float((contrast(decided).error / contrast(_at(plain, last)).error) ** 2),
        p=p,
        p_corrected=p,
        state=state,
        crossed=int(study.looks[int(np.argmax(crossed))]) if crossed.any() else 0,
        critical=critical,
    )


def _factor(metric: Metric) -> float:
    """What the control is multiplied by: a guardrail asks whether more than the margin is lost."""
    if metric.role != "guardrail":
        return 1.0
    return 1 - metric.margin if metric.better == "higher" else 1 + metric.margin


def _guardrail(metric: Metric, z: float, crossed: bool) -> str:
    if not crossed:
        return NOT_SHOWN
    return KEPT if (z > 0) == (metric.better == "higher") else LOST


def _enough(study: Study, metric: Metric, code: int) -> Bool:
    """(looks,): whether both arms have the people, and the active ones, below which a figure is no normal
    variable."""
    plan, looks = study.plan, len(study.looks)
    active = study.figures[metric.name].columns[:, 0] != 0
    enough = np.ones(looks, bool)
    for arm in (0, code):
        mine = study.arm == arm
        for rows, least in ((mine, plan.least_people), (mine & active, plan.least_active)):
            enough &= np.bincount(study.look[rows], minlength=looks).cumsum() >= least
    return enough


def _nothing(study: Study, metric: Metric, code: int, pair: Pair, last: int) -> str:
    """Why a metric cannot be compared; empty where it can."""
    if pair.n_control == 0 or pair.n_treated == 0:
        return FEW
    if not np.isfinite(pair.control + pair.treated):
        return f"no {metric.per} to divide by"
    if np.ptp(study.figures[metric.name].columns[:, 0]) == 0 or contrast(pair).error == 0:
        return CONSTANT
    return "" if _enough(study, metric, code)[last] else FEW


def _stratify(study: Study, metric: Metric, code: int, last: int, critical: float) -> Interval:
    """The share of the control, those who were active before and those who were not each weighted by their
    number."""
    pairs = []
    for group in (True, False):
        pair = _at(pairs_by_look(study, metric, code, study.warm == group), last)
        if min(pair.n_control, pair.n_treated) >= study.plan.least_people:
            pairs.append(pair)
        elif pair.n:
            return _NONE
    if len(pairs) < 2:
        return _NONE
    one = post_stratified(pairs)
    control = float(np.asarray(sum(pair.control * pair.n for pair in pairs) / sum(pair.n for pair in pairs)))
    found = _interval(one, critical)
    return Interval(*(value / control for value in found)) if control > 0 else _NONE


@dataclass(frozen=True)
class Segment:
    """One metric of one arm among some people: exploratory. share: with the interval of one look."""

    metric: str
    arm: str
    segment: str
    people: int
    share: Interval
    p: float
    p_corrected: float


def compare_segments(study: Study) -> list[Segment]:
    """The primary metrics by segment, and by whether people were active before; p-values by Benjamini and
    Hochberg."""
    groups: list[tuple[str, Array]] = [("active before", study.warm), ("new", ~study.warm)]
    for name, (codes, labels) in study.segments.items():
        groups += [(f"{name} {label}", codes == at) for at, label in enumerate(labels)]
    found = []
    for metric in study.plan.metrics_of("primary"):
        figures = study.figures[metric.name]
        for code in range(1, len(study.plan.arms)):
            for name, of in groups:
                arms = [of & (study.arm == arm) for arm in (0, code)]
                if min(map(np.count_nonzero, arms)) < study.plan.least_people:
                    continue
                control, treated = (moments_of(figures.columns[arm]) for arm in arms)
                pair = pair_of(control, treated, figures.target, figures.covariates)
                one = contrast(pair)
                if not one.error > 0:
                    continue
                share = Interval(*map(float, relative(pair, float(stats.t.isf(0.025, one.df)))))
                found.append(
                    Segment(metric.name, study.plan.arms[code], name, int(pair.n), share, float(one.p), 1.0)
                )
    if not found:
        return []
    q = stats.false_discovery_control([one.p for one in found])
    return [replace(one, p_corrected=float(p)) for one, p in zip(found, q, strict=True)]


def _at(pair: Pair, look: int) -> Pair:
    return Pair(*(np.asarray(part)[look] for part in pair))


def _interval(one: Contrast, critical: float) -> Interval:
    half = critical * float(one.error)
    return Interval(float(one.estimate), float(one.estimate) - half, float(one.estimate) + half)
