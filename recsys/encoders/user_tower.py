"""The user side of the two-tower model, without torch."""

from copy import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recsys import durable
from recsys.arrays import F32, I8, I32, Bool, Ragged, empty_rows
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
from recsys.encoders.stand_ins import StandIns
from recsys.encoders.towers.inputs import Inputs, Windows
from recsys.encoders.towers.layout import UserLayout
from recsys.encoders.towers.net import Net, load_net
from recsys.encoders.users import Users
from recsys.history import Histories

if TYPE_CHECKING:
    import pyarrow as pa


class UserTower:
    """The user encoder of the two-tower model: who it is, what they did and what is known of them, into one
    vector.

    Everything counts at once: a known user has a row and a history, an unknown one the row of the unknown and
    their history; the net is given them apart. net: what makes a vector of them. layout: where what stands in
    its table, and how much of a history it is given. trained: (n_items,) the items of histories that it
    knows; others are ignored. has_row: (n_users,) who has a row. known: the encoded features of the users of
    training and, last, those of someone of whom nothing is known; a question may bring raw ones, which
    replace them.
    """

    encoder_kind: ClassVar[str] = "tower"
    personal: ClassVar[bool] = True
    rows_are_fold_ins: ClassVar[bool] = False

    def __init__(
        self,
        net: Net,
        layout: UserLayout,
        trained: Bool,
        has_row: Bool,
        features: Features | None = None,
        known: FeatureRows | None = None,
        space_id: str | None = None,
    ) -> None:
        self.net, self.layout, self.trained, self.has_row = net, layout, trained, has_row
        self.features, self.known = features, known
        self.stand_ins = StandIns(trained)
        said = self._parameters() | {"features": features.digest() if features else None}
        files = {Path(name).stem: np.frombuffer(data, np.uint8) for name, data in net.files().items()}
        self.space_id = space_id or space_id_of(self.encoder_kind, said, net.arrays() | files)

    def _parameters(self) -> dict[str, Any]:
        kind = {} if self.net.net_kind == "bag" else {"net": self.net.net_kind}
        return {"layout": self.layout._asdict()} | self.net.parameters() | kind

    @property
    def dim(self) -> int:
        return self.net.width

    @property
    def explains(self) -> bool:
        return self.net.explains

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"weight"} | self.net.needs | ({"features"} if self.features is not None else set()))

    @property
    def folds_in(self) -> bool:
        return self.layout.n_items > 0

    @property
    def knows_users(self) -> bool:
        return self.layout.n_users > 0

    def usable(self, histories: Histories) -> Bool:
        return self.stand_ins.usable(histories)

    def _has_row(self, users: Users) -> Bool:
        """(n,): who has a row of their own."""
        row = (users.index >= 0) & (users.index < len(self.has_row))
        row[row] = self.has_row[users.index[row]]
        return row

    def inputs(self, users: Users) -> tuple[Inputs, I8]:
        """What the tower takes of them, and int8 (n,) the most personal source of it."""
        users = self.stand_ins.learned_items(users.with_events(self.usable(users.history)))
        row, past = self._has_row(users), (users.history.lengths > 0) & self.folds_in
        rows, source = None, np.where(row, USER_ROW, np.where(past, HISTORY, FALLBACK)).astype(np.int8)
        if self.features is not None:
            rows, described = self._describe(users)
            source[described & (source == FALLBACK)] = FEATURES
        own = np.where(row & (users.index < self.layout.n_users), users.index, -1)
        history = Windows.of(users.history, self.layout.longest) if self.layout.n_items else None
        now, domain = (getattr(users, name) if name in self.net.needs else None for name in ("now", "domain"))
        return Inputs(own, history, rows, now, domain), source

    def _describe(self, users: Users) -> tuple[FeatureRows, Bool]:
        """The features of the users, and (n,) of whom any are known."""
        assert self.features is not None
        assert self.known is not None
        if users.features is not None:
            told = np.any(list(self.features.known_values(users.features).values()), axis=0)
            return self.features.encode(users.features, len(users)), np.broadcast_to(told, len(users))
        nobody = len(self.known.dense) - 1
        which = np.where((users.index >= 0) & (users.index < nobody), users.index, nobody)
        return self.known.take(which), which < nobody

    def unread(self, described: "pa.Table") -> list[str]:
        if self.features is None:
            return list(described.column_names)
        return [name for name, told in self.features.known_values(described).items() if not told.any()]

    def encode(self, users: Users) -> Encoded:
        inputs, source = self.inputs(users)
        vectors = self.net.vectors(inputs)
        vectors[source == FALLBACK] = 0
        return Encoded(vectors, source)

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        return StartRows(self.encode(users).vectors, items)

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        """None where the net cannot say; what is not of the history is shared out evenly among its events."""
        shares = self.net.shares(self.inputs(user)[0], vectors)
        if shares is None:
            return None
        usable = self.usable(user.history)
        parts = np.zeros((len(vectors), int(usable.sum())), np.float32)
        parts[:, parts.shape[1] - shares.shape[1] :] = shares
        return beside_events(parts, usable)

    def without_rows(self, rows: I32) -> Self:
        same = copy(self)
        same.has_row = np.array(self.has_row)
        same.has_row[rows[rows < len(self.has_row)]] = False
        if self.layout.n_users:
            same.net = self.net.without_rows(rows[rows < self.layout.n_users])
        if self.known is not None:
            named = rows[rows < len(self.known.dense) - 1]
            kept = ~np.isin(self.known.rows.row_of_value(), named)
            same.known = FeatureRows(
                self.known.rows.keep(kept), self.known.weight[kept], empty_rows(self.known.dense, named)
            )
        return same

    def save(self, folder: Path) -> None:
        arrays = self.net.arrays() | {"trained": self.trained, "has_row": self.has_row}
        if self.known is not None:
            arrays |= {"known_offsets": self.known.rows.offsets, "known_rows": self.known.rows.values}
            arrays |= {"known_weight": self.known.weight, "known_dense": self.known.dense}
        write_encoder(folder, self, self._parameters(), arrays)
        for name, data in self.net.files().items():
            durable.write(folder / name, partial(Path.write_bytes, data=data))
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
        layout = UserLayout(**parameters["layout"])
        net = load_net(folder, layout, parameters, arrays)
        encoder = cls(
            net, layout, arrays["trained"], arrays["has_row"], features, known, parameters["space_id"]
        )
        encoder.stand_ins = StandIns(encoder.trained, items)
        return encoder
