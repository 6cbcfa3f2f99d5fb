"""BPR matrix factorization: an item that the user had against one that they had not."""

import math
from typing import ClassVar

import numpy as np
from pydantic import Field

from recsys.arrays import I64, Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.matrix.ridge import fitted_inputs
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.search import Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit, Rows
from recsys.training.loop import ALONE, Aids, Start

_REDRAWS = 8  # of a negative that the user had; then it stands


class BPRSettings(Settings):
    """Settings of BPR. Tune `regularization` and `learning_rate` first."""

    dim: int = Field(64, ge=1, description="width of the vectors")
    epochs: int = Field(
        40, ge=1, description="passes over the events; the learning rate falls to 0 over them"
    )
    batch_size: int = Field(8_192, ge=1, description="events a step, each with one drawn negative")
    learning_rate: float = Field(0.01, gt=0, description="Adam's, at the start")
    regularization: float = Field(0.01, ge=0, description="ridge on the rows of each event")
    fold_in_ridge: float = Field(
        10.0, gt=0, description="ridge of the inputs that encode a history; log grid from 1 to 100"
    )


class BPR(Learner):
    """A vector for each user and item, such that items the user had score above uniformly drawn ones they had
    not.

    A user without a row is encoded by a fitted sum over their history, as in softmax matrix factorization.

    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
    Relations: SoftmaxMF compares with all items at once; which of the two is stronger depends on the data.
    """

    Settings = BPRSettings
    search: ClassVar[Space] = {
        "learning_rate": Span(1e-3, 0.1, log=True),
        "regularization": Span(1e-4, 0.3, log=True),
    }
    starts_from: ClassVar[str | None] = "bag"

    def __init__(self, settings: BPRSettings | None = None) -> None:
        self.settings = settings or BPRSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder with the users' rows (n_users, dim).

        Items and users without events get zero rows. Raises ModelError on no events, and when learning
        diverges.
        """
        return BPRFit(self.settings, train, seed, aids.warm).run(progress, aids)


class BPRFit(EpochFit):
    """A table of users and one of items; an epoch goes over the events."""

    name, cure = "bpr", "Lower learning_rate or raise regularization."

    def __init__(self, settings: BPRSettings, train: Dataset, seed: int, warm: Start | None) -> None:
        import torch

        from recsys.training.adam import Adam

        self.settings, self.matrix = settings, matrix_to_learn("bpr", train)
        n_users, n_items = self.matrix.shape
        self.user = np.repeat(np.arange(n_users), np.diff(self.matrix.indptr))
        self.pairs = self.user * n_items + self.matrix.indices  # rising, since indices are sorted within rows
        super().__init__(settings, seed, Rows(np.arange(len(self.user))), float(self.matrix.sum()))
        rows = generator(seed, "bpr init").standard_normal(
            (n_users + n_items, settings.dim), dtype=np.float32
        )
        rows *= np.float32(0.1 / math.sqrt(settings.dim))
        users, items = rows[:n_users], rows[n_users:]
        if warm is not None:
            for drawn, start in ((users, warm.users), (items, warm.items)):
                known = start.any(axis=1)
                drawn[known] = start[known]
        self.users, self.items = Adam(torch.from_numpy(users)), Adam(torch.from_numpy(items))

    def state(self) -> State:
        return {**self.users.state("users"), **self.items.state("items")}

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        import torch

        from recsys.training.losses import Positives, bpr

        ridge = self.settings.regularization
        chosen, place = np.unique(self.user[batch], return_inverse=True)
        tensors = (place, self.matrix.indices[batch], self.matrix.data[batch])
        positives = Positives(*(torch.from_numpy(array) for array in tensors))
        positives = positives._replace(item=positives.item.long())
        rows, negatives = (
            torch.from_numpy(chosen),
            torch.from_numpy(draw_unseen(self.user[batch], self.pairs, self.matrix.shape[1], rng)),
        )
        users, items = self.users.table[rows], self.items.table
        gradients = bpr(users, items, positives, negatives)
        mass = torch.zeros(len(rows), 1).index_add_(0, positives.user, positives.weight[:, None])
        self.users.step(gradients.users + ridge * mass * users, rate, rows)
        self.items.step(gradients.items + ridge * items[gradients.touched], rate, gradients.touched)
        return gradients.loss

    def finish(self) -> Embeddings:
        users, items = (adam.table.numpy().copy() for adam in (self.users, self.items))
        users[np.diff(self.matrix.indptr) == 0] = 0
        items[np.bincount(self.matrix.indices, minlength=len(items)) == 0] = 0
        return Embeddings(
            items, Bag(fitted_inputs(self.matrix, users, self.settings.fold_in_ridge), users, unit=False)
        )


def draw_unseen(user: I64, pairs: I64, n_items: int, rng: np.random.Generator) -> I64:
    """int64 (events,): a uniform item for the user of each event, drawn again, a few times, where they had
    it.

    pairs: int64, ascending, `user * n_items + item` of all that anybody had.
    """
    drawn = rng.integers(n_items, size=len(user))
    for _ in range(_REDRAWS):
        asked = user * n_items + drawn
        at = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
        had = np.flatnonzero(pairs[at] == asked)
        if not len(had):
            break
        drawn[had] = rng.integers(n_items, size=len(had))
    return drawn
