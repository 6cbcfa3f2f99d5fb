"""Somebody else's encoder, in a file of their own: whoever asks is at the place of their last click."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from recsys.arrays import F32, I32, Bool
from recsys.encoders.encoder import (
    Encoded,
    StartRows,
    beside_events,
    label_sources,
    read_encoder,
    space_id_of,
    write_encoder,
)
from recsys.encoders.users import Users
from recsys.history import Histories


class LastClick:
    """The item vector of the last event of a history, at length 1."""

    encoder_kind: ClassVar[str] = "lastclick"
    personal: ClassVar[bool] = True
    explains: ClassVar[bool] = True
    folds_in: ClassVar[bool] = True
    knows_users: ClassVar[bool] = False
    rows_are_fold_ins: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, items: F32) -> None:
        self.items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-12)
        parameters: Mapping[str, Any] = {}
        self.space_id = space_id_of(self.encoder_kind, parameters, {"items": np.asarray(items)})

    @property
    def dim(self) -> int:
        return int(self.items.shape[1])

    def usable(self, histories: Histories) -> Bool:
        return histories.learnable(len(self.items))

    def unread(self, described: pa.Table) -> list[str]:
        return list(described.column_names)

    def encode(self, users: Users) -> Encoded:
        history = users.with_events(self.usable(users.history)).history.items
        vectors = np.zeros((len(users), self.dim), np.float32)
        active = np.flatnonzero(history.lengths)
        vectors[active] = self.items[history.values[history.offsets[1:][active] - 1]]
        return label_sources(vectors, np.zeros(len(users), bool))

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        usable = self.usable(user.history)
        parts = np.zeros((len(vectors), int(usable.sum())), np.float32)
        if usable.any():
            parts[:, -1] = vectors @ self.encode(user).vectors[0]
        return beside_events(parts, usable)

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        return None

    def without_rows(self, rows: I32) -> Self:
        return self  # nobody has a row

    def save(self, folder: Path) -> None:
        write_encoder(folder, self, {}, {})

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        read_encoder(folder)
        return cls(items)
