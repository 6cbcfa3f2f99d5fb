"""One fit of vectors by windows over sequences, whatever the sequences are: histories or walks."""

from abc import abstractmethod
from typing import Protocol

import numpy as np

from recsys.arrays import F32, I32, I64, Array
from recsys.models.neighbours.skip_gram import NO_PARTS, TABLE, Parts, learn_sequences
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import Batches, EpochFit, EpochSettings


class WindowSettings(EpochSettings, Protocol):
    """The settings that all of them have."""

    @property
    def dim(self) -> int: ...

    @property
    def window(self) -> int: ...

    @property
    def negatives(self) -> int: ...

    @property
    def negative_exponent(self) -> float: ...


class WindowFit(EpochFit):
    """A table of inputs and one of outputs, moved by negative sampling. A subclass calls `start` and writes
    `windows_of`.

    together: CBOW in place of skip-gram. kept: float32 (n_items,), how likely an event of each item is kept.
    parts, id_dropout: of which rows the items are sums, as in `learn_sequences`.
    """

    together = False
    parts: Parts = NO_PARTS
    id_dropout = 0.0

    def __init__(self, settings: WindowSettings, seed: int, data: Batches, weight: float) -> None:
        super().__init__(settings, seed, data, weight)
        self._windows = settings

    def start(self, purpose: str, rows: int, counts: Array) -> None:
        """Draws the inputs float32 (rows, dim) by the seed of this purpose, and puts the outputs at 0.

        counts: (n_items,), the events of each item, by whose power it is drawn as a negative.
        """
        dim = self._windows.dim
        drawn = generator(self._seed, purpose).random((rows, dim), dtype=np.float32)
        self.inputs: F32 = (drawn - np.float32(0.5)) / np.float32(dim)
        self.outputs: F32 = np.zeros((rows, dim), np.float32)
        self.table = negatives_of(counts, self._windows.negative_exponent)
        self.kept: F32 = np.ones(len(counts), np.float32)

    @abstractmethod
    def windows_of(self, batch: Array, rng: np.random.Generator) -> tuple[I64, I32, I64]:
        """The sequences of a batch: offsets, items, and which of the sequences to learn from."""

    def state(self) -> State:
        return {"inputs": self.inputs, "outputs": self.outputs}

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        s = self._windows
        loss, pairs = learn_sequences(
            *self.windows_of(batch, rng),
            self.inputs,
            self.outputs,
            self.kept,
            self.table,
            s.window,
            s.negatives,
            np.float32(rate),
            self.together,
            int(rng.integers(1, 2**62)),
            self.parts,
            self.id_dropout,
        )
        return float(loss) / max(pairs, 1) * len(batch)


def negatives_of(counts: Array, exponent: float) -> I32:
    """int32 (TABLE,): the items with events, each as often as the power of its events says, and once at least
    where there is room."""
    there = np.flatnonzero(counts)
    weights = counts[there].astype(np.float64) ** exponent
    edges = np.cumsum(weights) / weights.sum()
    places = (np.arange(TABLE) + 0.5) / TABLE
    drawn: I32 = there[np.minimum(np.searchsorted(edges, places), len(there) - 1)].astype(np.int32)
    return drawn
