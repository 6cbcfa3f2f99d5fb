"""Several spaces in one: vectors side by side, so that scores add."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recsys.arrays import F32, I32, Bool
from recsys.encoders.encoder import (
    FALLBACK,
    Encoded,
    Encoder,
    StartRows,
    load_encoder,
    read_encoder,
    space_id_of,
    write_encoder,
)
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.history import Histories

if TYPE_CHECKING:
    import pyarrow as pa


class Concat:
    """The user vectors of several encoders side by side, each times its weight: the score is the weighted
    sum.

    The item vectors stand side by side as they are, in the same order. A part that cannot encode a user gives
    zeros; the user is unknown only where all parts say so.
    """

    encoder_kind: ClassVar[str] = "concat"
    personal: ClassVar[bool] = True
    rows_are_fold_ins: ClassVar[bool] = False

    def __init__(
        self, parts: Sequence[Encoder], weights: Sequence[float], *, space_id: str | None = None
    ) -> None:
        if len(parts) != len(weights) or not parts:
            raise ModelError(
                f"a concatenation needs a weight for each of its parts, got {len(weights)}, {len(parts)}."
            )
        self.parts, self.weights = tuple(parts), tuple(float(weight) for weight in weights)
        described = {"parts": [part.space_id for part in self.parts], "weights": self.weights}
        self.space_id = space_id or space_id_of(self.encoder_kind, described, {})

    @property
    def folds_in(self) -> bool:
        """Whether a history is enough for every part."""
        return all(part.folds_in for part in self.parts)

    @property
    def knows_users(self) -> bool:
        """Whether any part has rows for them."""
        return any(part.knows_users for part in self.parts)

    @property
    def explains(self) -> bool:
        """Whether every part does."""
        return all(part.explains for part in self.parts)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset().union(*(part.needs for part in self.parts))

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    @property
    def used(self) -> Bool:
        """(parts,): which of them anybody's vector is made of."""
        used: Bool = np.array(self.weights) != 0
        return used

    def row_weights(self, users: Users) -> F32:
        """float32 (n, parts): the weight of each part for each user."""
        return np.tile(np.array(self.weights, np.float32), (len(users), 1))

    def usable(self, histories: Histories) -> Bool:
        """What any part with a weight looks at."""
        usable = [part.usable(histories) for part, used in zip(self.parts, self.used, strict=True) if used]
        return np.any(usable, axis=0) if usable else np.zeros(len(histories), bool)

    def unread(self, described: "pa.Table") -> list[str]:
        """What no part with a weight makes anything of."""
        parts = [part.unread(described) for part, used in zip(self.parts, self.used, strict=True) if used]
        return [name for name in described.column_names if all(name in unread for unread in parts)]

    def encode(self, users: Users) -> Encoded:
        vectors = np.zeros((len(users), self.dim), np.float32)
        source = np.full(len(users), FALLBACK, np.int8)
        weights = self.row_weights(users)
        for part, weight, columns in zip(self.parts, weights.T, self._columns(), strict=True):
            if not weight.any():
                continue
            own = part.encode(users)
            vectors[:, columns] = weight[:, None] * own.vectors
            if part.personal:
                source = np.where(weight != 0, np.minimum(source, own.source), source)
        return Encoded(vectors, source)

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        """The sum over the parts that can say, None where none can."""
        total: F32 | None = None
        for part, weight, columns in zip(self.parts, self.row_weights(user)[0], self._columns(), strict=True):
            parts = part.contributions(user, vectors[:, columns])
            if parts is not None:
                total = weight * parts if total is None else total + weight * parts
        return total

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        both = zip(self.parts, self._columns(), strict=True)
        parts = tuple(part.start_rows(users, items[:, columns]) for part, columns in both)
        return StartRows(np.zeros((len(users), 0), np.float32), np.zeros((len(items), 0), np.float32), parts)

    def _columns(self) -> list[slice]:
        """Where the vectors of each part stand."""
        ends = np.cumsum([part.dim for part in self.parts])
        return [slice(int(end) - part.dim, int(end)) for part, end in zip(self.parts, ends, strict=True)]

    def _parameters(self) -> dict[str, Any]:
        return {"weights": list(self.weights), "dims": [part.dim for part in self.parts]}

    def _arrays(self) -> dict[str, Any]:
        return {}

    def without_rows(self, rows: I32) -> Self:
        same = copy(self)
        same.parts = tuple(part.without_rows(rows) for part in self.parts)
        return same

    def save(self, folder: Path) -> None:
        write_encoder(folder, self, self._parameters(), self._arrays())
        for number, part in enumerate(self.parts):
            (folder / f"part-{number}").mkdir()
            part.save(folder / f"part-{number}")

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        parameters, _ = read_encoder(folder)
        return cls(load_parts(folder, items, parameters.pop("dims")), **parameters)


def load_parts(folder: Path, items: F32, dims: Sequence[int]) -> list[Encoder]:
    """The encoders that a concatenation of these dims saved in a folder."""
    ends = np.cumsum(dims)
    spans = zip([0, *ends[:-1]], ends, strict=True)
    return [load_encoder(folder / f"part-{at}", items[:, start:end]) for at, (start, end) in enumerate(spans)]


def parts_of(encoder: Encoder) -> tuple[Encoder, ...]:
    """The encoders that a concatenation is made of; of any other none."""
    return encoder.parts if isinstance(encoder, Concat) else ()
