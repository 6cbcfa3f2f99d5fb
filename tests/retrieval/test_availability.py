"""Items that are hidden, not there yet or no more are nobody's answer, at the moment at which each user
asks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.encoders.users import Users
from recsys.history import Histories
from recsys.models.registry import make_model
from recsys.retrieval.allowed import AllowedItems
from recsys.retrieval.availability import Availability
from recsys.retrieval.recommender import recommender_of
from recsys.testing.toys import random_log

DATA = random_log(1)
LEARNED: Any = make_model("als", {"dim": 4, "epochs": 2}).fit(DATA, seed=1)
FALLBACK = np.arange(DATA.n_items, dtype=np.int32)


def limits(seed: int) -> Availability:
    rng = np.random.default_rng(seed)
    start = np.where(
        rng.random(DATA.n_items) < 0.5, np.iinfo(np.int64).min, rng.integers(0, 100, DATA.n_items)
    )
    end = np.where(
        rng.random(DATA.n_items) < 0.5, np.iinfo(np.int64).max, rng.integers(50, 150, DATA.n_items)
    )
    return Availability(rng.random(DATA.n_items) < 0.8, start, end)


def people(seed: int) -> Users:
    """Known users, strangers with a history, and strangers without, who each ask at a moment of their own."""
    rng = np.random.default_rng(seed)
    n = DATA.n_users
    index = np.where(rng.random(n) < 0.5, np.arange(n), -1).astype(np.int32)
    past = DATA.interactions.histories()
    some = past.keep(np.isin(past.items.row_of_value(), np.flatnonzero(rng.random(n) < 0.7)))
    return Users(index, Histories(some.items), rng.integers(-5, 160, n))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("among", [False, True])
def test_each_is_answered_as_if_only_those_items_were_allowed_that_are_there_then(
    seed: int, among: bool
) -> None:
    users, rules = people(seed), limits(seed)
    rng = np.random.default_rng(seed + 10)
    rows = Ragged.of([np.sort(rng.choice(DATA.n_items, 20, replace=False)) for _ in range(len(users))])
    engine = recommender_of(LEARNED, FALLBACK, "exclude", availability=rules)
    plain = replace(engine, availability=None)
    answer = engine.recommend(users, 8, among=rows if among else None)
    kinds = set()
    for row in range(len(users)):
        assert users.now is not None
        now = int(users.now[row])
        there = [
            item
            for item in range(DATA.n_items)
            if rules.shown[item] and rules.start[item] <= now < rules.end[item]  # type: ignore[index]
        ]
        wanted = np.intersect1d(there, rows.row(row)) if among else np.array(there)
        one = plain.recommend(users.take(np.array([row])), 8, among=Ragged.of([wanted.astype(np.int32)]))
        assert answer.ids[row].tolist() == one.ids[0].tolist()
        np.testing.assert_allclose(answer.scores[row], one.scores[0], rtol=1e-5)
        assert answer.source[row] == one.source[0]
        kinds.add(int(one.source[0]))
    assert len(kinds) > 1


def test_without_a_moment_only_what_is_hidden_is_left_out() -> None:
    rules, users = limits(5), replace(people(5), now=None)
    engine = recommender_of(LEARNED, FALLBACK, "allow", availability=rules)
    answer = engine.recommend(users, DATA.n_items)
    assert rules.shown is not None
    for row in range(len(users)):
        assert set(answer.ids[row][answer.ids[row] >= 0].tolist()) == set(
            np.flatnonzero(rules.shown).tolist()
        )


def test_a_rule_that_comes_again_is_the_same_array_and_what_is_remembered_stays_small() -> None:
    """So that an index makes its bits once: within an interval in which nothing comes or goes."""
    n = DATA.n_items
    changes = 100 * np.arange(1, n + 1)
    rules = Availability(start=changes, end=np.full(n, 1_000_000))
    engine = recommender_of(LEARNED, FALLBACK, "allow", availability=rules)
    trained = np.ones(n, bool) if engine.available is None else engine.available
    for second in (150, 250, 100 * n - 50, 50, 150):
        mask = engine.available_at(second)
        assert mask is not None
        assert mask is engine.available_at(second + 40)
        assert mask is not engine.available_at(second + 50)
        np.testing.assert_array_equal(mask, (changes <= second) & trained)
        assert not mask.flags.writeable
    for second in changes:
        engine.available_at(int(second))
    assert len(engine._offered._masks) <= 8  # type: ignore[union-attr]
    allowed = AllowedItems(n)
    assert allowed.of(mask, None) is allowed.of(mask, None)
    assert allowed.of(mask, None).count == int(mask.sum())
    assert allowed.of(mask.copy(), None) is not allowed.of(mask, None)
