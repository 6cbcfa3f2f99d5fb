"""Metrics of lists against slow, obvious second versions, and against rows typed by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.metrics.lists import (
    Lists,
    diversity,
    gini,
    item_coverage,
    mean_popularity,
    miscalibration,
    novelty,
)
from recsys.testing.toys import dataset, random_log


def with_categories(data: Dataset, categories: list[list[str] | None]) -> Dataset:
    items = data.items.append_column("categories", pa.array(categories, pa.list_(pa.string())))
    return Dataset(data.name, data.interactions, data.user_ids, data.item_ids, items)


def lists_of(data: Dataset, ids: list[list[int]], history: list[list[int]] | None = None) -> Lists:
    shown = np.array(ids, np.int64)
    empty = [[] for _ in ids]
    return Lists(
        shown, np.zeros(shown.shape, bool), Ragged.of(empty), Ragged.of(history or empty), facts_of(data)
    )


# 4 users; item 0 was had by 4 of them (by user 0 three times), item 1 by 2, item 2 by 1, item 3 by nobody
LOG = dataset(np.array([0, 0, 0, 1, 2, 3, 0, 1, 0]), np.array([0, 0, 0, 0, 0, 0, 1, 1, 2]), 5, 4)


def test_novelty_and_popularity_typed_by_hand() -> None:
    lists = lists_of(LOG, [[0, 1], [1, 2], [3, -1], [-1, -1], [2, 4]])
    expected = [
        0.5,
        1.5,
        2.0,
        math.nan,
        2.0,
    ]  # bits: 0, 1, 2 and, for what nobody had, as if one user had it: 2
    np.testing.assert_allclose(novelty(lists), expected)
    np.testing.assert_allclose(mean_popularity(lists), [0.75, 0.375, 0.0, math.nan, 0.25])


def test_an_item_that_the_data_do_not_know_counts_for_nothing() -> None:
    known, strange = lists_of(LOG, [[2, -1]]), lists_of(LOG, [[2, 4]])
    assert strange.known.tolist() == [[True, False]]
    assert novelty(known).tolist() == novelty(strange).tolist()


def slow_cosine(a: set[str], b: set[str]) -> float:
    return len(a & b) / math.sqrt(len(a) * len(b))


def random_case(seed: int) -> tuple[Dataset, list[list[int]], list[list[int]], list[list[str] | None]]:
    rng = np.random.default_rng(seed)
    categories = [
        [f"c{c}" for c in rng.choice(6, rng.integers(0, 4), replace=False)] or None for _ in range(30)
    ]
    ids = [rng.permutation(30)[:6].tolist() for _ in range(50)]
    for row in range(0, 50, 4):
        ids[row][rng.integers(0, 6) :] = [-1] * len(ids[row][rng.integers(0, 6) :])
        ids[row] = [*ids[row], *[-1] * 6][:6]
    history = [rng.integers(0, 30, rng.integers(0, 8)).tolist() for _ in range(50)]
    return with_categories(random_log(seed), categories), ids, history, categories


@pytest.mark.parametrize("seed", range(3))
def test_diversity_by_categories_equals_all_pairs(seed: int) -> None:
    data, ids, history, categories = random_case(seed)
    expected = []
    for row in ids:
        described = [set(categories[item] or []) for item in row if item >= 0 and categories[item]]
        pairs = [(a, b) for at, a in enumerate(described) for b in described[at + 1 :]]
        expected.append(1 - np.mean([slow_cosine(a, b) for a, b in pairs]) if pairs else math.nan)
    values = diversity(lists_of(data, ids, history))
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert 0 < np.isnan(values).sum() < 50


@pytest.mark.parametrize("seed", range(3))
def test_miscalibration_equals_the_sum_of_the_paper(seed: int) -> None:
    data, ids, history, categories = random_case(seed)

    def shares(items: list[int]) -> dict[str, float]:
        mass: dict[str, float] = {}
        for item in items:
            for name in (categories[item] or []) if item >= 0 else []:
                mass[name] = mass.get(name, 0.0) + 1 / len(categories[item] or [])
        return {name: value / sum(mass.values()) for name, value in mass.items()}

    expected = []
    for row, had in zip(ids, history, strict=True):
        p, q = shares(had), shares(row)
        kl = sum(
            share * math.log(share / (0.99 * q.get(name, 0.0) + 0.01 * share)) for name, share in p.items()
        )
        expected.append(kl if p and q else math.nan)
    values = miscalibration(lists_of(data, ids, history))
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert np.nanmax(values) > 0.5


def test_a_list_like_the_history_is_calibrated_and_one_without_its_categories_costs_log_of_a_hundred() -> (
    None
):
    data = with_categories(LOG, [["a"], ["a"], ["b"], None])
    values = miscalibration(lists_of(data, [[1, 2], [2, -1], [3, -1]], [[0, 2], [0, 1], [0]]))
    np.testing.assert_allclose(values, [0.0, math.log(100), math.nan], atol=1e-12)


def test_diversity_typed_by_hand() -> None:
    data = with_categories(LOG, [["a"], ["a", "b"], ["b"], None])
    # a with ab: cosine 1 / sqrt 2; a with b: 0; one item, or an item without category, has no pair
    values = diversity(lists_of(data, [[0, 1, -1], [0, 2, 3], [0, 3, -1], [0, 1, 2]]))
    np.testing.assert_allclose(
        values, [1 - math.sqrt(0.5), 1.0, math.nan, 1 - 2 * math.sqrt(0.5) / 3], atol=1e-12
    )


def test_without_categories_the_projection_keeps_the_cosine_of_who_had_what() -> None:
    data = random_log(3, n_users=400, n_items=60, n=6_000)
    matrix = (data.interactions.matrix().toarray() > 0).astype(float)
    unit = matrix / np.linalg.norm(matrix, axis=0)
    exact = unit.T @ unit
    features = np.asarray(facts_of(data).features)
    assert features.shape == (60, 129)
    error = (features @ features.T - exact)[~np.eye(60, dtype=bool)]
    assert abs(error.mean()) < 0.005
    assert error.std() < 0.12
    rng = np.random.default_rng(0)
    ids = [rng.permutation(60)[:20].tolist() for _ in range(200)]
    slow = [1 - exact[np.ix_(row, row)][~np.eye(20, dtype=bool)].mean() for row in ids]
    assert abs(np.mean(diversity(lists_of(data, ids))) - np.mean(slow)) < 0.005


def test_coverage_and_gini_typed_by_hand() -> None:
    assert item_coverage(np.array([3, 0, 1, 0])) == 0.5
    assert gini(np.array([5, 5, 5, 5])) == 0.0
    assert gini(np.array([0, 0, 0, 8])) == 0.75  # (n - 1) / n: one item has all
    assert gini(np.array([1, 3])) == 0.25
    assert math.isnan(gini(np.zeros(3, np.int64)))
    assert item_coverage(np.zeros(3, np.int64)) == 0.0


def test_gini_equals_half_the_mean_absolute_difference_over_the_mean() -> None:
    x = np.random.default_rng(1).integers(0, 50, 40)
    slow = np.mean([abs(int(a) - int(b)) for a in x for b in x]) / (2 * x.mean())
    assert gini(x) == pytest.approx(slow)


def test_head_items_are_the_fewest_that_took_half_of_the_events() -> None:
    data = dataset(np.zeros(10, int), np.array([2, 2, 2, 2, 0, 0, 1, 1, 3, 3]), 1, 5)
    assert facts_of(data).head.tolist() == [
        True,
        False,
        True,
        False,
        False,
    ]  # 4 + 2 of 10; ties: the lower index
    assert facts_of(data).domains == ("books", "films")
    assert facts_of(data).domain.tolist() == [0, 1, 0, 1, 0]


def test_a_category_named_twice_counts_once_and_items_without_any_have_none() -> None:
    facts = facts_of(with_categories(LOG, [["a", "a", "b"], None, [], ["b"]]))
    assert facts.categories is not None
    assert facts.categories.toarray().tolist() == [[0.5, 0.5], [0, 0], [0, 0], [0, 1]]
    assert facts_of(with_categories(LOG, [None, [], None, []])).categories is None
