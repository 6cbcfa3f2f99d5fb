"""Losses against autograd on the obvious formula, Adam against torch's, the sampled softmax against the full
one."""

import numpy as np
import pytest
import torch

from recsys.training.adam import Adam
from recsys.training.losses import (
    Positives,
    Sample,
    bpr,
    gbce_by_pieces,
    softmax,
    softmax_by_pieces,
    through_norm,
)
from recsys.training.products import exponentials

USERS, ITEMS, DIM, TEMPERATURE = 5, 30, 6, 0.5


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, Positives, torch.Tensor]:
    rng = torch.Generator().manual_seed(3)
    users, items = torch.randn(USERS, DIM, generator=rng), torch.randn(ITEMS, DIM, generator=rng)
    user = torch.tensor([0, 0, 1, 2, 2, 2, 4, 4])
    item = torch.tensor([3, 7, 3, 0, 29, 11, 5, 6])
    weight = torch.tensor([1.0, 2.0, 1.0, 1.0, 0.5, 1.0, 3.0, 1.0])
    return users, items, Positives(user, item, weight), torch.tensor([1.0, 0.5, 2.0, 1.0, 0.25])


def obvious(
    users: torch.Tensor, items: torch.Tensor, events: Positives, user_weights: torch.Tensor
) -> torch.Tensor:
    """The cross-entropy, one event at a time."""
    total = torch.zeros(())
    for user, item, weight in zip(*events, strict=True):
        scores = items @ users[user] / TEMPERATURE
        total = total + user_weights[user] * weight * (torch.logsumexp(scores, 0) - scores[item])
    return total


@pytest.mark.parametrize("bound", [None, 40.0])
def test_the_full_softmax_has_the_loss_and_the_gradients_of_the_obvious_formula(
    batch: tuple, bound: float
) -> None:
    users, items, events, user_weights = batch
    result = softmax(users, items, events, user_weights, TEMPERATURE, bound=bound)
    users, items = users.clone().requires_grad_(), items.clone().requires_grad_()
    expected = obvious(users, items, events, user_weights)
    expected.backward()
    assert result.loss == pytest.approx(float(expected.detach()), rel=1e-4)
    torch.testing.assert_close(result.users, users.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(result.items, items.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 40.0])
