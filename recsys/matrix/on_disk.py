"""Arrays that lie in files mapped into memory: what a log is kept in that is larger than memory.

The system writes such an array out when it needs the memory for something else, and reads again what is
looked at.
"""

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.arrays import F32, I64, Array, Ragged, blocks_of, offsets_of
from recsys.errors import DataError
from recsys.history import Histories

if TYPE_CHECKING:
    from scipy import sparse

CHUNK = 1 << 20  # values that are in memory at a time
_PART = 1 << 22  # values that are sorted at a time


def room(folder: Path | None, n: int, dtype: Any) -> Array:
    """An array (n,) of zeros in a file below `folder`, which has no name: it is gone when nobody holds the
    array. None: in memory.

    Raises DataError where there is no space for it, which would otherwise be found out by the first write.
    """
    kind = np.dtype(dtype)
    if folder is None or not n:
        return np.zeros(n, kind)
    with _writing(folder), tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, n * kind.itemsize)
        return np.memmap(file, kind, "r+", shape=(n,))


class Growing:
    """An array whose length is not known before its end; close it, or its stack, when that is reached."""

    def __init__(self, folder: Path, dtype: Any) -> None:
        self.folder, self.dtype, self._length = folder, np.dtype(dtype), 0
        with _writing(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by `close`

    def add(self, values: Array) -> None:
        with _writing(self.folder):
            self._file.write(np.ascontiguousarray(values, self.dtype).data)
        self._length += len(values)

    def whole(self) -> Array:
        """(n,): all that was added."""
        if not self._length:
            return np.zeros(0, self.dtype)
        with _writing(self.folder):
            self._file.flush()
            return np.memmap(self._file, self.dtype, "r+", shape=(self._length,))

    def close(self) -> None:
        self._file.close()


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder} cannot take the events: {error.strerror}. Free space, or set RECSYS_HOME to "
            "another folder."
        ) from None


def chunks(n: int) -> list[slice]:
    """The places 0 ... n - 1, `CHUNK` at a time."""
    return [slice(start, min(start + CHUNK, n)) for start in range(0, n, CHUNK)]


def count(column: Array, n: int) -> I64:
    """int64 (n,): how often each of 0 ... n - 1 occurs, with some of the column in memory at a time."""
    counts, size = np.zeros(n, np.int64), max(CHUNK, n)
    for start in range(0, len(column), size):
        counts += np.bincount(column[start : start + size], minlength=n)
    return counts


def make_array(folder: Path | None, n: int, dtype: Any, part: Callable[[slice], Any]) -> Array:
    """An array (n,) of which a function gives each chunk; None: in memory."""
    array = room(folder, n, dtype)
    for at in chunks(n):
        array[at] = part(at)
    return array


def take_where(folder: Path, column: Array, mask: Array) -> Array:
    """The values (n,) where the mask (n,) is true."""
    taken, filled = room(folder, int(np.count_nonzero(mask)), column.dtype), 0
    for part in chunks(len(column)):
        values = column[part][mask[part]]
        taken[filled : filled + len(values)] = values
        filled += len(values)
    return taken


def by_row(folder: Path, rows: Array, n_rows: int, columns: Sequence[Array]) -> tuple[I64, list[Array]]:
    """Offsets (n_rows + 1,), and the columns (n,) row by row; within a row the given order is kept."""
    offsets = offsets_of(count(rows, n_rows))
    cuts = np.unique(np.searchsorted(offsets, np.arange(_PART, len(rows), _PART)))
    return offsets, _in_order(folder, rows, cuts, columns)


def by_time(folder: Path, time: Array, columns: Sequence[Array]) -> list[Array]:
    """The columns (n,), those of the earliest second first; within a second the given order is kept."""
    sample = np.sort(time[:: max(1, len(time) // CHUNK)])
    cuts = np.unique(sample[:: max(1, len(sample) * _PART // max(len(time), 1))][1:])
    return _in_order(folder, time, cuts, columns)


def _in_order(folder: Path, key: Array, cuts: Array, columns: Sequence[Array]) -> list[Array]:
    """The columns (n,) in the order of a key (n,): first each value into its part, then the parts one by one.

    cuts: ascending keys; those from one to below the next are a part, which is sorted in memory.
    """

    def place(part: slice) -> Array:
        return np.searchsorted(cuts, key[part], side="right")

    sizes = np.zeros(len(cuts) + 1, np.int64)
    for part in chunks(len(key)):
        sizes += np.bincount(place(part), minlength=len(sizes))
    ends = offsets_of(sizes)
    filled, into = ends[:-1].copy(), [room(folder, len(key), column.dtype) for column in (key, *columns)]
    for part in chunks(len(key)):
        where = place(part)
        order = np.argsort(where, kind="stable")
        starts = offsets_of(np.bincount(where, minlength=len(sizes)))
        values = [column[part][order] for column in (key, *columns)]
        for to in np.flatnonzero(np.diff(starts)):
            taken = slice(starts[to], starts[to + 1])
            at = slice(filled[to], filled[to] + starts[to + 1] - starts[to])
            filled[to] = at.stop
            for target, column in zip(into, values, strict=True):
                target[at] = column[taken]
    for start, stop in itertools.pairwise(ends):
        order = np.argsort(into[0][start:stop], kind="stable")
        for target in into[1:]:
            target[start:stop] = target[start:stop][order]
    return into[1:]


def take_histories(folder: Path, past: Histories, rows: Array) -> Histories:
    """The rows with these numbers (n,), in this order."""
    lengths = past.items.lengths[rows]
    offsets = offsets_of(lengths)
    items = room(folder, int(offsets[-1]), np.int32)
    beside = past.map_columns(lambda column: room(folder, int(offsets[-1]), column.dtype))
    for block in blocks_of(lengths, CHUNK):
        part, at = past.take(rows[block]), slice(offsets[block.start], offsets[block.stop])
        items[at] = part.items.values
        for name, values in part.columns().items():
            beside[name][at] = values
    return Histories(Ragged(offsets, items), **beside)


def matrix(folder: Path, rows: Ragged, weight: F32 | None, n_columns: int) -> "sparse.csr_array":
    """float32 (rows, n_columns): the sum of a pair's weights (nnz,), 1 where there are none; columns
    ascending."""
    from scipy import sparse  # loaded where used: to check data takes no training extra

    columns, sums = room(folder, len(rows.values), np.int32), room(folder, len(rows.values), np.float32)
    lengths, end = np.zeros(rows.rows, np.int64), 0
    for block in blocks_of(rows.lengths, _PART):
        offsets = rows.offsets[block.start : block.stop + 1]
        at = slice(int(offsets[0]), int(offsets[-1]))
        weights = np.ones(at.stop - at.start, np.float32) if weight is None else weight[at].copy()
        part = sparse.csr_array(
            (weights, rows.values[at].copy(), offsets - offsets[0]), shape=(len(offsets) - 1, n_columns)
        )
        part.sum_duplicates()
        lengths[block], start = np.diff(part.indptr), end
        end += part.nnz
        columns[start:end], sums[start:end] = part.indices, part.data
    kind = (
        np.int32 if end < 2**31 else np.int64
    )  # of another kind than the columns, a copy of these would be made
    return sparse.csr_array(
        (sums[:end], columns[:end], offsets_of(lengths).astype(kind)), shape=(rows.rows, n_columns)
    )
