"""The reference rankers of the planted world: the oracle knows its truth, the informed ranker fits tastes
exactly."""

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.data.planted import truth
from recsys.data.planted.truth import fitted_tastes, informed_scores, oracle_scores
from recsys.data.planted.world import START, WEEK_S, World, make_world
from recsys.errors import DataError, ModelError
from recsys.history import Histories
from tests.helpers.worlds import SMALL, TINY, histories, medium_world, small_world


@pytest.fixture
def small() -> World:
    return small_world()


@pytest.fixture
def medium() -> World:
    return medium_world()


def slow_log_posterior(world: World, taste, items, times) -> float:
    """Event by event, item by item: what `fitted_tastes` maximises."""
    truth, seen, total = world.truth, set(), -0.5 * float(np.sum(np.square(taste)))
    for item, time in zip(items.tolist(), times.tolist(), strict=True):
        week = (time - START) // (7 * 24 * 3600)
        scores = {
            i: float(truth.log_appeal[week, i]) + truth.taste * float(np.dot(taste, truth.item_vectors[i]))
            for i in range(len(truth.item_vectors))
            if truth.born[i] <= time and i not in seen
        }
        total += scores[item] - np.log(np.sum(np.exp(list(scores.values()))))
        seen.add(item)
    return total


def test_the_fit_is_the_maximum_of_the_exact_likelihood():
    world = make_world(TINY)
    whole = histories(world)
    items, time, tastes = whole.items, whole.time, fitted_tastes(world, whole)
    step = 1e-4
    for user in np.argsort(items.lengths)[[0, 20, 35, 49]]:
        own = slice(items.offsets[user], items.offsets[user + 1])

        def density(taste, user=user, own=own):
            return slow_log_posterior(world, taste, items.row(user), time[own])

        gradient = [
            (density(tastes[user] + step * unit) - density(tastes[user] - step * unit)) / (2 * step)
            for unit in np.eye(TINY.rank)
        ]
        assert np.abs(gradient).max() < 1e-5
        assert density(tastes[user]) > density(world.truth.user_vectors[user].astype(np.float64))


def test_long_histories_reveal_the_planted_taste(medium):
    whole = histories(medium)
    users = np.flatnonzero(whole.lengths >= 100)
    tastes = fitted_tastes(medium, whole.take(users))
    planted = medium.truth.user_vectors[users]
    assert np.corrcoef(tastes.ravel(), planted.ravel())[0, 1] > 0.9
    assert np.polyfit(planted.ravel(), tastes.ravel(), 1)[0] == pytest.approx(1, abs=0.15)


def test_a_user_without_history_is_fitted_to_the_prior_mean(small):
    scores = informed_scores(small, histories(small).empty(2), START + 10 * WEEK_S)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, np.tile(small.truth.log_appeal[10], (2, 1)))


def test_oracle_scores_are_log_weights_and_rule_out_the_unborn(small):
    truth, now, users = small.truth, START + 20 * WEEK_S + 5, np.array([3, 1], np.int32)
    scores = oracle_scores(small, users, now)
    assert scores.dtype == np.float32
    assert scores.shape == (2, SMALL.items)
    assert (np.isneginf(scores) == (truth.born > now)).all()
    born = truth.born <= now
    expected = truth.log_appeal[20] + SMALL.taste * truth.user_vectors[users] @ truth.item_vectors.T
    np.testing.assert_allclose(scores[:, born], expected[:, born], rtol=1e-5, atol=1e-5)


def test_oracle_beats_informed_beats_popularity(medium):
    events = medium.dataset.interactions
    train_end, now = (int(np.quantile(events.time, share)) for share in (0.8, 0.9))
    assert train_end < now
    before, after = events.where(events.time < now), events.where(events.time >= now)
    n = events.n_users
    counts = np.bincount(before.user, minlength=n), np.bincount(after.user, minlength=n)
    users = np.flatnonzero((counts[0] > 0) & (counts[1] > 0)).astype(np.int32)
    past, future = before.histories(), after.histories()
    history, targets = past.take(users), future.items.take(users)
    relevant = np.zeros((len(users), events.n_items), np.bool_)
    relevant[targets.row_of_value(), targets.values] = True
    discount = 1 / np.log2(np.arange(2, 12))

    def ndcg(scores):
        masked = np.array(scores, np.float32)
        masked[history.items.row_of_value(), history.items.values] = -np.inf
        top = np.argsort(-masked, axis=1, kind="stable")[:, :10]
        gains = np.take_along_axis(relevant, top, axis=1) @ discount
        return (gains / np.cumsum(discount)[np.minimum(targets.lengths, 10) - 1]).mean()

    oracle = ndcg(oracle_scores(medium, users, now))
    informed = ndcg(informed_scores(medium, history, now))
    popularity = ndcg(np.broadcast_to(before.item_counts(), relevant.shape))
    assert oracle > 1.05 * informed
    assert informed > 1.5 * popularity
    assert popularity < 0.5 * oracle


def test_histories_that_the_world_cannot_have_drawn_are_refused(small):
    first = int(np.flatnonzero(small.truth.born == START)[0])
    unborn = int(small.truth.born.argmax())
    day = START + np.array([1, 2], np.int64) * 86_400
    for row, time, message in [
        ([first, unborn], day, "not born"),
        ([first, first], day, "twice"),
        ([first, first + 1], day[::-1].copy(), "oldest first"),
        ([first], None, "needs the time of each event"),
        ([first], day[:1] - 7 * 86_400, "before the start"),
    ]:
        with pytest.raises(DataError, match=message):
            fitted_tastes(small, Histories(Ragged.of([row]), time=time))


def test_a_fit_that_does_not_converge_is_an_error(small, monkeypatch):
    monkeypatch.setattr(truth, "_TOLERANCE", -1.0)
    with pytest.raises(ModelError, match="1 users did not converge"):
        fitted_tastes(small, histories(small).take(np.array([4])))
