"""The draw of large worlds: proposals by cluster of alike items, at a cost that hardly grows with the
catalogue.

Exact like `recsys.data.planted.kernels.draw_events`, by rejection: a cluster is proposed by a bound on its
weight for the user, an item of it by its peak appeal, and the proposal kept with the share of the bound that
it deserves. Importing this loads numba, so it is imported where it is used.
"""

from itertools import pairwise
from typing import NamedTuple

import numba
import numpy as np

from recsys.arrays import F32, F64, I32, I64, Array
from recsys.data.planted.kernels import U64, Drawer, _next, _scan, _uniform
from recsys.matrix.compiled import kernel

_ALIKE = (
    48  # items a cluster: fewer bound tighter (fewer rejections), and cost each user more clusters to weigh
)
_SWEEPS = 5  # of k-means; more hardly shrink the clusters
# proposals before an exact pass over all items, or the pass's own cost in proposals if that is more
_TRIALS = 1_000
_SLACK = 1e-9  # added to each radius, against rounding


class Clusters(NamedTuple):
    """A catalogue laid out cluster by cluster.

    order: int32 (n_items,), the item at each place. starts: (clusters + 1,) places. centres: (rank,
    clusters). radii: (clusters,), the distance from the centre within which its items lie. vectors: (n_items,
    rank) by place. reached: (n_items,) by place, peak weights summed from the first place of the cluster on.
    """

    order: I32
    starts: I64
    centres: F64
    radii: F64
    vectors: F32
    reached: F64


def clusters_of(vectors: F32, peak: F32, random: np.random.Generator) -> Clusters:
    """Clusters items (n, rank) by k-means (Lloyd 1982) from random items; peak: (n,) log weights."""
    n, rank = vectors.shape
    centres = vectors[np.sort(random.choice(n, max(1, int(n / _ALIKE)), replace=False))].astype(np.float64)
    cluster = np.empty(n, np.int32)
    for _ in range(_SWEEPS):
        _nearest(vectors, np.ascontiguousarray(centres.T, np.float32), cluster)
        used, numbered = np.unique(cluster, return_inverse=True)  # a cluster may lose all its items
        cluster[:] = numbered
        sizes = np.bincount(cluster, minlength=len(used))
        sums = [np.bincount(cluster, weights=vectors[:, f], minlength=len(used)) for f in range(rank)]
        centres = np.stack(sums, axis=1) / sizes[:, None]
    order = np.argsort(cluster, kind="stable").astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    distance = np.sqrt(((vectors - centres[cluster]) ** 2).sum(axis=1))
    radii = np.maximum.reduceat(distance[order], starts[:-1]) + _SLACK
    reached = np.exp(peak[order].astype(np.float64) - peak.max())
    for first, last in pairwise(starts.tolist()):  # each from zero: small sums stay exact beside large
        np.cumsum(reached[first:last], out=reached[first:last])
    return Clusters(order, starts, np.ascontiguousarray(centres.T), radii, vectors[order], reached)


@kernel(parallel=True)
def _nearest(vectors: F32, centres: F32, cluster: I32) -> None:  # pragma: no cover - compiled
    """cluster[i] = the nearest centre of each item; centres: (rank, clusters)."""
    rank, n_clusters = centres.shape
    half = np.zeros(n_clusters, np.float32)
    for f in range(rank):
        for c in range(n_clusters):
            half[c] += np.float32(0.5) * centres[f, c] * centres[f, c]
    for i in numba.prange(len(vectors)):
        distance = half.copy()
        for f in range(rank):
            for c in range(n_clusters):
                distance[c] -= vectors[i, f] * centres[f, c]
        cluster[i] = distance.argmin()


@numba.njit(cache=True)
def _place(reached: F64, low: int, high: int, target: float) -> int:  # pragma: no cover - compiled
    """The first place from `low` on, before `high`, at which the sum passes the target; the last if rounding
    denies."""
    last = high - 1
    while low < high:
        middle = (low + high) // 2
        if reached[middle] > target:
            high = middle
        else:
            low = middle + 1
    return min(low, last)


@numba.njit(cache=True)
def _is_drawn(table: I32, place: int) -> bool:  # pragma: no cover - compiled
    """Whether a place stands in a hash table of places (a power of two long, -1 = free)."""
    mask = len(table) - 1
    slot = (place * 40_503) & mask
    while table[slot] >= 0:
        if table[slot] == place:
            return True
        slot = (slot + 1) & mask
    return False


