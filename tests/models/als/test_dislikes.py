"""Events that say "not this" as negatives of implicit ALS: the objective, the fold-in, and who cannot learn
so."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from scipy import sparse

from recsys.answers.explain import explain
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import load
from recsys.bundle.write import write
from recsys.data.dataset import Dataset
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.models.als import exact, single
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.als.alternation import Basis, Side, half_step
from recsys.models.export import content_of
from recsys.models.registry import MODELS, make_model, model_class
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import dataset
from tests.helpers.bundles import START

A, REG, DISLIKED = 0.2, 0.05, 3.0
RULES = PrepareSettings(event_weights={"view": 1.0, "buy": 2.0, "skip": -0.5, "seen": 0.0})
NAMES = ("view", "buy", "skip", "seen")


def log() -> Dataset:
    """People who view, buy and skip, the same item perhaps both; the last user and the last item are only
    skipped."""
    rng = np.random.default_rng(3)
    n = 500
    user, item, kind = rng.integers(30, size=n), rng.integers(20, size=n), rng.integers(4, size=n)
    kind[(user == 29) | (item == 19)] = 2
    raw = dataset(user, item, 30, 20, time=START + np.arange(n), event=kind, event_names=NAMES)
    return prepare_data(raw, RULES)[0]


def fit(data: Dataset, **settings: Any) -> Embeddings:
    values = {
        "dim": 8,
        "epochs": 60,
        "unobserved_weight": A,
        "regularization": REG,
        "disliked_weight": DISLIKED,
    }
    return ALS(ALSSettings(**{**values, **settings})).fit(data, seed=1)


def dense(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """float64 (n_users, n_items) each: what pairs weigh that shall score 1, and what those that shall score
    0."""
    liked, disliked = np.zeros((2, data.n_users, data.n_items))
    events = data.had
    for user, item, weight in zip(events.user, events.item, events.weights, strict=True):
        if weight > 0:
            liked[user, item] += weight
        else:
            disliked[user, item] -= DISLIKED * weight
    disliked[liked.sum(1) == 0] = 0  # rows of zeros teach nothing
    disliked[:, liked.sum(0) == 0] = 0
    return liked, disliked


@pytest.mark.parametrize("solver", ["cg", "exact"])
def test_the_rows_are_the_minimum_of_the_formula_of_the_docstring(solver: str) -> None:
    """At an optimum each side's rows solve their ridge regressions, written out pair by pair."""
    data = log()
    learned = fit(data, solver=solver, epochs=400)
    liked, disliked = dense(data)
    users, items = (
        learned.encoder.encode(Users.of_rows(np.arange(30), data.had.histories())).vectors,
        learned.items,
    )
    for w, v, own, other in ((liked, disliked, users, items), (liked.T, disliked.T, items, users)):
        y = other.astype(float)
        for row in range(len(own)):
            ridge = REG * (w[row].sum() + v[row].sum() + A * len(y))
            left = A * y.T @ y + (y.T * (w[row] + v[row])) @ y + ridge * np.eye(8)
            np.testing.assert_allclose(own[row], np.linalg.solve(left, y.T @ w[row]), atol=2e-3)
    assert not items[19].any()  # nobody had it to like: no vector, so nobody gets it
    assert not users[29].any()


