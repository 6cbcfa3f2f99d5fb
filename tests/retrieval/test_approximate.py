"""Indexes that are not exact: under every rule exactly k, never what is forbidden, true scores, enough of the
best."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from recsys.arrays import F32, Ragged
from recsys.encoders.bag import Bag
from recsys.encoders.users import Users
from recsys.errors import BundleError, SettingError
from recsys.retrieval.approximate import FILE, Approximate, IndexSettings, factories
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.index import Flat, Index
from recsys.retrieval.ranker import order_of
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.vector_ranker import VectorRanker

KINDS = {
    "SQfp16": IndexSettings(factory="SQfp16", fetch=1.1),
    "SQ8": IndexSettings(factory="SQ8", fetch=1.5),
    "IVF16,Flat": IndexSettings(factory="IVF16,Flat", effort=6, filtered=((0.5, 8), (0.2, 12))),
    "IVF16,SQ8": IndexSettings(factory="IVF16,SQ8", effort=6, fetch=1.5, filtered=((0.5, 8), (0.2, 12))),
    "IVF1,PQ16x4fs": IndexSettings(factory="IVF1,PQ16x4fs", effort=1, fetch=4.0, filtered=((0.05, 1),)),
    "IVF16,PQ16x4fs": IndexSettings(factory="IVF16,PQ16x4fs", effort=8, fetch=4.0, filtered=((0.2, 12),)),
    "HNSW32": IndexSettings(factory="HNSW32", effort=800, filtered=((0.5, 1_200), (0.2, 2_000))),
    "HNSW32_SQfp16": IndexSettings(factory="HNSW32_SQfp16", effort=800, fetch=1.1, filtered=((0.2, 2_000),)),
}
SHARES = (1.0, 0.7, 0.3, 0.1, 0.01, 0.0)
DIM = 16


def draw_clusters(n: int, seed: int) -> F32:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((20, DIM))
    return (centres[random.integers(20, size=n)] + 0.5 * random.standard_normal((n, DIM))).astype(np.float32)


def recommender(items: F32, table: F32, index: Index | None) -> Recommender:
    embeddings = Embeddings(items, Bag(np.zeros_like(items), table, unit=False))
    order = order_of(np.arange(len(items)))
    return Recommender(VectorRanker(embeddings, index), order, seen="exclude")


def users_of(n_users: int, history: Ragged) -> Users:
    return Users.of_rows(np.arange(n_users), history)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[F32, F32, Index]:
    """Items, the people's vectors, and an index of one kind over the items."""
    items = draw_clusters(2_000, seed=1)
    return items, draw_clusters(60, seed=2), Approximate.build(items, KINDS[request.param])


