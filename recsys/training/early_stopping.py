"""Ends learning where the model gets no better, and keeps the best one that was seen."""

import time
from collections.abc import Callable

from recsys.matrix.compiled import compile_seconds
from recsys.retrieval.embeddings import Embeddings

_LOOKS = 8  # at most, while one model learns: a look costs about what an epoch does
_SHOWN_BY_ONE = 4  # epochs of which not even so many fit: one shows that learning would take too long
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
    """A watch that ends learning which would take longer than it may, as soon as two epochs show that, or one
    where not even four like it would fit: the first holds what is prepared once as well.

    epochs: of the whole. seconds: that it may take from now on. expected: what it would take, once it was
    ended so; None while it is in time. fitting: how many epochs would fit into what is then left, begun anew.
    What compiles for this machine, once in an installation, counts not.
    """

    def __init__(self, epochs: int, seconds: float) -> None:
        self._epochs, self._seconds, self._began = epochs, seconds, time.monotonic() - compile_seconds()
        self._first: tuple[int, float] | None = None
        self.expected: float | None = None
        self.fitting = 0

    def __call__(self, epoch: int, learned: Callable[[], Embeddings]) -> bool:
        """Whether to stop after this epoch, counted from 1."""
        took = time.monotonic() - compile_seconds() - self._began
        if self._first is None:
            self._first = epoch, took
            an_epoch, hopeless = took / epoch, took / epoch > self._seconds / _SHOWN_BY_ONE
        else:
            an_epoch, hopeless = (took - self._first[1]) / (epoch - self._first[0]), True
        expected = took + (self._epochs - epoch) * an_epoch
        if epoch < self._epochs and hopeless and expected > self._seconds:
            once = max(0.0, took - epoch * an_epoch)
            self.expected = expected
            self.fitting = max(0, int((self._seconds - took - once) / max(an_epoch, 1e-9)))
        return self.expected is not None
