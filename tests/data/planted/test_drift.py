"""The drift of the planted world: the last item says what comes next, in one direction, and the truth knows
it."""

from dataclasses import replace
from itertools import permutations

import numba
import numpy as np
import pytest
from scipy.stats import chisquare

from recsys.data.planted.kernels import draw_chains
from recsys.data.planted.truth import fitted_tastes, informed_scores, oracle_scores, without_drift
from recsys.data.planted.world import START, WEEK_S, WorldSettings, make_world
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError, SettingError
from recsys.evaluation.planted import sample_rows, truths
from recsys.evaluation.significance import bootstrap
from tests.helpers.worlds import TINY, histories

DRIFTING = TINY.model_copy(update={"drift": 2.0})


def test_a_drift_changes_what_is_drawn_and_nothing_else_of_the_world() -> None:
    still, drifting = make_world(TINY), make_world(DRIFTING)
    for name in ("user_vectors", "item_vectors", "log_appeal", "born", "category"):
        assert getattr(still.truth, name).tobytes() == getattr(drifting.truth, name).tobytes()
    assert still.truth.leads is None
    assert still.dataset.interactions.time.tolist() == drifting.dataset.interactions.time.tolist()
    assert still.dataset.digest != drifting.dataset.digest
    assert (still.dataset.name, drifting.dataset.name) == ("world-50x40-seed1", "world-50x40-seed1-drift2")


def test_the_number_of_threads_changes_no_byte_of_a_world_with_a_drift() -> None:
    worlds, before = [], numba.get_num_threads()
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            world = make_world(DRIFTING)
            worlds.append((world.dataset.digest, fitted_tastes(world, histories(world)).tobytes()))
    finally:
        numba.set_num_threads(before)
    assert worlds[0] == worlds[1]


def test_chains_come_with_their_exact_probabilities() -> None:
    """20,000 users of one taste draw three events each; every possible sequence is counted."""
    n, n_items, rank = 20_000, 5, 2
    random = np.random.default_rng(0)
    factors, leads = (
        random.standard_normal(shape).astype(np.float32) for shape in ((rank, n_items), (n_items, rank))
    )
    taste = np.array([0.7, -0.4], np.float32)
    appeal = random.normal(0, 0.7, (3, n_items)).astype(np.float32)
    appeal[0, 3] = -np.inf  # born in week 1
    item, peak = np.empty(3 * n, np.int32), appeal.max(axis=0)
    keys = random.integers(2**64, size=n, dtype=np.uint64)
    week, tastes = np.tile(np.arange(3), n), np.tile(taste, (n, 1))
    draw_chains(np.arange(n + 1) * 3, week, tastes, leads, factors, peak, np.exp(appeal - peak), keys, item)

    sequences, expected = list(permutations(range(n_items), 3)), []
    for sequence in sequences:
        probability, left, pull = 1.0, set(range(n_items)), taste
        for t, drawn in enumerate(sequence):
            weights = {i: np.exp(float(appeal[t, i]) + float(pull @ factors[:, i])) for i in left}
            probability *= float(weights[drawn]) / sum(weights.values())
            left.remove(drawn)
            pull = taste + leads[drawn]
        expected.append(probability * n)
    drawn, counts = np.unique(item.reshape(n, 3), axis=0, return_counts=True)
    observed = dict(zip(map(tuple, drawn.tolist()), counts.tolist(), strict=True))
    counts, expected = np.array([observed.get(s, 0) for s in sequences]), np.array(expected)
    assert expected.sum() == pytest.approx(n, rel=1e-5)
    assert counts[expected == 0].sum() == 0
    often = expected > 5
    counts, expected = (np.append(x[often], x[~often].sum()) for x in (counts, expected))
    counts, expected = counts[expected > 0], expected[expected > 0]
    assert chisquare(counts, expected * n / expected.sum()).pvalue > 0.01


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_items_lead_in_one_direction_with_the_strength_of_the_drift(seed: int) -> None:
    truth = make_world(
        WorldSettings(users=20, items=2_000, events_per_user=2, days=30, drift=1.5, seed=seed)
    ).truth
    assert truth.leads is not None
    steps = truth.leads @ truth.item_vectors.T  # from row to column
    assert steps.std() == pytest.approx(1.5, rel=0.25)
    assert abs(np.corrcoef(steps.ravel(), steps.T.ravel())[0, 1]) < 0.8
    assert not np.allclose(steps, steps.T, atol=0.1)


