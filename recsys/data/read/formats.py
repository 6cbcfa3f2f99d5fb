"""One file as an Arrow table: CSV, Parquet or JSON lines, only the columns that are asked for.

Parquet is read in batches and text columns are dictionary-encoded as they come, so memory is that of the
codes and the distinct ids: 30 million events with three columns are about half a gigabyte, whatever else the
file holds.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys.arrays import I64
from recsys.data.read.cells.plain import is_text, plain_table
from recsys.data.read.cells.wanted import Wanted
from recsys.data.read.storage.delimited import Skipped, read_delimited
from recsys.data.read.storage.dialect import EmptyFileError, dialect_of, refuse_twice
from recsys.data.read.storage.location import is_remote, open_file, open_text
from recsys.data.read.storage.partitions import TableFile, with_keys
from recsys.errors import DataError

_PACKED = ("", ".gz", ".bz2", ".zst")
TEXT, JSON = (".csv", ".tsv"), (".jsonl", ".json", ".ndjson")
SUFFIXES = (".parquet", *(ending + packing for packing in _PACKED for ending in (*TEXT, *JSON)))
_ROWS = 1 << 20  # rows of a Parquet batch: its decoded columns are all that is held besides the codes
_BLOCK_BYTES = 1 << 23  # bytes of JSON that are parsed at a time; a line must fit
_FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError, EOFError, csv.Error)


class Piece(NamedTuple):
    """Rows of a file. of: how many rows of the file they are; origin: int64 (n,), where lists became rows,
    which of these, from 0, each comes from."""

    table: pa.Table
    of: int
    origin: I64 | None = None


def read_file(file: TableFile, wanted: Wanted, skipped: list[Skipped] | None = None) -> Piece:
    """The table in a file, by its ending; a DataError says what is wrong with it. skipped: as in
    `read_rows`."""
    try:
        if file.path.suffix == ".parquet":
            return _join_pieces(list(_batches(file, wanted))) or _select_columns(
                _schema(file.path).empty_table(), file, wanted
            )
        if _is_json(file.path):
            return _select_columns(_read_json(file.path), file, wanted)
        return _select_columns(read_delimited(file.path, wanted, skipped), file, wanted)
    except _FAULTS as error:
        raise _unreadable(file.path, error) from None


def file_columns(file: TableFile, wanted: Wanted) -> list[str]:
    """The names of a file's columns, without reading its rows; those of `wanted` say whether it has a
    header."""
    try:
        if file.path.suffix == ".parquet":
            names = list(_schema(file.path).names)
        else:
            names = _json_names(file.path) if _is_json(file.path) else dialect_of(file.path, wanted).names
        return [*names, *(key for key in file.keys if key not in names)]
    except _FAULTS as error:
        raise _unreadable(file.path, error) from None


def _is_json(path: Path) -> bool:
    return any(path.name.endswith(ending + packing) for ending in JSON for packing in _PACKED)


def _select_columns(table: pa.Table, file: TableFile, wanted: Wanted) -> Piece:
    """The wanted columns of a table of the file."""
    made, origin = wanted.select(with_keys(plain_table(table), file.keys), str(file))
    return Piece(made, len(table), origin)


def _join_pieces(pieces: Sequence[Piece]) -> Piece | None:
    """All pieces of a file as one; None where there are none."""
    if len(pieces) < 2:
        return pieces[0] if pieces else None
    table = pa.concat_tables([piece.table for piece in pieces])
    return Piece(table, sum(piece.of for piece in pieces), origin_of(pieces))


def origin_of(pieces: Sequence[Piece]) -> I64 | None:
    """int64 (n,): the row of all pieces, one after the other, that each row comes from; None where it is the
    same."""
    if all(piece.origin is None for piece in pieces):
        return None
    starts = np.cumsum([0, *(piece.of for piece in pieces)])
    places = [np.arange(piece.of) if piece.origin is None else piece.origin for piece in pieces]
    return np.concatenate([start + place for start, place in zip(starts, places, strict=False)])


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0].rstrip(".")[:200] if str(error) else type(error).__name__
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
    if isinstance(error, UnicodeDecodeError):
        reason = "invalid UTF8 data"
    if "UTF8" in reason and (line := _line_that_is_no_text(path)):
        return DataError(
            f"{path} cannot be read: {reason}, first in line {line}. Check that it is what its name says, "
            f"and save it as UTF-8."
        )
    return DataError(f"{path} cannot be read: {reason}. Check that it is what its name says.")


def _line_that_is_no_text(path: Path) -> int | None:
    """The number of the first line, from 1, that is no UTF-8; None where the file cannot be opened as
    lines."""
    try:
        with open_text(path) as stream:
            for number, line in enumerate(stream, 1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return number
    except (pa.ArrowException, OSError):
        pass
    return None


def parquet_pieces(file: TableFile, wanted: Wanted) -> Iterator[Piece]:
    """The rows of a Parquet file, so many at a time as fit in memory; errors as in `read_file`."""
    try:
        yield from _batches(file, wanted)
    except _FAULTS as error:
        raise _unreadable(file.path, error) from None


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file has, without reading them."""
    from pyarrow import parquet

    try:
        with open_file(path) as stream:
            return int(parquet.read_metadata(stream).num_rows)
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def _schema(path: Path) -> pa.Schema:
    from pyarrow import parquet

    with open_file(path) as stream:
        return parquet.read_schema(stream)


def _batches(file: TableFile, wanted: Wanted) -> Iterator[Piece]:
    from pyarrow import parquet

    remote = is_remote(file.path)
    with open_file(file.path) as stream, parquet.ParquetFile(stream, pre_buffer=remote) as opened:
        names = opened.schema_arrow.names
        refuse_twice(names, str(file))
        columns = [name for name in names if wanted.takes(name)]
        for batch in opened.iter_batches(_ROWS, columns=columns) if columns else ():
            piece = _select_columns(pa.Table.from_batches([batch]), file, wanted)
            yield piece._replace(table=_encode_text(piece.table, wanted))


def _encode_text(table: pa.Table, wanted: Wanted) -> pa.Table:
    """The table with its text columns dictionary-encoded, where they hold what can be an id."""
    columns = [
        column.dictionary_encode() if name in wanted.text and _codable(column.type) else column
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.table(columns, names=table.column_names)


def _codable(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or is_text(kind))


def _json_names(path: Path) -> list[str]:
    from pyarrow import json

    with open_text(path) as stream:
        lines = b"".join(islice(stream, 1_000))
    if not lines.strip():
        raise EmptyFileError(f"{path} cannot be read: it is empty. Check that it is what its name says.")
    return list(json.read_json(io.BytesIO(lines)).column_names)


def _read_json(path: Path) -> pa.Table:
    """JSON lines are read whole. Text that looks like dates stays text: the parser would drop what zone it
    names."""
    from pyarrow import json

    with open_text(path) as stream:
        if not (start := stream.peek(1)[:1]):
            raise EmptyFileError(f"{path} cannot be read: it is empty. Check that it is what its name says.")
        if start == b"[":
            raise DataError(
                f"{path} cannot be read: it holds one array. Write JSON lines, an object in each."
            )
        options = json.ReadOptions(block_size=_BLOCK_BYTES)
        table = json.read_json(stream, read_options=options)
    dated = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if dated:
        schema = pa.schema([(name, pa.string()) for name in dated])
        with open_text(path) as stream:
            parse = json.ParseOptions(explicit_schema=schema)
            table = json.read_json(stream, read_options=options, parse_options=parse)
    return table
