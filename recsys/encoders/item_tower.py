"""The item encoder of the two-tower model: brand-new items from their features."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from recsys import durable
from recsys.arrays import F32
from recsys.encoders.features import Features
from recsys.encoders.towers.bag_net import BagNet
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import ItemLayout

if TYPE_CHECKING:
    import pyarrow as pa


class ItemTower:
    """The item encoder of the two-tower model: a brand-new item gets its vector from its features.

    net: a bag over a table of the row of the unknown id, then those of features.
    """

    encoder_kind: ClassVar[str] = "item_tower"

    def __init__(self, net: BagNet, features: Features) -> None:
        self.net, self.features = net, features

    @property
    def columns(self) -> list[str]:
        return [column.column for column in self.features.columns]

    def encode(self, features: "pa.Table") -> F32:
        """float32 (n, dim) for items with these raw columns, as `Features.encoded` reads them."""
        n = features.num_rows
        return self.net.vectors(Inputs(np.full(n, -1, np.int32), features=self.features.encode(features, n)))

    def save(self, folder: Path) -> None:
        text = json.dumps({"kind": self.encoder_kind}) + "\n"
        durable.write(folder / "encoder.json", lambda path: path.write_text(text))
        for name, array in self.net.arrays().items():
            durable.write(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))
        for name, data in self.net.files().items():
            durable.write(folder / name, partial(Path.write_bytes, data=data))
        self.features.save(folder, "features")

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("table", "matrix", "fading")
        }
        return cls(
            BagNet.load(folder, ItemLayout(0), {"linear": False}, arrays), Features.load(folder, "features")
        )
