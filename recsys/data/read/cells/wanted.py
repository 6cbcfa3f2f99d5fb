"""Which columns of a table are read, by names that may also say how a column is made of others.

`customer_id or session_id`: the first of several that a row has. `user.id`: a field of nested cells.
`items[].item_id`: a row for each element of a list. `event_timestamp:us`: the unit of a time;
`columns.parse_times` reads it. A column that is really called so comes first.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I64
from recsys.data.read.cells.lists import lists_of_text
from recsys.data.read.cells.plain import decode_column, is_text, plain, text_of, whole_numbers
from recsys.errors import DataError

EVENT_COLUMNS = ("user_id", "item_id", "timestamp", "event", "weight")
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_OR = re.compile(r"\s+or\s+")
_STEP = re.compile(r"\.([^.\[\]]+)|(\[\])")
_VALUE = re.compile(r"[-+]?\d+(\.\d*)?|\d{4}-\d\d-\d\d.*")
_SEPARATORS = r"\s*[|,]\s*|\s+"


def unit_of(name: str) -> str | None:
    """The unit that a column's name ends in, as in `event_timestamp:us`."""
    stem, _, unit = name.rpartition(":")
    return unit if stem and unit in UNITS else None


def counts_up(names: Sequence[str]) -> bool:
    """Whether columns are called by their numbers, from 0 or 1."""
    numbers = [str(number) for number in range(len(names) + 1)]
    return list(names) in (numbers[1:], numbers[:-1])


def looks_like_value(name: str) -> bool:
    """Whether a column is called by a number or a date: a first row that was taken for a header has such
    names."""
    return _VALUE.fullmatch(name) is not None


@dataclass(frozen=True)
class Wanted:
    """The columns to read. names: as the user calls them; None = all. text: those of them that stay text in a
    CSV."""

    names: Sequence[str] | None = None
    text: Sequence[str] = ()

    @cached_property
    def _sources(self) -> dict[str, list[str]]:
        """For each name, the columns that it may be made of."""
        names = dict.fromkeys([*(self.names or ()), *self.text])
        return {name: [base for one in _alternatives(name) for base in _bases(one)] for name in names}

    def takes(self, column: str) -> bool:
        """Whether a column of a file is read."""
        return self.names is None or any(
            column == name or column in self._sources[name] for name in self.names
        )

    def is_text(self, column: str) -> bool:
        return any(column == name or column in self._sources[name] for name in self.text)

    def is_number(self, name: str) -> bool:
        """Whether a name counts columns: a number from 1, or made of such."""
        return any(base.isdigit() for base in self._sources[name])

    def with_made(self, present: Sequence[str]) -> list[str]:
        """The columns that are there, and the wanted ones that can be made of them."""
        made = [name for name in self.names or () if name not in present and _makeable(name, present)]
        return [*present, *made]

    def select(self, table: pa.Table, where: str) -> tuple[pa.Table, I64 | None]:
        """The wanted columns of a table, those that are made of others among them, and, where lists became
        rows, int64 (n,) the row of the table that each comes from.

        Raises DataError where one column of several is not there, or a path leads nowhere.
        """
        if self.names is None:
            return table, None
        present = set(table.column_names)
        made = [
            name
            for name in dict.fromkeys(self.names)
            if name not in present and self._possible(name, table, where)
        ]
        kept = [name for name in table.column_names if name in self.names]
        if not made:
            return table.select(kept), None
        paths = {name: [_Path.of(one, table) for one in _alternatives(name)] for name in made}
        rows, elements = _unroll_lists(table, [path for several in paths.values() for path in several], where)
        columns = {name: table[name] if rows is None else table[name].take(rows) for name in kept}
        for name, several in paths.items():
            values = [path.values(table, rows, elements, where) for path in several]
            columns[name] = values[0] if len(values) == 1 else _first_present(values)
        return pa.table(columns), rows

    def _possible(self, name: str, table: pa.Table, where: str) -> bool:
        """Whether the columns that a name is made of are there."""
        there = [_makeable(one, table.column_names) for one in _alternatives(name)]
        if any(there) and not all(there):
            missing = _alternatives(name)[there.index(False)]
            raise DataError(
                f"{where} has no column {missing!r}, of which {name!r} is made; its columns are "
                f"{', '.join(table.column_names)}. Mend the name, or leave it out."
            )
        return all(there)


def _makeable(name: str, present: Sequence[str]) -> bool:
    """Whether the columns that a name is made of are there."""
    return all(any(base in present for base in _bases(one)) for one in _alternatives(name))


def _alternatives(name: str) -> list[str]:
    """The columns or paths between the words `or`, without a unit."""
    stem = name.rpartition(":")[0] if unit_of(name) else name
    return _OR.split(stem.strip())


