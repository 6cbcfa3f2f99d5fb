"""Where what stands in the table of a tower, and the order in which a bag adds it up."""

from typing import NamedTuple, Protocol

import numpy as np

from recsys.arrays import F32, I8, Array, Ragged
from recsys.encoders.towers.inputs import Inputs, places_from_end

PLAIN = -1


class Summands(NamedTuple):
    """What a bag adds up for n entities. rows: of its table; weight: float32 and place: int8, both (nnz,)
    beside them; dense: float32 (n, numbers).

    place: -1 for what weighs `weight`; of events of a history the power of two of their places from its end,
    for which a weight is learned. The weights of a history are then divided by the root of their sum."""

    rows: Ragged
    weight: F32
    place: I8
    dense: F32

    def take(self, which: slice) -> "Summands":
        """Those of a slice of the entities."""
        offsets = self.rows.offsets[which.start : which.stop + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        rows = Ragged(offsets - offsets[0], self.rows.values[inside])
        return Summands(rows, self.weight[inside], self.place[inside], self.dense[which])


class Layout(Protocol):
    """Where what stands in a table; each part of the inputs has rows of its own."""

    @property
    def features_at(self) -> int:
        """The row of the first feature."""

    def join(self, inputs: Inputs) -> Summands:
        """All parts as one row of summands for each entity."""


class ItemLayout(NamedTuple):
    """The rows of n_items items, one for the unknown, features."""

    n_items: int

    @property
    def features_at(self) -> int:
        return self.n_items + 1

    def join(self, inputs: Inputs) -> Summands:
        """The row of the item, then its features."""
        return _together([_own(inputs, self.n_items)], inputs, self.features_at)


class UserLayout(NamedTuple):
    """Where what stands in the table of the user tower: rows of known users, one for the unknown, items of
    histories, one for the empty history, features. n_users, n_items: 0 where that part is not used.

    ordered: whether places in a history count. longest: events of a history that count, from its end."""

    n_users: int
    n_items: int
    ordered: bool
    longest: int

    @property
    def items_at(self) -> int:
        return self.n_users + 1

    @property
    def features_at(self) -> int:
        return self.items_at + self.n_items + 1

    def join(self, inputs: Inputs) -> Summands:
        """The row of the person, then the history, oldest first, or the row of the empty one, then the
        features: in this order, since a sum of floats depends on it."""
        parts = [_own(inputs, self.n_users)]
        if inputs.history is not None:
            past = inputs.history.histories()
            counted = np.ones(len(past), np.float32) if past.weight is None else past.weight
            later = places_from_end(past.items)
            powers = np.log2(np.arange(1, later.max(initial=0) + 2)).astype(np.int8)
            place = powers[later] if self.ordered else np.zeros(len(later), np.int8)
            parts.append(
                (Ragged(past.items.offsets, past.items.values + np.int32(self.items_at)), counted, place)
            )
            empty = np.flatnonzero(past.lengths == 0)
            nothing = np.full(len(empty), self.items_at + self.n_items, np.int32)
            parts.append(_plain(Ragged.from_pairs(empty, nothing, len(inputs))))
        return _together(parts, inputs, self.features_at)


_Part = tuple[Ragged, F32, I8]


def _own(inputs: Inputs, unknown: int) -> _Part:
    """The row of each entity's own, below `unknown`, or that of the unknown."""
    row = np.where((inputs.row >= 0) & (inputs.row < unknown), inputs.row, unknown)
    return _plain(Ragged(np.arange(len(row) + 1, dtype=np.int64), row.astype(np.int32)))


def _plain(rows: Ragged, weight: F32 | None = None) -> _Part:
    """Rows without a place, that weigh 1 unless given."""
    n = len(rows.values)
    return rows, np.ones(n, np.float32) if weight is None else weight, np.full(n, PLAIN, np.int8)


def _together(parts: list[_Part], inputs: Inputs, features_at: int) -> Summands:
    """The rows of all parts, entity by entity, the features last."""
    dense = np.zeros((len(inputs), 0), np.float32)
    if inputs.features is not None:
        named = inputs.features.rows
        parts = [
            *parts,
            _plain(Ragged(named.offsets, named.values + np.int32(features_at)), inputs.features.weight),
        ]
        dense = inputs.features.dense
    if len(parts) == 1:
        return Summands(*parts[0], dense)
    offsets = np.sum([rows.offsets for rows, _, _ in parts], axis=0)
    columns: list[Array] = [np.empty(offsets[-1], kind) for kind in (np.int32, np.float32, np.int8)]
    free = offsets[:-1].copy()
    for rows, weight, place in parts:
        at = np.repeat(free - rows.offsets[:-1], rows.lengths) + np.arange(len(rows.values))
        for column, values in zip(columns, (rows.values, weight, place), strict=True):
            column[at] = values
        free += rows.lengths
    values, weight, place = columns
    return Summands(Ragged(offsets, values), weight, place, dense)
