"""Tables from one file or many, from a DataFrame or from Arrow, only the columns that are asked for."""

import glob
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys.data.check.findings import Part, Where
from recsys.data.read.cells.plain import decode_column, is_text, plain_table, text_of
from recsys.data.read.cells.wanted import Wanted
from recsys.data.read.formats import SUFFIXES, Piece, file_columns, origin_of, read_file
from recsys.data.read.storage.delimited import Skipped
from recsys.data.read.storage.dialect import EmptyFileError, refuse_twice
from recsys.data.read.storage.location import files_below, is_remote, matches, path_of
from recsys.data.read.storage.partitions import TableFile, table_file
from recsys.errors import DataError

ENDINGS = ".parquet, .csv, .tsv, .jsonl, .json or a packed one such as .csv.gz"
_ALONE = (".txt", ".data", ".dat")  # endings of delimited text in a file that is named itself


def read_table(source: Any, text_columns: Sequence[str] = (), only: Sequence[str] | None = None) -> pa.Table:
    """A file, a folder or pattern of files, a DataFrame or an Arrow table, as an Arrow table.

    text_columns: those that stay text in a CSV (`007` is not 7, `NA` is an id); they come dictionary-encoded.
    only: the columns to read, where present, as `Wanted` reads their names; None = all.
    """
    return read_rows(source, text_columns, only)[0]


def read_rows(
    source: Any,
    text_columns: Sequence[str] = (),
    only: Sequence[str] | None = None,
    *,
    name: str = "the table",
    skipped: list[Skipped] | None = None,
) -> tuple[pa.Table, Where]:
    """`read_table`, and where the rows stand, to be named in errors. name: what a table without a path is
    called.

    skipped: takes the rows of a CSV that cannot be read; without it such a row is a DataError.
    """
    wanted = Wanted(only, text_columns)
    if isinstance(source, str | Path) or is_remote(source):
        return read_files(files_of(path_of(source)), wanted, name=str(source), skipped=skipped)
    table = arrow_table(source)
    refuse_twice(table.column_names, name)
    made, origin = wanted.select(plain_table(table), name)
    return made, Where(name, origin=origin)


def read_files(
    files: Sequence[TableFile], wanted: Wanted, *, name: str, skipped: list[Skipped] | None = None
) -> tuple[pa.Table, Where]:
    """The rows of all files as one table, and where they stand; as `read_rows`. A file without rows is passed
    over."""
    pieces, parts = list[Piece](), list[Part]()
    for file in files:
        odd: list[Skipped] | None = None if skipped is None else []
        try:
            piece = read_file(file, wanted, odd)
        except EmptyFileError:
            if len(files) == 1:
                raise
            continue
        pieces.append(piece)
        parts.append(Part(str(file), piece.of, sorted(one.row for one in odd or () if one.row)))
        if skipped is not None:
            skipped += odd or ()
    if not pieces:
        raise DataError(f"{name} has no rows in any of its {len(files)} files. Is it the folder?")
    table = concat_tables([piece.table for piece in pieces], [part.file for part in parts], wanted.text)
    return table, Where(name, parts, origin=origin_of(pieces))


def arrow_table(source: Any) -> pa.Table:
    """A DataFrame, Arrow table, or what else gives its columns to Arrow (polars, DuckDB), as an Arrow
    table."""
    if isinstance(source, pa.Table):
        return source
    if type(source).__module__.startswith("pandas"):
        return _from_pandas(source)
    if hasattr(source, "__arrow_c_stream__") or isinstance(source, pa.RecordBatch):
        try:
            return pa.table(source)
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise DataError(f"the {type(source).__name__} cannot become a table: {error}.") from None
    raise DataError(
        "a table must be a path, a DataFrame of pandas or polars, or an Arrow table, got "
        f"{type(source).__name__}."
    )


def column_names(source: Any) -> list[str]:
    """The names of a table's columns, without reading its rows; those of the first file that is not empty."""
    if not (isinstance(source, str | Path) or is_remote(source)):
        return list(arrow_table(source).column_names)
    return first_columns(files_of(path_of(source)), Wanted())


def first_columns(files: Sequence[TableFile], wanted: Wanted) -> list[str]:
    """The names of the columns of the first file that is not empty."""
    for file in files[:-1]:
        try:
            return file_columns(file, wanted)
        except EmptyFileError:
            continue
    return file_columns(files[-1], wanted)


def files_of(path: Path) -> list[TableFile]:
    """The files that a path stands for: itself, all tables below a folder, or what a pattern such as
    *.parquet finds.

    Names that start with a dot or an underscore are left out, as Spark and Hive mean them; the order is that
    of names.
    """
    root = root_of(path)
    if path.is_file():
        if not path.name.endswith((*SUFFIXES, *_ALONE)):
            raise DataError(f"{path} must end in {ENDINGS}; rename or convert it.")
        files = [TableFile(path)]
    elif path.is_dir():
        files = [table_file(part, root) for part in parts_of(path)]
        if not files:
            raise DataError(f"{path} is a folder without tables; name a {ENDINGS} file.")
    else:
        paths = matches(path) if glob.has_magic(str(path)) else []
        if not paths:
            raise DataError(f"{path} is not there; name a {ENDINGS} file.")
        files = [table_file(file.path, root) for match in paths for file in files_of(match)]
    return files


