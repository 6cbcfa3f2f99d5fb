"""Metrics against slow, obvious second versions, and against rows typed by hand."""

import math

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.errors import SettingError
from recsys.evaluation.metrics.by_name import PerSystem, PerUser, resolve, resolve_all
from recsys.evaluation.metrics.hits import (
    METRICS,
    hit_rate,
    hits_of,
    mean_average_precision,
    mrr,
    ndcg,
    precision,
    recall,
)
from recsys.evaluation.metrics.lists import LIST_METRICS, SYSTEM_METRICS, gini


def slow_recall(answer: list[int], targets: list[int], k: int) -> float:
    return len(set(answer[:k]) & set(targets)) / len(targets)


def slow_hit_rate(answer: list[int], targets: list[int], k: int) -> float:
    return 1.0 if any(item in targets for item in answer[:k]) else 0.0


def slow_mrr(answer: list[int], targets: list[int], k: int) -> float:
    return next((1 / rank for rank, item in enumerate(answer[:k], start=1) if item in targets), 0.0)


def slow_ndcg(answer: list[int], targets: list[int], k: int) -> float:
    gain = sum(1 / math.log2(rank + 1) for rank, item in enumerate(answer[:k], start=1) if item in targets)
    return gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(targets)) + 1))


def slow_precision(answer: list[int], targets: list[int], k: int) -> float:
    return len([item for item in answer[:k] if item in targets]) / k


def slow_map(answer: list[int], targets: list[int], k: int) -> float:
    precisions = [
        slow_precision(answer, targets, rank) for rank in range(1, k + 1) if answer[rank - 1 : rank]
    ]
    hit = [value for value, item in zip(precisions, answer, strict=False) if item in targets]
    return sum(hit) / min(k, len(targets))


SLOW = {
    "recall": slow_recall,
    "hit_rate": slow_hit_rate,
    "mrr": slow_mrr,
    "ndcg": slow_ndcg,
    "precision": slow_precision,
    "map": slow_map,
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_hits_rises_with_a_hit_that_is_added_or_moved_up(name: str, certain_seed: int) -> None:
    """What every metric keeps: 0 to 1, 0 without a hit, 1 where all k = targets hit, never lower for a better
    list."""
    rng, metric = np.random.default_rng(certain_seed), METRICS[name]
    hits = rng.random((400, 6)) < 0.3
    targets = hits.sum(axis=1) + rng.integers(1, 5, 400)
    values = metric(hits, targets)
    assert values.dtype == np.float64
    assert values.shape == (400,)
    assert ((values >= 0) & (values <= 1)).all()
    assert ((values == 0) == ~hits.any(axis=1)).all()
    assert metric(np.ones((1, 6), bool), np.array([6])).tolist() == pytest.approx([1.0])
    for rank in range(6):
        added = hits.copy()
        added[:, rank] = True
        assert (metric(added, targets) >= values - 1e-12).all()
        if rank:
            moved = hits.copy()
            moved[:, rank - 1], moved[:, rank] = (
                hits[:, rank - 1] | hits[:, rank],
                hits[:, rank - 1] & hits[:, rank],
            )
            assert (metric(moved, targets) >= values - 1e-12).all()


@pytest.mark.parametrize("name", list(SLOW))
@pytest.mark.parametrize("k", [1, 3, 10])
def test_a_metric_equals_its_slow_version_on_random_answers(name: str, k: int) -> None:
    rng = np.random.default_rng(k)
    n, items = 300, 25
    ids = np.array([rng.permutation(items)[:10] for _ in range(n)])
    for row in range(0, n, 3):  # short answers, padded
        ids[row, rng.integers(0, 11) :] = -1
    targets = [rng.choice(items, rng.integers(1, 20), replace=False).tolist() for _ in range(n)]
    ragged = Ragged.of(targets)
    values = METRICS[name](hits_of(ids, ragged)[:, :k], ragged.lengths)
    expected = [
        SLOW[name]([item for item in row if item >= 0], wanted, k)
        for row, wanted in zip(ids, targets, strict=True)
    ]
    assert values.dtype == np.float64
    assert values.shape == (n,)
    np.testing.assert_allclose(values, expected, rtol=1e-12)
    assert 0 < values.mean() < 1


HITS = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 1]], bool)
TARGETS = np.array([2, 3, 1, 4, 10])


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (recall, [1.0, 1 / 3, 0.0, 1.0, 0.1]),
        (hit_rate, [1.0, 1.0, 0.0, 1.0, 1.0]),
        (mrr, [1.0, 0.5, 0.0, 1.0, 0.25]),
        (precision, [0.5, 0.25, 0.0, 1.0, 0.25]),
        # (1 + 2/3) / 2, (1/2) / 3, 0, 1, (1/4) / 4
        (mean_average_precision, [5 / 6, 1 / 6, 0.0, 1.0, 1 / 16]),
        # 1.5 / 1.63093, 0.63093 / 2.13093, ..., 0.43068 / 2.56161
        (ndcg, [0.9197207891, 0.2960819109, 0.0, 1.0, 0.1681275363]),
    ],
)
def test_rows_typed_by_hand(metric: object, expected: list[float]) -> None:
    assert callable(metric)
    np.testing.assert_allclose(metric(HITS, TARGETS), expected, atol=1e-9)


