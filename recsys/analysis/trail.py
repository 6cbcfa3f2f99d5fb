"""One person of an experiment: what they were shown and did, row by row, and what of it counts in which
metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.analysis.plan import EXPOSURES, Metric, Plan
from recsys.analysis.study import Study
from recsys.analysis.tables.exposures import NEVER
from recsys.analysis.tables.rows import Part, Table
from recsys.errors import DataError
from recsys.progress import Progress, silent

BEFORE, COUNTS = "before: what CUPED reads", "counts"
_SHOWN = ("request", "bundle", "placement", "source", "item", "position")
_DONE = ("request", "item", "event_id")


class Shown(NamedTuple):
    """A list that the person was shown; names: what else the table says (request, bundle, ...). said: whether
    it counts for their arm, and why not. first: whether the window begins here."""

    second: int
    arm: str
    names: dict[str, str]
    said: str
    first: bool


class Done(NamedTuple):
    """Something that the person did. metrics: those in which it counts in the window. said: `counts`, or why
    not. shown: the place in `Trail.shown` of the list that it names, None = none of them."""

    second: int
    event: str | None
    value: float | None
    names: dict[str, str]
    metrics: tuple[str, ...]
    said: str
    shown: int | None


@dataclass(frozen=True)
class Trail:
    """arm: of the plan, None = of none, or of several. counts: whether the person is analysed; why: if not.
    starts, ends: of the window, 0 = none. figures: metric -> (in the window, what it is per, the same
    before)."""

    unit: str
    arm: str | None
    counts: bool
    why: str
    starts: int
    ends: int
    shown: Sequence[Shown]
    done: Sequence[Done]
    figures: dict[str, tuple[float, float | None, float]]


def follow(exposures: Any, outcomes: Any, study: Study, unit: str, *, progress: Progress = silent) -> Trail:
    """The trail of a person, by the tables that the study was read from. Raises DataError where nothing says
    of them.

    What it counts is counted anew, row by row, and is what the study counted.
    """
    plan = study.plan
    ids = pc.index_in(pa.scalar(unit, pa.large_string()), value_set=study.exposures.units.ids).as_py()
    first = NEVER if ids is None else int(study.exposures.first[ids])
    shown = sorted(_read_shown(exposures, plan, unit, first, progress), key=lambda one: one.second)
    if ids is None or not shown:
        raise DataError(f"the exposures say nothing of {unit!r}. Is it the id by which people are assigned?")
    requests = {
        one.names["request"]: at for at, one in reversed(list(enumerate(shown))) if "request" in one.names
    }
    done = sorted(_done(outcomes, plan, unit, first, requests, progress), key=lambda one: one.second)
    why = int(study.why[ids])
    code = int(study.exposures.arm[ids])
    return Trail(
        unit,
        plan.arms[code] if code >= 0 else None,
        why == -1,
        "" if why == -1 else "saw no arm of the plan" if why == -2 else list(study.excluded)[why],
        0 if first == NEVER else first,
        0 if first == NEVER else first + plan.window_s,
        shown,
        done,
        {one.name: _figures(one, study, ids) for one in plan.metrics},
    )


def _figures(metric: Metric, study: Study, person: int) -> tuple[float, float | None, float]:
    sums = study.outcomes.sums[metric.name]
    under = None if sums.under is None else float(sums.under[person])
    return float(sums.over[person]), under, float(sums.past_over[person])


def _rows(table: Table, unit: str, progress: Progress) -> Any:
    """(part, the person's rows in it) of each part that has some."""
    for part in table.parts(progress):
        codes = part.labels("unit")
        at = pc.index(codes.names.cast(pa.large_string()), pa.scalar(unit, pa.large_string())).as_py()
        rows = np.flatnonzero(codes.code == at) if at >= 0 else np.empty(0, np.int64)
        if len(rows):
            yield part, rows


def _words(part: Part, rows: Any, role: str) -> list[str | None]:
    if role not in part.columns:
        return [None] * len(rows)
    codes = part.labels(role)
    return [None if code < 0 else str(codes.names[int(code)].as_py()) for code in codes.code[rows]]


def _read_shown(source: Any, plan: Plan, unit: str, first: int, progress: Progress) -> list[Shown]:
    own = plan.columns
    roles: dict[str, Sequence[str]] = {
        "unit": ("unit_id", "user_id"),
        "time": ("timestamp", "time_ms"),
        "arm": ("arm", "variation_id"),
        "experiment": ("experiment", "experiment_id"),
        "phase": ("phase",),
        "differs": ("differs",),
        "request": ("request_id",),
        "bundle": ("bundle_id",),
        "placement": ("placement",),
        "source": ("source",),
        "item": ("item_id",),
        "position": ("position",),
    }
    named = {
        "unit": own.unit,
        "time": own.time,
        "arm": own.arm,
        "experiment": own.experiment,
        "differs": own.differs,
    }
    table = Table(source, "exposures", roles, ("unit", "time", "arm"), named)
    found: list[Shown] = []
    for part, rows in _rows(table, unit, progress):
        second, ok = part.seconds("time")
        columns = {role: _words(part, rows, role) for role in (*_SHOWN, "arm", "experiment", "phase")}
        differs = part.flags("differs")[rows] if "differs" in part.columns else np.ones(len(rows), bool)
        for at, row in enumerate(rows.tolist()):
            arm, position = columns["arm"][at] or "", columns["position"][at]
            said = COUNTS
            if not ok[row]:
                said = "has no time"
            elif any(plan_of and columns[role][at] not in (None, plan_of) for role, plan_of in
                     (("experiment", plan.experiment), ("phase", plan.phase))):  # fmt: skip
                said = "of another experiment or phase"
            elif arm not in plan.arms:
                said = "of no arm of the plan"
            elif "item" in part.columns and "position" in part.columns and position not in ("1", "1.0"):
                continue  # the top item stands for the list
            elif not differs[at]:
                said = "the arms' lists did not differ"
            names = {
                role: text
                for role in _SHOWN
                if role not in ("item", "position") and (text := columns[role][at])
            }
            begins = said == COUNTS and int(second[row]) == first and not any(one.first for one in found)
            found.append(Shown(int(second[row]), arm, names, said, begins))
    return found


def _done(
    source: Any, plan: Plan, unit: str, first: int, requests: dict[str, int], progress: Progress
) -> list[Done]:
    own = plan.columns
    roles: dict[str, Sequence[str]] = {
        "unit": ("unit_id", "user_id"),
        "time": ("timestamp", "time_ms"),
        "event": ("event", "event_type"),
        "value": ("value",),
        "event_id": ("event_id",),
        "received": ("received_ms",),
        "request": ("request_id",),
        "item": ("item_id",),
    }
    named = {"unit": own.unit, "time": own.time, "event": own.event, "value": own.value}
    table = Table(source, "outcomes", roles, ("unit", "time"), named)
    found, seen = list[Done](), set[str]()
    for part, rows in _rows(table, unit, progress):
        second, ok = part.seconds("time")
        columns = {role: _words(part, rows, role) for role in (*_DONE, "event")}
        values = part.numbers("value")[rows] if "value" in part.columns else np.full(len(rows), np.nan)
        received = (
            part.numbers("received")[rows] if "received" in part.columns else np.full(len(rows), np.nan)
        )
        for at, row in enumerate(rows.tolist()):
            event, key = columns["event"][at], columns["event_id"][at]
            since = int(second[row]) - first
            metrics: tuple[str, ...] = ()
            if not ok[row]:
                said = "has no time"
            elif first == NEVER or since < -plan.past_s:
                said = "long before the first exposure"
            elif since >= plan.window_s:
                said = "after the window"
            elif plan.settle_s and received[at] / 1_000 > second[row] + plan.settle_s:
                said = f"came later than {plan.settle_hours:g} hours after it happened"
            elif key is not None and key in seen:
                said = "came before: the same event_id"
            else:
                seen.update([] if key is None else [key])
                metrics = tuple(one.name for one in plan.metrics if _counts_in(one, event, values[at]))
                said = "of no metric" if not metrics else COUNTS if since >= 0 else BEFORE
            names = {role: text for role in _DONE if (text := columns[role][at]) is not None}
            value = float(values[at]) if np.isfinite(values[at]) else None
            shown = requests.get(names.get("request", ""))
            found.append(Done(int(second[row]), event, value, names, metrics, said, shown))
    return found


def _counts_in(metric: Metric, event: str | None, value: float) -> bool:
    """Whether an event counts in a metric: in what it measures, or in what it is per."""
    over = metric.event in (None, event) and (metric.value != "sum" or bool(np.isfinite(value)))
    return over or (metric.per not in (None, EXPOSURES) and metric.per == event)
