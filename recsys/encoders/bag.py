"""The encoder that adds up a history: a sum of one vector for each event."""

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recsys.arrays import F32, I32, Bool, blocks_of, empty_rows
from recsys.encoders.encoder import (
    Encoded,
    StartRows,
    beside_events,
    label_sources,
    read_encoder,
    space_id_of,
    write_encoder,
)
from recsys.encoders.stand_ins import StandIns
from recsys.encoders.users import Users, learned_rows
from recsys.history import Histories

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 64 << 20


class Bag:
    """The user vector is the sum of `weight * inputs[item]` over the history, scaled as asked.

    inputs: float32 (n_items, width), other than the item vectors; zero rows are unknown to the encoder and
    add nothing. table: float32 (n_users, width), the learned rows of known users, or None. unit: divide by
    the length; root: divide by the square root of the summed weights; mean: by the summed weights. half_life:
    so many events later in the history an event weighs half; None = all alike. level: a last column of this
    value for everyone who can be encoded, by which the item vectors may hold what is the same for all users;
    None = no such column, and dim is the width.

    Relations: Solve weighs the same sum by an inverse of the items' second moments; YouTube DNN's user tower
    averages such a bag before its layers (Covington et al., RecSys 2016).
    """

    encoder_kind: ClassVar[str] = "bag"
    folds_in: ClassVar[bool] = True
    personal: ClassVar[bool] = True
    explains: ClassVar[bool] = True
    rows_are_fold_ins: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"weight"})

    def __init__(
        self,
        inputs: F32,
        table: F32 | None,
        *,
        unit: bool,
        root: bool = False,
        mean: bool = False,
        half_life: float | None = None,
        level: float | None = None,
        space_id: str | None = None,
    ) -> None:
        self.inputs, self.table, self.unit, self.half_life = inputs, table, unit, half_life
        self.root, self.mean, self.level = root, mean, level
        self.stand_ins = StandIns(np.ones(len(inputs), bool))
        self.space_id = space_id or space_id_of(self.encoder_kind, self._parameters(), {"inputs": inputs})

    def _parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {"unit": self.unit} | ({"root": True} if self.root else {})
        optional = {"mean": self.mean or None, "half_life": self.half_life, "level": self.level}
        return parameters | {name: value for name, value in optional.items() if value is not None}

    @property
    def knows_users(self) -> bool:
        return self.table is not None

    @property
    def dim(self) -> int:
        return self.width + (self.level is not None)

    @property
    def width(self) -> int:
        """Columns of the inputs."""
        return int(self.inputs.shape[1])

    def usable(self, histories: Histories) -> Bool:
        return self.stand_ins.usable(histories)

    def unread(self, described: "pa.Table") -> list[str]:
        return list(described.column_names)

    def encode(self, users: Users) -> Encoded:
        users = users.with_events(self.usable(users.history))
        vectors, by_table = learned_rows(self.table, users, self.width)
        rest = np.flatnonzero(~by_table & (users.history.lengths > 0))
        most = max(1, _BLOCK_BYTES // (4 * self.width))
        for block in blocks_of(users.history.lengths[rest], most):
            vectors[rest[block]] = self._sum_inputs(users.take(rest[block]))
        answer = label_sources(vectors, by_table)
        if self.level is None:
            return answer
        wide: F32 = np.zeros((len(users), self.dim), np.float32)
        wide[:, : self.width], wide[answer.known, self.width] = vectors, self.level
        return answer._replace(vectors=wide)

    def _sum_inputs(self, users: Users) -> F32:
        events = self._events(users)
        summed: F32 = np.add.reduceat(events, users.history.items.offsets[:-1], axis=0)
        if self.unit:
            summed /= np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), np.float32(1e-12))
        return summed

    def _events(self, users: Users) -> F32:
        """The weighted input vectors (events, width), over the user's summed weights or their root where
        asked."""
        events: F32 = self.inputs[self.stand_ins.learned_items(users).history.items.values]
        if users.history.weight is not None or self.half_life is not None or self.root or self.mean:
            counted: F32 = users.weigh_events(self.half_life)
            if self.root or self.mean:
                rows = users.history.items.row_of_value()
                total = np.maximum(np.bincount(rows, counted, minlength=len(users)), 1e-12)
                scale: F32 = (total if self.mean else np.sqrt(total)).astype(np.float32)
                counted = counted / scale[rows]
            events = events * counted[:, None]
        return events

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        """What the items hold for everyone alike is shared out evenly among the events."""
        usable = self.usable(user.history)
        events = self._events(user.with_events(usable))
        if self.unit:
            events = events / max(float(np.linalg.norm(events.sum(axis=0))), 1e-12)
        parts: F32 = vectors[:, : self.width] @ events.T
        if self.level is not None and len(events):
            parts += vectors[:, self.width :] * np.float32(self.level / len(events))
        return beside_events(parts, usable)

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        return StartRows(self.encode(users).vectors[:, : self.width], items[:, : self.width])

    def without_rows(self, rows: I32) -> Self:
        same = copy(self)
        same.table = None if self.table is None else empty_rows(self.table, rows)
        return same

    def save(self, folder: Path) -> None:
        arrays: dict[str, Any] = {"inputs": self.inputs} | (
            {} if self.table is None else {"table": self.table}
        )
        write_encoder(folder, self, self._parameters(), arrays)

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        parameters, arrays = read_encoder(folder)
        encoder = cls(arrays["inputs"], arrays.get("table"), **parameters)
        encoder.stand_ins = StandIns(encoder.stand_ins.learned, items)
        return encoder
