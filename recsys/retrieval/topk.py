"""The k best columns of each row: exact, vectorised, ties to the lower index."""

import numpy as np

from recsys.arrays import F32, I64

_WIDEST = 64


def top_k(scores: F32, k: int) -> tuple[I64, F32]:
    """The k highest scores of each row and their columns.

    scores: float32 (n, m); -inf marks a forbidden column, which is never returned.
    Returns ids int64 (n, k) and scores float32 (n, k), best first, equal scores by column; -1 and -inf pad short rows.

    The columns are cut into strided groups, and the k-th highest of the group maxima bounds the k-th highest score
    from below; only the few columns at or above the bound are sorted. That costs one pass over the scores, where a
    partition of each whole row costs several.
    """
    n, m = scores.shape
    ids = np.full((n, k), -1, np.int64)
    best = np.full((n, k), -np.inf, np.float32)
    if not n or not m or not k:
        return ids, best
    bound = np.maximum(_bound(scores, k), np.finfo(np.float32).min)  # never -inf: what is forbidden stays out
    rows, columns = np.divmod(np.flatnonzero(scores >= bound[:, None]), m)
    values = scores[rows, columns]
    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    starts = np.searchsorted(rows, np.arange(n))
    rank = np.arange(len(rows)) - starts[rows]
    kept = rank < k
    ids[rows[kept], rank[kept]] = columns[kept]
    best[rows[kept], rank[kept]] = values[kept]
    return ids, best


def _bound(scores: F32, k: int) -> F32:
    """(n,): a value that at least k scores of the row reach (-inf where the row has fewer than k columns)."""
    n, m = scores.shape
    if m <= k:
        return np.full(n, -np.inf, np.float32)
    width = max(1, min(_WIDEST, m // (4 * k)))
    groups = m // width
    maxima = scores[:, : groups * width].reshape(n, width, groups).max(axis=1)
    if groups * width < m:
        maxima = np.concatenate([maxima, scores[:, groups * width :]], axis=1)
    bound: F32 = np.partition(maxima, maxima.shape[1] - k, axis=1)[:, maxima.shape[1] - k]
    return bound
