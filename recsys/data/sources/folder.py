"""A data set by name or path: a folder of tables, or a single file of events.

A folder holds `events` or `interactions` (one table), or the published parts `train`, `test` and perhaps `validation`;
and perhaps `items`. Each is a .parquet, .csv or .csv.gz file. Parts that carry times are joined, to be split by time.
"""

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
from recsys.data.sources.tables import SUFFIXES, dataset_of, read_table
from recsys.errors import DataError

_PARTS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
_SPLIT_VALUES = {"train": TRAIN, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}
_TEXT = ("user_id", "item_id", "event")


def load_dataset(name: str, columns: Mapping[str, str] | None = None) -> Dataset:
    """The data set at a path, or of this name in one of the data folders. `columns`: the user's own column names."""
    path = find(name)
    if path.is_file():
        return dataset_of(path, columns=columns, name=path.name)
    return _load_folder(path, columns or {})


def find(name: str) -> Path:
    """The folder or file that a name or path stands for; a DataError says where it was looked for."""
    for path in [Path(name), *(folder / name for folder in data_folders())]:
        with suppress(OSError):  # a name too long for a file is none
            if name and path.exists():
                return path
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
    items = _table(folder, "items")
    single = _table(folder, "events") or _table(folder, "interactions")
    if single is not None:
        table = read_table(single, text)
        part = _split_column(table, single) if "split" in table.column_names else None
        return dataset_of(table, items, columns=columns, name=folder.name, part=part, part_name="column split")
    paths = {name: path for name in _PARTS if (path := _table(folder, name)) is not None}
    if not {"train", "test"} <= set(paths):
        held = ", ".join(path.name for path in sorted(folder.iterdir())) or "nothing"
        raise DataError(
            f"{folder} must hold a table `events` or `interactions`, or both `train` and `test` "
            f"({', '.join(SUFFIXES)}); it holds {held}."
        )
    tables = {name: read_table(path, text) for name, path in paths.items()}
    for name, table in tables.items():
        named_columns(table.column_names, columns, str(paths[name]))
    part = np.concatenate([_part_of(name, table) for name, table in tables.items()])
    wanted = [columns.get(role, role) for role in EVENT_COLUMNS]
    kept = [name for name in wanted if all(name in table.column_names for table in tables.values())]
    try:
        joined = pa.concat_tables([table.select(kept) for table in tables.values()], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(
            f"the tables of {folder} differ in type: {error}. Give a column the same type in each."
        ) from None
    return dataset_of(joined, items, columns=columns, name=folder.name, part=part, part_name=" and ".join(paths))


def _table(folder: Path, stem: str) -> Path | None:
    """The file of a table in a folder, whichever its format."""
    return next((path for suffix in SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)


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
