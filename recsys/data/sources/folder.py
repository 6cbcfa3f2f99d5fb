"""A data set by name or path: a folder of tables, a single file or pattern of files of events, or a MovieLens zip.

A folder holds `events` or `interactions` (one table), or the published parts `train`, `test` and perhaps `validation`;
and perhaps `items`. Each is a file of `files.SUFFIXES`, or a folder of such files. Parts that carry times are joined,
to be split by time. A folder with none of these names is a table of events in many files.
"""

import glob
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I8
from recsys.config import data_folders
from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.schema import EVENT_COLUMNS, named_columns
from recsys.data.sources.files import SUFFIXES, column_names, concatenated, parts_of, read_table
from recsys.data.sources.movielens import is_movielens, read_movielens
from recsys.data.sources.negatives import with_negatives
from recsys.data.sources.tables import PLACE, dataset_of
from recsys.errors import DataError

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_SPLIT_VALUES = {"train": TRAIN, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
_TEXT = ("user_id", "item_id", "event")
_MARKS = ("split", "in_lgpp_valid")  # columns that say which part of a published split a row belongs to


def load_dataset(name: str, columns: Mapping[str, str] | None = None) -> Dataset:
    """The data set at a path, or of this name in one of the data folders. `columns`: the user's own column names."""
    path = find(name)
    if not columns and is_movielens(path):
        events, items = read_movielens(path)
        return dataset_of(events, items, name=path.stem)
    if not path.is_dir():
        return dataset_of(path, columns=columns, name=path.name)
    return with_negatives(_load_folder(path, columns or {}), path)


def find(name: str) -> Path:
    """The folder or file that a name or path stands for; a DataError says where it was looked for."""
    for path in [Path(name), *(folder / name for folder in data_folders())]:
        with suppress(OSError, ValueError):  # a name too long for a file is none, nor one with a null byte
            if name and path.exists():
                return path
            if name and (archive := path.with_name(f"{path.name}.zip")).is_file():
                return archive
    if glob.has_magic(name):
        return Path(name)
    known = sorted(
        path.name for folder in data_folders() if folder.is_dir() for path in folder.iterdir() if path.is_dir()
    )
    near = get_close_matches(name, known, n=1)
    looked = ", ".join(str(folder) for folder in data_folders())
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(
        f"data set {name!r} is neither a path nor in {looked}.{hint} Set RECSYS_DATA to the folder it is in."
    )


def _load_folder(folder: Path, columns: Mapping[str, str]) -> Dataset:
    text = [columns.get(role, role) for role in _TEXT]
    wanted = [*(columns.get(role, role) for role in EVENT_COLUMNS), PLACE, *_MARKS]
    items = _table(folder, "items")
    single = _table(folder, "events") or _table(folder, "interactions")
    if single is not None:
        named_columns(column_names(single), columns, str(single))
        table = read_table(single, text, wanted)
        part = _split_column(table, single) if "split" in table.column_names else None
        return dataset_of(table, items, columns=columns, name=folder.name, part=part, part_name="column split")
    paths = {name: path for name in _PARTS if (path := _table(folder, name)) is not None}
    if not paths and (files := [file for file in parts_of(folder) if file != items]):
        named_columns(column_names(files[0]), columns, str(files[0]))
        pieces = [read_table(file, text, wanted) for file in files]
        return dataset_of(concatenated(pieces, str(folder)), items, columns=columns, name=folder.name)
    if not {"train", "test"} <= set(paths):
        held = ", ".join(path.name for path in sorted(folder.iterdir())) or "nothing"
        raise DataError(
            f"{folder} must hold a table `events` or `interactions`, or both `train` and `test` "
            f"({', '.join(SUFFIXES)}); it holds {held}."
        )
    for path in paths.values():
        named_columns(column_names(path), columns, str(path))
    tables = {name: read_table(path, text, wanted) for name, path in paths.items()}
    part = np.concatenate([_part_of(name, table) for name, table in tables.items()])
    kept = [
        name for name in wanted[: len(EVENT_COLUMNS)] if all(name in table.column_names for table in tables.values())
    ]
    joined = concatenated([table.select(kept) for table in tables.values()], str(folder))
    return dataset_of(joined, items, columns=columns, name=folder.name, part=part, part_name=" and ".join(paths))


def _table(folder: Path, stem: str) -> Path | None:
    """The file of a table in a folder, whichever its format, or the folder of its files."""
    whole = [path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").exists()]
    return whole[0] if whole else path if (path := folder / stem).is_dir() else None


def _split_column(table: pa.Table, path: Path) -> I8:
    """int8 (n,): the part of each row, from the column `split`."""
    encoded = table["split"].cast(pa.string()).combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    unknown = [name for name in names if name not in _SPLIT_VALUES]
    if unknown or encoded.null_count:
        raise DataError(
            f"column 'split' of {path} must hold train, valid or test; it holds {(unknown or [None])[0]!r}."
        )
    codes: I8 = np.array([_SPLIT_VALUES[name] for name in names], np.int8)[encoded.indices.to_numpy()]
    return codes


def _part_of(name: str, table: pa.Table) -> I8:
    """int8 (n,): the part of each row of a published file; gowalla marks its validation rows inside `train`."""
    part = np.full(len(table), _PARTS[name], np.int8)
    if name == "train" and "in_lgpp_valid" in table.column_names:
        part[pc.fill_null(table["in_lgpp_valid"], False).to_numpy()] = VALIDATION
    return part
