"""The compiled fit of tastes to histories of the planted-truth world. Importing this loads numba, so it is
imported where it is used.

A user is one iteration of a `prange` and writes only their own row: the bytes do not depend on the number of
threads.
"""

import numba
import numpy as np

from recsys.arrays import F64, I32, I64, Bool
from recsys.matrix.compiled import kernel

_NEWTON = 100  # evaluations before a fit counts as failed; ten are usual
_ARMIJO = 1e-4  # share of the gain promised by the slope that a step must bring
_ROUNDING = 1e-12  # relative error allowed to a sum of logs


@numba.njit(cache=True)
def _evaluate(
    p: F64, items: I32, weeks: I64, vectors: F64, moments: F64, appeal: F64, gradient: F64, hessian: F64
) -> float:  # pragma: no cover - compiled
    """Minus the log posterior of one user at taste p (the strength is in `vectors`); fills both derivatives.

    Written in plain loops: array expressions would take numba four times as long to compile.
    """
    n_items, rank = vectors.shape
    width = moments.shape[1]
    weight = np.zeros(n_items)
    for f in range(rank):
        for i in range(n_items):
            weight[i] += p[f] * vectors[i, f]
    top = weight.max()
    value = 0.0
    for e in range(len(items)):
        value -= weight[items[e]] - top + np.log(appeal[items[e], weeks[e]])
    for i in range(n_items):
        weight[i] = np.exp(weight[i] - top)
    slots = np.zeros(len(items), np.int64)  # events of one week share the sums over all items
    columns = np.empty(len(items), np.int64)
    n_slots = 0
    for e in range(len(items)):
        if e == 0 or weeks[e] != weeks[e - 1]:
            columns[n_slots] = weeks[e]
            n_slots += 1
        slots[e] = n_slots - 1
    sums = np.zeros((n_slots, width))  # of weight * (1, q, upper triangle of q q') over the born
    for i in range(n_items):
        for s in range(n_slots):
            share = weight[i] * appeal[i, columns[s]]
            for k in range(width):
                sums[s, k] += share * moments[i, k]
    for f in range(rank):
        value += 0.5 * p[f] * p[f]
        gradient[f] = p[f]
        for g in range(rank):
            hessian[f, g] = 1.0 if f == g else 0.0
    left = np.empty(width)  # the sums less the seen
    for e in range(len(items)):
        if e == 0 or slots[e] != slots[e - 1]:
            for k in range(width):
                left[k] = sums[slots[e], k]
            for j in range(e):
                share = weight[items[j]] * appeal[items[j], weeks[e]]
                for k in range(width):
                    left[k] -= share * moments[items[j], k]
        own = weight[items[e]] * appeal[items[e], weeks[e]]
        total = max(
            left[0], own
        )  # rounding cannot make the rest smaller than the item that was drawn from it
        value += np.log(total)
        k = 1 + rank
        for f in range(rank):
            mean = left[1 + f] / total
            gradient[f] += mean - vectors[items[e], f]
            for g in range(f, rank):
                hessian[f, g] += (left[k] - mean * left[1 + g]) / total
                hessian[g, f] = hessian[f, g]
                k += 1
        for k in range(width):
            left[k] -= own * moments[items[e], k]
    return value


@numba.njit(cache=True)
def _solve(matrix: F64, right: F64, x: F64) -> None:  # pragma: no cover - compiled
    """x = matrix^-1 right for a positive definite matrix, by Cholesky; the matrix is overwritten."""
    n = len(right)
    for f in range(n):  # L L' = matrix, L z = right
        x[f] = right[f]
        for g in range(f + 1):
            for h in range(g):
                matrix[f, g] -= matrix[f, h] * matrix[g, h]
            if g < f:
                matrix[f, g] /= matrix[g, g]
                x[f] -= matrix[f, g] * x[g]
        matrix[f, f] = np.sqrt(matrix[f, f])
        x[f] /= matrix[f, f]
    for f in range(n - 1, -1, -1):  # L' x = z
        for g in range(f + 1, n):
            x[f] -= matrix[g, f] * x[g]
        x[f] /= matrix[f, f]


@numba.njit(cache=True)
def _fit_user(
    items: I32, weeks: I64, vectors: F64, moments: F64, appeal: F64, tolerance: float, mode: F64
) -> bool:  # pragma: no cover - compiled
    rank = vectors.shape[1]
    p, trial, step = np.zeros(rank), np.zeros(rank), np.zeros(rank)
    gradient, hessian = np.empty(rank), np.empty((rank, rank))
    value, gain, share = np.inf, 0.0, 1.0
    for _ in range(_NEWTON):
        reached = _evaluate(trial, items, weeks, vectors, moments, appeal, gradient, hessian)
        if reached > value - _ARMIJO * share * gain + _ROUNDING * abs(reached):
            share *= 0.5
        else:
            value, gain, share = reached, 0.0, 1.0
            _solve(hessian, gradient, step)
            for f in range(rank):
                p[f] = trial[f]
                gain += step[f] * gradient[f]
        for f in range(rank):
            trial[f] = p[f] - share * step[f]
        if gain < tolerance:
            for f in range(rank):
                mode[f] = trial[f]
            return True
    return False


@numba.njit(cache=True)
def _appeal_after(
    items: I32, weeks: I64, appeal: F64, leads: F64, factors: F64
) -> F64:  # pragma: no cover - compiled
    """(n_items, events): the appeal at each event of one user, times the pull of the item before."""
    own = np.empty((len(appeal), len(items)))
    for i in range(len(appeal)):
        for e in range(len(items)):
            pull = 0.0
            if e:
                for f in range(factors.shape[1]):
                    pull += leads[items[e - 1], f] * factors[i, f]
            own[i, e] = appeal[i, weeks[e]] * np.exp(pull)
    return own


@kernel(parallel=True)
def fit_tastes(
    offsets: I64,
    items: I32,
    weeks: I64,
    vectors: F64,
    moments: F64,
    appeal: F64,
    leads: F64,
    factors: F64,
    tolerance: float,
    modes: F64,
    done: Bool,
) -> None:  # pragma: no cover - compiled
    """modes[u] = the taste of greatest posterior density, by damped Newton from zero; done[u] = whether it
    was reached.

    offsets: (n + 1,). items, weeks: (events,), oldest first. vectors: (n_items, rank), with the strength of
    taste. moments: (n_items, 1 + rank + rank (rank + 1) / 2), the row (1, q, upper triangle of q q'). appeal:
    (n_items, weeks) weights, 0 before birth. leads: (n_items, rank), by whose inner products with `factors`
    (n_items, rank) the item before pulls at an event; no rows = it does not. tolerance: for g' H^-1 g, twice
    the log density still to be gained; the last step is taken.
    """
    for u in numba.prange(
        len(modes)
    ):  # the user's loop is a function of its own: numba hoists arrays made in a prange
        own = slice(offsets[u], offsets[u + 1])
        if len(leads):  # to the fit, each event is a week of its own
            mine = _appeal_after(items[own], weeks[own], appeal, leads, factors)
            each = np.arange(offsets[u + 1] - offsets[u])
            done[u] = _fit_user(items[own], each, vectors, moments, mine, tolerance, modes[u])
        else:
            done[u] = _fit_user(items[own], weeks[own], vectors, moments, appeal, tolerance, modes[u])
