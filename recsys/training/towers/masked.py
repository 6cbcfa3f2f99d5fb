"""The Transformer that fills gaps in sequences of events, as it learns and as a graph."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recsys.arrays import F32
from recsys.training.towers.onnx_graph import OnnxGraph
from recsys.training.towers.sequence_net import draw
from recsys.training.towers.transformer import LearnedTransformer, square


class LearnedMasked(LearnedTransformer):
    """Attention that goes both ways, and events that are masked, whose items are to be found.

    Source: Sun et al., "BERT4Rec: Sequential Recommendation with Bidirectional Encoder Representations from
    Transformer", CIKM 2019.
    """

    masked: ClassVar[bool] = True

    @property
    def distances(self) -> int:
        return 2 * self.longest + 1  # back and forth, among the events and one that is to come

    def arrays(self, rng: np.random.Generator) -> dict[str, F32]:
        arrays = super().arrays(rng) | {"mask": draw(rng, 1, self.width)}
        near = 4 / (1 + np.abs(np.arange(-self.longest, self.longest + 1, dtype=np.float32)))
        for n in range(self.layers):
            arrays[f"{n}_distance"] += near  # attention begins with what is next to each event
        return arrays

    def places(self, events: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(events.shape[1], device=events.device)
        apart, none = places[:, None] - places + self.longest, events.new_zeros(())
        if self.inside is None:
            return apart, none
        return apart, torch.where(self.to_device(self.inside), none, -torch.inf)[:, None, None]

    def graph(self, whole: Mapping[str, F32], graph: OnnxGraph, events: str) -> str:
        """As of every Transformer, after a masked event was added at the end."""
        mask = whole["mask"] - whole["mask"].mean()
        mask = mask / np.sqrt((mask**2).mean() + np.float32(1e-5)) * whole["in_gain"] + whole["in_shift"]
        people = graph.add("Shape", events, start=0, end=1)
        end = graph.add(
            "Expand", graph.weight(mask[None]), graph.add("Concat", people, graph.ints(1, 1), axis=0)
        )
        return super().graph(whole, graph, graph.add("Concat", events, end, axis=1))

    def graph_bias(self, graph: OnnxGraph, distance: F32, length: str, last: bool) -> str:
        if last:  # what lies before it, the furthest first
            start, end = graph.add("Neg", length), graph.ints(np.iinfo(np.int64).max)
            return graph.add(
                "Slice", graph.weight(distance[:, None, : self.longest - 1 : -1]), start, end, graph.ints(2)
            )
        places = np.arange(self.longest + 1)
        return square(graph, distance[:, places[:, None] - places + self.longest], length)
