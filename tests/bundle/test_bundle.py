"""The bundle: what is read back answers as what was written, and nothing damaged or mixed is ever loaded."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys.arrays import Ragged
from recsys.bundle import bundle
from recsys.bundle.write import publish
from recsys.encoders.encoder import FALLBACK, HISTORY, USER_ROW, Constant
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.history import Histories
from recsys.ids import IdMap
from recsys.retrieval.embeddings import Embeddings
from tests.helpers.bundles import content, exact, popularity, single

MADE = content()


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A bundle that no test may change."""
    return publish(tmp_path_factory.mktemp("written"), MADE)


@pytest.mark.parametrize("known", [True, False], ids=["known users", "histories alone"])
def test_a_loaded_bundle_answers_as_the_exact_recommender(original, known):
    users = Users(np.arange(30, dtype=np.int32) if known else np.full(30, -1, np.int32), MADE.histories)
    expected = exact(MADE).recommend(users, 12)
    loaded = bundle.load(original)
    batch = loaded.recommender.recommend(users, 12)
    ids, scores = single(loaded.recommender, users, 12)
    assert (expected.source == (USER_ROW if known else HISTORY)).all()
    for found_ids, found_scores in ((batch.ids, batch.scores), (ids, scores)):
        np.testing.assert_array_equal(found_ids, expected.ids)
        np.testing.assert_allclose(found_scores, expected.scores, rtol=1e-4)


def test_everything_else_comes_back(original):
    loaded = bundle.load(original)
    assert list(loaded.user_ids) == [f"u{user}" for user in range(30)]
    assert list(loaded.item_ids) == [f"i{item}" for item in range(40)]
    np.testing.assert_array_equal(loaded.histories.items.offsets, MADE.histories.items.offsets)
    np.testing.assert_array_equal(loaded.histories.items.values, MADE.histories.items.values)
    np.testing.assert_array_equal(loaded.histories.time, MADE.histories.time)
    np.testing.assert_array_equal(loaded.recommender.fallback, MADE.fallback)
    np.testing.assert_array_equal(loaded.item_vectors, MADE.embeddings.items)
    np.testing.assert_allclose(loaded.norms, np.sqrt((MADE.embeddings.items**2).sum(1)), rtol=1e-6)
    assert [loaded.catalogue.title(item) for item in (0, 1)] == ["Title 0", None]
    assert [loaded.catalogue.domain(item) for item in (0, 1)] == ["films", "books"]
    assert loaded.catalogue.domains["books"].tolist() == list(range(1, 40, 2))
    assert loaded.catalogue.categories(0) == []  # a column that the data did not have
    assert loaded.bundle_id == original.name
    assert loaded.recommender.seen == "exclude"


def test_a_bundle_without_times_has_none(tmp_path):
    assert bundle.load(publish(tmp_path, content(timed=False))).histories.time is None


def test_an_unlisted_file_is_not_read(tmp_path):
    folder = publish(tmp_path, content(timed=False))
    np.save(folder / "histories.time.npy", np.zeros(180, np.int64))
    assert bundle.load(folder).histories.time is None


def test_a_bundle_of_users_without_events_answers_the_fallback(tmp_path):
    loaded = bundle.load(publish(tmp_path, content(events=0)))
    answer = loaded.recommender.recommend(Users.of_rows(np.array([3]), Ragged.empty(1)), 5)
    assert answer.source[0] == FALLBACK
    assert answer.ids[0].tolist() == [0, 1, 2, 3, 4]


def test_vectors_in_fortran_order_are_stored_row_by_row(tmp_path):
    items = np.asfortranarray(MADE.embeddings.items)
    loaded = bundle.load(
        publish(tmp_path, replace(MADE, embeddings=Embeddings(items, MADE.embeddings.encoder)))
    )
    np.testing.assert_array_equal(loaded.item_vectors, items)
    assert loaded.item_vectors.flags.c_contiguous
    users = Users.unknown(MADE.histories)
    np.testing.assert_array_equal(
        single(loaded.recommender, users, 9)[0], exact(MADE).recommend(users, 9).ids
    )


