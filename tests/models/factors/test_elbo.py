"""The bound of normal tastes: against the integral, against autograd, and its ascent against the maximum."""

import numpy as np
import pytest
import torch

from recsys.errors import ModelError
from recsys.models.factors.elbo import Tastes, divergence, visit
from recsys.models.factors.variational import VariationalMF, VariationalSettings
from recsys.testing.toys import checkerboard, dataset

USERS, ITEMS, WIDTH = 4, 12, 3


@pytest.fixture
def events() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """items (ITEMS, WIDTH), bias (ITEMS, 1), and counts (USERS, ITEMS) of events."""
    rng = torch.Generator().manual_seed(2)
    counts = torch.poisson(torch.full((USERS, ITEMS), 0.7), generator=rng) + torch.eye(USERS, ITEMS)
    return torch.randn(ITEMS, WIDTH, generator=rng), torch.randn(ITEMS, 1, generator=rng), counts


def at_first() -> Tastes:
    shape = (USERS, WIDTH)
    return Tastes(torch.zeros(shape), torch.ones(shape), *torch.zeros(2, *shape), torch.zeros(USERS, 1))


def bound(
    mean: torch.Tensor, variance: torch.Tensor, items: torch.Tensor, bias: torch.Tensor, counts: torch.Tensor
):
    """The bound on the log probability of all events, as the docstring of `visit` states it; and its nats."""
    scores = mean @ items.T + variance @ (items**2).T / 2 + bias.T
    nats = (counts.sum(1) * torch.logsumexp(scores, 1)).sum()
    apart = 0.5 * (mean**2 + variance - torch.log(variance) - 1).sum()
    return (counts * (mean @ items.T + bias.T)).sum() - nats - apart, nats


def ascend(events: tuple, visits: int) -> Tastes:
    items, bias, counts = events
    tastes = at_first()
    for _ in range(visits):
        tastes = visit(tastes, counts @ items, counts.sum(1, keepdim=True), items, bias).tastes
    return tastes


def test_the_gradients_of_the_items_are_those_of_autograd(events: tuple) -> None:
    items, bias, counts = events
    tastes = ascend(events, 2)
    step = visit(tastes, counts @ items, counts.sum(1, keepdim=True), items, bias)
    items, bias = items.clone().requires_grad_(), bias.clone().requires_grad_()
    _, nats = bound(tastes.mean, tastes.variance, items, bias, counts)
    nats.backward()
    assert step.nats == pytest.approx(float(nats.detach()), rel=1e-5)
    torch.testing.assert_close(step.items, items.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(step.bias, bias.grad, rtol=1e-4, atol=1e-5)


def test_visits_climb_to_where_no_gradient_is_left(events: tuple) -> None:
    items, bias, counts = events
    tastes = ascend(events, 60)
    mean, variance = (table.clone().requires_grad_() for table in (tastes.mean, tastes.variance))
    top, _ = bound(mean, variance, items, bias, counts)
    top.backward()
    assert mean.grad is not None
    assert mean.grad.abs().max() < 1e-3
    start, _ = bound(at_first().mean, at_first().variance, items, bias, counts)
    assert float(top.detach()) > float(start)
    assert (tastes.variance < 1).all()
    normal = torch.distributions.Normal
    apart = torch.distributions.kl_divergence(normal(tastes.mean, tastes.variance.sqrt()), normal(0.0, 1.0))
    assert divergence(tastes) == pytest.approx(float(apart.sum()), rel=1e-5)


def test_the_bound_lies_under_the_log_probability_with_the_tastes_integrated_out_and_near_it(
    events: tuple,
) -> None:
    items, bias, counts = events
    tastes = ascend(events, 60)
    lower, _ = bound(tastes.mean, tastes.variance, items, bias, counts)
    drawn = torch.randn(200_000, WIDTH, generator=torch.Generator().manual_seed(5))
    log_shares = torch.log_softmax(drawn @ items.T + bias.T, 1)
    exact = float((torch.logsumexp(log_shares @ counts.T, 0) - np.log(len(drawn))).sum())
    point, _ = bound(tastes.mean, torch.full_like(tastes.variance, 1e-4), items, bias, counts)
    assert float(lower) <= exact + 0.02
    assert exact - float(lower) < 0.25 * (exact - float(point))


def test_a_sample_that_stands_for_items_in_its_bias_is_those_items(events: tuple) -> None:
    items, bias, counts = events
    doubled, weight = (torch.cat([table, table]) for table in (items, bias - np.log(2)))
    had, total = counts @ items, counts.sum(1, keepdim=True)
    one, other = visit(at_first(), had, total, items, bias), visit(at_first(), had, total, doubled, weight)
    assert one.nats == pytest.approx(other.nats, rel=1e-5)
    torch.testing.assert_close(one.tastes.mean, other.tastes.mean)
    torch.testing.assert_close(one.items, other.items[:ITEMS] + other.items[ITEMS:])


def test_a_user_of_few_events_is_left_nearer_to_the_mean(certain_seed: int) -> None:
    """Two tastes in two blocks of items; of user 0 one event is known, of those like them thirty."""
    rng = np.random.default_rng(1)
    user, item = [0], [0]
    for one in range(1, 60):
        user += [one] * 30
        item += rng.choice(np.arange(one % 2 * 40, one % 2 * 40 + 40), 30, replace=False).tolist()
    data = dataset(np.array(user), np.array(item), 60, 80)
    learned = VariationalMF(VariationalSettings(dim=2, epochs=100, regularization=0.5, propagation=0)).fit(
        data, seed=certain_seed
    )
    table = learned.encoder.table[:, 0]  # type: ignore[attr-defined]
    like, unlike = table[2::2], table[1::2]
    assert np.sign(like[0]) * (like.min() if like[0] > 0 else like.max()) > 0
    assert np.sign(like[0]) != np.sign(unlike[0])
    assert 0.1 < table[0] / np.median(like) < 0.4


def test_the_bias_holds_what_is_popular_with_all_and_hardly_enters_similarity() -> None:
    rng = np.random.default_rng(3)
    chance = 1 / np.arange(1, 31)
    item = np.concatenate([rng.choice(30, 8, replace=False, p=chance / chance.sum()) for _ in range(300)])
    data = dataset(np.repeat(np.arange(300), 8), item, 300, 30)
    learned = VariationalMF(VariationalSettings(dim=4, propagation=0)).fit(data, seed=1)
    counts = np.bincount(item, minlength=30)
    assert np.corrcoef(learned.items[:, -1], np.log(counts))[0, 1] > 0.95
    assert np.abs(learned.items[:, -1]).max() < 0.1


def test_a_rate_out_of_range_diverges_with_a_sentence() -> None:
    model = VariationalMF(VariationalSettings(dim=8, epochs=10, batch_size=8, learning_rate=1e38))
    with pytest.raises(ModelError, match="Lower learning_rate"):
        model.fit(checkerboard(20), seed=1)
