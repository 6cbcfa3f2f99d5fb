"""Tables from one file or many, from a DataFrame or from Arrow, only the columns that are asked for."""

import glob
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from recsys.data.check.findings import Part, Where
from recsys.data.read.formats import Skipped, file_columns, read_file, refuse_twice
from recsys.errors import DataError

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz")


def read_table(source: Any, text_columns: Sequence[str] = (), only: Sequence[str] | None = None) -> pa.Table:
    """A file, a folder or pattern of files, a DataFrame or an Arrow table, as an Arrow table.

    text_columns: those that stay text in a CSV (`007` is not 7, `NA` is an id); they come dictionary-encoded. only: the
    columns to read, where present; None = all.
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
    """`read_table`, and where the rows stand, to be named in errors. name: what a table without a path is called.

    skipped: takes the rows of a CSV that have too many or too few fields; without it such a row is a DataError.
    """
    if isinstance(source, str | Path):
        return read_files(files_of(Path(source)), text_columns, only, name=str(source), skipped=skipped)
    if type(source).__module__.startswith("pandas"):
        table = _from_pandas(source)
    elif isinstance(source, pa.Table):
        table = source
    else:
        raise DataError(f"a table must be a path, a pandas DataFrame or an Arrow table, got {type(source).__name__}.")
    refuse_twice(table.column_names, name)
    return _chosen(table, only), Where(name)


def read_files(
    paths: Sequence[Path],
    text_columns: Sequence[str] = (),
    only: Sequence[str] | None = None,
    *,
    name: str,
    skipped: list[Skipped] | None = None,
) -> tuple[pa.Table, Where]:
    """The rows of all files as one table, and where they stand; as `read_rows`."""
    tables, parts = [], []
    for path in paths:
        odd: list[Skipped] | None = None if skipped is None else []
        tables.append(_chosen(read_file(path, text_columns, only, odd), only))
        parts.append(Part(str(path), len(tables[-1]), sorted(one.row for one in odd or ())))
        if skipped is not None:
            skipped += odd or ()
    return concatenated(tables, name, [part.file for part in parts]), Where(name, parts)


def _chosen(table: pa.Table, only: Sequence[str] | None) -> pa.Table:
    return table if only is None else table.select([name for name in table.column_names if name in only])


def column_names(source: Any) -> list[str]:
    """The names of a table's columns, without reading its rows; those of the first file where there are many."""
    if not isinstance(source, str | Path):
        return list(read_table(source).column_names)
    return file_columns(files_of(Path(source))[0])


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


def _from_pandas(frame: Any) -> pa.Table:
    try:
        with warnings.catch_warnings():  # pyarrow 25 reads times with a zone in a way that pandas 3.1 deprecates
            warnings.filterwarnings("ignore", "Series.values returning", DeprecationWarning)
            warnings.filterwarnings("ignore", "Series.values returning", FutureWarning)
            return pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = ": ".join(map(str, error.args)) if isinstance(error, pa.ArrowException) else str(error)
        raise DataError(f"the DataFrame cannot become a table: {reason}. Give each column one type and name.") from None


def concatenated(tables: Sequence[pa.Table], where: str, files: Sequence[str]) -> pa.Table:
    """The rows of all tables; each must have the columns of the first, with types that go together.

    files: what each table is called in a DataError, where the types of a column do not.
    """
    if len(tables) == 1:
        return tables[0]
    names = tables[0].column_names
    for table in tables[1:]:
        if set(table.column_names) != set(names):
            differ = min(set(table.column_names) ^ set(names))
            raise DataError(f"the files of {where} differ in their columns; {differ!r} is not in all of them.")
    alike = _times_as_text([_at_utc(table.select(names)) for table in tables])
    try:
        return pa.concat_tables(alike, promote_options="permissive")
    except pa.ArrowException:
        unlike = _unlike_types(alike, files) or f"the tables of {where} differ in type."
        raise DataError(f"{unlike} Write each column as one type in all files.") from None


def _times_as_text(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables with their times as text in columns that are text in another: so a word among times has a row."""
    fields = [field for table in tables for field in table.schema]
    text = {field.name for field in fields if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)}
    mixed = {field.name for field in fields if pa.types.is_timestamp(field.type)} & text
    if not mixed:
        return list(tables)
    kinds = {name: pa.large_string() for name in mixed}
    return [
        table.cast(pa.schema([field.with_type(kinds.get(field.name, field.type)) for field in table.schema]))
        for table in tables
    ]


def _unlike_types(tables: Sequence[pa.Table], files: Sequence[str]) -> str | None:
    """A sentence on the first column of which two files hold types that do not go together; None where no two do."""
    for name in tables[0].column_names:
        kinds: dict[Any, str] = {}
        for table, file in zip(tables, files, strict=True):
            kind = table.schema.field(name).type
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            for other, first in kinds.items():
                if not _go_together(kind, other):
                    return f"column {name!r} holds {kind} in {file}, but {other} in {first}."
            kinds.setdefault(kind, file)
    return None


def _go_together(one: Any, other: Any) -> bool:
    """Whether one column can hold the values of two types."""
    try:
        pa.unify_schemas([pa.schema([("values", kind)]) for kind in (one, other)], promote_options="permissive")
    except pa.ArrowException:
        return False
    return True


def _at_utc(table: pa.Table) -> pa.Table:
    """The table with its zoned times in UTC, the same moments, so that files of several zones go together."""
    fields = [
        field.with_type(pa.timestamp(field.type.unit, "UTC"))
        if pa.types.is_timestamp(field.type) and field.type.tz is not None
        else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
