"""FastText's idea on items: an id is the sum of its parts, so that one without a past has a vector, too."""

from typing import ClassVar

import numpy as np
from pydantic import Field
from scipy import sparse

from recsys.arrays import F32, Bool
from recsys.data.dataset import Dataset
from recsys.encoders.bag import Bag
from recsys.encoders.encoder import ItemEncoder
from recsys.encoders.features import FeatureSettings
from recsys.encoders.item_tower import ItemTower
from recsys.encoders.towers.bag_net import BagNet
from recsys.encoders.towers.layout import ItemLayout
from recsys.errors import ModelError
from recsys.matrix.spectrum import unit
from recsys.models.base import refuse_no_events
from recsys.models.neighbours.item2vec import Item2Vec, Item2VecFit, Item2VecSettings
from recsys.models.neighbours.skip_gram import Parts
from recsys.models.search import Space, Span
from recsys.models.towers.tower_start import Described, described_items
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator
from recsys.training.loop import ALONE, Aids


class FastTextSettings(Item2VecSettings):
    """Settings of FastText. Name `item_features` first; then tune `id_dropout` and what Item2Vec has to
    tune."""

    item_features: tuple[FeatureSettings, ...] = Field(
        (),
        description='columns of the item table whose values are parts of an item; item_id, of kind "text", '
        "has the "
        "n-grams of the id itself; none = Item2Vec",
    )
    id_dropout: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of its places at which an item is learned from without its own row",
    )


class FastText(Item2Vec):
    """Item2Vec in which both vectors of an item are sums: of a row of its own and of rows of its parts.

    Parts are what columns of the item table hold: values, and words of texts with their n-grams, hashed into
    buckets. An item without events, or one that comes after learning, has the sum of those parts that some
    learned item has.

    Source: Bojanowski, Grave, Joulin, Mikolov, "Enriching Word Vectors with Subword Information", TACL 2017;
    there only the input vectors have parts, since no unknown word has to be told; here the outputs have them,
    too.
    Relations: TwoTower adds up the same parts and learns them by a softmax, from a better start.
    """

    Settings = FastTextSettings
    search: ClassVar[Space] = {**Item2Vec.search, "id_dropout": Span(0.0, 1.0)}

    def __init__(self, settings: FastTextSettings | None = None) -> None:
        self.settings: FastTextSettings = settings or FastTextSettings()

    def fit(
        self, train: Dataset, *, seed: int, progress: Progress = silent, aids: Aids = ALONE
    ) -> Embeddings:
        """Item vectors float32 (n_items, dim), a Bag encoder, and an ItemTower where there are features.

        Raises ModelError as Item2Vec, and where no item has a part; SettingError on a column that the data
        lack; DataError on a value that is not of its declared kind.
        """
        refuse_no_events("fasttext", train)
        return FastTextFit(self.settings, train, seed).run(progress, aids)


class FastTextFit(Item2VecFit):
    """The tables of inputs and outputs have a row for each item, then those of features, then one for each
    number. `summed`: float32 (n_items, rows), of which rows each item is the sum."""

    name = "fasttext"
    settings: FastTextSettings

    def __init__(self, settings: FastTextSettings, train: Dataset, seed: int) -> None:
        super().__init__(settings, train, seed)
        self.near = self._has_neighbours()
        self.of_items = described_items(settings.item_features, train)
        if (features := self.of_items.features) is not None:
            there = features.known_values(train.described_items).values()
            if not any(column[self.near].any() for column in there):
                names = ", ".join(column.column for column in features.columns)
                raise ModelError(
                    f"fasttext: the columns of item_features ({names}) are empty for all items that people "
                    f"had beside others. Fill them, or leave item_features out."
                )
        self.summed = parts_of(self.of_items, self.near)
        self.parts = Parts(
            self.summed.indptr.astype(np.int64), self.summed.indices.astype(np.int32), self.summed.data
        )
        self.id_dropout = settings.id_dropout
        self.start("fasttext init", self.summed.shape[1], self.counts)

    def finish(self) -> Embeddings:
        s, told = self.settings, self._find_learned()
        inputs, outputs = (
            np.where(told[:, None], self.summed @ one, np.float32(0)) for one in (self.inputs, self.outputs)
        )
        by_cosine = s.served == "input"
        if by_cosine:
            inputs = outputs = unit(inputs)
        bag = Bag(inputs, None, unit=by_cosine, mean=not by_cosine, half_life=s.half_life)
        return Embeddings(
            outputs.copy(), bag, self._of_new(self.inputs if by_cosine else self.outputs, by_cosine)
        )

    def _find_learned(self) -> Bool:
        """(n_items,): of which items anything was learned: they have neighbours, or share a part with one
        that has."""
        if self.of_items.features is None:
            return self.near
        told: Bool = self.near | self.of_items.told_by(self.near)
        return told

    def _of_new(self, table: F32, by_cosine: bool) -> ItemEncoder | None:
        """What sums the parts of an item that comes after learning."""
        if self.of_items.features is None:
            return None
        from recsys.training.towers.bag_net import LearnedBagNet

        n_items, rng = len(self.near), generator(self._seed, "fasttext new")
        numbers = n_items + self.of_items.rows
        rows = np.concatenate(
            [np.zeros((1, table.shape[1]), np.float32), table[n_items:numbers]]
        )  # first: of no id
        empty = LearnedBagNet(ItemLayout(0), rows, 0, 0, rng, unit=by_cosine).export()
        net = BagNet(
            ItemLayout(0),
            rows,
            table[numbers:].copy(),
            empty.fading,
            empty.graph,
            linear=True,
            unit=by_cosine,
        )
        return ItemTower(net, self.of_items.features)


def parts_of(of_items: Described, near: Bool) -> sparse.csr_array:
    """float32 (n_items, rows): what rows weigh in each item. Its own row, of weight 1, comes first for those
    with neighbours, `near` (n_items,); then those of its features and its numbers."""
    own = sparse.diags_array(near.astype(np.float32)).tocsr()
    own.eliminate_zeros()
    if of_items.known is None:
        return own
    numbers = sparse.csr_array(of_items.known.dense)
    parts = sparse.hstack([own, of_items.matrix(), numbers], format="csr", dtype=np.float32)
    parts.sort_indices()
    return parts
