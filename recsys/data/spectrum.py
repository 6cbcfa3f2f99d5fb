"""The leading singular vectors of a matrix of users and items, divided by the powers of their degrees."""

import numpy as np
from scipy import sparse

from recsys.arrays import F32
from recsys.seeding import generator


def degree_normalised(matrix: sparse.csr_array, exponent: float = 0.5) -> sparse.csr_array:
    """float32: each entry divided by the powers of the sums of its row and of its column; empty ones stay empty."""
    normalised = sparse.csr_array(matrix, dtype=np.float32, copy=True)
    by_user, by_item = (np.maximum(matrix.sum(axis=axis, dtype=np.float64), 1e-12) for axis in (1, 0))
    scale = np.repeat(by_user, np.diff(matrix.indptr)) * by_item[matrix.indices]
    normalised.data *= (scale**-exponent).astype(np.float32)
    return normalised


def propagated(matrix: sparse.csr_array, users: F32, weight: float) -> F32:
    """float32 (n_items, dim): what item vectors take up of the users who had them, in one step over the graph of both.

    matrix: float32 (n_users, n_items); users: float32 (n_users, dim). Source: He et al., "LightGCN", SIGIR 2020.
    """
    taken: F32 = np.float32(weight) * (degree_normalised(matrix).T @ users)
    return taken


def unit(rows: F32) -> F32:
    """Rows (n, dim) at length 1; rows of zeros stay."""
    found: F32 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return found


def decomposed(matrix: sparse.csr_array, dim: int, *, seed: int, sweeps: int = 4) -> tuple[F32, F32, F32]:
    """The leading singular triplets, U (n_users, k), values (k,), V (n_items, k), where k = dim or the smaller side.

    Source: Halko, Martinsson, Tropp, "Finding Structure with Randomness", SIAM Review 2011.
    """
    from sklearn.utils.extmath import randomized_svd

    k = min(dim, *matrix.shape)
    left, values, right = randomized_svd(
        matrix,
        n_components=k,
        n_iter=sweeps,
        power_iteration_normalizer="QR",
        random_state=int(generator(seed, "spectral").integers(2**31)),
    )
    return left.astype(np.float32), values.astype(np.float32), np.ascontiguousarray(right.T, np.float32)
