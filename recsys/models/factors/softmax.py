"""Softmax matrix factorization: each user's events against all items at once."""

import math
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from recsys.arrays import F32, Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.matrix.ridge import fitted_inputs
from recsys.matrix.spectrum import propagate, unit
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.factors.spectral import spectral_rows
from recsys.models.search import HALF_LIVES, Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit, Rows
from recsys.training.loop import ALONE, Aids, Start


class SoftmaxSettings(Settings):
    """Settings of SoftmaxMF. Tune `temperature` first, then `learning_rate` with `epochs`."""

    dim: int = Field(64, ge=1, description="width of the vectors")
    epochs: int = Field(16, ge=1, description="passes over the users; the learning rate falls to 0 over them")
    batch_size: int = Field(256, ge=1, description="users a step")
    learning_rate: float = Field(0.03, gt=0, description="Adam's, at the start")
    temperature: float = Field(0.1, gt=0, description="divides the scores; .05 to .2 for cosine")
    similarity: Literal["cosine", "dot"] = Field(
        "cosine", description="cosine: vectors of length 1; dot: with temperature 1 and a regularization"
    )
    regularization: float = Field(
        0.0, ge=0, description="ridge on the rows; 0 for cosine, about 10 for dot; log grid, factor 3"
    )
    user_exponent: float = Field(
        0.5, ge=0, le=1, description="divides events by how many their user has, to this power; 0 = alike"
    )
    negatives: int = Field(0, ge=0, description="items drawn a step to stand for all; 0 = all items, exactly")
    initial: Literal["spectral", "random"] = Field("spectral", description="vectors to start from")
    propagation: float = Field(
        0.3,
        ge=0,
        description="weight of one LightGCN step added to the learned item vectors; 0 = off",
    )
    half_life: float | None = Field(
        None,
        gt=0,
        description="events after which one of the history counts half; none = the learned row answers",
    )
    fold_in_ridge: float = Field(
        10.0, gt=0, description="ridge of the inputs that encode a history; log grid from 1 to 100"
    )
    fold_in_epochs: int = Field(
        0,
        ge=0,
        description=(
            "passes in which these inputs are learned on, by the softmax; 2 where history is all alike"
        ),
    )
    user_rows: bool = Field(
        True,
        description="known users are answered from their learned rows; false: from their histories, like all",
    )
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="number type of large matrix products; auto: bf16 where the processor has it"
    )


