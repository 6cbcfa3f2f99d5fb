"""What follows what: directed co-occurrence of items, as weights from item to item and as vectors."""

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.matrix.cooccurrence import PairWeights, count_cooccurrences, normalise_degrees
from recsys.matrix.spectrum import decompose
from recsys.models.base import Learner, refuse_no_events
from recsys.models.neighbours.item_weights import ItemWeights
from recsys.models.search import Choices, Space, Span
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.training.loop import ALONE, Aids


class CooccurrenceSettings(Settings):
    """Settings of Cooccurrence: a compromise of five sets. Tune `half_life` and `back` first."""

    window: int = Field(10, ge=1, description="places of a history within which two events are a pair")
    decay: float = Field(
        0.8, gt=0, le=1, description="factor of a pair for each further place between its events"
    )
    back: float = Field(
        0.25,
        ge=0,
        le=1,
        description="weight of the pair from the later event back to the earlier one; 1 = undirected",
    )
    from_exponent: float = Field(
        0.4, ge=0, le=1, description="power of the degree of the item that was had, which divides a pair"
    )
    to_exponent: float = Field(
        0.2,
        ge=0,
        le=1,
        description=(
            "power of the degree of the item that is scored, which divides a pair; 0 = favours the popular"
        ),
    )
    half_life: float | None = Field(
        2.5, gt=0, description="events after which one of the history counts half; none = all count alike"
    )


class Cooccurrence(Learner):
    """Scores an item by how often it followed the last items of the history, and preceded them, within a few
    places.

    The weight of item j for an event of item i is `C_ij / (d_i ** from_exponent * e_j ** to_exponent)`. C_ij
    sums `decay ** (places apart - 1)` over all pairs of an event of i and a later one of j in the history of
    one user, and `back` times as much over those of an earlier one; events count their weight. d and e are
    the sums of its rows and columns. Seconds, without training: what a model of sequences has to beat.

    Memory: 8 bytes for each two items that occur together; never dense.

    Sources: Ludewig and Jannach, "Evaluation of Session-based Recommendation Algorithms", UMUAI 2018
    (sequential rules); Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms", WWW
    2001.
    Relations: ItemKNN looks at whole histories in no order; CooccurrenceSVD is the same in vectors, which are
    served.
    """

    Settings = CooccurrenceSettings
    search: ClassVar[Space] = {
        "back": Span(0.0, 1.0),
        "from_exponent": Span(0.3, 0.9),
        "to_exponent": Span(0.1, 0.6),
        "half_life": Span(0.7, 20.0, log=True),
    }
    keeps_vectors: ClassVar[bool] = False

    def __init__(self, settings: CooccurrenceSettings | None = None) -> None:
        self.settings = settings or CooccurrenceSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> ItemWeights:
        """Sparse weights (n_items, n_items), row i what an event of item i adds. Raises ModelError on no
        events."""
        matrix = _normalise("cooccurrence", self.settings, train, progress)
        return ItemWeights(matrix, train.interactions.item_counts() > 0, self.settings.half_life)


class CooccurrenceSVDSettings(CooccurrenceSettings):
    """Settings of CooccurrenceSVD: those of Cooccurrence, and its rank."""

    dim: int = Field(256, ge=1, description="singular vectors kept; more come nearer to the whole matrix")
    sweeps: int = Field(4, ge=1, description="passes of the randomized decomposition; more is exacter")


class CooccurrenceSVD(Learner):
    """The weights of Cooccurrence at rank `dim`, so that they are vectors, which a bundle holds and an index
    searches.

    The matrix is decomposed into `U S V'`. A history is the sum of its items' rows of `U S^1/2`, the later
    events weighing more by `half_life`; items are the rows of `V S^1/2`. So an item has one vector as what
    was had and another as what is scored, users need no row, and known and unknown ones are encoded alike.

    Sources: Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization", NeurIPS 2014, for
    vectors from a decomposed matrix of what stands near what; Cooccurrence for the matrix.
    Relations: Spectral is the same of whole histories in no order.
    """

    Settings = CooccurrenceSVDSettings
    search: ClassVar[Space] = {**Cooccurrence.search, "dim": Choices((64, 128, 256, 512))}

    def __init__(self, settings: CooccurrenceSVDSettings | None = None) -> None:
        self.settings = settings or CooccurrenceSVDSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim) and a Bag encoder. Columns beyond the number of items are zero,
        and so is the vector of an item that no pair ends in. Raises ModelError on no events."""
        s = self.settings
        matrix = _normalise("cooccurrence_svd", s, train, progress)
        progress(Step("decomposing", 0, 1))
        left, values, right = decompose(matrix, s.dim, seed=seed, sweeps=s.sweeps)
        inputs, items = (_pad_vectors(vectors * np.sqrt(values), s.dim) for vectors in (left, right))
        inputs[np.diff(matrix.indptr) == 0] = 0  # rounding left something there
        items[np.bincount(matrix.indices, minlength=train.n_items) == 0] = 0
        progress(Step("decomposing", 1, 1))
        return Embeddings(items, Bag(inputs, None, unit=False, half_life=s.half_life))


def _normalise(name: str, s: CooccurrenceSettings, train: Dataset, progress: Progress) -> sparse.csr_array:
    """The degree-normalised matrix of pairs, float32 (n_items, n_items)."""
    refuse_no_events(name, train)
    events, pairs = train.interactions, PairWeights(s.window, s.decay, s.back)
    matrix = count_cooccurrences(
        events.histories(), train.n_items, pairs, folder=events.folder, progress=progress
    )
    normalise_degrees(matrix, s.from_exponent, s.to_exponent)
    return matrix


def _pad_vectors(vectors: F32, dim: int) -> F32:
    """float32 (n, dim): the vectors (n, k) and zeros beside them."""
    wide = np.zeros((len(vectors), dim), np.float32)
    wide[:, : vectors.shape[1]] = vectors
    return wide
