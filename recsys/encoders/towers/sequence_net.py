"""The net of a sequence, without torch: events as rows, and a graph from these to the vector of whoever did
them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from recsys.arrays import F32, I32, I64, Array, Ragged
from recsys.encoders.towers.inputs import Inputs, places_from_end
from recsys.encoders.towers.layout import UserLayout
from recsys.encoders.towers.net import Graph
from recsys.history import Histories

# rows of the table of gaps: one for an unknown gap, one for none, and one for each power of two of seconds
GAPS = 34
_OPTIONAL = ("older", "types", "gaps", "domains", "domain", "down", "up")
_TOGETHER = 1 << 13  # events that go through the graph at a time


class SequenceNet:
    """From the events of a history, oldest first, to vectors float32 (n, width).

    What goes in for an event is a row of `items` (n_items, width), that of the item, and, where they are
    learned, that of its type in `types` (types + 1, width), the first for an unknown type, and in `gaps`
    (GAPS, width) that of the time until the next event, for the last one until the moment of asking. The last
    `reads` events go through the graph, from `events` (n, length, width), n histories of the same length, to
    `vectors` (n, width). What is older, up to what the layout says, is summed up (`recency_sums`), and that
    sum times `older` (width, width) is added. unit: whether vectors are brought to length 1.

    Where domains are learned, the row of the domain of an item in `domains` (domains + 1, width), the first
    for none, goes in as well; domain: int32 (n_items,), the code of each. And the vector v of whoever asks
    for one becomes `v + v down up`, with the rows of that domain in `down` (domains * width, rank) and `up`
    (domains * rank, width).
    """

    net_kind: ClassVar[str] = "sequence"
    explains: ClassVar[bool] = False

    def __init__(
        self,
        layout: UserLayout,
        items: F32,
        graph: Graph,
        *,
        reads: int,
        unit: bool = False,
        older: F32 | None = None,
        types: F32 | None = None,
        gaps: F32 | None = None,
        domains: F32 | None = None,
        domain: I32 | None = None,
        down: F32 | None = None,
        up: F32 | None = None,
    ) -> None:
        self.layout, self.items, self.graph, self.reads, self.unit = layout, items, graph, reads, unit
        self.older, self.types, self.gaps = older, types, gaps
        self.domains, self.domain, self.down, self.up = domains, domain, down, up

    @property
    def needs(self) -> frozenset[str]:
        typed = {"event"} if self.types is not None else set()
        timed = {"time", "now"} if self.gaps is not None else set()
        asked = {"domain"} if self.down is not None else set()
        return frozenset({"weight"} | typed | timed | asked)

    @property
    def width(self) -> int:
        """Dimensions of the vectors that it reads and gives."""
        return int(self.items.shape[1])

    def vectors(self, inputs: Inputs) -> F32:
        """float32 (n, width), zeros where there is no event. Histories of the same length go through
        together."""
        assert inputs.history is not None
        past = inputs.history.histories(self.needs)
        read = (
            past.keep(places_from_end(past.items) < self.reads)
            if past.lengths.max(initial=0) > self.reads
            else past
        )
        events = self._events(read, inputs.now)
        vectors = np.zeros((len(inputs), self.width), np.float32)
        lengths, offsets = read.lengths, read.items.offsets
        for length in np.unique(lengths[lengths > 0]):
            people = np.flatnonzero(lengths == length)
            step = max(1, _TOGETHER // int(length))
            for start in range(0, len(people), step):
                some = people[start : start + step]
                vectors[some] = self.graph(events=events[offsets[some][:, None] + np.arange(length)])
        if self.older is not None and read is not past:
            older = past.items.keep(places_from_end(past.items) >= self.reads)
            vectors += recency_sums(self.items, older, self.reads) @ self.older
        if self.down is not None and inputs.domain is not None:
            vectors = vectors + self._adaptations(vectors, inputs.domain)
        if self.unit:
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6))
        return vectors

    def _adaptations(self, vectors: F32, domain: I32) -> F32:
        """float32 (n, width): what is added to the vectors of those who ask for these domains (n,), -1 =
        none."""
        assert self.down is not None
        assert self.up is not None
        adapted, down = np.zeros_like(vectors), self.down.reshape(-1, self.width, self.down.shape[1])
        for code in np.unique(domain[domain >= 0]).tolist():
            rows = domain == code
            adapted[rows] = vectors[rows] @ down[code] @ self.up.reshape(len(down), -1, self.width)[code]
        return adapted

    def _events(self, past: Histories, now: I64 | None) -> F32:
        """float32 (nnz, width): what goes into the graph for each event."""
        events: F32 = self.items[past.items.values]
        if self.domains is not None and self.domain is not None:
            events = events + self.domains[self.domain[past.items.values] + 1]
        if self.types is not None:
            events = events + self.types[0 if past.event is None else past.event.astype(np.int64) + 1]
        if self.gaps is not None:
            events = events + self.gaps[gaps_after(past, now)]
        return events

    def shares(self, person: Inputs, vectors: F32) -> F32 | None:
        """None: what an event does depends on the others."""
        return None

    def without_rows(self, rows: I32) -> Self:
        return self  # a person is their history, and has no row

    def parameters(self) -> dict[str, Any]:
        return {"reads": self.reads, "unit": self.unit}

    def arrays(self) -> dict[str, Array]:
        optional = {name: getattr(self, name) for name in _OPTIONAL}
        return {"items": self.items} | {name: array for name, array in optional.items() if array is not None}

    def files(self) -> dict[str, bytes]:
        return {"net.onnx": self.graph.model}

    @classmethod
    def load(
        cls, folder: Path, layout: UserLayout, parameters: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        graph = Graph((folder / "net.onnx").read_bytes())
        learned: dict[str, Any] = {name: arrays.get(name) for name in _OPTIONAL}
        return cls(
            layout, arrays["items"], graph, reads=parameters["reads"], unit=parameters["unit"], **learned
        )


def recency_sums(vectors: F32, items: Ragged, half_life: float) -> F32:
    """float32 (n, width): the vectors of each row of items, summed; zeros where there is none.

    The last one counts 1, one that many events before it half; the sum is divided by the root of what was
    counted.
    """
    sums = np.zeros((items.rows, vectors.shape[1]), np.float32)
    for row in np.flatnonzero(items.lengths).tolist():
        named = items.row(row)
        counted = np.exp2(-np.arange(len(named), dtype=np.float32)[::-1] / half_life)
        sums[row] = counted @ vectors[named] / np.sqrt(counted.sum())
    return sums


def gaps_after(past: Histories, now: I64 | None) -> I64:
    """int64 (nnz,): the row of the gap after each event: 0 = unknown, 1 = none, then powers of two of its
    seconds.

    now: int64 (n,), the moments of asking, which end the last gaps; None = unknown.
    """
    gaps = np.zeros(len(past), np.int64)
    if past.time is None or not len(past):
        return gaps
    after = np.empty(len(past), np.int64)
    after[:-1] = past.time[1:]
    last = past.items.offsets[1:][past.lengths > 0] - 1
    after[last] = -1 if now is None else now[past.lengths > 0]
    return gap_rows(past.time, after)


def gap_rows(earlier: Array, later: Array) -> I64:
    """int64: the row of the gap between two moments in unix seconds; 0 where either is below 0, unknown."""
    gap = np.maximum(later - earlier, 0)
    rows = 1 + np.ceil(np.log2(gap + 1)).astype(np.int64)  # none 1, a second 2, two or three 3
    return np.where((earlier < 0) | (later < 0), 0, np.minimum(rows, GAPS - 1))
