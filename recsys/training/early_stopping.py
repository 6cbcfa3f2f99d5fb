"""Ends learning where the model gets no better, and keeps the best one that was seen."""

import time
from collections.abc import Callable

from recsys.matrix.compiled import compile_seconds
from recsys.retrieval.embeddings import Embeddings

_LOOKS = 8  # at most, while one model learns: a look costs about what an epoch does
_SHOWN_BY_ONE = 4  # epochs of which not even so many fit: one shows that learning would take too long
_SHOWN_WITHIN = 1.25  # times the seconds that there are: a part of an epoch shows it
_PART, _PART_S = 0.2, 0.01  # such a part: of an epoch, and of the seconds that there are, at least
_LATE = 1.1  # times those seconds that it may take after all, once two epochs have shown it in time
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


class TooLongError(Exception):
    """Learning would take longer than it may."""


class Deadline:
    """A watch that ends learning which would take longer than it may, as soon as two epochs show that, or one
    where not even four like it would fit: the first holds what is prepared once as well. Later epochs end it
    only where it would take 1.1 times as long as it may: what was learned would be lost. Learners that say
    how far they are within an epoch (`within`) are ended by a fifth of the first where it would take 1.25
    times as long as it may.

    epochs: of the whole. seconds: that it may take from now on. expected: what it would take, once it was
    ended so; None while it is in time. fitting: how many epochs would fit into what is then left, begun anew.
    What compiles for this machine, once in an installation, counts not.
    """

    def __init__(self, epochs: int, seconds: float) -> None:
        self._epochs, self._seconds, self._began = epochs, seconds, time.monotonic() - compile_seconds()
        self._first: tuple[int, float] | None = None
        self._step: tuple[float, float] | None = None
        self.expected: float | None = None
        self.fitting = 0

    def within(self, done: float) -> None:
        """Called after steps of the first epoch; done: the part of it that is over. Raises TooLongError.

        The time is that after the first call, before which things are prepared once.
        """
        took = self._took()
        if self._step is None:
            self._step = done, took
        part, part_s = done - self._step[0], took - self._step[1]
        if part >= _PART and part_s >= _PART_S * self._seconds:
            expected = took + (self._epochs - done) * part_s / part
            if expected > _SHOWN_WITHIN * self._seconds:
                self._end(done, took, part_s / part)
                raise TooLongError

    def __call__(self, epoch: int, learned: Callable[[], Embeddings]) -> bool:
        """Whether to stop after this epoch, counted from 1."""
        took, may_s = self._took(), self._seconds
        if self._first is None:
            self._first = epoch, took
            an_epoch, hopeless = took / epoch, took / epoch > self._seconds / _SHOWN_BY_ONE
        else:
            an_epoch, hopeless = (took - self._first[1]) / (epoch - self._first[0]), True
            may_s *= _LATE if epoch > self._first[0] + 1 else 1.0
        expected = took + (self._epochs - epoch) * an_epoch
        if epoch < self._epochs and hopeless and expected > may_s:
            self._end(epoch, took, an_epoch)
        return self.expected is not None

    def _took(self) -> float:
        return time.monotonic() - compile_seconds() - self._began

    def _end(self, done: float, took: float, an_epoch: float) -> None:
        """Says what all epochs would take, and how many would fit, after so many and so many seconds."""
        once = max(0.0, took - done * an_epoch)
        self.expected = took + (self._epochs - done) * an_epoch
        self.fitting = max(0, int((self._seconds - took - once) / max(an_epoch, 1e-9)))
