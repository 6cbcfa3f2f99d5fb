"""The contract that every registered learner keeps."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.encoder import load_encoder
from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.models.popularity import fallback_order
from recsys.models.registry import MODELS, make_model, model_class
from recsys.progress import Step
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import FALLBACK
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.retrieval.vector_ranker import ranker_of
from recsys.testing.toys import checkerboard, dataset, random_log

SMALL = {  # settings that fit toys
    "als": {"dim": 16, "epochs": 12},
    "bpr": {"dim": 8, "epochs": 30, "batch_size": 64},
    "ease": {"regularization": 5.0},
    "mixture": {"parts": [{"name": "als", "dim": 8}, {"name": "spectral", "dim": 4}]},
    "narrowed": {
        "wide": {"name": "als", "dim": 12},
        "narrow": {"name": "softmax", "dim": 8, "epochs": 20, "batch_size": 8},
    },
    "softmax": {"dim": 8, "epochs": 20, "batch_size": 8},
    "spectral": {"dim": 4},
    "two_tower": {"dim": 8, "epochs": 30, "batch_size": 256, "learning_rate": 0.03, "history": "others"},
    "variational": {"dim": 8, "epochs": 30, "batch_size": 8, "regularization": 0.1},
}
VARIANTS = [(name, SMALL.get(name, {})) for name in MODELS] + [
    ("als", {"dim": 16, "epochs": 12, "solver": "exact"}),
    ("als", {"dim": 16, "epochs": 12, "half_life": 5.0}),
    ("popularity", {"days": 30}),
    ("softmax", SMALL["softmax"] | {"similarity": "dot", "temperature": 1.0, "propagation": 0.1, "initial": "random"}),
    ("softmax", SMALL["softmax"] | {"negatives": 4, "precision": "float32", "half_life": 5.0}),
    ("softmax", SMALL["softmax"] | {"user_rows": False}),
    ("spectral", SMALL["spectral"] | {"filter": 1.0, "half_life": 5.0}),
    ("two_tower", SMALL["two_tower"] | {"user_ids": False, "sampler": "uniform", "negatives": 20}),
    ("two_tower", SMALL["two_tower"] | {"sampler": "all", "propagation": 0.1, "learn_temperature": True}),
    ("variational", SMALL["variational"] | {"negatives": 10, "half_life": 5.0}),
    ("item_knn", {"neighbours": 4, "shrinkage": 1.0, "amplification": 1.0, "half_life": None}),
]
IMPERSONAL = {"popularity", "own_history"}  # they know nothing of which items go together
WITHOUT_VECTORS = {"ease", "item_knn", "own_history"}


def over(variants: list[tuple[str, dict]]) -> Any:
    return pytest.mark.parametrize(("name", "settings"), variants, ids=[f"{name}-{kw}" for name, kw in variants])


every_model = over(VARIANTS)
every_space = over([variant for variant in VARIANTS if variant[0] not in WITHOUT_VECTORS])
every_learner_of_taste = over([variant for variant in VARIANTS if variant[0] not in IMPERSONAL])


def fit(name: str, settings: dict, data: Dataset, seed: int = 1) -> Any:
    return make_model(name, settings).fit(data, seed=seed)


def recommender(learned: Any, data: Dataset, seen: str = "exclude") -> Recommender:
    return recommender_of(learned, fallback_order(data.interactions, None), seen)


def everything(learned: Any, data: Dataset) -> list[bytes]:
    """All that a learned model answers to all users, with and without their rows, as bytes."""
    engine = recommender(learned, data, seen="allow")
    answers = [
        engine.recommend(users, data.n_items) for users in (everyone(data), Users.unknown(everyone(data).history))
    ]
    return [array.tobytes() for answer in answers for array in (answer.ids, answer.scores, answer.source)]


def everyone(data: Dataset) -> Users:
    return Users.known(np.arange(data.n_users), data.interactions.histories().items)


@every_model
def test_a_model_ends_in_vectors_or_in_a_ranker_that_says_which_items_it_knows(name: str, settings: dict) -> None:
    data = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 3]), 2, 6, time=np.arange(4))
    learned = fit(name, settings, data)
    assert isinstance(learned, Embeddings) == (name not in WITHOUT_VECTORS)
    assert learned.trained.tolist() == [True, True, False, True, False, False]
    ranker = ranker_of(learned)
    assert ranker.n_items == 6
    assert ranker.folds_in == (name != "popularity")


@every_space
def test_the_result_has_the_promised_shapes_and_types(name: str, settings: dict) -> None:
    data = random_log(1)
    embeddings = fit(name, settings, data)
    assert embeddings.items.dtype == np.float32
    assert embeddings.items.flags.c_contiguous
    assert embeddings.items.shape == (data.n_items, embeddings.encoder.dim)
    vectors, known = embeddings.encoder.encode(everyone(data))
    assert (vectors.shape, vectors.dtype) == ((data.n_users, embeddings.encoder.dim), np.float32)
    assert known.all()


@every_model
def test_a_refit_on_other_data_equals_a_fresh_fit(name: str, settings: dict) -> None:
    model = make_model(name, settings)
    model.fit(random_log(1), seed=1)
    again, fresh = model.fit(random_log(2), seed=1), fit(name, settings, random_log(2))
    assert everything(again, random_log(2)) == everything(fresh, random_log(2))
    if isinstance(again, Embeddings):
        assert again.encoder.space_id == fresh.encoder.space_id


@every_model
def test_the_same_seed_gives_the_same_bytes(name: str, settings: dict) -> None:
    first, second = fit(name, settings, random_log(1), seed=3), fit(name, settings, random_log(1), seed=3)
    assert everything(first, random_log(1)) == everything(second, random_log(1))


@every_space
def test_a_saved_encoder_loads_equal(name: str, settings: dict, tmp_path: Path) -> None:
    data = random_log(1)
    embeddings = fit(name, settings, data)
    embeddings.encoder.save(tmp_path)
    loaded = load_encoder(tmp_path, embeddings.items)
    assert loaded.space_id == embeddings.encoder.space_id
    for users in (everyone(data), Users.unknown(everyone(data).history)):
        np.testing.assert_array_equal(loaded.encode(users)[0], embeddings.encoder.encode(users)[0])


@every_model
def test_one_user_at_a_time_gets_what_all_get_together(name: str, settings: dict) -> None:
    data = random_log(1)
    answerer = recommender(fit(name, settings, data), data)
    for users in (everyone(data), Users.unknown(everyone(data).history)):  # 40 rows: also a last block of one
        together = answerer.recommend(users, 5)
        for row in range(len(users)):
            alone = answerer.recommend(users.take(np.array([row])), 5)
            np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-4)
            differ = np.flatnonzero(alone.ids[0] != together.ids[row])
            gaps = np.abs(np.diff(together.scores[row], append=-np.inf))
            assert (gaps[differ] <= 1e-4 * np.abs(together.scores[row][differ])).all()


@every_model
def test_an_unknown_user_without_history_gets_an_answer(name: str, settings: dict) -> None:
    data = random_log(1)
    learned = fit(name, settings, data)
    answer = recommender(learned, data).recommend(Users.unknown(Ragged.of([[]])), 5)
    assert (answer.ids[0] >= 0).all()
    assert (answer.source[0] == FALLBACK) == ranker_of(learned).folds_in


@every_model
def test_a_user_who_has_seen_everything_gets_nothing(name: str, settings: dict) -> None:
    data = dataset(np.repeat([0, 1], [6, 2]), np.array([0, 1, 2, 3, 4, 5, 0, 1]), 2, 6, time=np.arange(8))
    answer = recommender(fit(name, settings, data), data).recommend(everyone(data), 3)
    assert (answer.ids[0] == -1).all()
    assert np.isneginf(answer.scores[0]).all()
    assert set(answer.ids[1]) < {2, 3, 4, 5}


@every_model
def test_k_beyond_the_catalogue_gives_every_allowed_item_once(name: str, settings: dict) -> None:
    data = random_log(1)
    answer = recommender(fit(name, settings, data), data, seen="allow").recommend(everyone(data), 100)
    for row in answer.ids:
        assert sorted(row[row >= 0]) == list(range(data.n_items))
        assert (row[data.n_items :] == -1).all()


@every_model
def test_item_and_user_zero_are_real(name: str, settings: dict) -> None:
    user, item = np.repeat(np.arange(8), 3), np.tile([0, 1, 2], 8)
    data = dataset(user, item, 9, 4, time=np.arange(24))
    answer = recommender(fit(name, settings, data), data).recommend(Users.unknown(Ragged.of([[1, 2]])), 1)
    assert answer.ids[0, 0] == 0
    known = recommender(fit(name, settings, data), data, seen="allow").recommend(everyone(data), 1)
    assert known.source[0] != FALLBACK


@every_model
def test_items_without_events_are_never_recommended(name: str, settings: dict) -> None:
    data = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 3]), 2, 6, time=np.arange(4))
    answer = recommender(fit(name, settings, data), data, seen="allow").recommend(everyone(data), 6)
    assert set(answer.ids.ravel()) == {-1, 0, 1, 3}


@every_model
def test_duplicate_events_are_learned_from(name: str, settings: dict) -> None:
    data = dataset(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2]), 2, 3, time=np.arange(5))
    once = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2, 3, time=np.arange(4))
    learned = fit(name, settings, data)
    asked = Users.unknown(Ragged.of([[0], [1], [2]]))
    answer, other = (
        recommender(each, data, seen="allow").recommend(asked, 3) for each in (learned, fit(name, settings, once))
    )
    assert np.isfinite(answer.scores).all()
    assert answer.scores.tobytes() != other.scores.tobytes() or answer.ids.tobytes() != other.ids.tobytes()


@every_learner_of_taste
def test_what_each_event_adds_is_the_score(name: str, settings: dict) -> None:
    data = random_log(1)
    ranker = ranker_of(fit(name, settings, data))
    users = Users.unknown(everyone(data).history)
    answer = ranker.top(users, 7, forbid=Ragged.empty(len(users)))
    for row in range(len(users)):
        one = users.take(np.array([row]))
        parts = ranker.contributions(one, answer.ids[row])
        assert parts is not None
        assert parts.shape == (7, len(one.history.values))
        np.testing.assert_allclose(parts.sum(axis=1), answer.scores[row], rtol=1e-3, atol=1e-5)


@every_learner_of_taste
def test_the_checkerboard_has_one_right_answer(name: str, settings: dict) -> None:
    data = checkerboard()
    learned = fit(name, settings, data)
    for users in (everyone(data), Users.unknown(everyone(data).history)):
        answer = recommender(learned, data).recommend(users, 1)
        np.testing.assert_array_equal(answer.ids[:, 0], np.arange(data.n_users))


@every_model
def test_progress_ends_at_its_total(name: str, settings: dict) -> None:
    steps: list[Step] = []
    make_model(name, settings).fit(random_log(1), seed=1, progress=steps.append)
    assert steps
    assert steps[-1].done == steps[-1].total


def test_unknown_models_and_settings_are_refused_with_the_nearest_name() -> None:
    with pytest.raises(SettingError, match="did you mean 'als'"):
        model_class("alls")
    with pytest.raises(SettingError, match="did you mean 'epochs'"):
        make_model("als", {"epoch": 3})
    with pytest.raises(SettingError, match=r"no_such_module"):
        model_class("no_such_module:Model")


def test_a_learner_of_the_users_own_is_named_by_module_and_class() -> None:
    assert model_class("recsys.models.als.als:ALS") is model_class("als")


@pytest.mark.parametrize("name", MODELS)
def test_no_events_is_an_error_or_knows_no_item(name: str) -> None:
    empty = dataset(np.empty(0, int), np.empty(0, int), 2, 3)
    if name in IMPERSONAL:
        assert not fit(name, {}, empty).trained.any()
    else:
        with pytest.raises(ModelError, match="no events"):
            fit(name, {}, empty)


def test_a_popularity_row_ranks_as_the_fallback_of_the_same_window() -> None:
    rng = np.random.default_rng(0)
    item = rng.integers(3000, size=40_000) ** 2 // 3000  # many ties, and counts too large for fractions in float32
    item = np.concatenate([item, np.zeros(60_000, int)])
    data = dataset(np.zeros(100_000, int), item, 1, 3000, time=np.arange(100_000) * 60)
    for days in (None, 3):
        vectors = fit("popularity", {"days": days}, data).items[:, 0]
        order = fallback_order(data.interactions, days)
        np.testing.assert_array_equal(np.argsort(-vectors, kind="stable"), order)


@pytest.mark.parametrize("days", [None, 20])
def test_popularity_within_a_domain_is_the_order_of_all_items_restricted_to_it(days: float | None) -> None:
    """Why no segment needs a popularity of its own: an item stands in one domain, so its count is the same in both."""
    data = random_log(4)
    events, stranger = data.interactions, Users.unknown(Ragged.of([[]]))
    engine = recommender_of(fit("als", SMALL["als"], data), fallback_order(events, days), "exclude")
    since = 0 if days is None else int(events.time[-1]) - days * 86_400
    for parity in (0, 1):  # the domains of the toy: films and books
        inside = range(parity, data.n_items, 2)
        recent = {item: sum((events.item == item) & (events.time >= since)) for item in inside}
        ever = {item: sum(events.item == item) for item in inside}
        best = sorted(inside, key=lambda item: (-recent[item], -ever[item], item))
        answer = engine.recommend(stranger, 15, among=Ragged.of([list(inside)]))
        assert answer.source[0] == FALLBACK
        assert answer.ids[0].tolist() == best
