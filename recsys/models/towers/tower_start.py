"""Where the two-tower model starts: what features say of users and items, and the tables at the spectrum."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from scipy import sparse

from recsys.arrays import F32, I64, Array, Bool
from recsys.data.dataset import Dataset
from recsys.encoders.cells import WrongValueError
from recsys.encoders.features import FeatureRows, Features, FeatureSettings
from recsys.encoders.towers.inputs import Inputs
from recsys.encoders.towers.layout import UserLayout
from recsys.matrix.ridge import ridge_rows
from recsys.matrix.spectrum import unit

_START = 0.1  # length of rows that nothing is known of
_RIDGE = 1.0  # of what features can tell of the spectrum


@dataclass(frozen=True, eq=False)
class Described:
    """The declared features and what they say of the users or items of training; None where none are
    declared."""

    features: Features | None
    known: FeatureRows | None

    @property
    def rows(self) -> int:
        """Table rows that they take."""
        return 0 if self.features is None else self.features.n_rows

    @property
    def numbers(self) -> int:
        return 0 if self.features is None else self.features.n_dense

    def take(self, which: Array) -> FeatureRows | None:
        return None if self.known is None else self.known.take(which)

    def inputs(self, which: I64, trained: Bool, id_dropout: float, rng: np.random.Generator | None) -> Inputs:
        """What a tower takes of some entities: the ids of the trained (n,), and features. With `rng`, in
        training, a share of the ids is hidden where features can stand in."""
        row = np.where(trained[which], which, -1).astype(np.int32)
        if self.known is None:
            return Inputs(row)
        if rng is not None:
            row[rng.random(len(which)) < id_dropout] = -1
        return Inputs(row, features=self.take(which))

    def matrix(self) -> sparse.csr_array:
        """float32 (n, rows): what each row weighs in an entity."""
        assert self.known is not None
        rows = self.known.rows
        return sparse.csr_array((self.known.weight, rows.values, rows.offsets), shape=(rows.rows, self.rows))

    def told_by(self, trained: Bool) -> Bool:
        """(n,): of which entities the features say anything that one of the trained (n,) has as well. Of the
        others nothing was learned: their rows of the table are as they were drawn."""
        assert self.known is not None
        rows, numbers = self.matrix(), self.known.dense != 0
        shared = (rows[trained] != 0).sum(axis=0) > 0
        told: Bool = (rows @ shared.astype(np.float32) > 0) | (numbers & numbers[trained].any(axis=0)).any(
            axis=1
        )
        return told


def described_items(columns: Sequence[FeatureSettings], train: Dataset) -> Described:
    if not columns:
        return Described(None, None)
    with _placing(train, "item"):
        features = Features.fit(columns, train.described_items, "item")
        return Described(features, features.encode(train.described_items, train.n_items))


def described_users(columns: Sequence[FeatureSettings], train: Dataset) -> Described:
    """Of all users, and last of someone of whom nothing is known."""
    if not columns:
        return Described(None, None)
    table = train.described_users
    nobody = pa.table({name: pa.nulls(1, table[name].type) for name in table.column_names})
    with _placing(train, "user"):
        features = Features.fit(columns, table, "user")
        return Described(features, features.encode(pa.concat_tables([table, nobody]), len(table) + 1))


@contextmanager
def _placing(train: Dataset, who: str) -> Iterator[None]:
    """Says of a wrong value of a feature whose it is, and where it stands."""
    try:
        yield
    except WrongValueError as error:
        raise error.at(train.place(who, error.row)) from None


def first_tables(
    layout: UserLayout,
    trained: Bool,
    of_users: Described,
    of_items: Described,
    dim: int,
    start: tuple[F32, F32] | None,
    rng: np.random.Generator,
) -> tuple[F32, F32, sparse.csr_array | None]:
    """The tables of users and of items, float32 (rows, dim), and what rows of the first count as.

    Ids start small and drawn, or at the directions of `start`, rows of users and of items, of which the
    features of items take what they can explain: so a new item starts where items like it are. The items of
    histories count with their features, which stand behind those of users. trained: (n_items,) with events;
    the others' ids stay at zero.
    """
    n_items, behind = len(trained), of_items.rows if layout.n_items else 0
    users = np.zeros((layout.features_at + of_users.rows + behind, dim), np.float32)
    items = np.zeros((n_items + 1 + of_items.rows, dim), np.float32)
    had = users[layout.items_at : layout.items_at + layout.n_items]
    for rows in (users[: layout.n_users], had, items[:n_items]):
        rows += rng.standard_normal(rows.shape, dtype=np.float32) * np.float32(_START / math.sqrt(dim))
    if start is not None:
        by_user, by_item = map(unit, start)
        k = by_item.shape[1]
        if of_items.rows:
            described = of_items.matrix()
            explained = ridge_rows(described[trained], by_item[trained], _RIDGE)
            items[n_items + 1 :, :k] = explained
            users[len(users) - behind :, :k] = explained[:behind]
            by_item = by_item - described @ explained
        items[:n_items, :k] += by_item
        users[: layout.n_users, :k] += by_user[: layout.n_users]
        had[:, :k] += by_item[: layout.n_items]
    items[:n_items][~trained] = 0
    had[~trained[: layout.n_items]] = 0
    return users, items, _add_features(len(users), layout.items_at, of_items.matrix()) if behind else None


def _add_features(size: int, items_at: int, described: sparse.csr_array) -> sparse.csr_array:
    """float32 (size, size), what each row of the tower's table is summed from: itself, and for the rows of
    items, from `items_at` on, the rows of their features, which are the last ones of the table."""
    cells = described.tocoo()
    row, column = items_at + cells.row, size - described.shape[1] + cells.col
    more = sparse.csr_array((cells.data, (row, column)), shape=(size, size))
    return (sparse.eye_array(size, dtype=np.float32, format="csr") + more).tocsr()
