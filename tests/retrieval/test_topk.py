"""The k best columns, against a slow sort."""

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.encoders.encoder import Constant
from recsys.encoders.users import Users
from recsys.retrieval import topk
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import block_rows
from recsys.retrieval.topk import top_k
from recsys.retrieval.vector_ranker import VectorRanker


def slowly(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort each row by falling score, then by column; forbidden columns never, -1 and -inf as pads."""
    ids, best = np.full((len(scores), k), -1), np.full((len(scores), k), -np.inf)
    for row, values in enumerate(scores.tolist()):
        allowed = [column for column, value in enumerate(values) if value != -np.inf]
        for rank, column in enumerate(sorted(allowed, key=lambda column: (-values[column], column))[:k]):
            ids[row, rank], best[row, rank] = column, values[column]
    return ids, best


def check(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    ids, best = top_k(scores, k)
    expected_ids, expected_best = slowly(scores, k)
    assert ids.tolist() == expected_ids.tolist()
    assert best.tolist() == expected_best.tolist()
    assert (ids.dtype, best.dtype) == (np.int64, np.float32)
    assert np.array_equal(scores, before)


@pytest.mark.parametrize("m", [1, 2, 7, 63, 64, 257, 1_001, 5_000])
@pytest.mark.parametrize("k", [1, 2, 10, 64, 100])
def test_distinct_scores(m: int, k: int) -> None:
    check(np.random.default_rng(m).normal(size=(7, m)).astype(np.float32), k)


@pytest.mark.parametrize("levels", [1, 2, 5, 50])
@pytest.mark.parametrize("m", [5, 300, 2_000])
@pytest.mark.parametrize("k", [1, 10, 40])
def test_ties_go_to_the_lower_column(levels: int, m: int, k: int) -> None:
    check(np.random.default_rng(levels).integers(-levels, levels, (6, m)).astype(np.float32), k)


@pytest.mark.parametrize("share", [0.3, 0.99, 1.0])
@pytest.mark.parametrize("k", [1, 10, 500])
def test_forbidden_columns_are_never_returned(share: float, k: int) -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 30, (20, 400)).astype(np.float32)
    scores[rng.random(scores.shape) < share] = -np.inf
    check(scores, k)


def test_rows_with_different_numbers_of_allowed_columns_do_not_disturb_each_other() -> None:
    scores = np.full((4, 300), -np.inf, np.float32)
    scores[1] = 1.0
    scores[2, 299] = -5.0
    scores[3, ::2] = np.arange(150)
    check(scores, 20)


def test_k_beyond_the_columns_pads() -> None:
    ids, best = top_k(np.array([[1.0, 3.0, 2.0]], np.float32), 5)
    assert ids.tolist() == [[1, 2, 0, -1, -1]]
    assert best.tolist() == [[3.0, 2.0, 1.0, -np.inf, -np.inf]]


@pytest.mark.parametrize("kind", [np.int64, np.int32, np.int8, np.float64])
@pytest.mark.parametrize("k", [3, 400])
def test_scores_of_other_types_are_ranked_alike(kind: type, k: int) -> None:
    check(np.random.default_rng(1).integers(-50, 50, (5, 300)).astype(kind), k)


def test_extreme_values_are_scores_like_any_other() -> None:
    low, high = np.finfo(np.float32).min, np.finfo(np.float32).max
    row = np.array([[low, 0.0, -0.0, high, np.inf, -np.inf, 1e-45, -1e-45]], np.float32)
    check(row, 3)
    check(row, 8)
    check(np.repeat(row, 50, axis=1), 60)


def test_a_wide_row_is_exact() -> None:
    rng = np.random.default_rng(9)
    scores = rng.normal(size=(2, 2_000_000)).astype(np.float32)
    scores[1, rng.integers(0, 2_000_000, 50)] = 9.0
    ids, best = top_k(scores, 100)
    for row in range(2):
        expected = np.argsort(-scores[row], kind="stable")[:100]
        assert ids[row].tolist() == expected.tolist()
        assert best[row].tolist() == scores[row, expected].tolist()


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_rank_gives_pads(shape: tuple[int, int]) -> None:
    ids, best = top_k(np.zeros(shape, np.float32), 4)
    assert ids.tolist() == [[-1] * 4] * shape[0]
    assert best.tolist() == [[-np.inf] * 4] * shape[0]


def test_k_of_zero_gives_no_columns() -> None:
    assert top_k(np.zeros((2, 3), np.float32), 0)[0].shape == (2, 0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_memory_layout_does_not_matter(order: str) -> None:
    scores = np.random.default_rng(4).normal(size=(9, 800)).astype(np.float32)
    check(np.array(scores, order=order), 10)
    check(scores[::2, ::3], 10)


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_do_not_change_an_answer(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(threads)
    scores = rng.integers(-3, 4, (23, 300)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.4] = -np.inf
    scores[5] = -np.inf
    alone = top_k(scores, 20)
    monkeypatch.setattr("recsys.retrieval.topk._WORTH_A_THREAD", 1)
    monkeypatch.setattr("faiss.omp_get_max_threads", lambda: threads)
    shared = top_k(scores, 20)
    assert shared[0].tolist() == alone[0].tolist()
    assert shared[1].tolist() == alone[1].tolist()


def test_both_zeros_tie_and_what_is_no_number_is_never_answered() -> None:
    scores = np.array([[np.nan, -0.0, 0.0, 1e-45, -1e-45, np.inf, -0.0]], np.float32)
    ids, best = top_k(scores, 7)
    assert ids.tolist() == [[5, 3, 1, 2, 6, 4, -1]]
    assert best[0, 0] == np.inf
    assert best[0, 6] == -np.inf


@pytest.mark.parametrize("m", [1, 7, 300, 2_000])
@pytest.mark.parametrize("k", [1, 10, 400])
@pytest.mark.parametrize("longest", [0, 5, 500])
def test_rows_that_share_their_scores_get_what_a_scan_of_each_gives(
    m: int, k: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(m + k + longest)
    scores = rng.integers(-3, 3, m).astype(np.float32)
    scores[rng.random(m) < 0.1] = -np.inf
    forbid = Ragged.of([rng.integers(0, m, rng.integers(0, longest + 1)).tolist() for _ in range(40)])
    each = np.repeat(scores[None], 40, axis=0)
    each[forbid.row_of_value(), forbid.values] = -np.inf
    expected_ids, expected_best = slowly(each, k)
    for rows, places in ((256, 1 << 22), (7, 1 << 22), (256, 50)):
        monkeypatch.setattr(topk, "_ROWS", rows)
        monkeypatch.setattr(topk, "_SHARED", places)
        ids, best = topk.top_shared(topk.falling(scores), scores, k, forbid)
        assert ids.tolist() == expected_ids.tolist()
        assert best.tolist() == expected_best.tolist()


def test_the_columns_by_falling_score_leave_out_what_is_no_score() -> None:
    scores = np.array([1, np.nan, -np.inf, 2, 2, -0.0, 0.0], np.float32)
    assert topk.falling(scores).tolist() == [3, 4, 0, 5, 6]


def test_enough_users_are_scored_at_once_within_the_stated_memory() -> None:
    assert [block_rows(n_items) for n_items in (1, 5_000, 65_536, 300_000, 10_000_000, 10**9)] == [
        4 << 20, 838, 64, 64, 3, 1
    ]  # fmt: skip
    assert all(block_rows(n_items) * n_items * 4 <= 128 << 20 for n_items in range(1, 10_000_000, 99_999))


@pytest.mark.parametrize("n", [2, 15, 16, 90])
def test_everybody_gets_the_popular_items_that_he_has_not_had(n: int) -> None:
    rng = np.random.default_rng(n)
    counts = rng.integers(0, 9, 70).astype(np.float32)
    ranker = VectorRanker(Embeddings(counts[:, None], Constant(np.ones(1, np.float32))))
    available = rng.random(70) < 0.8
    forbid = Ragged.of([rng.integers(0, 70, 12).tolist() for _ in range(n)])
    users = Users.unknown(forbid)
    answer = ranker.top(users, 10, forbid=forbid, available=available)
    each = np.repeat(np.where(available, counts, -np.inf)[None], n, axis=0)
    each[forbid.row_of_value(), forbid.values] = -np.inf
    assert answer.ids.tolist() == slowly(each, 10)[0].tolist()
    among = Ragged.of([rng.permutation(70)[:20].tolist() for _ in range(n)])
    outside = np.ones((n, 70), bool)
    outside[among.row_of_value(), among.values] = False
    answer = ranker.top(users, 10, forbid=forbid, available=available, among=among)
    assert answer.ids.tolist() == slowly(np.where(outside, -np.inf, each), 10)[0].tolist()
