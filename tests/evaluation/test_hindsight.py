"""Lists that know the future and leave it out are named; honest ones, however bad, are not: planted, by many
seeds."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from recsys.arrays import I32, Array, Ragged, beside
from recsys.data.planted.world import WorldSettings, make_world
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.evaluation.hindsight import Hindsight, hindsight
from recsys.evaluation.metrics.item_facts import facts_of

SEEDS = range(5)


@cache
def question(seed: int) -> Holdout:
    """Some of 1,200 people of a world of 300 items in two domains."""
    size = WorldSettings(users=1_200, items=300, events_per_user=20, active_days=300, seed=seed)
    return split(make_world(size).dataset, SplitSettings(test=0.3), seed=1).test


def domains(people: Holdout) -> I32:
    return facts_of(people.train).domain


def dense(rows: Ragged, n_items: int) -> Array:
    table = np.zeros((rows.rows, n_items))
    table[rows.row_of_value(), rows.values] = 1
    return table


def best(scores: Array, had: Array, k: int) -> Ragged:
    """The k best items of each person without those that they had."""
    masked = np.where(had > 0, -np.inf, scores)
    order = np.argsort(-masked, axis=1, kind="stable")[:, :k]
    return Ragged.of([[item for item in row if masked[at, item] > -np.inf] for at, row in enumerate(order)])


def scores_of(learned: Array, past: Array) -> Array:
    """Item to item: who had what one had, had also."""
    alike = learned.T @ learned / (1 + learned.sum(axis=0))
    np.fill_diagonal(alike, 0)
    return past @ alike


System = Callable[[Holdout, Array, Array, np.random.Generator], Ragged]  # holdout, past, past and future


def _rate_items(people: Holdout, past: Array, rng: np.random.Generator) -> Array:
    return scores_of(past, past) + 1e-6 * rng.random(past.shape)


HONEST: dict[str, System] = {
    "by taste": lambda q, past, both, rng: best(_rate_items(q, past, rng), past, 10),
    "against taste": lambda q, past, both, rng: best(-_rate_items(q, past, rng), past, 10),
    "against taste, of what is popular": lambda q, past, both, rng: best(
        np.where(past.sum(axis=0) > np.median(past.sum(axis=0)), -_rate_items(q, past, rng), -1e9), past, 10
    ),
    "popular": lambda q, past, both, rng: best(np.tile(past.sum(axis=0), (len(past), 1)), past, 10),
    "unpopular": lambda q, past, both, rng: best(np.tile(-past.sum(axis=0), (len(past), 1)), past, 10),
    "drawn": lambda q, past, both, rng: best(rng.random(past.shape), past, 10),
    "somebody else's": lambda q, past, both, rng: best(
        _rate_items(q, past, rng)[rng.permutation(len(past))], past, 10
    ),
    "what they had": lambda q, past, both, rng: best(past + 1e-6 * rng.random(past.shape), 0 * past, 10),
    "of one domain": lambda q, past, both, rng: best(
        np.where(domains(q) == 0, _rate_items(q, past, rng), -1e9), past, 10
    ),
    "short": lambda q, past, both, rng: best(_rate_items(q, past, rng), past, 1),
}  # fmt: skip
IMPOSSIBLE: dict[str, System] = {
    "by taste": lambda q, past, both, rng: best(_rate_items(q, both, rng), both, 10),
    "popular": lambda q, past, both, rng: best(np.tile(both.sum(axis=0), (len(both), 1)), both, 10),
    "drawn, long": lambda q, past, both, rng: best(rng.random(past.shape), both, 100),
    "a few days younger than the log": lambda q, past, both, rng: best(
        _rate_items(q, both, rng), np.where(rng.random(both.shape) < 0.002, past, both), 10
    ),
}  # fmt: skip


def hindsight_of(system: System, seed: int) -> Hindsight:
    people = question(seed)
    n_items = people.train.n_items
    past = dense(people.history.items, n_items)
    both = dense(beside(people.history.items, people.targets), n_items)
    lists = system(people, past, both, np.random.default_rng(seed))
    return hindsight(lists, people.history.items, people.targets, n_items, domain=domains(people))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("system", HONEST)
def test_honest_lists_are_not_suspected(system: str, seed: int) -> None:
    assert not hindsight_of(HONEST[system], seed).impossible


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("system", IMPOSSIBLE)
def test_lists_that_know_what_they_leave_out_are_named(system: str, seed: int) -> None:
    assert hindsight_of(IMPOSSIBLE[system], seed).impossible
