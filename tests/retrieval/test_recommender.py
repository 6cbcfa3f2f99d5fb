"""The one path from users to items: exactly k, every rule obeyed, the same alone, in a batch and in
evaluation."""

from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from recsys.arrays import F32, Ragged
from recsys.encoders.encoder import FALLBACK, HISTORY, USER_ROW, Encoded
from recsys.encoders.users import Users
from recsys.errors import DataError, ModelError, RequestError, SettingError
from recsys.evaluation.evaluate import DEFAULT_METRICS, evaluate
from recsys.history import Histories
from recsys.retrieval import ranker as ranker_module
from recsys.retrieval import recommender as recommender_module
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.index import Flat
from recsys.retrieval.ranker import order_of
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.vector_ranker import VectorRanker

N_USERS, N_ITEMS, DIM = 40, 90, 6


class Mean:
    """A known user's row, else the mean of their history's vectors, else nothing."""

    encoder_kind: ClassVar[str] = "mean"
    personal: ClassVar[bool] = True
    folds_in: ClassVar[bool] = True
    knows_users: ClassVar[bool] = True
    space_id = "toy"

    def __init__(self, table: F32, items: F32) -> None:
        self.table, self.items, self.dim = table, items, table.shape[1]

    def encode(self, users: Users) -> Encoded:
        vectors = np.zeros((len(users), self.dim), np.float32)
        for row in range(len(users)):
            if users.index[row] >= 0:
                vectors[row] = self.table[users.index[row]]
            elif len(users.history.items.row(row)):
                vectors[row] = self.items[users.history.items.row(row)].mean(axis=0)
        source = np.where(users.index >= 0, USER_ROW, np.where(users.history.lengths > 0, HISTORY, FALLBACK))
        return Encoded(vectors, source.astype(np.int8))


def embeddings_of(items: F32, table: F32) -> Embeddings:
    encoder: Any = Mean(table, items)
    return Embeddings(items, encoder)


RNG = np.random.default_rng(0)
ITEMS = RNG.normal(size=(N_ITEMS, DIM)).astype(np.float32)
TABLE = RNG.normal(size=(N_USERS, DIM)).astype(np.float32)
FALLBACK_ORDER = RNG.permutation(N_ITEMS).astype(np.int32)
SEEN = [RNG.choice(N_ITEMS, RNG.integers(1, 30), replace=False).tolist() for _ in range(N_USERS)]
INDEX = np.where(RNG.random(N_USERS) < 0.4, -1, np.arange(N_USERS))
SEEN[3], INDEX[3] = [], -1  # a stranger
SEEN[4], INDEX[4] = [], 4
SEEN[5], INDEX[5] = list(range(N_ITEMS)), 5  # has seen everything
SEEN[6], INDEX[6] = list(range(N_ITEMS)), -1
USERS = Users.of_rows(INDEX, Ragged.of(SEEN))


def recommender(index: Any = None, **rules: Any) -> Recommender:
    return Recommender(VectorRanker(embeddings_of(ITEMS, TABLE), index), FALLBACK_ORDER, **rules)


def slowly(row: int, k: int, forbidden: set[int], among: set[int] | None = None) -> tuple[list[int], int]:
    """Ids, padded, and source of one user's answer."""
    allowed = [i for i in range(N_ITEMS) if i not in forbidden and (among is None or i in among)]
    if INDEX[row] < 0 and not SEEN[row]:
        ranked = [int(item) for item in FALLBACK_ORDER if item in set(allowed)]
        return (ranked + [-1] * k)[:k], FALLBACK
    vector = TABLE[INDEX[row]] if INDEX[row] >= 0 else ITEMS[SEEN[row]].mean(axis=0)
    scores = ITEMS.astype(np.float64) @ vector
    ranked = sorted(allowed, key=lambda item: (-scores[item], item))
    return (ranked + [-1] * k)[:k], USER_ROW if INDEX[row] >= 0 else HISTORY


def random_rows(seed: int, most: int) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.choice(N_ITEMS, rng.integers(0, most), replace=False).tolist() for _ in range(N_USERS)]


