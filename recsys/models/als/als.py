"""Implicit ALS: matrix factorization by alternating ridge regressions over all user-item pairs."""

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32, Bool
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.solve import Solve
from recsys.errors import ModelError
from recsys.models.base import Learner, refuse_no_dislikes, refuse_no_events
from recsys.models.memory import available_bytes
from recsys.models.search import HALF_LIVES, Space, Span
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.loop import ALONE, Aids, run_epochs

if TYPE_CHECKING:
    from recsys.models.als.alternation import Alternation, Side

LANES = 16  # floats of a vector register: the width of the rows is a multiple
_BLOCK = 1 << 16  # rows drawn at a time
_ROW_BYTES = 40  # a row's offsets, order, ridge and share of the objective
_EVENT_BYTES = 24  # an event in the matrix of either side, and while they are made
_GRAM_BYTES = 160  # an entry of the Gram matrix, whose parts are summed in float64
_SPACE = 64 << 20  # what the threads work in


class ALSSettings(Settings):
    """Settings of ALS. Tune `unobserved_weight` and `regularization` first, on a log grid."""

    dim: int = Field(
        64, ge=1, description="width of the vectors; more is better up to about 1,000, and dearer"
    )
    epochs: int = Field(16, ge=1, description="sweeps over users and items; 8 to 16 converge")
    regularization: float = Field(
        0.003, gt=0, description="ridge, before scaling by frequency; log grid, factor 3"
    )
    unobserved_weight: float = Field(
        0.1, gt=0, description="weight of a pair without event; an event weighs 1"
    )
    exponent: float = Field(
        1.0, ge=0, le=1, description="power of the frequency in the ridge; 1 suits most data"
    )
    solver: Literal["cg", "exact"] = Field(
        "cg",
        description="cg: conjugate gradient from the last rows, but exact for short rows; exact: Cholesky",
    )
    disliked_weight: float = Field(
        0.0,
        ge=0,
        description='an event that says "not this" is learned as a pair that shall score 0, with so many '
        "times its "
        "weight (an unobserved pair has unobserved_weight); 1 to 10; 0 = not learned from",
    )
    half_life: float | None = Field(
        None,
        gt=0,
        description="events after which one of the history counts half; none = the learned row answers",
    )
    cg_steps: int = Field(3, ge=1, description="conjugate gradient steps in each half-step")


