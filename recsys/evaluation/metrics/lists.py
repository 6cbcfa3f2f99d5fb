"""Metrics that need the lists themselves: what is shown, to whom, and how it stands to what they had before.

A metric of `LIST_METRICS` takes `Lists` and returns one float64 value per user, NaN for a user to whom it
does not apply; such users are left out of means and tests. A metric of `SYSTEM_METRICS` takes the exposures,
int64 (n_items,), how often each item stands in a list, and returns one value for the whole system: users
cannot be resampled for it without changing what it measures (fewer distinct users show fewer distinct items),
so it has no interval.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from recsys.arrays import F64, I64, Array, Bool, Ragged
from recsys.evaluation.metrics.item_facts import ItemFacts, squared_lengths

_DENSE = 1 << 22  # float64 shares at a time: 32 MiB
_LEAST_SHARE = 0.01


@dataclass(frozen=True, eq=False)
class Lists:
    """What n users were shown. This is also what a user's own metric receives.

    ids: int64 (n, k), best first; -1 pads, and an id of `facts.n_items` or more is an item that the data do
    not know. hits: bool (n, k), which of them are targets. targets: rows of distinct items, none empty.
    history: rows of the items that each user had before, oldest first, without what was left out of learning.
    facts: of the items, or None where the caller gave none; `facts.numbers("price")` and
    `facts.column("brand")` are columns of their table.
    """

    ids: I64
    hits: Bool
    targets: Ragged
    history: Ragged
    facts: ItemFacts | None

    def at(self, k: int) -> "Lists":
        """The first k of each list."""
        return replace(self, ids=self.ids[:, :k], hits=self.hits[:, :k])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def known(self) -> Bool:
        """(n, k): the places that hold an item of the data."""
        return (self.ids >= 0) & (self.ids < self._facts.n_items)

    def of_places(self, values: Array) -> Array:
        """(n, k): what each item on a list has of values (n_items,), such as `facts.numbers("price")`.

        Where a place holds no item of the data it is NaN, or of values that are no fractions 0, False or an
        empty text.
        """
        values_there = np.zeros(self.ids.shape, values.dtype)
        if values.dtype.kind == "f":
            values_there[:] = np.nan
        values_there[self.known] = values[self.ids[self.known]]
        return values_there

    @property
    def _facts(self) -> ItemFacts:
        if self.facts is None:
            raise ValueError("this metric needs facts on the items: evaluate(..., facts=facts_of(train))")
        return self.facts


ListMetric = Callable[[Lists], F64]
SystemMetric = Callable[[I64], float]


def novelty(lists: Lists) -> F64:
    """Mean self-information of the items shown, in bits: -log2 of the share of users who had the item. NaN:
    no item.

    An item that nobody had counts as if one user had. Over the items in the list, not over k; higher is more
    novel. Source: Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender systems", PNAS
    2010.
    """
    return mean_of(lists, lists._facts.information)


def mean_popularity(lists: Lists) -> F64:
    """Mean share of users (0 to 1) who had the items shown, over the items in the list. NaN: no item. Lower
    is bolder.

    Source: Yin et al., "Challenging the Long Tail Recommendation", VLDB 2012 (average recommendation
    popularity), divided by the number of users, so that data sets compare.
    """
    facts = lists._facts
    return mean_of(lists, facts.users / max(facts.n_users, 1))


def mean_of(lists: Lists, value: F64) -> F64:
    """The mean value (n_items,) of the items on each list, of those that have one; NaN where none has."""
    shown = lists.of_places(value)
    there = ~np.isnan(shown)
    return _over(np.sum(shown, axis=1, where=there), there.sum(axis=1))


def _over(numerator: F64, denominator: Array) -> F64:
    """The quotient, NaN where the denominator is 0."""
    quotient = np.full(len(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def diversity(lists: Lists) -> F64:
    """One minus the mean inner product of `facts.features` over all pairs of items in the list; 0 = all
    alike.

    The features are the same for every system (categories, else who had the item), never a model's own
    vectors: each model would be judged by its own measure. Items without features are left out; NaN with
    fewer than two others. Source: Ziegler et al., "Improving recommendation lists through topic
    diversification", WWW 2005.
    """
    features, norms = lists._facts.features, lists._facts.feature_norms
    shown = _mark_shown(lists, norms > 0)
    summed = shown @ features  # (n, d): the sum of each list
    count = np.diff(shown.indptr)
    alike = squared_lengths(summed) - shown @ norms
    return 1.0 - _over(alike, count * (count - 1))


def miscalibration(lists: Lists) -> F64:
    """How far the categories of the list are from those of the history: KL(history || list) in nats, 0 =
    calibrated.

    An item spreads one over its categories; the list's shares are mixed with .01 of the history's, so that a
    missing category costs much and not everything. NaN for a user without categories in history or list.
    Lower is better. Source: Steck, "Calibrated recommendations", RecSys 2018, equation 6, all weights 1.
    """
    facts = lists._facts
    if facts.categories is None:
        raise ValueError("miscalibration needs the categories of items, and these data have none")
    described = np.diff(facts.categories.indptr) > 0
    shown = _mark_shown(lists, described)
    mine = lists.history.values < facts.n_items
    brought = _rows(lists.history.keep(mine), described)
    result = np.full(len(lists), np.nan)
    size = max(1, _DENSE // facts.categories.shape[1])
    for start in range(0, len(lists), size):
        rows = slice(start, start + size)
        p, q = ((part[rows] @ facts.categories).toarray() for part in (brought, shown))
        total_p, total_q = p.sum(axis=1), q.sum(axis=1)
        there = (total_p > 0) & (total_q > 0)
        p, q = p[there] / total_p[there, None], q[there] / total_q[there, None]
        mixed = (1 - _LEAST_SHARE) * q + _LEAST_SHARE * p
        terms = p * np.log(np.divide(p, mixed, out=np.ones_like(p), where=p > 0))
        result[start + np.flatnonzero(there)] = terms.sum(axis=1)
    return result


def _mark_shown(lists: Lists, wanted: Bool) -> sparse.csr_array:
    """float32 (n, n_items): 1 where the list holds the item and the item is wanted."""
    known = lists.known
    return _rows(
        Ragged(np.append(0, np.cumsum(known.sum(axis=1))), lists.ids[known].astype(np.int32)), wanted
    )


def _rows(rows: Ragged, wanted: Bool) -> sparse.csr_array:
    kept = rows.keep(wanted[rows.values])
    return sparse.csr_array(
        (np.ones(len(kept.values), np.float32), kept.values, kept.offsets), shape=(kept.rows, len(wanted))
    )


def item_coverage(exposures: I64) -> float:
    """The share of all items of the data that stand in at least one list, those included that no model could
    learn.

    Source: Ge, Delgado-Battenfeld and Jannach, "Beyond accuracy: evaluating recommender systems by coverage
    and serendipity", RecSys 2010 (catalogue coverage). It grows with the number of users judged: compare
    equal ones only.
    """
    return float(np.count_nonzero(exposures) / len(exposures))


def gini(exposures: I64) -> float:
    """How unevenly the places in the lists are shared by all items: 0 = each as many, near 1 = one item has
    them all.

    Items that nobody is shown count. NaN where nothing was shown. Source: Fleder and Hosanagar, "Blockbuster
    culture's next rise or fall", Management Science 2009.
    """
    n, total = len(exposures), int(exposures.sum())
    if not total:
        return float("nan")
    ranks = np.arange(1, n + 1)
    return float(((2 * ranks - n - 1) * np.sort(exposures)).sum() / (n * total))


LIST_METRICS: dict[str, ListMetric] = {
    "novelty": novelty,
    "mean_popularity": mean_popularity,
    "diversity": diversity,
    "miscalibration": miscalibration,
}
SYSTEM_METRICS: dict[str, SystemMetric] = {"item_coverage": item_coverage, "gini": gini}
