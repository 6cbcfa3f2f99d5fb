"""Item-kNN, EASE and own most frequent, against slow and obvious implementations."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import FALLBACK, HISTORY
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.history import Histories
from recsys.models import memory
from recsys.models.neighbours import ease as ease_module
from recsys.models.neighbours import item_knn as knn_module
from recsys.models.neighbours.ease import EASE, EASESettings
from recsys.models.neighbours.item_knn import ItemKNN, ItemKNNSettings
from recsys.models.neighbours.item_weights import ItemWeights
from recsys.models.own_history import OwnHistory
from recsys.progress import Step
from recsys.retrieval.embeddings import embeddings_of
from recsys.testing.toys import checkerboard, dataset, random_log


def weighted_log(seed: int) -> Dataset:
    """A log without pattern, with event weights and repeats; the last item never occurs."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(40, size=400), rng.integers(29, size=400)
    weight = rng.choice([0.5, 1.0, 3.0], 400).astype(np.float32)
    return dataset(user, item, 40, 30, time=rng.permutation(400), weight=weight)


def dense(data: Dataset) -> np.ndarray:
    """float64 (n_users, n_items): summed event weights, event by event."""
    x = np.zeros((data.n_users, data.n_items))
    events = data.interactions
    for user, item, weight in zip(events.user, events.item, events.weights, strict=True):
        x[user, item] += weight
    return x


def no_rules(n: int) -> Ragged:
    return Ragged.empty(n)


# Item-kNN

KNN = [
    {"neighbours": 4, "shrinkage": 2.0, "amplification": 1.0, "user_exponent": 0.0, "repeat_exponent": 1.0},
    {"neighbours": 7, "shrinkage": 0.0, "amplification": 2.0, "user_exponent": 0.5, "repeat_exponent": 0.5},
    {"neighbours": 100, "shrinkage": 0.3, "amplification": 0.5, "user_exponent": 1.0, "repeat_exponent": 0.2},
]


@pytest.mark.parametrize("settings", KNN, ids=str)
@pytest.mark.parametrize("block", [8 << 20, 70], ids=["one block", "two items a block"])
def test_neighbours_are_those_of_pairwise_cosines(
    settings: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn_module, "_BLOCK_PAIRS", block)
    data = weighted_log(1)
    matrix = ItemKNN(ItemKNNSettings(**settings)).fit(data, seed=1).matrix.toarray()
    x = dense(data)
    totals = x.sum(axis=1)
    x **= settings["repeat_exponent"]
    w = np.array([total ** -settings["user_exponent"] if total else 0.0 for total in totals])
    for j in range(30):
        cosines = {}
        for i in set(range(30)) - {j}:
            product = sum(w[u] * x[u, i] * x[u, j] for u in range(40))
            norms = [np.sqrt(sum(w[u] * x[u, each] ** 2 for u in range(40))) for each in (i, j)]
            if product > 0:
                cosines[i] = product / (norms[0] * norms[1] + settings["shrinkage"])
        nearest = sorted(cosines, key=lambda i: -cosines[i])[: settings["neighbours"]]
        expected = np.zeros(30)
        for i in nearest:
            expected[i] = cosines[i] ** settings["amplification"]
        np.testing.assert_allclose(matrix[:, j], expected, rtol=1e-4)


def test_the_weights_of_item_knn_stay_sparse() -> None:
    matrix = ItemKNN(ItemKNNSettings(neighbours=3)).fit(random_log(1, n=4_000), seed=1).matrix
    assert sparse.issparse(matrix)
    assert np.diff(matrix.tocsc().indptr).max() == 3


# EASE


def test_ease_is_the_closed_form_of_the_paper() -> None:
    data = weighted_log(2)
    matrix = EASE(EASESettings(regularization=7.0)).fit(data, seed=1).matrix
    x = dense(data)
    p = np.linalg.inv(x.T @ x + 7.0 * np.eye(30))
    expected = p / -np.diag(p)
    np.fill_diagonal(expected, 0)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, expected, atol=2e-5)


