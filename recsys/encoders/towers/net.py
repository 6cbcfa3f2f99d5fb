"""Nets without torch: what joins the parts of a tower's inputs into vectors, and how one is found by its
name."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from recsys.arrays import F32, I32, Array
from recsys.encoders.encoder import class_of
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import UserLayout
from recsys.errors import BundleError


class Net(Protocol):
    """The served form of a user tower's net: vectors of people of whom it sees row, history and features
    apart.

    net_kind: its name on disk, a word. needs: what it looks at beside rows, items and features: some of
    `time`, `event`, `weight` and `now`. width: of the vectors. explains: whether `shares` are exact.
    """

    net_kind: ClassVar[str]

    @property
    def needs(self) -> frozenset[str]: ...

    @property
    def width(self) -> int: ...

    @property
    def explains(self) -> bool: ...

    def vectors(self, inputs: Inputs) -> F32:
        """float32 (n, width)."""

    def shares(self, person: Inputs, vectors: F32) -> F32 | None:
        """float32 (k, m): how much each of the last m events of one person's history adds to the scores of
        `vectors` (k, width); what is not of the history is shared out evenly. None where the net cannot
        say."""

    def without_rows(self, rows: I32) -> Self:
        """The same with nothing left of these known users (m,), where it has rows of users at all."""

    def parameters(self) -> dict[str, Any]:
        """What beside arrays and files determines it, for JSON."""

    def arrays(self) -> dict[str, Array]:
        """Its arrays, by the names of their files."""

    def files(self) -> dict[str, bytes]:
        """Other files, by name, as `net.onnx`."""

    @classmethod
    def load(
        cls, folder: Path, layout: UserLayout, parameters: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        """Reads it back; its files lie in `folder`. layout: where what stands in its table."""


class Graph:
    """An ONNX model, from inputs by name to `vectors` (n, width). One thread: a service answers many at
    once."""

    def __init__(self, model: bytes) -> None:
        self.model = model

    @cached_property
    def _session(self) -> Any:
        try:
            import onnxruntime
        except ImportError:
            raise BundleError(
                "a two-tower model needs onnxruntime, which the extra `serve` brings."
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])

    def __call__(self, **inputs: Array) -> F32:
        vectors: F32 = self._session.run(["vectors"], inputs)[0]
        return vectors


# Nets by kind, as "module:Class", so that a bundle loads the code of its own alone.
NETS: dict[str, str] = {
    "bag": "recsys.encoders.towers.bag_net:BagNet",
    "sequence": "recsys.encoders.towers.sequence_net:SequenceNet",
}
ENTRY_POINTS = "recsys.nets"  # the group in which an installed package names nets of its own, by kind


def load_net(
    folder: Path, layout: UserLayout, parameters: Mapping[str, Any], arrays: Mapping[str, Array]
) -> Net:
    """The net of a tower saved in `folder`; one that does not state its kind is a bag."""
    kind = class_of(parameters.get("net", "bag"), folder, NETS, ENTRY_POINTS, "a net")
    net: Net = kind.load(folder, layout, parameters, arrays)
    return net
