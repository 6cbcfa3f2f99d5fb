"""The Transformer over sequences of events, as it learns and as a graph."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention, silu

from recsys.arrays import F32
from recsys.training.towers.onnx_graph import OnnxGraph
from recsys.training.towers.sequence_net import Hide, LearnedSequenceNet, drawn


class LearnedTransformer(LearnedSequenceNet):
    """Blocks of causal attention and a wider layer, both with a gate; attention knows how far apart two events are.

    Sources: Vaswani et al., "Attention Is All You Need", NeurIPS 2017; Kang, McAuley, "Self-Attentive Sequential
    Recommendation", ICDM 2018; Shazeer, "GLU Variants Improve Transformer", 2020 (the layer); Raffel et al., "T5", JMLR
    2020 (a bias by distance); Borisyuk et al., "From Features to Transformers", 2025 (the gate of attention).
    """

    def __init__(
        self, width: int, longest: int, layers: int, rng: Any, *, heads: int, widened: int, **more: Any
    ) -> None:
        """heads: parts that attend by themselves; widened: width of the layer."""
        self.heads, self.widened = heads, widened
        super().__init__(width, longest, layers, rng, **more)

    def arrays(self, rng: np.random.Generator) -> dict[str, F32]:
        d, found = self.width, dict[str, F32]()
        small = 1 / math.sqrt(2 * self.layers)
        for n in range(self.layers):
            found |= self.norm_arrays(f"{n}")
            found[f"{n}_attend"] = drawn(rng, d, 4 * d)
            found[f"{n}_distance"] = np.zeros((self.heads, self.longest), np.float32)
            found[f"{n}_out"] = drawn(rng, d, d, small)
            found |= self.norm_arrays(f"{n}_widened")
            found[f"{n}_widen"] = drawn(rng, d, 2 * self.widened)
            found[f"{n}_narrow"] = drawn(rng, self.widened, d, small)
        return found

    def body(self, events: Tensor, hide: Hide) -> Tensor:
        x, free, length = events, self.free, events.shape[1]
        places = torch.arange(length, device=x.device)
        apart = (places[:, None] - places).clamp_min(0)
        future = torch.full((length, length), -torch.inf, device=x.device).triu(1)
        for n in range(self.layers):
            q, k, v, gate = (self.norm(x, f"{n}") @ free[f"{n}_attend"]).chunk(4, dim=-1)
            q, k, v = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in (q, k, v))
            bias = (free[f"{n}_distance"][:, apart] + future).to(q.dtype)[None]
            mixed = scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2).flatten(2)
            x = x + hide((mixed * torch.sigmoid(gate)) @ free[f"{n}_out"])
            wide, gate = (self.norm(x, f"{n}_widened") @ free[f"{n}_widen"]).chunk(2, dim=-1)
            x = x + hide((silu(gate) * wide) @ free[f"{n}_narrow"])
        return x

    def graph(self, whole: Mapping[str, F32], graph: OnnxGraph, events: str) -> str:
        """Of the last block nothing but the last event is asked, so its query, gate and layer are of that alone."""
        length = graph.add("Shape", "events", start=1, end=2)
        places = graph.add("Range", *(graph.scalar(0), graph.add("Squeeze", length), graph.scalar(1)))
        x = events
        for n in range(self.layers):
            last = n == self.layers - 1
            a = self.normed(graph, whole, x, f"{n}")
            asked = _last(graph, a) if last else a
            query, key, value, opening = np.split(whole[f"{n}_attend"], 4, axis=1)
            q, k, v = (
                self._heads(graph, graph.add("MatMul", rows, graph.weight(weight)), order)
                for rows, weight, order in (
                    (asked, query, (0, 2, 1, 3)),
                    (a, key, (0, 2, 3, 1)),
                    (a, value, (0, 2, 1, 3)),
                )
            )
            scores = graph.add("MatMul", q, k)
            scores = graph.add("Mul", scores, graph.weight(np.float32((self.width / self.heads) ** -0.5)))
            bias = self._bias(graph, whole[f"{n}_distance"], places, length, last)
            share = graph.add("Softmax", graph.add("Add", scores, bias), axis=-1)
            mixed = graph.add("Transpose", graph.add("MatMul", share, v), perm=(0, 2, 1, 3))
            mixed = graph.add("Reshape", mixed, graph.ints(0, 0, self.width))
            opened = graph.add("Sigmoid", graph.add("MatMul", asked, graph.weight(opening)))
            moved = graph.add("MatMul", graph.add("Mul", mixed, opened), graph.weight(whole[f"{n}_out"]))
            x = graph.add("Add", _last(graph, x) if last else x, moved)
            b = self.normed(graph, whole, x, f"{n}_widened")
            wide, gate = (
                graph.add("MatMul", b, graph.weight(part)) for part in np.split(whole[f"{n}_widen"], 2, axis=1)
            )
            opened = graph.add("Mul", gate, graph.add("Sigmoid", gate))
            narrowed = graph.add("MatMul", graph.add("Mul", opened, wide), graph.weight(whole[f"{n}_narrow"]))
            x = graph.add("Add", x, narrowed)
        return x

    def _heads(self, graph: OnnxGraph, x: str, order: tuple[int, ...]) -> str:
        split = graph.add("Reshape", x, graph.ints(0, 0, self.heads, self.width // self.heads))
        return graph.add("Transpose", split, perm=order)

    def _bias(self, graph: OnnxGraph, distance: F32, places: str, length: str, last: bool) -> str:
        """(heads, length, length) by how far apart events are, the future shut off; for the last (heads, 1, length)."""
        asked = graph.add("Sub", length, graph.ints(1)) if last else graph.add("Unsqueeze", places, graph.ints(1))
        apart = graph.add("Sub", asked, places)  # last: (length,), else (length, length)
        bias = graph.add("Gather", graph.weight(distance), graph.add("Max", apart, graph.scalar(0)), axis=1)
        if last:
            return graph.add("Unsqueeze", bias, graph.ints(1))
        ahead = graph.add("Less", apart, graph.scalar(0))
        return graph.add("Where", ahead, graph.weight(np.float32(-np.inf)), bias)


def _last(graph: OnnxGraph, x: str) -> str:
    """(n, 1, width): the last of each of (n, length, width)."""
    return graph.add("Slice", x, graph.ints(-1), graph.ints(np.iinfo(np.int64).max), graph.ints(1))
