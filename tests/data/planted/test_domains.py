"""Domains of the planted world that share taste, in part or not at all, and people in both of them or in
one."""

import numpy as np
import pytest
from scipy.stats import chisquare

from recsys.data.planted.truth import fitted_tastes, informed_scores, oracle_scores
from recsys.data.planted.world import START, WEEK_S, World, WorldSettings, make_world
from tests.helpers.worlds import TINY, histories

SMALL = WorldSettings(users=400, items=120, events_per_user=12, new_share=0.0, wave=0.0, taste=3.0)


def apart(shared: float, **more: object) -> World:
    return make_world(SMALL.model_copy(update={"shared_taste": shared, **more}))


def domains_of(world: World) -> np.ndarray:
    """(nnz,): the domain of each event."""
    return world.truth.domain[world.dataset.interactions.item]


def test_a_world_says_in_its_name_what_is_shared_and_draws_the_same_bytes_for_any_number_of_threads() -> None:
    whole, part = make_world(TINY), make_world(TINY.model_copy(update={"shared_taste": 0.5, "in_both": 0.7}))
    assert whole.truth.shares is None
    assert part.dataset.name == whole.dataset.name + "-shared0.5-both0.7"
    again = make_world(TINY.model_copy(update={"shared_taste": 0.5, "in_both": 0.7}))
    assert again.dataset.digest == part.dataset.digest != whole.dataset.digest


@pytest.mark.parametrize("shared", [0.0, 0.6, 1.0])
def test_tastes_in_both_domains_correlate_as_asked(shared: float) -> None:
    """The same person's pull towards one place in the taste space, as a film and as a book there."""
    world = apart(shared, users=4_000)
    films, books = (world.truth.item_vectors[world.truth.domain == at] for at in (0, 1))
    rank = SMALL.rank
    np.testing.assert_allclose(films[:, rank:], 0)
    lengths = np.linalg.norm(books, axis=1)
    np.testing.assert_allclose(np.linalg.norm(books[:, :rank], axis=1), shared * lengths, rtol=1e-5)
    place = np.random.default_rng(1).standard_normal(rank)
    as_film = world.truth.user_vectors @ np.concatenate([place, np.zeros(rank)])
    as_book = world.truth.user_vectors @ np.concatenate([shared * place, np.sqrt(1 - shared**2) * place])
    assert np.corrcoef(as_film, as_book)[0, 1] == pytest.approx(shared, abs=0.05)


def test_people_are_in_both_domains_or_in_one() -> None:
    world = apart(1.0, in_both=0.5, events_per_user=20)
    events = world.dataset.interactions
    share = (
        np.bincount(events.user, domains_of(world), minlength=world.dataset.n_users) / events.user_counts()
    )
    assert world.truth.shares is not None
    np.testing.assert_array_equal(share[world.truth.shares[:, 0] == 1], 0)
    np.testing.assert_array_equal(share[world.truth.shares[:, 0] == 0], 1)
    alone = np.isin(world.truth.shares[:, 0], [0, 1])
    assert 0.4 < alone.mean() < 0.6
    assert np.corrcoef(share[~alone], world.truth.shares[~alone, 1])[0, 1] > 0.5


def test_first_events_follow_the_oracle() -> None:
    """Each person's first event against the oracle's probabilities at its time, summed over people."""
    world = apart(0.5, users=6_000, in_both=0.8, new_share=0.2, days=60)
    past = histories(world)
    assert past.time is not None
    first = past.items.offsets[:-1]
    item, week = past.items.values[first], (past.time[first] - START) // WEEK_S
    expected = np.zeros(world.dataset.n_items)
    for one in np.unique(week):
        users = np.flatnonzero(week == one).astype(np.int32)
        scores = oracle_scores(world, users, int(START + one * WEEK_S)).astype(np.float64)
        probability = np.exp(scores)
        np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=1e-4)
        expected += probability.sum(axis=0)
    counts = np.bincount(item, minlength=len(expected))
    often = expected > 5
    assert (
        chisquare(counts[often], expected[often] * counts[often].sum() / expected[often].sum()).pvalue > 0.001
    )


def test_films_tell_the_taste_in_books_as_far_as_it_is_shared() -> None:
    """Of people's films alone their whole taste is fitted: how near it comes to their true pull towards each
    book."""
    near = {}
    for shared in (0.0, 0.5, 1.0):
        world = apart(shared, users=200, events_per_user=25)
        past = histories(world)
        films = past.keep(world.truth.domain[past.items.values] == 0)
        some = np.flatnonzero(films.lengths >= 5)
        books = world.truth.item_vectors[world.truth.domain == 1].astype(np.float64)
        pull, truth = (
            fitted_tastes(world, films.take(some)) @ books.T,
            world.truth.user_vectors[some] @ books.T,
        )
        if not shared:
            np.testing.assert_allclose(pull, 0, atol=1e-9)
        else:
            near[shared] = np.corrcoef(pull.ravel(), truth.ravel())[0, 1]
    assert near[0.5] > 0.2
    assert near[1.0] > near[0.5] + 0.15


def test_the_informed_ranker_has_probabilities_that_sum_to_one_over_what_is_left() -> None:
    world = apart(0.5, users=50)
    past = histories(world)
    assert past.time is not None
    scores = informed_scores(world, past, int(past.time.max())).astype(np.float64)
    left = np.exp(scores)
    left[past.items.row_of_value(), past.items.values] = 0
    np.testing.assert_allclose(left.sum(axis=1), 1, rtol=1e-4)
    nobody = informed_scores(world, past.empty(1), START)
    assert np.exp(nobody[0, world.truth.domain == 0]).sum() == pytest.approx(0.5, rel=1e-4)
