"""EASE: the item-to-item weights that best rebuild each user's row from itself, in closed form."""

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.errors import ModelError
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.memory import available_bytes
from recsys.models.neighbours.item_weights import ItemWeights
from recsys.models.search import Space, Span
from recsys.progress import Progress, Step, silent
from recsys.training.loop import ALONE, Aids

_BLOCK = 1_024  # rows at a time, beside the one big matrix
_SWEPT = (
    256  # rows swept at a time: products deep enough for BLAS, and blocks of a few per cent of the matrix
)
_SPARE = 1.05  # of the matrix: blocks, histories, scores


class EASESettings(Settings):
    """Settings of EASE."""

    regularization: float = Field(
        1000.0, gt=0, description="ridge, in events: grows with the data; log grid from 100 to 10,000"
    )
    half_life: float | None = Field(
        None,
        gt=0,
        description="events after which one of the history counts half; none = all count alike, as published",
    )


class EASE(Learner):
    """Ridge regression of the user-item matrix X on itself with a zero diagonal.

    The weights are `B = I - P / diag(P)`, column by column, where P is the inverse of `X'X + regularization
    I`.

    One matrix of `4 n_items ** 2` bytes is all that is held: Gram, inverse and weights lie in the same memory
    one after the other, in float32. The bytes are reported before any work, and the
    fit is refused where they are not free.

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
    Relations: ItemKNN scores in the same way, with weights that cost a sparse product; implicit ALS with a
    dimension as large as the catalogue comes near.
    """

    Settings = EASESettings
    search: ClassVar[Space] = {"regularization": Span(10.0, 10_000.0, log=True)}
    keeps_vectors: ClassVar[bool] = False

    def __init__(self, settings: EASESettings | None = None) -> None:
        self.settings = settings or EASESettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> ItemWeights:
        """Dense weights float32 (n_items, n_items); rows and columns of items without events are zero.

        Raises ModelError on no events, and where the matrix does not fit into the memory that is free.
        """
        by_user = matrix_to_learn("ease", train)
        n_items = by_user.shape[1]
        task = f"learning ease in {4 * n_items**2 / 2**30:.2f} GiB"
        progress(Step(task, 0, 3))
        self._check_memory(train, n_items)
        matrix = np.empty((n_items, n_items), np.float32)
        _fill_with_gram(by_user, matrix)
        matrix[np.diag_indices(n_items)] += np.float32(self.settings.regularization)
        progress(Step(task, 1, 3))
        _invert(matrix)
        progress(Step(task, 2, 3))
        _to_weights(matrix)
        progress(Step(task, 3, 3))
        return ItemWeights(matrix, train.interactions.item_counts() > 0, self.settings.half_life)

    def _check_memory(self, train: Dataset, n_items: int) -> None:
        needed, free = _SPARE * 4 * n_items**2, available_bytes()
        if free is not None and needed > free:
            raise ModelError(
                f"ease needs {needed / 2**30:.1f} GiB for the {n_items:,} items of {train.name}, and "
                f"{free / 2**30:.1f} GiB are free. Use item_knn or als, or drop rare items (k-core)."
            )


def _fill_with_gram(by_user: sparse.csr_array, gram: F32) -> None:
    """Writes X'X into float32 (n_items, n_items), a few rows at a time."""
    by_item = by_user.T.tocsr()
    for start in range(0, len(gram), _BLOCK):
        block = slice(start, start + _BLOCK)
        gram[block] = (by_item[block] @ by_user).toarray()


def _invert(matrix: F32) -> None:
    """Replaces a positive definite float32 (n, n) by its inverse, in place.

    The sweep operator, a block of rows at a time, on the lower triangle alone: matrix products and small
    inverses, which BLAS spreads over threads. (LAPACK's threaded spotrf, of scipy 1.17, crashed on a matrix
    of 40,981 rows.)
    Source: Goodnight, "A Tutorial on the SWEEP Operator", The American Statistician 1979.
    """
    n = len(matrix)
    for start in range(0, n, _SWEPT):
        stop = min(start + _SWEPT, n)
        pivot = matrix[start:stop, start:stop]
        pivot = np.tril(pivot) + np.tril(pivot, -1).T
        try:
            np.linalg.cholesky(pivot)
        except np.linalg.LinAlgError:
            raise ModelError(
                "ease met a matrix that is not positive definite in float32. Raise the regularization."
            ) from None
        inverse = np.linalg.inv(pivot)
        column = np.concatenate([matrix[start:stop, :start].T, matrix[start:, start:stop]])  # (n, block)
        column[start:stop] = 0
        swept = column @ inverse
        for row in range(0, n, _SWEPT):
            end = min(row + _SWEPT, n)
            matrix[row:end, :end] -= swept[row:end] @ column[:end].T
        matrix[start:stop, :start] = swept[:start].T
        matrix[stop:, start:stop] = swept[stop:]
        matrix[start:stop, start:stop] = -inverse
    for start in range(0, n, _BLOCK):  # minus the inverse, and only its lower triangle
        stop = start + _BLOCK
        square = matrix[start:stop, start:stop]
        square[:] = np.tril(square) + np.tril(square, -1).T
        matrix[start:stop, stop:] = matrix[stop:, start:stop].T
    np.negative(matrix, out=matrix)


def _to_weights(inverse: F32) -> None:
    """Replaces the symmetric inverse P by `I - P / diag(P)`, column j divided by `P[j, j]`, with a zero
    diagonal."""
    diagonal = np.diagonal(inverse).copy()
    for start in range(0, len(inverse), _BLOCK):
        inverse[start : start + _BLOCK] /= -diagonal
    np.fill_diagonal(inverse, 0)
