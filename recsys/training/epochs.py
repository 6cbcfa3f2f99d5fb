"""Learners that go over their data in epochs: each says how a fit is set up, what a step does and what it
ends in."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from recsys.arrays import Array
from recsys.progress import Progress
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.loop import Aids, run_epochs


class EpochSettings(Protocol):
    """The settings that every such learner has, among its own."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def learning_rate(self) -> float: ...


class Batches(Protocol):
    """What an epoch goes over, in batches: users, events, sequences."""

    def __len__(self) -> int: ...

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Array]:
        """Everything once, in an order drawn from `rng`: arrays (size,), the last one with what is left."""


@dataclass(frozen=True, eq=False)
class Rows:
    """The numbers (n,) of users or events, in whole orders that are all equally likely."""

    numbers: Array

    def __len__(self) -> int:
        return len(self.numbers)

    def batches(self, size: int, rng: np.random.Generator) -> Iterator[Array]:
        order = rng.permutation(self.numbers)
        for start in range(0, len(order), size):
            yield order[start : start + size]


class EpochFit(ABC):
    """One fit of a learner in epochs. A subclass writes four things, all else is here:

    - `__init__`: the set-up. Builds the parameters, at random or from a warm start, and says what an epoch
    goes over.
    - `state`: the parameters, and all else that a step changes and a later one reads.
    - `step`: moves them by one batch.
    - `finish`: what is learned.

    and its learner has one line: `return MyFit(self.settings, train, seed, aids.warm).run(progress, aids)`.

    name: of the learner, in progress and in the purposes of seeds. cure: what to change where learning
    diverges, a sentence. weight: what the losses of an epoch are divided by in its figure.
    """

    name: ClassVar[str]
    cure: ClassVar[str]

    def __init__(self, settings: EpochSettings, seed: int, data: Batches, weight: float) -> None:
        self._settings, self._seed, self._data, self._weight = settings, seed, data, weight
        self._within: Callable[[float], None] | None = None

    @abstractmethod
    def state(self) -> State:
        """The arrays that steps change, in place and nowhere else, by the names that they have in a
        checkpoint.

        They hold all that a step remembers of earlier ones (an optimizer's means, weights that are averaged),
        so that a run which goes on from a checkpoint ends in the bytes of one that was never stopped."""

    @abstractmethod
    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        """Learns from one batch at this learning rate; its loss, summed.

        rng: the only source of what is drawn (negatives, what is dropped out); each epoch has a generator of
        its own, which has drawn the order."""

    @abstractmethod
    def finish(self) -> Embeddings:
        """The model so far. Changes no state: whoever looks on asks for it after any epoch, and learning goes
        on."""

    def epoch(self, number: int) -> Mapping[str, float]:
        """All batches once; the mean loss. number: from 0."""
        settings, rng = self._settings, generator(self._seed, f"{self.name} epoch {number}")
        steps, loss = math.ceil(len(self._data) / settings.batch_size), 0.0
        for step, batch in enumerate(self._data.batches(settings.batch_size, rng)):
            rate = cosine_rate(settings.learning_rate, number + step / steps, settings.epochs)
            loss += self.step(batch, rate, rng)
            if self._within is not None and number == 0:
                self._within((step + 1) / steps)
        return {"loss": loss / self._weight}

    def run(self, progress: Progress, aids: Aids) -> Embeddings:
        """All epochs, or fewer where whoever looks on says so; what is learned.

        Raises ModelError, which ends in `cure`, where the loss leaves the finite numbers.
        """
        self._within = aids.within
        run_epochs(
            f"learning {self.name}",
            self._settings.epochs,
            self.epoch,
            state=self.state(),
            learned=self.finish,
            aids=aids,
            progress=progress,
            cure=self.cure,
        )
        return self.finish()


def cosine_rate(rate: float, at: float, epochs: int) -> float:
    """The learning rate after `at` of so many epochs: `rate` at the start, falling along half a cosine to 0
    at the end.

    Source: Loshchilov, Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, without the
    restarts.
    """
    return rate * (1 + math.cos(math.pi * at / epochs)) / 2