def _bases(path: str) -> list[str]:
    """The columns that a path may begin with, the longest name first."""
    ends = [len(path), *sorted((step.start() for step in _STEP.finditer(path)), reverse=True)]
    return [path[:end] for end in ends if path[:end]]


@dataclass(frozen=True)
class _Path:
    """A way into the cells of a column. before, after: the fields on the way to the list, and within its
    elements; after is None where no list is unrolled."""

    column: str
    before: tuple[str, ...]
    after: tuple[str, ...] | None

    @classmethod
    def of(cls, text: str, table: pa.Table) -> "_Path":
        column = next(base for base in _bases(text) if base in table.column_names)
        steps = [field or "[]" for field, _ in _STEP.findall(text[len(column) :])]
        if "[]" not in steps:
            return cls(column, tuple(steps), None)
        at = steps.index("[]")
        return cls(column, tuple(steps[:at]), tuple(steps[at + 1 :]))

    @property
    def list_name(self) -> str:
        return ".".join([self.column, *self.before])

    def values(
        self, table: pa.Table, rows: I64 | None, elements: dict[str, Any], where: str
    ) -> pa.ChunkedArray:
        """The column that the path leads to, a value for each row, or for each element where lists became
        rows."""
        if self.after is None:
            column = _field(table[self.column], self.before, self.column, where)
            return column if rows is None else column.take(rows)
        return _field(elements[self.list_name], self.after, f"{self.list_name}[]", where)


def _field(column: pa.ChunkedArray, fields: Sequence[str], name: str, where: str) -> pa.ChunkedArray:
    """A field of structs within structs."""
    for field in fields:
        if field == "[]":
            raise DataError(
                f"column {name!r} of {where}: a path goes into one list, not into lists of lists. "
                f"Export {name} flat."
            )
        if not pa.types.is_struct(column.type):
            raise DataError(
                f"column {name!r} of {where} holds {column.type}, which has no field {field!r}. Mend "
                "the path."
            )
        known = [column.type.field(at).name for at in range(column.type.num_fields)]
        if field not in known:
            raise DataError(
                f"column {name!r} of {where} has no field {field!r}; its fields are {', '.join(known)}."
            )
        column, name = plain(pc.struct_field(column, [known.index(field)])), f"{name}.{field}"
    return column


def _unroll_lists(
    table: pa.Table, paths: Sequence[_Path], where: str
) -> tuple[I64 | None, dict[str, pa.ChunkedArray]]:
    """The row of each element of the lists that paths go through, and the elements of each list by its name.

    Lists of one row side by side must be equally long.
    """
    rows, first, elements = None, "", {}
    for path in {path.list_name: path for path in paths if path.after is not None}.values():
        lists = _as_lists(_field(table[path.column], path.before, path.column, where), path.list_name, where)
        own = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
        if rows is not None and not np.array_equal(rows, own):
            counts = (np.bincount(which, minlength=len(table)) for which in (rows, own))
            row = int(np.argmax(np.not_equal(*counts)))
            raise DataError(
                f"columns {first!r} and {path.list_name!r} of {where} hold lists of different lengths, "
                f"first row {row + 1}. An event takes an element of each: mend or drop these rows."
            )
        rows, first = own, first or path.list_name
        elements[path.list_name] = plain(pa.chunked_array([pc.list_flatten(lists)]))
    return rows, elements


def _as_lists(column: pa.ChunkedArray, name: str, where: str) -> pa.Array:
    """The lists of a column in one piece; text holds them in brackets, or with | , or blanks between the
    elements."""
    if is_text(decode_column(column.slice(0, 0)).type):
        text = pc.utf8_trim_whitespace(decode_column(column).cast(pa.large_string()))
        text = pc.if_else(pc.equal(text, ""), None, text)
        parsed = lists_of_text(text)
        column = pc.split_pattern_regex(text, _SEPARATORS) if parsed is None else parsed
        column = column.cast(pa.large_list(pa.large_string()))
    kind = column.type
    if pa.types.is_map(kind) or not (pa.types.is_nested(kind) and hasattr(kind, "value_type")):
        raise DataError(
            f"column {name!r} of {where} holds {kind}, and no lists. Leave out the [] behind its name."
        )
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        column = column.cast(pa.large_list(kind.value_type))
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _first_present(columns: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    """The first value of each row that is there: no null, no NaN, no empty text. Columns of two types become
    text."""
    values = [decode_column(column) for column in columns]
    kind = values[0].type
    if any(value.type != kind for value in values) or is_text(kind) or pa.types.is_floating(kind):
        values = [_texts(whole_numbers(value)) for value in values]
        values = [pc.if_else(pc.equal(value, ""), None, value) for value in values]
    return pc.coalesce(*values)


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([text_of(chunk) for chunk in column.chunks], pa.large_string())
