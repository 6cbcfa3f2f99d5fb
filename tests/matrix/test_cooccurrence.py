"""Pairs of events that lie near each other, against a slow count in the order of the histories."""

from pathlib import Path

import numpy as np
import pytest

from recsys.arrays import F32, Ragged
from recsys.history import Histories
from recsys.matrix import cooccurrence
from recsys.matrix.cooccurrence import PairWeights, count_cooccurrences, normalise_degrees
from recsys.progress import Step

PAIRS = [PairWeights(1, 1.0, 0.0), PairWeights(3, 0.7, 0.5), PairWeights(50, 0.9, 1.0)]


def random_histories(seed: int, weighted: bool) -> Histories:
    """Twelve histories of up to 40 events of nine items, with repeats in a row; the items 9 and 10 never
    occur."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(9, size=rng.integers(0, 40)) for _ in range(12)]
    items = Ragged.of([np.repeat(row, rng.integers(1, 3, len(row))) for row in rows])
    weight = rng.choice([0.5, 1.0, 3.0], len(items.values)).astype(np.float32) if weighted else None
    return Histories(items, weight=weight)


def slowly(histories: Histories, n_items: int, pairs: PairWeights) -> np.ndarray:
    """float64 (n_items, n_items): pair by pair."""
    counts = np.zeros((n_items, n_items))
    for row in range(histories.rows):
        one = histories.row(row)
        runs: list[tuple[int, float]] = []
        for item, weight in zip(one.items.values.tolist(), weights_of(one).tolist(), strict=True):
            if runs and runs[-1][0] == item:
                weight += runs.pop()[1]
            runs.append((item, weight))
        for first in range(len(runs)):
            for later in range(first + 1, min(first + pairs.window, len(runs) - 1) + 1):
                (i, w), (j, v) = runs[first], runs[later]
                if i != j:
                    counted = w * v * pairs.decay ** (later - first - 1)
                    counts[i, j] += counted
                    counts[j, i] += counted * pairs.back
    return counts


def weights_of(histories: Histories) -> F32:
    return np.ones(len(histories), np.float32) if histories.weight is None else histories.weight


@pytest.mark.parametrize("pairs", PAIRS, ids=str)
@pytest.mark.parametrize("weighted", [False, True], ids=["alike", "weighted"])
@pytest.mark.parametrize("block", [4 << 20, 40], ids=["one block", "few items a block"])
def test_pairs_are_counted_as_a_slow_second_version_counts_them(
    pairs: PairWeights, weighted: bool, block: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cooccurrence, "_BLOCK_PAIRS", block)
    for seed, folder in ((1, None), (2, tmp_path)):
        histories = random_histories(seed, weighted)
        steps: list[Step] = []
        counts = count_cooccurrences(histories, 11, pairs, folder=folder, progress=steps.append)
        np.testing.assert_allclose(counts.toarray(), slowly(histories, 11, pairs), rtol=1e-5)
        assert counts.dtype == np.float32
        assert steps[-1].done == steps[-1].total == 11


def test_no_pair_joins_the_end_of_one_history_to_the_beginning_of_the_next() -> None:
    counts = count_cooccurrences(
        Histories(Ragged.of([[0, 1], [], [1, 2], [3]])), 4, PairWeights(10, 1.0, 0.0)
    )
    assert counts.toarray().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_histories_without_events_have_no_pairs() -> None:
    assert count_cooccurrences(Histories(Ragged.empty(3)), 4, PairWeights(10, 1.0, 0.5)).nnz == 0


def test_pairs_are_divided_by_the_powers_of_both_degrees() -> None:
    matrix = count_cooccurrences(random_histories(3, True), 11, PairWeights(4, 0.8, 0.5))
    counts = matrix.toarray().astype(np.float64)
    normalise_degrees(matrix, 0.5, 0.3)
    rows, columns = (np.maximum(counts.sum(axis=axis, keepdims=True), 1e-12) for axis in (1, 0))
    np.testing.assert_allclose(matrix.toarray(), counts / rows**0.5 / columns**0.3, rtol=1e-5)
