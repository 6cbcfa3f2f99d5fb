"""A log read from Parquet by and by into files: one that is larger than memory (`recsys.matrix.on_disk`)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import Array
from recsys.data.check.findings import Part, Where
from recsys.data.read.columns import MAX_EVENT_TYPES, MISSING_FIXES, id_text, named_columns
from recsys.data.read.event_log import Log, values_of
from recsys.data.read.event_table import (
    EVERYTHING,
    PLACE,
    SPLIT,
    EventTable,
    Reading,
    rows_kept,
    wanted_columns,
)
from recsys.data.read.formats import file_columns, parquet_pieces, parquet_rows
from recsys.data.read.storage.partitions import TableFile
from recsys.errors import DataError
from recsys.history import DTYPES
from recsys.matrix.on_disk import Growing, chunks
from recsys.progress import Progress, Step, silent

_KINDS: dict[str, Any] = {"user": np.int32, "item": np.int32} | DTYPES
_ROLES = {"user": "user_id", "item": "item_id", "time": "timestamp"}  # the others are called the same


def stream_events(
    files: Sequence[TableFile],
    columns: Mapping[str, str],
    name: str,
    folder: Path,
    reading: Reading = EVERYTHING,
    progress: Progress = silent,
) -> Log:
    """The events of Parquet files, the same as `log_of` all of them, kept in files below `folder`.

    What is held in memory is the ids, and some rows at a time. columns: the user's own names. Raises
    DataError where a file is no Parquet, is read by places or has a published split, and for a bad row as
    `log_of` does.
    """
    for file in files:
        if file.path.suffix != ".parquet":
            raise DataError(f"on_disk reads Parquet, and {file} is none. Convert it, or leave on_disk out.")
    files = [file for file in files if parquet_rows(file.path)] or files[:1]
    roles = _roles(files, columns, name)
    known: dict[str, dict[str, int]] = {"user_id": {}, "item_id": {}, "event": {}}
    without_user = 0
    with ExitStack() as stack:
        grown = {
            column: stack.enter_context(closing(Growing(folder, kind)))
            for column, kind in _KINDS.items()
            if _ROLES.get(column, column) in roles
        }
        for every in _batches(files, columns, roles, name, progress):
            batch = rows_kept(every, reading)
            without_user += batch.without_user
            for column, role in (("user", "user_id"), ("item", "item_id")):
                ids = id_text(batch.table[roles[role]], roles[role], batch.where, fix=MISSING_FIXES[role])
                grown[column].add(_codes(known[role], ids.dictionary.to_pylist())[ids.indices.to_numpy()])
            beside, names = values_of(batch)
            for column, values in beside.columns().items():
                grown[column].add(_codes(known["event"], names)[values] if column == "event" else values)
        whole: dict[str, Any] = {column: one.whole() for column, one in grown.items()}
    if not len(whole["user"]):
        raise DataError(f"{name} has no rows; a data set needs at least one event.")
    names = _alphabetical(whole.get("event"), list(known["event"]))
    ids = {"users": list(known["user_id"]), "items": list(known["item_id"])}
    return Log(**whole, **ids, event_names=names, folder=folder, without_user=without_user)


def _roles(files: Sequence[TableFile], columns: Mapping[str, str], name: str) -> dict[str, str]:
    """Which column holds what, in all files alike."""
    first: dict[str, str] = {}
    wanted = wanted_columns(columns)
    for file in files:
        present = wanted.with_made(file_columns(file, wanted))
        for odd, why in ((SPLIT, "a published split"), (PLACE, "places in the stead of times")):
            if (
                odd in present
                and odd not in columns.values()
                and (odd == SPLIT or "timestamp" not in present)
            ):
                raise DataError(f"{file} has a column {odd!r}: {why} is read into memory. Leave on_disk out.")
        roles = named_columns(present, columns, str(file))
        if first and roles != first:
            missing = min(set(first.values()) ^ set(roles.values()))
            raise DataError(
                f"{name}: all files must have the same columns; {missing!r} is not in all of them."
            )
        first = roles
    return first


def _batches(
    files: Sequence[TableFile],
    columns: Mapping[str, str],
    roles: Mapping[str, str],
    name: str,
    progress: Progress,
) -> Iterator[EventTable]:
    wanted = wanted_columns(columns)
    sizes = [parquet_rows(file.path) for file in files]
    parts, done = [Part(str(file), size) for file, size in zip(files, sizes, strict=True)], 0
    for file in files:
        for piece in parquet_pieces(file, wanted):
            yield EventTable(piece.table, roles, Where(name, parts, done, piece.origin), {})
            done += piece.of
            progress(Step("reading events", done, sum(sizes)))


def _codes(known: dict[str, int], names: Sequence[str]) -> Array:
    """int32: the number of each name, new ones after those that are known."""
    return np.array([known.setdefault(name, len(known)) for name in names], np.int32)


def _alphabetical(events: Array | None, names: list[str]) -> tuple[str, ...]:
    """The names of event types in their final order; the codes (n,) are changed to it in place."""
    if events is None:
        return ()
    order = sorted(range(len(names)), key=names.__getitem__)
    if len(names) > MAX_EVENT_TYPES:
        raise DataError(f"{len(names)} event types are too many; {MAX_EVENT_TYPES} are possible.")
    final = np.empty(len(names), np.int8)
    final[order] = np.arange(len(names))
    for part in chunks(len(events)):
        events[part] = final[events[part]]
    return tuple(names[at] for at in order)
