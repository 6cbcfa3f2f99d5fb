"""Which items stand for all others in a step, and how likely each was to: what corrects a sampled softmax."""

from typing import Literal, NamedTuple

import numpy as np

from recsys.arrays import F64, I64, Array

Kind = Literal["all", "batch", "uniform", "popularity", "mixed"]


class Drawn(NamedTuple):
    """items: int64 (m,) distinct, ascending. chance: float64 (m,), that the item is among those of a step."""

    items: I64
    chance: F64


class Sampler:
    """Draws the negatives of a step among the items with events.

    all: every item, chance 1. batch: the items of the step's events. uniform, popularity: `count` draws with
    replacement, each item alike or by its events. mixed: batch and uniform together (Yang et al., "Mixed
    Negative Sampling for Learning Two-tower Neural Networks in Recommendations", WWW 2020 Companion).

    An item without events is no negative: what has never been on offer has not been passed over, and a new
    item's features would learn to be avoided.
    """

    def __init__(self, kind: Kind, count: int, events: Array, batch_size: int) -> None:
        """events: (n_items,) how many each item has."""
        self.kind, self.count, self.batch_size = kind, count, batch_size
        self.items = np.flatnonzero(events > 0)
        self.share = events[self.items] / events.sum()
        self._ends = np.cumsum(self.share)
        self._place = np.full(len(events), -1, np.int64)
        self._place[self.items] = np.arange(len(self.items))

    def draw(self, batch: Array, rng: np.random.Generator) -> Drawn:
        """batch: (b,) the items of the step's events."""
        n = len(self.items)
        if self.kind == "all":
            return Drawn(self.items, np.ones(n))
        places = [self._place[batch]] if self.kind in ("batch", "mixed") else []
        if self.kind in ("uniform", "mixed"):
            places.append(rng.integers(n, size=self.count))
        elif self.kind == "popularity":
            places.append(np.searchsorted(self._ends, rng.random(self.count), side="right").clip(max=n - 1))
        place = np.unique(np.concatenate(places))
        return Drawn(self.items[place], self._chance(place))

    def _chance(self, place: I64) -> F64:
        absent = np.ones(len(place))
        if self.kind in ("batch", "mixed"):
            absent *= (1 - self.share[place]) ** self.batch_size
        if self.kind in ("uniform", "mixed"):
            absent *= (1 - 1 / len(self.items)) ** self.count
        if self.kind == "popularity":
            absent *= (1 - self.share[place]) ** self.count
        return 1 - absent
