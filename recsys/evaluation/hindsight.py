"""Lists that know the future and leave it out: they hit nobody where chance alone would hit many.

A system that learned up to today and never answers what a person had already cannot name what that person did
after the moment of the question: it knows it, and excludes it. Its figure says nothing of its worth.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse

from recsys.arrays import F64, I32, I64, Array, Ragged
from recsys.seeding import generator

MOST_P, LEAST_SHARE = 1e-9, 0.05
_PEOPLE, _BLOCK = 5_000, 256


class Hindsight(NamedTuple):
    """How many of `people` have a target in their list (`hit`), and how many would if each had that of
    somebody alike.

    expected: the mean of that number. p: at most the chance of so few or fewer.
    """

    people: int
    hit: int
    expected: float
    p: float

    @property
    def impossible(self) -> bool:
        """Whether the lists must know what they leave out: far too few hits, beyond any doubt."""
        return self.p < MOST_P and self.hit <= LEAST_SHARE * self.expected


def hindsight(
    lists: Ragged, history: Ragged, targets: Ragged, n_items: int, *, domain: I32 | None = None, seed: int = 0
) -> Hindsight:
    """Whether lists leave out what they should predict. A row for each person asked, of 5,000 of those with a
    list.

    lists: item numbers, of which `n_items` and above are unknown. history: all that a person had before the
    moment; what stands in it counts neither in a list nor as a target. domain: int32 (n_items,), -1 = none,
    or None.

    A listed item is a target with the chance that it is one of somebody else, as far as this person has
    targets in its domain: among all others, and among those who share events of the history, each weighted by
    how many. The fewer hits of the two are expected, so that lists against somebody's taste, or of what
    nobody wants, are not suspected. A person counts once, hit or not, and people are independent: by
    Hoeffding (1956, "On the distribution of the number of successes in independent trials") so few hits are
    at most as likely as under a Poisson law of the same mean.
    """
    rows = np.flatnonzero(lists.lengths)
    rows = np.sort(generator(seed, "hindsight").permutation(rows)[:_PEOPLE])
    past = _matrix(history.take(rows), n_items)
    shown, wanted = (_without(_matrix(part.take(rows), n_items), past) for part in (lists, targets))
    row, item = shown.nonzero()
    code = np.zeros(n_items, np.int64) if domain is None else domain.astype(np.int64) + 1
    own = _by_domain(wanted, code)  # how many targets each person has in each domain
    mine = own[row, code[item]]
    is_target = np.asarray(wanted[row, item], np.float64).ravel()
    others = wanted.sum(axis=0)[item] - is_target
    everyone = _rate(mine, others, own.sum(axis=0)[code[item]] - mine)
    alike = np.concatenate(
        [_alike(block, row, item, past, wanted, own, code) for block in _blocks(row)] or [everyone]
    )
    alike = np.where(np.isnan(alike), everyone, alike)
    n = len(rows)
    hit = int((np.bincount(row, is_target, n) > 0).sum())
    expected = min(float(-np.expm1(-np.bincount(row, rate, n)).sum()) for rate in (everyone, alike))
    return Hindsight(n, hit, expected, _fewer(hit, expected))


def _matrix(rows: Ragged, n_items: int) -> sparse.csr_array:
    """float64 (n, n_items): 1 where a row holds an item."""
    rows = rows.keep(rows.values < n_items)
    matrix = sparse.csr_array(
        (np.ones(len(rows.values)), rows.values, rows.offsets), shape=(rows.rows, n_items)
    )
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def _without(one: sparse.csr_array, other: sparse.csr_array) -> sparse.csr_array:
    kept = sparse.csr_array(one - one.multiply(other))
    kept.eliminate_zeros()
    return kept


def _by_domain(wanted: sparse.csr_array, code: I64) -> F64:
    """float64 (n, domains): how many targets of each domain a person has."""
    belongs = sparse.csr_array(
        (np.ones(len(code)), (np.arange(len(code)), code)), shape=(len(code), code.max() + 1)
    )
    return np.asarray((wanted @ belongs).toarray())


def _blocks(row: Array) -> list[slice]:
    """Of pairs in the order of their rows: those of so many rows at a time."""
    ends = np.searchsorted(row, np.arange(0, (row.max(initial=-1) // _BLOCK + 2) * _BLOCK, _BLOCK))
    return [slice(a, b) for a, b in pairwise(ends) if a < b]


def _alike(
    block: slice,
    row: Array,
    item: Array,
    past: sparse.csr_array,
    wanted: sparse.csr_array,
    own: F64,
    code: I64,
) -> F64:
    """The rates of a block of pairs among people who share events; NaN where nobody does."""
    people, at = np.unique(row[block], return_inverse=True)
    items, column = np.unique(item[block], return_inverse=True)
    weight = (past[people] @ past.T).toarray()  # (people, n): how many items of the history they share
    weight[np.arange(len(people)), people] = 0.0
    shared = np.asarray(weight @ wanted[:, items])[at, column]
    domain = code[items][column]
    rate = _rate(own[row[block], domain], shared, np.asarray(weight @ own)[at, domain])
    return np.where(weight.sum(axis=1)[at] > 0, rate, np.nan)


def _rate(mine: F64, theirs: F64, of: F64) -> F64:
    """How often a pair would be a target, if all of one's own targets were drawn from those of others."""
    return mine * np.divide(theirs, of, out=np.zeros_like(theirs), where=of > 0)


def _fewer(hit: int, expected: float) -> float:
    from scipy import stats

    return float(stats.poisson.cdf(hit, expected)) if hit <= expected - 1 else 1.0
