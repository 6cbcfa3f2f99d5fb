"""What values become other types: all values of a column at once, or which of them do not."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import Bool
from recsys.data.read.cells.plain import is_text

_LOOKS_LIKE_NUMBER = r"(?i)^\s*[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?|nan)\s*$"


def one_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column with one dictionary of the values that occur, in the order in which they first do.

    Text has 64-bit offsets in it: distinct ids may be more than 2 GiB together.
    """
    if not pa.types.is_dictionary(column.type):
        return _join_chunks(_encodable(column).dictionary_encode())
    if is_text(column.type.value_type):
        kind = pa.dictionary(column.type.index_type, pa.large_string())
        wide = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.large_string()))
            for chunk in column.chunks
        ]
        column = pa.chunked_array(wide, kind)
    merged = _join_chunks(column.unify_dictionaries())
    again = merged.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(again.indices, merged.dictionary.take(again.dictionary))


def _encodable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values in a type that pyarrow can make a dictionary of, where there is one."""
    if is_text(column.type):
        return column.cast(pa.large_string())
    if pa.types.is_decimal(column.type) and column.type.bit_width < pa.decimal128(1).bit_width:
        return column.cast(pa.decimal128(38, column.type.scale))
    return column


def _join_chunks(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The chunks as one array; all have the same dictionary."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if not column.num_chunks:
        return pa.array([], column.type)
    indices = pa.concat_arrays([chunk.indices for chunk in column.chunks])
    return pa.DictionaryArray.from_arrays(indices, column.chunk(0).dictionary)


def uncastable(column: pa.ChunkedArray, kind: Any, safe: bool = True) -> Bool:
    """(n,): the rows that cannot be read as another type: only after all together could not."""
    try:
        encoded = one_dictionary(column)
    except pa.ArrowException:  # lists and the like
        return _stubborn(column, kind, safe)
    flags: Bool = np.append(_stubborn(encoded.dictionary, kind, safe), False)[
        encoded.indices.fill_null(-1).to_numpy()
    ]
    return flags


def _stubborn(values: Any, kind: Any, safe: bool) -> Bool:
    """(n,): the values that do not cast. What is no number or no UTF-8 is seen at once, the rest found by
    halves: a few bad ones among n cost a few times log n casts."""
    wrong = np.zeros(len(values), bool)
    if not casts(values[:0], kind, safe):  # the type itself does not
        return ~wrong
    if is_text(values.type):
        wrong = ~pc.fill_null(pc.match_substring_regex(values, _LOOKS_LIKE_NUMBER), True).to_numpy(
            zero_copy_only=False
        )
    elif pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        wrong = np.array([value is not None and not _is_utf8(value) for value in values.to_pylist()], bool)
    rest = np.flatnonzero(~wrong)
    values, parts = values.take(pa.array(rest)), [(0, len(rest))]
    while parts:
        start, stop = parts.pop()
        if start < stop and not casts(values[start:stop], kind, safe):
            middle = (start + stop) // 2
            wrong[rest[start]] = middle == start
            parts += [] if middle == start else [(start, middle), (middle, stop)]
    return wrong


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def casts(column: Any, kind: Any, safe: bool) -> bool:
    try:
        column.cast(kind, safe=safe)
    except pa.ArrowException:
        return False
    return True
