"""The compiled draw of the planted-truth world. Importing this loads numba, so it is imported where it is
used.

A user is one iteration of a `prange` and writes only its own rows, from its own random stream: the
bytes do not depend on the number of threads.
"""

from collections.abc import Callable

import numba
import numpy as np
import numpy.typing as npt

from recsys.arrays import F32, F64, I32, I64, Array, Bool
from recsys.matrix.compiled import kernel

U64 = npt.NDArray[np.uint64]

_TRIALS = 100  # proposals before an exact pass over all items: about what such a pass costs at 5,000 items


@numba.njit(cache=True)
def _next(state: np.uint64) -> np.uint64:  # pragma: no cover - compiled
    """Splitmix64 (Steele, Lea and Flood 2014): the next state; `_uniform` makes a number of it."""
    return state + np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True)
def _uniform(state: np.uint64) -> float:  # pragma: no cover - compiled
    z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


@numba.njit(cache=True)
def _scan(weight: F64, share: F32, seen: Bool, uniform: float) -> int:  # pragma: no cover - compiled
    """One draw from weight * share over the unseen, by summing them all."""
    total = 0.0
    for i in range(len(weight)):
        if not seen[i]:
            total += weight[i] * share[i]
    left, chosen = uniform * total, -1
    for i in range(len(weight)):
        if not seen[i] and share[i] > 0.0:
            chosen = i
            left -= weight[i] * share[i]
            if left < 0.0:
                break
    return chosen


@numba.njit(cache=True)
def _draw_user(
    week: I64, taste: F32, factors: F32, peak: F32, share_of_peak: F32, state: np.uint64, item: I32
) -> None:  # pragma: no cover - compiled
    n_items = len(peak)
    score = peak.copy()
    for f in range(len(factors)):
        for i in range(n_items):
            score[i] += taste[f] * factors[f, i]
    top = score.max()
    weight = np.empty(n_items)
    reached = np.empty(n_items)
    total = 0.0
    for i in range(n_items):
        weight[i] = np.exp(np.float64(score[i] - top))
        total += weight[i]
        reached[i] = total
    seen = np.zeros(n_items, np.bool_)
    for e in range(len(item)):
        share = share_of_peak[week[e]]
        chosen = -1
        for _ in range(_TRIALS):
            state = _next(state)
            i = min(int(np.searchsorted(reached, _uniform(state) * total, "right")), n_items - 1)
            if seen[i]:
                continue
            state = _next(state)
            if _uniform(state) < share[i]:
                chosen = i
                break
        if chosen < 0:
            state = _next(state)
            chosen = _scan(weight, share, seen, _uniform(state))
        seen[chosen] = True
        item[e] = chosen


@kernel(parallel=True)
def draw_events(
    offsets: I64,
    week: I64,
    tastes: F32,
    factors: F32,
    peak: F32,
    share_of_peak: F32,
    keys: U64,
    item: I32,
) -> None:  # pragma: no cover - compiled
    """item[e] for each event e of each user, one after the other, proportional to the weight of the unseen in
    its week.

    A proposal comes from the user's cumulative weights at every item's peak over all weeks, and is kept with
    the share of the peak that holds in this week: with rejection of the seen ones, an exact draw from one
    table a user. After many rejections an exact pass over all items draws instead, from the same
    distribution.

    offsets: (n + 1,). week: (events,). tastes: (n, rank), with the strength. factors: (rank, n_items). peak:
    (n_items,) log weights. share_of_peak: (weeks, n_items). keys: (n,) seeds.
    """
    for u in numba.prange(len(keys)):
        own = slice(offsets[u], offsets[u + 1])
        _draw_user(week[own], tastes[u], factors, peak, share_of_peak, keys[u], item[own])


@numba.njit(cache=True)
def _draw_chain(
    week: I64,
    taste: F32,
    leads: F32,
    factors: F32,
    peak: F32,
    share_of_peak: F32,
    state: np.uint64,
    item: I32,
) -> None:  # pragma: no cover - compiled
    n_items = len(peak)
    score, weight = np.empty(n_items, np.float32), np.empty(n_items)
    seen = np.zeros(n_items, np.bool_)
    for e in range(len(item)):
        score[:] = peak
        for f in range(len(factors)):
            pull = taste[f] + leads[item[e - 1], f] if e else taste[f]
            for i in range(n_items):
                score[i] += pull * factors[f, i]
        top = score.max()
        for i in range(n_items):
            weight[i] = np.exp(np.float64(score[i] - top))
        state = _next(state)
        chosen = _scan(weight, share_of_peak[week[e]], seen, _uniform(state))
        seen[chosen] = True
        item[e] = chosen


@kernel(parallel=True)
def draw_chains(
    offsets: I64,
    week: I64,
    tastes: F32,
    leads: F32,
    factors: F32,
    peak: F32,
    share_of_peak: F32,
    keys: U64,
    item: I32,
) -> None:  # pragma: no cover - compiled
    """As `draw_events`, where the item before pulls as well: `leads` (n_items, rank) of it is added to the
    taste.

    Every event is drawn by an exact pass over all items.
    """
    for u in numba.prange(len(keys)):
        own = slice(offsets[u], offsets[u + 1])
        _draw_chain(week[own], tastes[u], leads, factors, peak, share_of_peak, keys[u], item[own])


# offsets, week, tastes and keys of some users, and the items of all events, of which it fills in theirs
Drawer = Callable[[I64, I64, F32, Array, I32], None]


def drawer_by_item(log_appeal: F32, item_vectors: F32, leads: F32 | None) -> Drawer:
    """Draws with a table of every item's weight for each user; with a drift, for each event."""
    peak = log_appeal.max(axis=0)
    share_of_peak = np.exp(log_appeal - peak)
    factors = np.ascontiguousarray(item_vectors.T)

    def draw(offsets: I64, week: I64, tastes: F32, keys: Array, item: I32) -> None:
        if leads is None:
            draw_events(offsets, week, tastes, factors, peak, share_of_peak, keys, item)
        else:
            draw_chains(offsets, week, tastes, leads, factors, peak, share_of_peak, keys, item)

    return draw
