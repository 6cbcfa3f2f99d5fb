"""What people did: events of each user in their order, the columns that events have, and two sources as
one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.arrays import F32, I8, I64, Array, Bool, Ragged

DAY_S = 86_400  # seconds
DUPLICATES = ("all", "first", "last", "sum")


DTYPES: dict[str, Any] = {"time": np.int64, "weight": np.float32, "event": np.int8}  # in the order of digests
_UNKNOWN = {"time": -1, "weight": 1, "event": -1}


@dataclass(frozen=True, eq=False, kw_only=True)
class EventColumns:
    """What is known of n events beside their users and items; None where it is known of none of them.

    time: int64 (n,) unix seconds UTC. weight: float32 (n,), 1 where there is none; an event of weight 0 was
    had but is not learned from, and one below 0 says "not this": its item is never answered again. event:
    int8 (n,) codes of event types, -1 = of unknown type.
    """

    time: I64 | None = None
    weight: F32 | None = None
    event: I8 | None = None

    def columns(self) -> dict[str, Any]:
        """The columns that there are, by name."""
        return {name: column for name in DTYPES if (column := getattr(self, name)) is not None}

    def map_columns(self, change: Callable[[Array], Array]) -> dict[str, Any]:
        """What a function makes of each column that there is, by name: the keyword arguments of another
        object."""
        return {name: change(column) for name, column in self.columns().items()}


@dataclass(frozen=True, eq=False)
class Histories(EventColumns):
    """The events of n users, one row for each, oldest first; the columns are parallel to `items.values`."""

    items: Ragged

    def __post_init__(self) -> None:
        for name, column in self.columns().items():
            if len(column) != len(self.items.values):
                raise ValueError(
                    f"histories of {len(self.items.values)} events have {len(column)} values of {name}"
                )

    @property
    def rows(self) -> int:
        """How many users there are."""
        return self.items.rows

    @property
    def lengths(self) -> I64:
        """int64 (rows,): how many events each user has."""
        return self.items.lengths

    def __len__(self) -> int:
        """How many events there are."""
        return len(self.items.values)

    def take(self, rows: Array) -> "Histories":
        """The rows with these numbers (n,), in this order."""
        at = self.items.positions(rows)
        return Histories(self.items.take(rows), **self.map_columns(lambda column: column[at]))

    def row(self, row: int) -> "Histories":
        """One row, without a copy."""
        start, stop = int(self.items.offsets[row]), int(self.items.offsets[row + 1])
        items = Ragged(np.array([0, stop - start]), self.items.values[start:stop])
        return Histories(items, **{name: column[start:stop] for name, column in self.columns().items()})

    def keep(self, mask: Bool) -> "Histories":
        """Only the events (nnz,) where `mask` is true; the number of rows stays."""
        return Histories(self.items.keep(mask), **self.map_columns(lambda column: column[mask]))

    def learnable(self, n_items: int) -> Bool:
        """(nnz,): the events that may be learned from: of weight, and of an item below `n_items`."""
        inside: Bool = self.items.values < n_items
        return inside if self.weight is None else inside & (self.weight > 0)

    def counting(self) -> "Histories":
        """Only the events of weight, whoever's numbers the items have."""
        return self if self.weight is None else self.keep(self.weight > 0)

    def empty(self, rows: int) -> "Histories":
        """So many rows without events, with the same columns."""
        return Histories(Ragged.empty(rows), **self.map_columns(lambda column: column[:0]))


