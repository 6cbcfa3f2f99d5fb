"""From users to the best items: the contract of rankers, and the one that works on vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np
import pyarrow as pa

from recsys.arrays import F32, F64, I8, I32, I64, Bool, Ragged
from recsys.errors import ModelError
from recsys.retrieval.encoders import Constant, Encoder
from recsys.retrieval.topk import falling, top_k, top_shared
from recsys.retrieval.user_tower import UserTower
from recsys.retrieval.users import Users

USER_ROW, HISTORY, FEATURES, FALLBACK = 0, 1, 2, 3
SOURCES = ("known", "history", "features", "fallback")

_BLOCK_SCORES = 4 << 20  # scores computed at a time: 16 MiB of float32
_LEAST_ROWS, _MOST_SCORES = 64, 32 << 20  # but of 64 users at least, which a product needs to be fast, within 128 MiB
_WORTH_SORTING = 16  # users with one vector: below, sorting all items costs more than scanning them for each


def block_rows(n_items: int) -> int:
    """How many users are scored at a time over all items."""
    n_items = max(1, n_items)
    return max(1, _BLOCK_SCORES // n_items, min(_LEAST_ROWS, _MOST_SCORES // n_items))


@dataclass(frozen=True, eq=False)
class Answer:
    """ids: int64 (n, k); scores: float32 (n, k), best first; source: int8 (n,), index into SOURCES.

    -1 and -inf pad the rows for which fewer than k items are allowed.
    """

    ids: I64
    scores: F32
    source: I8


class Ranker(Protocol):
    """Ranks items for users."""

    @property
    def n_items(self) -> int: ...

    @property
    def folds_in(self) -> bool:
        """Whether a history alone is enough to rank."""

    def top(
        self, users: Users, k: int, *, forbid: Ragged, among: Ragged | None = None, available: Bool | None = None
    ) -> Answer:
        """The k best items of each user: exactly k where k are allowed, ties to the lower index.

        forbid: rows of items never to answer. among: if given, rows of the only items to answer. available: (n_items,)
        false for items that nobody gets. A user about whom the ranker cannot say anything gets source FALLBACK and -1s.
        """

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        """How much each event of one user's history adds to the scores of items `ids` (k,): float32 (k, history).

        None where the ranker cannot say this exactly.
        """


class ItemEncoder(Protocol):
    """Gives items that training did not know their vectors."""

    @property
    def columns(self) -> list[str]:
        """The columns that it learned from."""

    def encode(self, features: pa.Table) -> F32:
        """float32 (n, dim) for n items with these raw columns; what is missing or unknown is as training learned it."""

    def save(self, folder: Path) -> None:
        """Writes it into an existing empty folder."""


class TrainedRanker(Ranker, Protocol):
    """A Ranker that a learner ends in where it has no vectors: evaluated like any other, not exportable."""

    @property
    def trained(self) -> Bool:
        """(n_items,): which items it can rank."""


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What learning ends in: item vectors float32 (n_items, dim), C-contiguous, and an encoder into the same space.

    An item whose row is all zeros has no place in the space (it was never trained) and is never retrieved.
    item_encoder: what gives a brand-new item its vector from its features, where the model has that.
    """

    items: F32
    encoder: Encoder
    item_encoder: ItemEncoder | None = None

    def __post_init__(self) -> None:
        if self.items.ndim != 2 or self.items.shape[1] != self.encoder.dim:
            raise ModelError(
                f"item vectors of shape {self.items.shape} do not fit an encoder of dim {self.encoder.dim}."
            )
        if not np.isfinite(self.items).all():
            row = int(np.argmax(~np.isfinite(self.items).all(axis=1)))
            raise ModelError(
                f"item vectors must be finite; row {row} is not. Training diverged: raise the regularization."
            )

    @property
    def trained(self) -> Bool:
        """(n_items,): which items have a vector."""
        trained: Bool = np.asarray(self.items.any(axis=1))
        return trained


