"""Own most frequent: each user is answered what they had most often. The row to beat wherever people come
back."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recsys.arrays import F32, I32, I64, Bool, Ragged
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import FALLBACK, HISTORY
from recsys.encoders.users import Users
from recsys.models.base import Learner
from recsys.models.popularity import popularity_scores
from recsys.progress import Progress, Step, silent
from recsys.retrieval.ranker import Answer, order_of, rank_in_blocks
from recsys.training.loop import ALONE, Aids


class OwnHistorySettings(Settings):
    """OwnHistory has nothing to set."""


class OwnHistory(Learner):
    """Ranks a user's own items by how often they had them, then the last one first, then the rest by
    popularity.

    Weighted events count with their weights, as they do for every learner: duplicates that were merged into
    one event with their sum still say how often. It goes with the seen policies `allow` and `cooldown_days`;
    under `exclude` nothing but popularity is left of it.
    """

    Settings = OwnHistorySettings
    keeps_vectors: ClassVar[bool] = False
    knows_taste: ClassVar[bool] = False

    def __init__(self, settings: OwnHistorySettings | None = None) -> None:
        self.settings = settings or OwnHistorySettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> "OwnHistoryRanker":
        """A ranker that needs the history alone, and the popularity of the training events for the rest."""
        scores = popularity_scores(train.interactions, None)
        progress(Step("counting events", 1, 1))
        return OwnHistoryRanker(order_of(scores), np.asarray(scores > 0))


@dataclass(frozen=True, eq=False)
class OwnHistoryRanker:
    """order: int32 (n_items,), every item by popularity. trained: (n_items,), the items with events.

    A score says the place, not a probability: 1 to m for the m items of the user's own, below 1 for the
    others.
    """

    order: I32
    trained: Bool

    @property
    def n_items(self) -> int:
        return len(self.order)

    @property
    def folds_in(self) -> bool:
        return True

    @property
    def explains(self) -> bool:
        return False

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
        source = np.where(users.history.lengths > 0, HISTORY, FALLBACK).astype(np.int8)
        return rank_in_blocks(self._scores, users, source, k, self.n_items, forbid, among, available)

    def _scores(self, users: Users) -> F32:
        rest = np.empty(self.n_items, np.float32)
        rest[self.order] = 1.0 / np.arange(2, self.n_items + 2)
        scores = np.repeat(rest[None], len(users), axis=0)
        past = users.history
        events = past.items.row_of_value() * self.n_items + past.items.values
        pairs, reversed_last, pair = np.unique(events[::-1], return_index=True, return_inverse=True)
        counts = np.bincount(pair.ravel(), None if past.weight is None else past.weight[::-1], len(pairs))
        row = pairs // self.n_items
        order = np.lexsort(
            (-reversed_last, counts, row)
        )  # within a row: least first, of equals the oldest first
        starts = np.searchsorted(row[order], row[order])
        scores.ravel()[pairs[order]] = 1 + np.arange(len(pairs)) - starts
        return scores

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        """None: a place in an order is not a sum."""
        return None
