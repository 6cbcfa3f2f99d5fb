"""What implicit ALS promises beyond the contract: the objective, the solvers, the fold-in and its reasons."""

from itertools import pairwise

import numpy as np
import pytest
from toys import dataset, random_log

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.errors import ModelError
from recsys.models.als import ALS, ALSSettings
from recsys.progress import Step
from recsys.retrieval.encoders import Solve
from recsys.retrieval.ranker import Embeddings
from recsys.retrieval.users import Users

A, REG = 0.2, 0.05


def fit(data: Dataset, **settings: object) -> Embeddings:
    values = {"dim": 8, "epochs": 5, "unobserved_weight": A, "regularization": REG} | settings
    return ALS(ALSSettings(**values)).fit(data, seed=1)


def weighted(seed: int = 1) -> Dataset:
    data = random_log(seed)
    weight = np.random.default_rng(seed).uniform(0.5, 3, len(data.interactions)).astype(np.float32)
    events = data.interactions
    return dataset(events.user, events.item, data.n_users, data.n_items, time=events.time, weight=weight)


def slow_objective(data: Dataset, users: np.ndarray, items: np.ndarray) -> float:
    """The docstring's formula, pair by pair."""
    w = data.interactions.matrix().toarray().astype(float)
    scores = users.astype(float) @ items.T.astype(float)
    total = (w * (scores - 1) ** 2).sum() + A * (scores**2).sum()
    total += (REG * (w.sum(1) + A * data.n_items) * (users**2).sum(1)).sum()
    total += (REG * (w.sum(0) + A * data.n_users) * (items**2).sum(1)).sum()
    return total / np.count_nonzero(w)


def slow_user(data: Dataset, items: np.ndarray, user: int) -> np.ndarray:
    """The user's ridge regression in float64, straight from its definition."""
    w = data.interactions.matrix().toarray()[user].astype(float)
    y = items.astype(float)
    left = A * y.T @ y + (y.T * w) @ y + REG * (w.sum() + A * len(y)) * np.eye(y.shape[1])
    return np.linalg.solve(left, y.T @ w)


def test_the_reported_objective_is_the_formula_of_the_docstring() -> None:
    data, steps = weighted(), []
    embeddings = ALS(ALSSettings(dim=8, epochs=1, unobserved_weight=A, regularization=REG, solver="exact")).fit(
        data, seed=1, progress=steps.append
    )
    table = embeddings.encoder.table  # one exact half-step past the report: never above it
    reported = steps[-1].values["objective"]
    assert slow_objective(data, table, embeddings.items) <= reported * (1 + 1e-5)
    more: list[Step] = []
    ALS(ALSSettings(dim=8, epochs=40, unobserved_weight=A, regularization=REG, solver="exact")).fit(
        data, seed=1, progress=more.append
    )
    converged = fit(data, epochs=40, solver="exact")
    found = slow_objective(data, converged.encoder.table, converged.items)
    assert found == pytest.approx(more[-1].values["objective"], rel=1e-4)


@pytest.mark.parametrize("solver", ["cg", "exact"])
def test_the_objective_falls_in_every_epoch(solver: str) -> None:
    steps: list[Step] = []
    settings = ALSSettings(dim=8, epochs=15, solver=solver, unobserved_weight=A, regularization=REG)
    ALS(settings).fit(weighted(), seed=1, progress=steps.append)
    objective = [step.values["objective"] for step in steps]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(objective))
    assert objective[-1] < 0.9 * objective[0]


def test_conjugate_gradient_and_cholesky_reach_the_same_optimum() -> None:
    data = weighted()
    exact = fit(data, solver="exact", epochs=60)
    gradient = fit(data, solver="cg", epochs=60, cg_steps=8)
    first, second = (slow_objective(data, e.encoder.table, e.items) for e in (exact, gradient))
    assert first == pytest.approx(second, rel=1e-3)


@pytest.mark.parametrize("solver", ["cg", "exact"])
def test_user_rows_are_the_exact_solution_for_the_item_vectors(solver: str) -> None:
    data = weighted()
    embeddings = fit(data, solver=solver)
    for user in range(data.n_users):
        np.testing.assert_allclose(
            embeddings.encoder.table[user], slow_user(data, embeddings.items, user), rtol=2e-3, atol=1e-5
        )


