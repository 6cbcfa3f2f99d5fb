"""What is known of the users that a question is about."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from recsys.arrays import F32, I32, I64, Array, Bool, Ragged
from recsys.history import Histories

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Users:
    """n users: who they are, as far as known, and what they did.

    index: int32 (n,), the row of a known user in the encoder's table; -1 = unknown, encode from the rest.
    history: n rows of stored and new events, merged. now: int64 (n,) unix seconds, or None. features: what is
    known of them, raw columns of n rows, transformed by the encoder; None = what the encoder knows. domain:
    int32 (n,), the code of the domain that is asked for, -1 = none; None = nobody asks for one. fresh: (n,)
    whose history holds more than that row has learned from, so that an encoder that folds in takes the
    history in its place; None = nobody's.
    """

    index: I32
    history: Histories
    now: I64 | None = None
    features: "pa.Table | None" = None
    domain: I32 | None = None
    fresh: Bool | None = None

    def __post_init__(self) -> None:
        if self.history.rows != len(self.index):
            raise ValueError(f"Users: index has {len(self.index)} rows, history has {self.history.rows}")

    @classmethod
    def of_rows(cls, index: Array, history: Ragged | Histories, now: I64 | None = None) -> "Users":
        """Users of the training set, with what they did; a Ragged holds the items of histories without
        columns."""
        past = history if isinstance(history, Histories) else Histories(history)
        return cls(np.asarray(index, np.int32), past, now)

    @classmethod
    def unknown(cls, history: Ragged | Histories, now: I64 | None = None) -> "Users":
        """Users known by their histories alone."""
        return cls.of_rows(np.full(history.rows, -1, np.int32), history, now)

    @property
    def by_row(self) -> Bool:
        """(n,): whom the row of the table says enough of."""
        known = self.index >= 0
        return known if self.fresh is None else known & ~self.fresh

    def with_events(self, mask: Bool) -> "Users":
        """The same users with only those events (nnz,) of their histories where `mask` is true."""
        return self if mask.all() else replace(self, history=self.history.keep(mask))

    def __len__(self) -> int:
        return len(self.index)

    def weigh_events(self, half_life: float | None = None) -> F32:
        """float32 (nnz,): what each event of the histories counts: its weight, 1 where there is none.

        half_life: so many events later in the same history it counts half; None = all alike.
        """
        weight = self.history.weight
        counted: F32 = np.ones(len(self.history), np.float32) if weight is None else weight
        return counted if half_life is None else counted * recency(self.history.items, half_life)

    def take(self, rows: Array) -> "Users":
        """The users at these rows (m,), in this order."""
        return Users(
            self.index[rows],
            self.history.take(rows),
            None if self.now is None else self.now[rows],
            None if self.features is None else self.features.take(rows),
            None if self.domain is None else self.domain[rows],
            None if self.fresh is None else self.fresh[rows],
        )


def recency(history: Ragged, half_life: float) -> F32:
    """float32 (nnz,): 1 for the last event of each history, and half as much with each `half_life` events
    before it."""
    later = np.repeat(history.offsets[1:], history.lengths) - 1 - np.arange(len(history.values))
    return np.exp2(-later / half_life).astype(np.float32)


_ONE = np.ones(1, bool)


def learned_rows(table: F32 | None, users: Users, dim: int) -> tuple[F32, Bool]:
    """float32 (n, dim): the rows in a table of the users who are known by them, zeros elsewhere; and (n,) of
    whom."""
    if table is not None and len(users) == 1 and users.fresh is None and (row := int(users.index[0])) >= 0:
        own = table[row : row + 1].copy()  # callers write into it
        return own, _ONE if own.any() else ~_ONE
    if table is None:
        return np.zeros((len(users), dim), np.float32), np.zeros(len(users), bool)
    if (known := users.by_row).all():
        vectors = table[users.index]
    else:
        vectors = np.zeros((len(users), dim), np.float32)
        vectors[known] = table[users.index[known]]
    return vectors, np.asarray(vectors.any(axis=1))
