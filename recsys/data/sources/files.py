"""Tables from files: CSV, Parquet and JSON lines, one file or many, only the columns that are asked for.

Parquet is read in batches and text columns are dictionary-encoded as they come, so memory is that of the codes and the
distinct ids: 30 million events with three columns are about half a gigabyte, whatever else the files hold.
"""

import csv
import glob
import io
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from recsys.errors import DataError

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


class Skipped(NamedTuple):
    """A row of a CSV with another number of fields than its header. row: from 1, without the header."""

    row: int
    text: str


_ROWS = 1 << 20  # rows of a Parquet batch: its decoded columns are all that is held besides the codes
_BLOCK_BYTES = 1 << 23  # bytes of text that are parsed at a time; a line of JSON must fit
_FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError, EOFError, csv.Error)
_CODED = pa.dictionary(pa.int32(), pa.string())


def read_table(
    source: Any,
    text_columns: Sequence[str] = (),
    only: Sequence[str] | None = None,
    skipped: list[Skipped] | None = None,
) -> pa.Table:
    """A file, a folder or pattern of files, a DataFrame or an Arrow table, as an Arrow table.

    text_columns: those that stay text in a CSV (`007` is not 7, `NA` is an id); they come dictionary-encoded. only: the
    columns to read, where present; None = all. skipped: takes the rows of a CSV that have too many or too few fields;
    without it such a row is a DataError.
    """
    if isinstance(source, str | Path):
        tables = [_read_file(path, text_columns, only, skipped) for path in files_of(Path(source))]
        table = concatenated(tables, str(source))
    elif type(source).__module__.startswith("pandas"):
        table = _from_pandas(source)
    elif isinstance(source, pa.Table):
        table = source
    else:
        raise DataError(f"a table must be a path, a pandas DataFrame or an Arrow table, got {type(source).__name__}.")
    _refuse_twice(table.column_names)
    return table if only is None else table.select([name for name in table.column_names if name in only])


def column_names(source: Any) -> list[str]:
    """The names of a table's columns, without reading its rows; those of the first file where there are many."""
    if not isinstance(source, str | Path):
        return list(read_table(source).column_names)
    path = files_of(Path(source))[0]
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return list(parquet.read_schema(path).names)
        return _csv_names(path) if ".csv" in path.suffixes else _json_names(path)
    except _FAULTS as error:
        raise _unreadable(path, error) from None


def files_of(path: Path) -> list[Path]:
    """The files that a path stands for: itself, all tables below a folder, or what a pattern such as *.parquet finds.

    Names that start with a dot or an underscore are left out, as Spark and Hive mean them; the order is that of names.
    """
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise DataError(f"{path} must end in {', '.join(SUFFIXES)}; rename or convert it.")
        return [path]
    if path.is_dir():
        if found := parts_of(path):
            return found
        raise DataError(f"{path} is a folder without tables; name a {' or '.join(SUFFIXES)} file.")
    matched = [Path(name) for name in sorted(glob.glob(str(path)))] if glob.has_magic(str(path)) else []
    if not matched:
        raise DataError(f"{path} is not there; name a {' or '.join(SUFFIXES)} file.")
    return [file for name in matched for file in files_of(name)]


def parts_of(folder: Path) -> list[Path]:
    """All tables below a folder, in the order of their names."""
    return [file for file in sorted(folder.rglob("*")) if _is_part(file, folder)]


