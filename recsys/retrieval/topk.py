"""The k best columns of each row: exact, vectorised, ties to the lower index."""

from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np

from recsys.arrays import F32, I64, Array, Ragged

_WIDEST = 64
_WORTH_A_THREAD = 1 << 19  # scores: below, starting a thread costs more than it saves
_ROWS, _SHARED = 256, 1 << 22  # rows with shared scores at a time, and the places looked at for them
_LAST = np.iinfo(np.int64).max


def top_k(scores: F32, k: int) -> tuple[I64, F32]:
    """The k highest scores of each row and their columns.

    scores: float32 (n, m); -inf marks a forbidden column, which is never returned, nor is NaN. Returns ids
    int64 (n, k) and scores float32 (n, k), best first, equal scores by column; -1 and -inf pad short rows.

    The columns are cut into strided groups, and the k-th highest of the group maxima bounds the k-th highest
    score from below; only the few columns at or above the bound are sorted. That costs one pass over the
    scores, where a partition of each whole row costs several. Large blocks are shared by threads, row by row,
    as many as entry points allow faiss: the result is the same.
    """
    scores = np.asarray(scores, np.float32)
    n, m = scores.shape
    ids = np.full((n, k), -1, np.int64)
    best = np.full((n, k), -np.inf, np.float32)
    if not n or not m or not k:
        return ids, best

    def fill(rows: slice) -> None:
        _fill(scores[rows], ids[rows], best[rows])

    threads = min(faiss.omp_get_max_threads(), n, scores.size // _WORTH_A_THREAD)
    if threads < 2:
        fill(slice(None))
    else:
        edges = np.linspace(0, n, threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, map(slice, edges[:-1], edges[1:])))
    return ids, best


def falling(scores: F32) -> I64:
    """int64: the columns (m,) by falling score, equal ones by column, those with -inf or NaN left out."""
    order = np.flatnonzero(scores > -np.inf)
    return order[np.argsort(-scores[order], kind="stable")]


def top_shared(order: Array, scores: F32, k: int, forbid: Ragged) -> tuple[I64, F32]:
    """`top_k` for rows that share their scores float32 (m,) and differ in the columns that are forbidden
    them.

    order: the columns that are allowed at all, best first. forbid: rows of columns. A row costs k and its
    forbidden columns, whatever m is.
    """
    ids = np.full((forbid.rows, k), -1, np.int64)
    best = np.full((forbid.rows, k), -np.inf, np.float32)
    place = np.full(len(scores), len(order))
    place[order] = np.arange(len(order))
    # alike lengths together: little that is looked at in vain
    by_length = np.argsort(forbid.lengths, kind="stable")
    start = 0
    while start < len(by_length):
        longest = int(forbid.lengths[by_length[min(start + _ROWS, len(by_length)) - 1]])
        depth = min(len(order), k + longest)
        rows = by_length[start : start + max(1, min(_ROWS, _SHARED // max(1, depth)))]
        start += len(rows)
        part = forbid.take(rows)
        taken = np.zeros((len(rows), depth), bool)
        at, row = place[part.values], part.row_of_value()
        taken[row[at < depth], at[at < depth]] = True
        rank = np.cumsum(~taken, axis=1)
        row, column = np.nonzero(~taken & (rank <= k))
        ids[rows[row], rank[row, column] - 1] = order[column]
        best[rows[row], rank[row, column] - 1] = scores[order[column]]
    return ids, best


def _fill(scores: F32, ids: I64, best: F32) -> None:
    """Writes the best of each row into `ids` and `best` (n, k), which hold the pads."""
    n, m = scores.shape
    k = ids.shape[1]
    bound = np.maximum(_bound(scores, k), np.finfo(np.float32).min)  # never -inf: what is forbidden stays out
    rows, columns = np.divmod(np.flatnonzero(scores >= bound[:, None]), m)
    counts = np.bincount(rows, minlength=n)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = np.full((n, max(k, int(counts.max()))), _LAST)
    keys[rows, place] = _falling(scores[rows, columns]) << 32 | columns
    keys.sort(axis=1)
    keys = keys[:, :k]
    there = keys != _LAST
    ids[there] = keys[there] & 0xFFFFFFFF
    at = np.nonzero(there)
    best[at] = scores[at[0], ids[at]]


def _falling(values: F32) -> I64:
    """int64 in 32 bits, smaller the higher the value, equal for equal values: floats order like sign and
    magnitude."""
    # + 0: a negative zero equals a positive one
    bits = (values + np.float32(0)).view(np.int32).astype(np.int64)
    return np.where(bits < 0, bits & 0x7FFFFFFF, ~bits)


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
