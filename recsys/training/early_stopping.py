"""Ends learning where the model gets no better, and keeps the best one that was seen."""

import time
from collections.abc import Callable

from recsys.matrix.compiled import compile_seconds
from recsys.retrieval.embeddings import Embeddings

_LOOKS = 8  # at most, while one model learns: a look costs about what an epoch does
_PATIENCE = 3  # looks without a better one, after which learning ends


class EarlyStopping:
    """A watch that judges the model at even distances of epochs, on whatever `figure` reads off it.

    seen: (epoch, figure) of each look. best: epoch, figure and model of the best look, None before the first.
    given_up: whether `hopeless` ended it: asked with the epoch and its figure from half of the epochs on, for
    before that whoever learns slowly looks worse than they are.
    Source: Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998.
    """

    def __init__(
        self,
        figure: Callable[[Embeddings], float],
        epochs: int,
        hopeless: Callable[[int, float], bool] = lambda epoch, figure: False,
    ) -> None:
        self._figure, self._epochs, self._hopeless = figure, epochs, hopeless
        self._every = -(-epochs // _LOOKS)
        self.seen: list[tuple[int, float]] = []
        self.best: tuple[int, float, Embeddings] | None = None
        self.given_up = False

    def __call__(self, epoch: int, learned: Callable[[], Embeddings]) -> bool:
        """Whether to stop after this epoch, counted from 1; `learned()` is the model so far."""
        if epoch % self._every and epoch != self._epochs:
            return False
        model = learned()
        figure = self._figure(model)
        self.seen.append((epoch, figure))
        if self.best is None or figure > self.best[1]:
            self.best = epoch, figure, model
        if self._epochs <= 2 * epoch < 2 * self._epochs:
            self.given_up = self._hopeless(epoch, figure)
        return self.given_up or epoch - self.best[0] >= _PATIENCE * self._every


class Deadline:
    """A watch that ends learning which would take longer than it may, as soon as an epoch shows that.

    epochs: of the whole. seconds: that it may take from now on. expected: what it would take, once it was
    ended so; None while it is in time. What compiles for this machine, once in an installation, counts not.
    """

    def __init__(self, epochs: int, seconds: float) -> None:
        self._epochs, self._seconds, self._began = epochs, seconds, time.monotonic() - compile_seconds()
        self.expected: float | None = None

    def __call__(self, epoch: int, learned: Callable[[], Embeddings]) -> bool:
        """Whether to stop after this epoch, counted from 1."""
        expected = (time.monotonic() - compile_seconds() - self._began) / epoch * self._epochs
        if epoch < self._epochs and expected > self._seconds:
            self.expected = expected
        return self.expected is not None
