"""What people did: events of each user in their order, and two sources of them as one."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import F32, I8, I64, Array, Bool, Ragged

DAY_S = 86_400  # seconds
DUPLICATES = ("all", "first", "last", "sum")


@dataclass(frozen=True, eq=False)
class Histories:
    """One row of events for each user, oldest first, and what stands beside it.

    time: int64 (nnz,) unix seconds. weight: float32 (nnz,); None = every event counts 1. event: int8 (nnz,) codes of
    event types. Each is parallel to `items.values`, or None.
    """

    items: Ragged
    time: I64 | None = None
    weight: F32 | None = None
    event: I8 | None = None

    def take(self, rows: Array) -> "Histories":
        """The rows with these numbers (n,), in this order."""
        return self._at(self.items.take(rows), self.items.positions(rows))

    def keep(self, mask: Bool) -> "Histories":
        """Only the events (nnz,) where `mask` is true; the number of rows stays."""
        return self._at(self.items.keep(mask), mask)

    def _at(self, items: Ragged, chosen: Array) -> "Histories":
        return Histories(
            items,
            None if self.time is None else self.time[chosen],
            None if self.weight is None else self.weight[chosen],
            None if self.event is None else self.event[chosen],
        )


def merged(stored: Histories, brought: Histories, duplicates: str = "all") -> Histories:
    """One row, oldest first, of one person's stored events and those of the brought ones that are new.

    Both have one row and every column; event type -1 is an unknown one. Events of the same second stay in the order
    given, the stored ones first. Of the brought events, an item at a time counts once for each type of event; one of
    unknown type is the same as any there. duplicates: which events of one item and type were learned from; the merged
    history keeps the same ones: `first`, `last`, or, under `sum`, no brought one that a stored sum holds already.
    """
    one, other = stored.items.values, brought.items.values
    items, n = np.concatenate([one, other]), len(one)
    times, weights, types = (
        np.concatenate([getattr(stored, name), getattr(brought, name)]) for name in ("time", "weight", "event")
    )
    kept = _new(items, times, types, n)
    kept = kept[np.argsort(times[kept], kind="stable")]
    if duplicates != "all":
        kept = kept[_learned(items[kept], times[kept], types[kept], kept < n, duplicates)]
    return Histories(Ragged.of([items[kept]]), times[kept], weights[kept], types[kept])


def _new(items: Array, times: Array, types: Array, stored: int) -> Array:
    """Ascending places: the first `stored` events, and of the others each item at a time once for each type."""
    triples = np.stack([items.astype(np.int64), times, types], axis=1)
    _, pair = np.unique(triples[:, :2], axis=0, return_inverse=True)
    typed = np.bincount(pair.ravel(), types >= 0) > 0
    _, each = np.unique(triples, axis=0, return_index=True)
    new = each[~(typed[pair.ravel()[each]] & (types[each] < 0))]
    return np.union1d(np.arange(stored), new)


def _learned(items: Array, times: Array, types: Array, stored: Bool, duplicates: str) -> Bool:
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

    The rule of training (`prepare.duplicates`) and of a request that brings events. keys: int64 (n,), equal for events
    that are the same but for their time, oldest first. duplicates: `first`, `last`, or `sum`, the last with the sum of
    all weights. weights: float32 (n,), needed for sums alone; else the second value is None.
    """
    order = np.argsort(keys, kind="stable")  # oldest first within a key
    starts = np.flatnonzero(np.append(True, np.diff(keys[order]) != 0)) if len(keys) else np.zeros(0, np.int64)
    ends = np.append(starts[1:], len(order)) - 1 if len(keys) else starts
    places = order[starts if duplicates == "first" else ends]
    ascending = np.argsort(places)
    if duplicates != "sum" or weights is None:
        return places[ascending], None
    total = np.add.reduceat(weights[order].astype(np.float64), starts).astype(np.float32)
    return places[ascending], total[ascending]
