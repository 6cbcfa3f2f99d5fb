"""What follows what: planted chains are learned in their direction, and the vectors come to the whole
matrix."""

import numpy as np
import pytest

from recsys.arrays import F32, Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import FALLBACK, HISTORY
from recsys.encoders.users import Users
from recsys.models.registry import make_model
from recsys.models.search import Span
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.vector_ranker import ranker_of
from recsys.testing.learners import scores_of
from recsys.testing.toys import dataset

N = 12
BOTH = [("cooccurrence", {}), ("cooccurrence_svd", {"dim": N})]


def chains(seed: int, n_users: int = 300) -> Dataset:
    """Each user walks from an item of their own in the order 0, 1 ... 11, 0; in the file the users are
    mixed."""
    rng = np.random.default_rng(seed)
    start, length = rng.integers(N, size=n_users), rng.integers(3, 7, size=n_users)
    user = np.repeat(np.arange(n_users), length)
    step = np.concatenate([np.arange(one) for one in length])
    item, time = (start[user] + step) % N, rng.integers(1_000, size=n_users)[user] + step
    mixed = rng.permutation(len(user))
    return dataset(user[mixed], item[mixed], n_users, N, time=time[mixed])


def learned_scores(
    name: str, settings: dict[str, object], data: Dataset, rows: list[list[int]], seed: int = 1
) -> F32:
    return scores_of(make_model(name, settings).fit(data, seed=seed), Ragged.of(rows), N)


@pytest.mark.parametrize(("name", "settings"), BOTH)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_next_of_a_chain_comes_after_its_item_and_not_before_it(
    name: str, settings: dict[str, object], seed: int
) -> None:
    scores = learned_scores(name, settings, chains(seed), [[item] for item in range(N)], seed)
    for item in range(N):
        after, before = (item + 1) % N, (item - 1) % N
        assert scores[item].argmax() == after
        assert scores[item, after] > 1.2 * scores[item, before]


@pytest.mark.parametrize(("name", "settings"), BOTH)
def test_without_a_direction_what_came_before_counts_like_what_follows(
    name: str, settings: dict[str, object]
) -> None:
    settings = settings | {"back": 1.0, "from_exponent": 0.5, "to_exponent": 0.5}
    scores = learned_scores(name, settings, chains(1), [[item] for item in range(N)])
    np.testing.assert_allclose(scores, scores.T, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), BOTH)
def test_the_last_event_says_more_and_by_the_half_life(name: str, settings: dict[str, object]) -> None:
    settings = settings | {"half_life": 2.0}
    one, other, both = learned_scores(name, settings, chains(2), [[3], [8], [3, 8]])
    np.testing.assert_allclose(both, one * 0.5**0.5 + other, rtol=1e-4, atol=1e-5)
    assert both.argmax() == 9


def test_at_full_rank_the_vectors_score_as_the_matrix_does() -> None:
    data, rows = chains(3), [[1, 2, 3], [7], [11, 0]]
    whole, vectors = (learned_scores(name, settings, data, rows) for name, settings in BOTH)
    np.testing.assert_allclose(vectors, whole, rtol=1e-3, atol=1e-5)


def test_columns_beyond_the_items_are_zero_and_items_of_no_pair_are_not_trained() -> None:
    data = dataset(np.array([0, 0, 1]), np.array([0, 1, 2]), 2, 4, time=np.arange(3))
    learned = make_model("cooccurrence_svd", {"dim": 9}).fit(data, seed=1)
    assert isinstance(learned, Embeddings)
    assert learned.items.shape == (4, 9)
    assert not learned.items[:, 4:].any()
    assert learned.trained.tolist() == [True, True, False, False]


@pytest.mark.parametrize("name", ["cooccurrence", "cooccurrence_svd", "item_knn"])
def test_a_history_that_says_nothing_gets_the_fallback(name: str) -> None:
    """Item 2 occurs, but with no other item: any order that it gave would be that of the file."""
    data = dataset(np.array([0, 0, 1]), np.array([0, 1, 2]), 2, 4, time=np.arange(3))
    users = Users.unknown(Ragged.of([[2], [2, 0]]))
    answer = ranker_of(make_model(name, {}).fit(data, seed=1)).top(users, 2, forbid=Ragged.empty(2))
    assert answer.source.tolist() == [FALLBACK, HISTORY]
    assert answer.ids[1, 0] == 1


@pytest.mark.parametrize(("name", "settings"), BOTH)
def test_settings_at_the_ends_of_the_search_are_taken(name: str, settings: dict[str, object]) -> None:
    space = type(make_model(name, settings)).search  # type: ignore[attr-defined]
    for end in ("low", "high"):
        tried = {key: getattr(one, end) for key, one in space.items() if isinstance(one, Span)}
        assert np.isfinite(learned_scores(name, settings | tried, chains(1), [[0, 5]])).all()
