"""Array types, rows of unequal length, and histories."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


class Ragged(NamedTuple):
    """Rows of unequal length: row r is `values[offsets[r]:offsets[r + 1]]`.

    offsets: int64 (rows + 1,), starting at 0 and never falling; values: int32 (nnz,).
    """

    offsets: I64
    values: I32

    @classmethod
    def of(cls, rows: Sequence[Sequence[int] | Array]) -> Self:
        """From a list of lists. For tests and single requests; whole data sets use `from_pairs`."""
        lengths = [len(row) for row in rows]
        flat = [np.asarray(row, dtype=np.int32) for row in rows]
        return cls(offsets_of(np.asarray(lengths, np.int64)), np.concatenate([np.empty(0, np.int32), *flat]))

    @classmethod
    def empty(cls, rows: int) -> Self:
        return cls(np.zeros(rows + 1, np.int64), np.empty(0, np.int32))

    @classmethod
    def from_pairs(cls, rows: Array, values: Array, n_rows: int) -> Self:
        """From parallel arrays (nnz,) of row and value; within a row the given order is kept."""
        order = np.argsort(rows, kind="stable")
        return cls(offsets_of(np.bincount(rows, minlength=n_rows)), values[order].astype(np.int32))

    @property
    def rows(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> I64:
        lengths: I64 = (
            self.offsets[1:] - self.offsets[:-1]
        )  # numpy's diff takes ten times as long for one row
        return lengths

    def row(self, index: int) -> I32:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def row_of_value(self) -> I64:
        """(nnz,): the row that each value stands in."""
        return np.repeat(np.arange(self.rows), self.lengths)

    def positions(self, rows: Array) -> I64:
        """Where the values of these rows stand in `values`, row after row: also indexes arrays parallel to
        it."""
        lengths = self._lengths_of(rows)
        ends = np.cumsum(lengths)
        places: I64 = np.repeat(self.offsets[:-1][rows] - (ends - lengths), lengths)
        places += np.arange(len(places))
        return places

    def take(self, rows: Array) -> "Ragged":
        """The rows with these numbers (n,), in this order."""
        return Ragged(offsets_of(self._lengths_of(rows)), self.values[self.positions(rows)])

    def _lengths_of(self, rows: Array) -> I64:
        """int64 (n,): the lengths of these rows, at no cost for the others."""
        lengths: I64 = self.offsets[1:][rows] - self.offsets[:-1][rows]
        return lengths

    def keep(self, mask: Bool) -> "Ragged":
        """Only the values (nnz,) where `mask` is true; the number of rows stays."""
        kept = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return Ragged(kept[self.offsets], self.values[mask])


def offsets_of(lengths: Array) -> I64:
    """int64 (rows + 1,) from the length of each row (rows,)."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def blocks_of(lengths: Array, most: int) -> list[slice]:
    """Rows of these lengths (rows,) in their order, in blocks of at most so many values, or of one row."""
    ends = np.cumsum(lengths)
    blocks, start = [], 0
    while start < len(lengths):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        blocks.append(slice(start, stop))
        start = stop
    return blocks


def beside(*parts: Ragged) -> Ragged:
    """Row r of the result holds row r of every part, one after the other."""
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([part.row_of_value() for part in parts])
    values = np.concatenate([part.values for part in parts])
    return Ragged.from_pairs(rows, values, parts[0].rows)


def distinct(ragged: Ragged, n_values: int) -> Ragged:
    """Each row sorted and without duplicates; values are below `n_values`."""
    keys = np.sort(ragged.row_of_value() * n_values + ragged.values)
    keys = keys[np.diff(keys, prepend=-1) > 0]  # numpy's unique hashes: sixty times slower on 30M keys
    return Ragged(
        offsets_of(np.bincount(keys // n_values, minlength=ragged.rows)), (keys % n_values).astype(np.int32)
    )


def empty_rows(table: F32, rows: Array) -> F32:
    """A copy of a table (n, m) in which the rows of these numbers are zeros."""
    copy: F32 = np.array(table)
    copy[rows] = 0
    return copy
