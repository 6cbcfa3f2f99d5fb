"""Where a person's id still lies below the home after the event store has forgotten them."""

import mmap
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys.bundle.manifest import MANIFEST
from recsys.errors import RecsysError
from recsys.ids import IdMap
from recsys.progress import Progress, Step, silent

USERS = "users.ids"  # of a bundle


class Place(NamedTuple):
    """A bundle, a table or a file that holds an id; or one that could not be looked into, and why."""

    kind: str
    path: Path
    unread: str | None = None


def places_of(ids: Sequence[str], folder: Path, progress: Progress = silent) -> Iterator[Place]:
    """Whatever below a folder holds one of these ids: a bundle by its users, a Parquet table by its texts, any other
    file by its bytes. What an archive or a database has packed is not seen."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    bundles = {path.parent for path in files if path.name == MANIFEST and (path.parent / USERS).is_file()}
    for number, path in enumerate([*sorted(bundles), *files]):
        progress(Step("look for the id", number + 1, len(bundles) + len(files)))
        if bundles & set(path.parents):
            continue  # a part of a bundle, which is looked at as a whole
        kind = "bundle" if path in bundles else "table" if path.suffix == ".parquet" else "file"
        try:
            if _HOLDS[kind](path, ids):
                yield Place(kind, path)
        except (RecsysError, OSError, pa.ArrowException) as error:
            yield Place(kind, path, str(error))


def _bundle_holds(folder: Path, ids: Sequence[str]) -> bool:
    users = IdMap.load(folder / USERS)
    return any(users.index(one) >= 0 for one in ids)


def _table_holds(path: Path, ids: Sequence[str]) -> bool:
    wanted, file = pa.array(ids, pa.large_string()), pq.ParquetFile(path)
    texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
    for batch in file.iter_batches(columns=texts):
        for column in batch.columns:
            plain = column.dictionary if isinstance(column, pa.DictionaryArray) else column
            if pc.any(pc.is_in(plain.cast(pa.large_string()), wanted)).as_py():
                return True
    return False


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _file_holds(path: Path, ids: Sequence[str]) -> bool:
    """Whether an id stands in the bytes of a file by itself, and not as a part of a longer word."""
    if not path.stat().st_size:
        return False
    either = b"|".join(re.escape(one.encode()) for one in ids)
    wanted = re.compile(rb"(?<![\w-])(?:" + either + rb")(?![\w-])")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return wanted.search(text) is not None


_HOLDS = {"bundle": _bundle_holds, "table": _table_holds, "file": _file_holds}
