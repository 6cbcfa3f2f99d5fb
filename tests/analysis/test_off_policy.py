"""Another policy's value from a log: exact where all lists can be counted, refused where the log cannot
know."""

import math
from itertools import permutations

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.analysis.off_policy import ListLog, evaluate_policy, pseudo_inverse, value_of_weights
from recsys.arrays import F64
from recsys.config import data_folders
from recsys.errors import DataError
from recsys.experiments.exploration import Policy, epsilon_below, lists_of, plackett_luce, propensities

ITEMS = "abcd"
ODDS = (1, 2, 3, 4)
LOGGING = plackett_luce(ITEMS, [math.log(one) for one in ODDS], 1.0)
TARGETS = {
    "epsilon": epsilon_below("cabd", 0.4, 1),
    "plackett_luce": plackett_luce(ITEMS, [2.0, 0.0, 1.0, 0.5], 1.0),
}
ATTRACTION = {"a": 0.3, "b": 0.5, "c": 0.2, "d": 0.1}


def every_list() -> list[tuple[str, ...]]:
    """Lists of two of four items, each as often among 5,040 as the logging policy shows it."""
    return [items for items, chance in lists_of(LOGGING, 2, ITEMS) for _ in range(round(5_040 * chance))]


LISTS = every_list()


def reward_by_place(items: tuple[str, ...]) -> list[float]:
    """Clicks that depend on the item and its place alone."""
    return [ATTRACTION[items[0]], 0.5 * ATTRACTION[items[1]]]


def reward_by_cascade(items: tuple[str, ...]) -> list[float]:
    """Whoever clicks the first item goes."""
    return [ATTRACTION[items[0]], (1 - ATTRACTION[items[0]]) * ATTRACTION[items[1]]]


def reward_of_the_whole(items: tuple[str, ...]) -> list[float]:
    """The first item sells the better the worse the one below it is."""
    return [
        ATTRACTION[items[0]] * (1 - ATTRACTION[items[1]]),
        0.5 * ATTRACTION[items[1]] * ATTRACTION[items[0]],
    ]


REWARDS = {"independent": reward_by_place, "cascade": reward_by_cascade, "whole": reward_of_the_whole}
FITS = {  # which estimator is unbiased for which reward
    "independent": {"ips", "dr", "cascade", "independent"},
    "cascade": {"ips", "dr", "cascade"},
    "whole": {"ips"},
}


def slot_chances(policy: Policy) -> dict[tuple[int, str], float]:
    by_slot: dict[tuple[int, str], float] = {}
    for items, chance in lists_of(policy, 2, ITEMS):
        for at, item in enumerate(items):
            by_slot[at, item] = by_slot.get((at, item), 0.0) + chance
    return by_slot


def log_of(target: Policy, rewards: F64) -> ListLog:
    slots = [slot_chances(policy) for policy in (LOGGING, target)]
    predicted = np.array([[0.7 * ATTRACTION[item] for item in items] for items in LISTS])  # a wrong model
    expected = [
        [sum(chance * 0.7 * ATTRACTION[item] for item, chance in target(items[:at]).items()) for at in (0, 1)]
        for items in LISTS
    ]
    return ListLog(
        np.arange(len(LISTS)),
        rewards,
        *(np.array([propensities(policy, items) for items in LISTS]) for policy in (LOGGING, target)),
        *(
            np.array([[slot.get((at, item), 0.0) for at, item in enumerate(items)] for items in LISTS])
            for slot in slots
        ),
        predicted,
        np.array(expected),
    )


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("reward", REWARDS)
def test_over_all_lists_estimators_are_exact_where_their_assumption_holds(name: str, reward: str) -> None:
    target = TARGETS[name]
    assert len(LISTS) == 5_040
    truth = sum(chance * sum(REWARDS[reward](items)) for items, chance in lists_of(target, 2, ITEMS))
    rewards = np.array([REWARDS[reward](items) for items in LISTS])
    estimates = {one.estimator: one for one in evaluate_policy(log_of(target, rewards))}
    for estimator, one in estimates.items():
        near = abs(one.value.mean - truth) < 1e-12
        assert near if estimator in FITS[reward] else estimator == "snips" or not near, estimator
        assert one.control == pytest.approx(1, abs=1e-12)
    assert estimates["snips"].value.mean == pytest.approx(
        truth, abs=1e-12
    )  # the mean weight is exactly 1 here
    logging, asked = (dict(lists_of(policy, 2, ITEMS)) for policy in (LOGGING, target))
    weights = pseudo_inverse(LISTS, logging, asked)
    slate = value_of_weights("pseudo-inverse", np.arange(len(LISTS)), weights, rewards.sum(axis=1))
    assert (abs(slate.value.mean - truth) < 1e-9) == (reward == "independent")


