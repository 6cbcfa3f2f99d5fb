"""Tables as text with separators: CSV and its kin, in the dialects in which databases write them.

Fields may hold line breaks in quotes. Without a header, columns are called by their numbers from 1. `\\N` is
a missing value, as Postgres, MySQL and Snowflake write it.
"""

import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.check.findings import UNCLOSED_FIX
from recsys.data.read.cells.plain import is_text
from recsys.data.read.cells.wanted import EVENT_COLUMNS, Wanted, counts_up, looks_like_value
from recsys.data.read.storage.dialect import Dialect, dialect_of, refuse_twice
from recsys.data.read.storage.location import is_bare, open_text
from recsys.errors import DataError

_BLOCK_BYTES, _LARGEST_BLOCK = 1 << 23, 1 << 28  # bytes of text that are parsed at a time; a row must fit
_TYPED_BYTES = 1 << 20
_LOOKED_AT = 1 << 18  # bytes that are looked at for quotes at a time: more would leave the processor's cache
_CODED = pa.dictionary(pa.int32(), pa.string())
_NULL = "\\N"
_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\\\n", b"r": b"\\\r", b"t": b"\\\t", b"v": b"\v", b"N": rb"\\N"}


class Skipped(NamedTuple):
    """A row of a CSV that is not read: it has another number of fields than the header. row: in its file,
    from 1, without the header.

    unclosed: instead, what is wrong with a quote, from which on nothing is read; row is 0.
    """

    row: int
    text: str
    file: str
    unclosed: bool = False


def read_delimited(path: Path, wanted: Wanted, skipped: list[Skipped] | None = None) -> pa.Table:
    """The wanted columns of a file. skipped: takes the rows that cannot be read; without it they are a
    DataError."""
    dialect = dialect_of(path, wanted)
    odd: list[Skipped] | None = None if skipped is None else []
    fault: pa.ArrowInvalid | None = None
    table, quotes = None, 1
    try:
        table, quotes = _read(path, dialect, wanted, odd)
    except pa.ArrowInvalid as error:
        fault = error
    suspect = dialect.quotes and not dialect.escapes and quotes % 2
    if suspect and (line := unclosed_quote(path, dialect)) is not None:
        said = f"has a quote in line {line} that is never closed, or that text follows where it is"
        if skipped is None:
            raise DataError(f"{path} {said}. {UNCLOSED_FIX}")
        odd = []
        table, _ = _read(path, dialect, wanted, odd, stop=line)
        skipped.append(
            Skipped(0, f"{said}; nothing is read from there on, in {path}", str(path), unclosed=True)
        )
    elif fault is not None:
        raise fault
    elif table is None:
        raise DataError(f"{path} has a row of more than {_LARGEST_BLOCK >> 20} MB of text. Is it the file?")
    assert table is not None
    _refuse_a_row_for_header(path, table, dialect, wanted)
    if skipped is not None:
        skipped += odd or ()
    return table


def _refuse_a_row_for_header(path: Path, table: pa.Table, dialect: Dialect, wanted: Wanted) -> None:
    """Raises a DataError where a column is called as one of the first ids in it, or by a time: by the first
    event."""
    if dialect.headless or counts_up(dialect.names) or not len(table):
        return
    for name in {*(wanted.names or ())} - {*EVENT_COLUMNS}:
        if name not in dialect.names:
            continue
        column = table[name]
        within = (
            pa.types.is_dictionary(column.type) and pc.index(column.chunk(0).dictionary, name).as_py() >= 0
        )
        if within or looks_like_value(name):
            shown = ", ".join(map(repr, dialect.names))
            raise DataError(
                f"{path}: its first line ({shown}) seems to be a row and no header, for {name!r} is also a "
                "value. Name columns by numbers from 1, as in --user-col 1 (columns.user_id=1). Or does "
                "the header occur twice?"
            )


def _read(
    path: Path, dialect: Dialect, wanted: Wanted, skipped: list[Skipped] | None, stop: int | None = None
) -> tuple[pa.Table | None, int]:
    """The table, and how many quotes were read; None and 1 where a row is larger than what is parsed at a
    time.

    The file is read as its beginning promises, and once more where a later row breaks the promise: a quote, a
    value of another type, a row that is longer than a block. A file that lies here unpacked is looked through
    for quotes first, and then read by the parser alone, with no Python between them.
    """
    kinds, block_bytes = _first_types(path, dialect, wanted), _BLOCK_BYTES
    bare = _marks(path) if stop is None and not dialect.translates and is_bare(path) else None
    if bare is not None:
        dialect = dialect._replace(breaks=bare.quotes > 0)
    while True:
        with open_text(path) as stream:
            text = bare or _Text(stream, dialect, stop)
            source: Any = str(path) if bare else text
            try:
                table = parse(source, dialect, wanted, skipped, str(path), block_bytes, kinds)
                if dialect.breaks or not text.quotes:
                    return _without_null_marks(table) if text.backslashes else table, text.quotes
                dialect = dialect._replace(breaks=True)
            except pa.ArrowInvalid as error:
                if text.quotes and not dialect.breaks:
                    dialect = dialect._replace(breaks=True)
                elif "straddl" in str(error):
                    if block_bytes == _LARGEST_BLOCK:
                        return None, 1
                    block_bytes = _LARGEST_BLOCK
                elif kinds:
                    kinds = {}
                else:
                    raise
        if skipped is not None:
            skipped.clear()


class _Marks(NamedTuple):
    """How many quotes a file holds, and whether any backslash."""

    quotes: int
    backslashes: bool


