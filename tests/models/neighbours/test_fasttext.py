"""FastText: its steps against a slow gradient, what it equals without parts, and items that nobody has
had."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from recsys.arrays import F64, Array, Ragged
from recsys.data.dataset import Dataset
from recsys.errors import ModelError, SettingError
from recsys.models.neighbours.fasttext import FastTextFit, FastTextSettings
from recsys.models.neighbours.skip_gram import Parts, learn_sequences
from recsys.models.neighbours.window_fit import negatives_of
from recsys.models.registry import make_model
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.learners import scores_of
from recsys.testing.toys import dataset, random_log

KIND = {"column": "kind", "kind": "categories"}
GROUPS, EACH = 4, 12


def describe_items(data: Dataset, **columns: Array | list[str | None]) -> Dataset:
    return replace(data, item_features=pa.table({name: list(column) for name, column in columns.items()}))


def groups(seed: int) -> Dataset:
    """People have items of one of four kinds; the last two items of each kind have no events and say their
    kind."""
    rng = np.random.default_rng(seed)
    group = rng.integers(GROUPS, size=300)
    item = np.concatenate([rng.choice(EACH - 2, 6, replace=False) + EACH * one for one in group])
    data = dataset(np.repeat(np.arange(300), 6), item, 300, GROUPS * EACH)
    return describe_items(data, kind=[f"kind {one // EACH}" for one in range(GROUPS * EACH)])


def loss_of(inputs: F64, outputs: F64, parts: F64, context: list[int], at: list[int]) -> float:
    """Of a window, every vector the sum of its parts."""
    given, against = (parts @ inputs)[context], (parts @ outputs)[at]
    scores = given @ against.T
    return float(np.log1p(np.exp(-scores[:, 0])).sum() + np.log1p(np.exp(scores[:, 1:])).sum())


def test_a_step_moves_all_parts_down_the_slow_gradient() -> None:
    """Two items follow one another, so that each is the one window of the other; the only negative is a
    third."""
    rng, rate = np.random.default_rng(2), 1e-4
    parts = np.array([[1, 0, 0, 0.6, 0.8], [0, 1, 0, 0.6, 0], [0, 0, 1, 0, 0.7]])
    csr = [np.array([0, 3, 5, 7]), np.array([0, 3, 4, 1, 3, 2, 4], np.int32)]
    weights = np.array([1, 0.6, 0.8, 1, 0.6, 1, 0.7], np.float32)
    tables = [rng.normal(0, 0.5, (5, 6)) for _ in range(2)]
    moved = [table.astype(np.float32) for table in tables]
    before = [table.copy() for table in moved]
    sequence, one = (np.array([0, 2]), np.array([0, 1], np.int32)), np.ones(3, np.float32)
    third = negatives_of(np.array([0, 0, 5]), 1.0)
    asked = (np.array([0]), *moved, one, third, 0, 1, np.float32(rate), False, 7, Parts(*csr, weights), 0.0)
    assert learn_sequences(*sequence, *asked)[1] == 2
    for which, table in enumerate(tables):
        slow = np.zeros_like(table)
        for cell in np.ndindex(*table.shape):
            ends = []
            for step in (1e-5, -1e-5):
                shifted = [one.copy() for one in tables]
                shifted[which][cell] += step
                ends.append(
                    sum(loss_of(*shifted, parts, [other], [mid, 2]) for mid, other in ((0, 1), (1, 0)))
                )
            slow[cell] = (ends[0] - ends[1]) / 2e-5
        np.testing.assert_allclose((before[which] - moved[which]) / rate, slow, atol=1e-2)


@pytest.mark.parametrize("settings", [{}, {"served": "input", "architecture": "cbow"}])
def test_without_parts_it_is_item2vec(settings: dict[str, object]) -> None:
    own = {"dim": 8, "epochs": 3} | settings
    learned = make_model("fasttext", own).fit(random_log(1), seed=1)
    fit = FastTextFit(FastTextSettings(**own), random_log(1), 1)
    assert fit.summed.shape == (30, 30)
    assert (fit.summed.toarray() == np.eye(30)).all()
    assert learned.item_encoder is None
    plain = make_model("item2vec", own).fit(random_log(1), seed=1)
    assert learned.trained.tolist() == plain.trained.tolist()


@pytest.mark.parametrize("settings", [{}, {"served": "input"}, {"id_dropout": 1.0, "half_life": 4.0}])
def test_items_that_nobody_had_find_their_people(settings: dict[str, object], certain_seed: int) -> None:
    own = {"dim": 16, "epochs": 20, "item_features": [KIND]} | settings
    learned = make_model("fasttext", own).fit(groups(certain_seed), seed=certain_seed)
    assert learned.trained.all()
    scores = scores_of(
        learned, Ragged.of([[EACH * one, EACH * one + 1] for one in range(GROUPS)]), GROUPS * EACH
    )
    fresh = scores.reshape(GROUPS, GROUPS, EACH)[:, :, -2:]
    assert (fresh.mean(axis=2).argmax(axis=1) == np.arange(GROUPS)).all()


def of_new(learned: Embeddings, **columns: list[str | None]) -> Array:
    assert learned.item_encoder is not None
    return learned.item_encoder.encode(pa.table(columns))


@pytest.mark.parametrize("served", ["output", "input"])
def test_an_item_that_comes_later_has_the_vector_of_one_that_nobody_had(served: str) -> None:
    price = [float(one % 5) for one in range(GROUPS * EACH)]
    data = describe_items(
        groups(1), kind=[f"kind {one // EACH}" for one in range(GROUPS * EACH)], price=price
    )
    columns = [KIND, {"column": "price", "kind": "number"}]
    own = {"dim": 8, "epochs": 4, "item_features": columns, "served": served}
    learned = make_model("fasttext", own).fit(data, seed=1)
    assert learned.item_encoder is not None
    assert learned.item_encoder.columns == ["kind", "price"]
    last = GROUPS * EACH - 1
    vector = of_new(learned, kind=["kind 3"], price=[price[last]])[0]
    np.testing.assert_allclose(vector, learned.items[last], atol=1e-6)


def test_an_id_is_told_by_its_parts() -> None:
    """Items of one brand share the beginning of their ids."""
    data = groups(3)
    names = [f"brand{'abcd'[one // EACH] * 4}-{one:03}" for one in range(GROUPS * EACH)]
    data = replace(data, item_ids=type(data.item_ids).of(names), item_features=None)
    own = {"dim": 16, "epochs": 20, "item_features": [{"column": "item_id", "kind": "text"}]}
    learned = make_model("fasttext", own).fit(data, seed=1)
    scores = scores_of(learned, Ragged.of([[EACH * one] for one in range(GROUPS)]), GROUPS * EACH)
    of_later = of_new(learned, item_id=["brandaaaa-777", "branddddd-888"])
    assert (scores.reshape(GROUPS, GROUPS, EACH)[:, :, -1].argmax(axis=1) == np.arange(GROUPS)).all()
    assert (np.argmax(of_later @ learned.items.T, axis=1) // EACH).tolist() == [0, 3]


def test_what_cannot_be_learned_from_is_refused() -> None:
    data = groups(1)
    with pytest.raises(SettingError, match="item feature 'colour' is no column"):
        make_model("fasttext", {"item_features": [{"column": "colour"}]}).fit(data, seed=1)
    with pytest.raises(ModelError, match="nobody has two events"):
        make_model("fasttext", {}).fit(dataset(np.array([0, 1]), np.array([0, 1]), 2, 2), seed=1)
    empty = describe_items(
        data, text=["" if one % EACH < EACH - 2 else "words" for one in range(GROUPS * EACH)]
    )
    with pytest.raises(ModelError, match=r"item_features \(text\) are empty"):
        make_model("fasttext", {"item_features": [{"column": "text", "kind": "text"}]}).fit(empty, seed=1)
