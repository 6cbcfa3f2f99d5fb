"""The contract that every registered learner keeps, and what the registry refuses."""

from typing import Any

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.encoders.encoder import FALLBACK
from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.history import DAY_S
from recsys.models.popularity import fallback_order
from recsys.models.registry import MODELS, make_model, model_class
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.recommender import recommender_of
from recsys.retrieval.vector_ranker import ranker_of
from recsys.testing.epochs import EpochContract
from recsys.testing.learners import Case, LearnerContract, ReasonContract, TasteContract, VectorContract
from recsys.testing.toys import dataset, random_log

SMALL = {  # settings that fit toys
    "als": {"dim": 16, "epochs": 12},
    "bpr": {"dim": 8, "epochs": 30, "batch_size": 64},
    "cooccurrence": {"window": 60, "half_life": 20.0},  # as wide as the board, which is in no order
    "cooccurrence_svd": {"window": 60, "half_life": 20.0, "dim": 16},
    "ease": {"regularization": 5.0},
    "fasttext": {"dim": 8, "epochs": 20, "batch_size": 16, "window": 0, "learning_rate": 0.1},
    "glove": {"dim": 8, "epochs": 30, "batch_size": 512, "window": 60, "decay": 1.0, "learning_rate": 0.1},
    "item2vec": {"dim": 8, "epochs": 20, "batch_size": 16, "window": 0, "learning_rate": 0.1},
    "lightgcn": {"dim": 8, "epochs": 20, "batch_size": 8, "layers": 2},
    "mixture": {"parts": [{"name": "als", "dim": 8}, {"name": "spectral", "dim": 4}]},
    "narrowed": {
        "wide": {"name": "als", "dim": 12},
        "narrow": {"name": "softmax", "dim": 8, "epochs": 20, "batch_size": 8},
    },
    "node2vec": {"dim": 8, "epochs": 20, "batch_size": 16, "walk_length": 20, "learning_rate": 0.1},
    "sequence": {"dim": 16, "epochs": 6, "batch_size": 256, "learning_rate": 0.01, "dropout": 0.2},
    "softmax": {"dim": 8, "epochs": 20, "batch_size": 8},
    "spectral": {"dim": 4},
    "two_tower": {"dim": 8, "epochs": 15, "batch_size": 256, "history": "others"},
    "variational": {"dim": 8, "epochs": 30, "batch_size": 8, "regularization": 0.1},
    "youtube_dnn": {
        "dim": 8,
        "hidden": 8,
        "epochs": 15,
        "batch_size": 256,
        "history": "others",
        "learning_rate": 0.02,
    },
}
DOT = {"similarity": "dot", "temperature": 1.0, "propagation": 0.1, "initial": "random", "epochs": 40}
VARIANTS = [Case(name, SMALL.get(name, {})) for name in MODELS] + [
    Case("als", {"dim": 16, "epochs": 12, "solver": "exact"}),
    Case("als", {"dim": 16, "epochs": 12, "half_life": 5.0}),
    Case("cooccurrence_svd", {"window": 60, "half_life": None, "dim": 40, "back": 1.0}),
    Case("fasttext", {"dim": 8, "epochs": 10, "served": "input", "half_life": 5.0}),
    Case("item2vec", {"dim": 8, "epochs": 10, "architecture": "cbow", "served": "input", "half_life": 5.0}),
    Case(
        "lightgcn", SMALL["lightgcn"] | {"negatives": 4, "half_life": 5.0, "initial": "random", "layers": 3}
    ),
    Case(
        "lightgcn", SMALL["lightgcn"] | {"loss": "bpr", "similarity": "dot", "temperature": 1.0, "epochs": 30}
    ),
    Case("node2vec", {"dim": 8, "epochs": 10, "served": "input", "p": 0.5, "q": 2.0, "half_life": 5.0}),
    Case("popularity", {"days": 30}),
    Case("softmax", SMALL["softmax"] | DOT),
    Case("softmax", SMALL["softmax"] | {"negatives": 4, "precision": "float32", "half_life": 5.0}),
    Case("softmax", SMALL["softmax"] | {"user_rows": False}),
    Case("spectral", SMALL["spectral"] | {"filter": 1.0, "half_life": 5.0}),
    Case("two_tower", SMALL["two_tower"] | {"user_ids": False, "sampler": "uniform", "negatives": 20}),
    Case("two_tower", SMALL["two_tower"] | {"sampler": "all", "propagation": 0.1}),
    Case(
        "sequence",
        SMALL["sequence"] | {"net": "gru", "negatives": 20, "similarity": "cosine", "temperature": 0.1},
    ),
    Case("variational", SMALL["variational"] | {"negatives": 10, "half_life": 5.0}),
    Case("item_knn", {"neighbours": 4, "shrinkage": 1.0, "amplification": 1.0, "half_life": None}),
]
UNEXPLAINED = ("popularity", "own_history", "sequence", "youtube_dnn")
LAYERED = Case("two_tower", SMALL["two_tower"] | {"hidden": 8})


