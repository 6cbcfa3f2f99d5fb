"""GloVe: vectors whose inner products are the logarithms of how often items stand near each other."""

from typing import ClassVar

import numba
import numpy as np
from pydantic import Field

from recsys.arrays import F32, I32, I64, Array
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.errors import ModelError
from recsys.matrix.cooccurrence import PairWeights, count_cooccurrences
from recsys.models.base import Learner, refuse_no_events
from recsys.models.search import HALF_LIVES, Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.checkpoint import State
from recsys.training.epochs import EpochFit, Rows
from recsys.training.loop import ALONE, Aids


class GloVeSettings(Settings):
    """Settings of GloVe. Tune `half_life`, `ceiling` and `epochs` first."""

    dim: int = Field(64, ge=2, description="width of the vectors, with the column of what is popular")
    epochs: int = Field(15, ge=1, description="passes over the pairs of items that occur together")
    batch_size: int = Field(1 << 16, ge=1, description="pairs between two steps of the learning rate")
    learning_rate: float = Field(0.05, gt=0, description="AdaGrad's, at the start")
    window: int = Field(10, ge=1, description="places of a history within which two events are a pair")
    decay: float = Field(
        0.8, gt=0, le=1, description="factor of a pair for each further place between its events"
    )
    back: float = Field(
        1.0,
        ge=0,
        le=1,
        description="weight of the pair from the later event back to the earlier one; 1 = undirected",
    )
    ceiling: float = Field(
        10.0,
        gt=0,
        description="counts of a pair from which on all weigh the same; 100 for words, less for items",
    )
    exponent: float = Field(
        0.75,
        ge=0,
        le=1,
        description="power of a count, as a share of the ceiling, that weighs its pair in the loss",
    )
    popular: bool = Field(
        True,
        description="whether the item's bias, its popularity, counts in a score; false: taste alone",
    )
    half_life: float | None = Field(
        None, gt=0, description="events after which one of the history counts half; none = all count alike"
    )


class GloVe(Learner):
    """Fits `w_i c_j + a_i + b_j` to the logarithm of the decayed count of j near i, the frequent pairs
    weighing more.

    An item has one vector as what was had (w) and another as what is scored (c, b). A person is the mean of
    the w of
    their history: the score of j is the mean of what its pairs with the history would be, but for what these
    items themselves are near to (a).

    Source: Pennington, Socher, Manning, "GloVe: Global Vectors for Word Representation", EMNLP 2014.
    Relations: Item2Vec samples the same counts; CooccurrenceSVD decomposes them, divided by their degrees.
    """

    Settings = GloVeSettings
    search: ClassVar[Space] = {
        "ceiling": Span(1.0, 100.0, log=True),
        "learning_rate": Span(0.01, 0.3, log=True),
        "exponent": Span(0.0, 1.0),
        "half_life": HALF_LIVES,
    }

    def __init__(self, settings: GloVeSettings | None = None) -> None:
        self.settings = settings or GloVeSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder. Items that stand near no other get zero
        rows.

        Raises ModelError on no events, where no two items occur together, and when learning diverges.
        """
        refuse_no_events("glove", train)
        return GloVeFit(self.settings, train, seed, progress).run(progress, aids)


class GloVeFit(EpochFit):
    """Two tables with biases and the sums of squares of their gradients; an epoch goes over the pairs of
    items."""

    name, cure = "glove", "Lower learning_rate."

    def __init__(self, settings: GloVeSettings, train: Dataset, seed: int, progress: Progress) -> None:
        events, pairs = train.interactions, PairWeights(settings.window, settings.decay, settings.back)
        counts = count_cooccurrences(
            events.histories(), train.n_items, pairs, folder=events.folder, progress=progress
        )
        if not counts.nnz:
            raise ModelError("glove: no two items occur in one history. Bring longer histories.")
        self.settings, width, n = settings, settings.dim - 1, train.n_items
        self.rows: I32 = np.repeat(np.arange(n, dtype=np.int32), np.diff(counts.indptr))
        self.columns: I32 = counts.indices.astype(np.int32)
        self.weights, self.logs = weights_of(counts.data, settings.ceiling, settings.exponent)
        super().__init__(settings, seed, Rows(np.arange(len(self.rows))), float(len(self.rows)))
        drawn = generator(seed, "glove init").random((2, n, width + 1), dtype=np.float32)
        self.had, self.scored = (drawn - np.float32(0.5)) / np.float32(width)  # the bias in the last column
        self.squares: F32 = np.ones((2, n, width + 1), np.float32)

    def state(self) -> State:
        return {"had": self.had, "scored": self.scored, "squares": self.squares}

    def step(self, batch: Array, rate: float, rng: np.random.Generator) -> float:
        pairs = (self.rows, self.columns, self.weights, self.logs)
        tables = (self.had, self.scored, self.squares[0], self.squares[1])
        return float(learn_pairs(batch, *pairs, *tables, np.float32(rate)))

    def finish(self) -> Embeddings:
        s, n = self.settings, len(self.had)
        inputs, items = self.had[:, :-1].copy(), self.scored.copy()
        if not s.popular:
            items[:, -1] = 0
        inputs[np.bincount(self.rows, minlength=n) == 0] = 0
        items[np.bincount(self.columns, minlength=n) == 0] = 0
        return Embeddings(items, Bag(inputs, None, unit=False, mean=True, half_life=s.half_life, level=1.0))


def weights_of(counts: F32, ceiling: float, exponent: float) -> tuple[F32, F32]:
    """What pairs weigh, `min(1, count / ceiling) ** exponent`, and the logarithms of their counts; float32
    (nnz,)."""
    return (np.minimum(counts / ceiling, 1) ** exponent).astype(np.float32), np.log(counts).astype(np.float32)


@numba.njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
def learn_pairs(
    batch: I64,
    rows: I32,
    columns: I32,
    weights: F32,
    logs: F32,
    had: F32,
    scored: F32,
    had_squares: F32,
    scored_squares: F32,
    rate: np.float32,
) -> float:
    """Moves both tables (n_items, width + 1), whose last column is the bias, by the pairs of a batch, one
    after the other, and returns the weighted sum of half their squared errors. Steps are AdaGrad's: Duchi,
    Hazan, Singer, JMLR 2011."""
    width, total = had.shape[1] - 1, 0.0
    for pair in batch:
        one, other = had[rows[pair]], scored[columns[pair]]
        squares, others = had_squares[rows[pair]], scored_squares[columns[pair]]
        error = one[width] + other[width] - logs[pair]
        for k in range(width):
            error += one[k] * other[k]
        total += 0.5 * weights[pair] * error * error
        by = weights[pair] * error
        for k in range(width):
            first, second = by * other[k], by * one[k]
            one[k] -= rate * first / np.sqrt(squares[k])
            other[k] -= rate * second / np.sqrt(others[k])
            squares[k] += first * first
            others[k] += second * second
        one[width] -= rate * by / np.sqrt(squares[width])
        other[width] -= rate * by / np.sqrt(others[width])
        squares[width] += by * by
        others[width] += by * by
    return total
