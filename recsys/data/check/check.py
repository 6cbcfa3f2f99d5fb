"""What is wrong with a table of events, all of it at once: rules that a reader would refuse, and patterns to look at.

Errors are rows that no reader takes, or times that would make a split by time lie. Warnings are patterns that a sound
log seldom shows: swapped columns, robots, days on which the logging broke. Nothing is raised for a bad row; the other
rules are judged on the rows that are left.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I32, I64, Array, Bool
from recsys.data.check.findings import Finding, errors, rows, whole
from recsys.data.check.patterns import bots, jumps, lonely, swapped
from recsys.data.read.columns import REQUIRED, Codes, parse_events, parse_ids, parse_times, parse_weights
from recsys.data.read.event_table import SPLIT, EventTable, event_table, parse_split
from recsys.data.read.files import read_table
from recsys.data.read.formats import Skipped
from recsys.data.read.load import find, read_events
from recsys.data.read.movielens import is_movielens, read_movielens
from recsys.data.read.tables import id_column
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


@dataclass(frozen=True, eq=False)
class Events:
    """The rows of a table that could be read.

    row: int64 (n,) their numbers from 0. time, kind (the code of the event type): parallel, or None.
    """

    user: I32
    item: I32
    n_users: int
    n_items: int
    row: I64
    time: I64 | None
    kind: I32 | None


def check(
    source: Any, columns: Mapping[str, str] | None = None, *, items: Any = None, now: float | None = None
) -> Checked:
    """Everything that is wrong with a file, folder, pattern, DataFrame or Arrow table of events.

    The parts of a published split, train and test, are held to the rules of rows one by one, to the patterns together.
    Raises DataError for what is no table of events at all: an unreadable file, a column that is not there.
    columns: the user's own names by role. items: a table with a column item_id, or called as in the events, to hold the
    ids against. now: unix second that counts as the present; None = the clock. Memory: about 100 bytes an event at the
    peak.
    """
    skipped: list[Skipped] = []
    read = _read(source, columns or {}, skipped)
    table, found = read.table, read.roles
    ragged = _ragged(skipped, len(table), len(read.where.parts) > 1)
    if not len(table):
        empty = whole("error", "no_rows", "", "has no rows", "Is it the file?")
        return Checked(read.where, {"rows": 0}, [*ragged, empty])
    findings, first = [], 0
    for part, count in read.pieces.items() or [(None, len(table))]:
        piece = table.slice(first, count)
        findings += [_moved(finding, first, part) for finding in _rules(piece, found)]
        first += count
    findings = list(dict.fromkeys(findings))  # what is wrong with a whole column is said once
    events, known = _parsed(table, found)
    if items is not None and known is not None:
        findings += _described(*known, read_table(items, [found["item_id"], "item_id"]), found)
    facts: dict[str, int | str | None] = {"rows": len(table), **read.pieces}
    if events is not None and len(events.user):
        findings += _patterns(events, found, time.time() if now is None else now)
        facts |= _facts(events)
    placed = [*ragged, *(finding.placed(read.where) for finding in findings)]
    return Checked(read.where, facts, sorted(placed, key=lambda finding: finding.level != "error"))


def _read(source: Any, columns: Mapping[str, str], skipped: list[Skipped]) -> EventTable:
    if isinstance(source, str | Path):
        path = find(str(source))
        if columns or not is_movielens(path):
            return read_events(path, columns, skipped)
        source = read_movielens(path)[0]
        return event_table(source, columns, name=str(path))
    return event_table(source, columns, skipped=skipped)


def _ragged(skipped: list[Skipped], read: int, many: bool) -> list[Finding]:
    """A finding about the rows that do not fit their header; its row counts in the file already."""
    if not skipped:
        return []
    said = f"rows have another number of fields than the header, as in {skipped[0].text[:80]!r}"
    fix, file = "Quote the fields that hold the separator.", skipped[0].file if many else None
    return [Finding("error", "ragged_row", "", len(skipped), read + len(skipped), skipped[0].row, said, fix, file)]


def _moved(finding: Finding, first: int, part: str | None) -> Finding:
    """A finding about a part that begins after `first` rows, its row counted in the whole table."""
    row = finding.first_row
    return replace(finding, part=part if finding.count else None, first_row=None if row is None else row + first)


def _rules(table: pa.Table, found: Mapping[str, str]) -> list[Finding]:
    """A finding for each rule that rows break which a reader would refuse, or that the columns do."""
    findings: list[Finding] = []
    for role in REQUIRED:
        codes, wrong = parse_ids(table[found[role]], found[role])
        findings += wrong + _spaces(codes, found[role])
    if "timestamp" in found:
        times, wrong = parse_times(table[found["timestamp"]], found["timestamp"])
        findings += wrong
        if times is not None and times.naive:
            said, fix = "has no time zone; its times are read as UTC", "Write the zone, as in 2026-01-31T12:00:00Z."
            findings.append(whole("warning", "naive_time", found["timestamp"], said, fix))
    else:
        said, fix = "has no times", "Name the column by --time-col: without times nothing can be judged on the future."
        findings.append(whole("warning", "no_times", "", said, fix))
    if "event" in found:
        findings += parse_events(table[found["event"]], found["event"])[1]
    if "weight" in found:
        findings += parse_weights(table[found["weight"]], found["weight"])[1]
    if SPLIT in table.column_names and SPLIT not in found.values():
        findings += parse_split(table[SPLIT])[1]
    return findings


def _parsed(table: pa.Table, found: Mapping[str, str]) -> tuple[Events | None, tuple[pa.Array, pa.Array] | None]:
    """The rows that can be read, and the distinct ids of users and items; None where a column holds no ids at all."""
    user, item = (parse_ids(table[found[role]], found[role])[0] for role in REQUIRED)
    if user is None or item is None:
        return None, None
    times = parse_times(table[found["timestamp"]], found["timestamp"])[0] if "timestamp" in found else None
    event = parse_events(table[found["event"]], found["event"])[0] if "event" in found else None
    good: Bool = (user.code >= 0) & (item.code >= 0)
    if times is not None:
        good &= times.ok
    row = np.flatnonzero(good)
    return Events(
        user.code[row],
        item.code[row],
        len(user.names),
        len(item.names),
        row,
        None if times is None else times.seconds[row],
        None if event is None else event.code[row],
    ), (user.names, item.names)


def _spaces(codes: Codes | None, name: str) -> list[Finding]:
    """Ids that differ from another only by blanks around them, or that have such blanks."""
    if codes is None or not len(codes.names):
        return []
    padded = pc.not_equal(pc.utf8_trim_whitespace(codes.names), codes.names).to_numpy(zero_copy_only=False)
    if not padded.any():
        return []
    fix = "Trim the column: ' 7' and '7' are two ids."
    return rows("warning", "padded_id", name, np.append(padded, False)[codes.code], "an id with blanks around it", fix)


def _described(users: pa.Array, items: pa.Array, table: pa.Table, found: Mapping[str, str]) -> list[Finding]:
    """The ids of the events held against those of the item table."""
    column = id_column(table, found["item_id"], "item_id")
    if column is None:
        said, fix = "is checked against an item table without its ids", f"Name their column {found['item_id']}."
        return [whole("error", "item_table", "", said, fix)]
    known, wrong = parse_ids(table[column], column)
    if known is None:
        return wrong
    as_items, as_users = (pc.is_in(names, known.names).to_numpy(zero_copy_only=False) for names in (items, users))
    unknown, name = int((~as_items).sum()), found["item_id"]
    if as_users.mean() > max(as_items.mean(), 0.5):
        said = f"holds items: {as_users.mean():.0%} of its ids are in the item table, {as_items.mean():.0%} of {name!r}"
        return [
            *wrong,
            whole("error", "swapped_columns", found["user_id"], said, "Exchange --user-col and --item-col."),
        ]
    if not unknown:
        return wrong
    said, fix = "items are not in the item table", "They have no title; complete the item table."
    return [*wrong, Finding("warning", "undescribed_item", name, unknown, len(items), None, said, fix)]


def _patterns(events: Events, found: Mapping[str, str], now: float) -> list[Finding]:
    """What can be seen only over many rows. Times that are wrong as a whole are not looked at any further."""
    user, item = found["user_id"], found["item_id"]
    findings = [] if events.time is None else _times(events, found["timestamp"], now)
    clock = None if errors(findings) else events.time
    findings += _duplicates(events)
    findings += swapped(events.user, events.item, events.n_users, events.n_items, clock, user, item)
    findings += bots(events.user, events.n_users, clock, events.row, user)
    findings += lonely(events.user, events.n_users, user, "users")
    findings += lonely(events.item, events.n_items, item, "items")
    if clock is not None:
        findings += jumps(clock, events.row, found["timestamp"])
    return findings


def _times(events: Events, name: str, now: float) -> list[Finding]:
    assert events.time is not None
    seconds = events.time
    middle = float(np.median(seconds))
    if middle < _EARLY_SECOND:
        said = f"has a middle time of {_day(middle)}: these are hardly unix seconds"
        fix = "Days, hours or an order of events? Convert them to unix seconds or dates, or leave the column out."
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


def _at_rows(events: Events, level: Any, kind: str, name: str, wrong: Bool, said: str, fix: str) -> list[Finding]:
    """A finding about rows of the table, from a mask over the rows that could be read."""
    if not wrong.any():
        return []
    first = int(events.row[wrong].min()) + 1
    return [Finding(level, kind, name, int(wrong.sum()), len(wrong), first, f"rows have {said}", fix)]


def _duplicates(events: Events) -> list[Finding]:
    """Rows that repeat an earlier one in user, item, type and time."""
    repeated = repeats(events.user, events.item, events.n_items, events.time, events.kind)
    what = "user, item and time" if events.time is not None else "user and item"
    fix = "Was the file joined or exported twice? prepare.duplicates=first keeps one event of each user and item."
    return _at_rows(events, "warning", "duplicate", "", repeated, f"the same {what} as an earlier row", fix)


def repeats(user: Array, item: Array, n_items: int, seconds: Array | None, event: Array | None) -> Bool:
    """(n,): whether an earlier row has the same user, item, second and event type. Sorts one 64-bit hash a row."""
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
