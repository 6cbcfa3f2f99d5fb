"""Variational softmax factorization: what a few events do not tell of a taste is averaged over, and not
guessed."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32, Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.matrix.ridge import fitted_inputs
from recsys.matrix.spectrum import propagate
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.factors.spectral import spectral_rows
from recsys.models.popularity import trend
from recsys.models.search import HALF_LIVES, Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit, Rows
from recsys.training.loop import ALONE, Aids, Start

_LEVEL = (
    100.0  # of the users' last column: what items hold there is small, and hardly counts in their similarity
)
_NOISE = 0.05  # added to the spectral start, so that directions beyond the rank of the data may learn
_SETTLING = 2  # visits to each user beside the last epoch, when the items stand still


class VariationalSettings(Settings):
    """Settings of VariationalMF. Tune `dim`, `regularization` and `user_exponent` first."""

    dim: int = Field(
        64, ge=2, description="width of the vectors: dim - 1 directions of taste, and what is popular"
    )
    epochs: int = Field(24, ge=1, description="passes over the users; the learning rate falls to 0 over them")
    batch_size: int = Field(256, ge=1, description="users a step")
    learning_rate: float = Field(0.05, gt=0, description="Adam's for the items, at the start")
    regularization: float = Field(
        4.0, ge=0, description="precision of the items' normal prior; that of the users is 1"
    )
    user_exponent: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="n events of a user tell as much as n to the power 1 - this; 0 = each tells anew",
    )
    negatives: int = Field(
        0,
        ge=0,
        description="items drawn a step to stand for all, thousands at the least; 0 = all items, exactly",
    )
    propagation: float = Field(
        0.05,
        ge=0,
        description="weight of one LightGCN step added to the learned item vectors; 0 = off",
    )
    trend_days: float | None = Field(
        None,
        gt=0,
        description=(
            "half-life in days of what counts in how popular an item is now; none = all of time alike"
        ),
    )
    half_life: float | None = Field(
        None,
        gt=0,
        description="events after which one of the history counts half; none = the learned row answers",
    )
    fold_in_ridge: float = Field(
        1.0, gt=0, description="ridge of the inputs that encode a history; log grid from 0.3 to 30"
    )
    precision: Literal["auto", "bf16", "float32"] = Field(
        "auto", description="number type of large matrix products; auto: bf16 where the processor has it"
    )


class VariationalMF(Learner):
    """Softmax factorization with users whose taste is a distribution: a mean, and a variance in each
    direction.

    Where SoftmaxMF takes the one vector that fits a user's few events best, here all that fit count, each as
    far as it fits: item vectors are learned by raising a lower bound on the probability of the events with
    the tastes integrated out. An item's score is `<mean taste, item> + bias`, the bias what is popular with
    everyone; the average variance of users is in it, and the item's trend where asked. One inner product
    holds both: user vectors end in a constant.

    A user without a row is encoded by a sum over their history of input vectors, fitted by ridge regression
    to give the learned users' means (`recsys.encoders.bag.Bag`).

    Sources: Buntine, "Variational Extensions to EM and Multinomial PCA", ECML 2002; Liang et al.,
    "Variational Autoencoders for Collaborative Filtering", WWW 2018; He et al., "LightGCN", SIGIR 2020
    (propagation). Relations: SoftmaxMF with `similarity = "dot"` is this without variances; it overfits where
    users have few events.
    """

    Settings = VariationalSettings
    search: ClassVar[Space] = {
        "dim": Span(8, 128, log=True),
        "regularization": Span(0.5, 32.0, log=True),
        "user_exponent": Span(0.0, 0.5),
        "propagation": Span(0.0, 0.2),
        "half_life": HALF_LIVES,
    }
    starts_from: ClassVar[str | None] = "bag"

    def __init__(self, settings: VariationalSettings | None = None) -> None:
        self.settings = settings or VariationalSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder with the users' rows (n_users, dim - 1).

        Items and users without events get zero rows. A warm start has dim - 1 columns: the biases are learned
        anew. Raises ModelError on no events, on `trend_days` without timestamps, and when learning diverges.
        """
        return VariationalFit(self.settings, train, seed, aids.warm).run(progress, aids)


