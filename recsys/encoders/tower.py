"""Towers without torch: weighted sums of table rows in numpy, and what follows them by onnxruntime."""

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from recsys.arrays import F32, I8, Array, Ragged, offsets_of
from recsys.encoders.features import FeatureRows
from recsys.errors import BundleError

FADING = 16  # powers of two of places from the end of a history: a weight is learned for each
_PLAIN = -1
_BLOCK = 1 << 16  # table rows summed at a time


class Inputs(NamedTuple):
    """What a tower takes of n entities. rows: of its table; weight: float32 and place: int8, both (nnz,) beside them;
    dense: float32 (n, numbers).

    place: -1 for what weighs `weight`; of events of a history the power of two of their places from its end, for which
    a weight is learned. The weights of a history are then divided by the root of their sum."""

    rows: Ragged
    weight: F32
    place: I8
    dense: F32

    def take(self, which: slice) -> "Inputs":
        """Those of a slice of the entities."""
        offsets = self.rows.offsets[which.start : which.stop + 1]
        inside = slice(int(offsets[0]), int(offsets[-1]))
        rows = Ragged(offsets - offsets[0], self.rows.values[inside])
        return Inputs(rows, self.weight[inside], self.place[inside], self.dense[which])


def together(parts: list[tuple[Ragged, F32, I8]], features: FeatureRows | None, features_at: int) -> Inputs:
    """The rows of all parts, entity by entity; those of the features stand from `features_at` on in the table."""
    dense = np.zeros((parts[0][0].rows, 0), np.float32)
    if features is not None:
        shifted = Ragged(features.rows.offsets, features.rows.values + np.int32(features_at))
        parts, dense = [*parts, plain(shifted, features.weight)], features.dense
    if len(parts) == 1:
        return Inputs(*parts[0], dense)
    entity = np.concatenate([rows.row_of_value() for rows, _, _ in parts])
    order = np.argsort(entity, kind="stable")
    values, weight, place = (
        np.concatenate(one)[order] for one in zip(*((r.values, w, p) for r, w, p in parts), strict=True)
    )
    return Inputs(Ragged(offsets_of(np.bincount(entity, minlength=len(dense))), values), weight, place, dense)


def plain(rows: Ragged, weight: F32 | None = None) -> tuple[Ragged, F32, I8]:
    """Rows that weigh what they weigh."""
    n = len(rows.values)
    return rows, np.ones(n, np.float32) if weight is None else weight, np.full(n, _PLAIN, np.int8)


def single(values: Array) -> Ragged:
    """One value for each entity."""
    return Ragged(np.arange(len(values) + 1, dtype=np.int64), np.asarray(values, np.int32))


class Net:
    """What follows the sums: an ONNX model from `summed` (n, width) to `vectors` (n, width). One thread: a service
    answers many at once."""

    def __init__(self, model: bytes) -> None:
        self.model = model

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError:
            raise BundleError("a two-tower model needs onnxruntime, which the extra `serve` brings.") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

    def __call__(self, summed: F32) -> F32:
        vectors: F32 = self._session.run(["vectors"], {"summed": summed})[0]
        return vectors


class Tower:
    """From `Inputs` to vectors float32 (n, width): a sum of weighted rows and of numbers times a matrix, then a net.

    table: float32 (rows, width). matrix: float32 (numbers, width). fading: float32 (FADING,), logarithms of the weights
    by place in a history. linear: whether the net does no more than bring to length 1; unit: whether it does that.
    """

    def __init__(self, table: F32, matrix: F32, fading: F32, net: Net, *, linear: bool, unit: bool = True) -> None:
        self.table, self.matrix, self.fading, self.net = table, matrix, fading, net
        self.linear, self.unit = linear, unit

    @property
    def width(self) -> int:
        return int(self.table.shape[1])

    def weights(self, inputs: Inputs) -> F32:
        """float32 (nnz,): what each row counts."""
        weight = inputs.weight
        of_history = np.flatnonzero(inputs.place >= 0)
        if len(of_history):
            entity = inputs.rows.row_of_value()[of_history]
            counted = weight[of_history] * np.exp(self.fading[inputs.place[of_history]])
            total = np.bincount(entity, counted, minlength=inputs.rows.rows)[entity]
            weight = weight.copy()
            weight[of_history] = counted / np.sqrt(np.maximum(total, 1e-12))
        return weight

    def summed(self, inputs: Inputs) -> F32:
        """float32 (n, width)."""
        found: F32 = inputs.dense @ self.matrix
        some = np.flatnonzero(inputs.rows.lengths)
        if len(some):
            added = self.table[inputs.rows.values] * self.weights(inputs)[:, None]
            found[some] += np.add.reduceat(added, inputs.rows.offsets[some], axis=0)
        return found

    def vectors(self, inputs: Inputs) -> F32:
        """float32 (n, width), a block of entities at a time."""
        n, offsets = inputs.rows.rows, inputs.rows.offsets
        if offsets[-1] <= _BLOCK:
            return self.net(self.summed(inputs))
        blocks, start = list[F32](), 0
        while start < n:
            stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + _BLOCK, side="right")) - 1)
            blocks.append(self.net(self.summed(inputs.take(slice(start, stop)))))
            start = stop
        return np.concatenate(blocks)

    def arrays(self) -> dict[str, Any]:
        return {"table": self.table, "matrix": self.matrix, "fading": self.fading}

    def digest_arrays(self) -> dict[str, Any]:
        return self.arrays() | {"net": np.frombuffer(self.net.model, np.uint8)}

    @classmethod
    def of(cls, folder: Path, arrays: dict[str, Any], *, linear: bool, unit: bool = True) -> Self:
        net = Net((folder / "net.onnx").read_bytes())
        return cls(arrays["table"], arrays["matrix"], arrays["fading"], net, linear=linear, unit=unit)