class SoftmaxMF(Learner):
    """A vector for each user and item, such that a softmax of the user's scores over all items gives their
    events.

    All events of a user share one partition sum, so an epoch costs users x items, and not events x items.
    `propagation` adds to each item vector, once and after learning, the degree-normalised sum of the vectors
    of the users who had it.

    A user without a row is encoded by a sum over their history of input vectors, fitted by ridge regression
    to give the learned users' rows from parts of their histories (`recsys.encoders.bag.Bag`).

    Sources: Rendle et al., "Item Recommendation from Implicit Feedback", 2021; Wu et al., "On the
    Effectiveness of Sampled Softmax Loss for Item Recommendation", TOIS 2024; He et al., "LightGCN", SIGIR
    2020 (propagation). Relations: BPR compares with one item at a time; implicit ALS puts a square in place
    of the softmax.
    """

    Settings = SoftmaxSettings
    search: ClassVar[Space] = {
        "temperature": Span(0.02, 0.5, log=True),
        "learning_rate": Span(3e-3, 0.3, log=True),
        "user_exponent": Span(0.0, 1.0),
        "propagation": Span(0.0, 1.0),
        "half_life": HALF_LIVES,
    }
    starts_from: ClassVar[str | None] = "bag"
    starts_narrow: ClassVar[bool] = True

    def __init__(self, settings: SoftmaxSettings | None = None) -> None:
        self.settings = settings or SoftmaxSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder with the users' rows (n_users, dim).

        Items and users without events get zero rows. Raises ModelError on no events, and when learning
        diverges.
        """
        return SoftmaxFit(self.settings, train, seed, aids.warm).run(progress, aids)


class SoftmaxFit(EpochFit):
    """A table of users and one of items; an epoch goes over the users with events."""

    name, cure = "softmax", "Lower learning_rate or raise temperature."

    def __init__(self, settings: SoftmaxSettings, train: Dataset, seed: int, warm: Start | None) -> None:
        import torch

        from recsys.training.adam import Adam
        from recsys.training.products import large_products

        matrix = matrix_to_learn("softmax", train)
        self.settings, self.matrix, self.seed = settings, matrix, seed
        self.active = np.flatnonzero(np.diff(matrix.indptr) > 0)
        self.popularity = np.bincount(matrix.indices, minlength=matrix.shape[1])
        super().__init__(settings, seed, Rows(self.active), float(matrix.sum()))
        users, items = self._initial(warm)
        self.users, self.items = Adam(torch.from_numpy(users)), Adam(torch.from_numpy(items))
        total = matrix.sum(axis=1, dtype=np.float64)
        weights = np.where(total > 0, np.maximum(total, 1e-12) ** -settings.user_exponent, 0).astype(
            np.float32
        )
        self.user_weights = torch.from_numpy(weights / np.mean(weights[self.active]))
        self.precision = large_products(settings.precision)

    def _initial(self, warm: Start | None) -> tuple[F32, F32]:
        n_users, n_items = self.matrix.shape
        dim, rng = self.settings.dim, generator(self.seed, "softmax init")
        rows = rng.standard_normal((n_users + n_items, dim), dtype=np.float32) / np.float32(math.sqrt(dim))
        users, items = rows[:n_users], rows[n_users:]
        if warm is not None:
            given = warm.before_propagation(self.matrix, self.settings.propagation)
        elif self.settings.initial == "spectral":
            given = spectral_rows(self.matrix, dim, seed=self.seed)
        else:
            return users, items
        for drawn, start in zip((users, items), given, strict=True):
            known = start.any(axis=1)
            drawn[known, : start.shape[1]] = unit(start[known])
        return users, items

    def state(self) -> State:
        return {**self.users.state("users"), **self.items.state("items")}

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        import torch

        from recsys.training.losses import Positives, softmax, through_norm, uniform_sample, with_length

        s, cosine, chosen = self.settings, self.settings.similarity == "cosine", np.sort(batch)
        rows, part = torch.from_numpy(chosen), self.matrix[chosen]
        user = torch.from_numpy(np.repeat(np.arange(len(chosen)), np.diff(part.indptr)))
        positives = Positives(user, torch.from_numpy(part.indices).long(), torch.from_numpy(part.data))
        users, user_length = with_length(self.users.table[rows], cosine)
        items, item_length = with_length(self.items.table, cosine)
        gradients = softmax(
            users,
            items,
            positives,
            self.user_weights[rows],
            s.temperature,
            precision=self.precision,
            sample=uniform_sample(self.matrix.shape[1], s.negatives, rng),
            bound=1.0 if cosine else None,
        )
        by_user, by_item, touched = gradients.users, gradients.items, gradients.touched
        if user_length is not None and item_length is not None:
            by_user = through_norm(by_user, users, user_length)
            at = slice(None) if touched is None else touched
            by_item = through_norm(by_item, items[at], item_length[at])
        if s.regularization:
            by_user += s.regularization * self.users.table[rows]
            shrunk = self.items.table if touched is None else self.items.table[touched]
            by_item += s.regularization * len(rows) / len(self.active) * shrunk
        self.users.step(by_user, rate, rows)
        self.items.step(by_item, rate, touched)
        return gradients.loss

    def _inputs(self, users: F32, items: F32) -> F32:
        """float32 (n_items, dim): what the events of a history add to its user's vector."""
        s, inputs = self.settings, fitted_inputs(self.matrix, users, self.settings.fold_in_ridge)
        if not s.fold_in_epochs:
            return inputs
        from recsys.models.factors.refined_inputs import refined_inputs

        return refined_inputs(
            self.matrix,
            inputs,
            items,
            self.user_weights,
            s.temperature,
            epochs=s.fold_in_epochs,
            unit=s.similarity == "cosine",
            rng=generator(self.seed, "softmax inputs"),
            precision=self.precision,
        )

    def finish(self) -> Embeddings:
        cosine = self.settings.similarity == "cosine"
        users = self.users.table.numpy().copy()
        users[np.diff(self.matrix.indptr) == 0] = 0
        items = self.items.table.numpy().copy()
        items[self.popularity == 0] = 0
        if cosine:
            users, items = unit(users), unit(items)
        inputs = self._inputs(users, items)
        if self.settings.propagation:
            items += propagate(self.matrix, users, self.settings.propagation)
        half_life = self.settings.half_life
        table = users if half_life is None and self.settings.user_rows else None
        encoder = Bag(inputs, table, unit=cosine, half_life=half_life)
        return Embeddings(np.ascontiguousarray(items), encoder)
