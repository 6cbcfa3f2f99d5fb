"""Whether the tables say of all arms what happened: the time before, joins, repeats, gaps."""

from collections.abc import Iterator, Mapping
from typing import Any

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


def check_before(study: Study) -> Check:
    """Arms must be alike in what people did, or were, before they were shown anything."""
    name = "people were alike before they were shown anything"
    compared = []
    for metric in study.plan.metrics:
        figures = study.figures[metric.name]
        for number, quantity in enumerate(figures.covariates):
            columns = figures.columns[:, quantity.over]
            if not columns.any():
                continue
            control = moments_of(columns[study.arm == 0][:, None])
            for code, arm in enumerate(study.plan.treated, start=1):
                treated = moments_of(columns[study.arm == code][:, None])
                if min(control.n, treated.n) < study.plan.least_people:
                    continue
                one = contrast(pair_of(control, treated, Quantity(0)))
                what = metric.covariate or ("activity" if number == len(figures.covariates) - 1 else metric.name)
                compared.append(
                    (float(one.p), f"{what} of {arm}: {treated.mean[0]:.4g}, control {control.mean[0]:.4g}")
                )
    if not compared:
        return Check(name, UNKNOWN, "nothing is known of the time before the first exposure")
    p, said = min(compared)
    sick = p * len(compared) < ALARM
    why = ". A covariate was moved by what it is to correct, or people were not drawn by chance" if sick else ""
    return Check(name, sick_if(sick), f"widest apart of {len(compared)}: {said}; p = {p:.2g}{why}")


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
    columns = np.stack([joined, before, asked], 1)[asked > 0]
    arms = study.arm[asked > 0]
    return _rates(name, study, columns, arms)


def _rates(name: str, study: Study, columns: F64, arms: I32) -> Check:
    control = moments_of(columns[arms == 0])
    worst, shares = 1.0, []
    sums = [columns[arms == code].sum(axis=0) for code in range(len(study.plan.arms))]
    for code in range(1, len(study.plan.arms)):
        treated = moments_of(columns[arms == code])
        if min(int(control.n), int(treated.n)) < study.plan.least_people:
            return Check(name, UNKNOWN, "too few people with outcomes that name a list")
        p = [float(contrast(pair_of(control, treated, Quantity(what, 2))).p) for what in (0, 1)]
        worst = min([worst, *p])
    for arm, (joined, before, asked) in zip(study.plan.arms, sums, strict=True):
        shares.append(f"{arm} {joined / asked:.2%}" + (f", {before / asked:.2%} before it was shown" if before else ""))
    tries = 2 * (len(study.plan.arms) - 1)
    early = sum(one[1] for one in sums) > 0.01 * sum(one[2] for one in sums)
    sick = worst * tries < ALARM or bool(early)
    return Check(name, sick_if(sick), f"{'; '.join(shares)}; p = {worst:.2g}")


def check_repeats(study: Study) -> Check:
    """Outcomes that come twice, or late, must do so in all arms alike."""
    name = "outcomes come once and in time in all arms alike"
    done = study.outcomes
    said, worst, tries = [], 1.0, 0
    for what, counts in (("repeated", done.repeated), ("late", done.late)):
        mine = counts[study.rows].astype(np.float64)
        if not mine.any():
            continue
        events = done.events[study.rows] + mine
        columns = np.stack([mine, events], 1)
        by_arm = [columns[study.arm == code] for code in range(len(study.plan.arms))]
        for treated in by_arm[1:]:
            one = contrast(pair_of(moments_of(by_arm[0]), moments_of(treated), Quantity(0, 1)))
            worst, tries = min(worst, float(one.p) if np.isfinite(one.p) else 1.0), tries + 1
        rates = zip(study.plan.arms, (rows.sum(axis=0) for rows in by_arm), strict=True)
        said.append(f"{what}: " + ", ".join(f"{arm} {a:,.0f} ({a / max(b, 1):.2%})" for arm, (a, b) in rates))
    if not said:
        return Check(name, OK, "none repeated" + ("" if done.has_ids else " (within a file: there is no event_id)"))
    counted = "left out" if done.has_ids else "counted: without event_id nobody knows"
    return Check(name, sick_if(worst * tries < ALARM), f"{'; '.join(said)}; {counted}; p = {worst:.2g}")


def check_days(study: Study) -> Check:
    """A day without exposures, or without outcomes, between days that have some."""
    name = "no day is missing"
    first, last = min(study.exposures.by_day), (study.until - 1) // DAY_S
    missing = [f"exposures of {day}" for day in _gaps(study.exposures.by_day, first, max(study.exposures.by_day))]
    missing += [f"outcomes of {day}" for day in _gaps(study.outcomes.by_day, first, last)]
    for code, arm in enumerate(study.plan.arms):
        days = {
            day: counts
            for day, counts in study.exposures.by_day.items()
            if counts.sum() >= 20 / min(study.plan.weights.values())
        }
        missing += [f"{arm} on {utc_text(day * DAY_S)[:10]}" for day, counts in days.items() if not counts[code]]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        return Check(name, SICK, f"missing: {', '.join(missing[:5])}{more}")
    return Check(name, OK, f"{last - first + 1} days from {utc_text(first * DAY_S)[:10]} on")


def _gaps(by_day: Mapping[int, Any], first: int, last: int) -> Iterator[str]:
    return (utc_text(day * DAY_S)[:10] for day in range(first, last + 1) if day not in by_day)


def check_read_before(study: Study) -> Check:
    name = "what is said of people was read before their first exposure"
    if study.read_after:
        return Check(name, SICK, f"{study.read_after:,} people's rows were read at or after it, and count as unknown")
    return Check(name, OK, "of those whose time is known")
