"""One file as an Arrow table: CSV, Parquet or JSON lines, only the columns that are asked for.

Parquet is read in batches and text columns are dictionary-encoded as they come, so memory is that of the codes and the
distinct ids: 30 million events with three columns are about half a gigabyte, whatever else the file holds.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from recsys.errors import DataError


class Skipped(NamedTuple):
    """A row of a CSV with another number of fields than its header. row: in its file, from 1, without the header."""

    row: int
    text: str
    file: str


_ROWS = 1 << 20  # rows of a Parquet batch: its decoded columns are all that is held besides the codes
_BLOCK_BYTES = 1 << 23  # bytes of text that are parsed at a time; a line of JSON must fit
_SEPARATORS, _HEADER_CHARACTERS = ",;\t|", 1 << 16
_FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError, EOFError, csv.Error)
_CODED = pa.dictionary(pa.int32(), pa.string())


def read_file(
    path: Path, text: Sequence[str], only: Sequence[str] | None, skipped: list[Skipped] | None = None
) -> pa.Table:
    """The table in a file, by its ending; a DataError says what is wrong with it. Arguments as in `read_rows`."""
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path, text, only)
        if ".csv" in path.suffixes:
            names, separator = _csv_header(path)
            return read_csv(path, names, text, only, skipped, separator)
        return _read_json(path)
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def file_columns(path: Path) -> list[str]:
    """The names of a file's columns, without reading its rows."""
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return list(parquet.read_schema(path).names)
        return _csv_header(path)[0] if ".csv" in path.suffixes else _json_names(path)
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).splitlines()[0].rstrip(".")[:200] if str(error) else type(error).__name__
    reason = "".join(letter if letter.isprintable() else "?" for letter in reason)
    if isinstance(error, UnicodeDecodeError):
        reason = "invalid UTF8 data"
    if "UTF8" in reason and (line := _line_that_is_no_text(path)):
        return DataError(
            f"{path} cannot be read: {reason}, first in line {line}. Check that it is what its name says, and save it "
            "as UTF-8."
        )
    return DataError(f"{path} cannot be read: {reason}. Check that it is what its name says.")


def _line_that_is_no_text(path: Path) -> int | None:
    """The number of the first line, from 1, that is no UTF-8; None where the file cannot be opened as lines."""
    try:
        with pa.input_stream(str(path)) as stream:
            for number, line in enumerate(io.BufferedReader(stream), 1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    return number
    except (pa.ArrowException, OSError):
        pass
    return None


def _read_parquet(path: Path, text: Sequence[str], only: Sequence[str] | None) -> pa.Table:
    from pyarrow import parquet

    if batches := list(_batches(path, text, only)):
        return pa.Table.from_batches(batches)
    schema = parquet.read_schema(path)
    return pa.schema([field for field in schema if only is None or field.name in only]).empty_table()


def parquet_batches(path: Path, text: Sequence[str], only: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of a Parquet file, so many at a time as fit in memory; arguments and errors as in `read_file`."""
    try:
        for batch in _batches(path, text, only):
            yield pa.Table.from_batches([batch])
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def parquet_rows(path: Path) -> int:
    """How many rows a Parquet file has, without reading them."""
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def _batches(path: Path, text: Sequence[str], only: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    from pyarrow import parquet

    with parquet.ParquetFile(path, pre_buffer=False) as file:
        names = file.schema_arrow.names
        refuse_twice(names, str(path))
        wanted = [name for name in names if only is None or name in only]
        for batch in file.iter_batches(_ROWS, columns=wanted) if wanted else ():
            yield _coded(batch, text)


def _coded(batch: pa.RecordBatch, text: Sequence[str]) -> pa.RecordBatch:
    """The batch with its text columns dictionary-encoded, where they hold what can be an id."""
    columns = [
        column.dictionary_encode() if name in text and _codable(column.type) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _codable(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _csv_header(path: Path) -> tuple[list[str], str]:
    """The names of the columns, and which of `_SEPARATORS` stands between them: the one that makes the most names.

    The header is read by itself: rows that do not fit it are another matter.
    """
    with pa.input_stream(str(path)) as stream:
        text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", newline="")
        start = text.read(_HEADER_CHARACTERS)
    headers = {mark: next(csv.reader(io.StringIO(start, ""), delimiter=mark), []) for mark in _SEPARATORS}
    separator = max(headers, key=lambda mark: len(headers[mark]))  # ties go to the first, the comma
    if not headers[separator]:
        raise OSError("it is empty")
    return headers[separator], separator


def read_csv(
    source: Any,
    names: Sequence[str],
    text: Sequence[str] = (),
    only: Sequence[str] | None = None,
    skipped: list[Skipped] | None = None,
    separator: str = ",",
    **parse: Any,
) -> pa.Table:
    """A CSV file (path or open file) whose columns are called `names`; `parse`: options of pyarrow's parser.

    separator: that of a file with a header; one that has none names its `delimiter`.
    """
    from pyarrow import csv as arrow_csv

    def skip(row: Any) -> str:
        assert skipped is not None
        skipped.append(Skipped(row.number - 1, row.text, str(source)))
        return "skip"

    refuse_twice(names, str(source))
    chosen = [name for name in names if only is None or name in only]
    convert = arrow_csv.ConvertOptions(
        column_types={name: _CODED for name in text if name in names}, strings_can_be_null=False, include_columns=chosen
    )
    headless = {"column_names": list(names)} if "delimiter" in parse else {}
    return arrow_csv.read_csv(
        source,
        read_options=arrow_csv.ReadOptions(
            block_size=_BLOCK_BYTES, use_threads=skipped is None, **headless
        ),  # rows count
        parse_options=arrow_csv.ParseOptions(
            invalid_row_handler=skip if skipped is not None else None, **({"delimiter": separator} | parse)
        ),
        convert_options=convert,
    )


def _json_names(path: Path) -> list[str]:
    from pyarrow import json

    with pa.input_stream(str(path)) as stream:
        lines = b"".join(islice(io.BufferedReader(stream), 1_000))
    return list(json.read_json(io.BytesIO(lines)).column_names)


def _read_json(path: Path) -> pa.Table:
    """JSON lines are read whole. Text that looks like dates stays text: the parser would drop what zone it names."""
    from pyarrow import json

    options = json.ReadOptions(block_size=_BLOCK_BYTES)
    with pa.input_stream(str(path)) as stream:
        table = json.read_json(stream, read_options=options)
    dated = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if dated:
        schema = pa.schema([(name, pa.string()) for name in dated])
        with pa.input_stream(str(path)) as stream:
            parse = json.ParseOptions(explicit_schema=schema)
            table = json.read_json(stream, read_options=options, parse_options=parse)
    return table


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Raises a DataError where a column name occurs more than once in a table, as `where` calls it."""
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise DataError(f"{where} must name each column once; {twice[0]!r} occurs more than once. Rename or drop one.")