@numba.njit(cache=True)
def _remember(table: I32, place: int) -> None:  # pragma: no cover - compiled
    mask = len(table) - 1
    slot = (place * 40_503) & mask
    while table[slot] >= 0:
        slot = (slot + 1) & mask
    table[slot] = place


@numba.njit(cache=True)
def _exact(
    taste: F32, starts: I64, vectors: F32, reached: F64, share: F32, places: I32, uniform: float
) -> int:  # pragma: no cover - compiled
    """One draw by summing the weights of all items but those already drawn."""
    n = len(vectors)
    score = np.empty(n)
    for i in range(n):
        score[i] = 0.0
        for f in range(len(taste)):
            score[i] += np.float64(taste[f]) * vectors[i, f]
    seen = np.zeros(n, np.bool_)
    seen[places] = True
    top = -np.inf  # of the unseen and born: the others must not drown them
    for i in range(n):
        if not seen[i] and share[i] > 0.0:
            top = max(top, score[i])
    for c in range(len(starts) - 1):
        before = 0.0
        for i in range(starts[c], starts[c + 1]):
            peak = reached[i] - before
            before = reached[i]
            score[i] = 0.0 if seen[i] or share[i] <= 0.0 else peak * np.exp(score[i] - top)
    return _scan(score, share, seen, uniform)


@numba.njit(cache=True)
def _draw_user(
    week: I64,
    taste: F32,
    starts: I64,
    centres: F64,
    radii: F64,
    vectors: F32,
    reached: F64,
    share_of_peak: F32,
    state: np.uint64,
    place: I32,
) -> None:  # pragma: no cover - compiled
    n_clusters, rank = len(radii), len(taste)
    length = 0.0
    for f in range(rank):
        length += np.float64(taste[f]) ** 2
    length = np.sqrt(length)
    bound = length * radii
    for f in range(rank):
        for c in range(n_clusters):
            bound[c] += np.float64(taste[f]) * centres[f, c]
    top = bound.max()
    up_to = np.empty(n_clusters)
    total = 0.0
    for c in range(n_clusters):
        total += reached[starts[c + 1] - 1] * np.exp(bound[c] - top)
        up_to[c] = total
    size = 4
    while size < 2 * len(place):
        size *= 2
    drawn = np.full(size, -1, np.int32)
    trials = max(_TRIALS, len(vectors) // 20)
    for e in range(len(place)):
        share = share_of_peak[week[e]]
        chosen = -1
        for _ in range(trials):
            state = _next(state)
            c = _place(up_to, 0, n_clusters, _uniform(state) * total)
            first, last = starts[c], starts[c + 1]
            state = _next(state)
            i = _place(reached, first, last, _uniform(state) * reached[last - 1])
            score = -bound[c]
            for f in range(rank):
                score += np.float64(taste[f]) * vectors[i, f]
            state = _next(state)
            if _uniform(state) < np.exp(score) * share[i] and not _is_drawn(drawn, i):
                chosen = i
                break
        if chosen < 0:
            state = _next(state)
            chosen = _exact(taste, starts, vectors, reached, share, place[:e], _uniform(state))
        _remember(drawn, chosen)
        place[e] = chosen


@kernel(parallel=True)
def draw_places(
    offsets: I64,
    week: I64,
    tastes: F32,
    starts: I64,
    centres: F64,
    radii: F64,
    vectors: F32,
    reached: F64,
    share_of_peak: F32,
    keys: U64,
    place: I32,
) -> None:  # pragma: no cover - compiled
    """place[e] for each event e of each user, from the distribution of `draw_events`; arrays as in
    `Clusters`.

    share_of_peak: (weeks, n_items), by place. Memory of a thread grows with the clusters and the events of
    one user.
    """
    for u in numba.prange(len(keys)):
        own = slice(offsets[u], offsets[u + 1])
        _draw_user(
            week[own], tastes[u], starts, centres, radii, vectors, reached, share_of_peak, keys[u], place[own]
        )


def drawer_by_cluster(log_appeal: F32, item_vectors: F32, random: np.random.Generator) -> Drawer:
    """Draws with a table of every cluster's weight for each user; other bytes than by item, the same
    distribution."""
    peak = log_appeal.max(axis=0)
    clusters = clusters_of(item_vectors, peak, random)
    share_of_peak = np.exp(log_appeal - peak)[:, clusters.order]

    def draw(offsets: I64, week: I64, tastes: F32, keys: Array, item: I32) -> None:
        draw_places(offsets, week, tastes, *clusters[1:], share_of_peak, keys, item)
        own = item[offsets[0] : offsets[-1]]
        own[:] = clusters.order[own]

    return draw
