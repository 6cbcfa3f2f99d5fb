"""The ranker that works on vectors: exact scans for many users, one search of the index for a single one."""

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import faiss
import numpy as np

from recsys.arrays import F32, I64, U8, Bool, Ragged
from recsys.encoders.encoder import FALLBACK
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.retrieval.allowed import Allowed, AllowedItems, Marks, is_set
from recsys.retrieval.approximate import Approximate
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.index import Flat, Index, inner_products
from recsys.retrieval.ranker import Answer, Ranker, TrainedRanker, best_allowed, block_rows
from recsys.retrieval.topk import falling, top_k, top_shared

_DEEPEST = 2  # times as many items as an index was measured for are asked of it; beyond, the exact scan
_WORTH_SORTING = 16  # users with one vector: below, sorting all items costs more than scanning them for each
# items for each that is left out: above, to find what is left out too costs less than to ask of each item
_ASIDE = 50


class VectorRanker:
    """Ranks by the inner product of user and item vectors.

    Several users at once are scanned in blocks of one matrix product each: the way of evaluation and batches.
    A single user is one filtered search of the index, if there is one: the way of the service. Where the
    index is exact both give the same answers; where it is not, many go the way of one.
    """

    def __init__(self, embeddings: Embeddings, index: Index | None = None) -> None:
        self.embeddings, self.index = embeddings, index
        self.items, self.encoder = embeddings.items, embeddings.encoder
        self._allowed, self._marks = AllowedItems(len(self.items)), Marks(len(self.items))
        if index is not None and index.shape != self.items.shape:
            raise ModelError(f"the index holds {index.shape}, the item vectors are {self.items.shape}.")

    @cached_property
    def _flat(self) -> Flat:
        return Flat(self.items)

    def exactly(self) -> "VectorRanker":
        """The same without what an index may miss."""
        if self.index is None or self.index.exact:
            return self
        return VectorRanker(self.embeddings, self._flat)

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def folds_in(self) -> bool:
        return self.encoder.folds_in

    @property
    def explains(self) -> bool:
        return self.encoder.explains

    def top(
        self,
        users: Users,
        k: int,
        *,
        forbid: Ragged,
        among: Ragged | None = None,
        available: Bool | None = None,
    ) -> Answer:
        vectors, source = self.encoder.encode(users)
        if self.index is not None and len(users) == 1 and source[0] != FALLBACK:
            return Answer(*self._search(vectors, k, forbid, among, available), source)
        ids = np.full((len(users), k), -1, np.int64)
        scores = np.full((len(users), k), -np.inf, np.float32)
        rows = np.flatnonzero(source != FALLBACK)
        # many go the same way as one: what is measured is what is served
        if isinstance(self.index, Approximate):

            def fill(row: int) -> None:
                one = np.array([row])
                rules = (forbid.take(one), None if among is None else among.take(one))
                ids[row], scores[row] = self._search(vectors[one], k, *rules, available)

            with ThreadPoolExecutor(max(1, min(faiss.omp_get_max_threads(), len(rows)))) as pool:
                list(pool.map(fill, rows))
            return Answer(ids, scores, source)
        if not self.encoder.personal and among is None and len(rows) >= _WORTH_SORTING:
            ids[rows], scores[rows] = self._scan_once(vectors[rows[0]], k, forbid.take(rows), available)
            return Answer(ids, scores, source)
        size = block_rows(self.n_items)
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            part_among = None if among is None else among.take(block)
            ids[block], scores[block] = self._scan(
                vectors[block], k, forbid.take(block), part_among, available
            )
        return Answer(ids, scores, source)

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        return self.encoder.contributions(user, self.items[ids])

    def _scan_once(self, vector: F32, k: int, forbid: Ragged, available: Bool | None) -> tuple[I64, F32]:
        """One scan for everybody, where everybody has the same vector."""
        scores = self.items @ vector
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
        """One row: through the index, or over the allowed items alone where these are few."""
        assert self.index is not None
        allowed = self._allowed.of(available, None if among is None else among.values)
        if allowed.few is not None:
            return self._scan_few(vector, k, allowed.few, allowed.places_of(forbid.values))
        fetch, aside = min(k + 1, self.n_items), self.n_items - allowed.count + len(forbid.values)
        if isinstance(self.index, Approximate):
            bits = allowed.without(forbid.values)
            approximate = self._search_index(self.index, vector, fetch, bits, allowed, forbid)
            scores, ids = self._flat.search(vector, fetch, bits) if approximate is None else approximate
        elif aside * _ASIDE <= self.n_items:
            scores, ids = self.index.search(vector, min(fetch + aside, self.n_items))
            kept = self._marks.others(ids[0], forbid.values)
            if not allowed.full:
                kept &= is_set(allowed.bits, ids[0])
            places = kept.nonzero()[0][:fetch]
            scores, ids = scores[:, places], ids[:, places]
        else:
            scores, ids = self.index.search(vector, fetch, allowed.without(forbid.values))
        tied = scores[0, 1:] == scores[0, :-1]
        if len(ids[0]) > k and ids[0, k] >= 0:
            if not tied.any():
                return ids[:, :k], scores[:, :k]
            if tied[k - 1]:  # across the cut
                return self._scan(vector, k, forbid, among, available)
        return _in_order(ids[:, :k], scores[:, :k], k)

    def _search_index(
        self, index: Approximate, vector: F32, k: int, bits: U8, allowed: Allowed, forbid: Ragged
    ) -> tuple[F32, I64] | None:
        """What an approximate index finds, or None where the exact scan is the better way: where few items
        are allowed or many asked for, and where the index found too few or what is not allowed. FAISS ignores
        a selector in silence in several kinds of index."""
        if (
            effort := index.effort_at(allowed.count / self.n_items)
        ) is None or k > _DEEPEST * index.settings.k:
            return None
        if (
            beside := self.n_items - allowed.count + len(forbid.values)
        ) <= k:  # cheaper than to ask of each item
            scores, ids = index.search(vector, k + beside, None, effort)
            kept = np.flatnonzero((ids[0] >= 0) & is_set(bits, ids[0]))[:k]
            if len(kept) == k:
                return scores[:, kept], ids[:, kept]
        scores, ids = index.search(vector, k, bits, effort)
        there = ids[0][ids[0] >= 0]
        if len(there) < k:
            left_out = np.unique(forbid.values)
            if len(there) < min(k, allowed.count - int(is_set(allowed.bits, left_out).sum())):
                return None
        return (scores, ids) if is_set(bits, there).all() else None

    def _scan_few(self, vector: F32, k: int, items: I64, left_out: I64) -> tuple[I64, F32]:
        """One row, over these items alone, ascending, without those at the places left out."""
        every = inner_products(self.items, vector, items[None])
        every[0, left_out] = -np.inf
        ids, scores = top_k(every, k)
        there = ids >= 0
        ids[there] = items[ids[there]]
        return ids, scores


def _in_order(ids: I64, scores: F32, k: int) -> tuple[I64, F32]:
    """What an index found of one row, equal scores by item, padded to k with -1 and -inf."""
    order = np.lexsort((ids[0], -scores[0], ids[0] < 0))
    padded = np.full((1, k), -1, np.int64), np.full((1, k), -np.inf, np.float32)
    padded[0][0, : len(order)], padded[1][0, : len(order)] = ids[0, order], scores[0, order]
    padded[1][padded[0] < 0] = -np.inf
    return padded


def ranker_of(learned: Embeddings | TrainedRanker, index: Index | None = None) -> Ranker:
    """The Ranker of what a learner ended in: its vectors with an index, if there is one, or itself."""
    return VectorRanker(learned, index) if isinstance(learned, Embeddings) else learned
