"""A table of events as it was read: which column holds what, where each row stands, its part of a published
split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import I8, Array
from recsys.data.check.findings import Finding, Where, refuse, rows
from recsys.data.dataset import TEST, TRAIN, VALIDATION
from recsys.data.read.cells.casts import one_dictionary
from recsys.data.read.cells.plain import missing_ids, plain, whole_numbers
from recsys.data.read.cells.wanted import EVENT_COLUMNS, Wanted
from recsys.data.read.columns import REQUIRED, named_columns
from recsys.data.read.files import arrow_table, files_of, first_columns, read_files, read_rows
from recsys.data.read.storage.delimited import Skipped
from recsys.data.read.storage.location import is_remote, path_of
from recsys.data.read.storage.partitions import TableFile

PLACE = "pos"  # published sequences: the place of each event, where there is no time
SPLIT = "split"  # the column that says which part of a published split a row belongs to
_TEXT = ("user_id", "item_id", "event")
_SPLIT_VALUES = {
    "train": TRAIN,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "val": VALIDATION,
    "test": TEST,
}


@dataclass(frozen=True)
class Reading:
    """Which rows of a log are read, and what they may hold.

    since: a duration such as 180d, back from the newest partition (`partitions.recent`); None = all.
    drop_missing_users: rows without a user are left out, not refused. ratings: a weight may be any number,
    for a threshold follows.
    """

    since: str | None = None
    drop_missing_users: bool = False
    ratings: bool = False


EVERYTHING = Reading()


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events as they were read. roles: which column holds which role. where: the name of it all, in
    sentences.

    pieces: the parts of a published split that are tables of their own, by name, in the order of the rows:
    how many rows each has. part: int8 (n,), the part of each row, or None. ratings: as in `Reading`.
    without_user: how many rows were left out. notes: what else was, in sentences.
    """

    table: pa.Table
    roles: Mapping[str, str]
    where: Where
    pieces: Mapping[str, int]
    part: Array | None = None
    ratings: bool = False
    without_user: int = 0
    notes: tuple[str, ...] = ()

    def read_parts(self) -> tuple[Array | None, str]:
        """int8 (n,), the part of each row, and what says so; (None, "") without a published split.

        Raises DataError where the column `split` holds anything but names of parts.
        """
        if self.part is not None:
            return self.part, " and ".join(self.pieces)
        if SPLIT not in self.table.column_names or SPLIT in self.roles.values():
            return None, ""
        part, findings = parse_split(self.table[SPLIT])
        refuse(findings, self.where)
        return part, f"column {SPLIT}"


def wanted_columns(columns: Mapping[str, str], more: Sequence[str] = ()) -> Wanted:
    """The columns of an event table that matter here, by the user's own names, and more of them."""
    names = {role: columns.get(role, role) for role in EVENT_COLUMNS}
    return Wanted([*names.values(), PLACE, SPLIT, *more], [*(names[role] for role in _TEXT), SPLIT])


def event_table(
    source: Any,
    columns: Mapping[str, str],
    *,
    name: str = "events",
    skipped: list[Skipped] | None = None,
) -> EventTable:
    """The events in a file, pattern, folder of files, DataFrame or Arrow table. skipped: as in
    `read_rows`."""
    if isinstance(source, str | Path) or is_remote(source):
        return events_of(files_of(path_of(source)), columns, name=str(source), skipped=skipped)
    given, wanted = arrow_table(source), wanted_columns(columns)
    table, where = read_rows(given, wanted.text, wanted.names, name=name)
    return EventTable(table, _roles(table, columns, lambda: list(given.column_names), where), where, {})


def events_of(
    files: Sequence[TableFile],
    columns: Mapping[str, str],
    *,
    name: str,
    skipped: list[Skipped] | None = None,
    more: Sequence[str] = (),
) -> EventTable:
    """The events in the files of one table. more: other columns to read."""
    wanted = wanted_columns(columns, more)
    table, where = read_files(files, wanted, name=name, skipped=skipped)
    return EventTable(table, _roles(table, columns, lambda: first_columns(files, wanted), where), where, {})


def _roles(
    table: pa.Table, columns: Mapping[str, str], present: Callable[[], list[str]], where: str
) -> dict[str, str]:
    """Which column holds which role. present: the names of all columns, read only where one is missing."""
    named = {columns.get(role, role) for role in (*REQUIRED, *columns) if role in EVENT_COLUMNS}
    read = table.column_names
    return named_columns(
        read if named <= set(read) else [*dict.fromkeys([*present(), *read])], columns, where
    )


def rows_kept(read: EventTable, reading: Reading) -> EventTable:
    """The events that are read: those with a user, where the others are to be left out."""
    if not reading.drop_missing_users:
        return replace(read, ratings=reading.ratings)
    name = read.roles["user_id"]
    users = whole_numbers(plain(read.table[name]))
    missing = missing_ids(users)
    table = read.table.set_column(read.table.column_names.index(name), name, users)
    if not missing.any():
        return replace(read, table=table, ratings=reading.ratings)
    kept = np.flatnonzero(~missing)
    ends = np.cumsum([0, *read.pieces.values()])
    counts = np.diff(np.searchsorted(kept, ends))
    where = read.where
    origin = kept if where.origin is None else where.origin[kept]
    return replace(
        read,
        table=table.take(kept),
        where=Where(str(where), where.parts, where.before, origin),
        pieces=dict(zip(read.pieces, counts.tolist(), strict=True)),
        part=None if read.part is None else read.part[kept],
        ratings=reading.ratings,
        without_user=int(missing.sum()),
    )


def parse_split(column: pa.ChunkedArray) -> tuple[I8, list[Finding]]:
    """int8 (n,): the part of each row, TRAIN where it says none, and what is wrong."""
    encoded = one_dictionary(column.cast(pa.string()))
    names = encoded.dictionary.to_pylist()
    known: I8 = np.array([*(_SPLIT_VALUES.get(name, -1) for name in names), -1], np.int8)
    codes = known[encoded.indices.fill_null(-1).to_numpy()]
    wrong = codes < 0
    shown = column[int(np.argmax(wrong))].as_py() if wrong.any() else None
    said = f"none of train, valid and test but {shown!r}"
    fix = "Mend these rows, or rename the column if it is about something else."
    return np.where(wrong, TRAIN, codes).astype(np.int8), rows(
        "error", "split_value", SPLIT, wrong, said, fix
    )
