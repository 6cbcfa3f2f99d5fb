"""A data set by name or path: a folder of tables, a single file or pattern of files of events, or a MovieLens
zip.

A folder holds `events` or `interactions` (one table), or the published parts `train`, `test` and perhaps
`validation`; and perhaps `items` and `users`. Each is a file of `files.SUFFIXES`, or a folder of such files.
Parts that carry times are joined, to be split by time. A folder with none of these names is a table of events
in many files.
"""

import glob
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I8
from recsys.config import data_folders
from recsys.data.check.findings import Where
from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.read.columns import named_columns
from recsys.data.read.event_table import (
    EVERYTHING,
    EventTable,
    Reading,
    event_table,
    events_of,
    rows_kept,
    wanted_columns,
)
from recsys.data.read.files import ENDINGS, concat_tables, files_of, parts_of, root_of
from recsys.data.read.formats import SUFFIXES, Piece, origin_of
from recsys.data.read.movielens import is_movielens, read_movielens
from recsys.data.read.storage.delimited import Skipped
from recsys.data.read.storage.event_store import outcome_table
from recsys.data.read.storage.location import is_remote, names_in, path_of
from recsys.data.read.storage.partitions import TableFile, recent, table_file
from recsys.data.read.streamed import stream_events
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError
from recsys.events.address import is_event_store
from recsys.progress import Progress, silent
from recsys.text import nearest_name

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_INSIDE_TRAIN = "in_lgpp_valid"  # how gowalla marks the validation rows inside `train`


