"""Blocks of attention without a softmax over sequences of events, as they learn and as a graph."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import layer_norm, silu

from recsys.arrays import F32
from recsys.training.towers.onnx_graph import OnnxGraph
from recsys.training.towers.sequence_net import Hide, LearnedSequenceNet, draw, length_of
from recsys.training.towers.transformer import distance_bias, heads_of, last_of, products, square


class LearnedHSTU(LearnedSequenceNet):
    """Blocks in which what an event takes from each one before is no share of one, but a mean of gated
    products.

    Source: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers for
    Generative Recommendations", ICML 2024 (HSTU), with a bias by distance in places alone.
    """

    def __init__(self, width: int, longest: int, layers: int, rng: Any, *, heads: int, **more: Any) -> None:
        """heads: parts that attend by themselves."""
        self.heads = heads
        super().__init__(width, longest, layers, rng, **more)

    def arrays(self, rng: np.random.Generator) -> dict[str, F32]:
        d, arrays = self.width, dict[str, F32]()
        for n in range(self.layers):
            arrays |= self.norm_arrays(f"{n}")
            arrays[f"{n}_attend"] = draw(rng, d, 4 * d)
            # the latest count most, or a mean of many gated products says too little of each to begin to
            # learn
            near = 4 / np.arange(1, self.longest + 1, dtype=np.float32)
            arrays[f"{n}_distance"] = np.tile(near, (self.heads, 1))
            arrays[f"{n}_out"] = draw(rng, d, d, 1 / math.sqrt(self.layers))
        return arrays

    def body(self, events: Tensor, hide: Hide) -> Tensor:
        x, free, length = events, self.free, events.shape[1]
        places = torch.arange(length, device=x.device)
        apart = (places[:, None] - places).clamp_min(0)
        past = torch.ones((length, length), device=x.device).tril() / (places + 1)[:, None]
        scale = (self.width / self.heads) ** -0.5
        for n in range(self.layers):
            parts = silu(self.norm(x, f"{n}") @ free[f"{n}_attend"]).chunk(4, dim=-1)
            q, k, v = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts[:3])
            scores = (q * scale) @ k.transpose(2, 3) + free[f"{n}_distance"][:, apart]
            mixed = ((silu(scores) * past.to(x.dtype)) @ v).transpose(1, 2).flatten(2)
            x = x + hide((layer_norm(mixed, (self.width,)) * parts[3]) @ free[f"{n}_out"])
        return x

    def graph(self, whole: Mapping[str, F32], graph: OnnxGraph, events: str) -> str:
        """Of the last block nothing but the last event is asked, so its query and gate are of that alone."""
        length, d = length_of(graph, events), self.width
        x, one, none = events, np.ones(d, np.float32), np.zeros(d, np.float32)
        for n in range(self.layers):
            last = n == self.layers - 1
            a, weights = self.norm_in(graph, whole, x, f"{n}"), whole[f"{n}_attend"]
            asked = last_of(graph, a) if last else a
            both = [(asked, weights[:, [*range(d), *range(3 * d, 4 * d)]]), (a, weights[:, d : 3 * d])]
            (q, opening), (k, v) = (
                [_silu(graph, part) for part in products(graph, *pair, 2)] for pair in both
            )
            q = graph.add(
                "Mul", heads_of(graph, q, self.heads, d, (0, 2, 1, 3)), _scale(graph, d / self.heads)
            )
            scores = graph.add("MatMul", q, heads_of(graph, k, self.heads, d, (0, 2, 3, 1)))
            bias = distance_bias(graph, whole[f"{n}_distance"], length, last, future=0)
            past = self._past(graph, length, last)
            taken = graph.add("Mul", _silu(graph, graph.add("Add", scores, bias)), past)
            mixed = graph.add("MatMul", taken, heads_of(graph, v, self.heads, d, (0, 2, 1, 3)))
            mixed = graph.add(
                "Reshape", graph.add("Transpose", mixed, perm=(0, 2, 1, 3)), graph.ints(0, 0, d)
            )
            ends = graph.weight(one), graph.weight(none)
            mixed = graph.add("LayerNormalization", mixed, *ends, axis=-1, epsilon=1e-5)
            moved = graph.add("MatMul", graph.add("Mul", mixed, opening), graph.weight(whole[f"{n}_out"]))
            x = graph.add("Add", last_of(graph, x) if last else x, moved)
        return x

    def _past(self, graph: OnnxGraph, length: str, last: bool) -> str:
        """(length, length): one through how many events do not come later, 0 for those that do; of the last
        (1,)."""
        if last:
            return graph.add("Reciprocal", graph.add("Cast", length, to=1))
        places = np.arange(self.longest)
        return square(graph, ((places[:, None] >= places) / (places + 1)[:, None]).astype(np.float32), length)


def _silu(graph: OnnxGraph, x: str) -> str:
    return graph.add("Mul", x, graph.add("Sigmoid", x))


def _scale(graph: OnnxGraph, size: float) -> str:
    return graph.weight(np.float32(size**-0.5))
