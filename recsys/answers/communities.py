"""Communities of a bundle's items or people: whom they are of, and what sets each apart."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from recsys.arrays import F32, F64, I32, I64, Array
from recsys.bundle.bundle import Bundle
from recsys.encoders.users import Users
from recsys.errors import RequestError

_BLOCK = 1 << 14  # people encoded at a time
_SHRUNK = 5.0  # events, or items, that speak against what is rare


@dataclass(frozen=True)
class Group:
    """A community. label: 0 is the largest. size: of how many. items: titles, or ids, of what sets it apart.
    categories: those that it has more of than all items have, the most so first."""

    label: int
    size: int
    items: tuple[str, ...]
    categories: tuple[str, ...]


def people_of(bundle: Bundle) -> F32:
    """float32 (n_users, dim): the vectors of all people in the bundle; rows of zeros for those without a
    vector.

    Raises RequestError where everybody has the same vector, as with popularity.
    """
    if not bundle.encoder.personal:
        raise RequestError(
            f"bundle {bundle.bundle_id} has the same vector for everybody; train a model of taste."
        )
    vectors = np.zeros((bundle.histories.rows, bundle.encoder.dim), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(vectors)))
        vectors[rows] = bundle.encoder.encode(Users.of_rows(rows, bundle.histories.take(rows))).vectors
    return vectors


def items_apart(bundle: Bundle, labels: I32, most: int) -> list[Group]:
    """Communities of items: those in the middle of each, by cosine, and its categories. labels: int32
    (n_items,)."""
    units = bundle.item_vectors / np.maximum(bundle.norms, 1e-12)[:, None]
    words, overall, groups = _Words.of(bundle), (labels >= 0).astype(np.int64), []
    for label in range(int(labels.max(initial=-1)) + 1):
        rows = np.flatnonzero(labels == label)
        nearest = rows[np.argsort(-(units[rows] @ units[rows].mean(axis=0)), kind="stable")[:most]]
        groups.append(_group(bundle, label, len(rows), nearest, words.most(labels == label, overall)))
    return groups


def people_apart(bundle: Bundle, labels: I32, most: int) -> list[Group]:
    """Communities of people: the items that each has most beyond its share, and their categories. labels:
    int32 (n_users,)."""
    items, owner, n = bundle.histories.items, bundle.histories.items.row_of_value(), len(bundle.item_vectors)
    words, overall, groups = _Words.of(bundle), np.bincount(items.values, minlength=n), []
    for label in range(int(labels.max(initial=-1)) + 1):
        counts = np.bincount(items.values[labels[owner] == label], minlength=n)
        best = np.argsort(-_lift(counts, overall), kind="stable")[:most]
        size = int((labels == label).sum())
        groups.append(_group(bundle, label, size, best[counts[best] > 0], words.most(counts, overall)))
    return groups


def _group(bundle: Bundle, label: int, size: int, items: Array, categories: list[str]) -> Group:
    return Group(label, size, tuple(bundle.name_of(int(item)) for item in items), tuple(categories))


def _lift(counts: Array, overall: Array) -> F64:
    """float64 (n,): the ratio of each count to the one expected from its share of all, shrunk towards 1 where
    counts are small."""
    expected = overall * (counts.sum() / max(overall.sum(), 1))
    lift: F64 = (counts + _SHRUNK) / (expected + _SHRUNK)
    return lift


class _Words(NamedTuple):
    """The names of all categories, and pairs int64 (nnz,): `item` is of the category `names[name]`."""

    names: list[str]
    item: I64
    name: I64

    @classmethod
    def of(cls, bundle: Bundle) -> "_Words":
        words = [bundle.catalogue.categories(item) for item in range(len(bundle.item_vectors))]
        names = sorted({word for row in words for word in row})
        numbers = {name: at for at, name in enumerate(names)}
        pairs = [(item, numbers[word]) for item, row in enumerate(words) for word in row]
        item, name = np.array(pairs, np.int64).reshape(-1, 2).T
        return cls(names, item, name)

    def most(self, counts: Array, overall: Array) -> list[str]:
        """The three categories whose counts over these items (n_items,) exceed their share of all items
        most."""
        inside, share = (np.bincount(self.name, one[self.item], len(self.names)) for one in (counts, overall))
        return [self.names[at] for at in np.argsort(-_lift(inside, share), kind="stable")[:3] if inside[at]]
