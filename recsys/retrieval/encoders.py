"""User encoders: from what is known of a user to a vector of the item space. numpy only, so that they serve.

An encoder is saved in a folder of its own: `encoder.json` and one `.npy` for each array.
"""

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from recsys.arrays import F32, I64, Array, Bool
from recsys.errors import BundleError
from recsys.retrieval import durable
from recsys.retrieval.users import Users

_BLOCK_BYTES = 64 << 20


class Encoder(Protocol):
    """Turns users into vectors whose inner product with an item vector is the score.

    kind: its name in a manifest. dim: width of its vectors. space_id: digest of what determines its output; vectors and
    index of another space are refused. folds_in: whether a history alone is enough. knows_users: whether known users
    have rows of their own; without, they are encoded from their histories like anybody else.
    """

    kind: ClassVar[str]

    @property
    def folds_in(self) -> bool: ...

    @property
    def knows_users(self) -> bool: ...

    @property
    def dim(self) -> int: ...

    @property
    def space_id(self) -> str: ...

    def encode(self, users: Users) -> tuple[F32, Bool]:
        """User vectors float32 (n, dim), and (n,) whether each could be encoded; where not, the row is zeros."""

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        """How much each event of one user's history adds to the scores of `vectors` (k, dim): float32 (k, history).

        The row of an item sums to its score. None where the encoder cannot say this exactly.
        """

    def save(self, folder: Path) -> None:
        """Writes the encoder into an existing empty folder."""

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        """Reads it back; `items` (n_items, dim) are the bundle's vectors, stored once and shared."""


class Constant:
    """The same vector for everyone: popularity is this with dim 1 and the counts as item vectors."""

    kind: ClassVar[str] = "constant"
    folds_in: ClassVar[bool] = False
    knows_users: ClassVar[bool] = True

    def __init__(self, vector: F32) -> None:
        self.vector = vector
        self.space_id = space_id_of(self.kind, {}, {"vector": vector})

    @property
    def dim(self) -> int:
        return len(self.vector)

    def encode(self, users: Users) -> tuple[F32, Bool]:
        return np.repeat(self.vector[None], len(users), axis=0), np.ones(len(users), bool)

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        return None

    def save(self, folder: Path) -> None:
        write_encoder(folder, self, {}, {"vector": self.vector})

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        _, arrays = read_encoder(folder)
        return cls(arrays["vector"])


class Solve:
    """The user vector that ridge regression on the history gives: the user's half-step of implicit ALS.

    With input vectors y of the history, weights w, n the sum of the weights and a the `unobserved_weight`, it solves
    `(a * gram + sum w y y' + regularization * (n + a * n_items) ** exponent * I) x = sum w y`.

    inputs: float32 (n_items, dim), zero rows are unknown to the encoder and ignored. gram: float32 (dim, dim), `Y'Y` of
    training. table: float32 (n_users, dim), the solved rows of known users, or None. half_life: so many events later in
    the history an event weighs half; None = all alike.

    Source: Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; the scaled
    regularisation: Rendle et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022.
    """

    kind: ClassVar[str] = "solve"
    folds_in: ClassVar[bool] = True

    def __init__(
        self,
        inputs: F32,
        gram: F32,
        table: F32 | None,
        *,
        regularization: float,
        unobserved_weight: float,
        exponent: float,
        half_life: float | None = None,
        space_id: str | None = None,
    ) -> None:
        self.inputs, self.gram, self.table, self.half_life = inputs, gram, table, half_life
        self.regularization, self.unobserved_weight, self.exponent = regularization, unobserved_weight, exponent
        self.space_id = space_id or space_id_of(self.kind, self._parameters(), {"inputs": inputs, "gram": gram})

    def _parameters(self) -> dict[str, Any]:
        parameters = {
            "regularization": self.regularization,
            "unobserved_weight": self.unobserved_weight,
            "exponent": self.exponent,
        }
        return parameters if self.half_life is None else parameters | {"half_life": self.half_life}

    @property
    def knows_users(self) -> bool:
        return self.table is not None

    @property
    def dim(self) -> int:
        return len(self.gram)

    def encode(self, users: Users) -> tuple[F32, Bool]:
        vectors, by_table = learned_rows(self.table, users, self.dim)
        rest = np.flatnonzero(~by_table)
        rest = rest[np.argsort(users.history.lengths[rest], kind="stable")]  # alike lengths together: little padding
        for block in _blocks(users.history.lengths[rest], self.dim):
            vectors[rest[block]] = self._solved(users.take(rest[block]))
        return vectors, np.asarray(vectors.any(axis=1))

    def _solved(self, users: Users) -> F32:
        inputs, weights = self._padded(users)
        matrices = self._matrices(inputs, weights)
        right = np.matmul(weights[:, None, :], inputs)[:, 0]  # (n, dim)
        solved: F32 = np.linalg.solve(matrices, right[..., None])[..., 0]
        return solved

    def _padded(self, users: Users) -> tuple[F32, F32]:
        """The histories' input vectors (n, longest, dim) and weights (n, longest), 0 where there is no event."""
        history = users.history
        weights = np.zeros((len(users), max(1, int(history.lengths.max(initial=0)))), np.float32)
        items = np.zeros(weights.shape, np.int64)
        at = (history.row_of_value(), np.arange(len(history.values)) - np.repeat(history.offsets[:-1], history.lengths))
        items[at] = history.values
        weights[at] = users.counted(self.half_life)
        inputs = self.inputs[items]
        weights *= inputs.any(axis=2)
        return inputs, weights

    def _matrices(self, inputs: F32, weights: F32) -> F32:
        """The left-hand sides (n, dim, dim)."""
        observed = np.matmul((inputs * weights[..., None]).transpose(0, 2, 1), inputs)
        total = weights.sum(axis=1) + np.float32(self.unobserved_weight * len(self.inputs))
        ridge = (self.regularization * total**self.exponent).astype(np.float32)
        diagonal = ridge[:, None, None] * np.eye(self.dim, dtype=np.float32)
        matrices: F32 = np.float32(self.unobserved_weight) * self.gram + observed + diagonal
        return matrices

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        inputs, weights = self._padded(user)
        solved = np.linalg.solve(self._matrices(inputs, weights)[0], vectors.T)  # (dim, k)
        parts: F32 = (solved.T @ inputs[0].T) * weights[0]
        return parts[:, : len(user.history.values)]

    def save(self, folder: Path) -> None:
        arrays = {"gram": self.gram} | ({} if self.table is None else {"table": self.table})
        write_encoder(folder, self, self._parameters(), arrays)

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        parameters, arrays = read_encoder(folder)
        return cls(items, arrays["gram"], arrays.get("table"), **parameters)


