"""A log as arrays: what a table of events says of each event, before users and items have their final
numbers."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import I32, I64, Array
from recsys.data.interactions import Interactions
from recsys.data.read.columns import (
    MISSING_FIXES,
    REQUIRED,
    event_codes,
    event_weights,
    id_text,
    unix_seconds,
)
from recsys.data.read.event_table import PLACE, EventTable
from recsys.errors import DataError
from recsys.history import EventColumns
from recsys.ids import IdMap
from recsys.matrix import on_disk


@dataclass(frozen=True, eq=False)
class Log(EventColumns):
    """n events in the order of their file.

    user, item: int32 (n,) codes, index into `users` and `items`, the ids in the order in which they first
    occur; beside them the columns of events. event_names: as in `Interactions`. place: int64 (n,), what the
    events are to be ordered by where that is not the time. part: int8 (n,) of a published split, and what
    says so. folder: as in `Interactions`. without_user: how many rows were left out for want of a user;
    notes: what else was, in sentences.
    """

    user: I32
    item: I32
    users: list[str]
    items: list[str]
    event_names: tuple[str, ...]
    place: I64 | None = None
    part: Array | None = None
    part_name: str = ""
    folder: Path | None = None
    without_user: int = 0
    notes: tuple[str, ...] = ()

    def left_out(self) -> tuple[str, ...]:
        """Which events were left out, how many and by which setting, in sentences."""
        if not self.without_user:
            return self.notes
        of = len(self.user) + self.without_user
        rule = "prepare.missing_users = 'drop'"
        return (*self.notes, f"{rule}: {self.without_user:,} of {of:,} events have no user and are left out")

    def number_events(self, user_ids: IdMap, item_ids: IdMap) -> tuple[Interactions, Array | None]:
        """The events in their order by the numbers of two maps, and the part of each."""
        log = replace(
            self,
            user=self._renumber(self.user, self.users, user_ids),
            item=self._renumber(self.item, self.items, item_ids),
        )._in_order()
        events = Interactions(
            log.user,
            log.item,
            len(user_ids),
            len(item_ids),
            log.event_names,
            log.folder,
            **log.columns(),
        )
        return events, log.part

    def _renumber(self, codes: I32, names: list[str], ids: IdMap) -> I32:
        number = ids.indices(names)
        if self.folder is None:
            return number[codes]
        if (number != np.arange(len(number))).any():
            for part in on_disk.chunks(len(codes)):
                codes[part] = number[codes[part]]
        return codes

    def _in_order(self) -> "Log":
        place = self.time if self.time is not None else self.place
        if place is None or all((np.diff(place[part]) >= 0).all() for part in _overlapping(len(place))):
            return self  # in order already: no copies
        columns: dict[str, Any] = {"user": self.user, "item": self.item, **self.columns()}
        columns |= {} if self.part is None else {"part": self.part}
        if self.folder is not None:
            ordered: list[Any] = on_disk.by_time(self.folder, place, list(columns.values()))
        else:
            order = np.argsort(place, kind="stable")
            ordered = [column[order] for column in columns.values()]
        changed: Any = dict(zip(columns, ordered, strict=True))
        return replace(self, **changed)


def _overlapping(n: int) -> list[slice]:
    """Chunks of which each begins with the last value of the one before."""
    return [slice(max(part.start - 1, 0), part.stop) for part in on_disk.chunks(n)]


def log_of(read: EventTable) -> Log:
    """The events of a table. Raises DataError: column, count, first row, next step."""
    table, roles, where = read.table, read.roles, read.where
    if not len(table):
        left = f": {read.without_user:,} without a user are left out" if read.without_user else ""
        raise DataError(f"{where} has no rows{left}; a data set needs at least one event.")
    user, item = (
        id_text(table[roles[role]], roles[role], where, fix=MISSING_FIXES[role]) for role in REQUIRED
    )
    columns, event_names = values_of(read)
    part, part_name = read.read_parts()
    place = None
    if columns.time is None and PLACE in table.column_names:
        place = _whole_numbers(table[PLACE], PLACE, where)
    return Log(
        user.indices.to_numpy(),
        item.indices.to_numpy(),
        user.dictionary.to_pylist(),
        item.dictionary.to_pylist(),
        event_names,
        place,
        part,
        part_name,
        without_user=read.without_user,
        notes=read.notes,
        **columns.columns(),
    )


def values_of(read: EventTable) -> tuple[EventColumns, tuple[str, ...]]:
    """Times, weights and types of events, as far as the table has them, and the names of the types."""
    table, roles, where = read.table, read.roles, read.where
    time = (
        unix_seconds(table[roles["timestamp"]], roles["timestamp"], where) if "timestamp" in roles else None
    )
    weight = None
    if "weight" in roles:
        weight = event_weights(table[roles["weight"]], roles["weight"], where, ratings=read.ratings)
    event, names = (
        event_codes(table[roles["event"]], roles["event"], where) if "event" in roles else (None, ())
    )
    return EventColumns(time=time, weight=weight, event=event), names


def _whole_numbers(column: pa.ChunkedArray, name: str, where: str) -> I64:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(
            f"column {name!r} of {where} must hold whole numbers; it holds {column.type}. Mend or rename it."
        )
    return np.asarray(column.to_numpy(), np.int64)
