"""The two sides of implicit ALS: who has which observations, in what order rows are solved, and the shared
basis."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numba
import numpy as np
from scipy import sparse

from recsys.arrays import F32, F64, I32, I64, Array
from recsys.models.als import exact, single
from recsys.models.als.simd import thread_loops

_FEW = 32  # observations up to which an exact solution costs no more than three steps of conjugate gradient
_PLACES = 1 << 17  # floats a lane that the observations of sixteen rows may take: 8 MiB in all
_WIDE = 256  # dimensions up to which sixteen matrices stay in the cache
_LONG = 4_096  # observations from which rows of the same length are too few to share a batch
_PARTS = 16  # sums of which a Gram matrix is made, whatever the number of threads
_BLOCK = 2_048


class Side(NamedTuple):
    """One side's observations, a row for each user (or item).

    indptr: int64 (n + 1,), indices: int32 (nnz,) rows of the other side, weights: float32 (nnz,), ridge:
    float32 (n,). order: int64 (n,), the rows by their number of observations. lengths: int64 (n,), those
    numbers in that order.
    """

    indptr: I64
    indices: I32
    weights: F32
    ridge: F32
    order: I64
    lengths: I64

    @classmethod
    def of(cls, matrix: sparse.csr_array, ridge: F32) -> "Side":
        lengths = np.diff(matrix.indptr)
        order = np.argsort(lengths, kind="stable").astype(np.int64)
        return cls(
            matrix.indptr.astype(np.int64),
            matrix.indices,
            matrix.data,
            ridge,
            order,
            lengths[order].astype(np.int64),
        )


class Basis(NamedTuple):
    """The eigenvectors of a Gram matrix, as columns, float32 (width, width), and its eigenvalues times a
    weight."""

    vectors: F32
    spectrum: F32

    @classmethod
    def of(cls, gram: F64, dim: int, weight: float) -> "Basis":
        """gram: (width, width); beyond `dim` it is zero, and the vectors are those of the identity."""
        vectors, spectrum = np.eye(len(gram), dtype=np.float32), np.zeros(len(gram), np.float32)
        spectrum[:dim], vectors[:dim, :dim] = np.linalg.eigh(gram[:dim, :dim])
        return cls(vectors, np.float32(weight) * np.maximum(spectrum, 0))


def half_step(side: Side, other: F32, basis: Basis, rows: F32, steps: int | None) -> F32:
    """Solves `rows` (n, width) in place, given the other side's rows, which are in the basis already.

    steps: of conjugate gradient, from the present rows, for all but the shortest rows; None = exactly.
    Returns float32 (n,), each row's part of the objective. Rows without observations become zeros.
    """
    value = np.zeros(len(rows), np.float32)
    rows[side.order[: np.searchsorted(side.lengths, 1)]] = 0
    shared: Any = (*side[:3], other, basis.spectrum, side.ridge, rows, value, numba.get_num_threads())
    width = other.shape[1]
    short = min(width, _PLACES // width, width if steps is None else _FEW)
    long = max(short, _LONG if width <= _WIDE else 0)
    first, second, third = np.searchsorted(side.lengths, [1, short + 1, long + 1]).tolist()
    if steps is None:
        _run(single.solve_alone, side.order, third, len(rows), shared)
        _run(exact.solve_long, side.order, second, third, shared)
    else:
        _run(single.improve, side.order, second, len(rows), (*shared, basis.vectors, steps))
    _run(exact.solve_short, side.order, first, second, shared)
    return value


def _run(solve: Any, order: I64, first: int, last: int, more: Any) -> None:
    if first < last:
        solve(order, first, last, *more)


class Alternation:
    """Solves both sides' rows, float32 (n, width), in turn and in place. BLAS, which our threads call, has
    one.

    dim: columns of the rows that are learned, the others are zero. steps: of conjugate gradient in a
    half-step; None = rows are solved exactly.
    """

    def __init__(
        self,
        users: Side,
        items: Side,
        user_rows: F32,
        item_rows: F32,
        *,
        dim: int,
        unobserved_weight: float,
        steps: int | None,
    ) -> None:
        from threadpoolctl import ThreadpoolController

        self.users, self.items, self.user_rows, self.item_rows = users, items, user_rows, item_rows
        self.dim, self.unobserved_weight, self.steps = dim, unobserved_weight, steps
        self._turned = np.eye(user_rows.shape[1])  # all turns of the basis so far
        self._blas = ThreadpoolController()

    def state(self) -> Mapping[str, Array]:
        """All that an epoch changes."""
        return {"users": self.user_rows, "items": self.item_rows, "turned": self._turned}

    def copy(self) -> "Alternation":
        other = Alternation(
            self.users,
            self.items,
            self.user_rows.copy(),
            self.item_rows.copy(),
            dim=self.dim,
            unobserved_weight=self.unobserved_weight,
            steps=self.steps,
        )
        other._turned[:] = self._turned
        return other

    def epoch(self) -> float:
        """Solves the users, then the items. The objective, as a mean over the observations; not finite where
        the rows have left the range of float32."""
        with self._blas.limit(limits=1, user_api="blas"):
            self._solve(self.users, self.user_rows, self.items, self.item_rows, self.steps)
            objective = self._solve(self.items, self.item_rows, self.users, self.user_rows, self.steps)
        return objective / len(self.users.indices)

    def finish(self) -> None:
        """Solves the users' rows exactly, and turns both sides back to the basis of the start."""
        with self._blas.limit(limits=1, user_api="blas"):
            self._solve(self.users, self.user_rows, self.items, self.item_rows, None)
            back = np.ascontiguousarray(self._turned.T, np.float32)
            for rows in (self.user_rows, self.item_rows):
                turn(rows, back)

    def _solve(self, side: Side, rows: F32, fixed: Side, other: F32, steps: int | None) -> float:
        """Solves the rows of one side, the other's being fixed; the objective after it."""
        gram, penalty = gram_and_penalty(other, fixed.ridge)
        if not np.isfinite(gram).all():
            return np.nan
        basis = Basis.of(gram, self.dim, self.unobserved_weight)
        turn(other, basis.vectors)
        self._turned[:] = self._turned @ basis.vectors
        return float(half_step(side, other, basis, rows, steps).sum(dtype=np.float64) + penalty)


@thread_loops
def gram_and_penalty(rows: F32, ridge: F32) -> tuple[F64, float]:
    """`rows' rows` (width, width), and the sum of ridge[u] |rows[u]|^2: in float64, from blocks in
    float32."""
    n, width = rows.shape
    grams, penalties = np.zeros((_PARTS, width, width)), np.zeros(_PARTS)
    for part in numba.prange(_PARTS):
        for start in range(part * _BLOCK, n, _PARTS * _BLOCK):
            block = rows[start : start + _BLOCK]
            grams[part] += np.dot(block.T, block)
            for r in range(len(block)):
                squared = np.float32(0.0)
                for f in range(width):
                    squared += block[r, f] * block[r, f]
                penalties[part] += ridge[start + r] * squared
    for part in range(1, _PARTS):
        grams[0] += grams[part]
        penalties[0] += penalties[part]
    return grams[0], penalties[0]


@thread_loops
def turn(rows: F32, vectors: F32) -> None:
    """rows = rows @ vectors, in place."""
    for block in numba.prange((len(rows) + _BLOCK - 1) // _BLOCK):
        part = rows[block * _BLOCK : (block + 1) * _BLOCK]
        part[:] = np.dot(part, vectors)
