"""The one loop of all learners that go over their data in epochs, and what may help a fit along."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy import sparse

from recsys.arrays import F32
from recsys.errors import ModelError
from recsys.matrix.spectrum import without_propagation
from recsys.progress import Progress, Step
from recsys.retrieval.embeddings import Embeddings
from recsys.training.checkpoint import Checkpoint, State

_WORTH_S = 1.0  # a model that was learned faster is not worth the disk


class Watch(Protocol):
    """Looks at a model while it learns: the way of early stopping, of learning curves and of pruned
    trials."""

    def __call__(self, epoch: int, learned: Callable[[], Embeddings]) -> bool:
        """Called after each epoch, counted from 1; `learned()` is the model so far. True: stop here."""


class Start(NamedTuple):
    """Vectors of an earlier model to start from, in the numbering of the data to learn from.

    users: float32 (n_users, dim); items: float32 (n_items, dim). Rows of zeros are new: they start from
    fold-in where the learner has one, else at random. Learners whose user rows follow from the items ignore
    `users`.

    parts: for a mixture one for each model that it learns, None for a model that cannot start so; `users` and
    `items` then have no columns. finished: whether the items are as such a learner serves them, taken up
    (`propagation`) and all; else as it learns them.
    """

    users: F32
    items: F32
    parts: "tuple[Start | None, ...]" = ()
    finished: bool = True

    def before_propagation(self, matrix: sparse.csr_array, weight: float) -> tuple[F32, F32]:
        """Users and items as they were learned: without what `propagation` of this weight adds to finished
        items."""
        if not weight or not self.finished:
            return self.users, self.items
        return self.users, without_propagation(matrix, self.users, self.items, weight)


def processes() -> int:
    """How many processes torchrun started to learn together; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@dataclass(frozen=True)
class Aids:
    """What may help a fit along; a learner without epochs needs none of it and ignores it.

    watch: called after each epoch. warm: vectors to start from. checkpoint: where to save the state, at most
    once in `checkpoint_s` seconds and after the last epoch, and to go on from; what a watch remembers is not
    in it. within: called after each step of the first epoch, with the part of it that is over, by learners
    whose epochs have steps (`EpochFit`); what it raises ends learning.
    """

    watch: Watch | None = None
    warm: Start | None = None
    checkpoint: Checkpoint | None = None
    checkpoint_s: float = 30.0
    within: Callable[[float], None] | None = None

    def for_part(self, number: int) -> "Aids":
        """Those of a model of a mixture, which are counted from 0 as they are learned. Nobody watches a part
        alone."""
        checkpoint = None if self.checkpoint is None else self.checkpoint.part(f"part-{number}")
        warm = None if self.warm is None else self.warm.parts[number]
        return Aids(None, warm, checkpoint, self.checkpoint_s)


ALONE = Aids()


def run_epochs(
    task: str,
    epochs: int,
    epoch: Callable[[int], Mapping[str, float]],
    *,
    state: State,
    learned: Callable[[], Embeddings],
    aids: Aids,
    progress: Progress,
    cure: str,
) -> None:
    """Runs `epoch(0) ... epoch(epochs - 1)`, or fewer where a watch says that it is enough.

    epoch: changes what `state` holds in place, draws from a generator of its own for each number, and returns
    figures to report. So a run that goes on from a checkpoint ends in the same bytes as one that was never
    stopped; it reports the figures of the epochs before once more, and has its whole curve.

    Raises ModelError, ending in `cure`, as soon as a figure is not finite; then no checkpoint stays.
    """
    figures = list(aids.checkpoint.restore(state)) if aids.checkpoint else []
    for number, known in enumerate(figures):
        progress(Step(task, number + 1, epochs, known))
    began = saved = time.monotonic()
    for number in range(len(figures), epochs):
        figures.append(epoch(number))
        wrong = [name for name, value in figures[-1].items() if not np.isfinite(value)]
        if wrong:
            if aids.checkpoint:
                aids.checkpoint.remove()
            raise ModelError(f"{task}: the {wrong[0]} left the finite numbers in epoch {number + 1}. {cure}")
        progress(Step(task, number + 1, epochs, figures[-1]))
        if aids.watch and aids.watch(number + 1, learned):
            return
        now, last = time.monotonic(), number + 1 == epochs
        worth = now - began >= min(aids.checkpoint_s, _WORTH_S) if last else now - saved >= aids.checkpoint_s
        if aids.checkpoint and worth:
            aids.checkpoint.save(figures, state)
            saved = time.monotonic()
