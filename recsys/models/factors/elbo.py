"""The evidence lower bound of a softmax whose users have normal tastes, and its ascent, a batch of users at a
time."""

from typing import NamedTuple

import torch
from torch import Tensor

from recsys.training.products import row_sums

_FARTHEST = 1.0  # that a visit moves a mean along an axis, in standard deviations of the prior
_TINY = 1e-12


class Tastes(NamedTuple):
    """What is known of users' tastes: independent normals, float32 (batch, width) each.

    gradient, direction, slope (batch, 1): what conjugate gradient remembers of the last visit; zeros at
    first.
    """

    mean: Tensor
    variance: Tensor
    gradient: Tensor
    direction: Tensor
    slope: Tensor


def take_tastes(tastes: Tastes, rows: Tensor) -> Tastes:
    """Those of some users."""
    return Tastes(*(table[rows] for table in tastes))


class Visit(NamedTuple):
    """nats: the expected logarithm of the partition sum, bounded from above, times the events' weight, summed
    over the batch. tastes: after the step. items (pool, width), bias (pool, 1): gradients of the nats."""

    nats: float
    tastes: Tastes
    items: Tensor
    bias: Tensor


def visit(
    tastes: Tastes,
    had: Tensor,
    weight: Tensor,
    items: Tensor,
    bias: Tensor,
    *,
    precision: torch.dtype = torch.float32,
) -> Visit:
    """One step up the bound for the tastes of some users, and how the items would move it.

    A user's events fall on item j with probability proportional to `exp(bias_j + <taste, items_j>)`, and
    tastes are standard normal. With the taste known as normal of mean m and variances s, the bound on the
    events' log probability is `<m, had> + sum of their bias - weight log sum_j exp(bias_j + <m, v_j> + <s,
    v_j^2> / 2) - KL`. Its maximum in s is closed, given the softmax; in m the step is one of conjugate
    gradient (Polak, Ribiere), preconditioned by the second derivatives along the axes, with the length that
    is best for the second derivative along the direction.

    had: float32 (batch, width), weighted sum of the vectors of the user's events; weight: (batch, 1), their
    summed weight. items (pool, width), bias (pool, 1): all items, or a sample, the logarithm of how many each
    stands for added to its bias. precision: of the large products.

    Sources: Blei, Lafferty, "A Correlated Topic Model of Science", AOAS 2007, for the bound; Liang et al.,
    "Variational Autoencoders for Collaborative Filtering", WWW 2018, for the model with a network in the
    place of the ascent.
    """
    mean, variance = tastes.mean, tastes.variance
    width = mean.shape[1]
    pool = torch.cat([items, items * items, bias], 1).to(precision)
    users = torch.cat([mean, variance / 2, torch.ones(len(mean), 1)], 1)
    mass = torch.mm(users.to(precision), pool.t())
    peak = mass.amax(1)
    mass.sub_(peak[:, None]).exp_()
    partition = row_sums(mass)[:, None]
    nats = float((weight * (partition.log() + peak[:, None].float())).sum())
    moved = torch.mm(mass.t(), (users * (weight / partition)).to(precision)).float()
    by_items = torch.addcmul(moved[:, :width], items, moved[:, width : 2 * width], value=2)

    expected = torch.mm(mass, pool[:, : 2 * width]).float() / partition
    first, second = expected[:, :width], expected[:, width:]
    curvature = 1 + weight * (second - first * first).clamp_min_(0)
    gradient = had - weight * first - mean
    scaled = gradient / curvature
    slope = _dot(scaled, gradient)
    turn = (_dot(scaled, gradient - tastes.gradient) / tastes.slope.clamp_min(_TINY)).clamp_(0, 2)
    direction = (
        torch.where(_dot(gradient, scaled + turn * tastes.direction) > 0, turn, 0) * tastes.direction + scaled
    )
    along = torch.mm(direction.to(precision), pool[:, :width].t())
    mean_along = row_sums(along * mass)[:, None] / partition
    square_along = row_sums(along.square_().mul_(mass))[:, None] / partition
    bend = _dot(direction, direction) + weight * (square_along - mean_along * mean_along).clamp_min_(0)
    step = _dot(direction, gradient) / bend.clamp_min_(_TINY) * direction
    after = Tastes(mean + step.clamp_(-_FARTHEST, _FARTHEST), 1 / curvature, gradient, direction, slope)
    return Visit(nats, after, by_items, moved[:, 2 * width :])


def divergence(tastes: Tastes) -> float:
    """Kullback-Leibler divergence of the tastes from the standard normal prior, summed over the batch, in
    nats."""
    mean, variance = tastes.mean, tastes.variance
    return 0.5 * float((mean * mean + variance - variance.log() - 1).sum())


def _dot(first: Tensor, second: Tensor) -> Tensor:
    """(batch, 1)"""
    return (first * second).sum(1, keepdim=True)
