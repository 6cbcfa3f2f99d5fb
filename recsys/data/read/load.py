"""A data set by name or path: a folder of tables, a single file or pattern of files of events, or a MovieLens zip.

A folder holds `events` or `interactions` (one table), or the published parts `train`, `test` and perhaps `validation`;
and perhaps `items` and `users`. Each is a file of `files.SUFFIXES`, or a folder of such files. Parts that carry times
are joined, to be split by time. A folder with none of these names is a table of events in many files.
"""

import glob
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I8
from recsys.config import data_folders
from recsys.data.check.findings import Where
from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.read.columns import named_columns
from recsys.data.read.event_table import EventTable, event_table, events_of, wanted_columns
from recsys.data.read.files import concatenated, files_of, parts_of
from recsys.data.read.formats import SUFFIXES, Piece, origin_of
from recsys.data.read.movielens import is_movielens, read_movielens
from recsys.data.read.storage.delimited import Skipped
from recsys.data.read.storage.partitions import TableFile, table_file
from recsys.data.read.streamed import streamed
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError
from recsys.progress import Progress, silent
from recsys.text import nearest_name

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_INSIDE_TRAIN = "in_lgpp_valid"  # how gowalla marks the validation rows inside `train`


def load_dataset(
    name: str,
    columns: Mapping[str, str] | None = None,
    *,
    on_disk: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """The data set at a path, or of this name in one of the data folders. `columns`: the user's own column names.

    on_disk: the folder in which the events are kept, for a log in Parquet that is larger than memory; None = in memory.
    """
    path = find(name)
    if on_disk is not None:
        log = streamed(log_files(path), columns or {}, str(path), on_disk, progress)
        items, users = (table_of(path, table) if path.is_dir() else None for table in ("items", "users"))
        return dataset_of(log, items, users, columns=columns, name=path.name)
    if not columns and is_movielens(path):
        events, items = read_movielens(path)
        return dataset_of(events, items, name=path.stem)
    events = read_events(path, columns or {})
    if not path.is_dir():
        return dataset_of(events, columns=columns, name=path.name)
    items, users = table_of(path, "items"), table_of(path, "users")
    return _with_candidates(dataset_of(events, items, users, columns=columns, name=path.name), path)


def _with_candidates(data: Dataset, folder: Path) -> Dataset:
    """The data set of a folder with the place of its published candidates: the table `test_negatives`, a row per user
    with the items to rank beside the target. Without a published split, or such a table, the data set as it is."""
    path = folder / "test_negatives.parquet"
    if data.published is None or not path.is_file():
        return data
    return replace(data, published=replace(data.published, negatives=path))


def find(name: str) -> Path:
    """The folder or file that a name or path stands for; a DataError says where it was looked for."""
    for folder in (Path(), *data_folders()):
        if (path := _in(folder, name)) is not None:
            return path
    if glob.has_magic(name):
        return Path(name)
    known = sorted(
        path.name for folder in data_folders() if folder.is_dir() for path in folder.iterdir() if path.is_dir()
    )
    near = nearest_name(name, known) or _beside(Path(name))
    looked = ", ".join(str(folder) for folder in data_folders())
    hint = f" Did you mean {near!r}?" if near else ""
    raise DataError(
        f"data set {name!r} is neither a path nor in {looked} (paths begin in {Path.cwd()}).{hint} Set RECSYS_DATA to "
        "the folder it is in, or mend the path."
    )


def located(name: str) -> str:
    """A name that says the same from any working directory: a path or pattern absolute, another name as it is."""
    return str(Path(name).absolute()) if _in(Path(), name) is not None or glob.has_magic(name) else name


def _in(folder: Path, name: str) -> Path | None:
    """The file or folder of this name, or its zip archive; None where there is neither."""
    path = folder / name
    with suppress(OSError, ValueError):  # a name too long for a file is none, nor one with a null byte
        if name and path.exists():
            return path
        if name and (archive := path.with_name(f"{path.name}.zip")).is_file():
            return archive
    return None


def _beside(path: Path) -> str | None:
    """The file that a path was perhaps meant to be: the one in its folder with the most similar name."""
    with suppress(OSError, ValueError):
        near = nearest_name(path.name, os.listdir(path.parent))
        return near and str(path.with_name(near))
    return None


def read_events(path: Path, columns: Mapping[str, str], skipped: list[Skipped] | None = None) -> EventTable:
    """The events at a path: a file, a pattern, or a folder of any layout but MovieLens. skipped: as in `read_rows`."""
    if not path.is_dir():
        return event_table(path, columns, skipped=skipped)
    if (single := table_of(path, "events") or table_of(path, "interactions")) is not None:
        return event_table(single, columns, skipped=skipped)
    paths = {name: found for name in _PARTS if (found := table_of(path, name)) is not None}
    if not paths and (files := _unnamed(path)):
        return events_of(files, columns, name=str(path), skipped=skipped)
    if not {"train", "test"} <= set(paths):
        held = ", ".join(found.name for found in sorted(path.iterdir())) or "nothing"
        raise DataError(
            f"{path} must hold a table `events` or `interactions`, or both `train` and `test` "
            f"({', '.join(SUFFIXES)}); it holds {held}."
        )
    return _joined(path, paths, columns, skipped)


def log_files(path: Path) -> list[TableFile]:
    """The files of one log of events: of a file, a pattern, or a folder that holds no published split."""
    if not path.is_dir():
        return files_of(path)
    if (single := table_of(path, "events") or table_of(path, "interactions")) is not None:
        return files_of(single)
    if parts := [name for name in _PARTS if table_of(path, name) is not None]:
        raise DataError(
            f"{path} holds a published split ({', '.join(parts)}), which is read into memory; leave on_disk out."
        )
    return _unnamed(path) or files_of(path)


def _unnamed(folder: Path) -> list[TableFile]:
    """The tables below a folder, but those of items and users."""
    others = {table for name in ("items", "users") if (table := table_of(folder, name)) is not None}
    return [table_file(file, folder) for file in parts_of(folder) if not others & {file, *file.parents}]


def _joined(
    folder: Path, paths: Mapping[str, Path], columns: Mapping[str, str], skipped: list[Skipped] | None
) -> EventTable:
    """The published parts as one table with the columns that all of them have."""
    read = {
        name: events_of(files_of(path), columns, name=str(path), skipped=skipped, more=[_INSIDE_TRAIN])
        for name, path in paths.items()
    }
    wanted = wanted_columns(columns)
    tables = [events.table for events in read.values()]
    kept = [name for name in wanted.names or () if all(name in table.column_names for table in tables)]
    part = np.concatenate([_part_of(name, events.table) for name, events in read.items()])
    names = [str(path) for path in paths.values()]
    joined = concatenated([table.select(kept) for table in tables], names, wanted.text)
    counted = [
        Piece(events.table, sum(file.rows for file in events.where.parts), events.where.origin)
        for events in read.values()
    ]
    parts = [file for events in read.values() for file in events.where.parts]
    where = Where(str(folder), parts, origin=origin_of(counted))
    pieces = {name: len(events.table) for name, events in read.items()}
    return EventTable(joined, named_columns(kept, columns, where), where, pieces, part)


def table_of(folder: Path, stem: str) -> Path | None:
    """The file of a table in a folder, whichever its format, or the folder of its files."""
    whole = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").exists()]
    return whole[0] if whole else path if (path := folder / stem).is_dir() else None


def _part_of(name: str, table: pa.Table) -> I8:
    """int8 (n,): the part of each row of a published file; gowalla marks its validation rows inside `train`."""
    part = np.full(len(table), _PARTS[name], np.int8)
    if name == "train" and _INSIDE_TRAIN in table.column_names:
        part[pc.fill_null(table[_INSIDE_TRAIN], False).to_numpy()] = VALIDATION
    return part