def root_of(path: Path) -> Path:
    """The folder that the names of partitions are looked for below: the path, without what is a pattern."""
    while glob.has_magic(str(path)) and path != path.parent and not path.exists():
        path = path.parent
    return path


def parts_of(folder: Path) -> list[Path]:
    """All tables below a folder, in the order of their names."""
    return [file for file in files_below(folder) if _is_part(file, folder)]


def _is_part(file: Path, root: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in file.relative_to(root).parts)
    return not hidden and file.name.endswith(SUFFIXES)


def _from_pandas(frame: Any) -> pa.Table:
    """The columns of a DataFrame, those of a named index among them."""
    named = [name for name in frame.index.names if name is not None and name not in frame.columns]
    try:
        with (
            warnings.catch_warnings()
        ):  # pyarrow 25 reads times with a zone in a way that pandas 3.1 deprecates
            warnings.filterwarnings("ignore", "Series.values returning", DeprecationWarning)
            warnings.filterwarnings("ignore", "Series.values returning", FutureWarning)
            return pa.Table.from_pandas(
                frame.reset_index(level=named) if named else frame, preserve_index=False
            )
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = ": ".join(map(str, error.args)) if isinstance(error, pa.ArrowException) else str(error)
        raise DataError(
            f"the DataFrame cannot become a table: {reason}. Give each column one type and name."
        ) from None


def concat_tables(tables: Sequence[pa.Table], names: Sequence[str], text: Sequence[str] = ()) -> pa.Table:
    """The rows of all tables; each must have the columns of the first, with types that go together.

    names: what each is called, for errors. text: the columns that become text where their types differ: ids.
    Others do where one of them holds text: so a word among times or weights, which a CSV's parser made text
    of, is found in its row. A table without rows says nothing of columns and types.
    """
    filled = [at for at, table in enumerate(tables) if len(table)] or [0]
    tables, names = [tables[at] for at in filled], [names[at] for at in filled]
    if len(tables) == 1:
        return tables[0]
    columns = tables[0].column_names
    for table, name in zip(tables[1:], names[1:], strict=True):
        if set(table.column_names) != set(columns):
            differ = min(set(table.column_names) ^ set(columns))
            has, lacks = (name, names[0]) if differ in table.column_names else (names[0], name)
            raise DataError(
                f"{lacks} has no column {differ!r}, and {has} has one. Give all files the same columns."
            )
    joined = [
        _one_column([table[column] for table in tables], column, names, column in text) for column in columns
    ]
    return pa.table(joined, names=columns)


def _one_column(
    parts: Sequence[pa.ChunkedArray], column: str, names: Sequence[str], text: bool
) -> pa.ChunkedArray:
    """The values of all parts in one column. Raises DataError where their types do not go together."""
    kinds = [part.type for part in parts]
    if len(set(kinds)) == 1:
        return pa.chunked_array([chunk for part in parts for chunk in part.chunks], kinds[0])
    parts = [_at_utc(part) for part in parts]
    values = {_value_type(part.type) for part in parts}
    if len(values) > 1 and (text or any(map(is_text, values))):
        parts = [_as_text(part, floats=not text) for part in parts]
    tables = [pa.table([part], names=[column]) for part in parts]
    try:
        return pa.concat_tables(tables, promote_options="permissive")[column]
    except pa.ArrowException:
        at = next(at for at, part in enumerate(parts) if not _alike(part.type, parts[0].type))
        one, other = (_value_type(kind) for kind in (kinds[0], kinds[at]))
        raise DataError(
            f"column {column!r} holds {one} in {names[0]}, and {other} in {names[at]}. Give it the "
            "same type in each."
        ) from None


def _alike(one: pa.DataType, other: pa.DataType) -> bool:
    """Whether values of two types can stand in one column."""
    try:
        pa.unify_schemas([pa.schema([("", one)]), pa.schema([("", other)])], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _as_text(column: pa.ChunkedArray, floats: bool) -> pa.ChunkedArray:
    """Values of any type as text; what has no text stays as it is, and so do floating-point numbers unless
    asked for: they are no ids."""
    kind = _value_type(column.type)
    if is_text(kind) or pa.types.is_null(kind) or (pa.types.is_floating(kind) and not floats):
        return decode_column(column)
    try:
        return pa.chunked_array([text_of(chunk) for chunk in decode_column(column).chunks], pa.large_string())
    except pa.ArrowException:
        return column


def _at_utc(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Zoned times in UTC, the same moments, so that files of several zones go together."""
    kind = column.type
    return (
        column.cast(pa.timestamp(kind.unit, "UTC"))
        if pa.types.is_timestamp(kind) and kind.tz is not None
        else column
    )
