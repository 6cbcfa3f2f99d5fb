"""ONNX graphs by hand: a node a line."""

from typing import Any

import numpy as np

from recsys.arrays import Array

OPSET, IR_VERSION = 18, 8


class OnnxGraph:
    """A graph that is written node by node, in the order of computing; a name stands for what a node
    gives."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def weight(self, array: Array | np.float32) -> str:
        """The name of a constant."""
        from onnx import numpy_helper

        name = f"weight_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def ints(self, *values: int) -> str:
        """The name of a constant, int64 (n,)."""
        return self.weight(np.array(values, np.int64))

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """A node; the name of its first output."""
        from onnx import helper

        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def split(self, x: str, count: int) -> list[str]:
        """The names of equal parts of the last dimension."""
        from onnx import helper

        names = [f"split_{len(self._nodes)}_{part}" for part in range(count)]
        self._nodes.append(helper.make_node("Split", [x], names, axis=-1, num_outputs=count))
        return names

    def model(self, name: str, source: str, shape: list[Any], result: str, width: int) -> bytes:
        """The model from the input `source` of a shape to `vectors` (n, width), which `result` is;
        checked."""
        from onnx import TensorProto, checker, helper

        self._nodes.append(helper.make_node("Identity", [result], ["vectors"]))
        ends = [
            helper.make_tensor_value_info(source, TensorProto.FLOAT, shape),
            helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", width]),
        ]
        graph = helper.make_graph(self._nodes, name, ends[:1], ends[1:], self._weights)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data
