"""Other people's tables of outcomes or impressions, into the event store."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from recsys.data.check.findings import Where
from recsys.data.read.cells.wanted import Wanted
from recsys.data.read.columns import id_text, unix_seconds
from recsys.data.read.files import files_of, read_files
from recsys.data.read.storage.location import path_of
from recsys.errors import DataError
from recsys.events.event import Rejected, StoredEvent, read_events
from recsys.events.store import EventStore
from recsys.progress import Progress, Step, silent

REQUIRED = ("item_id", "timestamp")
ROLES = ("event_id", "user_id", "unit_id", *REQUIRED, "event", "request_id", "position", "placement", "value")
_TEXT = ("event_id", "user_id", "unit_id", "item_id", "event", "request_id", "placement")
_AT_A_TIME = 10_000  # events in one transaction


@dataclass
class Imported:
    """What became of the rows of some files. joined: events that found the list which they follow, by their
    person and item. rejected: how many break a rule, by its code; first: the first of each, in words."""

    rows: int = 0
    accepted: int = 0
    duplicates: int = 0
    joined: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)


def import_files(
    store: EventStore,
    files: Sequence[str],
    columns: Mapping[str, str],
    *,
    kind: str,
    window_s: int,
    now_ms: int,
    progress: Progress = silent,
) -> Imported:
    """Reads tables, a row each event, and keeps what is new in them; the same files again change nothing.

    columns: the user's own names by role; the roles are those of an event. kind: what all rows are. window_s:
    how long before an event that names no request the list may have been served which it follows. An event
    without an id has one by what it says, so equal rows are one event. Times count as they are.

    Raises DataError on a file that cannot be read, or lacks a column.
    """
    counts = Imported()
    for name in files:
        table, where = read_files(files_of(path_of(name)), _list_columns(columns), name=name)
        for start, told in _rows(table, columns, where, kind):
            read = read_events(told, now_ms, trusted=True)
            counts.rows += len(told)
            _note(counts, read.rejected, where, start)
            events = [_join_list(store, event, window_s, counts) for event in read.events]
            (appended,) = store.append([events], now_ms)
            counts.accepted += appended.accepted
            counts.duplicates += appended.duplicates
            progress(Step(f"import {name}", start + len(told), len(table)))
    return counts


def _list_columns(columns: Mapping[str, str]) -> Wanted:
    names = {role: columns.get(role, role) for role in ROLES}
    return Wanted(list(names.values()), [names[role] for role in _TEXT])


def _rows(
    table: pa.Table, columns: Mapping[str, str], where: Where, kind: str
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """The rows as events that are told, so many at a time, each time with the number of the first."""
    names = {role: columns.get(role, role) for role in ROLES}
    asked, held = {*REQUIRED, *columns}, table.column_names
    absent = [repr(name) for role, name in names.items() if role in asked and name not in held]
    if not absent and not {names["user_id"], names["unit_id"]} & set(held):
        absent = [f"{names['user_id']!r} or {names['unit_id']!r}"]
    if absent:
        raise DataError(
            f"{where} has no column {', '.join(absent)}; of those of an event it has "
            f"{', '.join(held) or 'none'}. Name yours, as in --col user_id=visitor."
        )
    told = {role: _values(role, table[name], name, where) for role, name in names.items() if name in held}
    for start in range(0, len(table), _AT_A_TIME):
        some = [values[start : start + _AT_A_TIME] for values in told.values()]
        rows = [
            {role: value for role, value in zip(told, row, strict=True) if value is not None} | {"kind": kind}
            for row in zip(*some, strict=True)
        ]
        yield start, [row | {"event_id": row.get("event_id") or _id_of(row)} for row in rows]


def _values(role: str, column: pa.ChunkedArray, name: str, where: Where) -> list[Any]:
    if role == "timestamp":
        return list(unix_seconds(column, name, str(where)).astype(float))
    if role == "item_id":
        return list(id_text(column, name, str(where)).to_pylist())
    if role in _TEXT:
        return list(column.cast(pa.string()).to_pylist())
    numbers = column.cast(pa.float64() if role == "value" else pa.int64(), safe=False)
    return list(numbers.to_pylist())


def _id_of(row: Mapping[str, Any]) -> str:
    said = "\0".join(f"{role}={row[role]}" for role in (*ROLES[1:], "kind") if role in row)
    return "row-" + blake2b(said.encode(), digest_size=16).hexdigest()


def _note(counts: Imported, rejected: Sequence[Rejected], where: Where, start: int) -> None:
    for one in rejected:
        counts.rejected[one.code] += 1
        counts.first.setdefault(one.code, f"{where.row(start + one.index + 1)}: {one.message}")


def _join_list(store: EventStore, event: StoredEvent, window_s: int, counts: Imported) -> StoredEvent:
    """The event with the request and place of the list that it follows, where it names none."""
    if event.request_id is not None or event.user_id is None or not window_s:
        return event
    until_ms = event.timestamp * 1000 + 999
    shown = store.find_shown(event.user_id, event.item_id, until_ms - window_s * 1000, until_ms)
    if shown is None:
        return event
    counts.joined += 1
    return event._replace(request_id=shown[0], position=shown[1])
