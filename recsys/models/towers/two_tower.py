"""The two-tower model: users from who they are, what they did and what is known of them; items from id and
features."""

import math
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from recsys.arrays import F32, I64, Array, Bool
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.features import FeatureSettings
from recsys.encoders.item_tower import ItemTower
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import ItemLayout, UserLayout
from recsys.encoders.user_tower import UserTower
from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.matrix.spectrum import propagate
from recsys.models.base import Learner, refuse_no_events
from recsys.models.factors.spectral import spectral_rows
from recsys.models.search import Space, Span
from recsys.models.towers.tower_start import described_items, described_users, first_tables
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit
from recsys.training.loop import ALONE, Aids, Start
from recsys.training.sampling import Kind, Sampler
from recsys.training.towers.events import PastOfEvents

_ENCODED = 1 << 14  # users or items encoded at a time


class TwoTowerSettings(Settings):
    """Settings of TwoTower. Tune `temperature`, `learning_rate` and `epochs` first, then what goes into the
    towers."""

    dim: int = Field(64, ge=2, description="width of the vectors")
    epochs: int = Field(
        10, ge=1, description="passes over the events; the learning rate falls to 0 over them"
    )
    batch_size: int = Field(4096, ge=1, description="events a step")
    learning_rate: float = Field(0.01, gt=0, description="Adam's, at the start")
    temperature: float = Field(0.1, gt=0, description="divides the scores; about 1 for dot")
    similarity: Literal["cosine", "dot"] = Field(
        "cosine",
        description="cosine: vectors of length 1; dot: their lengths count, where choices are a softmax",
    )
    item_features: tuple[FeatureSettings, ...] = Field(
        (), description="columns of the item table to learn from"
    )
    user_features: tuple[FeatureSettings, ...] = Field(
        (), description="columns of the user table to learn from"
    )
    user_ids: bool = Field(True, description="whether known users have a row of their own")
    history: Literal["none", "before", "others"] = Field(
        "before",
        description="events of the user that the user tower sees beside the one it learns from: before = "
        "earlier ones, others = all others (for data without times), none = no history",
    )
    longest_history: int = Field(100, ge=1, description="events of a history that count, from its end")
    hidden: int = Field(0, ge=0, description="width of a layer after the sums, in both towers; 0 = none")
    sampler: Kind = Field(
        "mixed", description="where negatives come from; all = an exact softmax, for small catalogues"
    )
    negatives: int = Field(1024, ge=1, description="draws a step of uniform, popularity and mixed")
    log_q: bool = Field(True, description="correct the scores for the chance that an item was drawn")
    id_dropout: float = Field(
        0.1, ge=0, lt=1, description="share of ids hidden in a step, so that features learn to do without"
    )
    initial: Literal["spectral", "random"] = Field("spectral", description="where the rows of ids start")
    propagation: float = Field(
        0.0, ge=0, description="weight of one LightGCN step added to the learned item vectors; 0 = off"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where to learn; auto = a GPU where there is one"
    )

    @model_validator(mode="after")
    def _check_sampler(self) -> Self:
        if self.sampler == "popularity" and not self.log_q:
            raise ValueError(
                "sampler = popularity needs log_q = true; uncorrected, it punishes what is popular"
            )
        return self


