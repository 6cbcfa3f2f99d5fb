"""Losses with their gradients, for a batch of users at a time: matrix products, and no graph of them is
kept."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from recsys.training.products import exponentials, product, row_sums

_SCORES = 1 << 22  # of a piece
# scores within this of zero have exponentials that float32 and bf16 can hold, whichever is the largest
_SAFE = 40.0


class Positives(NamedTuple):
    """The events of a batch of users, (events,) each: int64 row in the batch, int64 item, float32 weight."""

    user: Tensor
    item: Tensor
    weight: Tensor


class Sample(NamedTuple):
    """Items drawn to stand for all: int64 (m,) distinct, and float32 (m,) for how many items each of them
    stands."""

    items: Tensor
    counts: Tensor


class Gradients(NamedTuple):
    """loss: summed over the batch. users (batch, dim). items: (n_items, dim), or of the rows `touched`
    alone."""

    loss: float
    users: Tensor
    items: Tensor
    touched: Tensor | None


def softmax(
    users: Tensor,
    items: Tensor,
    positives: Positives,
    user_weights: Tensor,
    temperature: float,
    *,
    precision: torch.dtype = torch.float32,
    sample: Sample | None = None,
    bound: float | None = None,
) -> Gradients:
    """Cross-entropy of each user's events under a softmax over all items, or over a sample that stands for
    them.

    The loss of a user is `w_u sum_i w_ui (log Z_u - s_ui)`, where s are inner products over the temperature
    and Z_u is
    shared by all events of the user: one pass over the items each, however many events there are. With a
    sample, Z_u is the user's own items exactly, plus the others of the sample times their counts: the
    correction for sampling (log q) stands on the negatives alone, and a drawn positive is no negative.

    users: float32 (batch, dim); items: float32 (n_items, dim); user_weights: (batch,). precision: of the
    large products. bound: what no inner product exceeds, where that is known (1 for unit vectors): saves a
    pass.

    Sources: full softmax by user: Wu et al., "On the Effectiveness of Sampled Softmax Loss for Item
    Recommendation", TOIS 2024; correction: Bengio, Senecal, "Adaptive Importance Sampling", IEEE TNN 2008.
    """
    user, item, weight = positives
    pool = items if sample is None else items[sample.items]
    narrow_pool = pool.to(precision)
    mass = product((users / temperature).to(precision), narrow_pool)
    own = (users[user] * items[item]).sum(1) / temperature
    if bound is None:
        peak = torch.maximum(mass.amax(1).float(), _largest(own, user, len(users))).to(precision)
    else:
        peak = users.new_full((len(users),), bound / temperature).to(precision)
    partition = exponentials(mass, peak)
    peak = peak.float()
    total = users.new_zeros(len(users)).index_add_(0, user, weight)
    scale = user_weights * total
    pull = weight * user_weights[user]
    if sample is None:
        share = scale / partition
    else:
        mass.mul_(sample.counts.to(precision))
        mass[_hits(positives, sample)] = 0
        own_mass = (own - peak[user]).exp_()
        partition = row_sums(mass).index_add_(0, user, own_mass)
        share = scale / partition
        pull = pull - share[user] * own_mass
    loss = (scale * (partition.log() + peak)).sum() - (weight * user_weights[user] * own).sum()
    by_user = share[:, None] * torch.mm(mass, narrow_pool).float()
    by_user.index_add_(0, user, items[item] * pull[:, None], alpha=-1)
    by_item = torch.mm(mass.t(), (users * share[:, None]).to(precision)).float()
    pulled = users[user] * pull[:, None]
    if sample is None:
        by_item.index_add_(0, item, pulled, alpha=-1)
        return Gradients(float(loss), by_user / temperature, by_item / temperature, None)
    touched, place = torch.unique(torch.cat([sample.items, item]), return_inverse=True)
    gathered = users.new_zeros(len(touched), users.shape[1])
    gathered.index_add_(0, place[: len(sample.items)], by_item)
    gathered.index_add_(0, place[len(sample.items) :], pulled, alpha=-1)
    return Gradients(float(loss), by_user / temperature, gathered / temperature, touched)


def softmax_by_pieces(
    users: Tensor,
    items: Tensor,
    item: Tensor,
    weight: Tensor,
    temperature: float,
    *,
    precision: torch.dtype = torch.float32,
    sample: Sample | None = None,
    bound: float | None = None,
) -> Gradients:
    """`softmax` of users with one event each, so many at a time that their scores stay small.

    item: int64 (batch,); weight: float32 (batch,). The gradient of the items is that of all of them,
    (n_items, dim).
    """
    step = max(64, _SCORES // (len(items) if sample is None else len(sample.items)))
    pieces = [slice(start, start + step) for start in range(0, len(users), step)]
    by_user, by_item, loss = torch.empty_like(users), torch.zeros_like(items), 0.0
    if sample is not None:
        for part in pieces:
            some = users[part]
            positives = Positives(torch.arange(len(some), device=users.device), item[part], weight[part])
            even = some.new_ones(len(some))
            gradients = softmax(
                some, items, positives, even, temperature, precision=precision, sample=sample, bound=bound
            )
            assert gradients.touched is not None
            loss, by_user[part] = loss + gradients.loss, gradients.users
            by_item.index_add_(0, gradients.touched, gradients.items)
        return Gradients(loss, by_user, by_item, None)
    narrow, scaled, pull = (
        items.to(precision),
        (users / temperature).to(precision),
        (weight / temperature)[:, None],
    )
    longest = users.norm(dim=1).max() * items.norm(dim=1).max() if bound is None else users.new_tensor(bound)
    highest = longest / temperature  # what no score exceeds
    partition = torch.empty_like(weight)
    for part in pieces:
        mass = product(scaled[part], narrow)
        peak = mass.amax(1) if highest > _SAFE else highest.expand(len(mass))
        total = exponentials(mass, peak)
        share = pull[part] / total[:, None]
        by_user[part] = torch.mm(mass, narrow) * share
        by_item += torch.mm(mass.t(), (users[part] * share).to(precision))
        partition[part] = total.log() + peak.float()
    own = items[item]
    loss = float((weight * (partition - (users * own).sum(1) / temperature)).sum())
    by_user -= own * pull
    by_item.index_add_(0, item, users * pull, alpha=-1)
    return Gradients(loss, by_user, by_item, None)


def gbce_by_pieces(
    users: Tensor,
    items: Tensor,
    item: Tensor,
    weight: Tensor,
    temperature: float,
    *,
    sample: Tensor,
    exponent: float,
) -> Gradients:
    """Generalised binary cross-entropy of users with one event each, so many at a time that their scores stay
    small.

    The loss of a user is `w (-exponent log sigmoid(s_i) - sum_j log sigmoid(-s_j))`, where s are inner
    products over the temperature, i is the item of the event and j goes over the other items of the sample,
    (m,) ascending. exponent: of the likelihood of the event; below 1 it undoes that drawn items make scores
    too high. item: int64 (batch,);
    weight: float32 (batch,). The gradient of the items is that of all of them, (n_items, dim).

    Source: Petrov, Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with
    Negative Sampling", RecSys 2023.
    """
    step, pool, loss = max(64, _SCORES // len(sample)), items[sample], 0.0
    by_user, by_pool = torch.empty_like(users), torch.zeros_like(pool)
    hit = torch.searchsorted(sample, item).clamp_max_(len(sample) - 1)
    for start in range(0, len(users), step):
        part = slice(start, start + step)
        scores = product(users[part] / temperature, pool)
        rows = torch.nonzero(sample[hit[part]] == item[part])[:, 0]
        scores[rows, hit[part][rows]] = -torch.inf
        loss += float((softplus(scores).sum(1) * weight[part]).sum())
        pull = scores.sigmoid_().mul_(weight[part][:, None] / temperature)
        by_user[part] = pull @ pool
        by_pool.addmm_(pull.t(), users[part])
    own = (users * items[item]).sum(1) / temperature
    loss += exponent * float((softplus(-own) * weight).sum())
    back = (exponent / temperature * weight * torch.sigmoid(-own))[:, None]
    by_user -= back * items[item]
    by_item = (
        torch.zeros_like(items).index_add_(0, sample, by_pool).index_add_(0, item, users * back, alpha=-1)
    )
    return Gradients(loss, by_user, by_item, None)


def bpr(users: Tensor, items: Tensor, positives: Positives, negatives: Tensor) -> Gradients:
    """Bayesian personalised ranking: `-w log sigmoid(s_ui - s_uj)`, one drawn item j for each event.

    negatives: int64 (events,). Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit
    Feedback", UAI 2009.
    """
    user, item, weight = positives
    between = items[item] - items[negatives]
    margin = (users[user] * between).sum(1)
    loss = (weight * torch.nn.functional.softplus(-margin)).sum()
    pull = (weight * torch.sigmoid(-margin))[:, None]
    by_user = torch.zeros_like(users).index_add_(0, user, pull * between, alpha=-1)
    touched, place = torch.unique(torch.cat([item, negatives]), return_inverse=True)
    moved = pull * users[user]
    by_item = torch.zeros(len(touched), users.shape[1])
    by_item.index_add_(0, place[: len(item)], moved, alpha=-1).index_add_(0, place[len(item) :], moved)
    return Gradients(float(loss), by_user, by_item, touched)


def uniform_sample(n_items: int, m: int, rng: np.random.Generator) -> Sample | None:
    """m of all items, drawn alike, that stand for all; None where m is 0 or not fewer: all items
    themselves."""
    if m == 0 or m >= n_items:
        return None
    drawn = np.sort(rng.choice(n_items, m, replace=False))
    return Sample(torch.from_numpy(drawn), torch.full((m,), n_items / m))


def with_length(rows: Tensor, unit: bool) -> tuple[Tensor, Tensor | None]:
    """The rows at length 1 where `unit`, and their lengths (n, 1)."""
    if not unit:
        return rows, None
    length = rows.norm(dim=1, keepdim=True).clamp_min_(1e-6)
    return rows / length, length


def through_norm(gradient: Tensor, unit: Tensor, length: Tensor) -> Tensor:
    """The gradient with respect to x, given that with respect to `unit = x / |x|`; length: |x| (n, 1)."""
    return (gradient - (gradient * unit).sum(1, keepdim=True) * unit) / length


def _largest(values: Tensor, user: Tensor, n: int) -> Tensor:
    """(n,): the largest value of each user, -inf where there is none."""
    return values.new_full((n,), -torch.inf).scatter_reduce_(0, user, values, "amax")


def _hits(positives: Positives, sample: Sample) -> tuple[Tensor, Tensor]:
    """Where, in (batch, m), a drawn item is one that the user had."""
    order = torch.argsort(sample.items)
    ranked = sample.items[order]
    at = torch.searchsorted(ranked, positives.item).clamp_max_(len(ranked) - 1)
    drawn = ranked[at] == positives.item
    return positives.user[drawn], order[at[drawn]]