def learned_rows(table: F32 | None, users: Users, dim: int) -> tuple[F32, Bool]:
    """float32 (n, dim): the rows in a table of the users who are known by them, zeros elsewhere; and (n,) of whom."""
    vectors = np.zeros((len(users), dim), np.float32)
    if table is not None:
        rows = np.flatnonzero(users.by_row)
        vectors[rows] = table[users.index[rows]]
    return vectors, np.asarray(vectors.any(axis=1))


# By kind, as "module:Class", so that a bundle loads the code of its own encoder alone.
KINDS: dict[str, str] = {
    "bag": "recsys.retrieval.bag:Bag",
    "concat": "recsys.retrieval.concat:Concat",
    "constant": "recsys.retrieval.encoders:Constant",
    "solve": "recsys.retrieval.encoders:Solve",
    "tower": "recsys.retrieval.user_tower:UserTower",
}


def load_encoder(folder: Path, items: F32) -> Encoder:
    """The encoder saved in `folder`, whatever its kind."""
    kind = json.loads((folder / "encoder.json").read_text())["kind"]
    if kind not in KINDS:
        raise BundleError(f"{folder} holds an encoder of kind {kind!r}; this version knows {', '.join(sorted(KINDS))}.")
    module, _, name = KINDS[kind].partition(":")
    encoder: Encoder = getattr(import_module(module), name).load(folder, items)
    return encoder


def space_id_of(kind: str, parameters: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    """Digest of what determines an encoder's output."""
    digest = sha256(json.dumps([kind, parameters], sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _blocks(lengths: I64, dim: int) -> list[slice]:
    """Cuts rows of rising length so that the padded arrays of one block stay within `_BLOCK_BYTES`."""
    blocks, start = [], 0
    while start < len(lengths):
        longest = int(lengths[min(start + 255, len(lengths) - 1)])
        stop = start + max(1, min(256, _BLOCK_BYTES // (8 * dim * (longest + dim))))
        blocks.append(slice(start, stop))
        start = stop
    return blocks


def write_encoder(folder: Path, encoder: Encoder, parameters: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
    """Saves what `read_encoder` gives back."""
    described = {"kind": encoder.kind, "space_id": encoder.space_id, "parameters": dict(parameters)}
    described["arrays"] = sorted(arrays)
    text = json.dumps(described, indent=1) + "\n"
    durable.write(folder / "encoder.json", lambda path: path.write_text(text))
    for name, array in arrays.items():
        durable.write(folder / f"{name}.npy", partial(np.save, arr=array, allow_pickle=False))


def read_encoder(folder: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """The keyword arguments of an encoder and its arrays, memory-mapped."""
    described = json.loads((folder / "encoder.json").read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in described["arrays"]}
    return described["parameters"] | {"space_id": described["space_id"]}, arrays
