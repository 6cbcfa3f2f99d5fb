"""Implicit ALS: matrix factorization by alternating ridge regressions over all user-item pairs."""

from typing import Any, Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.errors import ModelError
from recsys.progress import Progress, Step, silent
from recsys.retrieval.encoders import Solve
from recsys.retrieval.ranker import Embeddings
from recsys.seeding import generator


class ALSSettings(Settings):
    """Settings of ALS. Tune `unobserved_weight` and `regularization` first, on a log grid."""

    dim: int = Field(64, ge=1, description="width of the vectors; more is better up to about 1,000, and dearer")
    epochs: int = Field(16, ge=1, description="sweeps over users and items; 8 to 16 converge")
    regularization: float = Field(0.003, gt=0, description="ridge, before scaling by frequency; log grid, factor 3")
    unobserved_weight: float = Field(0.1, gt=0, description="weight of a pair without event; an event weighs 1")
    exponent: float = Field(1.0, ge=0, le=1, description="power of the frequency in the ridge; 1 suits most data")
    solver: Literal["cg", "exact"] = Field(
        "cg", description="cg: conjugate gradient from the last rows; exact: Cholesky"
    )
    cg_steps: int = Field(3, ge=1, description="conjugate gradient steps in each half-step")


class ALS:
    """Factors the 0/1 matrix of who did what, with every pair in the objective:

    `sum_observed w (x_u y_i - 1)^2 + a sum_all (x_u y_i)^2 + sum_u r_u |x_u|^2 + sum_i r_i |y_i|^2`, where a is
    `unobserved_weight`, w the summed event weights of the pair, and r_u is
    `regularization * (sum w + a n_items) ** exponent`.

    The user rows of the result are the exact solution for their histories, so a user folded in from the same history at
    request time gets the same vector (`recsys.retrieval.encoders.Solve`).

    Sources: Hu, Koren, Volinsky, ICDM 2008; Takacs, Pilaszy, Tikk, RecSys 2011 (conjugate gradient); Rendle et al.,
    "Revisiting the Performance of iALS on Item Recommendation Benchmarks", RecSys 2022 (frequency scaling).
    Relations: one exact user half-step on fixed item vectors is the encoder.
    """

    Settings = ALSSettings

    def __init__(self, settings: ALSSettings | None = None) -> None:
        self.settings = settings or ALSSettings()

    def fit(self, train: Dataset, *, seed: int, progress: Progress = silent) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Solve encoder with the users' rows (n_users, dim).

        Items and users without events get zero rows. Raises ModelError on no events, on weights that are not positive,
        and when the objective diverges.
        """
        from threadpoolctl import threadpool_limits

        from recsys.models import als_sweeps  # noqa: F401  compiled code and its BLAS, before the limit below

        by_user = _checked(train)
        by_item = by_user.T.tocsr()
        rng = generator(seed, "als init")
        scale = 0.1 / np.sqrt(self.settings.dim)
        users = rng.normal(0, scale, (train.n_users, self.settings.dim)).astype(np.float32)
        items = rng.normal(0, scale, (train.n_items, self.settings.dim)).astype(np.float32)
        items[np.diff(by_item.indptr) == 0] = 0
        with threadpool_limits(1, user_api="blas"):
            for epoch in range(self.settings.epochs):
                self._half_step(by_user, items, users)
                self._half_step(by_item, users, items)
                objective = self._objective(by_user, by_item, users, items)
                if not np.isfinite(objective):
                    raise ModelError(f"als diverged in epoch {epoch + 1}: raise regularization or unobserved_weight.")
                progress(Step("learning als", epoch + 1, self.settings.epochs, {"objective": objective}))
            self._half_step(by_user, items, users, exactly=True)
        return Embeddings(
            items,
            Solve(
                items,
                items.T @ items,
                users,
                regularization=self.settings.regularization,
                unobserved_weight=self.settings.unobserved_weight,
                exponent=self.settings.exponent,
            ),
        )

    def _half_step(self, matrix: sparse.csr_array, other: F32, rows: F32, exactly: bool = False) -> None:
        """Solves, in place, the rows (n, dim) of one side, the other side (m, dim) held fixed."""
        from recsys.models import als_sweeps

        base = np.float32(self.settings.unobserved_weight) * (other.T @ other)
        ridge = self._ridge(matrix, len(other))
        arguments: Any = (matrix.indptr, matrix.indices, matrix.data, other, base, ridge, rows)
        if exactly or self.settings.solver == "exact":
            als_sweeps.solve_exactly(*arguments)
        else:
            als_sweeps.solve_by_gradients(*arguments, self.settings.cg_steps)  # type: ignore[call-arg]

    def _ridge(self, matrix: sparse.csr_array, n_other: int) -> F32:
        total = matrix.sum(axis=1) + np.float32(self.settings.unobserved_weight * n_other)
        ridge: F32 = (self.settings.regularization * total**self.settings.exponent).astype(np.float32)
        return ridge

    def _objective(self, by_user: sparse.csr_array, by_item: sparse.csr_array, users: F32, items: F32) -> float:
        """The mean of the objective over the events, in float64."""
        from recsys.models import als_sweeps

        observed = als_sweeps.squared_gaps(by_user.indptr, by_user.indices, by_user.data, users, items).sum()
        everything = np.sum((users.T @ users).astype(np.float64) * (items.T @ items))
        penalty = self._ridge(by_user, len(items)) @ np.square(users).sum(1, dtype=np.float64)
        penalty += self._ridge(by_item, len(users)) @ np.square(items).sum(1, dtype=np.float64)
        total = float(observed + self.settings.unobserved_weight * everything + penalty)
        return total / int(by_user.nnz)


def _checked(train: Dataset) -> sparse.csr_array:
    """The user-item matrix, float32 (n_users, n_items) with positive finite weights."""
    if not len(train.interactions):
        raise ModelError(f"als cannot learn from {train.name}: it has no events.")
    weights = train.interactions.weights
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        row = int(np.argmin(np.isfinite(weights) & (weights > 0)))
        raise ModelError(f"als needs positive weights; event {row} of {train.name} weighs {weights[row]}. Drop it.")
    return train.interactions.matrix()
