"""What is known of the users that a question is about."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from recsys.arrays import F32, I8, I32, I64, Array, Bool, Ragged
from recsys.history import Histories


@dataclass(frozen=True, eq=False)
class Users:
    """n users: who they are, as far as known, and what they did.

    index: int32 (n,), the row of a known user in the encoder's table; -1 = unknown, encode from the rest.
    fresh: (n,) whose history holds more than that row has learned from, so that an encoder that folds in takes the
    history in its place; None = nobody's.
    history: items oldest first, already merged from stored and new events.
    time (unix seconds), weight, event: parallel to `history.values`, or None. now: int64 (n,) unix seconds, or None.
    features: what is known of them, raw columns of n rows, transformed by the encoder; None = what the encoder knows.
    """

    index: I32
    history: Ragged
    time: I64 | None = None
    weight: F32 | None = None
    event: I8 | None = None
    now: I64 | None = None
    features: pa.Table | None = None
    fresh: Bool | None = None

    def __post_init__(self) -> None:
        if self.history.rows != len(self.index):
            raise ValueError(f"Users: index has {len(self.index)} rows, history has {self.history.rows}")

    @classmethod
    def of(cls, index: Array, past: Histories, now: I64 | None = None) -> "Users":
        """Users with their histories and all that stands beside these."""
        return cls(np.asarray(index, np.int32), past.items, past.time, past.weight, past.event, now)

    @classmethod
    def known(cls, index: Array, history: Ragged | Histories) -> "Users":
        """Users of the training set, with what they have seen."""
        return cls.of(index, history if isinstance(history, Histories) else Histories(history))

    @classmethod
    def unknown(cls, history: Ragged | Histories) -> "Users":
        """Users known by their histories alone."""
        items = history.items if isinstance(history, Histories) else history
        return cls.known(np.full(items.rows, -1, np.int32), history)

    @property
    def by_row(self) -> Bool:
        """(n,): whom the row of the table says enough of."""
        known = self.index >= 0
        return known if self.fresh is None else known & ~self.fresh

    @property
    def past(self) -> Histories:
        """The histories with what stands beside them."""
        return Histories(self.history, self.time, self.weight, self.event)

    def of_items(self, n_items: int) -> "Users":
        """The same users without events of items from `n_items` on: an encoder that learned from fewer ignores them."""
        inside = self.history.values < n_items
        if inside.all():
            return self
        past = self.past.keep(inside)
        return replace(self, history=past.items, time=past.time, weight=past.weight, event=past.event)

    def __len__(self) -> int:
        return len(self.index)

    def counted(self, half_life: float | None = None) -> F32:
        """float32 (nnz,): what each event of the histories counts: its weight, 1 where there is none.

        half_life: so many events later in the same history it counts half; None = all alike.
        """
        counted: F32 = np.ones(len(self.history.values), np.float32) if self.weight is None else self.weight
        return counted if half_life is None else counted * recency(self.history, half_life)

    def take(self, rows: Array) -> "Users":
        """The users at these rows (m,), in this order."""
        found = Users.of(self.index[rows], self.past.take(rows), None if self.now is None else self.now[rows])
        features = None if self.features is None else self.features.take(pa.array(rows))
        return replace(found, features=features, fresh=None if self.fresh is None else self.fresh[rows])


def recency(history: Ragged, half_life: float) -> F32:
    """float32 (nnz,): 1 for the last event of each history, and half as much with each `half_life` events before it."""
    later = np.repeat(history.offsets[1:], history.lengths) - 1 - np.arange(len(history.values))
    return np.exp2(-later / half_life).astype(np.float32)
