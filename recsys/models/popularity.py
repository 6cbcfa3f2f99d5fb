"""Popularity: the same list for everyone. The row that every table carries, and the fallback of every
service."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.arrays import F32, F64, I32
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.encoders.encoder import Constant
from recsys.errors import ModelError
from recsys.history import DAY_S
from recsys.models.base import Learner
from recsys.models.search import Space, Span
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import order_of
from recsys.training.loop import ALONE, Aids

_STEADY = 3.0  # events that every item is taken to have had as ever, besides those counted


class PopularitySettings(Settings):
    """Settings of Popularity."""

    days: float | None = Field(
        None, gt=0, description="count the last so many days of the training events; none = all"
    )


class Popularity(Learner):
    """Orders items by their number of training events, as vectors of dim 1.

    A vector holds the item's place from below (n_items for the most popular) and not the count: places are
    exact in float32, where the fractions that break ties between counts would drown.
    """

    Settings = PopularitySettings
    search: ClassVar[Space] = {"days": Span(1.0, 1_000.0, log=True)}
    knows_taste: ClassVar[bool] = False

    def __init__(self, settings: PopularitySettings | None = None) -> None:
        self.settings = settings or PopularitySettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors (n_items, 1), zero for items without events. Raises ModelError on `days` without
        timestamps."""
        scores = popularity_scores(train.interactions, self.settings.days)
        places = np.zeros((train.n_items, 1), np.float32)
        places[order_of(scores), 0] = np.arange(train.n_items, 0, -1)
        places[scores == 0] = 0
        progress(Step("counting events", 1, 1))
        return Embeddings(places, Constant(np.ones(1, np.float32)))


def popularity_scores(events: Interactions, days: float | None) -> F64:
    """float64 (n_items,): an item's events in the last `days` before the last event, ties by its events in
    all time.

    The latter count as a fraction below one, so an item with any event at all scores above an item with none.
    """
    all_time = events.item_counts()
    if days is None:
        return all_time.astype(np.float64)
    if events.time is None:
        raise ModelError(
            "popularity with days needs timestamps, and these events have none; leave days unset."
        )
    recent = events.item_counts(since=int(events.time[-1] - days * DAY_S) if len(events) else 0)
    scores: F64 = recent + all_time / (len(events) + 1)
    return scores


def trend(events: Interactions, half_life_days: float | None) -> F32:
    """float32 (n_items,): the logarithm of how much more popular an item is at the last event than in all
    time.

    Events count half for every `half_life_days` before the last one, and so does the share of them that the
    item would have by its count of all time; a few events are added to both. None: zeros. Raises ModelError
    without timestamps.
    """
    if half_life_days is None:
        return np.zeros(events.n_items, np.float32)
    if events.time is None:
        raise ModelError("trend_days needs timestamps, and these events have none; leave it unset.")
    age = (events.time[-1:] - events.time) / (half_life_days * DAY_S)
    recent = np.bincount(events.item, 0.5**age, minlength=events.n_items)
    expected = events.item_counts() * (recent.sum() / max(len(events), 1))
    rising: F32 = np.log((recent + _STEADY) / (expected + _STEADY)).astype(np.float32)
    return rising


def fallback_order(events: Interactions, days: float | None) -> I32:
    """int32 (n_items,): every item by `popularity_scores`, of all time where there are no timestamps."""
    return order_of(popularity_scores(events, days if events.time is not None else None))