DENY, AMONG = random_rows(1, 20), random_rows(2, 40)
AVAILABLE = np.random.default_rng(3).random(N_ITEMS) < 0.8
RULES = [
    {},
    {"seen": "allow"},
    {"available": True},
    {"deny": True},
    {"among": True},
    {"deny": True, "among": True, "available": True},
    {"deny": True, "among": True, "available": True, "seen": "allow"},
]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: " ".join(rules) or "plain")
@pytest.mark.parametrize("k", [1, 10, N_ITEMS, N_ITEMS + 7])
@pytest.mark.parametrize("alone", [False, True], ids=["batch", "alone"])
def test_answers_equal_slow_ones_under_every_rule(rules: dict[str, Any], k: int, alone: bool) -> None:
    seen = rules.get("seen", "exclude")
    available = AVAILABLE if "available" in rules else None
    deny = Ragged.of(DENY) if "deny" in rules else None
    among = Ragged.of(AMONG) if "among" in rules else None
    engine = recommender(Flat(ITEMS) if alone else None, seen=seen, available=available)
    # alone: a user at a time, through the index, the way of the service
    parts = [np.array([row]) for row in range(N_USERS)] if alone else [np.arange(N_USERS)]
    for rows in parts:
        answer = engine.recommend(
            USERS.take(rows), k, deny=deny and deny.take(rows), among=among and among.take(rows)
        )
        assert answer.ids.shape == answer.scores.shape == (len(rows), k)
        assert (answer.ids.dtype, answer.scores.dtype, answer.source.dtype) == (np.int64, np.float32, np.int8)
        for at, row in enumerate(rows):
            forbidden = set(SEEN[row]) if seen == "exclude" else set()
            forbidden |= set(DENY[row]) if deny else set()
            forbidden |= set(np.flatnonzero(~AVAILABLE).tolist()) if available is not None else set()
            ids, source = slowly(row, k, forbidden, set(AMONG[row]) if among else None)
            assert (answer.ids[at].tolist(), answer.source[at]) == (ids, source)
            assert (np.isneginf(answer.scores[at]) == (answer.ids[at] < 0)).all()
            assert (np.sort(-answer.scores[at], kind="stable") == -answer.scores[at]).all()


def test_a_user_who_has_seen_everything_gets_pads_and_never_a_seen_item() -> None:
    answer = recommender().recommend(USERS, 3)
    assert answer.ids[5].tolist() == answer.ids[6].tolist() == [-1, -1, -1]
    assert (answer.source[5], answer.source[6]) == (USER_ROW, HISTORY)


def test_a_stranger_gets_the_fallback_in_its_order_with_falling_scores() -> None:
    answer = recommender().recommend(USERS, N_ITEMS)
    assert answer.ids[3].tolist() == FALLBACK_ORDER.tolist()
    np.testing.assert_allclose(answer.scores[3], 1 / np.arange(1, N_ITEMS + 1), rtol=1e-6)


def test_index_zero_is_an_item_like_any_other() -> None:
    items = np.eye(4, dtype=np.float32)
    engine = Recommender(
        VectorRanker(embeddings_of(items, np.zeros((1, 4), np.float32))), np.arange(4, dtype=np.int32)
    )
    fan, stranger = Users.unknown(Ragged.of([[0]])), Users.unknown(Ragged.of([[]]))
    assert 0 not in engine.recommend(fan, 4).ids
    assert engine.recommend(Users.of_rows([0], Ragged.of([[]])), 4).source.tolist() == [USER_ROW]
    allowed = Recommender(engine.ranker, engine.fallback, "allow").recommend(fan, 4)
    assert allowed.ids[0].tolist() == [0, 1, 2, 3]
    assert engine.recommend(stranger, 2).ids[0].tolist() == [0, 1]
    assert engine.recommend(stranger, 2, deny=Ragged.of([[0]])).ids[0].tolist() == [1, 2]
    assert engine.recommend(stranger, 2, among=Ragged.of([[0]])).ids[0].tolist() == [0, -1]


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("k", [1, 5, 12, 29, 30, 31])
def test_ties_go_to_the_lower_index_also_across_the_cut(index: bool, k: int) -> None:
    items = np.tile(np.array([[1.0], [2.0], [1.0]], np.float32), (10, 1))
    engine = Recommender(
        VectorRanker(embeddings_of(items, np.ones((1, 1), np.float32)), Flat(items) if index else None),
        np.arange(30, dtype=np.int32),
    )
    deny = [4, 0]
    answer = engine.recommend(Users.of_rows([0], Ragged.of([[]])), k, deny=Ragged.of([deny]))
    best = [item for item in [*range(1, 30, 3), *(i for i in range(30) if i % 3 != 1)] if item not in deny]
    assert answer.ids[0].tolist() == (best + [-1] * k)[:k]


