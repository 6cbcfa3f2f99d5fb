"""Somebody else's learner and metric, in a file of their own: what the package offers to whoever extends it.

`python -m pytest tests/extending` trains, exports and serves them without a change to the package.
"""

from typing import Literal

import numpy as np
from pydantic import Field
from scipy.sparse.linalg import svds

from recsys.arrays import F64
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.evaluation.metrics.lists import Lists
from recsys.models.base import matrix_to_learn
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings


class CoVisitsSettings(Settings):
    """Settings of CoVisits."""

    dim: int = Field(8, ge=1, description="width of the vectors")
    scale: Literal["root", "log"] = Field(
        "root", description="what dampens the counts of what was had together"
    )


class CoVisits:
    """Vectors whose inner products rebuild how often two items were had by the same people, dampened."""

    Settings = CoVisitsSettings

    def __init__(self, settings: CoVisitsSettings | None = None) -> None:
        self.settings = settings or CoVisitsSettings()

    def fit(self, train: Dataset, *, seed: int, progress: Progress = silent) -> Embeddings:
        matrix = matrix_to_learn("covisits", train)
        together = (matrix.T @ matrix).astype(np.float64)
        together.data = np.sqrt(together.data) if self.settings.scale == "root" else np.log1p(together.data)
        k = min(self.settings.dim, train.n_items - 1)
        vectors, values, _ = svds(together, k=k, random_state=seed)
        items = np.zeros((train.n_items, self.settings.dim), np.float32)
        items[:, :k] = vectors * np.sqrt(np.abs(values))
        items[train.interactions.item_counts() == 0] = 0
        progress(Step("counting", 1, 1))
        return Embeddings(items, Bag(items.copy(), None, unit=False))


def early_hit_at_10(lists: Lists) -> F64:
    """1 where one of the first three items is a hit, for lists of ten."""
    return lists.hits[:, :3].any(axis=1).astype(np.float64)


def novel_share_at_10(lists: Lists) -> F64:
    """The share of the items shown that came out in 2020 or later, by the column `year` of their table of
    items."""
    assert lists.facts is not None
    year = lists.of_places(lists.facts.numbers("year"))
    return np.mean(year >= 2020, axis=1)
