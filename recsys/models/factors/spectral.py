"""Spectral embeddings: the singular vectors of the degree-normalised matrix, filtered; a model in seconds."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.matrix.spectrum import decompose, degree_normalised, degrees
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.search import HALF_LIVES, Space, Span
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.training.loop import ALONE, Aids


class SpectralSettings(Settings):
    """Settings of Spectral. Tune `dim` first: each further dimension is kept nested in the larger models."""

    dim: int = Field(256, ge=1, description="singular vectors kept")
    exponent: float = Field(
        0.4, ge=0, le=1, description="power of the degrees that the matrix is divided by, on both sides"
    )
    filter: float = Field(
        0.5, ge=0, description="power of the singular values that the directions weigh by; 0 = alike"
    )
    half_life: float | None = Field(
        None, gt=0, description="events after which one of the history counts half; none = all count alike"
    )
    sweeps: int = Field(4, ge=1, description="passes of the randomized decomposition; more is exacter")


class Spectral(Learner):
    """The user's history through a low-pass filter: `x D^-e V S^f V' D^e`, X normalised by the powers of its
    degrees.

    V and S are the leading singular vectors and values of `D_u^-e X D_i^-e`. Item vectors are `D^e V
    S^(f/2)`, and the user vector is the sum of `D^-e V S^(f/2)` over the history: users need no row, and
    known and unknown ones are encoded alike. The first columns of a larger model are the smaller one.

    Sources: Shen et al., "How Powerful is Graph Convolution for Recommendation?" (GF-CF), CIKM 2021; Halko,
    Martinsson, Tropp, "Finding Structure with Randomness", SIAM Review 2011. Relations: the closed form of
    graph convolution; where dim is the number of items and f grows, EASE's neighbour.
    """

    Settings = SpectralSettings
    search: ClassVar[Space] = {
        "dim": Span(16, 512, log=True),
        "exponent": Span(0.2, 0.8),
        "filter": Span(0.0, 2.0),
        "half_life": HALF_LIVES,
    }

    def __init__(self, settings: SpectralSettings | None = None) -> None:
        self.settings = settings or SpectralSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder. Columns beyond the rank of the data are
        zero.

        Raises ModelError on no events.
        """
        s, matrix = self.settings, matrix_to_learn("spectral", train)
        task = "decomposing"
        progress(Step(task, 0, 1))
        by_item = np.maximum(degrees(matrix)[1], 1e-12)[:, None]
        normalised = degree_normalised(matrix, s.exponent, folder=train.interactions.folder)
        _, values, right = decompose(normalised, s.dim, seed=seed, sweeps=s.sweeps)
        filtered = np.zeros((train.n_items, s.dim), np.float64)
        filtered[:, : len(values)] = right * values ** (s.filter / 2)
        filtered[np.bincount(matrix.indices, minlength=train.n_items) == 0] = 0
        items = np.ascontiguousarray(filtered * by_item**s.exponent, np.float32)
        inputs = np.ascontiguousarray(filtered * by_item**-s.exponent, np.float32)
        progress(Step(task, 1, 1))
        return Embeddings(items, Bag(inputs, None, unit=False, half_life=s.half_life))


def spectral_rows(
    matrix: sparse.csr_array, dim: int, *, seed: int, folder: Path | None = None
) -> tuple[F32, F32]:
    """User rows (n_users, k) and item rows (n_items, k) whose inner products rebuild the normalised matrix: a
    start for other learners. k is `dim`, or the smaller side of the matrix. folder: as in
    `degree_normalised`."""
    left, values, right = decompose(degree_normalised(matrix, folder=folder), dim, seed=seed)
    root = np.sqrt(values)
    return left * root, right * root