@pytest.mark.parametrize("seed", range(4))
def test_a_search_that_also_finds_what_is_left_out_answers_like_the_exact_scan(seed: int) -> None:
    """Many items, few of them had or without a vector: the index is asked for so many more, which are then
    dropped."""
    rng = np.random.default_rng(seed)
    items = rng.integers(-2, 3, size=(2_000, DIM)).astype(
        np.float32
    )  # small whole numbers: many scores are equal
    items[rng.integers(2_000, size=5)] = 0
    rules: dict[str, Any] = {"fallback": np.arange(2_000, dtype=np.int32), "available": items.any(axis=1)}
    scanned, searching = (
        Recommender(VectorRanker(embeddings_of(items, TABLE), index), **rules)
        for index in (None, Flat(items))
    )
    for user in range(20):
        best = scanned.recommend(Users.of_rows(np.array([user]), Ragged.empty(1)), 20).ids[0]
        had = np.concatenate([rng.choice(best, 5, replace=False), rng.integers(2_000, size=9)])
        one = Users.of_rows(np.array([user]), Ragged.of([had]))
        for k in (1, 10, 100):
            wanted, got = scanned.recommend(one, k), searching.recommend(one, k)
            np.testing.assert_array_equal(got.ids, wanted.ids)
            np.testing.assert_array_equal(got.scores, wanted.scores)
            assert not set(had.tolist()) & set(got.ids[0].tolist())


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers = Users.of_rows(np.where(np.arange(N_USERS) % 2, INDEX, -1), Ragged.of([[]] * N_USERS))
    deny, among = Ragged.of(DENY), Ragged.of(AMONG)
    whole = recommender().recommend(strangers, 9, deny=deny, among=among)
    monkeypatch.setattr(ranker_module, "block_rows", lambda n_items: 3)
    monkeypatch.setattr(recommender_module, "block_rows", lambda n_items: 3)
    blocks = recommender().recommend(strangers, 9, deny=deny, among=among)
    assert (whole.source == FALLBACK).sum() >= N_USERS // 2
    assert blocks.ids.tolist() == whole.ids.tolist()
    np.testing.assert_allclose(blocks.scores, whole.scores, rtol=1e-5)


def test_taking_users_takes_all_that_belongs_to_them() -> None:
    items, beside = Ragged.of([[1, 2], [], [3, 4, 5]]), np.arange(5)
    history = Histories(items, time=beside, weight=beside + 0.5, event=beside + 10)
    features = pa.table({"age": [30, 40, 50], "tags": [[7], [8, 9], []]})
    index, now = np.array([5, -1, 0], np.int32), np.array([1, 2, 3])
    taken = Users(index, history, now, features).take(np.array([2, 0, 2]))
    assert taken.index.tolist() == [0, 5, 0]
    assert [taken.history.items.row(row).tolist() for row in range(3)] == [[3, 4, 5], [1, 2], [3, 4, 5]]
    for name, offset in (("time", 0), ("weight", 0.5), ("event", 10)):
        assert taken.history.columns()[name].tolist() == [at + offset for at in (2, 3, 4, 0, 1, 2, 3, 4)]
    assert taken.now is not None
    assert taken.now.tolist() == [3, 1, 3]
    assert taken.features is not None
    assert taken.features.to_pydict() == {"age": [50, 30, 50], "tags": [[], [7], []]}


def test_nobody_asked_is_nobody_answered() -> None:
    answer = recommender().recommend(USERS.take(np.array([], np.int64)), 5)
    assert (answer.ids.shape, answer.source.shape) == ((0, 5), (0,))


def test_what_cannot_be_asked_or_built_is_refused() -> None:
    with pytest.raises(RequestError, match="k must be at least 1, got 0"):
        recommender().recommend(USERS, 0)
    with pytest.raises(ValueError, match="seen must be one of"):
        recommender(seen="never")
    with pytest.raises(ValueError, match="fallback orders 3 items, the ranker has 90"):
        Recommender(recommender().ranker, np.arange(3, dtype=np.int32))
    with pytest.raises(ModelError, match=r"index holds \(10, 6\), the item vectors are \(90, 6\)"):
        VectorRanker(embeddings_of(ITEMS, TABLE), Flat(ITEMS[:10]))
    with pytest.raises(ModelError, match="do not fit an encoder of dim 5"):
        embeddings_of(ITEMS, TABLE[:, :5])
    broken = ITEMS.copy()
    broken[7, 2] = np.nan
    with pytest.raises(ModelError, match="must be finite; row 7 is not"):
        embeddings_of(broken, TABLE)
    with pytest.raises(ValueError, match="index has 2 rows, history has 1"):
        Users.of_rows([0, 1], Ragged.of([[]]))


