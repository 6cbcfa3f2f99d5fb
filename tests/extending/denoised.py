"""Somebody else's learner in epochs, in a file of their own: it says how a fit is set up, a step, and what it
ends in.

With what such learners like to have: parts of the input dropped out at random, and an average of the weights.
"""

import numpy as np
import torch
from pydantic import Field

from recsys.arrays import Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.models.base import Learner, matrix_to_learn
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.adam import Adam
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit, Rows
from recsys.training.loop import ALONE, Aids, Start

_KEPT = 0.9  # of the average, in each step


class DenoisedSettings(Settings):
    """Settings of Denoised."""

    dim: int = Field(8, ge=1, description="width of the vectors")
    epochs: int = Field(10, ge=1, description="passes over the users; the learning rate falls to 0 over them")
    batch_size: int = Field(64, ge=1, description="users a step")
    learning_rate: float = Field(0.05, gt=0, description="Adam's, at the start")
    dropout: float = Field(0.3, ge=0, lt=1, description="share of the events that are hidden from the input")


class Denoised(Learner):
    """A sum over the events that are left of a user, such that a softmax over all items gives all of their
    events.

    Source: Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018: Mult-DAE without
    layers.
    """

    Settings = DenoisedSettings

    def __init__(self, settings: DenoisedSettings | None = None) -> None:
        self.settings = settings or DenoisedSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        return DenoisedFit(self.settings, train, seed, aids.warm).run(progress, aids)


class DenoisedFit(EpochFit):
    name, cure = "denoised", "Lower learning_rate."

    def __init__(self, settings: DenoisedSettings, train: Dataset, seed: int, warm: Start | None) -> None:
        self.matrix, self.dropout = matrix_to_learn("denoised", train), settings.dropout
        active = np.flatnonzero(np.diff(self.matrix.indptr))
        super().__init__(settings, seed, Rows(active), float(self.matrix.sum()))
        rows = generator(seed, "denoised init").standard_normal(
            (2, train.n_items, settings.dim), dtype=np.float32
        )
        rows *= np.float32(0.1)
        rows[:, train.interactions.item_counts() == 0] = 0
        self.inputs, self.items = (Adam(torch.from_numpy(table)) for table in rows)
        self.average = torch.from_numpy(rows.copy())

    def state(self) -> State:
        return {**self.inputs.state("inputs"), **self.items.state("items"), "average": self.average}

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        events = self.matrix[batch].toarray()
        left = torch.from_numpy(events * (rng.random(events.shape) >= self.dropout))
        free = inputs, items = [adam.table.clone().requires_grad_() for adam in (self.inputs, self.items)]
        scores = left @ inputs @ items.T
        loss = -(torch.from_numpy(events) * scores.log_softmax(1)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        for adam, table, average in zip((self.inputs, self.items), free, self.average, strict=True):
            assert table.grad is not None
            adam.step(table.grad, rate)
            average.mul_(_KEPT).add_(adam.table, alpha=1 - _KEPT)
        return float(loss.detach())

    def finish(self) -> Embeddings:
        inputs, items = self.average.numpy().copy()
        items[self.matrix.sum(axis=0) == 0] = 0
        return Embeddings(items, Bag(inputs, None, unit=False))