def make_ties(rng, n_items, dim):
    """Vectors of small whole numbers: float32 adds them without rounding, so equal scores are equal
    exactly."""
    items = rng.integers(-1, 2, (n_items, dim)).astype(np.float32)
    items[n_items // 2] = items[0]  # duplicates, however the dice fell
    items[-1] = 0
    return Embeddings(items, Constant(np.ones(dim, np.float32)))


def by_hand(embeddings, k, forbidden, allowed):
    """The k best in plain Python: by score, then by index; items without a vector do not exist."""
    scores = {i: float(row.sum()) for i, row in enumerate(embeddings.items) if row.any()}
    usable = [i for i in scores if i not in forbidden and (allowed is None or i in allowed)]
    best = sorted(usable, key=lambda i: (-scores[i], i))[:k]
    pads = k - len(best)
    return best + [-1] * pads, [scores[i] for i in best] + [-np.inf] * pads


@pytest.mark.parametrize("seed", range(6))
def test_exactly_k_under_seen_deny_and_among_with_ties(tmp_path, seed):
    rng = np.random.default_rng(seed)
    made = content(n_items=60, embeddings=make_ties(rng, 60, dim=3), seed=seed)
    loaded = bundle.load(publish(tmp_path, made))
    users = Users.of_rows(np.arange(30), made.histories)
    deny = Ragged.of([rng.permutation(60)[: rng.integers(40)] for _ in range(30)])
    among = Ragged.of([np.sort(rng.permutation(60)[: rng.integers(1, 60)]) for _ in range(30)])
    for k in (1, 5, 30, 60, 90):
        for rules in (None, among):
            ids, scores = single(loaded.recommender, users, k, deny, rules)
            batch = loaded.recommender.recommend(users, k, deny=deny, among=rules)
            for row in range(30):
                forbidden = {*made.histories.items.row(row).tolist(), *deny.row(row).tolist()}
                allowed = None if rules is None else set(rules.row(row).tolist())
                expected = by_hand(made.embeddings, k, forbidden, allowed)
                assert (ids[row].tolist(), scores[row].tolist()) == expected
                assert (batch.ids[row].tolist(), batch.scores[row].tolist()) == expected


def test_popularity_of_dim_one_gives_ties_to_the_lower_index(tmp_path):
    counts = np.array([2.0, 5, 5, 0, 5, 2, 5, 1])
    made = content(n_users=3, n_items=8, events=0, embeddings=popularity(counts))
    loaded = bundle.load(publish(tmp_path, made))
    stranger = Users.unknown(Ragged.empty(1))
    for k in range(1, 8):
        answer = loaded.recommender.recommend(stranger, k)
        assert answer.ids[0].tolist() == [1, 2, 4, 6, 0, 5, 7][:k]
        assert answer.scores[0].tolist() == [5.0, 5, 5, 5, 2, 2, 1][:k]


def test_more_than_there_is_pads_and_never_answers_an_item_without_vector(original):
    recommender = bundle.load(original).recommender
    users = Users.of_rows(np.arange(30), MADE.histories)
    ids, scores = single(recommender, users, 100)
    for row in range(30):
        answered = set(ids[row, :33].tolist())
        assert answered == set(range(39)) - set(
            MADE.histories.items.row(row).tolist()
        )  # 40 items, one without vector
        assert (ids[row, 33:] == -1).all()
        assert np.isneginf(scores[row, 33:]).all()
    stranger = recommender.recommend(Users.unknown(Ragged.empty(1)), 100)
    assert stranger.source[0] == FALLBACK
    assert sorted(stranger.ids[0, :39].tolist()) == list(range(39))


def test_seen_items_come_back_where_the_policy_allows_them(tmp_path):
    made = content(seen="allow")
    loaded = bundle.load(publish(tmp_path, made))
    ids, _ = single(loaded.recommender, Users.of_rows(np.arange(30), made.histories), 39)
    assert all(set(ids[row].tolist()) == set(range(39)) for row in range(30))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(tmp_path, bad):
    items = MADE.embeddings.items.copy()
    items[7, 2] = bad
    with pytest.raises(ModelError, match="row 7"):
        Embeddings(items, MADE.embeddings.encoder)
    solver = MADE.embeddings.encoder
    table = np.asarray(solver.table).copy()
    table[11, 0] = bad  # a user of whom no golden query asks
    broken = Solve(solver.inputs, solver.gram, table, **solver._parameters())
    with pytest.raises(ModelError, match="table"):
        publish(tmp_path, replace(MADE, embeddings=Embeddings(MADE.embeddings.items, broken)))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "change",
    [
        {"item_ids": IdMap.of(["only", "two"])},
        {"user_ids": IdMap.of(["only", "two"])},
        {"catalogue": type(MADE.catalogue).of(pa.table({"title": ["only", "two"]}))},
        {"duplicates": "never"},
        {"fallback": np.zeros(40, np.int32)},
        {"histories": Histories(Ragged.empty(2))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_parts_of_different_sizes_are_refused(change):
    with pytest.raises(ModelError, match=next(iter(change)).replace("user_ids", "histories")):
        replace(MADE, **change)
