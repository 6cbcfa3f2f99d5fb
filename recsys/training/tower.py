"""A tower that learns: rows of a table, numbers and a history go in, vectors come out, gradients come back.

What a step costs is what it touches: the rows that a batch names are gathered, moved and put back.
"""

from collections.abc import Mapping

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys.arrays import F32, I64, Array, Ragged
from recsys.encoders.tower import FADING, Inputs, Net
from recsys.encoders.tower import Tower as Served
from recsys.training.adam import Adam
from recsys.training.bags import Bags, bag_sums
from recsys.training.device import CPU
from recsys.training.group import group

_TINY = 1e-12


class Tower:
    """The learning twin of `recsys.encoders.tower.Tower`, of the same numbers.

    With `hidden` layers wide, `relu(x W1 + b) W2` is added to the sum x before it is brought to length 1, if it is; W2
    starts at zero, so that learning begins at what the table says.
    """

    def __init__(
        self,
        table: F32,
        numbers: int,
        hidden: int,
        rng: np.random.Generator,
        built: sparse.csr_array | None = None,
        *,
        unit: bool = True,
        device: torch.device = CPU,
    ) -> None:
        """table: float32 (rows, width), where it starts. numbers: how many go in. built: float32 (rows, rows), what
        each row counts as where it is named: the weighted sum of those of the columns. unit: whether vectors are
        brought to length 1. device: where all of it stands and is computed."""
        width = table.shape[1]
        self.built, self.unit, self.device = built, unit, device
        self.table = Adam(self.placed(table))
        self.whole = {"matrix": torch.zeros(numbers, width), "fading": torch.zeros(FADING, 1)}
        if hidden:
            first = rng.standard_normal((width, hidden), dtype=np.float32) * np.float32((2 / width) ** 0.5)
            self.whole |= {
                "first": torch.from_numpy(first),
                "bias": torch.zeros(1, hidden),
                "second": torch.zeros(hidden, width),
            }
        self.whole = {name: tensor.to(device) for name, tensor in self.whole.items()}
        self._moves = {name: Adam(tensor) for name, tensor in self.whole.items()}

    def placed(self, array: Array) -> Tensor:
        """The array, on the device."""
        return torch.from_numpy(array).to(self.device)

    def forward(self, inputs: Inputs) -> Tensor:
        """float32 (n, width), on the device; remembered for `step`."""
        bags = Bags.of(inputs.rows)
        self._free = {name: tensor.clone().requires_grad_() for name, tensor in self.whole.items()}
        summed = bag_sums(bags, self._rows(bags.rows), self._weights(inputs))
        if inputs.dense.shape[1]:
            summed = summed + self.placed(inputs.dense) @ self._free["matrix"]
        if "first" in self._free:
            summed = summed + torch.relu(summed @ self._free["first"] + self._free["bias"]) @ self._free["second"]
        self._out = summed / summed.norm(dim=1, keepdim=True).clamp_min(_TINY) if self.unit else summed
        vectors: Tensor = self._out.detach()
        return vectors

    def _rows(self, named: I64) -> Tensor:
        """(m, width): what the rows named, int64 (m,) ascending, count as."""
        if self.built is None:
            return self._gathered(named)
        parts = self.built[named]
        made = Bags.of(Ragged(parts.indptr.astype(np.int64), parts.indices))
        return bag_sums(made, self._gathered(made.rows), self.placed(parts.data))

    def _gathered(self, rows: I64) -> Tensor:
        self._touched = self.placed(rows)
        self._values = self.table.table[self._touched].requires_grad_()
        return self._values

    def _weights(self, inputs: Inputs) -> Tensor:
        weight = self.placed(inputs.weight)
        of_history = np.flatnonzero(inputs.place >= 0)
        if not len(of_history):
            return weight
        at = self.placed(of_history)
        entity = self.placed(inputs.rows.row_of_value()[of_history])
        place = self.placed(inputs.place[of_history].astype(np.int64))
        counted = weight[at] * self._free["fading"][:, 0].exp().index_select(0, place)
        total = weight.new_zeros(inputs.rows.rows).index_add(0, entity, counted)
        return weight.index_copy(0, at, counted / total[entity].clamp_min(_TINY).sqrt())

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Moves all that the last `forward` used, in any process of the group, against the gradient (n, width) of the
        loss in its vectors."""
        together = group()
        self._out.backward(gradient)
        assert self._values.grad is not None
        rows, pull = together.summed_rows(self._touched, self._values.grad)
        self.table.step(pull, learning_rate, rows)
        for name, tensor in self._free.items():
            if tensor.grad is not None or together.size > 1:
                own = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                self._moves[name].step(together.summed(own), learning_rate)

    def state(self, name: str) -> Mapping[str, Tensor]:
        found = dict(self.table.state(name))
        for part, moves in self._moves.items():
            found |= moves.state(f"{name}_{part}")
        return found

    def served(self, rows: slice = slice(None)) -> Served:
        """The same without torch; `rows` of the table alone, as what they count as."""
        table, whole = self.table.table.cpu().numpy(), {name: t.cpu().numpy() for name, t in self.whole.items()}
        counted = table[rows].copy() if self.built is None else self.built[rows] @ table
        return Served(
            counted,
            whole["matrix"].copy(),
            whole["fading"][:, 0].copy(),
            Net(self._onnx(whole)),
            linear="first" not in whole,
            unit=self.unit,
        )

    def _onnx(self, whole: Mapping[str, F32]) -> bytes:
        """The net after the sums."""
        from onnx import TensorProto, checker, helper, numpy_helper

        width = self.table.table.shape[1]
        weights, nodes, last = [], [], "summed"
        if "first" in whole:
            weights = [numpy_helper.from_array(whole[n], n) for n in ("first", "bias", "second")]
            nodes += [
                helper.make_node("MatMul", ["summed", "first"], ["widened"]),
                helper.make_node("Add", ["widened", "bias"], ["shifted"]),
                helper.make_node("Relu", ["shifted"], ["kept"]),
                helper.make_node("MatMul", ["kept", "second"], ["more"]),
                helper.make_node("Add", ["summed", "more"], ["added"]),
            ]
            last = "added"
        if self.unit:
            weights.append(numpy_helper.from_array(np.array(_TINY, np.float32), "tiny"))
            nodes += [
                helper.make_node("ReduceL2", [last], ["length"], axes=[1], keepdims=1),
                helper.make_node("Max", ["length", "tiny"], ["longer"]),
                helper.make_node("Div", [last, "longer"], ["vectors"]),
            ]
        else:
            nodes.append(helper.make_node("Identity", [last], ["vectors"]))
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", width]) for n in ("summed", "vectors")]
        graph = helper.make_graph(nodes, "tower", [ends[0]], [ends[1]], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data