@pytest.mark.parametrize("width", [16, 64, 272])
@pytest.mark.parametrize("solver", [exact.solve_short, exact.solve_long, single.solve_alone, None])
def test_every_solver_takes_weights_below_zero_as_scores_that_shall_be_zero(solver: Any, width: int) -> None:
    rng = np.random.default_rng(1)
    lengths = np.array([1, 2, 5, 16, 17, 33, 66, 129, 300, *range(20, 32)])
    indices = np.concatenate([rng.permutation(320)[:n] for n in lengths]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    weights = (rng.uniform(0.5, 3, len(indices)) * rng.choice([1, -1], len(indices))).astype(np.float32)
    matrix = sparse.csr_array((weights, indices, indptr), shape=(len(lengths), 320))
    side = Side.of(matrix, rng.uniform(0.5, 2, len(lengths)).astype(np.float32))
    y = rng.normal(size=(320, width)).astype(np.float32)
    basis = Basis.of(y.T.astype(float) @ y, width, A)
    turned, value = y @ basis.vectors, np.zeros(len(lengths), np.float32)
    rows = np.zeros((len(lengths), width), np.float32)
    if solver is None:
        value = half_step(side, turned, basis, rows, 300)
    else:
        threads = numba.get_num_threads()
        solver(
            side.order, 0, len(lengths), *side[:3], turned, basis.spectrum, side.ridge, rows, value, threads
        )
    w = matrix.toarray().astype(float)
    for row, one in enumerate(w):
        left = A * y.T.astype(float) @ y + (y.T * abs(one)) @ y + side.ridge[row] * np.eye(width)
        solved = np.linalg.solve(left, y.T @ np.maximum(one, 0))
        rounding = 2e-4 * np.abs(solved).max() + 1e-6
        np.testing.assert_allclose(basis.vectors @ rows[row], solved, rtol=1e-3, atol=rounding)
        least = (abs(one) * ((one > 0) - y @ solved) ** 2).sum() + A * ((y @ solved) ** 2).sum()
        assert value[row] == pytest.approx(least + side.ridge[row] * (solved**2).sum(), rel=1e-2, abs=1e-3)


def test_a_learned_row_is_the_fold_in_of_the_same_history_and_its_shares_sum_to_the_score(
    tmp_path: Path,
) -> None:
    data = log()
    bundle = load(write(tmp_path, content_of("als", fit(data), data, prepare=RULES)))
    people, past = np.arange(29), bundle.histories.take(np.arange(29))
    rows, folded = (
        bundle.encoder.encode(users) for users in (Users.of_rows(people, past), Users.unknown(past))
    )
    np.testing.assert_allclose(rows.vectors, folded.vectors, rtol=1e-3, atol=1e-4)
    for row in people[:5]:
        one = Users.unknown(past.take(np.array([row])))
        parts = bundle.encoder.contributions(one, bundle.item_vectors)
        assert parts is not None
        np.testing.assert_allclose(
            parts.sum(axis=1), bundle.item_vectors @ folded.vectors[row], rtol=1e-3, atol=1e-4
        )
        assert one.history.weight is not None
        assert not parts[:, one.history.weight <= 0].any()
    assert explain(bundle, bundle.user_ids[0], bundle.item_ids[3], now=START).exact
    assert respond(bundle, Question(bundle.user_ids[29], k=3, now=START)).source == "fallback"


def test_a_skip_that_a_request_brings_lowers_what_is_like_the_skipped_item(tmp_path: Path) -> None:
    """Two tastes, items 0 to 4 and 5 to 9: viewers of one of each who skip one of the first want the
    second."""
    rng = np.random.default_rng(0)
    user, item = np.nonzero(np.kron(np.eye(2), np.ones((20, 5))) * (rng.random((40, 10)) < 0.8))
    other = (item + 5) % 10
    both = np.concatenate([user, user]), np.concatenate([item, other]), np.repeat([0, 2], len(user))
    raw = dataset(*both[:2], 40, 10, time=START + np.arange(2 * len(user)), event=both[2], event_names=NAMES)
    rules = PrepareSettings(event_weights={"skip": -1.0})
    data = prepare_data(raw, rules)[0]
    bundle = load(write(tmp_path, content_of("als", fit(data), data, prepare=rules)))
    viewed = [Event(bundle.item_ids[0], START, "view"), Event(bundle.item_ids[5], START + 1, "view")]
    question = Question(history=viewed, k=10, now=START + 3)
    skipping = replace(question, history=[*viewed, Event(bundle.item_ids[1], START + 2, "skip")])
    before, after = (
        {one.item_id: one.score for one in respond(bundle, asked).items} for asked in (question, skipping)
    )
    assert respond(bundle, skipping).ignored == []
    lower = [
        after[bundle.item_ids[row]] / before[bundle.item_ids[row]]
        for row in range(10)
        if row not in (0, 1, 5)
    ]
    assert max(lower[:3]) < min(lower[3:])
    known = replace(question, user_id=bundle.user_ids[0], history=[])
    skips = replace(known, history=[Event(bundle.item_ids[5], START + 10**6, "skip")])
    first, second = (
        respond(bundle, one) for one in (known, skips)
    )  # a click of now takes the place of the row
    assert [one.score for one in second.items] != [one.score for one in first.items if one.item_id != "i5"]
    assert (first.source, second.source) == ("known", "history")


def test_without_the_setting_nothing_is_learned_from_what_says_not_this() -> None:
    data = log()
    without = fit(replace(data, whole=None), disliked_weight=0.0)
    learned = fit(data, disliked_weight=0.0)
    assert learned.items.tobytes() == without.items.tobytes()
    assert learned.encoder.space_id == without.encoder.space_id
    assert fit(data).encoder.space_id != learned.encoder.space_id


def test_a_setting_without_effect_is_refused() -> None:
    with pytest.raises(ModelError, match=r"has none\. Say which they are"):
        fit(replace(log(), whole=None))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_learner_learns_from_dislikes_or_says_that_it_cannot(name: str) -> None:
    if model_class(name).learns_dislikes:
        assert "disliked_weight" in model_class(name).Settings.model_fields
        return
    with pytest.raises(SettingError, match=f"{name} cannot learn from events .* a model that can: als"):
        make_model(name, {"disliked_weight": 1.0})
