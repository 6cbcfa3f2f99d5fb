"""The net of a bag, as it learns: rows of a table and numbers are added up, a layer may follow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recsys.arrays import F32
from recsys.encoders.towers.bag_net import FADING, BagNet
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import Layout, Summands
from recsys.encoders.towers.net import Graph
from recsys.training.bags import Bags, bag_sums
from recsys.training.towers.net import TINY, LearnedNet


class LearnedBagNet(LearnedNet):
    """The learning twin of `BagNet`, of the same numbers.

    With `hidden` layers wide, `relu(x W1 + b) W2` is added to the sum x before it is brought to length 1, if
    it is; W2 starts at zero, so that learning begins at what the table says.
    """

    def tensors(self, numbers: int, hidden: int, rng: np.random.Generator) -> dict[str, Tensor]:
        whole = {"matrix": torch.zeros(numbers, self.width), "fading": torch.zeros(FADING, 1)}
        if hidden:
            first = rng.standard_normal((self.width, hidden), dtype=np.float32) * np.float32(
                (2 / self.width) ** 0.5
            )
            whole |= {
                "first": torch.from_numpy(first),
                "bias": torch.zeros(1, hidden),
                "second": torch.zeros(hidden, self.width),
            }
        return whole

    def sum_rows(self, inputs: Inputs) -> Tensor:
        summands = self.layout.join(inputs)
        bags, free = Bags.of(summands.rows), self.free
        summed = bag_sums(bags, self.rows(bags.rows), self._weights(summands, bags))
        if summands.dense.shape[1]:
            summed = summed + self.to_device(summands.dense) @ free["matrix"]
        summed = self.moved_by_when(summed, inputs)
        if "first" in free:
            summed = summed + torch.relu(summed @ free["first"] + free["bias"]) @ free["second"]
        return summed

    def moved_by_when(self, summed: Tensor, inputs: Inputs) -> Tensor:
        """The sums (n, width), before the layer, by the moments that are asked about: as they are."""
        return summed

    def _weights(self, summands: Summands, bags: Bags) -> Tensor:
        weight = self.to_device(summands.weight)
        of_history = np.flatnonzero(summands.place >= 0)
        if not len(of_history):
            return weight
        at, entity = self.to_device(of_history), self.to_device(bags.entity[of_history])
        place = self.to_device(summands.place[of_history].astype(np.int64))
        counted = weight[at] * self.free["fading"][:, 0].exp().index_select(0, place)
        total = weight.new_zeros(summands.rows.rows).index_add(0, entity, counted)
        return weight.index_copy(0, at, counted / total[entity].clamp_min(TINY).sqrt())

    def export(self, rows: slice = slice(None), layout: Layout | None = None) -> BagNet:
        """`rows` of the table alone, which then stand as in `layout`."""
        whole = self.own_tensors()
        return BagNet(
            layout or self.layout,
            self.served_rows(rows),
            whole["matrix"].copy(),
            whole["fading"][:, 0].copy(),
            Graph(self._onnx(whole)),
            linear="first" not in whole,
            unit=self.unit,
        )

    def _onnx(self, whole: Mapping[str, F32]) -> bytes:
        """The graph after the sums."""
        from onnx import TensorProto, checker, helper, numpy_helper

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
            weights.append(numpy_helper.from_array(np.array(TINY, np.float32), "tiny"))
            nodes += [
                helper.make_node("ReduceL2", [last], ["length"], axes=[1], keepdims=1),
                helper.make_node("Max", ["length", "tiny"], ["longer"]),
                helper.make_node("Div", [last, "longer"], ["vectors"]),
            ]
        else:
            nodes.append(helper.make_node("Identity", [last], ["vectors"]))
        ends = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", self.width])
            for n in ("summed", "vectors")
        ]
        graph = helper.make_graph(nodes, "tower", [ends[0]], [ends[1]], weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data


class AgedBagNet(LearnedBagNet):
    """Learns with the age of each example: its share of the log before the last event, and the root of that,
    times a matrix, are added to the sum. Who is answered asks as of the last event, so what serves is a
    `BagNet` without it.

    Source: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, section 3.3.
    """

    needs = frozenset({"weight", "now"})

    def __init__(self, *args: Any, ages: tuple[int, int], **more: Any) -> None:
        """ages: unix seconds of the first and of the last event."""
        super().__init__(*args, **more)
        self.first, self.last = ages

    def tensors(self, numbers: int, hidden: int, rng: np.random.Generator) -> dict[str, Tensor]:
        return super().tensors(numbers, hidden, rng) | {"age": torch.zeros(2, self.width)}

    def moved_by_when(self, summed: Tensor, inputs: Inputs) -> Tensor:
        assert inputs.now is not None
        age = (self.last - inputs.now).clip(0) / max(self.last - self.first, 1)
        return (
            summed
            + self.to_device(np.stack([age, np.sqrt(age)], axis=1).astype(np.float32)) @ self.free["age"]
        )
