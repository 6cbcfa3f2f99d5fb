"""Nets over sequences of events, as they learn: what each event of a history says of the next one."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding, layer_norm

from recsys.arrays import F32, I32, I64, Array, Bool
from recsys.encoders.towers.layout import UserLayout
from recsys.encoders.towers.net import Graph
from recsys.encoders.towers.sequence_net import GAPS, SequenceNet
from recsys.training.adam import Adam
from recsys.training.device import CPU
from recsys.training.group import group
from recsys.training.towers.onnx_graph import OnnxGraph


class Hide:
    """Dropout: hides a share of values, in steps of 1/256, and makes the others as much larger.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 2014.
    """

    def __init__(self, share: float, rng: np.random.Generator) -> None:
        self._hidden, self._rng = min(round(256 * share), 255), rng

    def __call__(self, x: Tensor) -> Tensor:
        if not self._hidden:
            return x
        drawn = np.frombuffer(self._rng.bytes(x.numel()), np.uint8)
        kept = torch.from_numpy(
            np.where(drawn >= self._hidden, np.float32(256 / (256 - self._hidden)), np.float32(0))
        )
        return x * kept.to(x.device, x.dtype).view(x.shape)


NOTHING = Hide(0, np.random.default_rng())


class LearnedSequenceNet(ABC):
    """The learning twin of `SequenceNet`. A subclass writes what lies between the events and the vectors:

    - `arrays`: what it learns.
    - `body`: from events (n, length, width) to as many vectors, the one at each event of it and those before.
    Pads
      stand on the right, where no event looks.
    - `graph`: the same without torch, for the last event alone.

    Or it is `masked`: then it learns an array `mask` (1, width), the vector at each event is of those on both
    sides, and what is to be found stands where events are masked. What comes next is a masked event at the
    end, which `graph` adds.

    free: while `body` runs, its own tensors by name, to compute with. inside: while it runs, bool (n,
    length), which events are no pads, None = all. The first and the last thing that is done is to normalise
    each event.

    Source: Ba et al., "Layer Normalization", 2016.
    """

    masked: ClassVar[bool] = False

    def __init__(
        self,
        width: int,
        longest: int,
        layers: int,
        rng: np.random.Generator,
        *,
        older: bool = False,
        types: int = 0,
        gaps: bool = False,
        half_life: float = 0.0,
        domains: int = 0,
        rank: int = 0,
        device: torch.device = CPU,
        precision: torch.dtype = torch.float32,
    ) -> None:
        """longest: events that are read. older: whether those before them count. layers: one above the other.
        types: of events that it sees, 0 = none. gaps: whether it sees the time until the next event.
        domains: of items that it sees, 0 = none; rank: of what adapts vectors to the one that is asked for.
        half_life: of a sum of the events so far, in events, which counts beside the net; 0 = there is none.
        precision: of the products."""
        self.width, self.longest, self.layers, self.half_life = width, longest, layers, half_life
        self.device, self.precision = device, precision
        started = self._ends() | self.arrays(rng)
        if older:
            started["older"] = np.zeros((width, width), np.float32)
        if domains:
            started["domains"] = np.zeros((domains + 1, width), np.float32)
            started["down"] = draw(rng, domains * width, rank, math.sqrt(domains))
            started["up"] = np.zeros((domains * rank, width), np.float32)
        if half_life:
            started["recent"] = np.zeros((width, width), np.float32)
        if types:
            started["types"] = np.zeros((types + 1, width), np.float32)
        if gaps:
            started["gaps"] = np.zeros((GAPS, width), np.float32)
        self.whole = {name: self.to_device(array) for name, array in started.items()}
        self._moves = {name: Adam(tensor) for name, tensor in self.whole.items()}

    @abstractmethod
    def arrays(self, rng: np.random.Generator) -> dict[str, F32]:
        """Its own arrays of two dimensions, by the names that they have in a checkpoint, where learning
        begins."""

    @abstractmethod
    def body(self, events: Tensor, hide: Hide) -> Tensor:
        """(n, length, width), from `free`. hide: what hides some values while it learns."""

    @abstractmethod
    def graph(self, whole: Mapping[str, F32], graph: OnnxGraph, events: str) -> str:
        """Writes the body, of the arrays `whole`, from `events` (n, length, width): the name of what is (n,
        1, width), of the last event."""

    def to_device(self, array: Array) -> Tensor:
        """The array, on the device."""
        return torch.from_numpy(array).to(self.device)

    def forward(
        self,
        events: Tensor,
        beside: Mapping[str, I64],
        hide: Hide,
        before: F32 | None = None,
        inside: Bool | None = None,
        masked: Bool | None = None,
    ) -> Tensor:
        """float32 (n, length, width), with a graph; its own tensors are remembered for `step`.

        events: (n, length, width), of their items. beside: int64 (n, length), their rows in each table that
        counts
        beside the items: `types`, `gaps`, `domains`, as far as they are learned. before: float32 (n, width),
        sums of what is older than these events, where that is learned. inside: bool (n, length), which events
        are no pads.
        masked: bool (n, length), which are masked, where the net has masks.
        """
        self._leaves = {name: tensor.clone().requires_grad_() for name, tensor in self.whole.items()}
        return self._compute(self._leaves, events, beside, hide, before, inside, masked)

    def compute(self, events: Tensor, beside: Mapping[str, I64]) -> Tensor:
        """What `forward` gives, nothing hidden and without what is older; of a net with masks, one event
        more."""
        if not self.masked:
            return self._compute(self.whole, events, beside, NOTHING, None)
        end = np.pad(np.zeros(events.shape[:2], bool), ((0, 0), (0, 1)), constant_values=True)
        events = torch.nn.functional.pad(events, (0, 0, 0, 1))
        beside = {name: np.pad(rows, ((0, 0), (0, 1))) for name, rows in beside.items()}
        return self._compute(self.whole, events, beside, NOTHING, None, None, end)

    def _compute(
        self,
        leaves: Mapping[str, Tensor],
        events: Tensor,
        beside: Mapping[str, I64],
        hide: Hide,
        before: F32 | None,
        inside: Bool | None = None,
        masked: Bool | None = None,
    ) -> Tensor:
        self.inside = inside
        for name, rows in beside.items():
            events = events + embedding(self.to_device(rows), leaves[name])
        if masked is not None:
            events = torch.where(self.to_device(masked)[:, :, None], leaves["mask"][0], events)
        self.free = {name: tensor.to(self.precision) for name, tensor in leaves.items()}
        start = self.norm(events.to(self.precision), "in")
        out = self.norm(self.body(hide(start), hide), "out").float()
        if self.half_life:
            ages = torch.arange(events.shape[1], device=events.device)
            counted = torch.exp2((ages - ages[:, None]) / self.half_life).tril()
            sums = (counted / counted.sum(1, keepdim=True).sqrt()) @ start.float()
            out = out + hide(sums) @ leaves["recent"]
        return out if before is None else out + (self.to_device(before) @ leaves["older"])[:, None]

    def adapt(self, vectors: Tensor, domain: I64) -> Tensor:
        """float32 (m, width): vectors of the last `forward`, adapted to the domains (m,) asked for, -1 =
        none."""
        parts, down = [vectors], self._leaves["down"].view(-1, self.width, self.whole["down"].shape[1])
        up = self._leaves["up"].view(len(down), -1, self.width)
        for code in np.unique(domain[domain >= 0]).tolist():
            rows = self.to_device(np.flatnonzero(domain == code))
            moved = embedding(rows, vectors) @ down[code] @ up[code]
            parts.append(torch.zeros_like(vectors).index_add(0, rows, moved))
        return torch.stack(parts).sum(0)

    def step(self, learning_rate: float) -> None:
        """Moves what the last `forward` used, in any process of the group, against its gradients."""
        together = group()
        for name, tensor in self._leaves.items():
            if tensor.grad is not None or together.size > 1:
                own = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                self._moves[name].step(together.all_reduce(own), learning_rate)

    def state(self, name: str) -> Mapping[str, Tensor]:
        state: dict[str, Tensor] = {}
        for part, moves in self._moves.items():
            state |= moves.state(f"{name}_{part}")
        return state

    def tables(self, name: str) -> Mapping[str, Tensor]:
        """What is learned, by names of its own."""
        return {f"{name}_{part}": tensor for part, tensor in self.whole.items()}

    def export(self, layout: UserLayout, items: F32, *, unit: bool, domain: I32 | None = None) -> SequenceNet:
        """The net so far without torch. items: float32 (n_items, width), what goes in for each; unit: whether
        vectors are brought to length 1; domain: int32 (n_items,), the code of the domain of each, where they
        are learned."""
        whole = {name: tensor.cpu().numpy().copy() for name, tensor in self.whole.items()}
        graph = OnnxGraph()
        start = self.norm_in(graph, whole, "events", "in")
        last = self.norm_in(graph, whole, self.graph(whole, graph, start), "out")
        if self.half_life:
            last = graph.add("Add", last, self._recent(graph, whole["recent"], start))
        last = graph.add("Squeeze", last, graph.ints(1))
        model = graph.model("sequence", "events", ["n", "length", self.width], last, self.width)
        learned: dict[str, Any] = {
            name: whole.get(name) for name in ("older", "types", "gaps", "domains", "down", "up")
        }
        return SequenceNet(
            layout, items, Graph(model), reads=self.longest, unit=unit, domain=domain, **learned
        )

    def _recent(self, graph: OnnxGraph, weights: F32, events: str) -> str:
        """(n, 1, width): the sum of the events, the later ones counting more, times weights."""
        ages = np.arange(self.longest, dtype=np.float32)[None, ::-1]
        start = graph.add("Neg", length_of(graph, events))
        counted = graph.weight(np.exp2(-ages / np.float32(self.half_life)))
        counted = graph.add("Slice", counted, start, graph.ints(np.iinfo(np.int64).max), graph.ints(1))
        total = graph.add("Sqrt", graph.add("ReduceSum", counted, keepdims=1))
        return graph.add(
            "MatMul", graph.add("MatMul", graph.add("Div", counted, total), events), graph.weight(weights)
        )

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Each vector brought to mean 0 and variance 1, then to the gain and shift of this name."""
        return layer_norm(x, (self.width,), self.free[f"{name}_gain"][0], self.free[f"{name}_shift"][0])

    def norm_in(self, graph: OnnxGraph, whole: Mapping[str, F32], x: str, name: str) -> str:
        """`norm` in a graph."""
        gain, shift = (graph.weight(whole[f"{name}_{part}"][0]) for part in ("gain", "shift"))
        return graph.add("LayerNormalization", x, gain, shift, axis=-1, epsilon=1e-5)

    def norm_arrays(self, name: str) -> dict[str, F32]:
        """The arrays of a `norm`, where learning begins."""
        return {
            f"{name}_gain": np.ones((1, self.width), np.float32),
            f"{name}_shift": np.zeros((1, self.width), np.float32),
        }

    def _ends(self) -> dict[str, F32]:
        return self.norm_arrays("in") | self.norm_arrays("out")


def length_of(graph: OnnxGraph, events: str) -> str:
    """(1,): how many events each history has."""
    return graph.add("Shape", events, start=1, end=2)


def draw(rng: np.random.Generator, rows: int, columns: int, gain: float = 1.0) -> F32:
    """float32 (rows, columns), normal, such that a product with it keeps the size of what is multiplied,
    times gain."""
    values: F32 = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(gain / math.sqrt(rows))
    return values