def _is_part(file: Path, root: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    return file.is_file() and not hidden and file.name.endswith(SUFFIXES)


def _read_file(path: Path, text: Sequence[str], only: Sequence[str] | None, skipped: list[Skipped] | None) -> pa.Table:
    try:
        if path.suffix == ".parquet":
            return _read_parquet(path, text, only)
        if ".csv" in path.suffixes:
            return read_csv(path, _csv_names(path), text, only, skipped)
        return _read_json(path, text)
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

    with parquet.ParquetFile(path, pre_buffer=False) as file:
        names = file.schema_arrow.names
        _refuse_twice(names)
        wanted = [name for name in names if only is None or name in only]
        batches = [_coded(batch, text) for batch in file.iter_batches(_ROWS, columns=wanted)] if wanted else []
        if not batches:
            return _coded_schema(file.schema_arrow, wanted)
    return pa.Table.from_batches(batches)


def _coded(batch: pa.RecordBatch, text: Sequence[str]) -> pa.RecordBatch:
    """The batch with its text columns dictionary-encoded, where they hold what can be an id."""
    columns = [
        column.dictionary_encode() if name in text and _codable(column.type) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _codable(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _coded_schema(schema: pa.Schema, wanted: Sequence[str]) -> pa.Table:
    return pa.schema([schema.field(name) for name in wanted]).empty_table()


def _csv_names(path: Path) -> list[str]:
    """The header, read by itself: rows that do not fit it are another matter."""
    with pa.input_stream(str(path)) as stream:
        text = io.TextIOWrapper(io.BufferedReader(stream), encoding="utf-8-sig", newline="")
        header = next(csv.reader(text), None)
    if not header:
        raise OSError("it is empty")
    return header


def read_csv(
    source: Any,
    names: Sequence[str],
    text: Sequence[str] = (),
    only: Sequence[str] | None = None,
    skipped: list[Skipped] | None = None,
    **parse: Any,
) -> pa.Table:
    """A CSV file (path or open file) whose columns are called `names`; `parse`: options of pyarrow's parser."""
    from pyarrow import csv as arrow_csv

    def skip(row: Any) -> str:
        assert skipped is not None
        skipped.append(Skipped(row.number - 1, row.text))
        return "skip"

    _refuse_twice(names)
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
        parse_options=arrow_csv.ParseOptions(invalid_row_handler=skip if skipped is not None else None, **parse),
        convert_options=convert,
    )


def _json_names(path: Path) -> list[str]:
    from pyarrow import json

    with pa.input_stream(str(path)) as stream:
        lines = b"".join(islice(io.BufferedReader(stream), 1_000))
    return list(json.read_json(io.BytesIO(lines)).column_names)


def _read_json(path: Path, text: Sequence[str]) -> pa.Table:
    """JSON lines are read whole. Text that looks like dates stays text in `text` columns."""
    from pyarrow import json

    options = json.ReadOptions(block_size=_BLOCK_BYTES)
    with pa.input_stream(str(path)) as stream:
        table = json.read_json(stream, read_options=options)
    dated = [name for name in text if name in table.column_names and pa.types.is_timestamp(table[name].type)]
    if dated:
        schema = pa.schema([(name, pa.string()) for name in dated])
        with pa.input_stream(str(path)) as stream:
            parse = json.ParseOptions(explicit_schema=schema)
            table = json.read_json(stream, read_options=options, parse_options=parse)
    return table


def _from_pandas(frame: Any) -> pa.Table:
    try:
        with warnings.catch_warnings():  # pyarrow 25 reads times with a zone in a way that pandas 3.1 deprecates
            warnings.filterwarnings("ignore", "Series.values returning", DeprecationWarning)
            warnings.filterwarnings("ignore", "Series.values returning", FutureWarning)
            return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = ": ".join(map(str, error.args)) if isinstance(error, pa.ArrowException) else str(error)
        raise DataError(f"the DataFrame cannot become a table: {reason}. Give each column one type and name.") from None


def concatenated(tables: Sequence[pa.Table], where: str) -> pa.Table:
    """The rows of all files; each must have the columns of the first, with types that go together."""
    if len(tables) == 1:
        return tables[0]
    names = tables[0].column_names
    for table in tables[1:]:
        if set(table.column_names) != set(names):
            differ = min(set(table.column_names) ^ set(names))
            raise DataError(f"the files of {where} differ in their columns; {differ!r} is not in all of them.")
    try:
        return pa.concat_tables([table.select(names) for table in tables], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"the tables of {where} differ in type: {error}. Give a column the same type in each."
        ) from None


def _refuse_twice(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise DataError(f"a table must name each column once; {twice[0]!r} occurs more than once. Rename or drop one.")