def test_a_user_folded_in_from_the_same_events_gets_the_vector_of_training() -> None:
    data = weighted()
    embeddings = fit(data)
    histories = data.interactions.histories()
    stranger = Users(np.full(data.n_users, -1, np.int32), histories.items, weight=histories.weight)
    vectors, known = embeddings.encoder.encode(stranger)
    assert known.all()
    np.testing.assert_allclose(vectors, embeddings.encoder.table, rtol=1e-3, atol=1e-5)


def test_contributions_of_the_history_sum_to_the_score() -> None:
    data = random_log(3)
    embeddings = fit(data)
    user = Users.unknown(Ragged.of([[1, 4, 4, 9]]))
    parts = embeddings.encoder.contributions(user, embeddings.items)
    scores = embeddings.items @ embeddings.encoder.encode(user)[0][0]
    assert parts.shape == (data.n_items, 4)
    np.testing.assert_allclose(parts.sum(axis=1), scores, rtol=1e-3, atol=1e-5)


def test_history_items_without_a_vector_are_ignored() -> None:
    data = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2, 5)
    encoder = fit(data).encoder
    with_unknown, known = encoder.encode(Users.unknown(Ragged.of([[0, 3, 4], [3, 4]])))
    alone, _ = encoder.encode(Users.unknown(Ragged.of([[0]])))
    np.testing.assert_allclose(with_unknown[0], alone[0], rtol=1e-5)
    assert list(known) == [True, False]


def test_long_and_short_histories_encode_alike_alone_and_together() -> None:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(500, 16)).astype(np.float32)
    encoder = Solve(items, items.T @ items, None, regularization=0.1, unobserved_weight=0.1, exponent=1.0)
    rows = [rng.integers(500, size=n) for n in [0, 1, 2, 400, 3, 7, *rng.integers(1, 60, size=600)]]
    together, known = encoder.encode(Users.unknown(Ragged.of(rows)))
    assert not known[0]
    for row in range(1, 30):
        alone, _ = encoder.encode(Users.unknown(Ragged.of([rows[row]])))
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-3, atol=1e-6)


def test_the_space_id_changes_with_what_determines_the_output() -> None:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(20, 4)).astype(np.float32)
    other = items.copy()
    other[3, 2] += 1e-3

    def space(inputs: np.ndarray, regularization: float = 0.1) -> str:
        gram = inputs.T @ inputs
        return Solve(inputs, gram, None, regularization=regularization, unobserved_weight=0.1, exponent=1.0).space_id

    assert len({space(items), space(other), space(items, 0.2)}) == 3
    assert space(items) == space(items.copy())


@pytest.mark.parametrize("weight", [-1.0, 0.0, np.nan, np.inf])
def test_weights_that_are_not_positive_are_refused(weight: float) -> None:
    data = dataset(np.array([0, 1]), np.array([0, 1]), 2, 2, weight=np.array([1.0, weight]))
    with pytest.raises(ModelError, match="positive weights; event 1"):
        fit(data)


def test_one_item_one_user_and_dim_above_the_rank_are_learned() -> None:
    one = dataset(np.array([0]), np.array([0]), 1, 1)
    assert np.isfinite(fit(one, dim=64).items).all()
    few = dataset(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2)
    assert (fit(few, dim=64, solver="exact").encoder.encode(Users.known([0, 1], Ragged.of([[0, 1], [1]])))[1]).all()


def test_bytes_do_not_depend_on_what_ran_before(tmp_path: object) -> None:
    """The first fit of a process loads the compiled code's BLAS; its threads must be limited by then already."""
    import subprocess
    import sys

    program = (
        "import sys; sys.path.insert(0, 'tests'); from toys import random_log; from recsys.models.als import ALS\n"
        "data = random_log(1, 400, 300, 9000)\n"
        "first, second = (ALS().fit(data, seed=1).items.tobytes() for _ in range(2))\n"
        "assert first == second"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