def test_ease_rebuilds_better_than_any_weights_near_it() -> None:
    """Ridge loss with a zero diagonal, not the formula: no small change of the weights lowers it."""
    data = weighted_log(3)
    x, matrix = (
        dense(data),
        EASE(EASESettings(regularization=4.0)).fit(data, seed=1).matrix.astype(np.float64),
    )

    def loss(weights: np.ndarray) -> float:
        return float(np.sum((x - x @ weights) ** 2) + 4.0 * np.sum(weights**2))

    rng = np.random.default_rng(0)
    assert (np.diag(matrix) == 0).all()
    for _ in range(50):
        change = rng.normal(size=matrix.shape) * 1e-2
        np.fill_diagonal(change, 0)
        assert loss(matrix + change) > loss(matrix)


def test_ease_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = EASE().fit(weighted_log(4), seed=1).matrix
    monkeypatch.setattr(ease_module, "_BLOCK", 7)
    monkeypatch.setattr(ease_module, "_SWEPT", 5)
    np.testing.assert_allclose(EASE().fit(weighted_log(4), seed=1).matrix, whole, rtol=1e-5, atol=1e-8)


def test_ease_takes_the_memory_of_one_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second array of the size would double what large catalogues need: the factor must lie where the Gram
    lay."""
    import tracemalloc

    rng = np.random.default_rng(1)
    n = 700
    data = dataset(rng.integers(500, size=9_000), rng.integers(n, size=9_000), 500, n)
    data.interactions.matrix()
    monkeypatch.setattr(ease_module, "_BLOCK", 16)
    monkeypatch.setattr(ease_module, "_SWEPT", 16)
    tracemalloc.start()
    learned = EASE().fit(data, seed=1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert learned.matrix.nbytes == 4 * n * n
    assert peak < 1.5 * 4 * n * n


def test_ease_says_its_bytes_first_and_refuses_when_they_are_not_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[Step] = []
    EASE().fit(random_log(1, n_items=3_000), seed=1, progress=steps.append)
    assert (steps[0].task, steps[0].done) == ("learning ease in 0.03 GiB", 0)  # 4 * 3,000 ** 2 bytes
    monkeypatch.setattr(ease_module, "available_bytes", lambda: 3_000)
    monkeypatch.setattr(ease_module, "_invert", None)  # never reached
    with pytest.raises(
        ModelError, match=r"ease needs 0.0 GiB for the 30 items of toy, and 0.0 GiB are free. Use item_knn"
    ):
        EASE().fit(random_log(1), seed=1)
    monkeypatch.setattr(ease_module, "available_bytes", lambda: None)  # nobody knows: the fit is tried
    with pytest.raises(TypeError):
        EASE().fit(random_log(1), seed=1)


def test_free_memory_obeys_the_container(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = memory.available_bytes()
    assert machine is None or machine > 1 << 20
    for name, text in (
        ("memory.max", "5000\n"),
        ("memory.current", "3000\n"),
        ("memory.stat", "anon 9\nfile 700\n"),
    ):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    assert memory.available_bytes() == 2700
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() != 2700


# What both end in


@pytest.mark.parametrize("kind", ["sparse", "dense"])
@pytest.mark.parametrize("half_life", [None, 2.0])
def test_a_score_is_the_history_row_times_the_matrix(kind: str, half_life: float | None) -> None:
    rng = np.random.default_rng(7)
    matrix = (rng.normal(size=(12, 12)) * (rng.random((12, 12)) < 0.5)).astype(np.float32)
    trained = np.arange(12) != 11
    weights = ItemWeights(sparse.csr_array(matrix) if kind == "sparse" else matrix, trained, half_life)
    histories = [[3, 0, 3, 7], [5], [], [11], [11, 2]]
    event_weight = rng.random(8).astype(np.float32)
    users = Users.of_rows(np.array([0, -1, 2, 3, -1]), Histories(Ragged.of(histories), weight=event_weight))
    answer = weights.top(users, 12, forbid=no_rules(5))
    assert answer.source.tolist() == [HISTORY, HISTORY, FALLBACK, FALLBACK, HISTORY]
    at = 0
    for row, history in enumerate(histories):
        expected, mine = np.zeros(12), event_weight[at : at + len(history)]
        at += len(history)
        for place, item in enumerate(history):
            later = len(history) - 1 - place
            expected += (
                mine[place] * (1.0 if half_life is None else 0.5 ** (later / half_life)) * matrix[item]
            )
        if answer.source[row] == HISTORY:
            np.testing.assert_allclose(answer.scores[row], expected[answer.ids[row]], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(answer.scores[row], np.sort(expected)[::-1], rtol=1e-5, atol=1e-6)
        else:
            assert (answer.ids[row] == -1).all()


@pytest.mark.parametrize("half_life", [None, 3.0])
def test_an_item_of_the_history_counts_what_it_counted_in_learning(half_life: float | None) -> None:
    """Item-kNN learns from summed weights to a power; a history with repeats and weights is scored by the
    same."""
    data = weighted_log(8)
    settings = ItemKNNSettings(neighbours=30, repeat_exponent=0.4, half_life=half_life)
    ranker, histories = ItemKNN(settings).fit(data, seed=1), data.interactions.histories()
    matrix, x = ranker.matrix.toarray(), dense(data)
    users = Users.unknown(histories)
    answer = ranker.top(users, 30, forbid=no_rules(40))
    for row in range(40):
        at = histories.items.positions(np.array([row]))
        expected = np.zeros(30)
        for place, event in enumerate(at):
            item, weight = histories.items.values[event], histories.weight[event]
            age = 1.0 if half_life is None else 0.5 ** ((len(at) - 1 - place) / half_life)
            expected += age * weight * x[row, item] ** (0.4 - 1) * matrix[item]
        if half_life is None:
            np.testing.assert_allclose(expected, x[row] ** 0.4 @ matrix, rtol=1e-5)
        ids = answer.ids[row][answer.ids[row] >= 0]
        np.testing.assert_allclose(answer.scores[row][: len(ids)], expected[ids], rtol=1e-4)
        parts = ranker.contributions(users.take(np.array([row])), ids)
        np.testing.assert_allclose(parts.sum(axis=1), expected[ids], rtol=1e-4)


def test_ease_scores_a_weighted_history_by_the_row_that_it_learned_from() -> None:
    data = weighted_log(9)
    ranker = EASE(EASESettings(regularization=5.0)).fit(data, seed=1)
    answer = ranker.top(Users.unknown(data.interactions.histories()), 29, forbid=no_rules(40))
    expected = dense(data) @ ranker.matrix
    for row in range(40):
        np.testing.assert_allclose(answer.scores[row], expected[row, answer.ids[row]], rtol=1e-4, atol=1e-5)


def test_broken_weights_are_refused() -> None:
    trained = np.ones(3, bool)
    with pytest.raises(ModelError, match=r"must be float32 \(3, 3\), got float64 \(3, 3\)"):
        ItemWeights(np.eye(3), trained)
    broken = np.eye(3, dtype=np.float32)
    broken[1, 2] = np.nan
    for matrix in (broken, sparse.csr_array(broken)):
        with pytest.raises(ModelError, match="must be finite"):
            ItemWeights(matrix, trained)


def test_what_has_no_vectors_is_not_exported() -> None:
    with pytest.raises(
        ModelError, match="ease learns no vectors, so it can be judged but not exported or served"
    ):
        embeddings_of("ease", EASE().fit(checkerboard(6), seed=1))


# Own most frequent


def test_own_items_come_by_count_then_the_latest_then_popularity() -> None:
    data = random_log(5)
    ranker = OwnHistory().fit(data, seed=1)
    histories = data.interactions.histories().items
    answer = ranker.top(Users.unknown(histories), 30, forbid=no_rules(40))
    counts = Counter(data.interactions.item.tolist())
    for row in range(40):
        history = histories.row(row).tolist()
        own, last = Counter(history), {item: at for at, item in enumerate(history)}
        mine = sorted(own, key=lambda item: (-own[item], -last[item]))
        rest = sorted(set(range(30)) - set(mine), key=lambda item: (-counts[item], item))
        assert answer.ids[row].tolist() == mine + rest


def test_own_items_that_were_merged_into_one_event_still_say_how_often() -> None:
    data = dataset(
        np.array([0, 0, 0]), np.array([1, 2, 3]), 1, 5, time=np.arange(3), weight=np.array([4.0, 9.0, 1.0])
    )
    ranker = OwnHistory().fit(data, seed=1)
    answer = ranker.top(Users.unknown(data.interactions.histories()), 3, forbid=no_rules(1))
    assert answer.ids[0].tolist() == [2, 1, 3]


def test_who_has_no_history_of_his_own_gets_the_fallback() -> None:
    answer = (
        OwnHistory()
        .fit(random_log(5), seed=1)
        .top(Users.unknown(Ragged.of([[], [3]])), 2, forbid=no_rules(2))
    )
    assert answer.source.tolist() == [FALLBACK, HISTORY]
    assert answer.ids[0].tolist() == [-1, -1]