class VariationalFit(EpochFit):
    """The tastes of users, and the directions and biases of items; an epoch goes over the users with
    events."""

    name, cure = "variational", "Lower learning_rate or raise regularization."

    def __init__(self, settings: VariationalSettings, train: Dataset, seed: int, warm: Start | None) -> None:
        import torch

        from recsys.models.factors.elbo import Tastes
        from recsys.training.adam import Adam
        from recsys.training.products import large_products

        self.rising = trend(train.interactions, settings.trend_days)
        matrix = matrix_to_learn("variational", train)
        self.settings, self.seed, self.matrix = settings, seed, matrix
        total = np.maximum(matrix.sum(axis=1, dtype=np.float64), 1e-12)
        self.informing = (
            sparse.diags_array(total**-settings.user_exponent).astype(np.float32).tocsr() @ matrix
        )
        # or scipy does so after the first epoch, and later sums round otherwise
        self.informing.sort_indices()
        self.counts = matrix.sum(axis=0, dtype=np.float64)
        self.active = np.flatnonzero(np.diff(matrix.indptr) > 0)
        super().__init__(settings, seed, Rows(self.active), float(self.informing.sum()))
        n_users, width = matrix.shape[0], settings.dim - 1
        log_counts = np.log(np.maximum(self.counts, 0.5), dtype=np.float32)[:, None]
        self.bias_start = torch.from_numpy(log_counts - log_counts.mean())
        self.items, self.bias = Adam(torch.from_numpy(self._initial(warm))), Adam(self.bias_start.clone())
        zeros = torch.zeros(3, n_users, width)
        means = zeros[0] if warm is None else torch.from_numpy(warm.users.copy())
        self.tastes = Tastes(means, torch.ones(n_users, width), zeros[1], zeros[2], torch.zeros(n_users, 1))
        self.precision = large_products(settings.precision)

    def _initial(self, warm: Start | None) -> F32:
        """float32 (n_items, dim - 1): directions of the spectrum and a little noise; of a warm start what it
        knows."""
        n_items, width = self.matrix.shape[1], self.settings.dim - 1
        items = generator(self.seed, "variational init").standard_normal((n_items, width), dtype=np.float32)
        items *= np.float32(_NOISE)
        _, start = spectral_rows(self.matrix, width, seed=self.seed)
        length = np.linalg.norm(start, axis=1, keepdims=True)
        items[:, : start.shape[1]] += start / np.maximum(length, np.float32(1e-12))
        if warm is not None:
            given = warm.items - propagate(self.matrix, warm.users, self.settings.propagation)
            known = np.asarray(warm.items.any(axis=1))
            items[known] = given[known]
        return items

    def state(self) -> State:
        tastes = {f"tastes_{name}": table.numpy() for name, table in self.tastes._asdict().items()}
        return {**self.items.state("items"), **self.bias.state("bias"), **tastes}

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        """Its loss is the bound on the nats of the events."""
        import torch

        from recsys.models.factors.elbo import divergence, take_tastes

        chosen, share = np.sort(batch), len(batch) / len(self.active)
        drawn, stands_for = self._draw_items(rng)
        rows, part = torch.from_numpy(chosen), self.informing[chosen]
        before, had = take_tastes(self.tastes, rows), torch.from_numpy(part @ self.items.table.numpy())
        visit = self._visit_users(self.tastes, rows, part, had, drawn, stands_for)
        by_items, by_bias = self._pull_items(part, before.mean)
        by_items[drawn] += visit.items
        by_bias[drawn] += visit.bias
        bias = torch.from_numpy(part @ self.bias.table.numpy())
        nats = visit.nats + divergence(before) - float(bias.sum() + (before.mean * had).sum())
        self.items.step(by_items.add_(self.items.table, alpha=self.settings.regularization * share), rate)
        self.bias.step(by_bias.add_(self.bias.table - self.bias_start, alpha=share), rate)
        return float(nats)

    def _visit_users(
        self, tastes: Any, rows: Any, part: sparse.csr_array, had: Any, drawn: Any, stands_for: Any
    ) -> Any:
        """A step for the tastes of some users, kept in their tables."""
        import torch

        from recsys.models.factors.elbo import take_tastes, visit

        items, bias = self.items.table, self.bias.table
        weight = torch.from_numpy(part.sum(axis=1))[:, None]
        visited = visit(
            take_tastes(tastes, rows),
            had,
            weight,
            items[drawn],
            bias[drawn] + stands_for,
            precision=self.precision,
        )
        for table, moved in zip(tastes, visited.tastes, strict=True):
            table[rows] = moved
        return visited

    def _pull_items(self, part: sparse.csr_array, means: Any) -> tuple[Any, Any]:
        """Minus what the events of some users add to the gradients of all items (n_items, dim - 1) and
        biases."""
        import torch

        by_item = part.T.tocsr()
        return torch.from_numpy(-(by_item @ means.numpy())), torch.from_numpy(-by_item.sum(axis=1)[:, None])

    def _draw_items(self, rng: np.random.Generator) -> tuple[Any, Any]:
        """The items of a step, all or drawn, half by popularity; and the logarithm of how many each stands
        for."""
        import torch

        n_items, m = len(self.counts), self.settings.negatives
        if m == 0 or m >= n_items:
            return slice(None), 0.0
        chance = 0.5 / n_items + 0.5 * self.counts / self.counts.sum()
        drawn, times = np.unique(rng.choice(n_items, m, p=chance), return_counts=True)
        return torch.from_numpy(drawn), torch.from_numpy(
            np.log(times / (m * chance[drawn])).astype(np.float32)[:, None]
        )

    def _settle_tastes(self) -> Any:
        """The tastes after some more visits to each user while the items stand still."""
        import torch

        tastes = type(self.tastes)(*(table.clone() for table in self.tastes))
        for _ in range(_SETTLING):
            for first in range(0, len(self.active), self.settings.batch_size):
                chosen = self.active[first : first + self.settings.batch_size]
                part = self.informing[chosen]
                had = torch.from_numpy(part @ self.items.table.numpy())
                self._visit_users(tastes, torch.from_numpy(chosen), part, had, slice(None), 0.0)
        return tastes

    def finish(self) -> Embeddings:
        s, tastes = self.settings, self._settle_tastes()
        means = tastes.mean.numpy()
        means[np.diff(self.matrix.indptr) == 0] = 0
        directions = self.items.table.numpy()
        variance = tastes.variance.numpy()[self.active].mean(axis=0)
        bias = self.bias.table.numpy() + (directions**2 @ variance / 2 + self.rising)[:, None]
        bias = (bias - bias[self.counts > 0].mean()) / np.float32(_LEVEL)
        items = np.hstack([directions + propagate(self.matrix, means, s.propagation), bias])
        items[self.counts == 0] = 0
        inputs = fitted_inputs(self.matrix, means, s.fold_in_ridge, hidden=0.0)
        table = means if s.half_life is None else None
        encoder = Bag(inputs, table, unit=False, root=True, half_life=s.half_life, level=_LEVEL)
        return Embeddings(np.ascontiguousarray(items, np.float32), encoder)
