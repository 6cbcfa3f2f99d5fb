"""What people did: outcomes summed over each person's window and over the time before it, day by day."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recsys.analysis.plan import EXPOSURES, Plan
from recsys.analysis.tables.exposures import NEVER, Exposures
from recsys.analysis.tables.rows import Part, Table, hashes
from recsys.arrays import F32, F64, I32, I64, Array, Bool
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.ids import U64
from recsys.progress import Progress, silent

MOST_DAYS = 28  # of a window that is shown day by day


class Sums(NamedTuple):
    """Of one metric, float64 (n,) by person: what was done in the window and, where it is a ratio, what it is
    per; and both before the first exposure."""

    over: F64
    under: F64 | None
    past_over: F64
    past_under: F64 | None


class Outcomes:
    """What outcomes say of each person (n,) of the exposures.

    sums: by metric. events: outcomes in the window. active_before: whether anything was done before the first
    exposure. until: the second up to which outcomes are known. by_day: day -> outcomes. repeated, late:
    outcomes by person. strangers: outcomes of people who were never exposed. uncapped: `over` of metrics with
    a cap, before it. daily: of each primary metric, float32 (n, steps, 1 or 2): what was done, and what it is
    per, by days since the first exposure (`steps_of`).
    """

    def __init__(self, people: int, plan: Plan) -> None:
        metrics = plan.metrics
        self.sums = {one.name: Sums(*_zeros(people, one.per is not None)) for one in metrics}
        self.uncapped: dict[str, F64] = {}
        steps = steps_of(plan)[1]
        self.daily: dict[str, F32] = {
            one.name: np.zeros((people, steps, 1 if one.per is None else 2), np.float32)
            for one in plan.metrics_of("primary")
        }
        self.events: I64 = np.zeros(people, np.int64)
        self.active_before: Bool = np.zeros(people, bool)
        self.repeated: I64 = np.zeros(people, np.int64)
        self.late: I64 = np.zeros(people, np.int64)
        self.until = 0
        self.earliest: int = NEVER
        self.by_day: dict[int, int] = {}
        self.rows = self.strangers = self.without_value = 0
        self.has_ids = False
        self.types: dict[str, int] = {}
        self.faults: list[str] = []


def steps_of(plan: Plan) -> tuple[int, int]:
    """(seconds of a step, how many make up the window): days, of long windows weeks; the last may be cut
    short."""
    length = DAY_S if plan.window_s <= MOST_DAYS * DAY_S else 7 * DAY_S
    return length, max(1, -(-plan.window_s // length))


def read_outcomes(source: Any, exposures: Exposures, *, progress: Progress = silent) -> Outcomes:
    """All outcomes of a table, summed by the windows of the people of the exposures.

    The window begins at a person's first exposure, that second included; the past ends before it. Raises
    DataError where a column is missing that a metric needs.
    """
    plan, own = exposures.plan, exposures.plan.columns
    roles: dict[str, Sequence[str]] = {
        "unit": ("unit_id", "user_id"),
        "time": ("timestamp", "time_ms"),
        "event": ("event", "event_type"),
        "value": ("value",),
        "event_id": ("event_id",),
        "received": ("received_ms",),
    }
    required = ["unit", "time"]
    required += (
        ["event"] if any(one.event or one.per not in (None, EXPOSURES) for one in plan.metrics) else []
    )
    required += ["value"] if any(one.value == "sum" for one in plan.metrics) else []
    named = {"unit": own.unit, "time": own.time, "event": own.event, "value": own.value}
    table = Table(source, "outcomes", roles, required, named)
    outcomes = Outcomes(len(exposures.units), plan)
    outcomes.has_ids = "event_id" in table
    seen: U64 = np.empty(0, np.uint64)
    for part in table.parts(progress):
        seen = _fold(outcomes, part, exposures, seen)
    if not outcomes.rows:
        raise DataError("the outcomes have no rows with a person and a time. Is it the right table?")
    if "event" in table:
        asked = {
            name for one in plan.metrics for name in (one.event, one.per) if name not in (None, EXPOSURES)
        }
        if absent := sorted(asked - outcomes.types.keys()):
            raise DataError(
                f"no outcome is of type {absent[0]!r}, which a metric counts; types there are "
                f"{', '.join(sorted(outcomes.types)[:20])}. Mend the plan."
            )
    _finish(outcomes, exposures)
    outcomes.faults = table.faults.sentences()
    return outcomes


def _fold(outcomes: Outcomes, part: Part, exposures: Exposures, seen: U64) -> U64:
    plan = exposures.plan
    codes = part.ids("unit", "unit id")
    second, kept = part.seconds("time")
    kept = kept & (codes.code >= 0)
    if not kept.any():
        return seen
    outcomes.rows += int(kept.sum())
    outcomes.until = max(outcomes.until, int(second[kept].max()) + 1)
    outcomes.earliest = min(outcomes.earliest, int(second[kept].min()))
    days, counts = np.unique(second[kept] // DAY_S, return_counts=True)
    for day, count in zip(days.tolist(), counts.tolist(), strict=True):
        outcomes.by_day[day] = outcomes.by_day.get(day, 0) + count
    event = part.labels("event") if "event" in part.columns else None
    if event is not None:
        totals = np.bincount(event.code[kept] + 1, minlength=len(event.names) + 1)[1:]
        for name, total in zip(event.names.to_pylist(), totals.tolist(), strict=True):
            outcomes.types[name] = outcomes.types.get(name, 0) + total
    person = exposures.units.rows(codes, add=False)
    known = kept & (person >= 0)
    known[known] = exposures.first[person[known]] != NEVER
    outcomes.strangers += int((kept & ~known).sum())
    since = second - exposures.first[np.where(known, person, 0)]
    near = known & (since < plan.window_s) & (since >= -plan.past_s)
    if "received" in part.columns and plan.settle_s:
        late = near & (part.numbers("received") / 1_000 > second + plan.settle_s)
        np.add.at(outcomes.late, person[late & (since >= 0)], 1)
        near &= ~late
    rows = np.flatnonzero(near)
    person, since = person[rows], since[rows]
    again, seen = _repeats(part, rows, person, second[rows], event, seen)
    np.add.at(outcomes.repeated, person[again & (since >= 0)], 1)
    if outcomes.has_ids:
        rows, person, since = rows[~again], person[~again], since[~again]
    now = since >= 0
    step = since[now] // steps_of(plan)[0]
    outcomes.events += np.bincount(person[now], minlength=len(outcomes.events))
    outcomes.active_before[person[~now]] = True
    needs_value = any(one.value == "sum" for one in plan.metrics)
    value = part.numbers("value")[rows] if needs_value else None
    type_of = None if event is None else event.code[rows]
    names: list[str] = [] if event is None else event.names.to_pylist()
    for one in plan.metrics:
        sums = outcomes.sums[one.name]
        weight = _weights(outcomes, one.event, one.value, len(person), type_of, names, value)
        _add(sums.over, sums.past_over, person, now, weight)
        if daily := one.name in outcomes.daily:
            _spread(outcomes.daily[one.name], person[now], step, 0, weight[now])
        if sums.under is not None and sums.past_under is not None and one.per != EXPOSURES:
            weight = _weights(outcomes, one.per, "count", len(person), type_of, names, None)
            _add(sums.under, sums.past_under, person, now, weight)
            if daily:
                _spread(outcomes.daily[one.name], person[now], step, 1, weight[now])
    return seen


def _weights(
    outcomes: Outcomes,
    event: str | None,
    value: str,
    rows: int,
    type_of: Array | None,
    names: list[str],
    values: Array | None,
) -> F64:
    """(rows,): by how much each event counts: 0 where it is of another type, or has no number."""
    if event is None or type_of is None:
        mine = np.ones(rows, bool)
    else:
        mine = type_of == (names.index(event) if event in names else -2)
    weight = np.ones(rows) if value != "sum" or values is None else np.asarray(values, np.float64)
    odd = mine & ~np.isfinite(weight)
    outcomes.without_value += int(odd.sum())
    return np.where(mine & ~odd, weight, 0.0)


def _add(window: F64, past: F64, person: I32, now: Bool, weight: F64) -> None:
    """Adds events to the sums of the window and of the past."""
    for sums, when in ((window, now), (past, ~now)):
        rows = when & (weight != 0)
        sums += np.bincount(person[rows], weights=weight[rows], minlength=len(sums))


def _spread(daily: F32, person: I32, step: I64, column: int, weight: F64) -> None:
    """Adds events to the steps in which they lie; daily: (people, steps, columns)."""
    _, steps, columns = daily.shape
    at = (person.astype(np.int64) * steps + step) * columns + column
    np.add.at(daily.reshape(-1), at, weight.astype(np.float32))


def _repeats(part: Part, rows: Array, person: I32, second: I64, event: Any, seen: U64) -> tuple[Bool, U64]:
    """Which rows repeat an event that came before: by its id or, without ids, by person, second, type and
    worth, within a part; and the ids seen so far, sorted."""
    if "event_id" in part.columns:
        keys = hashes(part.labels("event_id"))[rows]
    else:
        keys = person.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ second.astype(np.uint64)
        if event is not None:
            keys = keys * np.uint64(0x9E3779B97F4A7C15) ^ event.code[rows].astype(np.uint64)
        if "value" in part.columns:
            worth = np.ascontiguousarray(part.numbers("value")[rows], np.float64).view(np.uint64)
            keys = keys * np.uint64(0x9E3779B97F4A7C15) ^ worth
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    again = np.zeros(len(keys), bool)
    again[order[1:]] = ordered[1:] == ordered[:-1]
    if "event_id" not in part.columns:
        return again, seen
    again[keys == 0] = False  # without an id nothing is known to be the same
    if len(seen) and len(ordered):
        at = np.searchsorted(seen, ordered)
        again[order] |= (seen[np.minimum(at, len(seen) - 1)] == ordered) & (ordered != 0)
    return again, np.sort(np.concatenate([seen, keys[~again]]), kind="stable")


def _finish(outcomes: Outcomes, exposures: Exposures) -> None:
    """What is known only once all rows are read: whether there was any event, and lists in the window."""
    plan = exposures.plan
    for one in plan.metrics:
        sums = outcomes.sums[one.name]
        daily = outcomes.daily.get(one.name)
        if one.value == "any":
            for column in (sums.over, sums.past_over):
                np.minimum(column, 1.0, out=column)
            if daily is not None:
                np.minimum(daily[..., 0], 1.0, out=daily[..., 0])
        if one.per == EXPOSURES and sums.under is not None:
            for person, second in exposures.when:
                inside = second - exposures.first[person] < plan.window_s
                sums.under[:] += np.bincount(person[inside], minlength=len(sums.under))
                if daily is not None:
                    step = (second - exposures.first[person])[inside] // steps_of(plan)[0]
                    _spread(daily, person[inside], step, 1, np.ones(len(step)))
        if one.cap is not None:
            outcomes.uncapped[one.name] = sums.over.copy()
            for column in (sums.over, sums.past_over):
                np.minimum(column, one.cap, out=column)


def _zeros(people: int, ratio: bool) -> tuple[F64, F64 | None, F64, F64 | None]:
    return (
        np.zeros(people),
        np.zeros(people) if ratio else None,
        np.zeros(people),
        np.zeros(people) if ratio else None,
    )