def test_an_order_goes_from_high_to_low_and_ties_to_the_lower_index() -> None:
    assert order_of(np.array([1, 5, 5, 0, 7])).tolist() == [4, 1, 2, 0, 3]
    assert order_of(np.array([], np.int64)).tolist() == []


TARGETS = [RNG.choice(N_ITEMS, RNG.integers(1, 12), replace=False).tolist() for _ in range(N_USERS)]


@pytest.mark.parametrize("among", [None, AMONG], ids=["full ranking", "published candidates"])
def test_evaluation_judges_what_is_recommended(among: list[list[int]] | None) -> None:
    candidates = Ragged.of(among) if among else None
    report = evaluate(
        recommender(),
        USERS,
        Ragged.of(TARGETS),
        metrics=("recall_at_5", "recall_at_50", "mrr_at_5"),
        among=candidates,
    )
    for row in range(N_USERS):
        ids, source = slowly(row, 50, set(SEEN[row]), set(among[row]) if among else None)
        wanted = set(TARGETS[row])
        assert report.values["recall_at_5"][row] == pytest.approx(len(wanted & set(ids[:5])) / len(wanted))
        assert report.values["recall_at_50"][row] == pytest.approx(len(wanted & set(ids)) / len(wanted))
        first = [1 / rank for rank, item in enumerate(ids[:5], start=1) if item in wanted]
        assert report.values["mrr_at_5"][row] == pytest.approx(first[0] if first else 0.0)
        assert report.source[row] == source
    counted = {"known": int((INDEX >= 0).sum()), "history": int((INDEX < 0).sum()) - 1, "fallback": 1}
    assert report.sources() == counted
    interval = report.interval("recall_at_50")
    assert interval.mean == pytest.approx(report.values["recall_at_50"].mean())
    some = INDEX < 0
    assert report.interval("recall_at_50", some).mean == pytest.approx(
        report.values["recall_at_50"][some].mean()
    )


def test_a_target_that_cannot_be_recommended_stays_in_the_denominator() -> None:
    items = np.array([[3.0], [2.0], [1.0]], np.float32)
    engine = Recommender(
        VectorRanker(embeddings_of(items, np.ones((1, 1), np.float32))),
        np.arange(3, dtype=np.int32),
        available=np.array([True, True, False]),
    )
    users = Users.of_rows([0], Ragged.of([[0]]))
    report = evaluate(
        engine, users, Ragged.of([[1, 2]]), metrics=("recall_at_2", "ndcg_at_2", "hit_rate_at_1")
    )
    assert report.values["recall_at_2"].tolist() == [0.5]
    assert report.values["ndcg_at_2"] == pytest.approx([1 / (1 + 1 / np.log2(3))])
    assert report.values["hit_rate_at_1"].tolist() == [1.0]


def test_a_cut_beyond_the_catalogue_judges_the_whole_catalogue() -> None:
    report = evaluate(
        recommender(seen="allow"), USERS, Ragged.of(TARGETS), metrics=("recall_at_1000", "ndcg_at_1000")
    )
    assert report.values["recall_at_1000"].tolist() == [1.0] * N_USERS
    assert (report.values["ndcg_at_1000"] < 1).all()


def test_evaluation_in_blocks_is_the_same_and_tells_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = evaluate(recommender(), USERS, Ragged.of(TARGETS), among=Ragged.of(AMONG))
    monkeypatch.setattr("recsys.evaluation.evaluate._BLOCK", 7)
    steps: list[Any] = []
    blocks = evaluate(recommender(), USERS, Ragged.of(TARGETS), among=Ragged.of(AMONG), progress=steps.append)
    assert set(whole.values) == set(DEFAULT_METRICS)
    for name, values in whole.values.items():
        np.testing.assert_allclose(blocks.values[name], values)
    assert blocks.source.tolist() == whole.source.tolist()
    assert [step.done for step in steps] == [7, 14, 21, 28, 35, 40]


def test_evaluation_without_targets_or_metrics_is_refused() -> None:
    with pytest.raises(DataError, match="needs a target for each of 40 users; drop users without any"):
        evaluate(recommender(), USERS, Ragged.of([*TARGETS[:-1], []]))
    with pytest.raises(DataError, match="needs a target for each"):
        evaluate(recommender(), USERS, Ragged.of(TARGETS[:-1]))
    with pytest.raises(SettingError, match="at least one metric"):
        evaluate(recommender(), USERS, Ragged.of(TARGETS), metrics=())
    with pytest.raises(SettingError, match="'recall@5' is unknown"):
        evaluate(recommender(), USERS, Ragged.of(TARGETS), metrics=("recall@5",))
