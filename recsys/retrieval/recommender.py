"""The one path from users to items: offline evaluation and the service both build exactly this."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import F32, I32, Bool, Ragged, beside
from recsys.errors import RequestError
from recsys.retrieval.ranker import FALLBACK, Answer, Ranker, best_allowed
from recsys.retrieval.seen import SeenPolicy
from recsys.retrieval.users import Users

SEEN_POLICIES = ("exclude", "allow")

_BLOCK_SCORES = 4 << 20  # fallback scores at a time: 16 MiB of float32, however many users and items


@dataclass(frozen=True, eq=False)
class Recommender:
    """A ranker with the rules around it.

    fallback: int32 (n_items,), every item, best first: the answer where the ranker cannot say. seen: "exclude" keeps
    the items of a user's history out of his answer, "allow" does not, a SeenPolicy decides by time, event type and
    domain. available: (n_items,), false for items that nobody gets (never trained, deleted, out of stock), or None.
    """

    ranker: Ranker
    fallback: I32
    seen: str | SeenPolicy = "exclude"
    available: Bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.seen, SeenPolicy) and self.seen not in SEEN_POLICIES:
            raise ValueError(f"seen must be one of {SEEN_POLICIES}, got {self.seen!r}")
        if len(self.fallback) != self.ranker.n_items:
            raise ValueError(f"fallback orders {len(self.fallback)} items, the ranker has {self.ranker.n_items}")

    @property
    def n_items(self) -> int:
        return self.ranker.n_items

    def recommend(self, users: Users, k: int, *, deny: Ragged | None = None, among: Ragged | None = None) -> Answer:
        """The k best items of each user that the rules allow; exactly k where k are allowed.

        deny: rows of items to leave out. among: rows of the only items to consider. A row that no encoder could place
        is answered from the fallback, and its `source` says so.
        """
        if k < 1:
            raise RequestError(f"k must be at least 1, got {k}.")
        forbid = self._forbidden(users, deny)
        answer = self.ranker.top(users, k, forbid=forbid, among=among, available=self.available)
        rows = np.flatnonzero(answer.source == FALLBACK)
        order = self._fallback_scores() if len(rows) else np.empty(0, np.float32)
        size = max(1, _BLOCK_SCORES // max(1, self.n_items))
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            part = None if among is None else among.take(block)
            scores = np.repeat(order[None], len(block), axis=0)
            answer.ids[block], answer.scores[block] = best_allowed(scores, k, forbid.take(block), part, self.available)
        return answer

    def _forbidden(self, users: Users, deny: Ragged | None) -> Ragged:
        parts = [] if deny is None else [deny]
        if isinstance(self.seen, SeenPolicy):
            parts.append(self.seen.forbidden(users))
        elif self.seen == "exclude":
            parts.append(users.history)
        return beside(*parts) if parts else Ragged.empty(len(users))

    def _fallback_scores(self) -> F32:
        """float32 (n_items,): 1 for the first of the order, then 1/2, 1/3 ..."""
        scores = np.empty(self.n_items, np.float32)
        scores[self.fallback] = 1.0 / np.arange(1, self.n_items + 1)
        return scores
