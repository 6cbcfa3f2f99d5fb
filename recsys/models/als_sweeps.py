"""The inner loops of implicit ALS: one half-step for one side, compiled.

Users are taken in blocks, so that the dense part of every product is one BLAS call; numba spreads the blocks over
threads (BLAS itself is held at one), and an iteration writes only rows that it owns: the bytes do not depend on timing.
"""

import numba
import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  numba's BLAS: loaded here, so that a limit on threads finds it

from recsys.arrays import F32, F64, I32, I64

_BLOCK = 256


@numba.njit(parallel=True, fastmath=True, cache=True)
def solve_exactly(indptr: I64, indices: I32, weights: F32, other: F32, base: F32, ridge: F32, rows: F32) -> None:
    """rows[u] = (base + sum w y y' + ridge[u] I)^-1 sum w y, by Cholesky. Rows without events become zeros."""
    dim = other.shape[1]
    for u in numba.prange(len(rows)):
        start, stop = indptr[u], indptr[u + 1]
        if start == stop:
            rows[u] = 0.0
            continue
        length = stop - start
        seen = np.empty((length, dim), np.float32)
        weighted = np.empty((length, dim), np.float32)
        right = np.zeros(dim, np.float32)
        for j in range(length):
            w = weights[start + j]
            for f in range(dim):
                value = other[indices[start + j], f]
                seen[j, f] = value
                weighted[j, f] = w * value
                right[f] += w * value
        matrix = base + np.dot(weighted.T, seen)
        for f in range(dim):
            matrix[f, f] += ridge[u]
        lower = np.linalg.cholesky(matrix)
        for f in range(dim):  # L z = right
            total = right[f]
            for g in range(f):
                total -= lower[f, g] * right[g]
            right[f] = total / lower[f, f]
        for f in range(dim - 1, -1, -1):  # L' x = z
            value = right[f] / lower[f, f]
            right[f] = value
            for g in range(f):
                right[g] -= lower[f, g] * value
        rows[u] = right


@numba.njit(parallel=True, fastmath=True, cache=True)
def solve_by_gradients(
    indptr: I64, indices: I32, weights: F32, other: F32, base: F32, ridge: F32, rows: F32, steps: int
) -> None:
    """The same system, improved from the present rows by `steps` of conjugate gradient."""
    n, dim = rows.shape
    for block in numba.prange((n + _BLOCK - 1) // _BLOCK):
        first, last = block * _BLOCK, min(n, (block + 1) * _BLOCK)
        x = rows[first:last].copy()
        dense = np.dot(x, base)
        residual = np.zeros_like(x)
        squared = np.zeros(last - first, np.float32)
        for r in range(last - first):
            u = first + r
            for f in range(dim):
                residual[r, f] = -dense[r, f] - ridge[u] * x[r, f]
            for at in range(indptr[u], indptr[u + 1]):
                y = other[indices[at]]
                score = np.float32(0.0)
                for f in range(dim):
                    score += y[f] * x[r, f]
                gap = weights[at] * (np.float32(1.0) - score)
                for f in range(dim):
                    residual[r, f] += gap * y[f]
            for f in range(dim):
                squared[r] += residual[r, f] * residual[r, f]
        direction = residual.copy()
        for _ in range(steps):
            dense = np.dot(direction, base)
            for r in range(last - first):
                u = first + r
                if squared[r] < np.float32(1e-20):
                    continue
                product = dense[r]
                for f in range(dim):
                    product[f] += ridge[u] * direction[r, f]
                for at in range(indptr[u], indptr[u + 1]):
                    y = other[indices[at]]
                    score = np.float32(0.0)
                    for f in range(dim):
                        score += y[f] * direction[r, f]
                    score *= weights[at]
                    for f in range(dim):
                        product[f] += score * y[f]
                curvature = np.float32(0.0)
                for f in range(dim):
                    curvature += direction[r, f] * product[f]
                step = squared[r] / curvature
                fresh = np.float32(0.0)
                for f in range(dim):
                    x[r, f] += step * direction[r, f]
                    residual[r, f] -= step * product[f]
                    fresh += residual[r, f] * residual[r, f]
                turn = fresh / squared[r]
                for f in range(dim):
                    direction[r, f] = residual[r, f] + turn * direction[r, f]
                squared[r] = fresh
        for r in range(last - first):
            empty = indptr[first + r] == indptr[first + r + 1]
            for f in range(dim):
                rows[first + r, f] = np.float32(0.0) if empty else x[r, f]


@numba.njit(parallel=True, fastmath=True, cache=True)
def squared_gaps(indptr: I64, indices: I32, weights: F32, users: F32, items: F32) -> F64:
    """float64 (n_users,): each user's sum of w (score - 1)^2 over his items."""
    sums = np.zeros(len(users), np.float64)
    for u in numba.prange(len(users)):
        for at in range(indptr[u], indptr[u + 1]):
            score = np.float32(0.0)
            for f in range(users.shape[1]):
                score += users[u, f] * items[indices[at], f]
            sums[u] += weights[at] * (score - 1.0) ** 2
    return sums
