"""What an epoch of a sequence model goes over: windows of histories, in batches of much the same length."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsys.arrays import I32, I64, Array, Bool
from recsys.history import Histories


@dataclass(frozen=True, eq=False)
class WindowedHistories:
    """The histories of training, cut anew in each epoch into windows of at most `longest` events that go in.

    A window is a pair (start, stop) of places in the log: the events from start to before stop go in, and
    after each of them the next one is to be found, up to the one at stop. A history of one event teaches
    nothing.
    """

    past: Histories
    longest: int

    def __len__(self) -> int:
        """How many events are to be found in an epoch."""
        return int(np.maximum(self.past.lengths - 1, 0).sum())

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[I64]:
        """int64 (m, 2), all windows once, in a drawn order: so many at a time as fill `size` events, pads
        counted.

        Windows of much the same length stand together, so that next to nothing is padded; which of them meet
        is drawn.
        """
        windows = self.windows(rng)
        lengths = round_lengths(windows[:, 1] - windows[:, 0], self.longest)
        order = np.lexsort((rng.random(len(windows)), lengths))
        starts, room, most = [0], 0, 0
        for at, length in enumerate(lengths[order].tolist()):
            most, room = length, room + 1  # ascending: the last is the longest
            if room > 1 and most * room > size:
                starts.append(at)
                room = 1
        parts = np.split(windows[order], starts[1:])
        for which in rng.permutation(len(parts)):
            yield parts[which]

    def windows(self, rng: np.random.Generator) -> I64:
        """int64 (m, 2): a history that is longer than a window is cut at a drawn place and every `longest`
        events."""
        first, last = self.past.items.offsets[:-1], self.past.items.offsets[1:] - 1
        rows = np.flatnonzero(last > first)
        first, last = first[rows], last[rows]
        drawn = np.where(
            last - first > self.longest, rng.integers(1, self.longest + 1, len(rows)), self.longest
        )
        ends = np.minimum(first + drawn, last)
        windows = [np.stack([first, ends], axis=1)]
        while (going := ends < last).any():
            first, last = ends[going], last[going]
            ends = np.minimum(first + self.longest, last)
            windows.append(np.stack([first, ends], axis=1))
        return np.concatenate(windows)


def next_places(wanted: Bool, past: Histories) -> I32:
    """int32 (nnz,): the next place in the log after each, of the same person, that is wanted; -1 = none."""
    n = len(wanted)
    places = np.where(wanted, np.arange(n), n)
    after = np.append(np.minimum.accumulate(places[::-1])[::-1][1:], n) if n else places
    ends = np.repeat(past.items.offsets[1:], past.lengths)
    return np.where(after < ends, after, -1).astype(np.int32)


def first_times(past: Histories) -> Bool:
    """bool (nnz,): where somebody has an item for the first time."""
    items = past.items
    order = np.lexsort((items.values, items.row_of_value()))  # stable, so the earliest of equals comes first
    row, item = items.row_of_value()[order], items.values[order]
    first = np.ones(len(order), bool)
    first[1:] = (row[1:] != row[:-1]) | (item[1:] != item[:-1])
    firsts = np.empty(len(order), bool)
    firsts[order] = first
    return firsts


def padded_places(windows: I64, longest: int) -> tuple[I64, Bool]:
    """int64 and bool (m, length): where the events of windows (m, 2) stand in the log, one row each, padded
    on the right with places of other events; and which are no pads."""
    lengths = windows[:, 1] - windows[:, 0]
    step = np.arange(int(round_lengths(lengths, longest).max()))
    inside: Array = step < lengths[:, None]
    return np.where(inside, windows[:, :1] + step, windows[:, :1]), inside


def round_lengths(lengths: I64, longest: int) -> I64:
    """int64: the lengths rounded up by an eighth at the most, and not above `longest`: a step has one of some
    forty shapes, for each of which torch compiles and keeps its products in half precision."""
    step = np.exp2(np.maximum(np.floor(np.log2(np.maximum(lengths, 1))) - 3, 0)).astype(np.int64)
    rounded: I64 = np.minimum(-(-lengths // step) * step, longest)
    return rounded


def without_places(at: I64, inside: Bool, gone: Bool) -> tuple[I64, Bool]:
    """Padded windows `at` and `inside` without the places `gone`, which become pads at the end; all (m,
    length)."""
    order = np.argsort(gone | ~inside, axis=1, kind="stable")
    return np.take_along_axis(at, order, axis=1), np.take_along_axis(inside & ~gone, order, axis=1)


def draw_masked(inside: Bool, share: float, rng: np.random.Generator) -> Bool:
    """bool (m, length): which events are masked: this share of all, and the last one of every second history
    and of those in which no other is."""
    masked = (rng.random(inside.shape) < share) & inside
    last = inside.sum(axis=1) - 1
    masked[np.arange(len(inside)), last] |= (rng.random(len(inside)) < 0.5) | ~masked.any(axis=1)
    return masked
