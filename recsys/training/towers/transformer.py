"""The Transformer over sequences of events, as it learns and as a graph."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import silu

from recsys.arrays import F32
from recsys.training.towers.onnx_graph import OnnxGraph
from recsys.training.towers.sequence_net import Hide, LearnedSequenceNet, draw, length_of


class LearnedTransformer(LearnedSequenceNet):
    """Blocks of causal attention and a wider layer, both with a gate; attention knows how far apart two
    events are.

    Sources: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; Kang, McAuley, "Self-Attentive
    Sequential Recommendation", ICDM 2018; Shazeer, "GLU Variants Improve Transformer", 2020 (the layer);
    Raffel et al., "T5", JMLR 2020 (a bias by distance); Borisyuk et al., "From Features to Transformers",
    2025 (the gate of attention).
    """

    def __init__(
        self, width: int, longest: int, layers: int, rng: Any, *, heads: int, widened: int, **more: Any
    ) -> None:
        """heads: parts that attend by themselves; widened: width of the layer."""
        self.heads, self.widened = heads, widened
        super().__init__(width, longest, layers, rng, **more)

    @property
    def distances(self) -> int:
        """How many there are, each of which has a bias."""
        return self.longest

    def arrays(self, rng: np.random.Generator) -> dict[str, F32]:
        d, arrays = self.width, dict[str, F32]()
        small = 1 / math.sqrt(2 * self.layers)
        for n in range(self.layers):
            arrays |= self.norm_arrays(f"{n}")
            arrays[f"{n}_attend"] = draw(rng, d, 4 * d)
            arrays[f"{n}_distance"] = np.zeros((self.heads, self.distances), np.float32)
            arrays[f"{n}_out"] = draw(rng, d, d, small)
            arrays |= self.norm_arrays(f"{n}_widened")
            arrays[f"{n}_widen"] = draw(rng, d, 2 * self.widened)
            arrays[f"{n}_narrow"] = draw(rng, self.widened, d, small)
        return arrays

    def places(self, events: Tensor) -> tuple[Tensor, Tensor]:
        """int64 (length, length): which distance lies between two events; and what is added to the bias:
        minus infinity where an event may not look."""
        length = events.shape[1]
        places = torch.arange(length, device=events.device)
        return (places[:, None] - places).clamp_min(0), events.new_full((length, length), -torch.inf).triu(1)

    def body(self, events: Tensor, hide: Hide) -> Tensor:
        x, free = events, self.free
        apart, shut = self.places(x)
        scale = (self.width / self.heads) ** -0.5
        for n in range(self.layers):
            q, k, v, gate = (self.norm(x, f"{n}") @ free[f"{n}_attend"]).chunk(4, dim=-1)
            q, k, v = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (q, k, v))
            bias = free[f"{n}_distance"][:, apart] + shut
            share = torch.softmax((q * scale) @ k.transpose(2, 3) + bias, dim=-1)
            mixed = (share @ v).transpose(1, 2).flatten(2)
            x = x + hide((mixed * torch.sigmoid(gate)) @ free[f"{n}_out"])
            wide, gate = (self.norm(x, f"{n}_widened") @ free[f"{n}_widen"]).chunk(2, dim=-1)
            x = x + hide((silu(gate) * wide) @ free[f"{n}_narrow"])
        return x

    def graph(self, whole: Mapping[str, F32], graph: OnnxGraph, events: str) -> str:
        """Of the last block nothing but the last event is asked, so its query, gate and layer are of that
        alone."""
        x, d = events, self.width
        for n in range(self.layers):
            last = n == self.layers - 1
            a, weights = self.norm_in(graph, whole, x, f"{n}"), whole[f"{n}_attend"].copy()
            weights[:, :d] *= (d / self.heads) ** -0.5
            asked = last_of(graph, a) if last else a
            if last:
                q, opening = products(graph, asked, weights[:, [*range(d), *range(3 * d, 4 * d)]], 2)
                k, v = products(graph, a, weights[:, d : 3 * d], 2)
            else:
                q, k, v, opening = products(graph, a, weights, 4)
            scores = graph.add(
                "MatMul",
                heads_of(graph, q, self.heads, d, (0, 2, 1, 3)),
                heads_of(graph, k, self.heads, d, (0, 2, 3, 1)),
            )
            bias = self.graph_bias(graph, whole[f"{n}_distance"], length_of(graph, events), last)
            share = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
            mixed = graph.add("MatMul", share, heads_of(graph, v, self.heads, d, (0, 2, 1, 3)))
            mixed = graph.add(
                "Reshape", graph.add("Transpose", mixed, perm=(0, 2, 1, 3)), graph.ints(0, 0, d)
            )
            opened = graph.add("Mul", mixed, graph.add("Sigmoid", opening))
            moved = graph.add("MatMul", opened, graph.weight(whole[f"{n}_out"]))
            x = graph.add("Add", last_of(graph, x) if last else x, moved)
            wide, gate = products(
                graph, self.norm_in(graph, whole, x, f"{n}_widened"), whole[f"{n}_widen"], 2
            )
            opened = graph.add("Mul", graph.add("Mul", gate, graph.add("Sigmoid", gate)), wide)
            x = graph.add("Add", x, graph.add("MatMul", opened, graph.weight(whole[f"{n}_narrow"])))
        return x

    def graph_bias(self, graph: OnnxGraph, distance: F32, length: str, last: bool) -> str:
        """(heads, length, length), what is added to scores of attention; of the last event alone (heads, 1,
        length)."""
        return distance_bias(graph, distance, length, last, future=-np.inf)


def products(graph: OnnxGraph, x: str, weights: F32, count: int) -> list[str]:
    """x times each of so many equal parts of the columns of the weights."""
    return graph.split(graph.add("MatMul", x, graph.weight(weights)), count)


def heads_of(graph: OnnxGraph, x: str, heads: int, width: int, order: tuple[int, ...]) -> str:
    """(n, length, width) as (n, length, heads, width of each), its dimensions in this order."""
    return graph.add(
        "Transpose", graph.add("Reshape", x, graph.ints(0, 0, heads, width // heads)), perm=order
    )


def distance_bias(graph: OnnxGraph, distance: F32, length: str, last: bool, future: float) -> str:
    """(heads, length, length) by how far apart events are, `future` where one comes later; of the last event
    alone (heads, 1, length)."""
    if last:  # from the furthest to itself, and of these the last `length`
        start, end = graph.add("Neg", length), graph.ints(np.iinfo(np.int64).max)
        return graph.add("Slice", graph.weight(distance[:, None, ::-1]), start, end, graph.ints(2))
    apart = np.subtract.outer(np.arange(distance.shape[1]), np.arange(distance.shape[1]))
    whole = np.where(apart < 0, np.float32(future), distance[:, np.maximum(apart, 0)])
    return square(graph, whole, length)


def square(graph: OnnxGraph, whole: F32, length: str) -> str:
    """(..., length, length): the first rows and columns of the last two dimensions."""
    ends = graph.add("Concat", length, length, axis=0)
    return graph.add("Slice", graph.weight(whole), graph.ints(0, 0), ends, graph.ints(-2, -1))


def last_of(graph: OnnxGraph, x: str) -> str:
    """(n, 1, width): the last of each of (n, length, width)."""
    return graph.add("Slice", x, graph.ints(-1), graph.ints(np.iinfo(np.int64).max), graph.ints(1))