def _marks(path: Path) -> _Marks:
    with open_text(path) as stream:
        blocks = iter(lambda: stream.read(_LOOKED_AT), b"")
        marks = [_Marks(block.count(b'"'), b"\\" in block) for block in blocks]
    return _Marks(sum(one.quotes for one in marks), any(one.backslashes for one in marks))


def _first_types(path: Path, dialect: Dialect, wanted: Wanted) -> dict[str, pa.DataType]:
    """The types of the columns that do not stay text, by the first megabyte; none where that is the whole
    file.

    The parser keeps all text of a column whose type it is not told, for it may have to begin anew.
    """
    with open_text(path) as stream:
        start = _Text(stream, dialect, None).read(_TYPED_BYTES)
    if len(start) < _TYPED_BYTES // 2:
        return {}
    try:
        table = parse(io.BytesIO(start[: start.rfind(b"\n") + 1]), dialect, wanted, [], str(path))
    except pa.ArrowInvalid:
        return {}
    coded = (pa.types.is_dictionary, pa.types.is_null, is_text)
    return {field.name: field.type for field in table.schema if not any(one(field.type) for one in coded)}


def parse(
    source: Any,
    dialect: Dialect,
    wanted: Wanted,
    skipped: list[Skipped] | None = None,
    name: str = "",
    block_bytes: int = _BLOCK_BYTES,
    kinds: Mapping[str, pa.DataType] | None = None,
) -> pa.Table:
    """The table in an open file. kinds: types of columns that are known. Errors are those of pyarrow."""
    from pyarrow import csv as arrow_csv

    def skip(row: Any) -> str:
        assert skipped is not None
        skipped.append(Skipped(row.number - (not dialect.headless), row.text, name))
        return "skip"

    refuse_twice(dialect.names, name)
    options = arrow_csv.ConvertOptions(strings_can_be_null=False)
    options.null_values = [*options.null_values, _NULL]
    options.column_types = {
        **(kinds or {}),
        **{name: _CODED for name in dialect.names if wanted.is_text(name)},
    }
    options.include_columns = [column for column in dialect.names if wanted.takes(column)]
    return arrow_csv.read_csv(
        source,
        read_options=arrow_csv.ReadOptions(
            block_size=block_bytes,
            use_threads=skipped is None,  # rows are counted by one thread alone
            column_names=dialect.names if dialect.headless else None,
        ),
        parse_options=arrow_csv.ParseOptions(
            delimiter=dialect.separator,
            quote_char='"' if dialect.quotes else False,
            escape_char="\\" if dialect.escapes else False,
            newlines_in_values=dialect.breaks,
            invalid_row_handler=skip if skipped is not None else None,
        ),
        convert_options=options,
    )


def _without_null_marks(table: pa.Table) -> pa.Table:
    """The table with null in place of the text \\N."""
    return pa.table([_without_null_mark(column) for column in table.columns], names=table.column_names)


def _without_null_mark(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        chunks = []
        for chunk in column.chunks:
            at = pc.index(chunk.dictionary, _NULL).as_py()
            indices = (
                chunk.indices if at < 0 else pc.if_else(pc.equal(chunk.indices, at), None, chunk.indices)
            )
            chunks.append(pa.DictionaryArray.from_arrays(indices, chunk.dictionary))
        return pa.chunked_array(chunks, column.type)
    if is_text(column.type) and pc.index(column, _NULL).as_py() >= 0:
        return pc.if_else(pc.equal(column, _NULL), None, column)
    return column


class _Text:
    """The bytes of a file as its parser takes them: where nothing stands in quotes, escapes of databases
    become those of the parser. quotes: how many were read; backslashes: whether any was. stop: the line, from
    1, at which to end."""

    closed = False

    def __init__(self, stream: io.BufferedReader, dialect: Dialect, stop: int | None) -> None:
        self._lines = (
            None if stop is None else (line for _, line in zip(range(stop - 1), stream, strict=False))
        )
        self._stream, self.quotes, self.backslashes = stream, 0, False
        self._translates = dialect.translates
        self._escape = re.compile(rb"\\(.)", re.DOTALL)

    def read(self, size: int) -> bytes:
        if not self._translates:
            block = self._stream.read(size) if self._lines is None else _join_lines(self._lines, size)
            self.quotes += block.count(b'"')
            self.backslashes |= b"\\" in block
            return block
        self.backslashes = True
        text = self._stream.read(size // 2)  # an escape may grow
        while (len(text) - len(text.rstrip(b"\\"))) % 2 and (
            more := self._stream.read(1)
        ):  # an escape is cut
            text += more
        return self._escape.sub(_parsable, text)

    def close(self) -> None:
        self.closed = True


def _join_lines(lines: Iterable[bytes], size: int) -> bytes:
    text = bytearray()
    for line in lines:
        text += line
        if len(text) >= size:
            break
    return bytes(text)


def _parsable(escape: re.Match[bytes]) -> bytes:
    """An escape as the parser takes it: it knows a backslash before the character that is meant, and no
    letters."""
    return _ESCAPES.get(escape[1], escape[0])


def unclosed_quote(path: Path, dialect: Dialect) -> int | None:
    """The line, from 1, of the first quote that is never closed, or that text follows where it is; None
    without one."""
    separator = dialect.separator.encode()
    with open_text(path) as stream:
        opened: int | None = None
        for number, line in enumerate(stream, 1):
            at = 0
            while (at := line.find(b'"', at)) >= 0:
                if opened is None:
                    opened = number if at == 0 or line[at - 1 : at] == separator else None
                elif line[at + 1 : at + 2] == b'"':
                    at += 1
                elif line[at + 1 : at + 2] in (separator, b"\r", b"\n", b""):
                    opened = None
                else:
                    return opened
                at += 1
    return opened
