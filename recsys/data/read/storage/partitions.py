"""Folders named after a value of the rows in them, as Spark, Hive and pandas write them: columns, and dates.

`events/event=buy/dt=2024-01-31/part-0.parquet` gives every row of the file the columns `event` and `dt`. A
date may also stand in plain names, as in `events/2024/01/31/` and `events_20240131.parquet`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa

from recsys.errors import DataError

_KEY = re.compile(r"([^=]+)=(.*)")
_NONE = "__HIVE_DEFAULT_PARTITION__"
_MONTH = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_/]?(0[1-9]|1[0-2])(?!\d)")
_DAY = re.compile(_MONTH.pattern.replace(r"(?!\d)", r"[-_/]?(0[1-9]|[12]\d|3[01])(?!\d)"))
_YEAR_MONTH_DAY = ("year", "month", "day")
_DURATION = re.compile(r"(\d+) *(d|w)")


class TableFile(NamedTuple):
    """A file of a table. keys: the columns that the names of its folders say, with their value; None =
    missing."""

    path: Path
    keys: Mapping[str, str | None] = {}

    def __str__(self) -> str:
        return str(self.path)


def table_file(path: Path, root: Path) -> TableFile:
    """A file with what the folders between `root` and itself say of its rows."""
    keys = dict[str, str | None]()
    for folder in path.relative_to(root).parts[:-1]:
        if match := _KEY.fullmatch(folder):
            keys[match[1]] = None if match[2] == _NONE else unquote(match[2])
    return TableFile(path, keys)


def with_keys(table: pa.Table, keys: Mapping[str, str | None]) -> pa.Table:
    """The table with a column of text for each key that it has no column for."""
    for name, value in keys.items():
        if name not in table.column_names:
            codes = pa.nulls(len(table), pa.int32())
            codes = codes if value is None else codes.fill_null(0)
            table = table.append_column(name, pa.DictionaryArray.from_arrays(codes, pa.array([value or ""])))
    return table


def days_of(text: str) -> int:
    """The days of a duration such as 180d or 26w. Raises DataError on another text."""
    match = _DURATION.fullmatch(text.strip())
    if match is None or not int(match[1]):
        raise DataError(f"since = {text!r} is no duration; write days or weeks, as in 180d or 26w.")
    return int(match[1]) * (7 if match[2] == "w" else 1)


def recent(files: Sequence[TableFile], root: Path, since: str) -> list[TableFile]:
    """The files of the partitions that reach into the time `since` before the newest one begins, that one
    included.

    Raises DataError where the name of a file, and those of its folders below `root`, hold no date.
    """
    periods = []
    for file in files:
        if (period := _period(file, root)) is None:
            raise DataError(
                f"since = {since!r} counts back from the newest partition, and {file} has no date in its "
                "name or in those of its folders, as in dt=2024-01-31/. Leave since out, or partition the "
                "data by date."
            )
        periods.append(period)
    cut = max(first for first, _ in periods) - timedelta(days_of(since))
    return [file for file, (_, after) in zip(files, periods, strict=True) if after > cut]


def _period(file: TableFile, root: Path) -> tuple[date, date] | None:
    """The first day of a file's partition, and the day after its last: by `year`, `month` and `day`, else by
    the first whole date in a name, else by the first month."""
    keys = {name.lower(): value or "" for name, value in file.keys.items()}
    parts = [keys[name] for name in _YEAR_MONTH_DAY if name in keys]
    if "year" in keys and all(part.isdigit() for part in parts):
        return _days(*map(int, parts))
    plain = file.path.relative_to(root).as_posix() if file.path != root else file.path.name
    for form in (_DAY, _MONTH):
        for text in (*keys.values(), plain):
            if match := form.search(text):
                return _days(*map(int, match.groups()))
    return None


def _days(year: int, month: int | None = None, day: int | None = None) -> tuple[date, date] | None:
    try:
        first = date(year, month or 1, day or 1)
    except ValueError:  # the 30th of February
        return None
    if day:
        return first, first + timedelta(1)
    return first, date(year + (not month or month == 12), month % 12 + 1 if month else 1, 1)
