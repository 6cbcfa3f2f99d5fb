"""Somebody else's net for the user tower, in their own file: the older an event of a history, the less it
counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from recsys.arrays import F32, I32, Array, empty_rows
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import UserLayout
from recsys.training.towers.net import LearnedNet


def days_old(inputs: Inputs) -> tuple[Array, Array, F32]:
    """Of each event of the histories: whose it is, its item, and its age in days; from the last one without
    `now`."""
    past = inputs.history.histories(("time",))
    person = past.items.row_of_value()
    now = inputs.now
    if now is None:
        now = np.zeros(len(inputs), np.int64)
        np.maximum.at(now, person, past.time)
    return person, past.items.values, ((now[person] - past.time) / 86_400).astype(np.float32)


class Recency:
    """The row of one's own, and the history with weights exp(-age * pace), in numpy alone."""

    net_kind: ClassVar[str] = "recency"
    needs: ClassVar[frozenset[str]] = frozenset({"time", "now"})
    explains: ClassVar[bool] = False

    def __init__(self, layout: UserLayout, table: F32, pace: F32) -> None:
        self.layout, self.table, self.pace = layout, table, pace

    @property
    def width(self) -> int:
        return self.table.shape[1]

    def vectors(self, inputs: Inputs) -> F32:
        person, item, age = days_old(inputs)
        rows = self.table[np.where(inputs.row < 0, self.layout.n_users, inputs.row)]
        np.add.at(
            rows, person, np.exp(-age * self.pace[0])[:, None] * self.table[self.layout.items_at + item]
        )
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def shares(self, person: Inputs, vectors: F32) -> None:
        return None

    def without_rows(self, rows: I32) -> Self:
        return type(self)(self.layout, empty_rows(self.table, rows), self.pace)

    def parameters(self) -> dict[str, Any]:
        return {}

    def arrays(self) -> dict[str, Array]:
        return {"table": self.table, "pace": self.pace}

    def files(self) -> dict[str, bytes]:
        return {}

    @classmethod
    def load(
        cls, folder: Path, layout: UserLayout, parameters: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> Self:
        return cls(layout, arrays["table"], arrays["pace"])


class LearnedRecency(LearnedNet):
    """Its learning twin: the pace is learned."""

    needs: ClassVar[frozenset[str]] = Recency.needs

    def tensors(self, numbers: int, hidden: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        return {"pace": torch.full((1, 1), 0.1)}

    def sum_rows(self, inputs: Inputs) -> torch.Tensor:
        person, item, age = (self.to_device(part) for part in days_old(inputs))
        own = np.where(inputs.row < 0, self.layout.n_users, inputs.row).astype(np.int64)
        named = torch.cat([self.to_device(own), self.layout.items_at + item.long()]).numpy()
        distinct, which = np.unique(named, return_inverse=True)
        rows = self.rows(distinct)[self.to_device(which)]
        weight = torch.exp(-age * self.free["pace"][0])[:, None]
        return rows[: len(own)].index_add(0, person, weight * rows[len(own) :])

    def export(self) -> Recency:
        return Recency(self.layout, self.served_rows(), self.own_tensors()["pace"][0].copy())
