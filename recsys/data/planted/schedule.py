"""When the users of a planted-truth world act, and in which domain."""

from typing import NamedTuple

import numpy as np

from recsys.arrays import F64, I32, I64, offsets_of
from recsys.history import DAY_S
from recsys.seeding import generator

_SPREAD = 0.8  # standard deviation of a user's log rate: a few users are ten times as busy as others


class Schedule(NamedTuple):
    """When each user acts, in seconds from the start: row u of `time` (nnz,), ascending, lies between offsets
    u and u + 1."""

    offsets: I64
    time: I64


def draw_schedule(
    users: int, days: int, *, active_days: float, events_per_user: float, most: int, seed: int
) -> Schedule:
    """Each user comes, stays and goes, acting at a log-normal rate of their own; as many come as go on any
    day.

    active_days: how many they stay, on average. events_per_user: on average. most: events of one user.
    """
    end = float(days * DAY_S)
    random = generator(seed, "world times")
    stay = random.exponential(active_days * DAY_S, users)
    arrival = random.random(users) * (end + stay) - stay
    leave = np.minimum(arrival + stay, end)
    arrival = np.minimum(np.maximum(arrival, 0.0), leave)
    expected = (leave - arrival) * random.lognormal(0.0, _SPREAD, users)
    expected *= events_per_user / expected.mean()
    counts = np.rint(expected).clip(1, max(1, most)).astype(np.int64)
    time = np.repeat(leave - arrival, counts)
    time *= _ascending_uniforms(counts, random)
    time += np.repeat(arrival, counts)
    return Schedule(offsets_of(counts), np.minimum(time, end - 1).astype(np.int64))


def _ascending_uniforms(counts: I64, random: np.random.Generator) -> F64:
    """(sum of counts,): as many uniforms a row as it counts, ascending: sums of exponential gaps over their
    total."""
    gaps = random.standard_exponential(int(counts.sum()) + len(counts))  # one more than events in each row
    ends = np.cumsum(counts + 1)
    reached = np.cumsum(gaps)
    before = reached[ends - 1 - counts] - gaps[ends - 1 - counts]
    total = reached[ends - 1] - before
    inner = np.ones(len(gaps), np.bool_)
    inner[ends - 1] = False
    fractions: F64 = (reached[inner] - np.repeat(before, counts)) / np.repeat(total, counts)
    return fractions.clip(0.0, 1.0)


def draw_shares(users: int, in_both: float, seed: int) -> F64:
    """float64 (users, 2): of which domain the events of each user are; in_both: share of users who are in
    both."""
    random = generator(seed, "world domains")
    first = random.beta(2.0, 2.0, users)
    alone, which = random.random(users) >= in_both, random.random(users) < 0.5
    first = np.where(alone, which, first)
    return np.stack([first, 1 - first], axis=1)


def draw_domains(shares: F64, user: I32, seed: int) -> I64:
    """int64 (nnz,): of which domain each event of these users (nnz,) is."""
    drawn = generator(seed, "world domains of events").random(len(user))
    domain: I64 = (drawn[:, None] >= np.cumsum(shares, axis=1)[user, :-1]).sum(axis=1)
    return domain
