"""Nets that learn: the table and the tensors of a tower, and how they move against a gradient."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys.arrays import F32, I64, Array, Ragged
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import Layout
from recsys.training.adam import Adam
from recsys.training.bags import Bags, bag_sums
from recsys.training.device import CPU
from recsys.training.group import group

TINY = 1e-12


class LearnedNet(ABC):
    """The learning twin of a net that serves, of the same numbers. A subclass writes three things, all else
    is here:

    - `tensors`: what it learns beside the table.
    - `sum_rows`: what it makes of its inputs, in torch, from `rows` of the table and from `free`.
    - `export`: the same without torch (`recsys.encoders.towers.net.Net`).

    What a step costs is what it touches: the rows that a batch names are gathered, moved and put back.

    needs: what it looks at beside rows, items and features: some of `time`, `event`, `weight` and `now`.
    free: while `sum_rows` runs, its own tensors by name, to compute with.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"weight"})

    def __init__(
        self,
        layout: Layout,
        table: F32,
        numbers: int,
        hidden: int,
        rng: np.random.Generator,
        built: sparse.csr_array | None = None,
        *,
        unit: bool = True,
        device: torch.device = CPU,
    ) -> None:
        """layout: where what stands in the table. table: float32 (rows, width), where it starts. numbers: how
        many go in. hidden: width of a layer, 0 = none. built: float32 (rows, rows), what each row counts as
        where it is named: the weighted sum of those of the columns. unit: whether vectors are brought to
        length 1. device: where all of it stands and is computed."""
        self.layout, self.width = layout, table.shape[1]
        self.built, self.unit, self.device = built, unit, device
        self.table = Adam(self.to_device(table))
        started = self.tensors(numbers, hidden, rng)
        self.whole = {name: tensor.to(device) for name, tensor in started.items()}
        self._moves = {name: Adam(tensor) for name, tensor in self.whole.items()}

    @abstractmethod
    def tensors(self, numbers: int, hidden: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Its own tensors of two dimensions, by the names that they have in a checkpoint, where learning
        begins."""

    @abstractmethod
    def sum_rows(self, inputs: Inputs) -> Tensor:
        """(n, width), before it is brought to length 1. Asks once for the `rows` of the table that it
        needs."""

    @abstractmethod
    def export(self) -> Any:
        """The net so far without torch."""

    def to_device(self, array: Array) -> Tensor:
        """The array, on the device."""
        return torch.from_numpy(array).to(self.device)

    def forward(self, inputs: Inputs) -> Tensor:
        """float32 (n, width), on the device; remembered for `step`."""
        self.free = {name: tensor.clone().requires_grad_() for name, tensor in self.whole.items()}
        summed = self.sum_rows(inputs)
        self._out = summed / summed.norm(dim=1, keepdim=True).clamp_min(TINY) if self.unit else summed
        vectors: Tensor = self._out.detach()
        return vectors

    def rows(self, named: I64) -> Tensor:
        """(m, width): what the rows named, int64 (m,) ascending and distinct, count as."""
        if self.built is None:
            return self._gather_rows(named)
        parts = self.built[named]
        made = Bags.of(Ragged(parts.indptr.astype(np.int64), parts.indices))
        return bag_sums(made, self._gather_rows(made.rows), self.to_device(parts.data))

    def _gather_rows(self, rows: I64) -> Tensor:
        self._touched = self.to_device(rows)
        self._values = self.table.table[self._touched].requires_grad_()
        return self._values

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Moves all that the last `forward` used, in any process of the group, against the gradient (n,
        width) of the loss in its vectors."""
        together = group()
        self._out.backward(gradient)
        assert self._values.grad is not None
        rows, pull = together.summed_rows(self._touched, self._values.grad)
        self.table.step(pull, learning_rate, rows)
        for name, tensor in self.free.items():
            if tensor.grad is not None or together.size > 1:
                own = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                self._moves[name].step(together.all_reduce(own), learning_rate)

    def state(self, name: str) -> Mapping[str, Tensor]:
        state = dict(self.table.state(name))
        for part, moves in self._moves.items():
            state |= moves.state(f"{name}_{part}")
        return state

    def tables(self, name: str) -> Mapping[str, Tensor]:
        """What is learned, by names of its own."""
        return {name: self.table.table} | {f"{name}_{part}": tensor for part, tensor in self.whole.items()}

    def served_rows(self, rows: slice = slice(None)) -> F32:
        """float32 (rows, width): what these rows of the table count as, for the net that serves."""
        table: F32 = self.table.table.cpu().numpy()
        counted: F32 = table[rows].copy() if self.built is None else self.built[rows] @ table
        return counted

    def own_tensors(self) -> dict[str, F32]:
        """Its own tensors so far, by name."""
        return {name: tensor.cpu().numpy() for name, tensor in self.whole.items()}