@pytest.mark.parametrize("way", ["among", "available"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_whatever_is_allowed_the_answer_is_whole_and_nothing_else(kind: Any, k: int, way: str) -> None:
    items, table, index = kind
    random, n = np.random.default_rng(k), len(items)
    exact, through = recommender(items, table, None), recommender(items, table, index)
    hits = wanted = 0
    for row in range(len(table)):
        allowed = random.random(n) < SHARES[row % len(SHARES)]
        had = random.choice(n, 20)
        users = users_of(len(table), Ragged.from_pairs(np.full(20, row), had, len(table))).take(
            np.array([row])
        )
        rules: dict[str, Any] = {}
        engines = [exact, through]
        if way == "among":
            rules = {"among": Ragged.of([np.flatnonzero(allowed)])}
        else:
            engines = [Recommender(one.ranker, one.fallback, "exclude", allowed) for one in engines]
        truth, lists = (one.recommend(users, k, **rules) for one in engines)
        ids = lists.ids[0][lists.ids[0] >= 0]
        left = np.setdiff1d(np.flatnonzero(allowed), had)
        assert len(ids) == len(set(ids.tolist())) == min(k, len(left))
        assert np.isin(ids, left).all()
        np.testing.assert_allclose(lists.scores[0][: len(ids)], items[ids] @ table[row], rtol=1e-4, atol=1e-5)
        assert (np.diff(lists.scores[0][: len(ids)]) <= 0).all()
        assert (lists.ids[0][len(ids) :] == -1).all()
        assert np.isneginf(lists.scores[0][len(ids) :]).all()
        hits, wanted = hits + len(np.intersect1d(ids, truth.ids[0])), wanted + len(ids)
    assert hits / wanted > 0.9


def test_many_go_the_same_way_as_one(kind: Any) -> None:
    items, table, index = kind
    through, users = (
        recommender(items, table, index),
        users_of(60, Ragged.of([[row, row + 60] for row in range(60)])),
    )
    together = through.recommend(users, 20)
    for row in range(0, 60, 7):
        alone = through.recommend(users.take(np.array([row])), 20)
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


def test_without_what_an_index_may_miss_the_answer_is_the_exact_one(kind: Any) -> None:
    items, table, index = kind
    users = users_of(60, Ragged.empty(60))
    for k in (10, len(items)):
        truth = recommender(items, table, None).recommend(users, k)
        lists = recommender(items, table, index).exactly().recommend(users, k)
        np.testing.assert_array_equal(lists.ids, truth.ids)


def test_asked_for_more_than_it_was_measured_for_the_scan_answers(kind: Any) -> None:
    items, table, index = kind
    users = users_of(60, Ragged.empty(60)).take(np.array([0]))
    truth, lists = (recommender(items, table, one).recommend(users, 500) for one in (Flat(items), index))
    np.testing.assert_array_equal(lists.ids, truth.ids)


def test_an_index_that_ignores_the_rule_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    items, table = draw_clusters(2_000, seed=1), draw_clusters(5, seed=2)
    index = Approximate.build(items, KINDS["SQfp16"].model_copy(update={"filtered": ((0.01, 0),)}))
    whole = type(index).search
    monkeypatch.setattr(
        Approximate, "search", lambda self, vectors, k, allowed, effort: whole(self, vectors, k)
    )
    for row in range(5):
        best = np.argsort(-(items @ table[row]), kind="stable")
        forbidden = best[:30]
        users = users_of(5, Ragged.from_pairs(np.full(30, row), forbidden, 5)).take(np.array([row]))
        lists = recommender(items, table, index).recommend(users, 10)
        np.testing.assert_array_equal(lists.ids[0], best[30:40])


@pytest.mark.parametrize("n", [1, 2, 50])
@pytest.mark.parametrize("made", ["any", "constant", "zero", "twins"])
def test_few_items_and_odd_ones_are_found_like_others(n: int, made: str) -> None:
    items = draw_clusters(n, seed=3)
    if made == "constant":
        items[:] = 1
    elif made == "zero":
        items[: n // 2] = 0
    elif made == "twins":
        items[n // 2 :] = items[: n - n // 2]
    table = draw_clusters(4, seed=4)
    for name in factories(n, DIM):
        settings = IndexSettings(factory=name, effort=2, fetch=1.5, filtered=((0.01, 2),))
        index: Index = Flat(items) if settings.exact else Approximate.build(items, settings)
        users = users_of(4, Ragged.of([[0], [], [0], []]))
        truth = recommender(items, table, None).recommend(users, 10)
        for row in range(4):
            lists = recommender(items, table, index).recommend(users.take(np.array([row])), 10)
            assert (lists.ids[0] >= 0).sum() == min(10, n - (row % 2 == 0))
            np.testing.assert_allclose(lists.scores[0], truth.scores[row], rtol=1e-4, atol=1e-5)


def test_what_cannot_be_built_says_so() -> None:
    with pytest.raises(SettingError, match="IVF64,Flat needs 2,496 items to learn its lists, there are 100"):
        Approximate.build(draw_clusters(100, seed=1), IndexSettings(factory="IVF64,Flat"))
    with pytest.raises(SettingError, match="no index is called 'PQ8' here"):
        IndexSettings.build({"factory": "PQ8"}, where="the index")


def write_index(index: Any, path: Path) -> None:
    faiss.serialize_index(index).tofile(path)


def test_what_is_not_the_index_of_these_vectors_is_refused(tmp_path: Path) -> None:
    items, settings = draw_clusters(700, seed=1), KINDS["IVF16,Flat"]
    whole = Approximate.build(items, settings)
    whole.save(tmp_path / FILE)
    loaded = Approximate.load(tmp_path, items, settings)
    np.testing.assert_array_equal(loaded.search(items[:5], 10)[1], whole.search(items[:5], 10)[1])
    quantizer = faiss.IndexFlatIP(DIM)
    distances = faiss.index_factory(DIM, "IVF16,Flat", faiss.METRIC_L2)
    distances.train(items)
    distances.add(items)
    for wrong, said in (
        (Approximate.build(items[:650], settings).index, "holds 650 vectors of dim 16, the bundle 700 of 16"),
        (Approximate.build(items, KINDS["HNSW32"]).index, "is no IVF16,Flat"),
        (distances, "measures distances, and scores here are inner products"),
        (faiss.IndexIVFFlat(quantizer, DIM, 16, faiss.METRIC_INNER_PRODUCT), "holds 0 vectors"),
    ):
        write_index(wrong, tmp_path / FILE)
        with pytest.raises(BundleError, match=said):
            Approximate.load(tmp_path, items, settings)
    raw = faiss.serialize_index(whole.index).tobytes()
    (tmp_path / FILE).write_bytes(raw[: len(raw) // 2])
    with pytest.raises(BundleError, match="is not a FAISS index"):
        Approximate.load(tmp_path, items, settings)
