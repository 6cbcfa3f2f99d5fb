"""The user side of the two-tower model, without torch."""

from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from recsys import durable
from recsys.arrays import F32, I8, I32, Bool, Ragged
from recsys.encoders.encoder import (
    FALLBACK,
    FEATURES,
    HISTORY,
    USER_ROW,
    Encoded,
    StartRows,
    beside_events,
    read_encoder,
    space_id_of,
    write_encoder,
)
from recsys.encoders.features import FeatureRows, Features
from recsys.encoders.tower import Inputs, Tower, plain, single, together
from recsys.encoders.users import Users
from recsys.history import Histories


class UserLayout(NamedTuple):
    """Where what stands in the table of the user tower: rows of known users, one for the unknown, items of histories,
    one for the empty history, features. n_users, n_items: 0 where that part is not used.

    ordered: whether places in a history count. longest: events of a history that count, from its end."""

    n_users: int
    n_items: int
    ordered: bool
    longest: int

    @property
    def items_at(self) -> int:
        return self.n_users + 1

    @property
    def features_at(self) -> int:
        return self.items_at + self.n_items + 1

    def inputs(self, row: I32, history: Ragged, counted: F32, features: FeatureRows | None) -> Inputs:
        """row: int32 (n,), -1 for the unknown. history: of known items; counted: float32 (nnz,), their weights."""
        n = len(row)
        parts = [plain(single(np.where((row >= 0) & (row < self.n_users), row, self.n_users)))]
        if self.n_items:
            later = np.repeat(history.offsets[1:], history.lengths) - 1 - np.arange(len(history.values))
            if history.lengths.max(initial=0) > self.longest:
                kept = later < self.longest
                history, counted, later = history.keep(kept), counted[kept], later[kept]
            places = np.log2(later + 1).astype(np.int8) if self.ordered else np.zeros(len(later), np.int8)
            parts.append((Ragged(history.offsets, history.values + np.int32(self.items_at)), counted, places))
            empty = np.flatnonzero(history.lengths == 0)
            nothing = np.full(len(empty), self.items_at + self.n_items, np.int32)
            parts.append(plain(Ragged.from_pairs(empty, nothing, n)))
        return together(parts, features, self.features_at)


class UserTower:
    """The user encoder of the two-tower model: who it is, what he did and what is known of him, into one vector.

    Everything counts at once: a known user has his row and his history, an unknown one the row of the unknown and his
    history. trained: (n_items,) the items of histories that it knows; others are ignored. has_row: (n_users,) who has a
    row. known: the encoded features of the users of training and, last, those of someone of whom nothing is known; a
    question may bring raw ones, which replace them.

    Source: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016 (the bag of a history).
    """

    encoder_kind: ClassVar[str] = "tower"
    personal: ClassVar[bool] = True
    rows_are_fold_ins: ClassVar[bool] = False

    def __init__(
        self,
        tower: Tower,
        layout: UserLayout,
        trained: Bool,
        has_row: Bool,
        features: Features | None = None,
        known: FeatureRows | None = None,
        space_id: str | None = None,
    ) -> None:
        self.tower, self.layout, self.trained, self.has_row = tower, layout, trained, has_row
        self.features, self.known = features, known
        said = self._parameters() | {"features": features.digest() if features else None}
        self.space_id = space_id or space_id_of(self.encoder_kind, said, tower.digest_arrays())

    def _parameters(self) -> dict[str, Any]:
        free = {} if self.tower.unit else {"unit": False}
        return {"layout": self.layout._asdict(), "linear": self.tower.linear} | free

    @property
    def dim(self) -> int:
        return self.tower.width

    @property
    def explains(self) -> bool:
        """Not where layers follow the sums."""
        return self.tower.linear

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"weight"} | ({"features"} if self.features is not None else set()))

    @property
    def folds_in(self) -> bool:
        return self.layout.n_items > 0

    @property
    def knows_users(self) -> bool:
        return self.layout.n_users > 0

    def usable(self, histories: Histories) -> Bool:
        usable = histories.learnable(len(self.trained))
        usable[usable] = self.trained[histories.items.values[usable]]
        return usable

    def _has_row(self, users: Users) -> Bool:
        """(n,): who has a row of their own."""
        row = (users.index >= 0) & (users.index < len(self.has_row))
        row[row] = self.has_row[users.index[row]]
        return row

    def inputs(self, users: Users) -> tuple[Inputs, I8]:
        """What the tower takes of them, and int8 (n,) the most personal source of it."""
        users = users.with_events(self.usable(users.history))
        row, past = self._has_row(users), (users.history.lengths > 0) & self.folds_in
        rows, source = None, np.where(row, USER_ROW, np.where(past, HISTORY, FALLBACK)).astype(np.int8)
        if self.features is not None:
            rows, described = self._described(users)
            source[described & (source == FALLBACK)] = FEATURES
        return self.layout.inputs(np.where(row, users.index, -1), users.history.items, users.counted(), rows), source

    def _described(self, users: Users) -> tuple[FeatureRows, Bool]:
        """The features of the users, and (n,) of whom any are known."""
        assert self.features is not None
        assert self.known is not None
        if users.features is not None:
            return self.features.encoded(users.features, len(users)), np.ones(len(users), bool)
        nobody = len(self.known.dense) - 1
        which = np.where((users.index >= 0) & (users.index < nobody), users.index, nobody)
        return self.known.take(which), which < nobody

    def encode(self, users: Users) -> Encoded:
        inputs, source = self.inputs(users)
        vectors = self.tower.vectors(inputs)
        vectors[source == FALLBACK] = 0
        return Encoded(vectors, source)

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        return StartRows(self.encode(users).vectors, items)

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        """None where layers follow the sums; what is not of the history is shared out evenly among its events."""
        if not self.tower.linear:
            return None
        usable = self.usable(user.history)
        inputs, _ = self.inputs(user)
        summed = self.tower.summed(inputs)[0]
        length = max(float(np.linalg.norm(summed)), 1e-12) if self.tower.unit else 1.0
        at = np.flatnonzero(inputs.place >= 0)
        events = self.tower.table[inputs.rows.values[at]] * (self.tower.weights(inputs)[at] / length)[:, None]
        parts = np.zeros((len(vectors), int(usable.sum())), np.float32)
        if len(at):
            rest = vectors @ (summed / length - events.sum(axis=0)) / len(at)
            parts[:, parts.shape[1] - len(at) :] = vectors @ events.T + rest[:, None]
        return beside_events(parts, usable)

    def save(self, folder: Path) -> None:
        arrays = self.tower.arrays() | {"trained": self.trained, "has_row": self.has_row}
        if self.known is not None:
            arrays |= {"known_offsets": self.known.rows.offsets, "known_rows": self.known.rows.values}
            arrays |= {"known_weight": self.known.weight, "known_dense": self.known.dense}
        write_encoder(folder, self, self._parameters(), arrays)
        durable.write(folder / "net.onnx", lambda path: path.write_bytes(self.tower.net.model))
        if self.features is not None:
            self.features.save(folder, "features")

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        parameters, arrays = read_encoder(folder)
        features = known = None
        if "known_offsets" in arrays:
            features = Features.load(folder, "features")
            rows = Ragged(arrays["known_offsets"], arrays["known_rows"])
            known = FeatureRows(rows, arrays["known_weight"], arrays["known_dense"])
        tower = Tower.of(folder, arrays, linear=parameters["linear"], unit=parameters.get("unit", True))
        layout = UserLayout(**parameters["layout"])
        return cls(tower, layout, arrays["trained"], arrays["has_row"], features, known, parameters["space_id"])
