"""What is known of the items before anything is recommended: how many had them, their kinds, how alike they
are."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse

from recsys.arrays import F32, F64, I32, I64, Bool, Ragged, blocks_of
from recsys.data.dataset import Dataset, columns_combined
from recsys.evaluation.metrics.columns import column_of, item_columns, numbers_of
from recsys.matrix import on_disk
from recsys.matrix.on_disk import count
from recsys.seeding import generator

_ASKING = "a metric of your own"  # who asks for a column; ours were refused before
_DIRECTIONS, _AT_A_TIME = 128, 16


@dataclass(frozen=True, eq=False)
class ItemFacts:
    """Facts on n_items items, from the events that were learned from and from the item table.

    had: rows of the distinct items of each user, from the events to learn from. events: int64 (n_items,)
    events of each item. domains: the names, and `domain` int32 (n_items,) index into them, -1 where none is
    known. categories: sparse (n_items, n_categories), each row sums to 1, an empty one where none is known;
    None where no item has any. table: all columns of the table of items, row i describes item i.
    """

    had: Ragged
    events: I64
    domains: tuple[str, ...]
    domain: I32
    categories: sparse.csr_array | None
    table: pa.Table = field(default_factory=lambda: pa.table({}), repr=False)
    _numbers: dict[str, F64] = field(default_factory=dict, init=False, repr=False)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the table of items: n_items values, null where an item has none.

        Raises SettingError where there is no such column, with the nearest one.
        """
        return column_of(self.table, name, _ASKING)

    def numbers(self, name: str) -> F64:
        """float64 (n_items,): a column of numbers of the table of items, NaN where an item has none; read
        once.

        Raises SettingError where there is no such column, with the nearest one, DataError where it holds no
        numbers.
        """
        if name not in self._numbers:
            self._numbers[name] = numbers_of(self.table, name, _ASKING)
        return self._numbers[name]

    @property
    def n_items(self) -> int:
        return len(self.events)

    @cached_property
    def n_users(self) -> int:
        """Users with at least one event to learn from."""
        return int(np.count_nonzero(self.had.lengths))

    @cached_property
    def users(self) -> I64:
        """int64 (n_items,): how many users had each item."""
        return count(self.had.values, self.n_items)

    @cached_property
    def head(self) -> Bool:
        """(n_items,): the fewest items that together took half of the events; the others are the tail.

        Ties go to the lower index. Source of the division: Park and Tuzhilin, "The long tail of recommender
        systems and how to leverage it", RecSys 2008 (who cut by a number of ratings).
        """
        order = np.argsort(-self.events, kind="stable")
        before = np.cumsum(self.events[order]) - self.events[order]
        head = np.zeros(self.n_items, bool)
        head[order[(before * 2 < self.events.sum()) & (self.events[order] > 0)]] = True
        return head

    @cached_property
    def features(self) -> sparse.csr_array | F32:
        """(n_items, d): rows whose inner products say how alike two items are; a zero row = nothing is known.

        The unit vectors of the categories (their inner product is the cosine). Without categories, who had
        the item: unit vectors over users, of which the part along their common direction is kept exactly and
        the rest projected on 128 random directions, which keeps inner products right on average, each within
        about .09 (Achlioptas, "Database-friendly random projections", JCSS 2003; without the exact part all
        pairs would err the same way). 516 bytes an item.
        """
        if self.categories is not None:
            lengths = np.sqrt(squared_lengths(self.categories))
            scale = np.divide(1.0, lengths, out=np.zeros(self.n_items), where=lengths > 0)
            return sparse.csr_array(sparse.diags_array(scale) @ self.categories)
        each = np.sqrt(1.0 / np.maximum(self.users, 1)).astype(np.float32)[:, None]
        common = np.concatenate([part @ each for _, part in self._by_user()])
        common /= max(float(np.linalg.norm(common)), np.finfo(np.float32).tiny)
        features = np.empty((self.n_items, 1 + _DIRECTIONS), np.float32)
        features[:, :1] = each * self._of_users(common)
        rng = generator(0, "random directions")
        for start in range(1, 1 + _DIRECTIONS, _AT_A_TIME):
            signs = (2 * rng.integers(0, 2, (self.had.rows, _AT_A_TIME), np.int8) - 1).astype(np.float32)
            rest = each * self._of_users(signs) - features[:, :1] * (common.T @ signs)
            features[:, start : start + _AT_A_TIME] = rest / np.float32(np.sqrt(_DIRECTIONS))
        return features

    def _by_user(self) -> Iterator[tuple[slice, sparse.csr_array]]:
        """Some users at a time, and float32 (users, n_items) in which what they had is 1."""
        for block in blocks_of(self.had.lengths, on_disk.CHUNK):
            part = self.had.take(np.arange(block.start, block.stop))
            ones = np.ones(len(part.values), np.float32)
            yield block, sparse.csr_array((ones, part.values, part.offsets), shape=(part.rows, self.n_items))

    def _of_users(self, values: F32) -> F32:
        """float32 (n_items, d): the sum of the values (n_users, d) of those who had an item."""
        summed = np.zeros((self.n_items, values.shape[1]), np.float32)
        for block, part in self._by_user():
            summed += part.T @ values[block]
        return summed

    @cached_property
    def feature_norms(self) -> F64:
        """float64 (n_items,): the squared length of each row of `features`."""
        return squared_lengths(self.features)

    @cached_property
    def information(self) -> F64:
        """float64 (n_items,): bits, -log2 of the share of users who had the item, nobody counting as one
        user."""
        shares = np.maximum(self.users, 1) / max(self.n_users, 1)
        return -np.log2(np.minimum(shares, 1.0))


def squared_lengths(rows: Any) -> F64:
    """float64 (n,): the squared length of each row of a sparse or dense matrix (n, d)."""
    squared = rows.multiply(rows) if sparse.issparse(rows) else np.square(rows)
    return np.asarray(squared.sum(axis=1), np.float64).ravel()


def facts_of(train: Dataset) -> ItemFacts:
    """The facts of a data set's items; its events are those to learn from, never those to judge on."""
    events = train.interactions
    matrix = events.matrix()
    had = Ragged(matrix.indptr.astype(np.int64), matrix.indices)
    names, domain = train.domains
    return ItemFacts(had, events.item_counts(), names, domain, _categories(train.items), item_columns(train))


def _categories(items: pa.Table) -> sparse.csr_array | None:
    if "categories" not in items.column_names:
        return None
    import pyarrow.compute as pc

    column = columns_combined(items["categories"])
    rows = pc.list_parent_indices(column).to_numpy()
    encoded = columns_combined(pa.chunked_array([pc.list_flatten(column)])).dictionary_encode()
    known = encoded.is_valid().to_numpy(zero_copy_only=False)
    if not known.any():
        return None
    codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)[known]
    shape = (len(items), len(encoded.dictionary))
    flags = sparse.coo_array((np.ones(len(codes)), (rows[known], codes)), shape=shape).tocsr()
    flags.data[:] = 1.0  # a category that is named twice counts once
    shares = flags.sum(axis=1)
    return sparse.csr_array(
        sparse.diags_array(np.divide(1.0, shares, out=np.zeros(len(items)), where=shares > 0)) @ flags
    )
