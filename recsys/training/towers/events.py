"""What the user of each event of training had by then: the histories that a model learns to go on from."""

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np

from recsys.arrays import F32, I32, I64, Array
from recsys.encoders.towers.inputs import Windows
from recsys.history import Histories

_POOL = 1 << 22  # events that are put in a drawn order at a time
_BLOCK = 1 << 10  # neighbours of a larger log that come into the same pool


@dataclass(frozen=True, eq=False)
class PastOfEvents:
    """The events of training (n,), user by user, oldest first. Nothing is held beside the log, which may lie
    on disk.

    past: of all users. history: "before" = strictly earlier seconds, without times earlier rows; "others" =
    all of the user; "none". longest: of so many events at the most, the last ones.
    """

    past: Histories
    history: str
    longest: int

    def __len__(self) -> int:
        return len(self.past.items.values)

    @property
    def item(self) -> I32:
        return self.past.items.values

    def user(self, at: Array) -> I64:
        """int64: whose the events `at` are."""
        return np.searchsorted(self.past.items.offsets, at, side="right") - 1

    def weight(self, at: Array) -> F32:
        """float32: what the events `at` count."""
        return np.ones(len(at), np.float32) if self.past.weight is None else self.past.weight[at]

    @property
    def total_weight(self) -> float:
        return float(len(self)) if self.past.weight is None else float(self.past.weight.sum(dtype=np.float64))

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[I64]:
        """All events in a drawn order, `size` at a time and the rest at the end, each batch ascending.

        Of a log of more than `_POOL` events, so many are mixed at a time, made of blocks drawn from all of
        it: what is read together then lies together on disk.
        """
        left: I64 = np.zeros(0, np.int64)
        for pool in self._pools(rng):
            left = np.concatenate([left, pool])
            whole = len(left) - len(left) % size
            for start in range(0, whole, size):
                yield np.sort(left[start : start + size])
            left = left[whole:]
        if len(left):
            yield np.sort(left)

    def _pools(self, rng: np.random.Generator) -> Iterator[I64]:
        n = len(self)
        if n <= _POOL:
            yield rng.permutation(n)
            return
        blocks, each = rng.permutation(-(-n // _BLOCK)), _POOL // _BLOCK
        for start in range(0, len(blocks), each):
            places = (blocks[start : start + each, None] * _BLOCK + np.arange(_BLOCK)).ravel()
            yield rng.permutation(places[places < n])

    def windows(self, at: Array) -> Windows:
        """What the users of events `at` had by then, the items of the events themselves left out."""
        start, stop = self._spans(at)
        return Windows(self.past, start, stop, self.longest, self.item[at])

    def _spans(self, at: Array) -> tuple[I64, I64]:
        """Where the histories of events `at` begin and end in the log."""
        user, offsets = self.user(at), self.past.items.offsets
        start = offsets[user]
        if self.history == "none":
            return start, start
        if self.history == "others":
            last, room = offsets[user + 1], self.longest + 1
        else:
            times = self.past.time
            last, room = at if times is None else _strictly_before(np.asarray(times), start, at), self.longest
        return np.maximum(start, last - room), last


@numba.njit(cache=True)
def _strictly_before(time: I64, start: I64, at: I64) -> I64:
    """int64: the first event from `start` on that is of the same second as the event `at`, for each."""
    last = at.copy()
    for row in range(len(at)):
        while last[row] > start[row] and time[last[row] - 1] == time[at[row]]:
            last[row] -= 1
    return last
