"""The encoder of implicit ALS: a user's vector is the ridge regression on their history."""

from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recsys.arrays import F32, I32, I64, Bool, Ragged, empty_rows
from recsys.encoders.encoder import (
    Encoded,
    StartRows,
    beside_events,
    label_sources,
    read_encoder,
    space_id_of,
    write_encoder,
)
from recsys.encoders.users import Users, learned_rows
from recsys.history import Histories

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 64 << 20
_SHORT = 0.75  # of the width: up to so many events a system as large as the history is the quicker one


class Solve:
    """The user vector that ridge regression on the history gives: the user's half-step of implicit ALS.

    With input vectors y of the history, weights w, n the sum of the weights and a the `unobserved_weight`, it
    solves `(a * gram + sum w y y' + regularization * (n + a * n_items) ** exponent * I) x = sum w y`.

    inputs: float32 (n_items, dim), zero rows are unknown to the encoder and ignored. gram: float32 (dim,
    dim), `Y'Y` of training. table: float32 (n_users, dim), the solved rows of known users, or None.
    half_life: so many events later in the history an event weighs half; None = all alike. disliked_weight: an
    event below 0 says "not this": its score shall be 0. It adds v y y' to the left-hand side and v to n,
    where v is so many times its weight, and nothing on the right. 0 = such events are not looked at. Goes
    without a `confidence`. learned: how many of the inputs training knew; items that were added later follow
    them, and count in a history. confidence: the older form of Hu et al., in which other libraries learn: an
    item of the history has the confidence c of so many times its summed weight, and with an a of 1 and an
    exponent of 0 it solves `(gram + sum (c - 1) y y' + regularization * I) x = sum c y`. None = the above.

    Source: Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008; the
    scaled regularisation: Rendle et al., "Revisiting the Performance of iALS on Item Recommendation
    Benchmarks", RecSys 2022.
    """

    encoder_kind: ClassVar[str] = "solve"
    folds_in: ClassVar[bool] = True
    personal: ClassVar[bool] = True
    explains: ClassVar[bool] = True

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
        confidence: float | None = None,
        disliked_weight: float = 0.0,
        learned: int | None = None,
        space_id: str | None = None,
    ) -> None:
        self.inputs, self.gram, self.table = inputs, gram, table
        self.learned = len(inputs) if learned is None else learned
        self.half_life, self.confidence, self.disliked_weight = half_life, confidence, disliked_weight
        self.regularization, self.unobserved_weight, self.exponent = (
            regularization,
            unobserved_weight,
            exponent,
        )
        self.space_id = space_id or space_id_of(
            self.encoder_kind, self._parameters(), {"inputs": inputs, "gram": gram}
        )

    def _parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = {
            "regularization": self.regularization,
            "unobserved_weight": self.unobserved_weight,
            "exponent": self.exponent,
        }
        optional = {"half_life": self.half_life, "confidence": self.confidence}
        optional |= {"disliked_weight": self.disliked_weight or None}
        return parameters | {name: value for name, value in optional.items() if value is not None}

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"weight", "dislikes"} if self.disliked_weight else {"weight"})

    @property
    def knows_users(self) -> bool:
        return self.table is not None

    @property
    def dim(self) -> int:
        return len(self.gram)

    @property
    def rows_are_fold_ins(self) -> bool:
        return self.table is not None

    def usable(self, histories: Histories) -> Bool:
        if not self.disliked_weight or histories.weight is None:
            return histories.learnable(len(self.inputs))
        usable: Bool = (histories.items.values < len(self.inputs)) & (histories.weight != 0)
        return usable

    def unread(self, described: "pa.Table") -> list[str]:
        return list(described.column_names)

    def encode(self, users: Users) -> Encoded:
        vectors, by_table = learned_rows(self.table, users, self.dim)
        if by_table.all():
            return Encoded(vectors, np.zeros(len(users), np.int8))  # USER_ROW
        users = users.with_events(self.usable(users.history))
        if len(users) == 1:
            return label_sources(self._solve(users), by_table)
        rest = np.flatnonzero(~by_table)
        rest = rest[
            np.argsort(users.history.lengths[rest], kind="stable")
        ]  # alike lengths together: little padding
        for block in _blocks(users.history.lengths[rest], self.dim):
            vectors[rest[block]] = self._solve(users.take(rest[block]))
        return label_sources(vectors, by_table)

    def _solve(self, users: Users) -> F32:
        inputs, left, weights = self._pad_histories(users)
        if inputs.shape[1] <= _SHORT * self.dim:
            return self._solve_by_events(inputs, left, weights)
        matrices = self._matrices(inputs, left)
        right = np.matmul(weights[:, None, :], inputs)[:, 0]  # (n, dim)
        solved: F32 = np.linalg.solve(matrices, right[..., None])[..., 0]
        return solved

    def _solve_by_events(self, inputs: F32, left: F32, weights: F32) -> F32:
        """float32 (n, dim): the vectors by systems as large as the padded histories in place of dim. With the
        part B of a left-hand side that is not of the history, and the weights L on the left and r on the
        right, a vector is B^-1 Y' (I + L K)^-1 r, where K = Y B^-1 Y' (Woodbury's identity)."""
        values, basis = self._spectrum
        turned = inputs @ basis
        scaled = turned / (values + self._ridge(left.sum(axis=1))[:, None])[:, None, :]
        systems = np.matmul(scaled, turned.transpose(0, 2, 1)) * left[..., None]
        systems.reshape(len(systems), -1)[:, :: systems.shape[1] + 1] += 1
        amounts = np.linalg.solve(systems, weights[..., None])
        vectors: F32 = np.matmul(scaled.transpose(0, 2, 1), amounts)[..., 0] @ basis.T
        return vectors

    def _pad_histories(self, users: Users) -> tuple[F32, F32, F32]:
        """The histories' input vectors (n, longest, dim), and what each weighs on the left-hand side and on
        the right, (n, longest) each, 0 where there is no event."""
        history, counted = users.history.items, users.weigh_events(self.half_life)
        if len(users) == 1 and len(counted):  # one person needs no padding
            items, weights = history.values[None], counted[None]
        else:
            weights = np.zeros((len(users), max(1, int(history.lengths.max(initial=0)))), np.float32)
            items = np.zeros(weights.shape, np.int32)
            at = _places(history)
            items[at], weights[at] = history.values, counted
        inputs = self.inputs[items]
        weights = weights * self._known[items]
        if self.disliked_weight:
            left = np.where(weights < 0, -np.float32(self.disliked_weight) * weights, weights)
            return inputs, left, np.maximum(weights, 0)
        if self.confidence is None:
            return inputs, weights, weights
        weights *= np.float32(self.confidence)
        at = _places(history)
        pairs = at[0] * len(self.inputs) + history.values
        _, pair, times = np.unique(pairs, return_inverse=True, return_counts=True)
        left = weights.copy()
        left[at] -= np.float32(1) / times[pair.ravel()]  # of a pair together 1
        left *= weights != 0
        return inputs, left, weights

    def _matrices(self, inputs: F32, weights: F32) -> F32:
        """The left-hand sides (n, dim, dim)."""
        matrices: F32 = np.matmul((inputs * weights[..., None]).transpose(0, 2, 1), inputs)
        matrices += np.float32(self.unobserved_weight) * self.gram
        matrices.reshape(len(matrices), -1)[:, :: self.dim + 1] += self._ridge(weights.sum(axis=1))[:, None]
        return matrices

    def _ridge(self, total: Any) -> Any:
        """What stands on the diagonal for histories of these summed weights, float32 (n,), or for one, a
        float."""
        return self.regularization * (total + self.unobserved_weight * self.learned) ** self.exponent

    @cached_property
    def _known(self) -> Bool:
        """(n_inputs,): which inputs are no zero rows."""
        return np.asarray(self.inputs.any(axis=1))

    @cached_property
    def _spectrum(self) -> tuple[F32, F32]:
        """The eigenvalues (dim,) and eigenvectors (dim, dim) of what all left-hand sides share but for the
        diagonal."""
        values, basis = np.linalg.eigh(self.unobserved_weight * self.gram.astype(np.float64))
        return np.maximum(values, 0).astype(np.float32), np.ascontiguousarray(basis, np.float32)

    def contributions(self, user: Users, vectors: F32) -> F32 | None:
        usable = self.usable(user.history)
        inside = user.with_events(usable)
        inputs, left, weights = self._pad_histories(inside)
        if inputs.shape[1] < self.dim:
            solved = self._solved_by_events(inputs[0], left, vectors)
        else:
            solved = inputs[0] @ np.linalg.solve(self._matrices(inputs, left)[0], vectors.T)
        parts: F32 = solved.T * weights[0]
        return beside_events(parts[:, : len(inside.history)], usable)

    def _solved_by_events(self, inputs: F32, weights: F32, vectors: F32) -> F32:
        """float32 (events, k): Y M^-1 V' for the input vectors Y of one history (events, dim) and its
        left-hand side M, by a system as large as the history in place of dim: with the part B of M that is
        not of the history, and the weights W, it is (I + K W)^-1 Y B^-1 V' where K = Y B^-1 Y' (Woodbury's
        identity)."""
        values, basis = self._spectrum
        turned = inputs @ basis
        scaled = turned / (values + self._ridge(float(weights.sum())))
        system = (scaled @ turned.T) * weights
        system.ravel()[:: len(system) + 1] += 1
        solved: F32 = np.linalg.solve(system, scaled @ (vectors @ basis).T)
        return solved

    def start_rows(self, users: Users, items: F32) -> StartRows | None:
        return StartRows(self.encode(users).vectors, items)

    def without_rows(self, rows: I32) -> Self:
        same = copy(self)
        same.table = None if self.table is None else empty_rows(self.table, rows)
        return same

    def save(self, folder: Path) -> None:
        arrays = {"gram": self.gram} | ({} if self.table is None else {"table": self.table})
        write_encoder(folder, self, self._parameters() | {"n_items": self.learned}, arrays)

    @classmethod
    def load(cls, folder: Path, items: F32) -> Self:
        parameters, arrays = read_encoder(folder)
        learned = parameters.pop("n_items", len(items))  # older bundles hold no others
        return cls(items, arrays["gram"], arrays.get("table"), learned=learned, **parameters)


def _places(history: Ragged) -> tuple[I64, I64]:
    """The row of each value (nnz,), and its place in it."""
    return history.row_of_value(), np.arange(len(history.values)) - np.repeat(
        history.offsets[:-1], history.lengths
    )


def _blocks(lengths: I64, dim: int) -> list[slice]:
    """Cuts rows of rising length so that the padded arrays of one block stay within `_BLOCK_BYTES`."""
    blocks, start = [], 0
    while start < len(lengths):
        longest = int(lengths[min(start + 255, len(lengths) - 1)])
        stop = start + max(1, min(256, _BLOCK_BYTES // (8 * dim * (longest + dim))))
        blocks.append(slice(start, stop))
        start = stop
    return blocks
