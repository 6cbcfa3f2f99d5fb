"""Ranking metrics: arrays in, one float64 value per user out; higher is better.

hits: bool (n, k), whether the item at each rank is one of the user's targets, best rank first; a padded rank is no hit.
targets: int64 (n,), how many distinct targets the user has, at least 1, recommendable or not.
"""

from collections.abc import Callable

import numpy as np

from recsys.arrays import F64, I64, Bool, Ragged
from recsys.errors import SettingError

Metric = Callable[[Bool, I64], F64]


def recall(hits: Bool, targets: I64) -> F64:
    """Hits over all targets of the user (not over min(k, targets)): the denominator of the LightGCN tables."""
    found: F64 = hits.sum(axis=1) / targets
    return found


def hit_rate(hits: Bool, targets: I64) -> F64:
    """1 where any target is among the k, else 0."""
    found: F64 = np.asarray(hits.any(axis=1), np.float64)
    return found


def mrr(hits: Bool, targets: I64) -> F64:
    """One over the rank of the first hit, 0 without a hit."""
    return np.where(hits.any(axis=1), 1.0 / (hits.argmax(axis=1) + 1), 0.0)


def ndcg(hits: Bool, targets: I64) -> F64:
    """Discounted gain, 1 / log2(rank + 1) a hit, over that of the best list: min(k, targets) hits on top.

    Source: Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 2002; binary gains.
    """
    k = hits.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)
    gained: F64 = hits @ discounts / ideal[np.minimum(targets, k) - 1]
    return gained


METRICS: dict[str, Metric] = {"recall": recall, "ndcg": ndcg, "mrr": mrr, "hit_rate": hit_rate}


def parse(name: str) -> tuple[Metric, int]:
    """The metric and the cut that a name such as "recall_at_20" stands for."""
    kind, separator, cut = name.rpartition("_at_")
    if not separator or kind not in METRICS or not cut.isdecimal() or int(cut) < 1:
        known = ", ".join(f"{known}_at_10" for known in METRICS)
        raise SettingError(f"metric {name!r} is unknown; metrics are written like {known}.")
    return METRICS[kind], int(cut)


def hits_of(ids: I64, targets: Ragged) -> Bool:
    """bool (n, k): which of the answered ids (n, k), -1 for none, are in the user's row of `targets`."""
    base = 1 + max(int(ids.max(initial=0)), int(targets.values.max(initial=0)))
    keys = np.sort(targets.row_of_value() * base + targets.values)
    asked = np.where(ids < 0, -1, np.arange(len(ids))[:, None] * base + ids)
    found: Bool = np.isin(asked, keys)
    return found
