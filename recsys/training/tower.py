"""A tower that learns: rows of a table, numbers and a history go in, vectors come out, gradients come back.

What a step costs is what it touches: the rows that a batch names are gathered, moved and put back.
"""

from collections.abc import Mapping

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from recsys.arrays import F32, Array
from recsys.retrieval.tower import FADING, Inputs, Net
from recsys.retrieval.tower import Tower as Served
from recsys.training.adam import Adam
from recsys.training.bags import Bags
from recsys.training.group import group

_TINY = 1e-12


class Tower:
    """The learning twin of `recsys.retrieval.tower.Tower`, of the same numbers.

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
    ) -> None:
        """table: float32 (rows, width), where it starts. numbers: how many go in. built: float32 (rows, rows), which
        rows count as more than themselves: those of the columns, so often, are added to them. unit: whether vectors
        are brought to length 1."""
        width = table.shape[1]
        self.built, self.unit = built, unit
        self.table = Adam(torch.from_numpy(table))
        self.whole = {"matrix": torch.zeros(numbers, width), "fading": torch.zeros(FADING, 1)}
        if hidden:
            first = rng.standard_normal((width, hidden), dtype=np.float32) * np.float32((2 / width) ** 0.5)
            self.whole |= {
                "first": torch.from_numpy(first),
                "bias": torch.zeros(1, hidden),
                "second": torch.zeros(hidden, width),
            }
        self._moves = {name: Adam(tensor) for name, tensor in self.whole.items()}

    def forward(self, inputs: Inputs) -> Tensor:
        """float32 (n, width); remembered for `step`."""
        self._bags = Bags.of(inputs.rows)
        self._values = self._rows(self._bags.rows)
        self._free = {name: tensor.clone().requires_grad_() for name, tensor in self.whole.items()}
        self._weight = self._weights(inputs)
        sums = self._bags.sums(self._values.numpy(), self._weight.detach().numpy())
        self._summed = summed = torch.from_numpy(sums).requires_grad_()
        if inputs.dense.shape[1]:
            summed = summed + torch.from_numpy(inputs.dense) @ self._free["matrix"]
        if "first" in self._free:
            summed = summed + torch.relu(summed @ self._free["first"] + self._free["bias"]) @ self._free["second"]
        self._out = summed / summed.norm(dim=1, keepdim=True).clamp_min(_TINY) if self.unit else summed
        vectors: Tensor = self._out.detach()
        return vectors

    def _rows(self, named: Array) -> Tensor:
        """(m, width): the rows named, of int64 (m,) ascending, each with what it is built of."""
        if self.built is None:
            self._touched = torch.from_numpy(named)
            return self.table.table[self._touched]
        parts = self.built[named]
        touched = np.union1d(named, parts.indices)
        self._touched = torch.from_numpy(touched)
        columns = np.concatenate([np.searchsorted(touched, rows) for rows in (named, parts.indices)])
        entries = np.concatenate([np.ones(len(named), np.float32), parts.data])
        rows = np.concatenate([np.arange(len(named)), np.repeat(np.arange(len(named)), np.diff(parts.indptr))])
        self._made = sparse.coo_array((entries, (rows, columns)), shape=(len(named), len(touched))).tocsr()
        return torch.from_numpy(self._made @ self.table.table[self._touched].numpy())

    def _weights(self, inputs: Inputs) -> Tensor:
        weight = torch.from_numpy(inputs.weight)
        of_history = np.flatnonzero(inputs.place >= 0)
        if not len(of_history):
            return weight
        at = torch.from_numpy(of_history)
        entity = torch.from_numpy(inputs.rows.row_of_value()[of_history])
        place = torch.from_numpy(inputs.place[of_history].astype(np.int64))
        counted = weight[at] * self._free["fading"][:, 0].exp().index_select(0, place)
        total = torch.zeros(inputs.rows.rows).index_add(0, entity, counted)
        return weight.index_copy(0, at, counted / total[entity].clamp_min(_TINY).sqrt())

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Moves all that the last `forward` used, in any process of the group, against the gradient (n, width) of the
        loss in its vectors."""
        together = group()
        rows, pull = together.summed_rows(self._touched, self._backward(gradient))
        self.table.step(pull, learning_rate, rows)
        for name, tensor in self._free.items():
            if tensor.grad is not None or together.size > 1:
                own = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                self._moves[name].step(together.summed(own), learning_rate)

    def _backward(self, gradient: Tensor) -> Tensor:
        """The gradient of the table rows that the last `forward` touched; what is free keeps its own."""
        self._out.backward(gradient)
        assert self._summed.grad is not None
        of_sums, values, weight = (t.detach().numpy() for t in (self._summed.grad, self._values, self._weight))
        of_values, of_weight = self._bags.gradients(of_sums, values, weight)
        if self._weight.requires_grad:
            torch.autograd.backward(self._weight, torch.from_numpy(of_weight))
        return torch.from_numpy(of_values if self.built is None else self._made.T @ of_values)

    def state(self, name: str) -> Mapping[str, Array]:
        found = dict(self.table.state(name))
        for part, moves in self._moves.items():
            found |= moves.state(f"{name}_{part}")
        return found

    def served(self, rows: slice = slice(None)) -> Served:
        """The same without torch; `rows` of the table alone, each with what it is built of."""
        table, matrix, fading = (t.numpy() for t in (self.table.table, self.whole["matrix"], self.whole["fading"]))
        whole = table[rows].copy() if self.built is None else table[rows] + self.built[rows] @ table
        linear = "first" not in self.whole
        return Served(whole, matrix.copy(), fading[:, 0].copy(), Net(self._onnx()), linear=linear, unit=self.unit)

    def _onnx(self) -> bytes:
        """The net after the sums."""
        from onnx import TensorProto, checker, helper, numpy_helper

        width = self.table.table.shape[1]
        weights, nodes, last = [], [], "summed"
        if "first" in self.whole:
            weights = [numpy_helper.from_array(self.whole[n].numpy(), n) for n in ("first", "bias", "second")]
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
