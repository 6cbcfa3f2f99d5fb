"""The verdict of an experiment and the needs of a plan, for people and for machines."""

import math
from collections.abc import Sequence
from typing import Any

from recsys.analysis.compare import Effect, Segment
from recsys.analysis.effects.power import whole_weeks
from recsys.analysis.health.check import UNKNOWN, Check
from recsys.analysis.planning import POWER, Need, Needs
from recsys.analysis.verdict import Verdict
from recsys.evaluation.significance import Interval
from recsys.text import text_table, utc_text

_ROLES = {
    "primary": "What decides",
    "guardrail": "What must not be lost",
    "exploratory": "What else was looked at",
}


def describe_verdict(verdict: Verdict, *, show_sick: bool = False) -> str:
    """The verdict, the health, and the effects where they may be seen."""
    parts = [f"{verdict.sentence}\n{verdict.next_step}", _people(verdict), _health(verdict.checks)]
    notes = _notes(verdict)
    if notes:
        parts.append("\n".join(notes))
    if verdict.trusted or show_sick:
        if not verdict.trusted:
            parts.append("THE TEST IS SICK: what follows may be the effect of the fault alone.")
        for role, title in _ROLES.items():
            effects = [one for one in verdict.effects if one.metric.role == role]
            if effects:
                parts.append(f"{title}:\n{_effects(effects)}")
        parts.append(_always(verdict))
        if verdict.segments:
            parts.append(
                f"The same by groups of people, to be looked at and not to decide by:\n{_segments(verdict)}"
            )
    return "\n\n".join(parts)


def _people(verdict: Verdict) -> str:
    study, plan = verdict.study, verdict.study.plan
    counts = ", ".join(
        f"{arm} {count:,}" for arm, count in zip(plan.arms, study.people.tolist(), strict=True)
    )
    lines = [
        f"People whose {plan.window_days:g} days are over: {counts}; people came on {verdict.days} days"
        + ("" if verdict.days % 7 == 0 else ", which are no whole weeks")
        + f". Outcomes up to {utc_text(study.until)}."
    ]
    for reason, by_arm in study.excluded.items():
        if by_arm.sum():
            told = ", ".join(
                f"{arm} {count:,}" for arm, count in zip(plan.arms, by_arm.tolist(), strict=True)
            )
            lines.append(f"Not counted, {reason}: {told}.")
    return "\n".join(lines)


def _health(checks: Sequence[Check]) -> str:
    rows = [
        [one.name, one.state.upper() if one.state not in ("ok", UNKNOWN) else one.state, one.said]
        for one in checks
    ]
    return text_table(
        ["is it so that", "", "figures"], [[name, state, _short(said)] for name, state, said in rows]
    )


def _short(said: str) -> str:
    return said if len(said) < 100 else said[:96].rstrip() + " ..."


def _notes(verdict: Verdict) -> list[str]:
    """Sentences on rows that were wrong, and on what else the tables hold."""
    study = verdict.study
    notes = [f"Exposures: {said}." for said in study.exposures.faults]
    notes += [f"Outcomes: {said}." for said in study.outcomes.faults]
    if study.outcomes.without_value:
        notes.append(
            f"Outcomes: {study.outcomes.without_value:,} without a number as their value were left out."
        )
    if repeated := int(study.outcomes.repeated.sum()):
        what = "left out" if study.outcomes.has_ids else "counted, for without event_id nobody knows"
        notes.append(f"Outcomes: {repeated:,} came twice: {what}.")
    if late := int(study.outcomes.late.sum()):
        notes.append(
            f"Outcomes: {late:,} came later than {study.plan.settle_hours:g} hours after they "
            "happened: left out."
        )
    if study.outcomes.strangers:
        notes.append(f"Outcomes: {study.outcomes.strangers:,} of people who were not exposed.")
    return notes


def _effects(effects: Sequence[Effect]) -> str:
    rows = [
        [
            one.metric.name,
            one.arm,
            _figure(one.control),
            _figure(one.treated),
            _percent(one.share) or _absolute(one.difference),
            _p(one),
            one.state,
        ]
        for one in effects
    ]
    kinds = " / ".join(dict.fromkeys(one.kind for one in effects))
    return text_table(["metric", "arm", "control", "arm's", f"effect, 95 % {kinds}", "p", "so it is"], rows)


def _always(verdict: Verdict) -> str:
    rows = [
        [one.metric.name, one.arm, _percent(one.always_share) or _absolute(one.always), _percent(one.plain),
         _percent(one.stratified), f"{100 * (1 - one.variance):.0f} %"]
        for one in verdict.effects
    ]  # fmt: skip
    head = [
        "metric",
        "arm",
        "effect, 95 % whenever one looks",
        "without CUPED",
        "warm and cold weighted",
        "CUPED takes",
    ]
    return "The same in other ways:\n" + text_table(head, rows)


def _segments(verdict: Verdict) -> str:
    rows = [
        [one.segment, one.metric, one.arm, f"{one.people:,}", _percent(one.share), f"{one.p_corrected:.2g}"]
        for one in verdict.segments
    ]
    return text_table(["people", "metric", "arm", "number", "effect, 95 %", "p, corrected"], rows)


def _percent(interval: Interval) -> str:
    if math.isnan(interval.mean):
        return ""
    return f"{100 * interval.mean:+.2f} % ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"


