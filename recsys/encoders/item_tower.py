"""The item encoder of the two-tower model: brand-new items from their features."""

import json
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa

from recsys import durable
from recsys.arrays import F32, I32
from recsys.encoders.features import FeatureRows, Features
from recsys.encoders.tower import Inputs, Tower, plain, single, together


class ItemTower:
    """The item encoder of the two-tower model: a brand-new item gets its vector from its features.

    tower: its table holds the row of the unknown id, then those of features.
    """

    encoder_kind: ClassVar[str] = "item_tower"

    def __init__(self, tower: Tower, features: Features) -> None:
        self.tower, self.features = tower, features

    @property
    def columns(self) -> list[str]:
        return [column.column for column in self.features.columns]

    def encode(self, features: pa.Table) -> F32:
        """float32 (n, dim) for items with these raw columns, as `Features.encoded` reads them."""
        n = features.num_rows
        return self.tower.vectors(item_inputs(np.full(n, -1, np.int32), 0, self.features.encoded(features, n)))

    def save(self, folder: Path) -> None:
        text = json.dumps({"kind": self.encoder_kind}) + "\n"
        durable.write(folder / "encoder.json", lambda path: path.write_text(text))
        for name, array in self.tower.arrays().items():
            durable.write(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))
        durable.write(folder / "net.onnx", lambda path: path.write_bytes(self.tower.net.model))
        self.features.save(folder, "features")

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("table", "matrix", "fading")}
        return cls(Tower.of(folder, arrays, linear=False), Features.load(folder, "features"))


def item_inputs(row: I32, n_items: int, features: FeatureRows | None) -> Inputs:
    """What the item tower takes. row: int32 (n,), -1 for what has no row; its table: items, the unknown, features."""
    return together([plain(single(np.where(row >= 0, row, n_items)))], features, n_items + 1)
