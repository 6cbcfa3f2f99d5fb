"""Ship, do not ship, cannot tell yet, or cannot be trusted: one sentence, why, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.analysis.compare import (
    BETTER,
    FEW,
    KEPT,
    LOST,
    NO_DIFFERENCE,
    UNPLANNED,
    WORSE,
    Effect,
    Looks,
    Segment,
    compare_arms,
    compare_segments,
    looks_of,
)
from recsys.analysis.health.check import SICK, Check
from recsys.analysis.health.checks import check_health
from recsys.analysis.plan import Plan
from recsys.analysis.study import Study, read_study
from recsys.history import DAY_S
from recsys.progress import Progress, Step, silent
from recsys.text import utc_text

SHIP, DO_NOT_SHIP, WAIT, DISTRUST = "ship", "do not ship", "cannot tell yet", "cannot be trusted"
_RECENT_DAYS = 7  # the days whose new people say how many more will come


@dataclass(frozen=True)
class Verdict:
    """What came out. arm: which one to ship; None otherwise. sentence: the word with its reason; next_step:
    what to do.

    checks, effects, segments: what it is made of. Where a check is sick, effects are not to be shown.
    """

    word: str
    arm: str | None
    sentence: str
    next_step: str
    checks: Sequence[Check]
    effects: Sequence[Effect]
    segments: Sequence[Segment]
    looks: Looks
    days: int
    study: Study

    @property
    def trusted(self) -> bool:
        return self.word != DISTRUST


def analyse(
    exposures: Any,
    outcomes: Any,
    plan: Plan,
    *,
    people: Any = None,
    until: int | None = None,
    beside: Sequence[Check] = (),
    progress: Progress = silent,
) -> Verdict:
    """The verdict on two tables, paths or Arrow tables, by a plan.

    people: a table of what is known of people beside; until: the unix second up to which outcomes are
    complete, else the last outcome. beside: checks of what the tables do not say. Raises DataError or
    SettingError where the input is not what the plan says.
    """
    study = read_study(exposures, outcomes, plan, people=people, until=until, progress=progress)
    return judge(study, beside, progress=progress)


def judge(study: Study, beside: Sequence[Check] = (), *, progress: Progress = silent) -> Verdict:
    """Checks first, then effects, then the verdict. beside: checks of what the tables do not say."""
    plan = study.plan
    checks = [*check_health(study), *beside]
    progress(Step("compare arms", 0, 1))
    effects, segments = compare_arms(study), compare_segments(study)
    progress(Step("compare arms", 1, 1))
    people = np.bincount(study.look, minlength=len(study.looks)).cumsum()
    looks = looks_of(plan, people, study.looks)
    firsts = study.first[study.look <= looks.last]
    days = int(firsts.max() // DAY_S - firsts.min() // DAY_S) + 1 if len(firsts) else 0
    sick = [one for one in checks if one.state == SICK]
    if sick:
        word, arm = DISTRUST, None
        failing = "This check fails" if len(sick) == 1 else "These checks fail"
        sentence = f"Cannot be trusted. {failing}: {'; '.join(one.name for one in sick)}."
        next_step = (
            f"Find the cause first ({sick[0].said}). Effects are not shown, since they may be those of the "
            "fault."
        )
    else:
        word, arm, sentence, next_step = _decide(plan, effects, looks, people, days, study)
    return Verdict(word, arm, sentence, next_step, checks, effects, segments, looks, days, study)


def _decide(
    plan: Plan, effects: Sequence[Effect], looks: Looks, people: Any, days: int, study: Study
) -> tuple[str, str | None, str, str]:
    """The word, the arm, the sentence and the next step of a healthy test."""
    wait = _how_long(plan, looks, people, study)
    by_arm = {arm: [one for one in effects if one.arm == arm] for arm in plan.treated}
    primary = {arm: [one for one in of_arm if one.metric.role == "primary"] for arm, of_arm in by_arm.items()}
    guards = {
        arm: [one for one in of_arm if one.metric.role == "guardrail"] for arm, of_arm in by_arm.items()
    }
    unsaid = [
        one
        for of_arm in primary.values()
        for one in of_arm
        if one.state not in (BETTER, WORSE, NO_DIFFERENCE)
    ]
    gains = {arm: [one for one in of_arm if one.state == BETTER] for arm, of_arm in primary.items()}
    winners = [
        arm
        for arm, of_arm in primary.items()
        if gains[arm]
        and not any(one.state == WORSE for one in of_arm)
        and all(one.state == KEPT for one in guards[arm])
    ]
    if days < plan.min_days:
        more = plan.min_days - days
        return (
            WAIT,
            None,
            f"Cannot tell yet: people came on {days} days of the {plan.min_days} planned.",
            (f"Wait {more} more {'day' if more == 1 else 'days'}."),
        )
    if winners:
        best = max(winners, key=lambda arm: max(abs(one.z) for one in gains[arm]))
        said = "; ".join(f"{one.metric.name} {_share(one)}" for one in gains[best])
        kept = (
            f", and {_names(guards[best])} {'is' if len(guards[best]) == 1 else 'are'} kept"
            if guards[best]
            else ""
        )
        return (
            SHIP,
            best,
            f"Ship {best}: {said}{kept}.",
            "Ship it, and keep a share of people on the control for a while.",
        )
    for arm in plan.treated:
        lost = [one for one in guards[arm] if one.state == LOST]
        worse = [one for one in primary[arm] if one.state == WORSE]
        open_guards = [one for one in guards[arm] if one.state != KEPT]
        if gains[arm] and not lost and not worse and open_guards and not looks.ended:
            said = "; ".join(f"{one.metric.name} {_share(one)}" for one in gains[arm])
            return (
                WAIT,
                None,
                f"Cannot tell yet: {said}, but {_names(open_guards)} not shown to be kept.",
                wait,
            )
    reasons = [_against(arm, primary[arm], guards[arm], looks.ended) for arm in plan.treated]
    if all(reasons):
        return (
            DO_NOT_SHIP,
            None,
            f"Do not ship: {'; '.join(reasons)}.",
            "Keep the control. What was learned is below.",
        )
    if unsaid and (looks.ended or all(one.state != FEW for one in unsaid)):
        one = unsaid[0]
        return (
            WAIT,
            None,
            f"Cannot tell: {one.metric.name} of {one.arm}: {one.state}.",
            ("Mend the metric in the plan, or the outcomes that it counts."),
        )
    if unsaid:
        return WAIT, None, f"Cannot tell yet: {unsaid[0].state} for {unsaid[0].metric.name}.", wait
    return (
        WAIT,
        None,
        f"Cannot tell yet: {'; '.join(_so_far(one) for of_arm in primary.values() for one in of_arm)}.",
        wait,
    )


def _against(arm: str, primary: Sequence[Effect], guards: Sequence[Effect], ended: bool) -> str:
    """Why an arm is not to be shipped; empty where that is open."""
    if worse := [one for one in primary if one.state == WORSE]:
        return f"with {arm}, {'; '.join(f'{one.metric.name} {_share(one)}' for one in worse)}"
    if lost := [one for one in guards if one.state == LOST]:
        return f"{arm} loses more of {_names(lost)} than was allowed ({_share(lost[0])})"
    if not ended or any(one.state not in (BETTER, NO_DIFFERENCE) for one in primary):
        return ""
    if any(one.state == BETTER for one in primary):
        return f"{arm} gains, but {_names([one for one in guards if one.state != KEPT])} not shown to be kept"
    return f"no gain of {arm} was shown ({'; '.join(f'{one.metric.name} {_share(one)}' for one in primary)})"


def _names(effects: Sequence[Effect]) -> str:
    return " and ".join(one.metric.name for one in effects)


def _share(one: Effect) -> str:
    """`+2.1 % (95 %: +0.4 to +3.8 %)`, in units of the metric where the control is too near zero."""
    if np.isnan(one.share.mean):
        return f"{one.difference.mean:+.4g} ({one.difference.low:+.4g} to {one.difference.high:+.4g})"
    mean, low, high = (100 * value for value in one.share)
    return f"{mean:+.2f} % ({low:+.2f} to {high:+.2f} %)"


def _so_far(one: Effect) -> str:
    return f"{one.metric.name} of {one.arm} so far {_share(one)}"


def _how_long(plan: Plan, looks: Looks, people: Any, study: Study) -> str:
    """What to wait for: days until the planned people have complete windows, by those who wait and who will
    come."""
    if looks.ended:
        return (
            "It has ended and will not be told by waiting: plan a new test with more people (`recsys ab "
            "plan`)."
        )
    parts = []
    if plan.people is not None:
        missing = plan.people - int(people[-1])
        waiting = np.sort(study.waiting)
        window = plan.window_s + plan.settle_s
        if len(waiting) >= missing:
            days = (int(waiting[missing - 1]) - study.until) / DAY_S
        else:
            since = study.until - _RECENT_DAYS * DAY_S
            recent = int((study.first > since).sum() + (study.waiting - window > since).sum())
            rate = recent / _RECENT_DAYS
            days = (missing - len(waiting)) / rate + window / DAY_S if rate else float("inf")
        if not np.isfinite(days):
            return f"{missing:,} of {plan.people:,} people are missing, and nobody new has come for a week."
        parts.append(f"{int(np.ceil(days))} more days for the {plan.people:,} planned people")
    if plan.ends is not None:
        parts.append(f"it ends at {utc_text(plan.ends)}")
    if not parts:
        return (
            "Without planned people or an end only a watch decides, which costs a third of the power: plan "
            f"both (`recsys ab plan`). It is sharpest near {UNPLANNED:,.0f} people."
        )
    return f"Wait: {', or '.join(parts)}."
