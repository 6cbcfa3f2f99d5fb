"""Columns of a table of items or users, as metrics and segments ask for them: by name, and as numbers."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import F64
from recsys.data.dataset import Dataset
from recsys.data.read.cells.plain import decode_column, is_text
from recsys.errors import DataError, SettingError
from recsys.text import did_you_mean


def item_columns(data: Dataset) -> pa.Table:
    """All that is known of the items but their ids: row i describes item i."""
    tables = [table for table in (data.items, data.item_features) if table is not None]
    return pa.table({name: table[name] for table in tables for name in table.column_names})


def user_columns(data: Dataset) -> pa.Table:
    """All that is known of the users but their ids: row i describes user i; no column where there is no
    table."""
    return pa.table({}) if data.user_features is None else data.user_features


def column_of(table: pa.Table, name: str, what: str) -> pa.ChunkedArray:
    """A column of the table of items. what: who asks, for the SettingError that names the nearest column
    there is."""
    if name not in table.column_names:
        raise SettingError(
            f"{what}: {name!r} is no column of the items; {did_you_mean(name, table.column_names)}"
        )
    return table[name]


def numbers_of(table: pa.Table, name: str, what: str) -> F64:
    """float64 (n_items,): a column of numbers of the items, NaN where none is given.

    Raises SettingError where there is no such column, DataError where it holds what is no number, or an
    infinite one.
    """
    numbers = read_numbers(column_of(table, name, what))
    if numbers is None:
        raise DataError(
            f"{what}: column {name!r} of the items holds values that are no numbers; name one of numbers."
        )
    return numbers


def read_numbers(column: pa.ChunkedArray) -> F64 | None:
    """float64 (n,): a column of whole numbers, fractions or decimals, or of text that holds nothing but such;
    NaN where none is given. None where it holds anything else, or an infinite number."""
    column = without_gaps(decode_column(column))
    kind = column.type
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if not numeric and not is_text(kind):
        return None
    try:
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowInvalid:
        return None
    return None if np.isinf(numbers).any() else np.asarray(numbers, np.float64)


def without_gaps(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column with null for what says nothing: NaN, and text of nothing but blanks."""
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), None, column)
    if is_text(column.type):
        return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    return column
