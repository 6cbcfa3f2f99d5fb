"""Ridge regressions of implicit ALS, solved exactly: the rows of one side, the other side held fixed.

The other side's vectors come in the basis of their Gram matrix's eigenvectors, so that all that a row's
left-hand side shares with those of the other rows is diagonal. With s = 1 / sqrt(spectrum + ridge[u]) and Z =
sqrt(w) y s, a row is `s (I + Z'Z)^-1 Z' t`, and also `s Z' (I + Z Z')^-1 t`: a system as large as the
dimension, or as the number of the row's observations, whichever is smaller (the Woodbury identity). Either
matrix has no eigenvalue below 1. A weight above 0 is w, for a score that shall be 1, and t is sqrt(w); one
below 0 is -w, for a score that shall be 0, and t is 0.

Rows are solved sixteen at a time, of about the same number of observations, one in each lane of the vector
registers. Every function takes the rows order[first:last], ordered by their number of observations, none
without any; writes `rows` (n, dim) and the minimum of each row's part of the objective, `value` (n,); and has
`strands` threads take batches, from the heaviest down. dim is a multiple of 16.
"""

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  numba's BLAS: loaded here, so that a limit on threads finds it

from recsys.arrays import F32, I32, I64
from recsys.models.als.simd import (
    LANES,
    ROWS,
    TILE,
    add_product,
    fetch,
    gather,
    products,
    set_product,
    subtract_product,
    take,
    thread_loops,
)

_CHUNK = 64  # observations whose products are summed at a time


@thread_loops
def solve_short(
    order: I64,
    first: int,
    last: int,
    indptr: I64,
    indices: I32,
    weights: F32,
    table: F32,
    spectrum: F32,
    ridge: F32,
    rows: F32,
    value: F32,
    strands: int,
) -> None:
    """Rows with few observations: a system for each as large as their number. table: the other side, (m,
    dim)."""
    dim = table.shape[1]
    flat = table.ravel()
    batches = (last - first + LANES - 1) // LANES
    longest = (indptr[order[last - 1] + 1] - indptr[order[last - 1]] + TILE - 1) // TILE * TILE
    taken = np.zeros(1, np.int64)
    for _ in numba.prange(strands):
        z = np.empty(longest * dim * LANES, np.float32)
        lower = np.empty(longest * longest * LANES, np.float32)
        scales = np.empty(dim * LANES, np.float32)
        solved = np.empty(dim * LANES, np.float32)
        roots = np.empty(longest * LANES, np.float32)
        aims = np.empty(longest * LANES, np.float32)
        right = np.empty(longest * LANES, np.float32)
        starts = np.empty(longest * LANES, np.int64)
        while True:
            batch = batches - 1 - take(taken)
            if batch < 0:
                break
            begin = first + batch * LANES
            end = min(begin + LANES, last)
            _set_scales(order, begin, end, spectrum, ridge, scales)
            n = indptr[order[end - 1] + 1] - indptr[order[end - 1]]
            size = (n + TILE - 1) // TILE * TILE
            for j in range(size):
                own = slice(j * LANES, (j + 1) * LANES)
                _observe(
                    order, begin, end, indptr, indices, weights, j, dim, starts[own], roots[own], aims[own]
                )
            for j in range(size):
                own = slice(j * LANES, (j + 1) * LANES)
                if j + 1 < size:
                    fetch(flat, starts, (j + 1) * LANES, dim)
                    fetch(flat, starts, (j + 1) * LANES + ROWS, dim)
                for f in range(0, dim, LANES):
                    gather(flat, starts[own], f, scales, roots[own], z, (j * dim + f) * LANES, LANES)
            lower[: size * size * LANES] = 0.0
            _add_gram(z, dim, dim, lower, size)
            _factor(lower, size)
            right[: size * LANES] = aims[: size * LANES]
            _substitute(lower, right, size)
            solved[:] = 0.0
            for j in range(n):
                for f in range(dim):
                    add_product(solved, f * LANES, z, (j * dim + f) * LANES, right, j * LANES)
            for f in range(dim):
                set_product(solved, f * LANES, solved, f * LANES, scales, f * LANES)
            for lane in range(end - begin):
                u = order[begin + lane]
                total = np.float32(0.0)
                for j in range(n):
                    total += aims[j * LANES + lane] * right[j * LANES + lane]
                value[u] = total
                for f in range(dim):
                    rows[u, f] = solved[f * LANES + lane]


