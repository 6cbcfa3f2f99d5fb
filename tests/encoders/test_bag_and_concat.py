"""Bag and Concat: sums over histories, and several spaces in one inner product."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.bundle.bundle import load
from recsys.bundle.write import publish
from recsys.encoders.bag import Bag
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.history import Histories
from recsys.matrix.ridge import fitted_inputs
from recsys.models.registry import make_model
from recsys.retrieval.embeddings import Embeddings, concat
from recsys.testing.toys import dataset, random_log
from tests.helpers.bundles import content

RNG = np.random.default_rng(5)
INPUTS = RNG.normal(size=(9, 4)).astype(np.float32)
WEIGHTED = Users.unknown(
    Histories(Ragged.of([[2, 2, 5], [], [8]]), weight=np.array([1, 3, 0.5, 2], np.float32))
)


@pytest.mark.parametrize("unit", [False, True])
def test_a_bag_is_the_weighted_sum_of_its_inputs(unit: bool) -> None:
    encoded = Bag(INPUTS, None, unit=unit).encode(WEIGHTED)
    vectors, known = encoded.vectors, encoded.known
    expected = np.stack([4 * INPUTS[2] + 0.5 * INPUTS[5], np.zeros(4), 2 * INPUTS[8]])
    if unit:
        expected[[0, 2]] /= np.linalg.norm(expected[[0, 2]], axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, rtol=1e-5)
    assert known.tolist() == [True, False, True]


@pytest.mark.parametrize("unit", [False, True])
def test_what_the_events_of_a_bag_contribute_sums_to_the_score(unit: bool) -> None:
    bag, items = Bag(INPUTS, None, unit=unit), RNG.normal(size=(6, 4)).astype(np.float32)
    person = WEIGHTED.take(np.array([0]))
    parts = bag.contributions(person, items)
    assert parts is not None
    assert parts.shape == (6, 3)
    np.testing.assert_allclose(parts.sum(axis=1), items @ bag.encode(person)[0][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts[:, 1], 3 * parts[:, 0], rtol=1e-5)


def test_a_bag_divides_by_the_root_of_the_weights_and_ends_in_its_level_and_keeps_both_in_a_bundle(
    tmp_path: Path,
) -> None:
    table = np.zeros((2, 4), np.float32)
    table[1] = 7
    bag, items = (
        Bag(INPUTS, table, unit=False, root=True, level=10.0),
        RNG.normal(size=(6, 5)).astype(np.float32),
    )
    bag.save(tmp_path)
    for one in (bag, Bag.load(tmp_path, items)):
        encoded = one.encode(WEIGHTED)
        vectors, known = encoded.vectors, encoded.known
        first = (4 * INPUTS[2] + 0.5 * INPUTS[5]) / np.sqrt(4.5)
        expected = np.stack([first, np.zeros(4), np.sqrt(2) * INPUTS[8]])
        np.testing.assert_allclose(vectors, np.hstack([expected, [[10], [0], [10]]]), rtol=1e-5)
        assert known.tolist() == [True, False, True]
        row, _ = one.encode(Users.of_rows(np.array([1]), Ragged.of([[2]])))
        assert row.tolist() == [[7, 7, 7, 7, 10]]
        assert one.dim == 5
    person = WEIGHTED.take(np.array([0]))
    parts = bag.contributions(person, items)
    assert parts is not None
    np.testing.assert_allclose(parts.sum(axis=1), items @ vectors[0], rtol=1e-4, atol=1e-5)
    assert (
        len(
            {
                bag.space_id,
                Bag(INPUTS, None, unit=False).space_id,
                Bag(INPUTS, None, unit=False, root=True).space_id,
            }
        )
        == 3
    )


@pytest.mark.parametrize("kind", ["bag", "solve"])
def test_with_a_half_life_an_event_counts_half_so_many_events_later(kind: str) -> None:
    ridge = {"regularization": 0.1, "unobserved_weight": 0.1, "exponent": 1.0}

    def encoder(half_life: float | None) -> Bag | Solve:
        if kind == "bag":
            return Bag(INPUTS, None, unit=False, half_life=half_life)
        return Solve(INPUTS, INPUTS.T @ INPUTS, None, **ridge, half_life=half_life)

    history = Ragged.of([[1, 2, 3, 4, 5]])
    decayed = Users.unknown(
        Histories(history, weight=np.array([0.25, 0.25**0.75, 0.5, 0.5**0.5, 1], np.float32))
    )
    np.testing.assert_allclose(
        encoder(2.0).encode(Users.unknown(history))[0], encoder(None).encode(decayed)[0], rtol=1e-4, atol=1e-6
    )
    assert encoder(2.0).space_id != encoder(None).space_id


def test_a_long_list_of_histories_is_encoded_in_blocks_to_the_same_vectors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    histories = Ragged.of([list(RNG.integers(9, size=size)) for size in (3, 0, 7, 1, 5, 2)])
    together = Bag(INPUTS, None, unit=True).encode(Users.unknown(histories))[0]
    monkeypatch.setattr("recsys.encoders.bag._BLOCK_BYTES", 4 * 4 * 6)
    np.testing.assert_array_equal(Bag(INPUTS, None, unit=True).encode(Users.unknown(histories))[0], together)


def two_spaces() -> tuple[Embeddings, Embeddings]:
    items, other = (RNG.normal(size=(9, dim)).astype(np.float32) for dim in (4, 3))
    solve = Solve(items, items.T @ items, None, regularization=0.1, unobserved_weight=0.1, exponent=1.0)
    return Embeddings(items, solve), Embeddings(other, Bag(INPUTS[:, :3].copy(), None, unit=True))


def test_the_scores_of_a_concatenation_are_the_weighted_sums_and_so_are_the_reasons() -> None:
    parts, weights = two_spaces(), (0.5, 2.0)
    both = concat(parts, weights)
    users = Users.unknown(Ragged.of([[1, 4], [7]]))
    scores = [part.encoder.encode(users)[0] @ part.items.T for part in parts]
    combined = both.encoder.encode(users)[0] @ both.items.T
    np.testing.assert_allclose(combined, 0.5 * scores[0] + 2 * scores[1], rtol=1e-4, atol=1e-5)
    person = users.take(np.array([0]))
    reasons = both.encoder.contributions(person, both.items)
    assert reasons is not None
    np.testing.assert_allclose(reasons.sum(axis=1), combined[0], rtol=1e-3, atol=1e-4)


def test_a_user_is_unknown_to_a_concatenation_only_where_all_parts_say_so() -> None:
    first, second = two_spaces()
    first.items[3] = 0  # unknown to Solve, known to the Bag
    second.encoder.inputs[[3, 5]] = [[1, 1, 1], [0, 0, 0]]  # type: ignore[attr-defined]
    known = concat((first, second), (1, 1)).encoder.encode(Users.unknown(Ragged.of([[3], [5], []]))).known
    assert known.tolist() == [True, True, False]


def test_models_of_different_items_do_not_concatenate() -> None:
    first, second = two_spaces()
    with pytest.raises(ModelError, match="same items"):
        concat((first, Embeddings(second.items[:5], second.encoder)), (1, 1))
    with pytest.raises(ModelError, match="a weight for each"):
        concat((first, second), (1,))


@pytest.mark.parametrize("hidden", [0.0, 0.25])
def test_fitted_inputs_solve_the_ridge_regression(hidden: float) -> None:
    data = random_log(3)
    matrix = data.interactions.matrix()
    users = RNG.normal(size=(data.n_users, 5)).astype(np.float32)
    rows = matrix.toarray() / np.sqrt(matrix.toarray().sum(axis=1, keepdims=True))
    ridge = 3 * np.eye(data.n_items) + hidden / (1 - hidden) * np.diag((rows**2).sum(axis=0))
    expected = np.linalg.solve(rows.T @ rows + ridge, rows.T @ users)
    np.testing.assert_allclose(
        fitted_inputs(matrix, users, 3.0, hidden=hidden), expected, rtol=1e-3, atol=1e-4
    )


def test_fitted_inputs_are_those_of_histories_with_events_hidden() -> None:
    data = random_log(3)
    rows = data.interactions.matrix().toarray()
    rows /= np.sqrt(rows.sum(axis=1, keepdims=True))
    users = RNG.normal(size=(data.n_users, 5)).astype(np.float32)
    left = np.tile(rows, (3_000, 1)) * (RNG.random((3_000 * len(rows), data.n_items)) < 0.5)
    gram, pull = left.T @ left / 3_000, left.T @ np.tile(users, (3_000, 1)) / 3_000
    # inputs for histories left by half are twice those for whole ones, and so is what the ridge weighs of
    # them
    expected = np.linalg.solve(gram + 3 / 4 * np.eye(data.n_items), pull) / 2
    np.testing.assert_allclose(fitted_inputs(data.interactions.matrix(), users, 3.0), expected, atol=0.02)


@pytest.mark.parametrize("name", ["spectral", "softmax", "mixture"])
def test_a_bundle_answers_a_stranger_as_the_model_it_was_made_of(name: str, tmp_path: Path) -> None:
    settings = (
        {"dim": 4}
        if name != "mixture"
        else {"parts": [{"name": "als", "dim": 4}, {"name": "softmax", "dim": 4}]}
    )
    data = random_log(1)
    learned = make_model(name, settings).fit(data, seed=1)
    bundle = load(publish(tmp_path, content(data.n_users, data.n_items, embeddings=learned)))
    users = Users.unknown(Ragged.of([[1, 2, 3], [9]]))
    vectors = learned.encoder.encode(users)[0]
    lists = bundle.recommender.recommend(users, 5)
    for row, history in enumerate(([1, 2, 3], [9])):
        scores = learned.items @ vectors[row]
        scores[history] = -np.inf
        np.testing.assert_array_equal(lists.ids[row], np.argsort(-scores, kind="stable")[:5])


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_inputs_learned_on_find_the_rest_of_a_history_better(similarity: str) -> None:
    """Events of two circles of items, of which half of a history says which: by the softmax over all
    items."""
    rng = np.random.default_rng(8)
    user = np.repeat(np.arange(60), 12)
    item = rng.integers(20, size=len(user)) + 20 * (user % 2)
    data = dataset(user, item, 60, 40)
    fixed = {"dim": 4, "epochs": 6, "similarity": similarity, "propagation": 0.0, "fold_in_ridge": 300.0}
    fixed |= {"temperature": 0.1 if similarity == "cosine" else 1.0, "regularization": 0.0}
    half = data.interactions.where(rng.random(len(user)) < 0.5).histories().items

    def loss(epochs: int) -> float:
        learned: Any = make_model("softmax", fixed | {"fold_in_epochs": epochs}).fit(data, seed=1)
        vectors, _ = learned.encoder.encode(Users.unknown(half))
        scores = vectors @ learned.items.T / fixed["temperature"]
        chances = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return -float((data.interactions.matrix().toarray() * chances).sum() / len(user))

    losses = [loss(epochs) for epochs in (0, 40)]
    assert losses[1] < losses[0] - 0.05, losses
    assert losses == [loss(epochs) for epochs in (0, 40)]
