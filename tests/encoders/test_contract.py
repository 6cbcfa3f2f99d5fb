"""The contract of encoders, for each kind that is ours; and that nobody outside the room asks which one it
has."""

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.encoders.bag import Bag
from recsys.encoders.encoder import FALLBACK, FEATURES, HISTORY, USER_ROW, Constant
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.models.registry import make_model
from recsys.retrieval.embeddings import concat
from recsys.testing.encoders import EncoderCase, EncoderContract
from recsys.testing.toys import random_log
from tests.helpers.towers import BOTH, SMALL, colour_checkerboard

ROOT = Path(__file__).parents[2]
DATA = random_log(1)
PEOPLE = Users.of_rows(np.arange(DATA.n_users), DATA.interactions.histories().items)


def learn_case(name: str, **settings: Any) -> EncoderCase:
    embeddings: Any = make_model(name, settings).fit(DATA, seed=1)
    return EncoderCase(embeddings.encoder, embeddings.items, PEOPLE)


class TestSolve(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case("als", dim=8, epochs=2)


class TestBag(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case("softmax", dim=8, epochs=2, batch_size=8)


class TestBagWithALevel(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case("variational", dim=8, epochs=2, batch_size=8)


class TestSolveByConfidence(EncoderContract):
    def make_case(self) -> EncoderCase:
        items = np.random.default_rng(1).normal(size=(DATA.n_items, 6)).astype(np.float32)
        ridge: Any = {"regularization": 2.0, "unobserved_weight": 1.0, "exponent": 0.0}
        return EncoderCase(Solve(items, items.T @ items, None, **ridge, confidence=3.0), items, PEOPLE)


class TestBagOfMeans(EncoderContract):
    def make_case(self) -> EncoderCase:
        items = np.random.default_rng(1).normal(size=(DATA.n_items, 6)).astype(np.float32)
        return EncoderCase(Bag(items[:, :5].copy(), None, unit=False, mean=True, level=1.0), items, PEOPLE)


class TestConstant(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case("popularity")


class TestUserTower(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case("two_tower", dim=8, epochs=1, batch_size=256)


class TestUserTowerWithALayer(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case("two_tower", dim=8, epochs=1, batch_size=256, hidden=6)


class TestSequence(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case("sequence", dim=8, epochs=1, batch_size=256)


class TestSequenceThatAddsUpWhatItDoesNotRead(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case(
            "sequence", dim=8, epochs=1, batch_size=256, net="gru", longest_history=4, similarity="cosine"
        )


class TestConcat(EncoderContract):
    def make_case(self) -> EncoderCase:
        return learn_case(
            "mixture", parts=[{"name": "als", "dim": 8, "epochs": 2}, {"name": "spectral", "dim": 4}]
        )


class TestGuarded(EncoderContract):
    def make_case(self) -> EncoderCase:
        parts = [{"name": "als", "dim": 8, "epochs": 2}, {"name": "spectral", "dim": 4, "domain": "films"}]
        return learn_case("mixture", parts=parts, weights=[1, 0], by_domain={"films": {"known": [0.5, 1]}})


def test_the_source_is_the_most_personal_thing_that_went_into_the_vector() -> None:
    data = colour_checkerboard()
    encoder = make_model("two_tower", SMALL | BOTH | {"epochs": 1}).fit(data, seed=1).encoder
    index, history = np.array([3, -1, -1], np.int32), Ragged.of([[1], [1], []])
    assert encoder.encode(Users.of_rows(index, history)).source.tolist() == [USER_ROW, HISTORY, FALLBACK]
    described = make_model("two_tower", SMALL | BOTH | {"epochs": 1, "user_ids": False, "history": "none"})
    by_features = described.fit(data, seed=1).encoder
    assert by_features.encode(Users.of_rows(index, history)).source.tolist() == [FEATURES, FALLBACK, FALLBACK]


def test_a_concatenation_says_what_its_most_personal_part_with_a_weight_says() -> None:
    data = random_log(1)
    als, spectral = (
        make_model(name, settings).fit(data, seed=1)
        for name, settings in (("als", {"dim": 4, "epochs": 1}), ("spectral", {"dim": 4}))
    )
    known = Users.of_rows(np.arange(3), Ragged.of([[1], [2], []]))
    assert concat([als, spectral], [1, 1]).encoder.encode(known).source.tolist() == [USER_ROW] * 3
    assert concat([als, spectral], [0, 1]).encoder.encode(known).source.tolist() == [
        HISTORY,
        HISTORY,
        FALLBACK,
    ]


@pytest.mark.parametrize("kind", ["solve", "bag", "tower"])
def test_items_beyond_the_inputs_of_an_encoder_count_for_nothing(kind: str) -> None:
    case = {"solve": TestSolve, "bag": TestBag, "tower": TestUserTower}[kind]().make_case()
    n_items = len(case.items)
    longer = Users.unknown(Ragged.of([[1, n_items + 3, 2], [n_items]]))
    encoded = case.encoder.encode(longer)
    without = case.encoder.encode(Users.unknown(Ragged.of([[1, 2]])))
    np.testing.assert_allclose(encoded.vectors[0], without.vectors[0], rtol=1e-5, atol=1e-7)
    assert encoded.source.tolist() == [HISTORY, FALLBACK]
    parts = case.encoder.contributions(longer.take(np.array([0])), case.items)
    assert parts is not None
    assert parts.shape == (n_items, 3)
    assert not parts[:, 1].any()


def test_nobody_outside_the_room_asks_for_the_class_or_the_kind_of_an_encoder() -> None:
    classes = {"Constant", "Solve", "Bag", "Concat", "UserTower", "ItemTower", "ItemConcat"}
    asked = []
    for path in (*ROOT.glob("recsys/**/*.py"), *ROOT.glob("pipelines/**/*.py"), *ROOT.glob("serving/*.py")):
        if {"encoders", "testing"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.unparse(node) if isinstance(node, ast.Call | ast.Attribute | ast.Subscript) else ""
            by_class = isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
            if by_class and classes & {
                name.id for name in ast.walk(node.args[1]) if isinstance(name, ast.Name)
            }:
                asked.append((path.name, text))
            doubtful = isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr")
            if (doubtful and "encoder" in text) or text.endswith(("encoder.kind", "manifest['kind']")):
                asked.append((path.name, text))
    assert not asked


def test_a_constant_knows_nobody() -> None:
    encoder = Constant(np.ones(1, np.float32))
    assert not encoder.personal
    assert encoder.start_rows(PEOPLE, np.ones((3, 1), np.float32)) is None
    assert Solve.personal
    assert Bag.personal
