"""A table of events as it was read: which column holds what, where each row stands, its part of a published split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import I8, Array
from recsys.data.check.findings import Finding, Where, refuse, rows
from recsys.data.dataset import TEST, TRAIN, VALIDATION
from recsys.data.read.columns import EVENT_COLUMNS, REQUIRED, named_columns, one_dictionary
from recsys.data.read.files import column_names, read_rows
from recsys.data.read.formats import Skipped

PLACE = "pos"  # published sequences: the place of each event, where there is no time
SPLIT = "split"  # the column that says which part of a published split a row belongs to
_TEXT = ("user_id", "item_id", "event")
_SPLIT_VALUES = {"train": TRAIN, "valid": VALIDATION, "validation": VALIDATION, "val": VALIDATION, "test": TEST}


@dataclass(frozen=True, eq=False)
class EventTable:
    """Events as they were read. roles: which column holds which role. where: the name of it all, in sentences.

    pieces: the parts of a published split that are tables of their own, by name, in the order of the rows: how many
    rows each has. part: int8 (n,), the part of each row, or None.
    """

    table: pa.Table
    roles: Mapping[str, str]
    where: Where
    pieces: Mapping[str, int]
    part: Array | None = None

    def published(self) -> tuple[Array | None, str]:
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


def own_columns(columns: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The columns of an event table that matter here: all of them, and those that stay text."""
    names = {role: columns.get(role, role) for role in EVENT_COLUMNS}
    return [*names.values(), PLACE, SPLIT], [names[role] for role in _TEXT] + [SPLIT]


def event_table(
    source: Any,
    columns: Mapping[str, str],
    *,
    name: str = "events",
    skipped: list[Skipped] | None = None,
) -> EventTable:
    """The events in a file, pattern, folder of files, DataFrame or Arrow table. skipped: as in `read_rows`."""
    wanted, text = own_columns(columns)
    table, where = read_rows(source, text, wanted, name=name, skipped=skipped)
    named = {columns.get(role, role) for role in (*REQUIRED, *columns) if role in EVENT_COLUMNS}
    present = table.column_names if named <= set(table.column_names) else column_names(source)
    return EventTable(table, named_columns(present, columns, where), where, {})


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
    return np.where(wrong, TRAIN, codes).astype(np.int8), rows("error", "split_value", SPLIT, wrong, said, fix)
