"""Which items a question may find, as an index takes them: a bit for each, made once for rules that come
again."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from recsys.arrays import I64, U8, Array, Bool

FEW = 8  # of so many items one at most: those few are scanned by themselves
_KEPT = 64  # rules that are remembered
_WORTH_KEEPING = 1 << 12  # items named by a rule: below, it is made anew for each question
_BIT = (1 << np.arange(8)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Allowed:
    """bits: uint8 (ceil(n_items / 8),), one bit an item from the lowest on. count: how many are set. few:
    int64, ascending, the items themselves where they are few, else None. full: whether all items are
    allowed."""

    bits: U8
    count: int
    few: I64 | None
    full: bool = False

    def places_of(self, items: Array) -> I64:
        """Where in the few these items stand, as far as they do."""
        assert self.few is not None
        if not len(self.few):
            return self.few
        at = np.minimum(self.few.searchsorted(items), len(self.few) - 1)
        there: I64 = at[self.few[at] == items]
        return there

    def without(self, items: Array) -> U8:
        """The bits with those of these items cleared."""
        bits = self.bits.copy()
        np.bitwise_and.at(bits, items >> 3, ~_BIT[items & 7])
        return bits


def is_set(bits: U8, items: Array) -> Bool:
    """(n,): whether the bits of these items are set."""
    flags: Bool = (bits[items >> 3] & _BIT[items & 7]) != 0
    return flags


class Marks(threading.local):
    """A mark for each of n items, none set between two uses; each thread has its own."""

    def __init__(self, n_items: int) -> None:
        self._marks = np.zeros(n_items, bool)

    def others(self, items: I64, left_out: Array) -> Bool:
        """(n,): which of the items are not left out."""
        marks = self._marks
        marks[left_out] = True
        others = ~marks[items]
        marks[left_out] = False
        return others


class AllowedItems:
    """Makes them, and remembers those of rules over many items that are asked again by the same arrays:
    availability, and the items of a domain."""

    def __init__(self, n_items: int) -> None:
        self._n, self._kept = n_items, OrderedDict[tuple[int, int], tuple[object, object, Allowed]]()

    def of(self, available: Bool | None, among: Array | None) -> Allowed:
        """available: (n_items,), false for items that nobody gets; None = all. among: the only items to
        consider."""
        if among is not None and len(among) < _WORTH_KEEPING:
            return self._allow_few(available, among)
        key = (id(available), id(among))
        if (entry := self._kept.get(key)) is None:
            # held, so that no other array gets the same id
            entry = (available, among, self._make_allowed(available, among))
            self._kept[key] = entry
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return entry[2]

    def _allow_few(self, available: Bool | None, among: Array) -> Allowed:
        """Of a short list; where it is not short against all items the bits are used."""
        items = np.unique(among).astype(np.int64)
        items = items if available is None else items[available[items]]
        if len(items) * FEW <= self._n:
            return Allowed(np.empty(0, np.uint8), len(items), items)
        mask = np.zeros(self._n, bool)
        mask[items] = True
        return Allowed(np.packbits(mask, bitorder="little"), len(items), None)

    def _make_allowed(self, available: Bool | None, among: Array | None) -> Allowed:
        mask = np.ones(self._n, bool) if available is None else available
        if among is not None:
            inside = np.zeros(self._n, bool)
            inside[among] = True
            mask = mask & inside
        count = int(mask.sum())
        few = np.flatnonzero(mask) if count * FEW <= self._n else None
        return Allowed(np.packbits(mask, bitorder="little"), count, few, full=count == self._n)
