"""Means and covariances of people's columns: all that an effect, its interval and every earlier look are made
of.

Arrays may have any number of leading axes (looks, arms, simulations); the last one or two are the columns
(c).
"""

from typing import NamedTuple

import numpy as np

from recsys.arrays import F64, Array


class Moments(NamedTuple):
    """n: (...,) people. mean: (..., c). cov: (..., c, c) sample covariances (n - 1); 0 where fewer than 2
    people."""

    n: F64
    mean: F64
    cov: F64


def moments_of(columns: F64) -> Moments:
    """Of one value per person and column, (..., people, c)."""
    n = columns.shape[-2]
    mean = columns.mean(axis=-2)
    centred = columns - mean[..., None, :]
    cov = np.swapaxes(centred, -1, -2) @ centred / max(n - 1, 1)
    return Moments(np.full(mean.shape[:-1], float(n)), mean, cov)


def moments_by_look(columns: F64, look: Array, looks: int) -> Moments:
    """(looks, ...): row l is of all people whose look is at most l. columns: (people, c); look: int
    (people,)."""
    centre = columns.mean(axis=0) if len(columns) else np.zeros(columns.shape[1])
    shifted = columns - centre  # so that sums of squares keep their digits
    order = np.argsort(look, kind="stable")
    starts = np.searchsorted(look[order], np.arange(looks + 1))
    width = columns.shape[1]
    sums, products = np.zeros((looks, width)), np.zeros((looks, width, width))
    for at in range(looks):
        rows = shifted[order[starts[at] : starts[at + 1]]]
        sums[at], products[at] = rows.sum(axis=0), rows.T @ rows
    return from_sums(np.diff(starts).cumsum().astype(np.float64), sums.cumsum(0), products.cumsum(0), centre)


def from_sums(n: F64, sums: F64, products: F64, centre: F64 | float = 0.0) -> Moments:
    """From n (...,), sums (..., c) and sums of products (..., c, c) of columns that had `centre` taken from
    them."""
    some = np.maximum(n, 1)[..., None]
    mean = sums / some
    cov = (products - sums[..., :, None] * mean[..., None, :]) / np.maximum(n - 1, 1)[..., None, None]
    return Moments(n, mean + centre, cov)


def pool(one: Moments, other: Moments) -> Moments:
    """Of the people of both together."""
    n = one.n + other.n
    share = (other.n / np.maximum(n, 1))[..., None]
    gap = other.mean - one.mean
    inner = one.cov * (one.n - 1)[..., None, None] + other.cov * (other.n - 1)[..., None, None]
    between = gap[..., :, None] * gap[..., None, :] * (one.n * other.n / np.maximum(n, 1))[..., None, None]
    return Moments(n, one.mean + share * gap, (inner + between) / np.maximum(n - 1, 1)[..., None, None])