def _absolute(interval: Interval) -> str:
    if math.isnan(interval.mean):
        return ""
    return f"{interval.mean:+.4g} ({interval.low:+.4g} to {interval.high:+.4g})"


def _figure(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"


def _p(one: Effect) -> str:
    return "" if math.isnan(one.difference.mean) else f"{one.p_corrected:.2g}"


def plain(verdict: Verdict, *, show_sick: bool = False) -> dict[str, Any]:
    """The report for machines; without effects where the test is sick."""
    study, plan = verdict.study, verdict.study.plan
    shown = verdict.trusted or show_sick
    return {
        "verdict": verdict.word,
        "arm": verdict.arm,
        "sentence": verdict.sentence,
        "next_step": verdict.next_step,
        "health": [one._asdict() for one in verdict.checks],
        "people": dict(zip(plan.arms, study.people.tolist(), strict=True)),
        "days": verdict.days,
        "until": study.until,
        "decided_by": verdict.looks.kind,
        "ended": verdict.looks.ended,
        "excluded": {
            why: dict(zip(plan.arms, by.tolist(), strict=True)) for why, by in study.excluded.items()
        },
        "notes": _notes(verdict),
        "effects": [_plain_effect(one) for one in verdict.effects] if shown else None,
        "segments": [_plain_segment(one) for one in verdict.segments] if shown else None,
        "plan": plan.model_dump(mode="json"),
    }


def _plain_effect(one: Effect) -> dict[str, Any]:
    intervals = ("difference", "share", "always", "always_share", "plain", "stratified")
    return {
        "metric": one.metric.name,
        "role": one.metric.role,
        "arm": one.arm,
        "state": one.state,
        "people": list(one.people),
        "control": _number(one.control),
        "treated": _number(one.treated),
        **{name: _plain_interval(getattr(one, name)) for name in intervals},
        "interval": one.kind,
        "variance_left": _number(one.variance),
        "p": one.p,
        "p_corrected": one.p_corrected,
        "crossed": one.crossed or None,
    }


def _plain_segment(one: Segment) -> dict[str, Any]:
    return {"metric": one.metric, "arm": one.arm, "people": one.segment, "number": one.people,
            "share": _plain_interval(one.share), "p": one.p, "p_corrected": one.p_corrected}  # fmt: skip


def _plain_interval(interval: Interval) -> dict[str, float] | None:
    """The interval as plain data; None where there is none, or where it is unbounded."""
    if not all(map(math.isfinite, interval)):
        return None
    return dict(zip(("mean", "low", "high"), interval, strict=True))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def told_needs(needs: Needs) -> str:
    """What the plan needs, in sentences and a table."""
    lines = []
    if needs.days is None:
        lines.append(
            "No number of days suffices: nobody new came in the last week of the log, or an effect is "
            "too small."
        )
    else:
        far = (
            " The log is shorter, so days go by the people of its last week."
            if any(one.beyond for one in needs.needs)
            else ""
        )
        lines.append(
            f"{math.ceil(needs.planned):,} people, of all arms together, and {needs.days} days: `people = "
            f"{math.ceil(needs.planned)}` in the plan.{far}"
        )
    lines.append(
        f"By {needs.people:,} people of the log since {utc_text(needs.since)}, power {POWER:.2f}, daily "
        f"looks ({needs.inflation:.3f} times the people of one look), error {needs.alpha:.3g} for each "
        "comparison."
    )
    weeks = sorted({week for one in needs.needs for week in one.by_week})
    rows = [
        [
            one.metric.name,
            _figure(one.mean),
            _figure(one.deviation),
            f"{100 * (1 - one.left):.0f} %",
            f"{_people_of(one):.3g} %",
            f"{math.ceil(one.people):,}" if math.isfinite(one.people) else "no number",
            "never" if one.days is None else f"{one.days} days",
            *(f"{100 * one.by_week[week]:.2f} %" if week in one.by_week else "" for week in weeks),
        ]
        for one in needs.needs
    ]
    head = ["metric", "mean", "deviation", "CUPED takes", "effect asked", "people", "time"]
    return (
        "\n".join(lines) + "\n\n" + text_table([*head, *(f"shown in {week} weeks" for week in weeks)], rows)
    )


def _people_of(one: Need) -> float:
    return 100 * (one.metric.margin if one.metric.role == "guardrail" else one.metric.mde)


def plain_needs(needs: Needs) -> dict[str, Any]:
    """What a plan needs, as plain data, for JSON."""
    return {
        "people": math.ceil(needs.planned) if math.isfinite(needs.planned) else None,
        "days": needs.days,
        "weeks": None if needs.days is None else whole_weeks(needs.days) // 7,
        "log": {"people": needs.people, "since": needs.since, "new_by_day": needs.new_by_day.tolist()},
        "alpha": needs.alpha,
        "inflation": needs.inflation,
        "metrics": [
            {
                "metric": one.metric.name,
                "mean": one.mean,
                "deviation": one.deviation,
                "variance_left": one.left,
                "effect": _people_of(one) / 100,
                "people": math.ceil(one.people) if math.isfinite(one.people) else None,
                "days": one.days,
                "log_too_short": one.beyond,
                "shown_by_week": {str(week): size for week, size in one.by_week.items()},
            }
            for one in needs.needs
        ],
    }
