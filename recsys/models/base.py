"""The contract of every learner."""

from typing import Protocol

from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.progress import Progress, silent
from recsys.retrieval.ranker import Embeddings


class Model(Protocol):
    """Learns a space from a data set.

    A model holds settings and nothing else: `fit` may be called any number of times, on any data, and never remembers.
    """

    settings: Settings

    def fit(self, train: Dataset, *, seed: int, progress: Progress = silent) -> Embeddings:
        """Item vectors (n_items, dim) with a user encoder into the same space.

        The same seed, versions and thread count give the same bytes. Raises ModelError where the data cannot be learned
        from, with what to change.
        """