class VectorRanker:
    """Ranks by the inner product of user and item vectors.

    Several users at once are scanned exactly, in blocks of one matrix product each: the way of evaluation and batches.
    A single user is one filtered search of the FAISS index, if there is one: the way of the service. The index is flat,
    so both give the same answers.
    """

    def __init__(self, embeddings: Embeddings, index: Any = None) -> None:
        self.items, self.encoder, self.index = embeddings.items, embeddings.encoder, index
        if index is not None and (index.ntotal, index.d) != self.items.shape:
            raise ModelError(f"the index holds {index.ntotal} x {index.d}, the item vectors are {self.items.shape}.")

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def folds_in(self) -> bool:
        return self.encoder.folds_in

    def top(
        self, users: Users, k: int, *, forbid: Ragged, among: Ragged | None = None, available: Bool | None = None
    ) -> Answer:
        vectors, known = self.encoder.encode(users)
        source = np.where(known, self._source(users), FALLBACK).astype(np.int8)
        ids = np.full((len(users), k), -1, np.int64)
        scores = np.full((len(users), k), -np.inf, np.float32)
        rows = np.flatnonzero(known)
        if isinstance(self.encoder, Constant) and among is None and len(rows) >= _WORTH_SORTING:
            ids[rows], scores[rows] = self._shared(k, forbid.take(rows), available)
            return Answer(ids, scores, source)
        size = block_rows(self.n_items)
        search = self._scan if self.index is None or len(rows) > 1 else self._search
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            part_among = None if among is None else among.take(block)
            ids[block], scores[block] = search(vectors[block], k, forbid.take(block), part_among, available)
        return Answer(ids, scores, source)

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        return self.encoder.contributions(user, self.items[ids])

    def _source(self, users: Users) -> I8:
        """int8 (n,): what the vectors of users who have one come from."""
        if not isinstance(self.encoder, UserTower):
            return np.where(users.by_row & self.encoder.knows_users, USER_ROW, HISTORY)
        has_row, has_history = self.encoder.has(users)
        return np.where(has_row, USER_ROW, np.where(has_history, HISTORY, FEATURES))

    def _shared(self, k: int, forbid: Ragged, available: Bool | None) -> tuple[I64, F32]:
        """One scan for everybody, where everybody has the same vector."""
        assert isinstance(self.encoder, Constant)
        scores = self.items @ self.encoder.vector
        if available is not None:
            scores[~available] = -np.inf
        return top_shared(falling(scores), scores, k, forbid)

    def _scan(
        self, vectors: F32, k: int, forbid: Ragged, among: Ragged | None, available: Bool | None
    ) -> tuple[I64, F32]:
        return best_allowed(vectors @ self.items.T, k, forbid, among, available)

    def _search(
        self, vector: F32, k: int, forbid: Ragged, among: Ragged | None, available: Bool | None
    ) -> tuple[I64, F32]:
        """One row through the index. One more than k is fetched: a tie across the cut needs the exact scan."""
        allowed = np.ones(self.n_items, bool) if among is None else np.zeros(self.n_items, bool)
        if among is not None:
            allowed[among.values] = True
        if available is not None:
            allowed &= available
        allowed[forbid.values] = False
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        fetch = min(k + 1, self.n_items)
        scores, ids = self.index.search(vector, fetch, params=faiss.SearchParameters(sel=selector))
        if fetch > k and ids[0, k] >= 0 and scores[0, k] == scores[0, k - 1]:
            return self._scan(vector, k, forbid, among, available)
        order = np.lexsort((ids[0], ids[0] < 0, -scores[0]))[:k]
        padded = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
        padded[0][0, : len(order)], padded[1][0, : len(order)] = ids[0, order], scores[0, order]
        padded[1][padded[0] < 0] = -np.inf
        return padded


def embeddings_of(name: str, learned: Embeddings | TrainedRanker) -> Embeddings:
    """What a bundle can hold of what the model `name` learned. Raises ModelError where there are no vectors."""
    if not isinstance(learned, Embeddings):
        raise ModelError(
            f"{name} learns no vectors, so it can be judged but not exported or served; train a model that does: als."
        )
    return learned


def ranker_of(learned: Embeddings | TrainedRanker, index: Any = None) -> Ranker:
    """The Ranker of what a learner ended in: its vectors with the FAISS index, if there is one, or itself."""
    return VectorRanker(learned, index) if isinstance(learned, Embeddings) else learned


def rank_in_blocks(
    scores_of: Callable[[Users], F32],
    users: Users,
    source: I8,
    k: int,
    n_items: int,
    forbid: Ragged,
    among: Ragged | None,
    available: Bool | None,
) -> Answer:
    """The answer of a ranker that computes all scores float32 (n, n_items) of a few users at a time.

    source: int8 (n,); the users whose source is FALLBACK are not scored.
    """
    ids = np.full((len(users), k), -1, np.int64)
    scores = np.full((len(users), k), -np.inf, np.float32)
    rows = np.flatnonzero(source != FALLBACK)
    size = block_rows(n_items)
    for start in range(0, len(rows), size):
        block = rows[start : start + size]
        part = None if among is None else among.take(block)
        found = best_allowed(scores_of(users.take(block)), k, forbid.take(block), part, available)
        ids[block], scores[block] = found
    return Answer(ids, scores, source)


def best_allowed(scores: F32, k: int, forbid: Ragged, among: Ragged | None, available: Bool | None) -> tuple[I64, F32]:
    """`top_k` of float32 (n, n_items) scores after the rules; writes -inf into `scores` where they forbid an item."""
    if available is not None:
        scores[:, ~available] = -np.inf
    if among is not None:
        outside = np.ones(scores.shape, bool)
        outside[among.row_of_value(), among.values] = False
        scores[outside] = -np.inf
    scores[forbid.row_of_value(), forbid.values] = -np.inf
    return top_k(scores, k)


def order_of(scores: I64 | F32 | F64) -> I32:
    """int32 (n,): indices by falling score, ties to the lower index."""
    return np.argsort(-scores, kind="stable").astype(np.int32)
