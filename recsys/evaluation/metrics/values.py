"""Metrics that count what items are worth: a number from a column of the table of items, such as a price or a
margin.

Each takes `Lists` and `worth`, float64 (n_items,), NaN where none is given, and returns one float64 value per
user. An item without a number is worth nothing: it adds 0 as a hit and as a target. Written with the name of
the column: `sum_of_price_at_10`.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from recsys.arrays import F64
from recsys.errors import DataError
from recsys.evaluation.metrics.columns import numbers_of
from recsys.evaluation.metrics.lists import Lists, mean_of

ValueMetric = Callable[[Lists, F64], F64]


def sum_of(lists: Lists, worth: F64) -> F64:
    """The worth of the hits of each user: of a price, what the list sells, of those who would buy what they
    bought.

    In the unit of the column; 0 without a hit. The mean is over all users asked. A negative worth counts
    against.
    """
    return _of_hits(lists, np.nan_to_num(worth), np.ones(lists.hits.shape[1]))


def share_of(lists: Lists, worth: F64) -> F64:
    """The worth of the hits over that of the best list: the k targets of the user that are worth most. 0 to
    1.

    NaN for a user none of whose targets is worth anything. No worth may be negative.
    """
    return _over_best(lists, np.nan_to_num(worth), np.ones(lists.hits.shape[1]))


def ndcg_of(lists: Lists, worth: F64) -> F64:
    """Discounted worth, worth / log2(rank + 1) a hit, over that of the best list: the most valuable targets
    on top.

    NaN for a user none of whose targets is worth anything. No worth may be negative. With a worth of 1 for
    each item it is `ndcg`. Source: Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR
    techniques", TOIS 2002.
    """
    return _over_best(lists, np.nan_to_num(worth), 1.0 / np.log2(np.arange(2, lists.hits.shape[1] + 2)))


def mean_of_shown(lists: Lists, worth: F64) -> F64:
    """The mean worth of the items shown, hit or not, over those that have a number; NaN where none has."""
    return mean_of(lists, worth)


def _of_hits(lists: Lists, worth: F64, weight: F64) -> F64:
    """The worth of the hits of each user, each times the weight (k,) of its rank."""
    worth_of_hits: F64 = np.sum(lists.of_places(worth) * weight, axis=1, where=lists.hits & lists.known)
    return worth_of_hits


def _over_best(lists: Lists, worth: F64, weight: F64) -> F64:
    """`_of_hits` over the most that the targets allow."""
    k, gained = lists.hits.shape[1], _of_hits(lists, worth, weight)
    targets = lists.targets.keep(lists.targets.values < len(worth))
    row, each = targets.row_of_value(), worth[targets.values]
    order = np.lexsort((-each, row))
    rank = np.arange(len(row)) - targets.offsets[row]
    best = np.bincount(
        row, np.where(rank < k, each[order] * weight[np.minimum(rank, k - 1)], 0.0), targets.rows
    )
    share: F64 = np.divide(gained, best, out=np.full(len(lists), np.nan), where=best > 0)
    return share


VALUE_METRICS: dict[str, ValueMetric] = {"sum_of": sum_of, "share_of": share_of, "ndcg_of": ndcg_of}
SHOWN_METRICS: dict[str, ValueMetric] = {"mean_of": mean_of_shown}
_NOT_NEGATIVE = ("share_of", "ndcg_of")


def worth_of(table: pa.Table, metric: str) -> F64:
    """float64 (n_items,): the column of a table of items that a metric such as `sum_of_price_at_10` counts.

    Raises SettingError where there is no such column, DataError where it holds no numbers, or negative ones
    in a metric that is a share.
    """
    kind, column = value_kind(metric.rpartition("_at_")[0])
    worth = numbers_of(table, column, f"metric {metric!r}")
    if kind in _NOT_NEGATIVE and (negative := int(np.count_nonzero(worth < 0))):
        raise DataError(
            f"metric {metric!r}: {negative:,} items have a {column} below 0, and a share needs a worth of "
            f"0 or more. Ask for sum_of_{column}, in which they count against, or name another column."
        )
    return worth


def value_kind(name: str) -> tuple[str, str]:
    """("sum_of", "price") of sum_of_price; two empty texts where it is none of these."""
    for kind in (*VALUE_METRICS, *SHOWN_METRICS):
        if name.startswith(f"{kind}_") and len(name) > len(kind) + 1:
            return kind, name.removeprefix(f"{kind}_")
    return "", ""
