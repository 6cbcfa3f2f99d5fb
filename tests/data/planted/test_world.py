"""The planted-truth world: its draws follow its truth, whatever the size, the seed and the number of
threads."""

from itertools import pairwise, permutations

import numba
import numpy as np
import pytest
from scipy.stats import chisquare

from recsys.data.planted import clusters, world
from recsys.data.planted.clusters import clusters_of, draw_places
from recsys.data.planted.kernels import draw_events
from recsys.data.planted.truth import fitted_tastes, oracle_scores
from recsys.data.planted.world import START, WEEK_S, World, WorldSettings, make_world
from recsys.errors import SettingError
from tests.helpers.worlds import SMALL, TINY, histories, medium_world, small_world


@pytest.fixture
def small() -> World:
    return small_world()


@pytest.fixture
def medium() -> World:
    return medium_world()


def test_same_seed_same_bytes_and_another_seed_another_world():
    first, second, other = make_world(TINY), make_world(TINY), make_world(TINY.model_copy(update={"seed": 2}))
    assert first.dataset.digest == second.dataset.digest != other.dataset.digest
    assert first.dataset.items.equals(second.dataset.items)
    for name in ("user_vectors", "item_vectors", "log_appeal", "born", "category"):
        assert getattr(first.truth, name).tobytes() == getattr(second.truth, name).tobytes()
        assert getattr(first.truth, name).tobytes() != getattr(other.truth, name).tobytes()


@pytest.fixture
def by_cluster(monkeypatch):
    """Small worlds drawn as the largest are, from clusters of about eight items."""
    monkeypatch.setattr(world, "_LARGE", 1)
    monkeypatch.setattr(clusters, "_ALIKE", 8)


def test_worlds_are_drawn_by_cluster_from_a_size_on(monkeypatch):
    expected = make_world(TINY).dataset.digest
    monkeypatch.setattr(world, "_LARGE", TINY.items + 1)
    assert make_world(TINY).dataset.digest == expected
    monkeypatch.setattr(world, "_LARGE", TINY.items)
    assert make_world(TINY).dataset.digest != expected


def test_the_number_of_threads_changes_no_byte_of_a_large_world(by_cluster):
    worlds, before = [], numba.get_num_threads()
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            worlds.append(make_world(SMALL).dataset.digest)
    finally:
        numba.set_num_threads(before)
    assert worlds[0] == worlds[1]


def test_clusters_hold_each_item_once_within_their_radius():
    random = np.random.default_rng(3)
    vectors, peak = (
        random.standard_normal((700, 3)).astype(np.float32),
        random.normal(0, 3, 700).astype(np.float32),
    )
    clusters = clusters_of(vectors, peak, random)
    assert 8 <= len(clusters.radii) <= 14  # of about 48 items each
    assert sorted(clusters.order) == list(range(700))
    for c, (first, last) in enumerate(pairwise(clusters.starts)):
        own = clusters.order[first:last]
        distance = np.sqrt(((vectors[own] - clusters.centres[:, c]) ** 2).sum(axis=1))
        assert distance.max() <= clusters.radii[c] <= distance.max() + 1e-6
        np.testing.assert_array_equal(clusters.vectors[first:last], vectors[own])
        weights = np.diff(clusters.reached[first:last], prepend=0.0)
        np.testing.assert_allclose(weights, np.exp(peak[own].astype(float) - peak.max()), rtol=1e-6)


def test_the_number_of_threads_changes_no_byte(small):
    whole = histories(small)
    worlds, tastes, before = [], [], numba.get_num_threads()
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            worlds.append(make_world(SMALL).dataset.digest)
            tastes.append(fitted_tastes(small, whole).tobytes())
    finally:
        numba.set_num_threads(before)
    assert worlds[0] == worlds[1] == small.dataset.digest
    assert tastes[0] == tastes[1]


@pytest.mark.parametrize(
    "settings",
    [
        TINY,
        SMALL,
        WorldSettings(users=1, items=2, days=1),
        WorldSettings(
            users=30, items=60, new_share=0.9, taste=20, popularity_exponent=5, events_per_user=1e5
        ),
        WorldSettings(
            users=40, items=7, rank=1, categories=1, taste=0, new_share=0, active_days=1e-3, days=8
        ),
    ],
)
@pytest.mark.parametrize("how", ["by item", "by cluster"])
def test_no_item_twice_none_before_its_birth_and_all_within_the_log(settings, how, request):
    if how == "by cluster":
        request.getfixturevalue("by_cluster")
    world = make_world(settings)
    events = world.dataset.interactions
    pairs = events.user.astype(np.int64) * settings.items + events.item
    assert len(np.unique(pairs)) == len(pairs)
    assert (events.time >= world.truth.born[events.item]).all()
    assert events.time[0] >= START
    assert events.time[-1] < START + settings.days * 86_400
    assert (np.diff(events.time) >= 0).all()
    assert (np.bincount(events.user, minlength=settings.users) >= 1).all()
    assert np.isneginf(world.truth.log_appeal).any() == bool((world.truth.born > START).any())