def test_weights_of_the_pseudo_inverse_vary_less_than_those_of_whole_lists() -> None:
    target = TARGETS["plackett_luce"]
    logging, asked = (dict(lists_of(policy, 2, ITEMS)) for policy in (LOGGING, target))
    whole = np.array([asked[items] / logging[items] for items in LISTS])
    assert pseudo_inverse(LISTS, logging, asked).std() < whole.std()


def test_a_log_without_chance_or_support_is_refused() -> None:
    one = np.ones((300, 1))
    person = np.arange(300)
    with pytest.raises(DataError, match="nothing in this log was left to chance"):
        evaluate_policy(ListLog(person, one, one, 0.5 * one))
    with pytest.raises(
        DataError, match=r"1 of 300 logged propensities are no chances \(first in request 8\)"
    ):
        evaluate_policy(ListLog(person, one, np.where(person == 7, 0.0, 0.5)[:, None], one))
    with pytest.raises(DataError, match="reward is missing"):
        evaluate_policy(ListLog(person, np.nan * one, 0.5 * one, one))
    with pytest.raises(DataError, match="no support"):
        pseudo_inverse([("a", "b")], {("a", "b"): 1.0}, {("b", "a"): 1.0})
    itself = evaluate_policy(ListLog(person, one, one, one))[0]  # of itself it knows everything
    assert itself.value.mean == 1
    assert not itself.refused


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_wrong_propensities_show_in_the_control_variate(seed: int) -> None:
    """Logged propensities that are half of the true ones double all weights: certain for every seed."""
    rng = np.random.default_rng(seed)
    shown = rng.random((5_000, 1)) < 0.5
    true = np.full((5_000, 1), 0.5)
    target = np.where(shown, 0.8, 0.2)
    reward = shown * 1.0
    assert not evaluate_policy(ListLog(np.arange(5_000), reward, true, target))[0].refused
    wrong = evaluate_policy(ListLog(np.arange(5_000), reward, true / 2, target))[0]
    assert "propensities are wrong" in wrong.refused
    few = evaluate_policy(
        ListLog(np.arange(5_000), reward, true, np.where(np.arange(5_000)[:, None] < 60, 1.0, 0.0))
    )[0]
    assert few.refused


def test_people_and_not_requests_are_the_unit() -> None:
    rng = np.random.default_rng(4)
    person = np.repeat(np.arange(200), 50)
    reward = np.repeat(rng.random(200), 50)[:, None]
    half = np.full((10_000, 1), 0.5)
    by_person, by_request = (
        evaluate_policy(ListLog(who, reward, half, half))[0].value for who in (person, np.arange(10_000))
    )
    assert by_person.high - by_person.low > 5 * (by_request.high - by_request.low)


@pytest.mark.data
def test_on_a_real_pair_of_policies_each_is_told_from_the_log_of_the_other() -> None:
    """46 and 69 clicks in 10,000 each. What bts shows is taken from its own log: its share of each item by
    place."""
    folder = next(
        (one / "open-bandit-men" for one in data_folders() if (one / "open-bandit-men").is_dir()), None
    )
    if folder is None:
        pytest.skip("open-bandit-men is not in RECSYS_DATA")
    random, bts = (pq.read_table(folder / f"{name}_men.parquet").to_pydict() for name in ("random", "bts"))
    for (log, other), is_bts in (((random, bts), True), ((bts, random), False)):
        item, place, click = (np.array(log[name]) for name in ("item_id", "position", "click"))
        if is_bts:
            counts = np.zeros((4, 34))
            np.add.at(counts, (np.array(other["position"]), np.array(other["item_id"])), 1)
            target = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))[place, item]
        else:
            target = np.full(len(item), 1 / 34)
        logged = np.array(log["propensity_score"])
        values = evaluate_policy(
            ListLog(np.arange(len(item)), click[:, None].astype(float), logged[:, None], target[:, None])
        )
        own = np.array(other["click"], float)
        assert {round(click.sum()), round(own.sum())} == {46, 69}
        for one in values:
            error = np.hypot((one.value.high - one.value.low) / 3.92, own.std() / 100)
            assert abs(one.value.mean - own.mean()) < 1.96 * error, one
            assert one.effective > 300


def test_all_lists_are_counted() -> None:
    assert set(LISTS) == set(permutations(ITEMS, 2))
