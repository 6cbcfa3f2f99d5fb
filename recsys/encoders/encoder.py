"""User encoders: from what is known of a user to a vector of the item space. numpy only, so that they serve.

An encoder is saved in a folder of its own: `encoder.json` and one `.npy` for each array.
"""

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

from recsys import durable
from recsys.arrays import F32, I8, I32, Array, Bool
from recsys.encoders.users import Users
from recsys.errors import BundleError
from recsys.history import Histories

if TYPE_CHECKING:
    import pyarrow as pa

USER_ROW, HISTORY, FEATURES, FALLBACK = 0, 1, 2, 3  # what an answer comes from, the most personal first
SOURCES = ("known", "history", "features", "fallback")


class Encoded(NamedTuple):
    """What an encoder made of n users, and of what. vectors: float32 (n, dim), zeros where it can say
    nothing. source: int8 (n,), an index into SOURCES: the most personal thing that went into the vector,
    FALLBACK where nothing did."""

    vectors: F32
    source: I8

    @property
    def known(self) -> Bool:
        """(n,): who has a vector."""
        known: Bool = self.source != FALLBACK
        return known


class StartRows(NamedTuple):
    """Rows of an earlier model that a learner may start from: users float32 (n, dim) and items float32
    (n_items, dim).

    parts: of a concatenation, one for each part, None for one without such rows; then the others have no
    columns.
    """

    users: F32
    items: F32
    parts: "tuple[StartRows | None, ...]" = ()


class Encoder(Protocol):
    """Turns users into vectors whose inner product with an item vector is the score.

    encoder_kind: its name in a manifest. dim: width of its vectors. space_id: digest of what determines its
    output; vectors and index of another space are refused. folds_in: whether a history alone is enough.
    knows_users: whether known users have rows of their own; without, they are encoded from their histories
    like anybody else. personal: whether two users ever get different vectors. explains: whether
    `contributions` are exact shares of the score.
    rows_are_fold_ins: whether a known user's row is what their history gives. needs: what of users it looks
    at beside
    index and history items: some of `time`, `event`, `weight`, `now`, `features`, `domain`, and `dislikes`:
    events of weight below 0, which say "not this".
    """

    encoder_kind: ClassVar[str]

    @property
    def personal(self) -> bool: ...

    @property
    def explains(self) -> bool: ...

    @property
    def rows_are_fold_ins(self) -> bool: ...

    @property
    def needs(self) -> frozenset[str]: ...

    @property
    def folds_in(self) -> bool: ...

    @property
    def knows_users(self) -> bool: ...

    @property
    def dim(self) -> int: ...

    @property
    def space_id(self) -> str: ...

    def usable(self, histories: Histories) -> Bool:
        """(nnz,): which events it looks at: not those of weight 0, nor of items that it did not learn, and of
        those below 0 only where it `needs` dislikes."""

    def unread(self, described: "pa.Table") -> list[str]:
        """The columns of people's features of which it makes nothing: not learned from, or of values never
        seen."""

    def encode(self, users: Users) -> Encoded:
        """The users' vectors, and what each comes from."""

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        """How much each event of one user's history adds to the scores of `vectors` (k, dim): float32 (k,
        history).

        The row of an item sums to its score where the encoder `explains`; else it is a part of it, or there
        is None.
        """

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        """What a learner starts from: these users' rows, and `items` (n_items, dim) of the same space, both
        without columns that say the same of everybody. None where there is nothing of a taste in them."""

    def without_rows(self, rows: I32) -> Self:
        """The same for everybody else, with nothing left of what was learned of these known users (m,) alone.
        Its space
        stays: the vectors of all others do."""

    def save(self, folder: Path) -> None:
        """Writes the encoder into an existing empty folder."""

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        """Reads it back; `items` (n_items, dim) are the bundle's vectors, stored once and shared."""


class Constant:
    """The same vector for everyone: popularity is this with dim 1 and the counts as item vectors."""

    encoder_kind: ClassVar[str] = "constant"
    folds_in: ClassVar[bool] = False
    knows_users: ClassVar[bool] = True
    personal: ClassVar[bool] = False
    explains: ClassVar[bool] = False
    rows_are_fold_ins: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, vector: F32) -> None:
        self.vector = vector
        self.space_id = space_id_of(self.encoder_kind, {}, {"vector": vector})

    @property
    def dim(self) -> int:
        return len(self.vector)

    def usable(self, histories: Histories) -> Bool:
        return np.ones(len(histories), bool)  # none is left out of what is the same for everyone

    def unread(self, described: "pa.Table") -> list[str]:
        return list(described.column_names)

    def encode(self, users: Users) -> Encoded:
        source = np.where(users.by_row, USER_ROW, HISTORY).astype(np.int8)
        return Encoded(np.repeat(self.vector[None], len(users), axis=0), source)

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        return None

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        return None

    def without_rows(self, rows: I32) -> Self:
        return self  # nothing of anybody is in it

    def save(self, folder: Path) -> None:
        write_encoder(folder, self, {}, {"vector": self.vector})

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        _, arrays = read_encoder(folder)
        return cls(arrays["vector"])


