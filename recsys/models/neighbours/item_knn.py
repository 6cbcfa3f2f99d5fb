"""Item-kNN: items are alike that the same users had; a user is answered the neighbours of what they had."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32, I32
from recsys.config import Settings
from recsys.data.dataset import Dataset
from recsys.models.base import Learner, matrix_to_learn
from recsys.models.neighbours.item_weights import ItemWeights
from recsys.models.search import Space, Span
from recsys.progress import Progress, Step, silent
from recsys.training.loop import ALONE, Aids

_BLOCK_PAIRS = 4 << 20  # pairs of items at a time: some 200 MiB while they are sorted


class ItemKNNSettings(Settings):
    """Settings of ItemKNN: a compromise of seven sets. Dense data of one sitting (ratings) want
    `amplification` 2, next to no `shrinkage` and a `half_life` of 5; sparse data (places) want a `shrinkage`
    of up to 30."""

    neighbours: int = Field(
        500, ge=1, description="neighbours kept of each item; fewer are faster and less exact"
    )
    shrinkage: float = Field(
        10.0, ge=0, description="added to the denominator of the cosine: similarities of rare items shrink"
    )
    amplification: float = Field(
        1.0, gt=0, description="power of the cosine; above 1, few near neighbours outweigh many far ones"
    )
    user_exponent: float = Field(
        0.5, ge=0, le=1, description="power of a user's total weight that divides each of their events"
    )
    repeat_exponent: float = Field(
        0.5, gt=0, le=1, description="power of a pair's summed weight; 1: each repeat counts"
    )
    half_life: float | None = Field(
        20.0, gt=0, description="events after which one of the history counts half; none = all count alike"
    )


class ItemKNN(Learner):
    """Scores an item by its cosines with the items of a history, each raised to a power, over its nearest
    neighbours.

    An item of the history counts its x, as below, and less the longer ago its events are, by `half_life`.

    The cosine of items i and j is `sum_u w_u x_ui x_uj / (|i| |j| + shrinkage)`, the norms weighted alike,
    where x is a pair's summed event weight to the power of `repeat_exponent` and w_u the total of user u's
    summed weights to the power of minus `user_exponent`.

    Memory: `8 neighbours n_items` bytes of weights, four times that while they are put together, and one
    block of pairs; the matrix is never dense.

    Sources: Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms", WWW 2001; Breese,
    Heckerman, Kadie, UAI 1998 (case amplification).
    Relations: EASE learns the weights that cosines guess; it is dense.
    """

    Settings = ItemKNNSettings
    search: ClassVar[Space] = {
        "shrinkage": Span(0.1, 100.0, log=True),
        "amplification": Span(0.5, 3.0),
        "user_exponent": Span(0.0, 1.0),
        "half_life": Span(2.0, 200.0, log=True),
    }
    keeps_vectors: ClassVar[bool] = False

    def __init__(self, settings: ItemKNNSettings | None = None) -> None:
        self.settings = settings or ItemKNNSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> ItemWeights:
        """Sparse weights (n_items, n_items), column j the neighbours of item j. Raises ModelError on no
        events."""
        by_user = self._scale_rows(matrix_to_learn("item_knn", train))
        by_item = by_user.T.tocsr()
        norms = np.sqrt(by_item.power(2).sum(axis=1))
        n_items = len(norms)
        starts = _block_starts(by_user)
        rows, columns, values = [], [], []
        for done, (start, stop) in enumerate(pairwise([*starts, n_items]), 1):
            item, near, cosines = self._nearest(by_item[start:stop] @ by_user, start, norms)
            rows.append(near)
            columns.append(item)
            values.append(cosines ** np.float32(self.settings.amplification))
            progress(Step("learning item_knn", done, len(starts)))
        weights = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        matrix = sparse.coo_array(weights, shape=(n_items, n_items)).tocsr()
        had = train.interactions.item_counts() > 0
        return ItemWeights(matrix, had, self.settings.half_life, self.settings.repeat_exponent)

    def _scale_rows(self, by_user: sparse.csr_array) -> sparse.csr_array:
        """The matrix with each row times the root of its user's weight, for products of columns to carry the
        weight."""
        totals = np.maximum(by_user.sum(axis=1), np.finfo(np.float32).tiny)
        scale = (totals ** (-0.5 * self.settings.user_exponent)).astype(np.float32)
        scaled = by_user.copy()
        scaled.data **= np.float32(self.settings.repeat_exponent)
        scaled.data *= np.repeat(scale, np.diff(by_user.indptr))
        return scaled

    def _nearest(self, products: sparse.csr_array, start: int, norms: F32) -> tuple[I32, I32, F32]:
        """For products (b, n_items) of the items from `start` on: each item, its nearest others, their
        cosines.

        Three parallel arrays, item after item, the nearest first, ties to the lower index.
        """
        item = start + np.repeat(np.arange(products.shape[0], dtype=np.int32), np.diff(products.indptr))
        near = products.indices.astype(np.int32)
        cosines = products.data / (norms[item] * norms[near] + np.float32(self.settings.shrinkage))
        kept = np.flatnonzero((item != near) & (cosines > 0))
        kept = kept[np.lexsort((near[kept], -cosines[kept], item[kept]))]
        rank = np.arange(len(kept)) - np.searchsorted(item[kept], item[kept])
        kept = kept[rank < self.settings.neighbours]
        return item[kept], near[kept], cosines[kept]


def _block_starts(by_user: sparse.csr_array) -> list[int]:
    """Where to cut the items so that no block has more than about `_BLOCK_PAIRS` pairs with others."""
    degrees = np.diff(by_user.indptr)
    pairs = np.bincount(by_user.indices, np.repeat(degrees, degrees), minlength=by_user.shape[1])
    block = np.cumsum(np.minimum(pairs, by_user.shape[1])) // _BLOCK_PAIRS
    return np.flatnonzero(np.diff(block, prepend=-1)).tolist()
