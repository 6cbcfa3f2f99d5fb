"""A bundle that is asked and answers in the numbering of a data set other than its own."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from recsys.arrays import I32, Ragged
from recsys.bundle.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.encoders.users import Users
from recsys.ids import IdMap
from recsys.retrieval.ranker import Answer


@dataclass(frozen=True, eq=False)
class BundleInDataIds:
    """A bundle that is asked and answers in the numbering of a data set.

    What of a user's history the bundle does not know is left out of the question; an item of its answer that
    the data do not know becomes the number of the data's items: it keeps its place and is never a hit.
    """

    bundle: Bundle
    data: Dataset

    @property
    def n_items(self) -> int:
        return self.bundle.recommender.n_items

    @cached_property
    def item(self) -> I32:
        """int32 (n_items of the data,): the bundle's index of each item, -1 where it has none."""
        return _mapping(self.data.item_ids, self.bundle.item_ids)

    @cached_property
    def back(self) -> I32:
        """int32 (n_items of the bundle + 1,): the data's index of each item; the last place is for the pad,
        -1."""
        back = np.full(len(self.bundle.item_ids) + 1, self.data.n_items, np.int32)
        known = np.flatnonzero(self.item >= 0)
        back[self.item[known]] = known
        back[-1] = -1
        return back

    @cached_property
    def person(self) -> I32:
        """int32 (n_users of the data,): the bundle's index of each user, -1 where it has none."""
        return _mapping(self.data.user_ids, self.bundle.user_ids)

    @cached_property
    def event(self) -> I32:
        """int32: the bundle's code of each event type of the data, -1 for one that it does not know; the last
        = -1."""
        names = self.bundle.event_names
        own = self.data.interactions.event_names
        return np.array([*(names.index(name) if name in names else -1 for name in own), -1], np.int32)

    def recommend(self, users: Users, k: int, *, among: Ragged | None = None) -> Answer:
        answer = self.bundle.recommender.recommend(
            self.translate(users), k, among=None if among is None else self._items(among)
        )
        return Answer(self.back[answer.ids].astype(np.int64), answer.scores, answer.source)

    def translate(self, users: Users) -> Users:
        """The users in the bundle's numbering, with weights only where it serves by weights."""
        past = users.history
        items = Ragged(past.items.offsets, self.item[past.items.values])
        past = replace(past, items=items) if self.bundle.weighted else replace(past, items=items, weight=None)
        if past.event is not None:
            past = replace(past, event=self.event[past.event].astype(np.int8))
        known = np.where(users.index >= 0, self.person[users.index], -1).astype(np.int32)
        return Users(known, past.keep(items.values >= 0), users.now, fresh=users.fresh)

    def _items(self, rows: Ragged) -> Ragged:
        items = self.item[rows.values]
        return Ragged(rows.offsets, items).keep(items >= 0)


def _mapping(source: IdMap, target: IdMap) -> I32:
    """int32 (n,): the target's index of each id of the source, -1 where it has none."""
    return target.indices(list(source))