def test_the_fit_is_the_maximum_of_the_exact_likelihood_of_chains() -> None:
    world = make_world(DRIFTING)
    truth, whole = world.truth, histories(world)
    assert truth.leads is not None
    tastes, step = fitted_tastes(world, whole), 1e-4

    def density(user: int, taste: np.ndarray) -> float:
        seen, total, last = set(), -0.5 * float(np.sum(np.square(taste))), None
        own = slice(*whole.items.offsets[user : user + 2])
        for item, time in zip(whole.items.values[own].tolist(), whole.time[own].tolist(), strict=True):
            pull = truth.taste * taste + (0 if last is None else truth.leads[last].astype(np.float64))
            scores = {
                i: float(truth.log_appeal[(time - START) // WEEK_S, i]) + float(pull @ truth.item_vectors[i])
                for i in range(TINY.items)
                if truth.born[i] <= time and i not in seen
            }
            total += scores[item] - np.log(np.sum(np.exp(list(scores.values()))))
            seen.add(item)
            last = item
        return total

    for user in np.argsort(whole.lengths)[[20, 49]]:
        ends = [
            [density(user, tastes[user] + sign * step * unit) for sign in (1, -1)]
            for unit in np.eye(TINY.rank)
        ]
        assert max(abs(up - down) / (2 * step) for up, down in ends) < 1e-5


def test_scores_follow_the_last_item_of_each_history_at_a_moment_of_its_own() -> None:
    world = make_world(DRIFTING)
    truth, past = world.truth, histories(world).take(np.array([4, 9]))
    assert truth.leads is not None
    users, now = np.array([4, 9], np.int32), START + np.array([3, 40]) * WEEK_S
    scores = oracle_scores(world, users, now, past.items)
    for row in range(2):
        pull = truth.taste * truth.user_vectors[users[row]] + truth.leads[past.items.row(row)[-1]]
        expected = truth.item_vectors @ pull + truth.log_appeal[[3, 40][row]]
        np.testing.assert_allclose(scores[row], expected, rtol=1e-4, atol=1e-4)
    nobody = informed_scores(world, past.empty(1), int(now[0]))
    np.testing.assert_array_equal(nobody[0], truth.log_appeal[3])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_knowing_the_drift_is_worth_much_where_there_is_one(seed: int) -> None:
    """Each person's last event left out: the oracle is above the informed, and they above the one without the
    drift."""
    settings = WorldSettings(users=800, items=150, events_per_user=10, drift=2.0, seed=seed)
    world = make_world(settings)
    holdout = split(world.dataset, SplitSettings(kind="leave_last_out"), seed=1).test
    reports = truths(world, holdout, sample_rows(holdout, 1), ("ndcg_at_10",))
    values = {name: report.values["ndcg_at_10"] for name, report in reports.items()}
    assert set(values) == {"oracle", "informed", "unordered"}
    assert bootstrap(values["informed"] - values["unordered"]).low > 0.03
    assert bootstrap(values["oracle"] - values["informed"]).low > 0
    still = make_world(settings.model_copy(update={"drift": 0.0, "users": 50}))
    holdout = split(still.dataset, SplitSettings(kind="leave_last_out"), seed=1).test
    assert set(truths(still, holdout, sample_rows(holdout, 1), ("ndcg_at_10",))) == {"oracle", "informed"}


def test_without_its_drift_a_world_is_believed_to_be_one_of_taste_alone() -> None:
    world = make_world(DRIFTING)
    past = histories(world)
    believed = without_drift(world)
    still = replace(make_world(TINY), dataset=world.dataset)
    np.testing.assert_array_equal(fitted_tastes(believed, past), fitted_tastes(still, past))
    assert not np.allclose(fitted_tastes(world, past), fitted_tastes(believed, past), atol=0.1)


def test_nonsense_is_refused() -> None:
    with pytest.raises(SettingError, match="drift"):
        WorldSettings.build({"drift": -1}, where="a test")
    world = make_world(DRIFTING)
    with pytest.raises(DataError, match="before the start"):
        oracle_scores(world, np.array([1, 2], np.int32), np.array([START, START - 1]))
