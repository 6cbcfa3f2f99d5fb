"""What a person did, from two sources: the events that a bundle stores, and those that come with a request."""

import numpy as np

from recsys.arrays import Array, Bool, Histories, Ragged

DUPLICATES = ("all", "first", "last", "sum")


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
    _, pair = np.unique(items.astype(np.int64) * 256 + types, return_inverse=True)  # a type is an int8
    place, kept = np.arange(len(items)), np.zeros(len(items), bool)
    if duplicates == "first":
        kept[np.unique(pair, return_index=True)[1]] = True
    elif duplicates == "last":
        kept[place[::-1][np.unique(pair[::-1], return_index=True)[1]]] = True
    else:
        until = np.full(pair.max(initial=0) + 1, np.iinfo(np.int64).min)
        np.maximum.at(until, pair[stored], times[stored])
        kept = stored | (times > until[pair])
    return kept