def merged(stored: Histories, brought: Histories, duplicates: str = "all") -> Histories:
    """One row, oldest first, of one person's stored events and those of the brought ones that are new.

    Both have one row. The result has the columns of the stored events, and weights where either has any.
    Events of the same second stay in the order given, the stored ones first; those without a time come before
    all others. Of the brought events, an item at a time counts once for each type of event; one of unknown
    type is the same as any there. duplicates: which events of one item and type were learned from; the merged
    history keeps the same ones: `first`, `last`, or, under `sum`, the last with the sum of all, without
    brought ones that a stored sum holds already. Events that are not learned from all stay.
    """
    items, n = np.concatenate([stored.items.values, brought.items.values]), len(stored)
    whole = {name: np.concatenate([_fill_column(one, name) for one in (stored, brought)]) for name in DTYPES}
    kept = _new(items, whole["time"], whole["event"], n)
    kept = kept[np.argsort(whole["time"][kept], kind="stable")]
    if duplicates != "all":
        own = kept[whole["weight"][kept] > 0]
        still = _find_learned(items[own], whole["time"][own], whole["event"][own], own < n, duplicates)
        gone, own = own[~still], own[still]
        if duplicates == "sum" and len(own):
            pairs = items[own].astype(np.int64) * 256 + whole["event"][own]
            places, total = counted_events(pairs, duplicates, whole["weight"][own])
            whole["weight"][own[places]] = total
            gone = np.append(gone, np.delete(own, places))
        kept = kept[~np.isin(kept, gone)]
    weighted = brought.weight is not None or bool((whole["weight"][kept] != 1).any())
    names = [*stored.columns(), *(["weight"] if stored.weight is None and weighted else [])]
    return Histories(Ragged.of([items[kept]]), **{name: whole[name][kept] for name in names})


def _fill_column(one: Histories, name: str) -> Array:
    """A column (n,) of histories, with the value that stands for unknown where there is none."""
    column: Array | None = getattr(one, name)
    return np.full(len(one), _UNKNOWN[name], DTYPES[name]) if column is None else column


def _new(items: Array, times: Array, types: Array, stored: int) -> Array:
    """Ascending places: the first `stored` events, and of the others each item at a time once for each
    type."""
    fresh = items[stored:].tolist()
    if len(set(fresh)) == len(fresh) and not set(fresh) & set(items[:stored].tolist()):
        return np.arange(len(items))
    triples = np.stack([items.astype(np.int64), times, types], axis=1)
    _, pair = np.unique(triples[:, :2], axis=0, return_inverse=True)
    typed = np.bincount(pair.ravel(), types >= 0) > 0
    _, each = np.unique(triples, axis=0, return_index=True)
    new = each[~(typed[pair.ravel()[each]] & (types[each] < 0))]
    return np.union1d(np.arange(stored), new)


def _find_learned(items: Array, times: Array, types: Array, stored: Bool, duplicates: str) -> Bool:
    """Which of the events (n,), oldest first, training would have kept of each item and type."""
    pair = items.astype(np.int64) * 256 + types  # a type is an int8
    kept = np.zeros(len(items), bool)
    if duplicates != "sum":
        kept[counted_events(pair, duplicates)[0]] = True
        return kept
    _, pair = np.unique(pair, return_inverse=True)
    until = np.full(pair.max(initial=0) + 1, np.iinfo(np.int64).min)
    np.maximum.at(until, pair[stored], times[stored])
    return stored | (times > until[pair])


def counted_events(keys: I64, duplicates: str, weights: F32 | None = None) -> tuple[I64, F32 | None]:
    """The one event of each key that counts: int64 (m,) ascending places, and float32 (m,) what it weighs.

    The rule of training (`prepare.duplicates`) and of a request that brings events. keys: int64 (n,), equal
    for events that are the same but for their time, oldest first. duplicates: `first`, `last`, or `sum`, the
    last with the sum of all weights. weights: float32 (n,), needed for sums alone; else the second value is
    None.
    """
    order = np.argsort(keys, kind="stable")  # oldest first within a key
    starts = (
        np.flatnonzero(np.append(True, np.diff(keys[order]) != 0)) if len(keys) else np.zeros(0, np.int64)
    )
    ends = np.append(starts[1:], len(order)) - 1 if len(keys) else starts
    places = order[starts if duplicates == "first" else ends]
    ascending = np.argsort(places)
    if duplicates != "sum" or weights is None:
        return places[ascending], None
    total = np.add.reduceat(weights[order].astype(np.float64), starts).astype(np.float32)
    return places[ascending], total[ascending]