class TwoTower(Learner):
    """A tower for users, a tower for items, and the cosine, or the inner product, of what they give.

    A vector is the sum of table rows (the id's, those that features name, for users those of the history) and
    of numbers times a matrix, perhaps a layer, for cosine brought to length 1. It is learned from events one
    by one: each user, by what came before, shall find their item among sampled others. Items without events
    have a vector where they have features.

    Sources: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016; Yi et al.,
    "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019 (the
    correction); Volkovs et al., "DropoutNet", NeurIPS 2017 (hidden ids). Relations: SoftmaxMF is this by ids
    alone, by user and not by event.
    """

    Settings = TwoTowerSettings
    search: ClassVar[Space] = {
        "temperature": Span(0.02, 0.5, log=True),
        "learning_rate": Span(1e-3, 0.1, log=True),
        "id_dropout": Span(0.0, 0.9),
    }
    starts_from: ClassVar[str | None] = "tower"
    starts_narrow: ClassVar[bool] = True
    shares_batches: ClassVar[bool] = True

    def __init__(self, settings: TwoTowerSettings | None = None, net: Any = None) -> None:
        """net: what joins the parts of a user, a class of `recsys.training.towers.net.LearnedNet`; None = the
        bag."""
        self.settings, self.net = settings or TwoTowerSettings(), net

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim), a UserTower, and an ItemTower where items have features.

        A warm start stands in the place of the spectrum: ids, and what features explain of them, begin at the
        vectors that are there. Raises ModelError on no events, SettingError on a feature that the data lack
        or where nothing says who a user is, DataError on a value that is not of its declared kind.
        """
        return TwoTowerFit(self.settings, train, seed, aids.warm, self.net).run(progress, aids)


class TwoTowerFit(EpochFit):
    """A tower of users and one of items; an epoch goes over the events."""

    name, cure = "two_tower", "Lower learning_rate or raise temperature."

    def __init__(
        self,
        settings: TwoTowerSettings,
        train: Dataset,
        seed: int,
        warm: Start | None = None,
        net: Any = None,
    ) -> None:
        from recsys.training.device import device
        from recsys.training.towers.bag_net import LearnedBagNet

        if not settings.user_ids and settings.history == "none" and not settings.user_features:
            raise SettingError(
                "two_tower: with user_ids off, history none and no user_features nobody has a vector."
            )
        self.settings, self.seed, self.train = settings, seed, train
        refuse_no_events("two_tower", train)
        self.events = PastOfEvents(train.interactions.histories(), settings.history, settings.longest_history)
        super().__init__(settings, seed, self.events, self.events.total_weight)
        counts = train.interactions.item_counts()
        self.trained = counts > 0
        self.has_row = self.events.past.items.lengths > 0
        self.sampler = Sampler(settings.sampler, settings.negatives, counts, settings.batch_size)
        self.of_items = described_items(settings.item_features, train)
        self.of_users = described_users(settings.user_features, train)
        self.layout = UserLayout(
            train.n_users if settings.user_ids else 0,
            train.n_items if settings.history != "none" else 0,
            settings.history == "before",
            settings.longest_history,
        )
        rng, start = generator(seed, "two_tower init"), self._start(warm)
        users, items, built = first_tables(
            self.layout, self.trained, self.of_users, self.of_items, settings.dim, start, rng
        )
        unit, hidden, where = settings.similarity == "cosine", settings.hidden, device(settings.device)
        of_items = ItemLayout(train.n_items)
        self.user_tower = (net or LearnedBagNet)(
            self.layout, users, self.of_users.numbers, hidden, rng, built, unit=unit, device=where
        )
        self._refuse_missing_columns(self.user_tower.needs)
        self.item_tower = LearnedBagNet(
            of_items, items, self.of_items.numbers, hidden, rng, unit=unit, device=where
        )
        # as float32 rounded its logarithm when it could be learned: models keep their bytes
        self.temperature = math.exp(np.float32(math.log(settings.temperature)))

    def _refuse_missing_columns(self, needs: frozenset[str]) -> None:
        there = {
            "weight",
            *self.events.past.columns(),
            *(["now"] if self.events.past.time is not None else []),
        }
        if missing := sorted(needs - there):
            raise ModelError(
                f"two_tower: the net needs {', '.join(missing)} of events, and those of {self.train.name} "
                f"have none. Give the data that column, or take another net."
            )

    def _start(self, warm: Start | None) -> tuple[F32, F32] | None:
        """Directions of users and items to begin at, zero where there is none."""
        s = self.settings
        if warm is not None:
            return warm.before_propagation(self.train.interactions.matrix(), s.propagation)
        if s.initial != "spectral":
            return None
        events = self.train.interactions
        return spectral_rows(events.matrix(), s.dim, seed=self.seed, folder=events.folder)

    def state(self) -> State:
        return {**self.user_tower.state("users"), **self.item_tower.state("items")}

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        import torch

        from recsys.training.group import group
        from recsys.training.losses import Positives, Sample, softmax

        s, events, together, placed = self.settings, self.events, group(), self.user_tower.to_device
        item = events.item[batch]
        drawn = self.sampler.draw(item, rng)
        pool = np.union1d(item, drawn.items)
        ours, of_pool = together.part(len(batch)), together.part(len(pool))
        users = self.user_tower.forward(self._users(batch, rng).take(ours))
        items = together.all_gather(self.item_tower.forward(self._items(pool, rng).take(of_pool)))
        at, item = batch[ours], item[ours]
        stands_for = (1 / drawn.chance if s.log_q else np.ones(len(drawn.items))).astype(np.float32)
        gradients = softmax(
            users,
            items,
            Positives(
                placed(np.arange(len(at))), placed(np.searchsorted(pool, item)), placed(events.weight(at))
            ),
            users.new_ones(len(at)),
            self.temperature,
            sample=Sample(placed(np.searchsorted(pool, drawn.items)), placed(stands_for)),
            bound=1.0 if s.similarity == "cosine" else None,
        )
        self.user_tower.step(gradients.users, rate)
        assert gradients.touched is not None
        by_item = torch.zeros_like(items).index_copy_(0, gradients.touched, gradients.items)
        self.item_tower.step(together.all_reduce(by_item)[of_pool], rate)
        return float(together.all_reduce(torch.tensor(gradients.loss, dtype=torch.float64)))

    def _users(self, at: Array, rng: np.random.Generator) -> Inputs:
        """What the user tower takes of some events, part by part, some ids hidden."""
        user = self.events.user(at)
        hidden = rng.random(len(at)) < self.settings.id_dropout
        row = np.where(hidden | (user >= self.layout.n_users), -1, user).astype(np.int32)
        history = self.events.windows(at) if self.layout.n_items else None
        time = self.events.past.time if "now" in self.user_tower.needs else None
        return Inputs(row, history, self.of_users.take(user), None if time is None else time[at])

    def _items(self, items: I64, rng: np.random.Generator | None = None) -> Inputs:
        """What the item tower takes of some items; in training some ids are hidden where features can stand
        in."""
        return self.of_items.inputs(items, self.trained, self.settings.id_dropout, rng)

    def finish(self) -> Embeddings:
        of_users, of_items, n_items = self.user_tower.export(), self.item_tower.export(), self.train.n_items
        encoder = UserTower(
            of_users,
            self.layout,
            self._usable(),
            self.has_row if self.settings.user_ids else np.zeros(0, bool),
            self.of_users.features,
            self.of_users.known,
        )
        vectors = np.concatenate(
            [
                of_items.vectors(self._items(np.arange(start, min(start + _ENCODED, n_items))))
                for start in range(0, n_items, _ENCODED)
            ]
        )
        if self.settings.propagation:
            vectors += propagate(
                self.train.interactions.matrix(), self._everybody(encoder), self.settings.propagation
            )
        if self.of_items.features is None:
            vectors[~self.trained] = 0
            return Embeddings(vectors, encoder)
        vectors[~(self.trained | self.of_items.told_by(self.trained))] = 0
        of_new = self.item_tower.export(slice(n_items, None), ItemLayout(0))
        return Embeddings(vectors, encoder, ItemTower(of_new, self.of_items.features))

    def _usable(self) -> Bool:
        """(n_items,): the items that a history may hold: with events or features."""
        if self.of_items.features is None or not self.layout.n_items:
            return self.trained
        at = self.layout.items_at
        usable: Bool = np.asarray(self.user_tower.served_rows(slice(at, at + self.train.n_items)).any(axis=1))
        return usable

    def _everybody(self, encoder: UserTower) -> F32:
        """float32 (n_users, dim): the vectors of the users of training, by all that they had."""
        past = self.events.past
        blocks = (
            np.arange(at, min(at + _ENCODED, self.train.n_users))
            for at in range(0, self.train.n_users, _ENCODED)
        )
        return np.concatenate(
            [encoder.encode(Users.of_rows(block, past.take(block))).vectors for block in blocks]
        )
