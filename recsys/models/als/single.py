"""Rows of implicit ALS one at a time: improved by conjugate gradient, or solved exactly where they are very
long.

The notation and the conventions are those of `recsys.models.als.exact`.
"""

import numba
import numpy as np

from recsys.arrays import F32, I32, I64
from recsys.models.als.simd import ROWS, fetch, sweep, take, thread_loops

_BLOCK = 64  # rows whose start is turned into the basis by one product
_AHEAD = 32  # rows of the table that are asked for before they are needed
_CHUNK = 1_024  # observations whose products are summed by one product


@thread_loops
def improve(
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
    basis: F32,
    steps: int,
) -> None:
    """`steps` of conjugate gradient on (I + Z'Z) x = Z' t, from the present rows, which are still in the
    basis before the last change: basis (dim, dim) turns them. value: each row's part of the objective at the
    end."""
    dim = table.shape[1]
    flat = table.ravel()
    zero, one = np.float32(0.0), np.float32(1.0)
    blocks = (last - first + _BLOCK - 1) // _BLOCK
    longest = indptr[order[last - 1] + 1] - indptr[order[last - 1]] + ROWS
    taken = np.zeros(1, np.int64)
    for _ in numba.prange(strands):
        starts = np.zeros(longest, np.int64)
        weight = np.zeros(longest, np.float32)
        aims, zeros = np.zeros(longest, np.float32), np.zeros(longest, np.float32)
        gaps = np.empty(longest, np.float32)
        scale, x = np.empty(dim, np.float32), np.empty(dim, np.float32)
        query, product = np.empty(dim, np.float32), np.empty(dim, np.float32)
        residual, direction = np.empty(dim, np.float32), np.empty(dim, np.float32)
        before = np.empty((_BLOCK, dim), np.float32)
        while True:
            block = blocks - 1 - take(taken)
            if block < 0:
                break
            begin = first + block * _BLOCK
            end = min(begin + _BLOCK, last)
            for at in range(begin, end):
                before[at - begin] = rows[order[at]]
            turned = np.dot(before[: end - begin], basis)
            for at in range(begin, end):
                u = order[at]
                n = indptr[u + 1] - indptr[u]
                for j in range((n + ROWS - 1) // ROWS * ROWS):
                    starts[j] = np.int64(indices[indptr[u] + j]) * dim if j < n else 0
                    weight[j] = abs(weights[indptr[u] + j]) if j < n else zero
                    aims[j] = one if j < n and weights[indptr[u] + j] > zero else zero
                for j in range(0, min(n, _AHEAD), ROWS):
                    fetch(flat, starts, j, dim)
                for f in range(dim):
                    scale[f] = one / np.sqrt(spectrum[f] + ridge[u])
                    query[f] = turned[at - begin, f]
                    x[f] = query[f] / scale[f]
                    product[f] = zero
                for j in range(0, n, ROWS):
                    if j + _AHEAD < n:
                        fetch(flat, starts, j + _AHEAD, dim)
                    sweep(flat, starts, weight, j, query, aims, -one, gaps, product, dim)
                total, squared = zero, zero
                for j in range(n):
                    total += gaps[j] * gaps[j] / weight[j]
                for f in range(dim):
                    total += x[f] * x[f]
                    residual[f] = product[f] * scale[f] - x[f]
                    direction[f] = residual[f]
                    squared += residual[f] * residual[f]
                for _step in range(steps):
                    if squared < np.float32(1e-20):
                        break
                    for f in range(dim):
                        query[f] = direction[f] * scale[f]
                        product[f] = zero
                    for j in range(0, n, ROWS):
                        sweep(flat, starts, weight, j, query, zeros, one, gaps, product, dim)
                    curvature, fresh = zero, zero
                    for f in range(dim):
                        product[f] = direction[f] + product[f] * scale[f]
                        curvature += product[f] * direction[f]
                    length = squared / curvature
                    total -= length * squared
                    for f in range(dim):
                        x[f] += length * direction[f]
                        residual[f] -= length * product[f]
                        fresh += residual[f] * residual[f]
                    for f in range(dim):
                        direction[f] = residual[f] + fresh / squared * direction[f]
                    squared = fresh
                value[u] = total
                for f in range(dim):
                    rows[u, f] = x[f] * scale[f]


@thread_loops
def solve_alone(
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
    """Rows so long, or of so many dimensions, that sixteen at a time would not stay in the cache."""
    taken = np.zeros(1, np.int64)
    for _ in numba.prange(strands):
        while True:
            at = last - 1 - take(taken)
            if at < first:
                break
            u = order[at]
            start, stop = indptr[u], indptr[u + 1]
            rows[u], value[u] = _alone(indices[start:stop], weights[start:stop], table, spectrum, ridge[u])


@numba.njit(fastmath=True, cache=True)
def _alone(indices: I32, weights: F32, table: F32, spectrum: F32, ridge: float) -> tuple[F32, float]:
    """The row with these observations, and its part of the objective."""
    dim = len(spectrum)
    scale = np.float32(1.0) / np.sqrt(spectrum + ridge)
    if len(indices) < dim:
        z, aim = _scale_rows(indices, weights, table, scale)
        solved = aim.copy()
        _solve(np.dot(z, z.T), solved)
        return scale * np.dot(solved, z), np.dot(aim, solved)
    matrix = np.zeros((dim, dim), np.float32)
    target = np.zeros(dim, np.float32)
    for start in range(0, len(indices), _CHUNK):
        stop = start + _CHUNK
        z, aim = _scale_rows(indices[start:stop], weights[start:stop], table, scale)
        matrix += np.dot(z.T, z)
        target += np.dot(aim, z)
    solved = target.copy()
    _solve(matrix, solved)
    return scale * solved, np.maximum(weights, np.float32(0.0)).sum() - np.dot(target, solved)


@numba.njit(fastmath=True, cache=True)
def _scale_rows(indices: I32, weights: F32, table: F32, scale: F32) -> tuple[F32, F32]:
    """Z (n, dim), and t (n,)."""
    root = np.sqrt(np.abs(weights))
    z = np.empty((len(indices), len(scale)), np.float32)
    for j in range(len(indices)):
        y = table[indices[j]]
        for f in range(len(scale)):
            z[j, f] = y[f] * scale[f] * root[j]
    return z, np.where(weights > np.float32(0.0), root, np.float32(0.0))


@numba.njit(fastmath=True, cache=True)
def _solve(gram: F32, right: F32) -> None:
    """right = (I + gram)^-1 right. gram (n, n) is spent."""
    n = len(gram)
    for i in range(n):
        gram[i, i] += np.float32(1.0)
    lower = np.linalg.cholesky(gram)
    for i in range(n):
        total = right[i]
        for k in range(i):
            total -= lower[i, k] * right[k]
        right[i] = total / lower[i, i]
    for i in range(n - 1, -1, -1):
        last = right[i] / lower[i, i]
        right[i] = last
        for k in range(i):
            right[k] -= lower[i, k] * last
