"""LightGCN: vectors of people and items that are averaged over their graph in every step of learning."""

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from recsys.arrays import F32, Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.matrix.ridge import fitted_inputs
from recsys.matrix.spectrum import degree_normalised, unit
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.factors.bpr import draw_unseen
from recsys.models.factors.spectral import spectral_rows
from recsys.models.search import HALF_LIVES, Choices, Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit, Rows
from recsys.training.loop import ALONE, Aids

if TYPE_CHECKING:
    from torch import Tensor

    from recsys.training.losses import Gradients


class LightGCNSettings(Settings):
    """Settings of LightGCN. Tune `temperature`, `learning_rate` and `layers` first. The paper's loss is bpr
    with similarity dot, temperature 1 and a regularization."""

    dim: int = Field(64, ge=1, description="width of the vectors")
    epochs: int = Field(20, ge=1, description="passes over the users; the learning rate falls to 0 over them")
    batch_size: int = Field(
        1024, ge=1, description="users a step, each with all their events; each step averages once"
    )
    learning_rate: float = Field(0.03, gt=0, description="Adam's, at the start")
    layers: int = Field(
        2, ge=0, description="steps over the graph whose vectors are averaged with those learned"
    )
    loss: Literal["softmax", "bpr"] = Field(
        "softmax", description="softmax: an event against all items; bpr: against one drawn item"
    )
    similarity: Literal["cosine", "dot"] = Field(
        "cosine", description="cosine: vectors of length 1; dot: with temperature 1 and a regularization"
    )
    served_length: float = Field(
        0.5,
        ge=0,
        le=1,
        description="cosine: power of its averaged length by which an item's vector is served, for popular "
        "ones are longer; 0 = as learned",
    )
    temperature: float = Field(0.1, gt=0, description="divides the scores; .05 to .2 for cosine")
    regularization: float = Field(0.0, ge=0, description="ridge on the learned rows; 0 for cosine")
    negatives: int = Field(
        0, ge=0, description="items drawn a step to stand for all in the softmax; 0 = all items, exactly"
    )
    initial: Literal["spectral", "random"] = Field("spectral", description="vectors to start from")
    half_life: float | None = Field(
        None,
        gt=0,
        description="events after which one of the history counts half; none = the learned row answers",
    )
    fold_in_ridge: float = Field(
        10.0, gt=0, description="ridge of the inputs that encode a history; log grid from 1 to 100"
    )
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="number type of large matrix products; auto: bf16 where the processor has it"
    )