def test_recall_divides_by_all_targets_and_ndcg_by_the_best_list_of_k() -> None:
    hits, targets = np.ones((1, 2), bool), np.array([5])
    assert recall(hits, targets).tolist() == [0.4]
    assert ndcg(hits, targets).tolist() == [1.0]


def test_hits_are_found_by_user_and_never_across_users() -> None:
    ids = np.array([[0, 1, 2], [0, 1, 2], [7, -1, -1], [0, 3, 7]])
    hits = hits_of(ids, Ragged.of([[0, 2], [], [7, 0], [3]]))
    assert hits.tolist() == [[True, False, True], [False] * 3, [True, False, False], [False, True, False]]


def test_a_pad_is_never_a_hit_and_item_zero_can_be_one() -> None:
    assert hits_of(np.array([[-1, -1], [0, -1]]), Ragged.of([[0], [0]])).tolist() == [
        [False, False],
        [True, False],
    ]
    assert hits_of(np.full((2, 1), -1), Ragged.of([[5], [9]])).tolist() == [[False], [False]]


def test_a_target_beyond_every_answer_stays_out_of_the_hits() -> None:
    hits = hits_of(np.array([[1, 2], [1, 2]]), Ragged.of([[1_000_000], [1]]))
    assert hits.tolist() == [[False, False], [True, False]]
    assert hits_of(np.array([[1, 2], [1, 2]]), Ragged.of([[4], [2]])).tolist() == [
        [False, False],
        [False, True],
    ]


def test_keys_do_not_wrap_for_many_users_and_items() -> None:
    n, item = 3_000, 2_000_000_000
    ids = np.full((n, 1), item)
    assert hits_of(ids, Ragged.of([[item]] * n)).all()
    assert not hits_of(ids, Ragged.of([[item - 1]] * n)).any()


def test_hits_equal_a_slow_version_where_the_marks_collide() -> None:
    """More keys than the table of marks can tell apart, and items far beyond it."""
    rng = np.random.default_rng(0)
    targets = [rng.choice(10**9, 40, replace=False).tolist() for _ in range(2_000)]
    ids = rng.integers(0, 10**9, (2_000, 20))
    ids[:, 3] = [row[0] for row in targets]
    ids[::2, 7] = [row[5] for row in targets[1::2]]  # another user's target
    slow = [[item in set(wanted) for item in row] for row, wanted in zip(ids.tolist(), targets, strict=True)]
    assert hits_of(ids, Ragged.of(targets)).tolist() == slow


def test_names_resolve_into_metric_and_cut() -> None:
    recall_20, coverage = resolve("recall_at_20"), resolve("item_coverage_at_5")
    assert isinstance(recall_20, PerUser)
    assert (recall_20.name, recall_20.cut, recall_20.hits_only) == ("recall_at_20", 20, True)
    assert isinstance(coverage, PerSystem)
    assert (coverage.name, coverage.cut) == ("item_coverage_at_5", 5)
    assert resolve("gini_at_3").function is gini
    for name in LIST_METRICS:
        metric = resolve(f"{name}_at_100")
        assert isinstance(metric, PerUser)
        assert (metric.cut, metric.hits_only) == (100, False)
    assert not METRICS.keys() & LIST_METRICS.keys()  # a name means one thing
    assert not (METRICS | LIST_METRICS).keys() & SYSTEM_METRICS.keys()


def test_a_function_is_a_metric_under_its_own_name_and_sees_the_cut_that_it_says() -> None:
    def clicks_at_7(lists: object) -> np.ndarray: ...

    def clicks(lists: object) -> np.ndarray: ...

    assert [(metric.name, metric.cut) for metric in resolve_all([clicks_at_7, clicks])] == [
        ("clicks_at_7", 7),
        ("clicks", 10),
    ]
    ours = resolve("statistics:fmean")
    assert (ours.name, ours.cut) == ("fmean", 10)


@pytest.mark.parametrize(
    "name",
    [
        "recall@20",
        "recall",
        "recall_at_",
        "recall_at_0",
        "recall_at_-1",
        "recall_at_ten",
        "recall_at_²",
        "at_5",
        "map_at_x",
        "",
    ],
)
def test_a_name_that_is_no_metric_is_refused_with_an_example(name: str) -> None:
    with pytest.raises(SettingError, match="is unknown; metrics are written like recall_at_10, ndcg_at_10"):
        resolve(name)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["ncdg_at_10"], "did you mean ndcg_at_10"),
        (["no.such.module:f"], "cannot be imported"),
        (["statistics:nothing"], "has no 'nothing' to call"),
        (["ndcg_at_5", "ndcg_at_5"], "named more than once"),
        ([], "at least one metric"),
    ],
)
def test_what_cannot_be_computed_is_refused(names: list[str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        resolve_all(names)