def over(cases: list[Case]) -> Any:
    return pytest.fixture(params=cases, ids=[f"{case.name}-{case.settings}" for case in cases])


class TestEveryLearner(LearnerContract):
    @over(VARIANTS)
    def learner(self, request: pytest.FixtureRequest) -> Case:
        return request.param

    def test_it_ends_in_vectors_or_in_a_ranker(self, learner: Case) -> None:
        learned = learner.fit_once(random_log(1))
        assert isinstance(learned, Embeddings) == model_class(learner.name).keeps_vectors
        assert ranker_of(learned).folds_in == (learner.name != "popularity")


class TestLearnersOfTaste(TasteContract):
    @over(
        [
            case
            for case in VARIANTS
            if model_class(case.name).knows_taste and not model_class(case.name).knows_order
        ]
    )
    def learner(self, request: pytest.FixtureRequest) -> Case:
        return request.param


class TestReasons(ReasonContract):
    @over([*VARIANTS, LAYERED])
    def learner(self, request: pytest.FixtureRequest) -> Case:
        return request.param

    def test_it_explains_unless_layers_follow_the_sums_or_nothing_is_of_the_person(
        self, learner: Case
    ) -> None:
        explains = ranker_of(learner.fit_once(random_log(1))).explains
        assert explains == (learner.name not in UNEXPLAINED and learner != LAYERED)


class TestLearnersOfVectors(VectorContract):
    @over([case for case in VARIANTS if model_class(case.name).keeps_vectors])
    def learner(self, request: pytest.FixtureRequest) -> Case:
        return request.param


class TestLearnersInEpochs(EpochContract):
    @over([case for case in VARIANTS if "epochs" in model_class(case.name).Settings.model_fields])
    def learner(self, request: pytest.FixtureRequest) -> Case:
        return request.param


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
    if not model_class(name).knows_taste:
        assert not Case(name).fit(empty).trained.any()
    else:
        with pytest.raises(ModelError, match="no events"):
            Case(name).fit(empty)


def test_a_popularity_row_ranks_as_the_fallback_of_the_same_window() -> None:
    rng = np.random.default_rng(0)
    item = (
        rng.integers(3000, size=40_000) ** 2 // 3000
    )  # many ties, and counts too large for fractions in float32
    item = np.concatenate([item, np.zeros(60_000, int)])
    data = dataset(np.zeros(100_000, int), item, 1, 3000, time=np.arange(100_000) * 60)
    for days in (None, 3):
        vectors = Case("popularity", {"days": days}).fit(data).items[:, 0]
        order = fallback_order(data.interactions, days)
        np.testing.assert_array_equal(np.argsort(-vectors, kind="stable"), order)


@pytest.mark.parametrize("days", [None, 20])
def test_popularity_within_a_domain_is_the_order_of_all_items_restricted_to_it(days: float | None) -> None:
    """Why no segment needs a popularity of its own: an item stands in one domain, so its count is the same in
    both."""
    data = random_log(4)
    events, stranger = data.interactions, Users.unknown(Ragged.of([[]]))
    engine = recommender_of(Case("als", SMALL["als"]).fit(data), fallback_order(events, days), "exclude")
    since = 0 if days is None else int(events.time[-1]) - days * DAY_S
    for parity in (0, 1):  # the domains of the toy: films and books
        inside = range(parity, data.n_items, 2)
        recent = {item: sum((events.item == item) & (events.time >= since)) for item in inside}
        ever = {item: sum(events.item == item) for item in inside}
        best = sorted(inside, key=lambda item: (-recent[item], -ever[item], item))
        answer = engine.recommend(stranger, 15, among=Ragged.of([list(inside)]))
        assert answer.source[0] == FALLBACK
        assert answer.ids[0].tolist() == best
