"""Whether the tables say of all arms what happened: the time before, joins, repeats, gaps."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from recsys.analysis.effects.moments import moments_of
from recsys.analysis.effects.pair import Quantity, contrast, pair_of
from recsys.analysis.health.check import ALARM, OK, SICK, UNKNOWN, Check, sick_if
from recsys.analysis.study import Study
from recsys.arrays import F64, I32
from recsys.history import DAY_S
from recsys.text import utc_text

EARLY_S = 60  # clocks of two machines may differ by so much
EARLY_SHARE = 0.01  # of outcomes: more than that came before their list was shown


class Apart(NamedTuple):
    """How far an arm is from the control in one figure."""

    p: float
    arm: str
    treated: float
    control: float


def apart(study: Study, columns: F64, arms: I32, figure: Quantity) -> list[Apart]:
    """Each arm against the control; columns (people, c), arms (people,). Arms with too few people are left
    out."""
    people = np.bincount(arms, minlength=len(study.plan.arms))
    if people[0] < study.plan.least_people:
        return []
    control = moments_of(columns[arms == 0])
    findings = []
    for code, arm in enumerate(study.plan.treated, start=1):
        if people[code] >= study.plan.least_people:
            treated = moments_of(columns[arms == code])
            p = float(contrast(pair_of(control, treated, figure)).p)
            findings.append(
                Apart(
                    p if np.isfinite(p) else 1.0, arm, *(float(figure.value(m)) for m in (treated, control))
                )
            )
    return findings


def check_before(study: Study) -> Check:
    """Arms must be alike in what people did, or were, before they were shown anything."""
    name = "people were alike before they were shown anything"
    compared = []
    for metric in study.plan.metrics:
        figures = study.figures[metric.name]
        for number, quantity in enumerate(figures.covariates):
            if figures.columns[:, quantity.over].any():
                what = metric.covariate or (
                    "activity" if number == len(figures.covariates) - 1 else metric.name
                )
                compared += [(one, what) for one in apart(study, figures.columns, study.arm, quantity)]
    if not compared:
        return Check(name, UNKNOWN, "nothing is known of the time before the first exposure")
    one, what = min(compared)
    sick = one.p * len(compared) < ALARM
    why = (
        ". A covariate was moved by what it is to correct, or people were not drawn by chance" if sick else ""
    )
    said = f"{what} of {one.arm}: {one.treated:.4g}, control {one.control:.4g}; p = {one.p:.2g}"
    return Check(name, sick_if(sick), f"widest apart of {len(compared)}: {said}{why}")


def check_joins(study: Study) -> Check:
    """Of outcomes that name the list they follow, the share whose list is among the exposures, by arm."""
    name = "outcomes find their lists in all arms alike"
    requests = study.requests
    if requests is None or not len(requests.request):
        return Check(name, UNKNOWN, "not both tables have a column request_id")
    person = requests.person(study.exposures.units.rows)
    analysed = np.full(len(study.exposures.units) + 1, -1)
    analysed[study.rows] = np.arange(len(study.rows))
    row = analysed[person]
    row = np.where((row >= 0) & (requests.second >= study.first[np.maximum(row, 0)]), row, -1)
    if not (row >= 0).any():
        return Check(name, UNKNOWN, "no sampled outcome is of a person who is analysed")
    early = requests.shown & (requests.second < requests.shown_at - EARLY_S)
    asked, joined, before = (
        np.bincount(row[(row >= 0) & flags], minlength=len(study.rows)).astype(np.float64)
        for flags in (np.ones(len(row), bool), requests.shown, early)
    )
    columns, arms = np.stack([joined, before, asked], 1)[asked > 0], study.arm[asked > 0]
    tried = [one for what in (0, 1) for one in apart(study, columns, arms, Quantity(what, 2))]
    if not tried:
        return Check(name, UNKNOWN, "too few people with outcomes that name a list")
    shares = []
    for code, arm in enumerate(study.plan.arms):
        matched, soon, of = columns[arms == code].sum(axis=0).tolist()
        shares.append(
            f"{arm} {matched / max(of, 1):.2%}" + (f", {soon / of:.2%} before it was shown" if soon else "")
        )
    p = min(one.p for one in tried)
    sick = p * len(tried) < ALARM or before.sum() > EARLY_SHARE * asked.sum()
    return Check(name, sick_if(sick), f"{'; '.join(shares)}; p = {p:.2g}")


def check_repeats(study: Study) -> Check:
    """Outcomes that come twice, or late, must do so in all arms alike."""
    name = "outcomes come once and in time in all arms alike"
    done = study.outcomes
    said, tried = [], list[Apart]()
    for what, counts in (("repeated", done.repeated), ("late", done.late)):
        mine = counts[study.rows].astype(np.float64)
        if mine.any():
            columns = np.stack([mine, done.events[study.rows] + mine], 1)
            tried += apart(study, columns, study.arm, Quantity(0, 1))
            sums = [columns[study.arm == code].sum(axis=0) for code in range(len(study.plan.arms))]
            rates = zip(study.plan.arms, sums, strict=True)
            said.append(
                f"{what}: " + ", ".join(f"{arm} {a:,.0f} ({a / max(b, 1):.2%})" for arm, (a, b) in rates)
            )
    if not said:
        return Check(
            name, OK, "none repeated" + ("" if done.has_ids else " (within a file: there is no event_id)")
        )
    counted = "left out" if done.has_ids else "counted: without event_id nobody knows"
    p = min((one.p for one in tried), default=1.0)
    return Check(name, sick_if(p * len(tried) < ALARM), f"{'; '.join(said)}; {counted}; p = {p:.2g}")


def check_days(study: Study) -> Check:
    """A day without exposures, or without outcomes, between days that have some."""
    name = "no day is missing"
    first, last = min(study.exposures.by_day), (study.until - 1) // DAY_S
    missing = [
        f"exposures of {day}" for day in _gaps(study.exposures.by_day, first, max(study.exposures.by_day))
    ]
    missing += [f"outcomes of {day}" for day in _gaps(study.outcomes.by_day, first, last)]
    for code, arm in enumerate(study.plan.arms):
        days = {
            day: counts
            for day, counts in study.exposures.by_day.items()
            if counts.sum() >= 20 / min(study.plan.weights.values())
        }
        missing += [
            f"{arm} on {utc_text(day * DAY_S)[:10]}" for day, counts in days.items() if not counts[code]
        ]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        return Check(name, SICK, f"missing: {', '.join(missing[:5])}{more}")
    return Check(name, OK, f"{last - first + 1} days from {utc_text(first * DAY_S)[:10]} on")


def _gaps(by_day: Mapping[int, Any], first: int, last: int) -> Iterator[str]:
    return (utc_text(day * DAY_S)[:10] for day in range(first, last + 1) if day not in by_day)


def check_read_before(study: Study) -> Check:
    name = "what is said of people was read before their first exposure"
    if study.read_after:
        return Check(
            name, SICK, f"{study.read_after:,} people's rows were read at or after it, and count as unknown"
        )
    return Check(name, OK, "of those whose time is known")
