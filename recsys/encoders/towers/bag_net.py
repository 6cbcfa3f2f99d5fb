"""The net of a bag, without torch: weighted sums of table rows in numpy, and what follows them by
onnxruntime."""

from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from recsys.arrays import F32, I32, Array, empty_rows
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import Layout, Summands
from recsys.encoders.towers.net import Graph

FADING = 16  # powers of two of places from the end of a history: a weight is learned for each
_BLOCK = 1 << 16  # table rows summed at a time


class BagNet:
    """From `Inputs` to vectors float32 (n, width): a sum of weighted rows and of numbers times a matrix, then
    a graph.

    It joins the parts in the order of its layout. table: float32 (rows, width). matrix: float32 (numbers,
    width). fading: float32 (FADING,), logarithms of the weights by place in a history. graph: from `sum_rows`
    (n, width). linear: whether that does no more than bring to length 1; unit: whether it does that.

    Source: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016 (the bag of a
    history).
    """

    net_kind: ClassVar[str] = "bag"
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})

    def __init__(
        self,
        layout: Layout,
        table: F32,
        matrix: F32,
        fading: F32,
        graph: Graph,
        *,
        linear: bool,
        unit: bool = True,
    ) -> None:
        self.layout, self.table, self.matrix, self.fading, self.graph = layout, table, matrix, fading, graph
        self.linear, self.unit = linear, unit

    @property
    def width(self) -> int:
        return int(self.table.shape[1])

    @property
    def explains(self) -> bool:
        """Not where layers follow the sums."""
        return self.linear

    def weights(self, summands: Summands) -> F32:
        """float32 (nnz,): what each row counts."""
        weight = summands.weight
        of_history = np.flatnonzero(summands.place >= 0)
        if len(of_history):
            entity = summands.rows.row_of_value()[of_history]
            counted = weight[of_history] * np.exp(self.fading[summands.place[of_history]])
            total = np.bincount(entity, counted, minlength=summands.rows.rows)[entity]
            weight = weight.copy()
            weight[of_history] = counted / np.sqrt(np.maximum(total, 1e-12))
        return weight

    def sum_rows(self, summands: Summands) -> F32:
        """float32 (n, width)."""
        sums: F32 = summands.dense @ self.matrix
        some = np.flatnonzero(summands.rows.lengths)
        if len(some):
            added = self.table[summands.rows.values] * self.weights(summands)[:, None]
            sums[some] += np.add.reduceat(added, summands.rows.offsets[some], axis=0)
        return sums

    def vectors(self, inputs: Inputs) -> F32:
        """float32 (n, width), a block of entities at a time."""
        summands = self.layout.join(inputs)
        n, offsets = len(inputs), summands.rows.offsets
        if offsets[-1] <= _BLOCK:
            return self.graph(summed=self.sum_rows(summands))
        blocks, start = list[F32](), 0
        while start < n:
            stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _BLOCK, side="right")) - 1)
            blocks.append(self.graph(summed=self.sum_rows(summands.take(slice(start, stop)))))
            start = stop
        return np.concatenate(blocks)

    def shares(self, person: Inputs, vectors: F32) -> F32 | None:
        """None where layers follow the sums."""
        if not self.linear:
            return None
        summands = self.layout.join(person)
        summed = self.sum_rows(summands)[0]
        length = max(float(np.linalg.norm(summed)), 1e-12) if self.unit else 1.0
        at = np.flatnonzero(summands.place >= 0)
        if not len(at):
            return np.zeros((len(vectors), 0), np.float32)
        events = self.table[summands.rows.values[at]] * (self.weights(summands)[at] / length)[:, None]
        rest = vectors @ (summed / length - events.sum(axis=0)) / len(at)
        shares: F32 = vectors @ events.T + rest[:, None]
        return shares

    def without_rows(self, rows: I32) -> Self:
        same = copy(self)
        same.table = empty_rows(self.table, rows)  # the rows of people come first in it
        return same

    def parameters(self) -> dict[str, Any]:
        return {"linear": self.linear} | ({} if self.unit else {"unit": False})

    def arrays(self) -> dict[str, Array]:
        return {"table": self.table, "matrix": self.matrix, "fading": self.fading}

    def files(self) -> dict[str, bytes]:
        return {"net.onnx": self.graph.model}

    @classmethod
    def load(
        cls, folder: Path, layout: Layout, parameters: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        graph, unit = Graph((folder / "net.onnx").read_bytes()), parameters.get("unit", True)
        linear = parameters["linear"]
        return cls(
            layout, arrays["table"], arrays["matrix"], arrays["fading"], graph, linear=linear, unit=unit
        )
