"""What is wrong with a table of events, all of it at once: rules that a reader would refuse, and patterns to
look at.

Errors are rows that no reader takes, or times that would make a split by time lie. Warnings are patterns that
a sound log seldom shows: swapped columns, robots, days on which the logging broke. Nothing is raised for a
bad row; the other rules are judged on the rows that are left.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import Array, Bool
from recsys.data.check.described import check_described
from recsys.data.check.events import Events, parse_table
from recsys.data.check.findings import Finding, errors, ragged_rows, refusal, whole
from recsys.data.check.ids import unmet_parts
from recsys.data.check.patterns import bots, find_swapped, jumps, lonely
from recsys.data.prepare import refuse_one_sided
from recsys.data.read.event_table import EVERYTHING, EventTable, Reading, event_table, rows_kept
from recsys.data.read.load import find, read_events, table_of
from recsys.data.read.movielens import is_movielens, read_movielens
from recsys.data.read.storage.delimited import Skipped
from recsys.data.read.storage.location import is_remote
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.moments import refuse_global_time
from recsys.data.split.split import split as split_data
from recsys.errors import DataError
from recsys.history import DAY_S

_EARLY_SECOND = 631_152_000  # 1990: no log of clicks is older, so smaller numbers count something else
_HASH = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Checked:
    """The findings, errors first, and what the table holds: counts and the first and last time."""

    where: str
    facts: Mapping[str, int | str | None]
    findings: list[Finding]

    @property
    def errors(self) -> int:
        return len(errors(self.findings))


def check(
    source: Any,
    columns: Mapping[str, str] | None = None,
    *,
    items: Any = None,
    users: Any = None,
    reading: Reading = EVERYTHING,
    split: bool = True,
    now: float | None = None,
) -> Checked:
    """Everything that is wrong with a file, folder, pattern, DataFrame or Arrow table of events, and what
    goes with it.

    Without an error among the findings, a data set of the same source is read and, by the settings that
    nobody has to name, split. The parts of a published split, train and test, are held to the rules of rows
    one by one, to the patterns together. Raises DataError for what is no table of events at all: an
    unreadable file, a column that is not there. columns: the user's own names by role. items, users: tables
    with a column item_id, or user_id, or called as in the events; None = those of the folder. reading: which
    events are read, and what they may hold. split: whether what the default split refuses is an error. now:
    unix second that counts as the present; None = the clock. Memory: about 100 bytes an event at the peak.
    """
    skipped: list[Skipped] = []
    read, own = _read(source, columns or {}, skipped, reading)
    table, roles = read.table, read.roles
    ragged = ragged_rows(skipped, len(table), read.where)
    others = {
        who: own.get(who) if given is None else given for who, given in (("item", items), ("user", users))
    }
    if not len(table):
        empty = whole("error", "no_rows", "", "has no rows", "Is it the file?")
        return Checked(read.where, {"rows": 0}, [*ragged, empty])
    events, findings = parse_table(table, roles, ratings=reading.ratings)
    if read.pieces:
        first, findings = 0, []
        for part, count in read.pieces.items():
            wrong = parse_table(table.slice(first, count), roles, ratings=reading.ratings)[1]
            findings += [_move_finding(finding, first, part) for finding in wrong]
            first += count
        findings = list(dict.fromkeys(findings))  # what is wrong with a whole column is said once
    facts: dict[str, int | str | None] = {"rows": len(table), **read.pieces}
    facts |= {"rows_without_user": read.without_user} if read.without_user else {}
    if events is not None:
        for who in ("item", "user"):
            findings += check_described(others[who], who, events, roles, columns or {})
    if events is not None and len(events.user):
        findings += _patterns(events, roles, time.time() if now is None else now)
        facts |= _facts(events)
        if not errors([*ragged, *findings]):
            findings += _refused_by_a_run(read, events, others, columns or {}, split)
    placed = [*ragged, *(finding.locate(read.where) for finding in findings)]
    return Checked(read.where, facts, sorted(placed, key=lambda finding: finding.level != "error"))


def _read(
    source: Any, columns: Mapping[str, str], skipped: list[Skipped], reading: Reading
) -> tuple[EventTable, dict[str, Any]]:
    """The events of a source, and the tables of items and users that lie beside them, by "item" and
    "user"."""
    if not (isinstance(source, str | Path) or is_remote(source)):
        return rows_kept(event_table(source, columns, skipped=skipped), reading), {}
    path = find(str(source))
    if not columns and is_movielens(path):
        events, items = read_movielens(path)
        return rows_kept(event_table(events, columns, name=str(path)), reading), {"item": items}
    beside = {
        who: table for who in ("item", "user") if path.is_dir() and (table := table_of(path, f"{who}s"))
    }
    return read_events(path, columns, skipped, reading), beside


def _move_finding(finding: Finding, first: int, part: str | None) -> Finding:
    """A finding about a part that begins after `first` rows, its row counted in the whole table."""
    row = finding.first_row
    return replace(
        finding, part=part if finding.count else None, first_row=None if row is None else row + first
    )


def _refused_by_a_run(
    read: EventTable, events: Events, tables: Mapping[str, Any], columns: Mapping[str, str], split: bool
) -> list[Finding]:
    """How the parts of a published split meet, and what a run refuses of a table whose rows can all be read.

    tables: of items and users, by "item" and "user". columns: the user's own names. split: also what the
    split refuses that a run makes by default: of a log with times its questions alone, without maps of ids
    and histories.
    """
    part = read.read_parts()[0]
    findings: list[Finding] = []
    if part is not None:
        findings += unmet_parts(events.user, events.users, part, read.roles["user_id"], "user")
        findings += unmet_parts(events.item, events.items, part, read.roles["item_id"], "item")
    try:
        refuse_one_sided(str(read.where), events.user, events.item)
        if events.time is None:
            data = dataset_of(read, tables["item"], tables["user"], columns=columns, name=str(read.where))
            if split:
                split_data(data, SplitSettings(), seed=1)
        elif split:
            refuse_global_time(str(read.where), events.user, events.item, events.time)
    except DataError as error:
        findings.append(refusal(error))
    return findings


def _patterns(events: Events, roles: Mapping[str, str], now: float) -> list[Finding]:
    """What can be seen only over many rows. Times that are wrong as a whole are not looked at any further."""
    user, item = roles["user_id"], roles["item_id"]
    findings = [] if events.time is None else _times(events, roles["timestamp"], now)
    clock = None if errors(findings) else events.time
    findings += _duplicates(events)
    findings += find_swapped(events.user, events.item, events.n_users, events.n_items, clock, user, item)
    findings += bots(events.user, events.n_users, clock, events.row, user)
    findings += lonely(events.user, events.n_users, user, "users")
    findings += lonely(events.item, events.n_items, item, "items")
    if clock is not None:
        findings += jumps(clock, events.row, roles["timestamp"])
    return findings


def _times(events: Events, name: str, now: float) -> list[Finding]:
    assert events.time is not None
    seconds = events.time
    middle = float(np.median(seconds))
    if middle < _EARLY_SECOND:
        said = f"has a middle time of {_day(middle)}: these are hardly unix seconds"
        fix = (
            "Days, hours or an order of events? Convert them to unix seconds or dates, or leave the column "
            "out."
        )
        return [whole("error", "time_unit", name, said, fix)]
    findings = _at_rows(
        events, "error", "future_time", name, seconds > now + DAY_S, "a time in the future",
        "Mend the clock or the unit, or drop these rows: a split by time would ask for them.",
    )  # fmt: skip
    findings += _at_rows(
        events, "warning", "early_time", name, seconds < _EARLY_SECOND, "a time before 1990",
        "0 often stands for an unknown time; drop these rows or mend them.",
    )  # fmt: skip
    if len(seconds) > 1 and seconds.min() == seconds.max():
        fix = "No split by time is possible; name the column of the event's time, not of the export."
        findings.append(whole("warning", "one_time", name, "holds the same time in every row", fix))
    elif not (seconds % DAY_S).any():
        fix = "Events of one day have no order; sessions and ties by day are arbitrary."
        findings.append(whole("warning", "days_only", name, "holds days without hours", fix))
    return findings


def _at_rows(
    events: Events, level: Any, kind: str, name: str, wrong: Bool, said: str, fix: str
) -> list[Finding]:
    """A finding about rows of the table, from a mask over the rows that could be read."""
    if not wrong.any():
        return []
    first = int(events.row[wrong].min()) + 1
    return [Finding(level, kind, name, int(wrong.sum()), len(wrong), first, f"rows have {said}", fix)]


def _duplicates(events: Events) -> list[Finding]:
    """Rows that repeat an earlier one in user, item, type and time."""
    repeated = repeats(events.user, events.item, events.n_items, events.time, events.kind)
    what = "user, item and time" if events.time is not None else "user and item"
    fix = "Was the file joined or exported twice? Then drop these rows."
    if repeated.any():
        of = "user, item and type" if events.kind is not None else "user and item"
        dropped = int(repeats(events.user, events.item, events.n_items, None, events.kind).sum())
        others = dropped - int(repeated.sum())
        more = f", {others:,} of them repeats at other times" if others else ""
        fix += (
            f" prepare.duplicates=first keeps one event of each {of}, whatever its time: it leaves out up to "
            f"{dropped:,} rows{more}."
        )
    return _at_rows(events, "warning", "duplicate", "", repeated, f"the same {what} as an earlier row", fix)


def repeats(user: Array, item: Array, n_items: int, seconds: Array | None, event: Array | None) -> Bool:
    """(n,): whether an earlier row has the same user, item, second and event type. Sorts one 64-bit hash a
    row."""
    parts = [user.astype(np.int64) * n_items + item, *(part for part in (seconds, event) if part is not None)]
    key = np.zeros(len(user), np.uint64)
    for part in parts:
        key = (key ^ part.astype(np.uint64)) * _HASH
        key ^= key >> np.uint64(29)
    order = np.argsort(key, kind="stable")
    near = np.flatnonzero(key[order[1:]] == key[order[:-1]])
    again = np.zeros(len(user), bool)
    later, earlier = order[near + 1], order[near]
    same = np.ones(len(near), bool)
    for part in parts:  # equal hashes are looked at, not believed
        same &= part[later] == part[earlier]
    again[later[same]] = True
    return again


def _facts(events: Events) -> dict[str, int | str | None]:
    facts: dict[str, int | str | None] = {
        "users": int(np.count_nonzero(np.bincount(events.user))),
        "items": int(np.count_nonzero(np.bincount(events.item))),
        "largest_user": int(np.bincount(events.user).max()),
        "largest_item": int(np.bincount(events.item).max()),
    }
    if events.time is not None:
        facts |= {"first": _day(events.time.min()), "last": _day(events.time.max())}
    return facts


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%d %H:%M")