@pytest.mark.parametrize("drawn", [None, Sample(torch.tensor([2, 5, 29]), torch.tensor([3.0, 4.0, 3.0]))])
def test_by_pieces_is_all_at_once(
    scale: float, drawn: Sample | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores near zero, where no maximum is asked for, and far from it; one piece is not full."""
    monkeypatch.setattr("recsys.training.losses._SCORES", 1)
    rng = torch.Generator().manual_seed(3)
    users, items = scale * torch.randn(150, DIM, generator=rng), torch.randn(ITEMS, DIM, generator=rng)
    item, weight = torch.arange(150) % ITEMS, torch.arange(150) % 3 / 1.0
    once = softmax(
        users, items, Positives(torch.arange(150), item, weight), torch.ones(150), TEMPERATURE, sample=drawn
    )
    result = softmax_by_pieces(users, items, item, weight, TEMPERATURE, sample=drawn)
    assert result.loss == pytest.approx(once.loss, rel=1e-4)
    torch.testing.assert_close(result.users, once.users, rtol=1e-4, atol=1e-4)
    expected = once.items
    if once.touched is not None:
        expected = torch.zeros_like(items).index_add_(0, once.touched, once.items)
    torch.testing.assert_close(result.items, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("exponent", [1.0, 0.3])
def test_generalised_cross_entropy_has_the_gradients_of_the_obvious_formula(
    exponent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drawn item that is the event's own is no negative; one piece is not full."""
    monkeypatch.setattr("recsys.training.losses._SCORES", 1)
    rng = torch.Generator().manual_seed(3)
    users, items = torch.randn(150, DIM, generator=rng) / 2, torch.randn(ITEMS, DIM, generator=rng) / 2
    item, weight, drawn = torch.arange(150) % ITEMS, torch.arange(150) % 3 / 1.0, torch.tensor([2, 5, 17, 28])
    result = gbce_by_pieces(users, items, item, weight, TEMPERATURE, sample=drawn, exponent=exponent)
    users, items, expected = users.requires_grad_(), items.requires_grad_(), torch.zeros(())
    for user, own, counts in zip(users, item, weight, strict=True):
        scores = torch.sigmoid(items @ user / TEMPERATURE)
        others = torch.log(1 - scores[drawn[drawn != own]]).sum()
        expected = expected - counts * (exponent * torch.log(scores[own]) + others)
    expected.backward()
    assert result.loss == pytest.approx(float(expected.detach()), rel=1e-4)
    torch.testing.assert_close(result.users, users.grad, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(result.items, items.grad, rtol=1e-3, atol=1e-3)


def test_exponentials_in_half_precision_are_those_of_the_rounded_scores() -> None:
    scores = (6 * torch.randn(7, 1000, generator=torch.Generator().manual_seed(3))).to(torch.bfloat16)
    peak = scores.amax(1)
    expected = (scores.float() - peak.float()[:, None]).exp()
    total = exponentials(scores, peak)
    torch.testing.assert_close(total, expected.sum(1), rtol=1e-3, atol=0)
    torch.testing.assert_close(scores.float(), expected, rtol=5e-3, atol=1e-30)


def test_one_batch_leaves_nothing_of_itself_in_the_next(batch: tuple) -> None:
    """The scores' memory is taken again, whatever their number and type."""
    users, items, events, user_weights = batch
    first = softmax(users, items, events, user_weights, TEMPERATURE)
    kept = first.users.clone()
    for precision in (torch.float32, torch.bfloat16):
        softmax(3 * users[:2], items[:9], Positives(*(part[:3] for part in events)), user_weights[:2], 1.0)
        softmax(users.repeat(4, 1), items, events, user_weights.repeat(4), 2.0, precision=precision)
    again = softmax(users, items, events, user_weights, TEMPERATURE)
    assert torch.equal(again.users, kept)
    assert torch.equal(first.users, kept)
    assert torch.equal(again.items, first.items)


def test_a_sample_of_all_items_is_the_full_softmax(batch: tuple) -> None:
    full = softmax(*batch, TEMPERATURE)
    every = Sample(torch.randperm(ITEMS, generator=torch.Generator().manual_seed(1)), torch.ones(ITEMS))
    sampled = softmax(*batch, TEMPERATURE, sample=every)
    assert sampled.loss == pytest.approx(full.loss, rel=1e-4)
    torch.testing.assert_close(sampled.users, full.users, rtol=1e-4, atol=1e-4)
    assert sampled.touched is not None
    torch.testing.assert_close(sampled.items, full.items[sampled.touched], rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_sample_approaches_that_of_all_items_as_one_over_its_size(batch: tuple) -> None:
    """The mean over many samples: what is left is the bias of the ratio, which halves when the sample
    doubles."""
    full = softmax(*batch, TEMPERATURE).users
    rng, errors = np.random.default_rng(0), []
    for size in (5, 20):
        mean = torch.zeros_like(full)
        for _ in range(4_000):
            drawn = torch.from_numpy(rng.choice(ITEMS, size, replace=False))
            mean += (
                softmax(*batch, TEMPERATURE, sample=Sample(drawn, torch.full((size,), ITEMS / size))).users
                / 4_000
            )
        errors.append(float((mean - full).norm() / full.norm()))
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.05


def test_bpr_has_the_loss_and_the_gradients_of_the_obvious_formula(batch: tuple) -> None:
    users, items, events, _ = batch
    negatives = torch.tensor([1, 2, 0, 7, 7, 3, 20, 21])
    result = bpr(users, items, events, negatives)
    users, items = users.clone().requires_grad_(), items.clone().requires_grad_()
    expected = torch.zeros(())
    for user, item, weight, negative in zip(*events, negatives, strict=True):
        expected = expected - weight * torch.log(torch.sigmoid(users[user] @ (items[item] - items[negative])))
    expected.backward()
    assert result.loss == pytest.approx(float(expected.detach()), rel=1e-5)
    torch.testing.assert_close(result.users, users.grad)
    assert result.touched is not None
    torch.testing.assert_close(result.items, items.grad[result.touched])
    assert result.touched.tolist() == sorted({*events.item.tolist(), *negatives.tolist()})


def test_through_norm_is_the_gradient_of_normalising() -> None:
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(2)).requires_grad_()
    length = rows.norm(dim=1, keepdim=True)
    weights = torch.arange(12.0).reshape(4, 3)
    (rows / length * weights).sum().backward()
    gradient = through_norm(weights, (rows / length).detach(), length.detach())
    torch.testing.assert_close(gradient, rows.grad)


def test_adam_moves_all_rows_as_torch_does() -> None:
    rng = torch.Generator().manual_seed(4)
    table, reference = (torch.ones(3, 2) for _ in range(2))
    parameter = torch.nn.Parameter(reference)
    ours, theirs = Adam(table), torch.optim.Adam([parameter], lr=0.1, eps=1e-12)
    for _ in range(5):
        gradient = torch.randn(3, 2, generator=rng)
        ours.step(gradient, 0.1)
        parameter.grad = gradient.clone()
        theirs.step()
    torch.testing.assert_close(table, parameter.detach())


def test_adam_on_some_rows_leaves_the_others_and_their_means_alone() -> None:
    gradient = torch.tensor([[1.0, -2.0]])
    some, alone = Adam(torch.zeros(3, 2)), Adam(torch.zeros(1, 2))
    for _ in range(3):
        some.step(gradient, 0.1, torch.tensor([1]))
        alone.step(gradient, 0.1)
    assert not some.table[[0, 2]].any()
    assert not some.mean[[0, 2]].any()
    torch.testing.assert_close(some.table[1:2], alone.table)
