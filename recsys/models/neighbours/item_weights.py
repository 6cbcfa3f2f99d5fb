"""Item-to-item weights: a user's scores are their history times a matrix."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from recsys.arrays import F32, I64, Bool, Ragged
from recsys.encoders.encoder import FALLBACK, HISTORY, beside_events
from recsys.encoders.users import Users, recency
from recsys.errors import ModelError
from recsys.retrieval.ranker import Answer, rank_in_blocks


@dataclass(frozen=True, eq=False)
class ItemWeights:
    """What item-kNN, EASE and co-occurrence learn: a Ranker, evaluated like any other, without vectors to
    export.

    matrix: float32 (n_items, n_items), a CSR array or a dense one; `matrix[i, j]` is what an event of item i
    adds to the score of item j. trained: (n_items,), which items had events; the others are never answered.
    half_life: an event counts half as much as one so many events later in the same history; None = all alike.
    repeat_exponent: an item counts its summed weight in the history to this power, as it did in learning; its
    events share that by their weight.
    """

    matrix: sparse.csr_array | F32
    trained: Bool
    half_life: float | None = None
    repeat_exponent: float = 1.0

    def __post_init__(self) -> None:
        n_items = len(self.trained)
        if self.matrix.shape != (n_items, n_items) or self.matrix.dtype != np.float32:
            raise ModelError(
                f"item weights must be float32 {(n_items, n_items)}, got {self.matrix.dtype} "
                f"{self.matrix.shape}."
            )
        # a sum is not finite where a weight is not, and takes no second matrix
        values: Any = self.matrix.data if sparse.issparse(self.matrix) else self.matrix
        if not np.isfinite(values.sum(dtype=np.float64)):
            raise ModelError("item weights must be finite, and some are not. Raise the regularization.")

    @property
    def n_items(self) -> int:
        return len(self.trained)

    @property
    def folds_in(self) -> bool:
        return True

    @property
    def explains(self) -> bool:
        return True

    def top(
        self,
        users: Users,
        k: int,
        *,
        forbid: Ragged,
        among: Ragged | None = None,
        available: Bool | None = None,
    ) -> Answer:
        users = users.with_events(users.history.learnable(self.n_items))
        known = users.history.keep(self._telling[users.history.items.values]).lengths > 0
        source = np.where(known, HISTORY, FALLBACK).astype(np.int8)
        return rank_in_blocks(self._scores, users, source, k, self.n_items, forbid, among, available)

    @cached_property
    def _telling(self) -> Bool:
        """(n_items,): the trained items of which an event adds to some score."""
        matrix: Any = self.matrix
        adds: Bool = np.diff(matrix.indptr) > 0 if sparse.issparse(matrix) else matrix.any(axis=1)
        return self.trained & adds

    def _scores(self, users: Users) -> F32:
        history = users.history.items
        shape = (len(users), self.n_items)
        scores = (
            sparse.csr_array((self._weights(users), history.values, history.offsets), shape=shape)
            @ self.matrix
        )
        dense: F32 = scores.toarray() if sparse.issparse(scores) else scores
        return dense

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        usable = user.history.learnable(self.n_items)
        user = user.with_events(usable)
        rows: Any = self.matrix[user.history.items.values][:, ids]
        dense: F32 = rows.toarray() if sparse.issparse(rows) else rows
        return beside_events(np.ascontiguousarray(dense.T) * self._weights(user), usable)

    def _weights(self, users: Users) -> F32:
        """float32 (nnz,): what each event of the histories counts."""
        history = users.history.items
        counted = users.weigh_events()
        if self.repeat_exponent != 1:
            _, pair = np.unique(history.row_of_value() * self.n_items + history.values, return_inverse=True)
            total = np.maximum(np.bincount(pair.ravel(), counted), np.finfo(np.float32).tiny)
            counted = counted * (total ** (self.repeat_exponent - 1)).astype(np.float32)[pair.ravel()]
        return counted if self.half_life is None else counted * recency(history, self.half_life)
