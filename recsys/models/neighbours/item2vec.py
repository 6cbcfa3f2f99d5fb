"""item2vec: words are items and sentences are histories. Skip-gram or CBOW with negative sampling."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from recsys.arrays import F32, I32, I64, Array, Ragged
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.errors import ModelError
from recsys.models.base import Learner, refuse_no_events
from recsys.models.neighbours.window_fit import WindowFit
from recsys.models.search import HALF_LIVES, Choices, Space, Span
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.training.epochs import Rows
from recsys.training.loop import ALONE, Aids


class Item2VecSettings(Settings):
    """Settings of Item2Vec. Tune `negative_exponent`, `epochs` and `window` first: on items they matter more
    than on words."""

    dim: int = Field(64, ge=1, description="width of the vectors")
    epochs: int = Field(
        20, ge=1, description="passes over the histories; the learning rate falls to 0 over them"
    )
    batch_size: int = Field(64, ge=1, description="histories between two steps of the learning rate")
    learning_rate: float = Field(0.05, gt=0, description="at the start")
    architecture: Literal["skip_gram", "cbow"] = Field(
        "skip_gram",
        description="skip_gram: each item nearby says what stands in the middle; cbow: their mean does",
    )
    window: int = Field(
        5,
        ge=0,
        description="places to either side that count as near; 0 = the whole history, a basket in no order",
    )
    negatives: int = Field(
        10, ge=1, description="items drawn for each place, shared by all pairs of its window"
    )
    negative_exponent: float = Field(
        0.5,
        ge=-1,
        le=1.5,
        description="power of an item's events by which it is drawn: .75 for words, less for items",
    )
    subsample: float | None = Field(
        None,
        gt=0,
        description="share of all events above which those of an item are thinned out; none = keep all",
    )
    served: Literal["output", "input"] = Field(
        "output",
        description="vectors of items: output scores what comes next, input what is alike, by cosine",
    )
    half_life: float | None = Field(
        None, gt=0, description="events after which one of the history counts half; none = all count alike"
    )


class Item2Vec(Learner):
    """A vector for each item as what was had and another as what is near it, by windows over the histories.

    A person is the mean of the input vectors of their history, so nobody needs a row, and known and unknown
    people are encoded alike. In learning all events count alike, whatever they weigh.

    Sources: Barkan and Koenigstein, "Item2Vec: Neural Item Embedding for Collaborative Filtering", MLSP 2016;
    Mikolov et al., NeurIPS 2013; the exponent on items: Caselles-Dupre, Lesaint, Royo-Letelier, "Word2vec
    applied to Recommendation: Hyperparameters Matter", RecSys 2018.
    Relations: CooccurrenceSVD decomposes the counts that this samples (Levy and Goldberg, NeurIPS 2014);
    GloVe fits their logarithms.
    """

    Settings = Item2VecSettings
    search: ClassVar[Space] = {
        "negative_exponent": Span(-0.5, 1.0),
        "learning_rate": Span(0.005, 0.3, log=True),
        "window": Choices((0, 3, 5, 10)),
        "half_life": HALF_LIVES,
    }
    knows_order: ClassVar[bool] = True

    def __init__(self, settings: Item2VecSettings | None = None) -> None:
        self.settings = settings or Item2VecSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder. Items without a neighbour in any history get
        zero rows. Raises ModelError on no events, where nobody has two different items, and when learning
        diverges."""
        refuse_no_events("item2vec", train)
        return Item2VecFit(self.settings, train, seed).run(progress, aids)


class Item2VecFit(WindowFit):
    """An epoch goes over the people who had two different items, `several`."""

    name, cure = "item2vec", "Lower learning_rate."

    def __init__(self, settings: Item2VecSettings, train: Dataset, seed: int) -> None:
        histories = train.interactions.histories().items
        self.settings, self.offsets = settings, histories.offsets
        self.sequences: I32 = np.ascontiguousarray(histories.values, np.int32)
        self.several = _with_different_items(histories)
        if not len(self.several):
            two = "two different items" if (histories.lengths > 1).any() else "two events"
            raise ModelError(
                f"{self.name}: nobody has {two}, so no item has a neighbour. Bring longer histories."
            )
        super().__init__(settings, seed, Rows(self.several), float(histories.lengths[self.several].sum()))
        self.counts = np.bincount(self.sequences, minlength=train.n_items)
        self.together = settings.architecture == "cbow"
        self.start("item2vec init", train.n_items, self.counts)
        self.kept = self._keep_chance()

    def _keep_chance(self) -> F32:
        """float32 (n_items,): how likely an event of each item is kept, as the word2vec program has it."""
        if self.settings.subsample is None:
            return np.ones(len(self.counts), np.float32)
        share = np.maximum(self.counts, 1) / max(self.counts.sum(), 1) / self.settings.subsample
        kept: F32 = np.minimum(np.sqrt(1 / share) + 1 / share, 1).astype(np.float32)
        return kept

    def windows_of(self, batch: Array, rng: np.random.Generator) -> tuple[I64, I32, I64]:
        return self.offsets, self.sequences, batch

    def finish(self) -> Embeddings:
        s, near = self.settings, self._has_neighbours()
        inputs = np.where(near[:, None], self.inputs, np.float32(0))
        if s.served == "output":
            return Embeddings(
                np.where(near[:, None], self.outputs, np.float32(0)),
                Bag(inputs, None, unit=False, mean=True, half_life=s.half_life),
            )
        inputs /= np.maximum(np.linalg.norm(inputs, axis=1, keepdims=True), np.float32(1e-12))
        return Embeddings(inputs.copy(), Bag(inputs, None, unit=True, half_life=s.half_life))

    def _has_neighbours(self) -> Array:
        """(n_items,): who stands beside another item in some history."""
        inside = np.zeros(len(self.offsets) - 1, bool)
        inside[self.several] = True
        near = np.bincount(
            self.sequences[np.repeat(inside, np.diff(self.offsets))], minlength=len(self.counts)
        )
        return np.asarray(near > 0)


def _with_different_items(histories: Ragged) -> I64:
    """int64 (n,): the rows that hold two different items."""
    starts, lengths = histories.offsets[:-1], histories.lengths
    first = np.repeat(histories.values[starts[lengths > 0]], lengths[lengths > 0])
    return np.unique(histories.row_of_value()[histories.values != first]).astype(np.int64)
