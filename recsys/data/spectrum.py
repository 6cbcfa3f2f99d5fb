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
