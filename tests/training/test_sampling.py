"""Negatives: their chances are those stated, and corrected by them a sample stands for all items."""

import numpy as np
import pytest
import torch

from recsys.training.losses import Positives, Sample, softmax
from recsys.training.sampling import Sampler

N_ITEMS, BATCH = 1_000, 64
KINDS = ["batch", "uniform", "popularity", "mixed"]


def popular() -> np.ndarray:
    counts = np.round(2_000 / np.arange(1, N_ITEMS + 1) ** 0.8) + 1
    counts[::50] = 0
    return counts


def batch_of(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.choice(N_ITEMS, BATCH, p=counts / counts.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_an_item_is_drawn_as_often_as_its_chance_says(kind: str) -> None:
    counts, rng = popular(), np.random.default_rng(0)
    sampler, times, said = Sampler(kind, 100, counts, BATCH), np.zeros(N_ITEMS), np.zeros(N_ITEMS)
    for _ in range(4_000):
        drawn = sampler.draw(batch_of(counts, rng), rng)
        assert (np.diff(drawn.items) > 0).all()
        times[drawn.items] += 1
        said[drawn.items] = drawn.chance
    assert not times[counts == 0].any()
    often = said > 0
    off = (times[often] / 4_000 - said[often]) / np.sqrt(said[often] * (1 - said[often] + 1e-9) / 4_000)
    assert np.abs(off).max() < 5


def test_all_is_every_item_with_events() -> None:
    counts = popular()
    drawn = Sampler("all", 7, counts, BATCH).draw(np.array([1]), np.random.default_rng(0))
    assert drawn.items.tolist() == np.flatnonzero(counts).tolist()
    assert (drawn.chance == 1).all()


def error(kind: str, m: int, log_q: bool, draws: int) -> float:
    """Relative error of the mean gradient in the users over many draws, against that of the full softmax."""
    rng = np.random.default_rng(1)
    counts = popular()
    users, items = (rng.standard_normal((n, 8)).astype(np.float32) for n in (BATCH, N_ITEMS))
    heard_of = np.log1p(counts)
    items[:, 0] += 2 * (heard_of - heard_of.mean())  # what is popular points one way, as it does in life
    users, items = (
        torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)) for rows in (users, items)
    )
    positive = torch.from_numpy(batch_of(counts, rng))
    events = Positives(torch.arange(BATCH), positive, torch.ones(BATCH))
    sampler = Sampler(kind, m, counts, BATCH)
    pool = torch.from_numpy(sampler.items)
    full = Sample(pool, torch.ones(len(pool)))
    weights = torch.ones(BATCH)
    exact = softmax(users, items, events, weights, 0.5, sample=full, bound=1.0).users
    mean = torch.zeros_like(exact)
    for _ in range(draws):
        drawn = sampler.draw(positive.numpy(), rng)
        counted = 1 / drawn.chance if log_q else np.ones(len(drawn.items))
        sample = Sample(torch.from_numpy(drawn.items), torch.from_numpy(counted.astype(np.float32)))
        mean += softmax(users, items, events, weights, 0.5, sample=sample, bound=1.0).users
    return float((mean / draws - exact).norm() / exact.norm())


@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_corrected_the_expected_gradient_is_that_of_all_items(kind: str) -> None:
    few, many = error(kind, 64, True, 1_500), error(kind, 1_024, True, 1_500)
    assert many < 0.01
    assert few > 3 * many


def test_uncorrected_a_popularity_sample_is_another_objective() -> None:
    assert error("popularity", 1_024, False, 50) > 0.1
