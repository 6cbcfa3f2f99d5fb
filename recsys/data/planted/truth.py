"""How well one can rank in a planted-truth world: by the truth itself, and by all that a history tells of it.

The oracle knows each user's taste. The informed ranker knows everything but the tastes and fits them to the
histories: no model that learns from the log can be expected to beat it, so it marks the gain that can be
attained.
"""

from dataclasses import replace

import numpy as np
from scipy.special import logsumexp

from recsys.arrays import F32, F64, I32, I64, Array, Ragged
from recsys.data.planted.world import World
from recsys.errors import DataError, ModelError
from recsys.history import Histories
from recsys.progress import Progress, Step, silent

_TOLERANCE = (
    1e-8  # twice the log density left to gain before the last Newton step, which squares what is left
)
_EACH = 2.0  # events of each domain that stand for what was known of a user beforehand
_BLOCK = 128  # users between two reports of progress


def oracle_scores(world: World, users: I32, now: int | I64, histories: Ragged | None = None) -> F32:
    """float32 (n, n_items): log weights, up to a constant a row, of each user's next event at unix second
    `now`.

    Items not yet born score -inf; those that the user has seen are the caller's to mask. `users`: (n,)
    indices. now: one for all, or (n,). histories: n rows, of whose last item a drift needs to know; None =
    nobody has any.
    """
    truth = world.truth
    shares = None if truth.shares is None else truth.shares[users]
    return _scores(world, truth.user_vectors[users], now, histories, shares)


def informed_scores(world: World, histories: Histories, now: int | I64, progress: Progress = silent) -> F32:
    """float32 (n, n_items): as `oracle_scores`, with the tastes that `fitted_tastes` finds in the histories.

    A row without events gets taste zero: popularity of the moment. Where events are of domains, their shares
    are guessed from the history.
    """
    tastes, shares = fitted_tastes(world, histories, progress).astype(np.float32), None
    if world.truth.shares is not None:
        had = np.zeros((histories.rows, world.truth.shares.shape[1]))
        np.add.at(had, (histories.items.row_of_value(), world.truth.domain[histories.items.values]), 1)
        shares = (had + _EACH) / (had.sum(axis=1, keepdims=True) + _EACH * had.shape[1])
    return _scores(world, tastes, now, histories.items, shares)


def without_drift(world: World) -> World:
    """The world as those believe it to be who know all of the truth but that the last item says what comes
    next."""
    return replace(world, truth=replace(world.truth, leads=None))


def fitted_tastes(world: World, histories: Histories, progress: Progress = silent) -> F64:
    """float64 (n, rank): the mode of each user's posterior, given all of the truth but the users.

    Prior: standard normal, as users are made. Likelihood: exactly the world's, draw by draw without
    replacement, its drift included (which takes longer: the events of a week no longer share their sums); the
    normaliser of an event sums over the items born by its week that stand not earlier in the history. The log
    density is strictly concave, and Newton's method with halved steps finds its only maximum.

    histories: with times; oldest first, no item twice and none before its birth, else a DataError. A
    ModelError tells of users whose fit did not converge.
    """
    from recsys.data.planted.fit import fit_tastes  # numba: loaded where used

    truth, history = world.truth, histories.items
    if histories.time is None:
        raise DataError("a world's history needs the time of each event; it has none.")
    weeks = truth.week(histories.time, truth.domain[history.values])
    _check(world, history, histories.time, weeks)
    vectors = truth.taste * truth.item_vectors.astype(np.float64)
    n_items, rank = vectors.shape
    row, column = np.triu_indices(rank)
    moments = np.concatenate([np.ones((n_items, 1)), vectors, vectors[:, row] * vectors[:, column]], axis=1)
    appeal = np.exp(np.ascontiguousarray(truth.log_appeal.T, np.float64))
    leads = np.zeros((0, rank)) if truth.leads is None else truth.leads.astype(np.float64)
    factors = truth.item_vectors.astype(np.float64)
    modes, done = np.zeros((history.rows, rank)), np.zeros(history.rows, np.bool_)
    for first in range(0, history.rows, _BLOCK):
        part = slice(first, min(first + _BLOCK, history.rows))
        offsets = history.offsets[first : part.stop + 1]
        fit_tastes(
            offsets,
            history.values,
            weeks,
            vectors,
            moments,
            appeal,
            leads,
            factors,
            _TOLERANCE,
            modes[part],
            done[part],
        )
        progress(Step("fitting tastes", part.stop, history.rows))
    if not done.all():
        failed = np.flatnonzero(~done)
        raise ModelError(
            f"the taste of {len(failed)} users did not converge, the first in row {failed[0]}; "
            "a world with less extreme taste or popularity_exponent helps."
        )
    return modes


def _scores(
    world: World, user_vectors: F32, now: int | I64, histories: Ragged | None, shares: F64 | None
) -> F32:
    """shares: float64 (n, domains), where an event is of a domain first."""
    truth = world.truth
    pull = np.float32(truth.taste) * user_vectors
    if truth.leads is not None and histories is not None:
        rows = np.flatnonzero(histories.lengths)
        pull[rows] += truth.leads[histories.values[histories.offsets[1:][rows] - 1]]
    scores: F32 = np.matmul(pull, truth.item_vectors.T)
    if shares is None:
        scores += truth.log_appeal[truth.week(np.atleast_1d(now))]
        return scores
    for domain in range(shares.shape[1]):
        inside = np.flatnonzero(truth.domain == domain)
        part = scores[:, inside] + truth.log_appeal[truth.week(np.atleast_1d(now), domain)][:, inside]
        left = part.copy()
        if histories is not None:
            had = histories.keep(truth.domain[histories.values] == domain)
            left[had.row_of_value(), np.searchsorted(inside, had.values)] = -np.inf
        with np.errstate(divide="ignore"):
            share = np.log(shares[:, domain, None])
        scores[:, inside] = part - logsumexp(left, axis=1, keepdims=True) + share
    return scores


def _check(world: World, history: Ragged, time: Array, weeks: I64) -> None:
    """A DataError on a history that this world cannot have drawn."""
    rows = history.row_of_value()
    if ((np.diff(time) < 0) & (np.diff(rows) == 0)).any():
        raise DataError("a world's history must be oldest first within each row; sort it by time.")
    unborn = np.isneginf(world.truth.log_appeal[weeks, history.values])
    if unborn.any():
        raise DataError(
            f"item {history.values[unborn.argmax()]} of the history was not born at its time; wrong world?"
        )
    keys = np.sort(rows * world.dataset.n_items + history.values)
    if (np.diff(keys) == 0).any():
        raise DataError(
            "a world's history must not hold an item twice in one row; keep the first event of each."
        )
