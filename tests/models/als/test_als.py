"""What implicit ALS promises beyond the contract: the objective, the solvers, the fold-in and its reasons."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from scipy import sparse

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.history import Histories
from recsys.models.als import als, exact, single
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.als.alternation import Basis, Side
from recsys.progress import Step
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.toys import dataset, random_log
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids, Start

A, REG = 0.2, 0.05


def fit(data: Dataset, **settings: object) -> Embeddings:
    values = {"dim": 8, "epochs": 5, "unobserved_weight": A, "regularization": REG} | settings
    return ALS(ALSSettings(**values)).fit(data, seed=1)


def weighted_log(seed: int = 1) -> Dataset:
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
    data, steps = weighted_log(), []
    embeddings = ALS(
        ALSSettings(dim=8, epochs=1, unobserved_weight=A, regularization=REG, solver="exact")
    ).fit(data, seed=1, progress=steps.append)
    table = embeddings.encoder.table  # one exact half-step past the report: never above it
    reported = steps[-1].values["objective"]
    assert slow_objective(data, table, embeddings.items) <= reported * (1 + 1e-5)
    more: list[Step] = []
    ALS(ALSSettings(dim=8, epochs=40, unobserved_weight=A, regularization=REG, solver="exact")).fit(
        data, seed=1, progress=more.append
    )
    converged = fit(data, epochs=40, solver="exact")
    objective = slow_objective(data, converged.encoder.table, converged.items)
    assert objective == pytest.approx(more[-1].values["objective"], rel=1e-4)


@pytest.mark.parametrize("solver", ["cg", "exact"])
def test_the_objective_falls_in_every_epoch(solver: str) -> None:
    steps: list[Step] = []
    settings = ALSSettings(dim=8, epochs=15, solver=solver, unobserved_weight=A, regularization=REG)
    ALS(settings).fit(weighted_log(), seed=1, progress=steps.append)
    objective = [step.values["objective"] for step in steps if step.values]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in pairwise(objective))
    assert objective[-1] < 0.9 * objective[0]


def test_conjugate_gradient_and_cholesky_reach_the_same_optimum() -> None:
    data = weighted_log()
    exact = fit(data, solver="exact", epochs=60)
    gradient = fit(data, solver="cg", epochs=60, cg_steps=8)
    first, second = (slow_objective(data, e.encoder.table, e.items) for e in (exact, gradient))
    assert first == pytest.approx(second, rel=1e-3)


def ridge_rows(lengths: np.ndarray, m: int, width: int) -> tuple[Side, np.ndarray, np.ndarray]:
    """Rows with these numbers of observations and weights, vectors (m, width), and the float64 solution of
    each row."""
    rng = np.random.default_rng(1)
    indices = np.concatenate([rng.permutation(m)[:n] for n in lengths]).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    weights = rng.uniform(0.5, 3, len(indices)).astype(np.float32)
    matrix = sparse.csr_array((weights, indices, indptr), shape=(len(lengths), m))
    side = Side.of(matrix, rng.uniform(0.05, 2, len(lengths)).astype(np.float32))
    y = rng.normal(size=(m, width)).astype(np.float32)
    w = matrix.toarray().astype(float)
    solved = [
        np.linalg.solve(
            A * y.T.astype(float) @ y + (y.T * w[u]) @ y + side.ridge[u] * np.eye(width), y.T @ w[u]
        )
        for u in range(len(lengths))
    ]
    return side, y, np.array(solved)


@pytest.mark.parametrize("width", [16, 64, 272])
@pytest.mark.parametrize("solver", [exact.solve_short, exact.solve_long, single.solve_alone])
def test_every_exact_solver_agrees_with_an_obvious_solve(solver: Callable[..., None], width: int) -> None:
    lengths = np.array([0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 33, 63, 64, 65, 66, 100, 129, 300, *range(20, 40)])
    side, y, expected = ridge_rows(lengths, 320, width)
    basis = Basis.of(y.T.astype(float) @ y, width, A)
    turned, rows, value = (
        y @ basis.vectors,
        np.full((len(lengths), width), np.nan, np.float32),
        np.zeros(len(lengths)),
    )
    value = value.astype(np.float32)
    solver(
        side.order,
        1,
        len(lengths),
        *side[:3],
        turned,
        basis.spectrum,
        side.ridge,
        rows,
        value,
        numba.get_num_threads(),
    )
    solution = rows @ basis.vectors.T
    for u in range(1, len(lengths)):
        np.testing.assert_allclose(solution[u], expected[u], rtol=2e-3, atol=2e-4 * abs(expected[u]).max())
    target = [
        y[side.indices[side.indptr[u] : side.indptr[u + 1]]].T @ _weights(side, u)
        for u in range(len(lengths))
    ]
    least = [_weights(side, u).sum() - target[u] @ expected[u] for u in range(len(lengths))]
    np.testing.assert_allclose(value, least, rtol=2e-3, atol=1e-3)
    assert np.isnan(rows[0]).all(), "a row without observations was written"


def _weights(side: Side, u: int) -> np.ndarray:
    return side.weights[side.indptr[u] : side.indptr[u + 1]].astype(float)


def test_conjugate_gradient_comes_to_the_obvious_solution_and_knows_its_objective() -> None:
    side, y, expected = ridge_rows(np.array([0, 1, 7, 8, 9, 40, 64, 65, 200, 300]), 320, 48)
    basis = Basis.of(y.T.astype(float) @ y, 48, A)
    start = np.random.default_rng(2).normal(size=expected.shape).astype(np.float32)

    def after(steps: int) -> tuple[np.ndarray, np.ndarray]:
        rows, value = start.copy(), np.zeros(len(start), np.float32)
        shared = (
            side.order,
            1,
            len(rows),
            *side[:3],
            y @ basis.vectors,
            basis.spectrum,
            side.ridge,
            rows,
            value,
        )
        single.improve(*shared, 1, basis.vectors, steps)
        return rows @ basis.vectors.T, value

    for steps in (1, 2, 60):
        rows, value = after(steps)
        for u in range(1, len(rows)):
            seen = y[side.indices[side.indptr[u] : side.indptr[u + 1]]]
            part = _weights(side, u) @ (seen @ rows[u] - 1) ** 2 + A * np.sum((y @ rows[u]) ** 2)
            assert value[u] == pytest.approx(part + side.ridge[u] * rows[u] @ rows[u], rel=1e-3)
    np.testing.assert_allclose(rows[1:], expected[1:], rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("dim", [1, 5, 16, 40])
def test_a_half_step_solves_every_row_whatever_its_length(dim: int) -> None:
    """Users with none, one and up to all of the items, more than dimensions and fewer; both sides see each
    other."""
    rng = np.random.default_rng(dim)
    pairs = [(user, item) for user in range(60) for item in rng.permutation(90)[: user * 3 // 2]]
    user, item = np.array(pairs).T
    data = dataset(user, item, 61, 91, weight=rng.uniform(0.5, 3, len(user)).astype(np.float32))
    embeddings = fit(data, dim=dim, solver="exact", epochs=2)
    assert embeddings.items.shape == (91, dim)
    assert embeddings.items.flags.c_contiguous
    assert not embeddings.encoder.table[[0, 60]].any()
    assert not embeddings.items[90].any()
    for user in range(1, 60):
        expected = slow_user(data, embeddings.items, user)
        np.testing.assert_allclose(
            embeddings.encoder.table[user], expected, rtol=2e-3, atol=2e-4 * abs(expected).max()
        )


@pytest.mark.parametrize("solver", ["cg", "exact"])
def test_user_rows_are_the_exact_solution_for_the_item_vectors(solver: str) -> None:
    data = weighted_log()
    embeddings = fit(data, solver=solver)
    for user in range(data.n_users):
        np.testing.assert_allclose(
            embeddings.encoder.table[user], slow_user(data, embeddings.items, user), rtol=2e-3, atol=1e-5
        )


def test_a_user_folded_in_from_the_same_events_gets_the_vector_of_training() -> None:
    data = weighted_log()
    embeddings = fit(data)
    stranger = Users.unknown(data.interactions.histories())
    encoded = embeddings.encoder.encode(stranger)
    vectors, known = encoded.vectors, encoded.known
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


@pytest.mark.parametrize("events", [1, 4, 5, 8, 12])
@pytest.mark.parametrize("kind", [{}, {"disliked_weight": 2.0}, {"confidence": 3.0}])
def test_vector_and_shares_are_those_of_the_ridge_regression_however_long_the_history(
    kind: Any, events: int
) -> None:
    random, dim = np.random.default_rng(events), 8
    items, vectors = random.standard_normal((40, dim)).astype(np.float32), random.standard_normal((3, dim))
    encoder = Solve(
        items, items.T @ items, None, regularization=0.1, unobserved_weight=0.2, exponent=1.0, **kind
    )
    had, weight = random.permutation(40)[:events], random.uniform(0.5, 2, events)
    if "disliked_weight" in kind:
        weight[::2] *= -1
    user = Users.unknown(Histories(Ragged.of([had]), weight=weight.astype(np.float32)))
    right = np.maximum(weight, 0) * kind.get("confidence", 1)
    left = right - 1 if "confidence" in kind else np.where(weight < 0, -2 * weight, weight)
    y = items[had].astype(np.float64)
    ridge = 0.1 * (left.sum() + 0.2 * 40)
    matrix = y.T @ (left[:, None] * y) + 0.2 * items.T.astype(np.float64) @ items + ridge * np.eye(dim)
    wanted = vectors @ np.linalg.solve(matrix, y.T) * right
    shares = encoder.contributions(user, vectors.astype(np.float32))
    np.testing.assert_allclose(shares, wanted, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        encoder.encode(user).vectors[0], np.linalg.solve(matrix, y.T @ right), rtol=1e-3, atol=1e-5
    )


def test_history_items_without_a_vector_are_ignored() -> None:
    data = dataset(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2]), 2, 5)
    encoder = fit(data).encoder
    encoded = encoder.encode(Users.unknown(Ragged.of([[0, 3, 4], [3, 4]])))
    with_unknown, known = encoded.vectors, encoded.known
    alone, _ = encoder.encode(Users.unknown(Ragged.of([[0]])))
    np.testing.assert_allclose(with_unknown[0], alone[0], rtol=1e-5)
    assert list(known) == [True, False]


def test_long_and_short_histories_encode_alike_alone_and_together() -> None:
    rng = np.random.default_rng(0)
    items = rng.normal(size=(500, 16)).astype(np.float32)
    encoder = Solve(items, items.T @ items, None, regularization=0.1, unobserved_weight=0.1, exponent=1.0)
    rows = [rng.integers(500, size=n) for n in [0, 1, 2, 400, 3, 7, *rng.integers(1, 60, size=600)]]
    encoded = encoder.encode(Users.unknown(Ragged.of(rows)))
    together, known = encoded.vectors, encoded.known
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
        return Solve(
            inputs, gram, None, regularization=regularization, unobserved_weight=0.1, exponent=1.0
        ).space_id

    assert len({space(items), space(other), space(items, 0.2)}) == 3
    assert space(items) == space(items.copy())


@pytest.mark.parametrize("weight", [-1.0, 0.0, np.nan, np.inf])
def test_weights_that_are_not_positive_are_refused(weight: float) -> None:
    data = dataset(np.array([0, 1]), np.array([0, 1]), 2, 2, weight=np.array([1.0, weight]))
    with pytest.raises(ModelError, match="positive weights; event 1"):
        fit(data)


def test_weights_of_any_size_give_the_right_answer_or_a_clear_error() -> None:
    data = weighted_log()
    events = data.interactions
    for factor, exponent in ((1e-20, 1.0), (1e30, 1.0), (1e30, 0.0)):
        heavy = dataset(
            events.user, events.item, data.n_users, data.n_items, weight=events.weights * np.float32(factor)
        )
        try:
            embeddings = fit(heavy, exponent=exponent)
        except ModelError as error:
            assert "learning als: the objective left the finite numbers" in str(error)  # noqa: PT017
            assert "scale the weights" in str(error)  # noqa: PT017
            continue
        assert np.isfinite(embeddings.items).all()
        assert np.isfinite(embeddings.encoder.table).all()


def test_vectors_beyond_float32_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ALS, "_initial", lambda *_: np.full((30, 16), 1e30, np.float32))
    with pytest.raises(
        ModelError, match=r"learning als: the objective left .* in epoch 1\. Raise regularization"
    ):
        fit(random_log(1))


def test_memory_is_stated_first_and_refused_where_it_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    data, steps = random_log(1), []
    ALS(ALSSettings(dim=8, epochs=1)).fit(data, seed=1, progress=steps.append)
    assert steps[0].task.startswith("als takes 0.06 GiB")
    monkeypatch.setattr(als, "available_bytes", lambda: 70 << 20)
    fit(data)
    with pytest.raises(
        ModelError, match=r"als needs .* for dim=4096 on the 40 users, 30 items and 400 events of toy"
    ):
        fit(data, dim=4096)
    with pytest.raises(ModelError) as caught:
        fit(data, dim=512)
    most = int(str(caught.value).split("Set dim to ")[1].split()[0])
    fit(data, dim=most, epochs=1)
    monkeypatch.setattr(als, "available_bytes", lambda: 1 << 20)
    with pytest.raises(ModelError, match=r"Drop users and items with few events \(k-core\)"):
        fit(data)
    monkeypatch.setattr(als, "available_bytes", lambda: None)
    fit(data)


def test_known_item_rows_start_a_run_and_the_basis_is_theirs() -> None:
    """A run from the rows of a converged one stays where they are: nothing is turned or mirrored."""
    data = weighted_log()
    before = fit(data, epochs=200, solver="exact", regularization=0.02)
    model = ALS(ALSSettings(dim=8, epochs=1, solver="exact", unobserved_weight=A, regularization=0.02))
    start = Start(np.zeros((data.n_users, 8), np.float32), before.items)
    after = model.fit(data, seed=2, aids=Aids(warm=start))
    assert abs(after.items - before.items).max() < 0.02 * abs(before.items).max()
    fresh = before.items.copy()
    fresh[3] = 0
    rows = ALS(model.settings)._initial(data, 2, fresh)
    assert rows.shape == (30, 16)
    np.testing.assert_array_equal(np.delete(rows[:, :8], 3, 0), np.delete(before.items, 3, 0))
    assert 0 < abs(rows[3, :8]).max() < 0.5
    assert not rows[:, 8:].any()


def test_one_item_one_user_and_dim_above_the_rank_are_learned() -> None:
    one = dataset(np.array([0]), np.array([0]), 1, 1)
    assert np.isfinite(fit(one, dim=64).items).all()
    few = dataset(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2)
    assert (
        fit(few, dim=64, solver="exact").encoder.encode(Users.of_rows([0, 1], Ragged.of([[0, 1], [1]]))).known
    ).all()


@pytest.mark.parametrize("solver", ["cg", "exact"])
def test_who_looks_on_sees_the_model_so_far_may_stop_it_and_changes_nothing(solver: str) -> None:
    data, seen = weighted_log(), {}

    def watch(epoch: int, learned: Callable[[], Embeddings]) -> bool:
        seen[epoch] = learned()
        return epoch == 3

    model = ALS(ALSSettings(dim=8, epochs=5, solver=solver, unobserved_weight=A, regularization=REG))
    stopped = model.fit(data, seed=1, aids=Aids(watch=watch))
    assert sorted(seen) == [1, 2, 3]
    for epochs, model_so_far in {**seen, 4: stopped}.items():
        alone = fit(data, epochs=min(epochs, 3), solver=solver)
        np.testing.assert_array_equal(model_so_far.items, alone.items)
        np.testing.assert_array_equal(model_so_far.encoder.table, alone.encoder.table)


def test_a_run_that_goes_on_from_a_checkpoint_ends_in_the_same_bytes(tmp_path: Path) -> None:
    data, settings = weighted_log(), ALSSettings(dim=8, epochs=6, unobserved_weight=A, regularization=REG)
    kept = Aids(checkpoint=Checkpoint(tmp_path / "kept", "key"), checkpoint_s=0.0)

    def kill(step: Step) -> None:
        if step.done == 4 and step.values:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ALS(settings).fit(data, seed=1, progress=kill, aids=kept)
    steps: list[Step] = []
    again = ALS(settings).fit(data, seed=1, progress=steps.append, aids=kept)
    whole = ALS(settings).fit(data, seed=1)
    assert len([step for step in steps if step.values]) == 6
    assert again.items.tobytes() == whole.items.tobytes()
    assert again.encoder.table.tobytes() == whole.encoder.table.tobytes()


@pytest.mark.parametrize("solver", ["cg", "exact"])
def test_bytes_do_not_depend_on_the_number_of_threads(solver: str) -> None:
    data, threads = random_log(1, 400, 300, 9000), numba.get_num_threads()
    tables = []
    try:
        for count in (1, threads):
            numba.set_num_threads(count)
            tables.append(fit(data, dim=24, solver=solver).items.tobytes())
    finally:
        numba.set_num_threads(threads)
    assert tables[0] == tables[1]


def test_bytes_do_not_depend_on_what_ran_before(tmp_path: object) -> None:
    """The first fit of a process loads the compiled code's BLAS; its threads must be limited by then
    already."""
    import subprocess
    import sys

    program = (
        "from recsys.models.als.als import ALS; from recsys.testing.toys import random_log\n"
        "data = random_log(1, 400, 300, 9000)\n"
        "first, second = (ALS().fit(data, seed=1).items.tobytes() for _ in range(2))\n"
        "assert first == second"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
