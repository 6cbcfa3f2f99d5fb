"""The contract that every registered learner keeps."""

from pathlib import Path

import numpy as np
import pytest
from toys import checkerboard, dataset, random_log

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.errors import ModelError, SettingError
from recsys.models.popularity import fallback_order
from recsys.models.registry import MODELS, make_model, model_class
from recsys.progress import Step
from recsys.retrieval.bundle import recommender_of
from recsys.retrieval.encoders import load_encoder
from recsys.retrieval.ranker import FALLBACK, Embeddings
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.users import Users

SMALL = {"als": {"dim": 16, "epochs": 12}, "popularity": {}}  # settings that fit toys
VARIANTS = [(name, SMALL.get(name, {})) for name in MODELS] + [
    ("als", {"dim": 16, "epochs": 12, "solver": "exact"}),
    ("popularity", {"days": 30}),
]
every_model = pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=[f"{name}-{kw}" for name, kw in VARIANTS])


def fit(name: str, settings: dict, data: Dataset, seed: int = 1) -> Embeddings:
    return make_model(name, settings).fit(data, seed=seed)


def recommender(embeddings: Embeddings, data: Dataset, seen: str = "exclude") -> Recommender:
    return recommender_of(embeddings, fallback_order(data.interactions, None), seen)


def everyone(data: Dataset) -> Users:
    return Users.known(np.arange(data.n_users), data.interactions.histories().items)


@every_model
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
    np.testing.assert_array_equal(again.items, fresh.items)
    assert again.encoder.space_id == fresh.encoder.space_id


@every_model
def test_the_same_seed_gives_the_same_bytes(name: str, settings: dict) -> None:
    first, second = fit(name, settings, random_log(1), seed=3), fit(name, settings, random_log(1), seed=3)
    assert first.items.tobytes() == second.items.tobytes()
    users = everyone(random_log(1))
    assert first.encoder.encode(users)[0].tobytes() == second.encoder.encode(users)[0].tobytes()


@every_model
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
    embeddings = fit(name, settings, data)
    answer = recommender(embeddings, data).recommend(Users.unknown(Ragged.of([[]])), 5)
    assert (answer.ids[0] >= 0).all()
    assert (answer.source[0] == FALLBACK) == embeddings.encoder.folds_in


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
    vectors, known = fit(name, settings, data).encoder.encode(Users.known(np.array([0]), Ragged.of([[0, 1, 2]])))
    assert known[0]
    assert vectors[0].any()


@every_model
def test_items_without_events_are_never_recommended(name: str, settings: dict) -> None:
    data = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 3]), 2, 6, time=np.arange(4))
    answer = recommender(fit(name, settings, data), data, seen="allow").recommend(everyone(data), 6)
    assert set(answer.ids.ravel()) == {-1, 0, 1, 3}


@every_model
def test_duplicate_events_are_learned_from(name: str, settings: dict) -> None:
    data = dataset(np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2]), 2, 3, time=np.arange(5))
    once = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2, 3, time=np.arange(4))
    embeddings = fit(name, settings, data)
    assert np.isfinite(embeddings.items).all()
    assert not np.array_equal(embeddings.items, fit(name, settings, once).items)


@pytest.mark.parametrize(("name", "settings"), [v for v in VARIANTS if v[0] != "popularity"], ids=str)
def test_the_checkerboard_has_one_right_answer(name: str, settings: dict) -> None:
    data = checkerboard()
    embeddings = fit(name, settings, data)
    assert embeddings.encoder.folds_in
    for users in (everyone(data), Users.unknown(everyone(data).history)):
        answer = recommender(embeddings, data).recommend(users, 1)
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
    assert model_class("recsys.models.als:ALS") is model_class("als")


@pytest.mark.parametrize("name", MODELS)
def test_no_events_is_an_error_or_an_empty_space(name: str) -> None:
    empty = dataset(np.empty(0, int), np.empty(0, int), 2, 3)
    if name == "popularity":
        assert not fit(name, {}, empty).trained.any()
    else:
        with pytest.raises(ModelError, match="no events"):
            fit(name, {}, empty)
