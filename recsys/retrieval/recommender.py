"""The one path from users to items: offline evaluation and the service both build exactly this."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from recsys.arrays import F32, I32, Bool, Ragged, beside
from recsys.encoders.encoder import FALLBACK
from recsys.encoders.users import Users
from recsys.errors import RequestError
from recsys.retrieval.availability import Availability
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.index import Index
from recsys.retrieval.ranker import Answer, Ranker, TrainedRanker, best_allowed, block_rows
from recsys.retrieval.seen import SeenPolicy, SeenSettings, seen_policy
from recsys.retrieval.topk import top_shared
from recsys.retrieval.vector_ranker import VectorRanker, ranker_of

SEEN_POLICIES = ("exclude", "allow")


@dataclass(frozen=True, eq=False)
class Recommender:
    """A ranker with the rules around it.

    fallback: int32 (n_items,), every item, best first: the answer where the ranker cannot say. seen:
    "exclude" keeps the items of a user's history out of their answer, "allow" does not, a SeenPolicy decides
    by time, event type and domain; an item of an event of weight below 0, which says "not this", never comes.
    available: (n_items,), false for items that nobody can get for want of a vector, or None. availability:
    which of the others may be answered, and when; None = all, always.
    """

    ranker: Ranker
    fallback: I32
    seen: str | SeenPolicy = "exclude"
    available: Bool | None = None
    availability: Availability | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.seen, SeenPolicy) and self.seen not in SEEN_POLICIES:
            raise ValueError(f"seen must be one of {SEEN_POLICIES}, got {self.seen!r}")
        if len(self.fallback) != self.ranker.n_items:
            raise ValueError(
                f"fallback orders {len(self.fallback)} items, the ranker has {self.ranker.n_items}"
            )

    @property
    def n_items(self) -> int:
        return self.ranker.n_items

    def recommend(
        self, users: Users, k: int, *, deny: Ragged | None = None, among: Ragged | None = None
    ) -> Answer:
        """The k best items of each user that the rules allow; exactly k where k are allowed.

        deny: rows of items to leave out. among: rows of the only items to consider. A row that no encoder
        could place is answered from the fallback, and its `source` says so.
        """
        if k < 1:
            raise RequestError(f"k must be at least 1, got {k}.")
        forbid = self._forbid_items(users, deny)
        if self._offered is None:
            return self._answer_alike(users, k, forbid, among, self.available)
        shape = (len(users), k)
        whole = Answer(np.empty(shape, np.int64), np.empty(shape, np.float32), np.empty(len(users), np.int8))
        for rows, available in self._offered.by_moment(users.now, len(users)):
            if len(rows) == len(users):
                return self._answer_alike(users, k, forbid, among, available)
            part = None if among is None else among.take(rows)
            answer = self._answer_alike(users.take(rows), k, forbid.take(rows), part, available)
            whole.ids[rows], whole.scores[rows], whole.source[rows] = answer.ids, answer.scores, answer.source
        return whole

    def exactly(self) -> "Recommender":
        """The same without what an index may miss: for explanations, and for gates."""
        ranker = self.ranker
        return replace(self, ranker=ranker.exactly()) if isinstance(ranker, VectorRanker) else self

    def available_at(self, now: int | None) -> Bool | None:
        """(n_items,): which items anybody may be answered at a unix second; None = all."""
        return self.available if self._offered is None else self._offered.at(now)

    @cached_property
    def _offered(self) -> Availability | None:
        """The availability, in which what has no vector is hidden."""
        if self.availability is None or self.available is None:
            return self.availability
        shown = self.availability.shown
        return replace(self.availability, shown=self.available if shown is None else shown & self.available)

    def _answer_alike(
        self, users: Users, k: int, forbid: Ragged, among: Ragged | None, available: Bool | None
    ) -> Answer:
        """The answer under rules that are the same for all these users."""
        answer = self.ranker.top(users, k, forbid=forbid, among=among, available=available)
        if not (lacking := answer.source == FALLBACK).any():
            return answer
        rows = np.flatnonzero(lacking)
        scores = self._fallback_scores()
        if among is None:
            order = self.fallback if available is None else self.fallback[available[self.fallback]]
            answer.ids[rows], answer.scores[rows] = top_shared(order, scores, k, forbid.take(rows))
            return answer
        size = block_rows(self.n_items)
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            alike = np.repeat(scores[None], len(block), axis=0)
            best = best_allowed(alike, k, forbid.take(block), among.take(block), available)
            answer.ids[block], answer.scores[block] = best
        return answer

    def _forbid_items(self, users: Users, deny: Ragged | None) -> Ragged:
        parts = [] if deny is None else [deny]
        if isinstance(self.seen, SeenPolicy):
            parts.append(self.seen.forbidden_items(users))
        elif self.seen == "exclude":
            parts.append(users.history.items)
        weight = users.history.weight
        if self.seen != "exclude" and weight is not None:
            parts.append(users.history.items.keep(weight < 0))
        return beside(*parts) if parts else Ragged.empty(len(users))

    def _fallback_scores(self) -> F32:
        """float32 (n_items,): 1 for the first of the order, then 1/2, 1/3 ..."""
        scores = np.empty(self.n_items, np.float32)
        scores[self.fallback] = 1.0 / np.arange(1, self.n_items + 1)
        return scores


def recommender_of(
    learned: Embeddings | TrainedRanker,
    fallback: I32,
    seen: str | Mapping[str, Any] | SeenSettings,
    index: Index | None = None,
    *,
    event_names: tuple[str, ...] = (),
    domains: Mapping[str, I32] | None = None,
    availability: Availability | None = None,
) -> Recommender:
    """The recommender of evaluation (no index) and of a loaded bundle (its index): the same rules around
    both.

    event_names, domains: the event types and the items by domain that a seen policy may name. availability:
    which items may be answered, and when.
    """
    policy = seen_policy(seen, len(fallback), event_names, domains)
    return Recommender(ranker_of(learned, index), fallback, policy, learned.trained, availability)
