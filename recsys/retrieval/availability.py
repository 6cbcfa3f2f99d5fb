"""Which items may be answered at all, and when: hidden ones, and those that are not there yet or no more."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from recsys.arrays import I64, Bool

_KEPT = 8  # intervals between changes whose masks are remembered


@dataclass(frozen=True, eq=False)
class Availability:
    """What keeps items out of all answers, whoever asks.

    shown: bool (n_items,), false = hidden; None = none is. start, end: int64 (n_items,) unix seconds, an item
    may be answered from its start on and before its end; None = no such limits.
    """

    shown: Bool | None = None
    start: I64 | None = None
    end: I64 | None = None

    def columns(self) -> dict[str, Any]:
        """What is stated, by the names that data and bundles give the columns."""
        stated = {"available": self.shown, "available_from": self.start, "available_to": self.end}
        return {name: column for name, column in stated.items() if column is not None}

    def at(self, now: int | None) -> Bool | None:
        """(n_items,): which items may be answered at a unix second; without one no limits of time hold. None
        = all."""
        unlimited = now is None or (self.start is None and self.end is None)
        interval = -1 if now is None or unlimited else int(np.searchsorted(self._changes, now, side="right"))
        mask = self._masks.get(interval)
        if mask is None and (mask := self._make_mask(now)) is not None:
            for old in list(self._masks)[: max(0, len(self._masks) + 1 - _KEPT)]:
                self._masks.pop(old, None)
            self._masks[interval] = mask
        return mask

    def _make_mask(self, now: int | None) -> Bool | None:
        mask = None if self.shown is None else np.array(self.shown)
        for inside in (
            None if self.start is None or now is None else self.start <= now,
            None if self.end is None or now is None else now < self.end,
        ):
            if inside is not None:
                mask = inside if mask is None else mask & inside
        if mask is not None:
            mask.flags.writeable = False  # whoever asks again gets the same array
        return mask

    def by_moment(self, now: I64 | None, rows: int) -> Iterator[tuple[I64, Bool | None]]:
        """The rows (n,) of those who ask at moments that are alike for every item, and what they may be
        answered."""
        if now is None or (self.start is None and self.end is None) or not rows:
            yield np.arange(rows), self.at(None)
            return
        between = np.searchsorted(self._changes, now, side="right")
        order = np.argsort(between, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(between[order])) + 1):
            yield np.sort(part), self.at(int(now[part[0]]))

    @cached_property
    def _masks(self) -> dict[int, Bool]:
        """What may be answered in the last intervals between changes, -1 without limits of time: rules over
        all items are recognised by their array."""
        return {}

    @cached_property
    def _changes(self) -> I64:
        """int64 (m,), ascending: the seconds at which an item comes or goes."""
        return np.unique(np.concatenate([one for one in (self.start, self.end) if one is not None]))