def load_dataset(
    name: str,
    columns: Mapping[str, str] | None = None,
    *,
    items: str | Path | None = None,
    users: str | Path | None = None,
    reading: Reading = EVERYTHING,
    on_disk: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """The data set at a path or address, in an event store (`events:`), or of this name in one of the data
    folders.

    columns: the user's own column names. items, users: paths of these tables; None = those of the folder.
    reading: which events are read. on_disk: the folder in which the events are kept, for a log in Parquet
    that is larger than memory; None = in memory.
    """
    if is_event_store(name):
        if columns or on_disk is not None or reading.since is not None:
            raise DataError(
                f"{name} has columns of its own and no partitions: leave columns, on_disk and since out."
            )
        stored = event_table(outcome_table(name), {}, name=name)
        return dataset_of(rows_kept(stored, reading), items, users, name="events")
    path = find(name)
    given = {"items": items, "users": users}
    beside = {table: table_of(path, table) if path.is_dir() else None for table in given}
    tables: dict[str, Any] = {table: own or beside[table] for table, own in given.items()}
    if on_disk is not None:
        files, notes = log_files(path, reading.since)
        log = stream_events(files, columns or {}, str(path), on_disk, reading, progress)
        log = replace(log, notes=(*notes, *log.notes))
        return dataset_of(log, **tables, columns=columns, name=path.name)
    if not columns and is_movielens(path):
        events, films = read_movielens(path)
        read = rows_kept(event_table(_whole(events, path, reading), {}, name=path.stem), reading)
        return dataset_of(read, tables["items"] or films, tables["users"], name=path.stem)
    events = read_events(path, columns or {}, reading=reading)
    data = dataset_of(events, **tables, columns=columns, name=path.name)
    return _with_candidates(data, path) if path.is_dir() else data


def _whole(events: Any, path: Path, reading: Reading) -> Any:
    """What has no partitions, unless some are asked for: a DataError then."""
    if reading.since is not None:
        raise DataError(f"since = {reading.since!r} counts back from the newest partition; {path} has none.")
    return events


def _with_candidates(data: Dataset, folder: Path) -> Dataset:
    """The data set of a folder with the place of its published candidates: the table `test_negatives`, a row
    per user with the items to rank beside the target. Without a published split, or such a table, the data
    set as it is."""
    path = folder / "test_negatives.parquet"
    if data.published is None or not path.is_file():
        return data
    return replace(data, published=replace(data.published, negatives=path))


def find(name: str) -> Path:
    """The folder or file that a name or path stands for; a DataError says where it was looked for."""
    if is_remote(name):
        address = path_of(name)
        if glob.has_magic(name) or address.exists():
            return address
        raise DataError(f"{address} is not there. Check the address, the keys and the endpoint.")
    for folder in (Path(), *data_folders()):
        if (path := _in(folder, name)) is not None:
            return path
    if glob.has_magic(name):
        return Path(name)
    known = sorted(
        path.name
        for folder in data_folders()
        if folder.is_dir()
        for path in folder.iterdir()
        if path.is_dir()
    )
    near = nearest_name(name, known) or _beside(Path(name))
    looked = ", ".join(str(folder) for folder in data_folders())
    hint = f" Did you mean {near!r}?" if near else ""
    raise DataError(
        f"data set {name!r} is neither a path nor in {looked} (paths begin in {Path.cwd()}).{hint} Set "
        f"RECSYS_DATA to the folder it is in, or mend the path."
    )


def locate_data(name: str) -> str:
    """A name that says the same from any working directory: a path or pattern absolute, another name as it
    is."""
    if is_remote(name):
        return name
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


def read_events(
    path: Path,
    columns: Mapping[str, str],
    skipped: list[Skipped] | None = None,
    reading: Reading = EVERYTHING,
) -> EventTable:
    """The events at a path: a file, a pattern, or a folder of any layout but MovieLens. skipped: as in
    `read_rows`."""
    parts = _parts(path)
    if not parts:
        files, notes = log_files(path, reading.since)
        read = replace(events_of(files, columns, name=str(_log(path) or path), skipped=skipped), notes=notes)
    elif {"train", "test"} <= set(parts):
        read = _join_parts(_whole(path, path, reading), parts, columns, skipped)
    else:
        held = ", ".join(names_in(path))
        raise DataError(
            f"{path} must hold a table `events` or `interactions`, or both `train` and `test` ({ENDINGS}); "
            f"it holds {held}."
        )
    return rows_kept(read, reading)


def log_files(path: Path, since: str | None = None) -> tuple[list[TableFile], tuple[str, ...]]:
    """The files of one log of events, of a file, a pattern, or a folder that holds no published split; and
    what was left out, in sentences. since: only the newest partitions (`partitions.recent`)."""
    if parts := _parts(path):
        raise DataError(
            f"{path} holds a published split ({', '.join(parts)}), which is read into memory; leave "
            "on_disk out."
        )
    single = _log(path)
    files = _find_others(path) if single is None else files_of(single)
    if not files:
        held = ", ".join(names_in(path)) or "nothing"
        raise DataError(
            f"{path} must hold a table `events` or `interactions`, or both `train` and `test` ({ENDINGS}); "
            f"it holds {held}."
        )
    if since is None:
        return files, ()
    kept = recent(files, root_of(single or path), since)
    return kept, (f"since = {since!r}: {len(kept):,} of {len(files):,} files are read",)


def _log(path: Path) -> Path | None:
    """The one table of a path: itself, or `events` or `interactions` of a folder; None where all its files
    are one."""
    return (table_of(path, "events") or table_of(path, "interactions")) if path.is_dir() else path


def _parts(path: Path) -> dict[str, Path]:
    """The published parts that a folder holds, by name; none where it has a table of all events."""
    if not path.is_dir() or _log(path) is not None:
        return {}
    return {name: table for name in _PARTS if (table := table_of(path, name)) is not None}


def _find_others(folder: Path) -> list[TableFile]:
    """The tables below a folder, but those of items and users."""
    others = {table for name in ("items", "users") if (table := table_of(folder, name)) is not None}
    return [table_file(file, folder) for file in parts_of(folder) if not others & {file, *file.parents}]


def _join_parts(
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
    joined = concat_tables([table.select(kept) for table in tables], names, wanted.text)
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
    held = set(names_in(folder))
    whole = [folder / name for suffix in SUFFIXES if (name := f"{stem}{suffix}") in held]
    return whole[0] if whole else path if stem in held and (path := folder / stem).is_dir() else None


def _part_of(name: str, table: pa.Table) -> I8:
    """int8 (n,): the part of each row of a published file; gowalla marks its validation rows inside
    `train`."""
    part = np.full(len(table), _PARTS[name], np.int8)
    if name == "train" and _INSIDE_TRAIN in table.column_names:
        part[pc.fill_null(table[_INSIDE_TRAIN], False).to_numpy()] = VALIDATION
    return part