class ALS(Learner):
    """Factors the 0/1 matrix of who did what, with every pair in the objective:

    `sum_observed w (x_u y_i - 1)^2 + a sum_all (x_u y_i)^2 + sum_u r_u |x_u|^2 + sum_i r_i |y_i|^2`, where a
    is `unobserved_weight`, w the summed event weights of the pair, and r_u is `regularization * (sum w + a
    n_items) ** exponent`. With a `disliked_weight` the pairs that say "not this" add `sum_disliked v (x_u
    y_i)^2`, v being that times their summed weights, and v counts in the sums of r_u and r_i; those of users
    or items without any event of weight, whose rows are zeros, are left out.

    The user rows of the result are the exact solution for their histories, so a user folded in from the same
    history at request time gets the same vector (`recsys.encoders.solve.Solve`).

    How it is fast: before each half-step both sides are turned into the basis of the fixed side's
    eigenvectors, in which `a Y'Y` is diagonal (the objective does not change, and the result is turned back).
    A row with fewer observations than dimensions is then the solution of a system as large as their number
    (Woodbury), sixteen rows are solved at once in the lanes of the vector registers (`exact`), and conjugate
    gradient needs no dense product (`single`). The objective after an epoch falls out of the half-step on the
    items.

    Sources: Hu, Koren, Volinsky, ICDM 2008; Takacs, Pilaszy, Tikk, RecSys 2011 (conjugate gradient); Rendle
    et al., "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022 (frequency
    scaling). Relations: one exact user half-step on fixed item vectors is the encoder.
    """

    Settings = ALSSettings
    search: ClassVar[Space] = {
        "regularization": Span(3e-4, 0.3, log=True),
        "unobserved_weight": Span(1e-3, 10.0, log=True),
        "half_life": HALF_LIVES,
    }
    starts_from: ClassVar[str | None] = "solve"
    learns_dislikes: ClassVar[bool] = True

    def __init__(self, settings: ALSSettings | None = None) -> None:
        self.settings = settings or ALSSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Solve encoder with the users' rows (n_users, dim).

        Items and users without events of weight get zero rows. A warm start takes the item vectors alone, for
        the users' follow from them, and keeps their basis. Raises ModelError on no events, on weights that
        are not positive, on a `disliked_weight` where nothing says "not this", where the memory does not
        suffice, and when the objective diverges.
        """
        from recsys.models.als.alternation import Alternation

        _check(train)
        if self.settings.disliked_weight:
            refuse_no_dislikes("als", train)
        self._state_memory(train, progress, 1 if aids.watch is None else 2)
        users, items = self._sides(train)
        item_rows = self._initial(train, seed, aids.warm.items if aids.warm else None)
        user_rows = np.zeros((train.n_users, item_rows.shape[1]), np.float32)
        learner = Alternation(
            users,
            items,
            user_rows,
            item_rows,
            dim=self.settings.dim,
            unobserved_weight=self.settings.unobserved_weight,
            steps=self.settings.cg_steps if self.settings.solver == "cg" else None,
        )
        run_epochs(
            "learning als",
            self.settings.epochs,
            lambda number: {"objective": learner.epoch()},
            state=learner.state(),
            learned=lambda: self._result_of(learner.copy()),
            aids=aids,
            progress=progress,
            cure="Raise regularization or unobserved_weight, or scale the weights of the events down.",
        )
        return self._result_of(learner)

    def _result_of(self, learner: "Alternation") -> Embeddings:
        """The result of a learner, which is at its end."""
        learner.finish()
        dim = self.settings.dim
        table, vectors = (
            np.ascontiguousarray(rows[:, :dim]) for rows in (learner.user_rows, learner.item_rows)
        )
        encoder = Solve(
            vectors,
            vectors.T @ vectors,
            table if self.settings.half_life is None else None,
            regularization=self.settings.regularization,
            unobserved_weight=self.settings.unobserved_weight,
            exponent=self.settings.exponent,
            half_life=self.settings.half_life,
            disliked_weight=self.settings.disliked_weight,
        )
        return Embeddings(vectors, encoder)

    def _sides(self, train: Dataset) -> tuple["Side", "Side"]:
        """The observations of the users and of the items, with their ridges."""
        from recsys.models.als.alternation import Side

        by_user = train.interactions.matrix()
        by_item = by_user.T.tocsr()
        if self.settings.disliked_weight:
            events, others = train.interactions, train.disliked
            others = others.where(
                (events.user_counts() > 0)[others.user] & (events.item_counts() > 0)[others.item]
            )
            disliked = others.matrix() * np.float32(self.settings.disliked_weight)
            by_user, by_item = _beside(by_user, disliked), _beside(by_item, disliked.T.tocsr())
        return Side.of(by_user, self._ridge(by_user, train.n_items)), Side.of(
            by_item, self._ridge(by_item, train.n_users)
        )

    def _ridge(self, matrix: sparse.csr_array, n_other: int) -> F32:
        if self.settings.disliked_weight:  # not by abs(matrix), which would make one of a pair's two entries
            matrix = sparse.csr_array(
                (np.abs(matrix.data), matrix.indices, matrix.indptr), shape=matrix.shape
            )
        total = matrix.sum(axis=1, dtype=np.float64) + self.settings.unobserved_weight * n_other
        ridge: F32 = (self.settings.regularization * total**self.settings.exponent).astype(np.float32)
        return ridge

    def _initial(self, train: Dataset, seed: int, known: F32 | None = None) -> F32:
        """Item rows to start from, float32 (n_items, width), where width is the dim rounded up to full
        registers and the rest is zero: `known` (n_items, dim), and random rows where those are zeros or not
        given.

        Items without events of weight start, and stay, at zero.
        """
        dim, rng = self.settings.dim, generator(seed, "als init")
        rows = np.zeros((train.n_items, _width(dim)), np.float32)
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK, :dim]
            block[:] = rng.standard_normal(block.shape, dtype=np.float32)
            block *= np.float32(0.1 / np.sqrt(dim))
            if known is not None:
                given = known[start : start + _BLOCK]
                np.copyto(block, given, where=np.asarray(given.any(axis=1))[:, None])
        rows[train.interactions.item_counts() == 0] = 0
        return rows

    def _state_memory(self, train: Dataset, progress: Progress, copies: int) -> None:
        """Reports the bytes that learning takes before any is taken; raises ModelError where they are not
        free."""
        needed, free = self._bytes(train, self.settings.dim, copies), available_bytes()
        progress(Step(f"als takes {needed / 2**30:.2f} GiB", 1, 1))
        if free is None or needed <= free:
            return
        fitting = [
            dim for dim in range(LANES, self.settings.dim, LANES) if self._bytes(train, dim, copies) <= free
        ]
        cure = (
            f"Set dim to {fitting[-1]} or less"
            if fitting
            else "Drop users and items with few events (k-core)"
        )
        raise ModelError(
            f"als needs {needed / 2**30:.1f} GiB for dim={self.settings.dim} on the {train.n_users:,} users, "
            f"{train.n_items:,} items and {len(train.interactions):,} events of {train.name}, and "
            f"{free / 2**30:.1f} GiB are free. {cure}."
        )

    def _bytes(self, train: Dataset, dim: int, copies: int) -> int:
        """What learning holds at its peak beside the data set. copies: of the rows; 2 where somebody looks
        on."""
        rows, width = train.n_users + train.n_items, _width(dim)
        table = 4 * width * rows + (4 * dim * rows if width > dim else 0)
        return (
            copies * table
            + _ROW_BYTES * rows
            + _EVENT_BYTES
            * (len(train.interactions) + (len(train.disliked) if self.settings.disliked_weight else 0))
            + _GRAM_BYTES * width**2
            + _SPACE
        )


def _beside(matrix: sparse.csr_array, disliked: sparse.csr_array) -> sparse.csr_array:
    """The entries of both, row by row: those of the second, which are below 0, after those of the first."""
    both = sparse.hstack([matrix, disliked], format="csr")
    return sparse.csr_array((both.data, both.indices % matrix.shape[1], both.indptr), shape=matrix.shape)


def _width(dim: int) -> int:
    return -(-dim // LANES) * LANES


def _check(train: Dataset) -> None:
    refuse_no_events("als", train)
    weights = train.interactions.weight
    if weights is None:
        return
    good: Bool = np.asarray(np.isfinite(weights) & (weights > 0))
    if not good.all():
        row = int(np.argmin(good))
        raise ModelError(
            f"als needs positive weights; event {row} of {train.name} weighs {weights[row]}. Drop it."
        )
