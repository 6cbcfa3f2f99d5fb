"""Merged lists, and lists with chance: what they hold, and how probable each pick was."""

from collections import Counter
from itertools import permutations

import pytest

from recsys.experiments.draft import merge_by_draft
from recsys.experiments.exploration import (
    EPSILON,
    PLACKETT_LUCE,
    digest_of,
    draw_list,
    epsilon_below,
    lists_of,
    plackett_luce,
    propensities,
)

REQUESTS = [f"r{number}" for number in range(4_000)]


def test_a_draft_takes_from_both_lists_and_credits_nobody_for_what_both_would_take() -> None:
    lists = {"a": ["x", "y", "p", "q", "z"], "b": ["x", "y", "q", "p", "w"]}
    merged = [merge_by_draft(lists, 5, request) for request in REQUESTS]
    for one in merged:
        assert one.items[:2] == ["x", "y"]
        assert one.team[:2] == [None, None]
        assert len(set(one.items)) == len(one.items) == 5
        assert sorted(map(str, one.team[2:4])) == ["a", "b"]
        assert all(
            team is None or item in lists[team] for item, team in zip(one.items, one.team, strict=True)
        )
    firsts = Counter(one.team[2] for one in merged)
    assert abs(firsts["a"] - 2_000) < 160  # five standard deviations
    assert merged[:50] == [merge_by_draft(lists, 5, request) for request in REQUESTS[:50]]


def test_equal_lists_have_no_teams_and_short_lists_are_used_up() -> None:
    same = merge_by_draft({"a": ["x", "y"], "b": ["x", "y"]}, 5, "r")
    assert (same.items, same.team) == (["x", "y"], [None, None])
    short = merge_by_draft({"a": ["x"], "b": ["y", "z", "x", "v"]}, 10, "r")
    assert sorted(short.items) == ["v", "x", "y", "z"]
    assert merge_by_draft({"a": [], "b": []}, 3, "r").items == []


def test_with_arms_exchanged_teams_are_exchanged() -> None:
    """Why a draft is fair: what it does to one list it does to the other, coin for coin, over all
    requests."""
    one = Counter(tuple(merge_by_draft({"a": list("xyz"), "b": list("yzx")}, 3, r).team) for r in REQUESTS)
    other = Counter(tuple(merge_by_draft({"a": list("yzx"), "b": list("xyz")}, 3, r).team) for r in REQUESTS)
    swap = {"a": "b", "b": "a", None: None}
    for teams, count in one.items():
        assert abs(count - other[tuple(swap[team] for team in teams)]) < 5 * (2 * count) ** 0.5


POLICIES = {
    EPSILON: epsilon_below(list("abcd"), 0.3, 2),
    PLACKETT_LUCE: plackett_luce(list("abcd"), [2.0, 1.0, 0.5, -1.0], 0.7),
}


@pytest.mark.parametrize("name", POLICIES)
def test_lists_come_as_often_as_their_propensities_say(name: str) -> None:
    policy = POLICIES[name]
    drawn = [draw_list(policy, 3, request, name) for request in REQUESTS]
    counts = Counter(tuple(one.items) for one in drawn)
    probabilities = dict(lists_of(policy, 3, "abcd"))
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-12)
    for items in permutations("abcd", 3):
        expected = 4_000 * probabilities.get(items, 0.0)
        assert abs(counts[items] - expected) <= 5 * expected**0.5
    for one in drawn[:200]:
        assert one.propensity == pytest.approx(propensities(policy, one.items), abs=1e-12)
    assert drawn[:50] == [draw_list(policy, 3, request, name) for request in REQUESTS[:50]]


def test_epsilon_leaves_the_top_alone_and_only_candidates_are_shown() -> None:
    policy = epsilon_below(list("abcd"), 0.5, 3)
    drawn = [draw_list(policy, 4, request, EPSILON) for request in REQUESTS[:300]]
    assert all(one.items[:2] == ["a", "b"] and one.propensity[:2] == [1.0, 1.0] for one in drawn)
    assert {one.items[2] for one in drawn} == {"c", "d"}
    assert propensities(policy, ["b"]) == [0.0]
    assert propensities(policy, ["a", "z"]) == [1.0, 0.0]
    assert draw_list(policy, 9, "r", EPSILON).items[:2] == ["a", "b"]
    assert len(draw_list(policy, 9, "r", EPSILON).items) == 4


def test_scores_far_apart_stay_numbers() -> None:
    policy = plackett_luce(list("abc"), [1e6, 0.0, -1e6], 1.0)
    assert draw_list(policy, 3, "r", PLACKETT_LUCE).items == ["a", "b", "c"]
    assert all(0 <= one <= 1 for one in propensities(policy, list("abc")))


def test_a_digest_of_candidates_knows_their_order() -> None:
    assert (
        len({digest_of(list("abc")), digest_of(list("acb")), digest_of(["ab", "c"]), digest_of(list("abc"))})
        == 3
    )
