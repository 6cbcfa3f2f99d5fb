"""The leading singular vectors of a matrix of users and items, divided by the powers of their degrees."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from recsys.arrays import F32, F64, blocks_of
from recsys.matrix import on_disk
from recsys.matrix.on_disk import room
from recsys.seeding import generator


def degrees(matrix: sparse.csr_array) -> tuple[F64, F64]:
    """The sums of the rows (n_users,) and of the columns (n_items,)."""
    by_user, by_item = (np.zeros(size) for size in matrix.shape)
    for block, at in _blocks(matrix):
        lengths = np.diff(matrix.indptr[block.start : block.stop + 1])
        row = np.repeat(np.arange(len(lengths)), lengths)
        by_user[block] = np.bincount(row, matrix.data[at], len(lengths))
        by_item += np.bincount(matrix.indices[at], matrix.data[at], len(by_item))
    return by_user, by_item


def degree_normalised(
    matrix: sparse.csr_array, exponent: float = 0.5, *, folder: Path | None = None
) -> sparse.csr_array:
    """float32: each entry divided by the powers of the sums of its row and of its column; empty ones stay
    empty.

    folder: where the entries are kept, None = in memory; where they are is shared with the matrix.
    """
    by_user, by_item = (np.maximum(sums, 1e-12) for sums in degrees(matrix))
    data = room(folder, matrix.nnz, np.float32)
    for block, at in _blocks(matrix):
        of_user = np.repeat(by_user[block], np.diff(matrix.indptr[block.start : block.stop + 1]))
        data[at] = matrix.data[at] * ((of_user * by_item[matrix.indices[at]]) ** -exponent).astype(np.float32)
    return sparse.csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def _blocks(matrix: sparse.csr_array) -> Iterator[tuple[slice, slice]]:
    """Rows of about so many entries as are in memory at a time, and where these stand."""
    for block in blocks_of(np.diff(matrix.indptr), on_disk.CHUNK):
        yield block, slice(int(matrix.indptr[block.start]), int(matrix.indptr[block.stop]))


def propagate(matrix: sparse.csr_array, users: F32, weight: float) -> F32:
    """float32 (n_items, dim): what item vectors take up of the users who had them, in one step over the graph
    of both: `weight` times the degree-normalised matrix, transposed, times the users.

    matrix: float32 (n_users, n_items); users: float32 (n_users, dim). Source: He et al., "LightGCN", SIGIR
    2020.
    """
    by_user, by_item = (np.maximum(sums, 1e-12)[:, None] ** -0.5 for sums in degrees(matrix))
    taken: F32 = (matrix.T @ (users * by_user.astype(np.float32))) * (weight * by_item).astype(np.float32)
    return taken


def without_propagation(matrix: sparse.csr_array, users: F32, items: F32, weight: float) -> F32:
    """The item vectors (n_items, dim) before `propagate` was added to them: exact where the events are the
    same.

    Rows of zeros, items that were never trained, stay. users: float32 (n_users, dim).
    """
    known = np.asarray(items.any(axis=1))[:, None]
    return np.where(known, items - propagate(matrix, users, weight), np.float32(0))


def unit(rows: F32) -> F32:
    """Rows (n, dim) at length 1; rows of zeros stay."""
    scaled: F32 = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12))
    return scaled


def decompose(matrix: sparse.csr_array, dim: int, *, seed: int, sweeps: int = 4) -> tuple[F32, F32, F32]:
    """The leading singular triplets, U (n_users, k), values (k,), V (n_items, k), where k = dim or the
    smaller side.

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
