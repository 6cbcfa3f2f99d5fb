"""The item encoder of a concatenation: a brand-new item stands in every part of it."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from recsys import durable
from recsys.arrays import F32, Array
from recsys.encoders.encoder import ItemEncoder, load_item_encoder
from recsys.errors import ModelError

if TYPE_CHECKING:
    import pyarrow as pa

_NEIGHBOURS = 20
_TINY = np.float32(1e-12)
_BLOCK_BYTES = 1 << 26  # of similarities to known items at a time


class ItemConcat:
    """The item encoders of several spaces side by side, in the order of `Concat`, which does the same for
    users.

    A part that has no item encoder places a new item by its neighbours: the mean of the part's vectors over
    the known items that are nearest, by cosine, in the columns of the parts that have one. parts: None for
    one without. items: float32 (n_items, sum of dims), the vectors of the items that were learned. dims: the
    columns of each part.
    """

    encoder_kind: ClassVar[str] = "item_concat"

    def __init__(
        self,
        parts: Sequence[ItemEncoder | None],
        items: F32,
        dims: Sequence[int],
        neighbours: int = _NEIGHBOURS,
    ) -> None:
        if len(parts) != len(dims) or sum(dims) != items.shape[1] or all(part is None for part in parts):
            raise ModelError(
                f"an item encoder of {len(parts)} parts with {sum(dims)} columns does not fit {len(dims)} "
                f"parts with {items.shape[1]}, or none of them has an item encoder."
            )
        self.parts, self.items, self.dims, self.neighbours = tuple(parts), items, tuple(dims), neighbours

    @property
    def columns(self) -> list[str]:
        return list(
            dict.fromkeys(column for part in self.parts if part is not None for column in part.columns)
        )

    def encode(self, features: "pa.Table") -> F32:
        vectors = np.zeros((features.num_rows, self.items.shape[1]), np.float32)
        for part, columns in zip(self.parts, self._spans(), strict=True):
            if part is not None:
                vectors[:, columns] = part.encode(features)
        if None in self.parts:
            size = max(1, _BLOCK_BYTES // (4 * len(self.items)))
            for start in range(0, len(vectors), size):
                self._place_by_neighbours(vectors[start : start + size])
        return vectors

    def _place_by_neighbours(self, vectors: F32) -> None:
        """Fills the columns of the parts without an item encoder, of new items (n, dim) that have the
        others."""
        similarity = self._similarity(vectors)
        for part, columns, length in zip(self.parts, self._spans(), self._lengths, strict=True):
            learned = np.flatnonzero(length)
            count = min(self.neighbours, len(learned))
            if part is None and count:
                nearest = np.argpartition(-similarity[:, learned], count - 1, axis=1)[:, :count]
                vectors[:, columns] = self.items[:, columns][learned[nearest]].mean(axis=1)

    def _similarity(self, vectors: F32) -> F32:
        """float32 (n, n_items): to the learned items, the cosines of the parts with an item encoder,
        summed."""
        similarity = np.zeros((len(vectors), len(self.items)), np.float32)
        for part, columns, length in zip(self.parts, self._spans(), self._lengths, strict=True):
            if part is not None:
                own = np.linalg.norm(vectors[:, columns], axis=1, keepdims=True)
                cosines = (vectors[:, columns] / np.maximum(own, _TINY)) @ self.items[:, columns].T
                similarity += cosines / np.maximum(length, _TINY)
        return similarity

    @cached_property
    def _lengths(self) -> list[F32]:
        """float32 (n_items,) for each part: the lengths of its columns, 0 for items that it did not learn."""
        return [np.linalg.norm(self.items[:, columns], axis=1) for columns in self._spans()]

    def _spans(self) -> list[slice]:
        """Where the columns of each part stand."""
        ends = np.cumsum(self.dims)
        return [slice(int(end) - dim, int(end)) for dim, end in zip(self.dims, ends, strict=True)]

    def save(self, folder: Path) -> None:
        said = {"n_items": len(self.items), "dims": self.dims, "neighbours": self.neighbours}
        said["parts"] = [part is not None for part in self.parts]
        text = json.dumps({"kind": self.encoder_kind, "parameters": said}, indent=1) + "\n"
        durable.write(folder / "encoder.json", lambda path: path.write_text(text))
        for number, part in enumerate(self.parts):
            if part is not None:
                (folder / f"part-{number}").mkdir()
                part.save(folder / f"part-{number}")

    @classmethod
    def load(cls, folder: Path, items: Array) -> Self:
        said = json.loads((folder / "encoder.json").read_text())["parameters"]
        learned, ends = items[: said["n_items"]], np.cumsum(said["dims"])
        parts = [
            load_item_encoder(folder / f"part-{number}", learned[:, end - dim : end]) if present else None
            for number, (present, dim, end) in enumerate(zip(said["parts"], said["dims"], ends, strict=True))
        ]
        return cls(parts, learned, said["dims"], said["neighbours"])