@thread_loops
def solve_long(
    order: I64,
    first: int,
    last: int,
    indptr: I64,
    indices: I32,
    weights: F32,
    table: F32,
    spectrum: F32,
    ridge: F32,
    rows: F32,
    value: F32,
    strands: int,
) -> None:
    """Rows with more observations than dimensions: a system for each as large as the dimension."""
    dim = table.shape[1]
    flat = table.ravel()
    batches = (last - first + LANES - 1) // LANES
    taken = np.zeros(1, np.int64)
    for _ in numba.prange(strands):
        z = np.empty(_CHUNK * dim * LANES, np.float32)  # dim, observation, lane
        lower = np.empty(dim * dim * LANES, np.float32)
        scales = np.empty(dim * LANES, np.float32)
        target = np.empty(dim * LANES, np.float32)
        solved = np.empty(dim * LANES, np.float32)
        starts = np.empty(LANES, np.int64)
        root = np.empty(LANES, np.float32)
        aim = np.empty(LANES, np.float32)
        total = np.empty(LANES, np.float32)
        while True:
            batch = batches - 1 - take(taken)
            if batch < 0:
                break
            begin = first + batch * LANES
            end = min(begin + LANES, last)
            _set_scales(order, begin, end, spectrum, ridge, scales)
            lower[:] = 0.0
            target[:] = 0.0
            total[:] = 0.0
            n = indptr[order[end - 1] + 1] - indptr[order[end - 1]]
            for chunk in range(0, n, _CHUNK):
                count = min(_CHUNK, n - chunk)
                for k in range(count):
                    _observe(order, begin, end, indptr, indices, weights, chunk + k, dim, starts, root, aim)
                    for f in range(0, dim, LANES):
                        gather(flat, starts, f, scales, root, z, (f * _CHUNK + k) * LANES, _CHUNK * LANES)
                    add_product(total, 0, aim, 0, aim, 0)
                    for f in range(dim):
                        add_product(target, f * LANES, z, (f * _CHUNK + k) * LANES, aim, 0)
                _add_gram(z, _CHUNK, count, lower, dim)
            _factor(lower, dim)
            solved[:] = target
            _substitute(lower, solved, dim)
            for f in range(dim):
                subtract_product(total, 0, target, f * LANES, solved, f * LANES)
                set_product(solved, f * LANES, solved, f * LANES, scales, f * LANES)
            for lane in range(end - begin):
                u = order[begin + lane]
                value[u] = total[lane]
                for f in range(dim):
                    rows[u, f] = solved[f * LANES + lane]


@numba.njit(fastmath=True, cache=True)
def _set_scales(order: I64, begin: int, end: int, spectrum: F32, ridge: F32, scales: F32) -> None:
    """Writes scales[16 f + lane] = 1 / sqrt(spectrum[f] + ridge of the row in that lane), for the rows
    order[begin:end]; lanes without a row repeat the last one."""
    one = np.float32(1.0)
    add = np.empty(LANES, np.float32)
    for lane in range(LANES):
        add[lane] = ridge[order[min(begin + lane, end - 1)]]
    for f in range(len(spectrum)):
        for lane in range(LANES):
            scales[f * LANES + lane] = one / np.sqrt(spectrum[f] + add[lane])


@numba.njit(fastmath=True, cache=True)
def _observe(
    order: I64,
    begin: int,
    end: int,
    indptr: I64,
    indices: I32,
    weights: F32,
    j: int,
    dim: int,
    starts: I64,
    root: F32,
    aim: F32,
) -> None:
    """Of each lane's row, observation j: where its vector starts, and sqrt(w) and t; 0 beyond the last."""
    for lane in range(LANES):
        starts[lane] = 0
        root[lane] = 0.0
        aim[lane] = 0.0
        if begin + lane < end:
            at = indptr[order[begin + lane]] + j
            if at < indptr[order[begin + lane] + 1]:
                starts[lane] = np.int64(indices[at]) * dim
                root[lane] = np.sqrt(abs(weights[at]))
                if weights[at] > 0:
                    aim[lane] = root[lane]


@numba.njit(fastmath=True, cache=True)
def _add_gram(z: F32, step: int, count: int, lower: F32, size: int) -> None:
    """lower += Z Z' in each lane, blocks on and below the diagonal; z[row, k, lane] with `step` places for
    k."""
    tile = np.empty(TILE * TILE * LANES, np.float32)
    ones = np.ones(LANES, np.float32)
    for i in range(0, size, TILE):
        for j in range(0, i + 1, TILE):
            products(z, i * step * LANES, j * step * LANES, step * LANES, count, tile)
            for p in range(TILE):
                for q in range(TILE):
                    add_product(
                        lower, ((i + p) * size + j + q) * LANES, tile, (p * TILE + q) * LANES, ones, 0
                    )


@numba.njit(fastmath=True, cache=True)
def _factor(lower: F32, size: int) -> None:
    """Turns G into the Cholesky factor of I + G, in each lane; its diagonal holds reciprocals."""
    tile = np.empty(TILE * TILE * LANES, np.float32)
    ones = np.ones(LANES, np.float32)
    one = np.float32(1.0)
    for j in range(0, size, TILE):
        for i in range(j, size, TILE):
            products(lower, i * size * LANES, j * size * LANES, size * LANES, j, tile)
            for p in range(TILE):
                left = (i + p) * size + j
                for q in range(p + 1 if i == j else TILE):
                    here, up = (left + q) * LANES, (j + q) * size + j
                    subtract_product(lower, here, tile, (p * TILE + q) * LANES, ones, 0)
                    for k in range(q):
                        subtract_product(lower, here, lower, (left + k) * LANES, lower, (up + k) * LANES)
                    if i > j or p > q:
                        set_product(lower, here, lower, here, lower, (up + q) * LANES)
                    else:
                        for lane in range(LANES):  # a pivot is 1 or more but for rounding
                            lower[here + lane] = one / np.sqrt(max(one, lower[here + lane] + one))


@numba.njit(fastmath=True, cache=True)
def _substitute(lower: F32, right: F32, size: int) -> None:
    """right = (L L')^-1 right, in each lane."""
    for i in range(size):
        for k in range(i):
            subtract_product(right, i * LANES, lower, (i * size + k) * LANES, right, k * LANES)
        set_product(right, i * LANES, right, i * LANES, lower, (i * size + i) * LANES)
    for i in range(size - 1, -1, -1):
        set_product(right, i * LANES, right, i * LANES, lower, (i * size + i) * LANES)
        for k in range(i):
            subtract_product(right, k * LANES, lower, (i * size + k) * LANES, right, i * LANES)
