"""What the user of each event of training had by then: the histories that a model learns to go on from."""

from dataclasses import dataclass

import numpy as np

from recsys.arrays import F32, I32, I64, Array, Histories, Ragged, offsets_of


@dataclass(frozen=True, eq=False)
class PastOfEvents:
    """The events of training (n,), user by user, oldest first, and where the history of each begins and ends."""

    user: I32
    item: I32
    weight: F32
    first: I64
    last: I64

    @classmethod
    def of(cls, past: Histories, history: str, longest: int) -> "PastOfEvents":
        """past: of all users. history: "before" = strictly earlier seconds, without times earlier rows; "others" =
        all of the user; "none". longest: of so many events at the most, the last ones."""
        row, n = past.items.row_of_value(), len(past.items.values)
        start, stop = past.items.offsets[:-1][row], past.items.offsets[1:][row]
        if history == "others":
            last = stop
        elif past.time is None:
            last = np.arange(n)
        else:  # strictly earlier: back to the first event of the same user and second
            fresh = np.ones(n, bool)
            fresh[1:] = (row[1:] != row[:-1]) | (past.time[1:] != past.time[:-1])
            last = np.maximum.accumulate(np.where(fresh, np.arange(n), 0))
        if history == "none":
            last = start
        room = longest + (history == "others")
        weight = np.ones(n, np.float32) if past.weight is None else past.weight
        return cls(row.astype(np.int32), past.items.values, weight, np.maximum(start, last - room), last)

    def histories(self, at: Array) -> tuple[Ragged, F32]:
        """What the users of events `at` had by then, the items of the events themselves left out, and its weights."""
        lengths = self.last[at] - self.first[at]
        ends = np.cumsum(lengths)
        places = np.repeat(self.first[at] - (ends - lengths), lengths) + np.arange(int(ends[-1]) if len(ends) else 0)
        ragged = Ragged(offsets_of(lengths), self.item[places])
        kept = ragged.values != np.repeat(self.item[at], lengths)
        return ragged.keep(kept), self.weight[places[kept]]
