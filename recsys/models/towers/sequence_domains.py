"""Domains of items in the learning of sequences: what a person is asked for next, in one domain or in all."""

from collections.abc import Iterator

import numpy as np

from recsys.arrays import I32, I64, Array, Bool
from recsys.history import Histories
from recsys.training.towers.sequences import next_places

MOST = 32  # domains that are learned apart; a column with more tells something else of the items


class SequenceDomains:
    """What the learning of sequences knows of domains.

    past: the log, each person's events oldest first. domain: int32 (n_items,), the code of each item, -1 =
    none. count: of domains. far: whether an event may be looked for beyond the window in which it is asked
    for. wanted: bool (nnz,), the events that are to be found.
    """

    def __init__(self, past: Histories, domain: I32, count: int, *, far: bool, wanted: Bool) -> None:
        self.domain, self.count, self.far = domain, count, far
        self._of_event = domain[past.items.values]
        self._next = np.stack([next_places((self._of_event == code) & wanted, past) for code in range(count)])
        self._next_of_all = next_places(wanted, past)

    def left_out(self, at: I64, inside: Bool, share: float, rng: np.random.Generator) -> Bool:
        """bool (m, length): of a share of the histories the events of one drawn domain, unless there is no
        other.

        at: int64 (m, length), the places of the events; inside: which of them are no pads."""
        drawn = np.where(rng.random(len(at)) < share, rng.integers(self.count, size=len(at)), -2)
        gone: Bool = (self._of_event[at] == drawn[:, None]) & inside
        gone[(gone == inside).all(axis=1)] = False
        return gone

    def draw_questions(self, place: I64, stop: I64, rng: np.random.Generator) -> tuple[I64, I64]:
        """int64 (n,) each: the domain in which the next event is looked for after each place, -1 = in all;
        and where in the log it is, -1 = nowhere. Every second place asks for a drawn domain, where its person
        has something of it later.

        stop: (n,), the last place of each window."""
        drawn = rng.integers(2 * self.count, size=len(place))
        later = self._next[drawn % self.count, place].astype(np.int64)
        there = (drawn < self.count) & (later >= 0) & (self.far | (later <= stop))
        return np.where(there, drawn, -1), np.where(there, later, self._next_of_all[place])

    def of_masked(self, place: I64, rng: np.random.Generator) -> I64:
        """int64 (n,): the domain in which masked events are looked for: every second time theirs, else -1, in
        all."""
        return np.where(rng.random(len(place)) < 0.5, self._of_event[place], -1)

    def groups(self, asked: I64, pool: Array) -> Iterator[tuple[I64, I64]]:
        """The rows that ask for each domain, or for all, and where in the pool the items are that they look
        among."""
        of_item = self.domain[pool]
        for code in range(-1, self.count):
            rows = np.flatnonzero(asked == code)
            if len(rows):
                yield rows, np.arange(len(pool)) if code < 0 else np.flatnonzero(of_item == code)