def test_events_are_as_many_as_asked_and_heavily_spread(medium):
    counts = np.bincount(medium.dataset.interactions.user)
    assert counts.mean() == pytest.approx(30, abs=2)
    assert counts.min() <= 2
    assert counts.max() > 150
    assert np.median(counts) < 20
    weekly = np.bincount((medium.dataset.interactions.time - START) // WEEK_S)[:-1]
    assert weekly.std() / weekly.mean() < 0.1  # as many come as go


def test_taste_has_unit_variance_over_pairs(medium):
    truth = medium.truth
    scores = truth.user_vectors @ truth.item_vectors.T
    assert scores.var() == pytest.approx(1, abs=0.05)
    assert np.abs(truth.item_vectors.mean(axis=0)).max() < 1e-6


def test_items_of_a_category_are_near_each_other_in_both_domains(medium):
    truth = medium.truth
    films, books = (
        np.stack(
            [truth.item_vectors[(truth.category == c) & (truth.domain == d)].mean(axis=0) for c in range(12)]
        )
        for d in (0, 1)
    )
    films, books = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (films, books))
    assert ((films @ books.T).argmax(axis=1) == np.arange(12)).all()


def place_events(offsets, week, tastes, factors, peak, share_of_peak, keys, item):
    """`draw_events` by three clusters of the items."""
    random = np.random.default_rng(1)
    clusters = clusters_of(np.ascontiguousarray(factors.T), peak, random)
    assert 2 <= len(clusters.radii) <= 3
    draw_places(offsets, week, tastes, *clusters[1:], share_of_peak[:, clusters.order], keys, item)
    item[:] = clusters.order[item]


@pytest.mark.parametrize("draw", [draw_events, place_events], ids=["by item", "by cluster"])
@pytest.mark.parametrize("lead", [0.0, 12.0], ids=["proposals", "exact pass"])
def test_sequences_come_with_their_exact_probabilities(lead, draw, monkeypatch):
    """20,000 users of one taste draw three events each; every possible sequence is counted.

    With the lead, one item takes nearly all proposals and is soon seen: the rest is drawn by the exact pass.
    """
    monkeypatch.setattr(clusters, "_ALIKE", 5 / 3)
    n, n_items, rank = 20_000, 5, 2
    random = np.random.default_rng(0)
    factors = random.standard_normal((rank, n_items)).astype(np.float32)
    taste = np.array([0.7, -0.4], np.float32)
    appeal = random.normal(0, 0.7, (3, n_items)).astype(np.float32)
    appeal[:, 1] += lead
    appeal[0, 3] = -np.inf  # born in week 1
    week = np.array([0, 1, 2])
    item = np.empty(3 * n, np.int32)
    peak = appeal.max(axis=0)
    keys = random.integers(2**64, size=n, dtype=np.uint64)
    tastes = np.tile(taste, (n, 1))
    draw(np.arange(n + 1) * 3, np.tile(week, n), tastes, factors, peak, np.exp(appeal - peak), keys, item)

    sequences = list(permutations(range(n_items), 3))
    expected = []
    for sequence in sequences:
        probability, left = 1.0, set(range(n_items))
        for t, drawn in enumerate(sequence):
            weights = {i: np.exp(float(appeal[t, i]) + float(taste @ factors[:, i])) for i in left}
            probability *= float(weights[drawn]) / sum(weights.values())
            left.remove(drawn)
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


@pytest.mark.parametrize("how", ["by item", "by cluster"])
def test_first_events_of_whole_worlds_follow_the_oracle(how, request):
    """Each user's first event against the oracle's probabilities at its time, summed over users."""
    if how == "by cluster":
        request.getfixturevalue("by_cluster")
    world = make_world(WorldSettings(users=4_000, items=40, days=60, active_days=20, events_per_user=3))
    whole = histories(world)
    items, time = whole.items, whole.time
    expected, counts = np.zeros(40), np.zeros(40)
    first, when = items.values[items.offsets[:-1]], world.truth.week(time[items.offsets[:-1]])
    for week in np.unique(when):
        users = np.flatnonzero(when == week).astype(np.int32)
        scores = oracle_scores(world, users, int(START + week * WEEK_S)).astype(np.float64)
        weights = np.exp(scores)
        expected += (weights / weights.sum(axis=1, keepdims=True)).sum(axis=0)
        counts += np.bincount(first[users], minlength=40)
    assert (
        ((counts - expected) ** 2 / expected).sum()
    ) < 70  # chi-square of at most 39 degrees of freedom: p = .002


def test_progress_reaches_its_total(small):
    steps = []
    make_world(TINY, steps.append)
    whole = histories(small)
    fitted_tastes(small, whole, steps.append)
    last = {step.task: (step.done, step.total) for step in steps}
    assert last == {"making the world": (50, 50), "fitting tastes": (600, 600)}


@pytest.mark.parametrize(
    "values",
    [
        {"users": 0},
        {"items": 1},
        {"rank": 0},
        {"taste": -1},
        {"taste": float("nan")},
        {"events_per_user": 0.5},
        {"new_share": 1.0},
        {"categories": 13},
        {"days": 0},
        {"seed": -1},
        {"popularity": 0.7},
    ],
)
def test_nonsense_settings_are_refused(values):
    with pytest.raises(SettingError, match=next(iter(values))):
        WorldSettings.build(values, where="a test")
