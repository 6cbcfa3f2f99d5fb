"""GloVe: objective and steps against a plain version, and the logarithms of counts that are met."""

import numpy as np
import pytest

from recsys.arrays import F32, Ragged
from recsys.errors import ModelError
from recsys.matrix.cooccurrence import PairWeights, count_cooccurrences
from recsys.models.neighbours.glove import learn_pairs, weights_of
from recsys.models.registry import make_model
from recsys.testing.learners import scores_of
from recsys.testing.toys import dataset, random_log


def plain(batch: list[int], rows, columns, weights, logs, tables, squares, rate: float) -> float:
    """The steps of a batch as the paper has them, in float64."""
    total = 0.0
    for pair in batch:
        i, j = rows[pair], columns[pair]
        w, c = tables[0][i].copy(), tables[1][j].copy()
        error = w[:-1] @ c[:-1] + w[-1] + c[-1] - logs[pair]
        total += 0.5 * weights[pair] * error**2
        slopes = np.append(c[:-1], 1.0), np.append(w[:-1], 1.0)
        for table, square, row, slope in zip(tables, squares, (i, j), slopes, strict=True):
            gradient = weights[pair] * error * slope
            table[row] -= rate * gradient / np.sqrt(square[row])
            square[row] += gradient**2
    return total


@pytest.mark.parametrize("seed", range(3))
def test_objective_and_steps_are_those_of_a_plain_version(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = [rng.normal(0, 0.3, (9, 6)).astype(np.float32) for _ in range(2)]
    squares = [np.ones((9, 6), np.float32) for _ in range(2)]
    rows, columns = (rng.integers(9, size=60).astype(np.int32) for _ in range(2))
    weights, logs = weights_of(rng.uniform(0.1, 30, 60).astype(np.float32), 10.0, 0.75)
    slow = [[one.astype(np.float64) for one in group] for group in (tables, squares)]
    batch = rng.permutation(60)
    objective = learn_pairs(batch, rows, columns, weights, logs, *tables, *squares, np.float32(0.05))
    assert objective == pytest.approx(plain(list(batch), rows, columns, weights, logs, *slow, 0.05), rel=1e-5)
    for fast, other in zip([*tables, *squares], [*slow[0], *slow[1]], strict=True):
        np.testing.assert_allclose(fast, other, atol=1e-5, rtol=1e-5)


def test_a_pair_weighs_by_its_count_up_to_the_ceiling() -> None:
    weights, logs = weights_of(np.array([1.0, 5.0, 10.0, 1000.0], np.float32), 10.0, 0.75)
    np.testing.assert_allclose(weights, [0.1**0.75, 0.5**0.75, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(logs, np.log([1, 5, 10, 1000]), rtol=1e-6)


def test_what_is_learned_meets_the_logarithms_of_the_counts() -> None:
    """With as many dims as items everything can be met: the score of one item after another is the logarithm
    of their count, but for what the first has for all."""
    data = random_log(3, n_users=60, n_items=8, n=900)
    settings = {
        "dim": 12,
        "epochs": 400,
        "batch_size": 64,
        "learning_rate": 0.3,
        "window": 3,
        "decay": 0.7,
        "back": 0.5,
    }
    learned = make_model("glove", settings).fit(data, seed=1)
    counts = count_cooccurrences(data.interactions.histories(), 8, PairWeights(3, 0.7, 0.5)).toarray()
    scores: F32 = scores_of(learned, Ragged.of([[item] for item in range(8)]), 8)
    for item in range(8):
        others = np.arange(8) != item
        gap = scores[item, others] - np.log(counts[item, others])
        assert np.ptp(gap) < 0.05


def test_taste_alone_leaves_out_what_is_popular() -> None:
    data = random_log(2, n_users=80, n_items=12, n=900)
    both = make_model("glove", {"dim": 6, "epochs": 5}).fit(data, seed=1)
    taste = make_model("glove", {"dim": 6, "epochs": 5, "popular": False}).fit(data, seed=1)
    np.testing.assert_array_equal(both.items[:, :-1], taste.items[:, :-1])
    assert not taste.items[:, -1].any()
    assert both.items[:, -1].any()


def test_histories_of_one_event_hold_no_pair() -> None:
    with pytest.raises(ModelError, match="no two items occur in one history"):
        make_model("glove", {}).fit(dataset(np.array([0, 1]), np.array([0, 1]), 2, 2), seed=1)
