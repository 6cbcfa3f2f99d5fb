"""Items that came after training, in a history: an encoder without an input for one takes the learned item
most alike.

Solve needs none: its inputs are the item vectors, and a new item has one.
"""

from dataclasses import replace
from functools import cached_property

import numpy as np

from recsys.arrays import F32, Bool
from recsys.encoders.users import Users
from recsys.history import Histories


class StandIns:
    """Which items of histories count, and as which learned one.

    learned: (n_learned,) which items the encoder has an input for. items: float32 (n_items, dim), the vectors
    of these and, after them, of those that were added; None = none was.
    """

    def __init__(self, learned: Bool, items: F32 | None = None) -> None:
        self.learned, self.items = learned, items
        self._found: dict[int, int] = {}  # by the number of an item that was added

    def usable(self, histories: Histories) -> Bool:
        """(nnz,): the events of weight whose item has an input, or a vector by which another one stands
        in."""
        usable = histories.learnable(len(self._counts))
        usable[usable] = self._counts[histories.items.values[usable]]
        return usable

    def learned_items(self, users: Users) -> Users:
        """The same users, with an item that was added replaced by the learned one whose vector points most
        its way."""
        values = users.history.items.values
        added = values >= len(self.learned)
        if not added.any():
            return users
        different, place = np.unique(values[added], return_inverse=True)
        replaced = values.copy()
        replaced[added] = np.array([self._most_alike(int(item)) for item in different], np.int32)[
            place.ravel()
        ]
        return replace(
            users, history=replace(users.history, items=users.history.items._replace(values=replaced))
        )

    @cached_property
    def _counts(self) -> Bool:
        """(n_items,): which items count."""
        if self.items is None or len(self.items) <= len(self.learned):
            return self.learned
        added = self.items[len(self.learned) :].any(axis=1) & bool((self._lengths > 0).any())
        return np.concatenate([self.learned, added])

    @cached_property
    def _lengths(self) -> F32:
        """float32 (n_learned,): the lengths of the vectors of those that may stand in, 0 for the others."""
        assert self.items is not None
        lengths: F32 = np.linalg.norm(self.items[: len(self.learned)], axis=1) * self.learned
        return lengths

    def _most_alike(self, item: int) -> int:
        if item not in self._found:
            assert self.items is not None
            lengths = self._lengths
            cosines = (
                self.items[: len(lengths)] @ self.items[item] / np.where(lengths > 0, lengths, np.float32(1))
            )
            self._found[item] = int(np.where(lengths > 0, cosines, -np.inf).argmax())
        return self._found[item]
