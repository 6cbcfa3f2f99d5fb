"""The contract of rankers: from users to their best items; and what rankers share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from recsys.arrays import F32, F64, I8, I32, I64, Bool, Ragged
from recsys.encoders.encoder import FALLBACK
from recsys.encoders.users import Users
from recsys.retrieval.topk import top_k

_BLOCK_SCORES = 4 << 20  # scores computed at a time: 16 MiB of float32
# but of 64 users at least, which a product needs to be fast, within 128 MiB
_LEAST_ROWS, _MOST_SCORES = 64, 32 << 20


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

    @property
    def explains(self) -> bool:
        """Whether `contributions` are exact shares of the scores."""

    def top(
        self,
        users: Users,
        k: int,
        *,
        forbid: Ragged,
        among: Ragged | None = None,
        available: Bool | None = None,
    ) -> Answer:
        """The k best items of each user: exactly k where k are allowed, ties to the lower index.

        forbid: rows of items never to answer. among: if given, rows of the only items to answer. available:
        (n_items,) false for items that nobody gets. A user about whom the ranker cannot say anything gets
        source FALLBACK and -1s.
        """

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        """How much each event of one user's history adds to the scores of items `ids` (k,): float32 (k,
        history).

        The row of an item sums to its score where the ranker `explains`; else it is a part of it, or there is
        None.
        """


class TrainedRanker(Ranker, Protocol):
    """A Ranker that a learner ends in where it has no vectors: evaluated like any other, not exportable."""

    @property
    def trained(self) -> Bool:
        """(n_items,): which items it can rank."""


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
        best = best_allowed(scores_of(users.take(block)), k, forbid.take(block), part, available)
        ids[block], scores[block] = best
    return Answer(ids, scores, source)


def best_allowed(
    scores: F32, k: int, forbid: Ragged, among: Ragged | None, available: Bool | None
) -> tuple[I64, F32]:
    """`top_k` of float32 (n, n_items) scores after the rules; writes -inf into `scores` where they forbid an
    item."""
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
