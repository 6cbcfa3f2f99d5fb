"""Ranking metrics that need hits only: arrays in, one float64 value per user out; higher is better.

hits: bool (n, k), whether the item at each rank is one of the user's targets, best rank first; a padded rank
is no hit. targets: int64 (n,), how many distinct targets the user has, at least 1, recommendable or not.
"""

from collections.abc import Callable

import numpy as np

from recsys.arrays import F64, I64, Array, Bool, Ragged

Metric = Callable[[Bool, I64], F64]

_MARKS = 1 << 22


def recall(hits: Bool, targets: I64) -> F64:
    """Hits over all targets of the user (not over min(k, targets)): the denominator of the LightGCN
    tables."""
    share: F64 = hits.sum(axis=1) / targets
    return share


def precision(hits: Bool, targets: I64) -> F64:
    """Hits over k. A list shorter than k is not forgiven: what is missing from it counts as a miss."""
    share: F64 = hits.sum(axis=1) / hits.shape[1]
    return share


def hit_rate(hits: Bool, targets: I64) -> F64:
    """1 where any target is among the k, else 0."""
    any_hit: F64 = np.asarray(hits.any(axis=1), np.float64)
    return any_hit


def mrr(hits: Bool, targets: I64) -> F64:
    """One over the rank of the first hit, 0 without a hit."""
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)


def mean_average_precision(hits: Bool, targets: I64) -> F64:
    """The precision at the rank of each hit, summed, over min(k, targets): 1 for the best list of k; 0
    without a hit.

    Source: Buckley and Voorhees, "Evaluating Evaluation Measure Stability", SIGIR 2000; cut at k, so that the
    denominator is what a list of k can hold (others divide by all targets).
    """
    k = hits.shape[1]
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    summed: F64 = np.sum(at_rank, axis=1, where=hits)
    return summed / np.minimum(targets, k)


def ndcg(hits: Bool, targets: I64) -> F64:
    """Discounted gain, 1 / log2(rank + 1) a hit, over that of the best list: min(k, targets) hits on top.

    Source: Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; binary
    gains.
    """
    k = hits.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)
    gained: F64 = hits @ discounts / ideal[np.minimum(targets, k) - 1]
    return gained


METRICS: dict[str, Metric] = {
    "recall": recall,
    "ndcg": ndcg,
    "mrr": mrr,
    "hit_rate": hit_rate,
    "precision": precision,
    "map": mean_average_precision,
}


def hits_of(ids: I64, targets: Ragged) -> Bool:
    """bool (n, k): which of the answered ids (n, k), -1 for none, are in the user's row of `targets`.

    Most answers are no hit, so a table of marks sorts them out by the low bits of their key; the few that
    pass are looked up among the sorted keys.
    """
    hits = np.zeros(ids.shape, bool)
    if not len(targets.values):
        return hits
    base = 1 + max(int(ids.max(initial=0)), int(targets.values.max(initial=0)))
    keys: Array = np.sort(targets.row_of_value() * base + targets.values)
    asked = np.where(ids < 0, -1, np.arange(len(ids))[:, None] * base + ids)
    marks = np.zeros(_MARKS, bool)
    marks[keys & (_MARKS - 1)] = True
    at = np.nonzero(marks[asked & (_MARKS - 1)])
    maybe = asked[at]
    hits[at] = keys[np.minimum(np.searchsorted(keys, maybe), len(keys) - 1)] == maybe
    return hits
