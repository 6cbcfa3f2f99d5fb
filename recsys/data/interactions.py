"""Who did what, when: frozen, time-ordered arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.arrays import F32, I32, I64, Array, Ragged
from recsys.history import DTYPES, EventColumns, Histories
from recsys.matrix import on_disk

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True, eq=False)
class Interactions(EventColumns):
    """Events in the order in which they happened; without times, in the order of the file.

    user, item: int32 (n,), below `n_users` and `n_items`; beside them the columns of events, whose codes of
    types index `event_names`. folder: where what is made of the events is kept too, where they lie on disk
    (`recsys.matrix.on_disk`); None = in memory. Build with `ordered`, which sorts.
    """

    user: I32
    item: I32
    n_users: int
    n_items: int
    event_names: tuple[str, ...] = field(default=())
    folder: Path | None = None

    @classmethod
    def in_order(
        cls,
        user: Array,
        item: Array,
        *,
        n_users: int,
        n_items: int,
        event_names: tuple[str, ...] = (),
        **columns: Array | None,
    ) -> "Interactions":
        """Sorted by time; events of the same second keep their order. columns: those of `EventColumns`, by
        name."""
        time = columns.get("time")
        order = slice(None) if time is None else np.argsort(time, kind="stable")
        ordered: Any = {
            name: None if one is None else one[order].astype(DTYPES[name]) for name, one in columns.items()
        }
        return cls(
            user[order].astype(np.int32),
            item[order].astype(np.int32),
            n_users,
            n_items,
            event_names,
            **ordered,
        )

    def __len__(self) -> int:
        return len(self.user)

    def where(self, chosen: Array | slice) -> "Interactions":
        """The events that a mask (n,) or a slice chooses, in the same order and with the same counts."""
        folder = self.folder

        def choose(column: Array) -> Array:
            if folder is None or isinstance(chosen, slice):
                return column[chosen]
            return on_disk.take_where(folder, column, chosen)

        return replace(self, user=choose(self.user), item=choose(self.item), **self.map_columns(choose))

    @cached_property
    def weights(self) -> F32:
        """float32 (n,): the weight of each event, 1 where none is given."""
        return np.ones(len(self), np.float32) if self.weight is None else self.weight

    def matrix(self) -> "sparse.csr_array":
        """float32 (n_users, n_items): the sum of a pair's weights, items ascending within a row. Built
        once."""
        return self._matrix

    @cached_property
    def _matrix(self) -> "sparse.csr_array":
        from scipy import sparse  # loaded where used: to check data takes no training extra

        if self.folder is not None:
            past = self.histories()
            return on_disk.matrix(self.folder, past.items, past.weight, self.n_items)
        shape = (self.n_users, self.n_items)
        matrix = sparse.coo_array((self.weights, (self.user, self.item)), shape=shape).tocsr()
        matrix.sum_duplicates()
        return matrix

    def histories(self, length: int | None = None) -> Histories:
        """Each user's events, oldest first; of the last `length` if given. All of them are sorted once."""
        if length is None:
            return self._histories
        return self._sorted(length)

    @cached_property
    def _histories(self) -> Histories:
        if self.folder is None:
            return self._sorted()
        columns = self.columns()
        offsets, (items, *beside) = on_disk.by_row(
            self.folder, self.user, self.n_users, [self.item, *columns.values()]
        )
        return Histories(Ragged(offsets, items), **dict(zip(columns, beside, strict=True)))

    def _sorted(self, length: int | None = None) -> Histories:
        order = np.argsort(self.user, kind="stable")
        ends = np.cumsum(np.bincount(self.user, minlength=self.n_users))
        if length is not None:
            order = order[np.arange(len(order)) >= ends[self.user[order]] - length]
        events = self.where(order)
        return Histories(Ragged.from_pairs(events.user, events.item, self.n_users), **events.columns())

    def type_weights(self) -> dict[str, float]:
        """The weight of each event type all of whose events weigh the same; types without events are left
        out."""
        if self.event is None or self.weight is None:
            return {}
        low, high = (np.full(len(self.event_names), limit, np.float32) for limit in (np.inf, -np.inf))
        for part in on_disk.chunks(len(self)):
            np.minimum.at(low, self.event[part], self.weight[part])
            np.maximum.at(high, self.event[part], self.weight[part])
        return {
            name: float(low[code]) for code, name in enumerate(self.event_names) if low[code] == high[code]
        }

    def item_counts(self, since: int | None = None) -> I64:
        """int64 (n_items,): events of each item, from unix second `since` on."""
        return on_disk.count(self.item if since is None else self.item[self._times(since)], self.n_items)

    def user_counts(self) -> I64:
        """int64 (n_users,): events of each user."""
        return on_disk.count(self.user, self.n_users)

    def _times(self, since: int) -> slice:
        if self.time is None:
            raise ValueError("these interactions have no times")
        return slice(int(np.searchsorted(self.time, since)), None)

    def summary(self) -> Mapping[str, int | None]:
        """Counts and the first and last second."""
        known = self.time is not None and len(self) > 0
        return {
            "events": len(self),
            "users": int(np.count_nonzero(self.user_counts())),
            "items": int(np.count_nonzero(self.item_counts())),
            "first": int(self.time[0]) if known and self.time is not None else None,
            "last": int(self.time[-1]) if known and self.time is not None else None,
        }
