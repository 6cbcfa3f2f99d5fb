"""Columns of any Arrow type as plain ones: without run-end encoding, views or extension types; UUIDs as
text."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import Array, Bool

_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_UUID_BYTES, _UUID_CHARACTERS = 16, 36
_DASHES = (8, 13, 18, 23)  # their places in the text of a UUID
_TRAILING_ZEROS = r"^(-?\d+(?:\.\d*[1-9])?)\.?0*$"
_EXACT = 2**53  # floats above it no longer name one whole number


def plain_table(table: pa.Table) -> pa.Table:
    """The table with every column as `plain` gives it."""
    columns = [plain(column) for column in table.columns]
    return table if all(map(_same, columns, table.columns)) else pa.table(columns, names=table.column_names)


def _same(one: Any, other: Any) -> bool:
    return one is other


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The same values as numbers, text, bytes, times, lists or structs, or a dictionary of these; UUIDs as
    text.

    A column that is plain already comes back itself.
    """
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        storage = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        return _uuids(storage) if kind.extension_name == "arrow.uuid" else plain(storage)
    if pa.types.is_run_end_encoded(kind):
        return plain(pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks], kind.value_type))
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return column.cast(pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary())
    if pa.types.is_dictionary(kind):
        values = kind.value_type
        if isinstance(values, pa.BaseExtensionType) or pa.types.is_nested(values):
            return plain(decode_column(column))
        if pa.types.is_string_view(values) or pa.types.is_binary_view(values):
            wide = pa.large_string() if pa.types.is_string_view(values) else pa.large_binary()
            chunks = [
                pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(wide))
                for chunk in column.chunks
            ]
            return pa.chunked_array(chunks, pa.dictionary(kind.index_type, wide))
    return column


def decode_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary encoding."""
    if not pa.types.is_dictionary(column.type):
        return column
    return pa.chunked_array(
        [chunk.dictionary.take(chunk.indices) for chunk in column.chunks], column.type.value_type
    )


def is_text(kind: Any) -> bool:
    """Whether a type is text, in whichever layout."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def text_of(values: pa.Array) -> pa.Array:
    """Each value as the text that names it: whole numbers as their digits, bytes as UTF-8.

    Bytes of a fixed width that are no text are written in hexadecimal digits, sixteen of them as a UUID.
    Raises pa.ArrowException where a type, or a value of it, has no such text.
    """
    kind = values.type
    if pa.types.is_decimal(kind) and kind.scale > 0:
        return pc.replace_substring_regex(values.cast(pa.large_string()), _TRAILING_ZEROS, r"\1")
    if pa.types.is_fixed_size_binary(kind) and not _is_printable(values):
        width = kind.byte_width
        return (
            uuid_text(values) if width == _UUID_BYTES else _text_of_bytes(_digits(values), 2 * width, values)
        )
    return values.cast(pa.large_string())


def whole_numbers(values: Any) -> Any:
    """Floats as int64 (NaN: null) where all of them are whole and below 2^53; other values as they are."""
    if not pa.types.is_floating(values.type):
        return values
    numbers = values.cast(pa.float64())
    numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    exact = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), float(_EXACT)))
    return values if pc.all(exact).as_py() is False else numbers.cast(pa.int64())


def missing_ids(column: pa.ChunkedArray) -> Bool:
    """(n,): whether a row has no id: null, or empty text."""
    missing: Bool = np.asarray(column.is_null().to_numpy(), bool)
    if is_text(decode_column(column[:0]).type):
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        empty = [pc.take(pc.equal(chunk.dictionary, ""), chunk.indices) for chunk in encoded.chunks]
        missing |= np.concatenate(
            [np.zeros(0, bool), *(pc.fill_null(flags, True).to_numpy(False) for flags in empty)]
        )
    return missing


def _is_printable(values: pa.Array) -> bool:
    """Whether all bytes are UTF-8 without NUL."""
    try:
        text = values.cast(pa.binary()).cast(pa.string())
    except pa.ArrowException:
        return False
    return not pc.any(pc.match_substring(text, "\0")).as_py()


def _uuids(storage: pa.ChunkedArray) -> pa.ChunkedArray:
    """UUIDs of sixteen bytes as a dictionary of their text."""
    chunks = []
    for chunk in storage.chunks:
        codes = chunk.dictionary_encode()
        chunks.append(pa.DictionaryArray.from_arrays(codes.indices, uuid_text(codes.dictionary)))
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.large_string()))


def uuid_text(values: pa.Array) -> pa.Array:
    """Arrays of sixteen bytes as text such as `6fa459ea-ee8a-3ca4-894e-db77e160355e`."""
    digits = _digits(values)
    text = np.full((len(values), _UUID_CHARACTERS), ord("-"), np.uint8)
    text[:, [at for at in range(_UUID_CHARACTERS) if at not in _DASHES]] = digits
    return _text_of_bytes(text, _UUID_CHARACTERS, values)


def _digits(values: pa.Array) -> Array:
    """uint8 (n, 2 * width): the hexadecimal digits of bytes of one width; those of a null are arbitrary."""
    width = values.type.byte_width
    data = values.buffers()[1]
    raw = np.frombuffer(data, np.uint8)[values.offset * width : (values.offset + len(values)) * width]
    return np.stack([_HEX[raw >> 4], _HEX[raw & 15]], axis=-1).reshape(len(values), 2 * width)


def _text_of_bytes(letters: Array, width: int, values: pa.Array) -> pa.Array:
    """Rows of ASCII letters, all of one width, as text; null where `values` is."""
    ends = pa.py_buffer(np.arange(len(letters) + 1, dtype=np.int64) * width)
    text = pa.LargeStringArray.from_buffers(len(letters), ends, pa.py_buffer(np.ascontiguousarray(letters)))
    return pc.if_else(values.is_null(), None, text) if values.null_count else text