def label_sources(vectors: F32, by_row: Bool) -> Encoded:
    """What an encoder made that answers from a row, else from a history. by_row: (n,) whose vector is their
    row."""
    source = np.zeros(len(vectors), np.int8)  # USER_ROW
    if not by_row.all():
        source[~by_row] = np.where(vectors[~by_row].any(axis=1), HISTORY, FALLBACK)
    return Encoded(vectors, source)


def beside_events(parts: F32, usable: Bool) -> F32:
    """float32 (k, history): the parts (k, usable events) at their events, 0 at the others."""
    if usable.all():
        return parts
    whole = np.zeros((len(parts), len(usable)), np.float32)
    whole[:, usable] = parts
    return whole


class ItemEncoder(Protocol):
    """Gives items that training did not know their vectors. encoder_kind: its name on disk."""

    encoder_kind: ClassVar[str]

    @property
    def columns(self) -> list[str]:
        """The columns that it learned from."""

    def encode(self, features: "pa.Table") -> F32:
        """float32 (n, dim) for n items with these raw columns; what is missing or unknown is as training
        learned it."""

    def save(self, folder: Path) -> None:
        """Writes it into an existing empty folder, its kind into `encoder.json`."""

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        """Reads it back; `items` (n_items, dim) are the bundle's vectors, of items added after training
        too."""


# Encoders of users and of items by kind, as "module:Class", so that a bundle loads the code of its own alone.
KINDS: dict[str, str] = {
    "bag": "recsys.encoders.bag:Bag",
    "concat": "recsys.encoders.concat:Concat",
    "constant": "recsys.encoders.encoder:Constant",
    "guarded": "recsys.encoders.guarded:Guarded",
    "item_concat": "recsys.encoders.item_concat:ItemConcat",
    "item_tower": "recsys.encoders.item_tower:ItemTower",
    "solve": "recsys.encoders.solve:Solve",
    "tower": "recsys.encoders.user_tower:UserTower",
}
ENTRY_POINTS = "recsys.encoders"  # the group in which an installed package names encoders of its own, by kind


def load_encoder(folder: Path, items: F32) -> Encoder:
    """The user encoder saved in `folder`, whatever its kind."""
    kind = json.loads((folder / "encoder.json").read_text())["kind"]
    encoder: Encoder = class_of(kind, folder, KINDS, ENTRY_POINTS).load(folder, items)
    return encoder


def load_item_encoder(folder: Path, items: F32) -> ItemEncoder:
    """The item encoder saved in `folder`; one that does not state its kind was written when there was one
    alone."""
    stated = folder / "encoder.json"
    kind = json.loads(stated.read_text())["kind"] if stated.exists() else "item_tower"
    encoder: ItemEncoder = class_of(kind, folder, KINDS, ENTRY_POINTS).load(folder, items)
    return encoder


def class_of(kind: str, folder: Path, known: Mapping[str, str], group: str, what: str = "an encoder") -> Any:
    """The class of a kind: one of the known ("module:Class"), else that which an installed package names
    among the entry points of the group. No file ever names code. what: what `folder` holds of this kind, for
    the error."""
    if kind in known:
        module, _, name = known[kind].partition(":")
        return getattr(import_module(module), name)
    for point in entry_points(group=group, name=kind):
        return point.load()
    raise BundleError(
        f"{folder} holds {what} of kind {kind!r}; this version knows {', '.join(sorted(known))}, and no "
        f"installed package has an entry point {kind!r} in the group {group!r}. Install the package that "
        "made it."
    )


def space_id_of(kind: str, parameters: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Digest of what determines an encoder's output."""
    digest = sha256(json.dumps([kind, parameters], sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def write_encoder(
    folder: Path, encoder: Encoder, parameters: Mapping[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Saves what `read_encoder` gives back."""
    described = {"kind": encoder.encoder_kind, "space_id": encoder.space_id, "parameters": dict(parameters)}
    described["arrays"] = sorted(arrays)
    text = json.dumps(described, indent=1) + "\n"
    durable.write(folder / "encoder.json", lambda path: path.write_text(text))
    for name, array in arrays.items():
        durable.write(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))


def read_encoder(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The keyword arguments of an encoder and its arrays, memory-mapped."""
    described = json.loads((folder / "encoder.json").read_text())
    arrays = {
        name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in described["arrays"]
    }
    return described["parameters"] | {"space_id": described["space_id"]}, arrays
