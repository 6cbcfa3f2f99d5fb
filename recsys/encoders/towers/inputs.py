"""What a tower is given: the row of one's own, the history and the features of each, apart until a net joins
them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from recsys.arrays import I32, I64, Ragged, offsets_of
from recsys.encoders.features import FeatureRows
from recsys.history import Histories


@dataclass(frozen=True, eq=False)
class Windows:
    """n histories as windows of one log that is sorted by user and time: nothing is copied before a net asks
    for it.

    log: the events, whoever had them. start, stop: int64 (n,), history i is its events from start[i] to
    before stop[i], oldest first. Several windows may overlap, as those of one user's examples in training do.
    without: int32 (n,), an item whose events are left out of each; None = all stay. longest: no more events
    than so many, the last ones.
    """

    log: Histories
    start: I64
    stop: I64
    longest: int
    without: I32 | None = None

    @classmethod
    def of(cls, histories: Histories, longest: int) -> "Windows":
        """The rows of histories, each as one window."""
        start, stop = histories.items.offsets[:-1], histories.items.offsets[1:]
        return cls(histories, np.maximum(start, stop - longest), stop, longest)

    def __len__(self) -> int:
        return len(self.start)

    def take(self, which: slice) -> "Windows":
        """A slice of the histories."""
        without = None if self.without is None else self.without[which]
        return Windows(self.log, self.start[which], self.stop[which], self.longest, without)

    def histories(self, columns: Iterable[str] = ("weight",)) -> Histories:
        """The events themselves, n rows, with those of the columns `time`, `weight` and `event` that the log
        has."""
        lengths = self.stop - self.start
        offsets = offsets_of(lengths)
        at: I64 = np.repeat(self.start - offsets[:-1], lengths)
        at += np.arange(len(at))
        items = Ragged(offsets, self.log.items.values[at])
        if self.without is not None:
            kept = items.values != np.repeat(self.without, lengths)
            items, at = items.keep(kept), at[kept]
        if items.lengths.max(initial=0) > self.longest:
            kept = places_from_end(items) < self.longest
            items, at = items.keep(kept), at[kept]
        stored = self.log.columns()
        return Histories(items, **{name: stored[name][at] for name in columns if name in stored})


def places_from_end(rows: Ragged) -> I64:
    """int64 (nnz,): how many values of the same row come after each."""
    places: I64 = np.repeat(rows.offsets[1:] - 1, rows.lengths)
    places -= np.arange(len(rows.values))
    return places


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a tower takes of n people, or of n items, part by part.

    row: int32 (n,), the number of each in the table of their own rows, -1 for whoever has none. history: n of
    them, of items by their numbers, with all columns of the log; None where the tower takes none. features:
    the rows that their features name, counted from the first feature's, their weights, and numbers; None
    where there are none. now: int64 (n,) unix seconds, the moment that each is asked about, in training that
    of the event to be found; None where it is not known, or where the net does not need it. domain: int32
    (n,), the code of the domain that each asks for, -1 = none; None where nobody asks for one, or where the
    net does not need it.
    """

    row: I32
    history: Windows | None = None
    features: FeatureRows | None = None
    now: I64 | None = None
    domain: I32 | None = None

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: slice) -> "Inputs":
        """Those of a slice of the people or items."""
        if which == slice(0, len(self)):
            return self
        history = None if self.history is None else self.history.take(which)
        features = None if self.features is None else self.features.take(np.arange(len(self))[which])
        now = None if self.now is None else self.now[which]
        return Inputs(
            self.row[which], history, features, now, None if self.domain is None else self.domain[which]
        )