class LightGCN(Learner):
    """A vector for each user and item; what is scored is its mean with those that 1, 2, ... steps over the
    graph give.

    A step gives everybody the sum of their neighbours' vectors, each divided by the root of both degrees.
    Nothing else is learned, so the gradient of the learned rows is that of the averaged ones, averaged in the
    same way. By cosine it learns directions alone; the length that averaging gives an item grows with its
    people, and by a power of it popular items are served before others that point the same way. A user
    without a row is encoded by a fitted sum over their history, as in softmax matrix factorization.

    Sources: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation",
    SIGIR 2020;
    with a softmax: Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation", TOIS
    2024.
    Relations: SoftmaxMF with `propagation` takes one such step once, after learning, at a fraction of the
    cost; with 0 layers this is SoftmaxMF, or BPR.
    """

    Settings = LightGCNSettings
    search: ClassVar[Space] = {
        "temperature": Span(0.02, 0.5, log=True),
        "learning_rate": Span(3e-3, 0.3, log=True),
        "layers": Choices((1, 2, 3)),
        "served_length": Span(0.0, 1.0),
        "half_life": HALF_LIVES,
    }

    def __init__(self, settings: LightGCNSettings | None = None) -> None:
        self.settings = settings or LightGCNSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder with the users' rows (n_users, dim).

        Items and users without events get zero rows. Raises ModelError on no events, and when learning
        diverges.
        """
        return LightGCNFit(self.settings, train, seed).run(progress, aids)


class LightGCNFit(EpochFit):
    """A table of users and one of items, and the graph between them; an epoch goes over the users with
    events."""

    name, cure = "lightgcn", "Lower learning_rate or raise temperature."

    def __init__(self, settings: LightGCNSettings, train: Dataset, seed: int) -> None:
        import torch

        from recsys.training.adam import Adam
        from recsys.training.products import large_products

        self.settings, self.seed, self.matrix = settings, seed, matrix_to_learn("lightgcn", train)
        n_users, n_items = self.matrix.shape
        events = np.diff(self.matrix.indptr)
        self.active = np.flatnonzero(events > 0)
        self.pairs = np.repeat(np.arange(n_users), events) * n_items + self.matrix.indices  # ascending
        super().__init__(settings, seed, Rows(self.active), float(self.matrix.sum()))
        self.to_items = degree_normalised(self.matrix)  # (n_users, n_items)
        self.to_users = self.to_items.T.tocsr()
        self.users, self.items = (Adam(torch.from_numpy(one)) for one in self._initial())
        self.precision = large_products(settings.precision)

    def _initial(self) -> tuple[F32, F32]:
        (n_users, n_items), dim = self.matrix.shape, self.settings.dim
        rows = generator(self.seed, "lightgcn init").standard_normal(
            (n_users + n_items, dim), dtype=np.float32
        )
        rows /= np.float32(math.sqrt(dim))
        users, items = rows[:n_users], rows[n_users:]
        if self.settings.initial == "spectral":
            for drawn, start in zip(
                (users, items), spectral_rows(self.matrix, dim, seed=self.seed), strict=True
            ):
                known = start.any(axis=1)
                drawn[known, : start.shape[1]] = unit(start[known])
        return users, items

    def state(self) -> State:
        return {**self.users.state("users"), **self.items.state("items")}

    def average_steps(self, users: F32, items: F32) -> tuple[F32, F32]:
        """The mean of these tables, float32 (n_users, dim) and (n_items, dim), and of what each step over the
        graph makes of them. It is symmetric, so it turns gradients of the means into gradients of the tables,
        too."""
        total_users, total_items = users.copy(), items.copy()
        for _ in range(self.settings.layers):
            users, items = self.to_items @ items, self.to_users @ users
            total_users += users
            total_items += items
        share = np.float32(1 / (self.settings.layers + 1))
        return total_users * share, total_items * share

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        import torch

        loss, by_user, by_item = self.gradients(np.sort(batch), rng)
        self.users.step(torch.from_numpy(by_user), rate)
        self.items.step(torch.from_numpy(by_item), rate)
        return loss

    def gradients(self, chosen: Array, rng: np.random.Generator) -> tuple[float, F32, F32]:
        """The loss of these users' events, without the ridge, and the gradients of both learned tables with
        it."""
        import torch

        from recsys.training.losses import through_norm, with_length

        s, learned = self.settings, (self.users.table.numpy(), self.items.table.numpy())
        means, cosine = self.average_steps(*learned), self.settings.similarity == "cosine"
        users, user_length = with_length(torch.from_numpy(means[0][chosen]), cosine)
        items, item_length = with_length(torch.from_numpy(means[1]), cosine)
        loss, by_users, by_touched, rows = self._loss(users, items, chosen, rng)
        touched = slice(None) if rows is None else rows
        if user_length is not None and item_length is not None:
            by_users = through_norm(by_users, users, user_length)
            by_touched = through_norm(by_touched, items[touched], item_length[touched])
        of_users, of_items = (np.zeros_like(table) for table in learned)
        of_users[chosen] = by_users.numpy()
        torch.from_numpy(of_items)[touched] = by_touched
        by_user, by_item = self.average_steps(of_users, of_items)
        if s.regularization:
            by_user[chosen] += s.regularization * learned[0][chosen]
            by_item += np.float32(s.regularization * len(chosen) / len(self.active)) * learned[1]
        return loss, by_user, by_item

    def _loss(self, users: "Tensor", items: "Tensor", chosen: Array, rng: np.random.Generator) -> "Gradients":
        """The loss of the vectors of the chosen users (n, dim) and of all items (n_items, dim), and its
        gradients."""
        import torch

        from recsys.training.losses import Positives, bpr, softmax, uniform_sample

        s, part, n_items = self.settings, self.matrix[chosen], self.matrix.shape[1]
        place = np.repeat(np.arange(len(chosen)), np.diff(part.indptr))
        item, weight = torch.from_numpy(part.indices).long(), torch.from_numpy(part.data)
        positives = Positives(torch.from_numpy(place), item, weight)
        if s.loss == "bpr":
            negatives = torch.from_numpy(draw_unseen(chosen[place], self.pairs, n_items, rng))
            gradients = bpr(users / s.temperature, items, positives, negatives)
            return gradients._replace(users=gradients.users / s.temperature)
        return softmax(
            users,
            items,
            positives,
            users.new_ones(len(users)),
            s.temperature,
            precision=self.precision,
            sample=uniform_sample(n_items, s.negatives, rng),
            bound=1.0 if s.similarity == "cosine" else None,
        )

    def finish(self) -> Embeddings:
        s, cosine = self.settings, self.settings.similarity == "cosine"
        users, items = self.average_steps(self.users.table.numpy(), self.items.table.numpy())
        users[np.diff(self.matrix.indptr) == 0] = 0
        items[np.bincount(self.matrix.indices, minlength=len(items)) == 0] = 0
        if cosine:
            lengths = np.linalg.norm(items, axis=1, keepdims=True)
            users, items = unit(users), unit(items) * lengths ** np.float32(s.served_length)
        inputs, table = (
            fitted_inputs(self.matrix, users, s.fold_in_ridge),
            users if s.half_life is None else None,
        )
        return Embeddings(items, Bag(inputs, table, unit=cosine, half_life=s.half_life))
