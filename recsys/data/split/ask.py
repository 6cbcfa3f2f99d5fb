"""Holdouts from two parts of the events: who is asked for what, and the past that they bring."""

from collections.abc import Callable

import numpy as np

from recsys.arrays import I64, Array, Bool, Ragged, blocks_of, distinct, offsets_of
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.split.holdout import Holdout
from recsys.data.split.moments import nothing_asked
from recsys.errors import DataError
from recsys.history import Histories
from recsys.matrix import on_disk

_TOGETHER = 1 << 22  # events whose users are asked about at a time


def ask_after(data: Dataset, past: slice, future: slice, now: int, repeats: bool) -> Holdout:
    """The holdout that learns from one part of the events and asks for another."""
    whole = None if data.whole is None else events_until(data.whole, now)
    train = data.having(data.interactions.where(past), whole)
    return ask_holdout(train, train.had, data.interactions.where(future), now, repeats, None)


def events_until(whole: Interactions, now: int) -> Interactions:
    """All events before a moment."""
    assert whole.time is not None
    return whole.where(slice(None, int(np.searchsorted(whole.time, now))))


def with_idle(data: Dataset, past: Bool, idle: Callable[[Interactions, I64], Bool]) -> Interactions | None:
    """The events of a mask (n,) and beside them those that are left out of learning and belong to the same
    past.

    idle: from all events and the places (n,) among them of those that are learned from to the mask of all in
    the past.
    """
    if data.whole is None:
        return None
    places = np.flatnonzero(data.learned)
    kept = ~data.learned & idle(data.whole, places)
    kept[places[past]] = True
    return data.whole.where(kept)


def before_first_asked(asked: Bool) -> Callable[[Interactions, I64], Bool]:
    """Which events come before the first of their user that is asked for; all where none is. asked: (n,)."""

    def idle(whole: Interactions, places: I64) -> Bool:
        first = np.full(whole.n_users, len(whole))
        np.minimum.at(first, whole.user[places[asked]], places[asked])
        before: Bool = np.arange(len(whole)) < first[whole.user]
        return before

    return idle


def ask_holdout(
    train: Dataset,
    past: Interactions,
    future: Interactions,
    now: int | None,
    repeats: bool,
    known: Array | None,
) -> Holdout:
    """Users with at least one target; `past` is what they bring, `known` (n_users,) who has a row in the
    model."""
    future = train.judged_events(future)
    if past.folder is None:  # the past of nobody else is needed: a quarter of it at 30M events of a year
        asked = np.zeros(past.n_users, np.bool_)
        asked[future.user] = True
        past = past.where(asked[past.user])
    pasts, later = past.histories(), future.histories().items
    pairs = _targets(train, pasts, later, repeats)
    user = np.flatnonzero(pairs.lengths).astype(np.int32)
    if not len(user):
        raise DataError(nothing_asked(train.name, repeats))
    brought = pasts.take(user) if past.folder is None else on_disk.take_histories(past.folder, pasts, user)
    trained = train.interactions.user_counts() > 0 if known is None else known
    return Holdout(train, user, brought, trained[user], pairs.take(user), now)


def _targets(train: Dataset, past: Histories, later: Ragged, repeats: bool) -> Ragged:
    """Rows of the distinct items that each user had later, without those of their past unless they count
    again; with so many users in memory at a time as have a few million events."""
    parts = []
    for block in blocks_of(later.lengths + past.items.lengths, _TOGETHER):
        users = np.arange(block.start, block.stop)
        pairs = distinct(later.take(users), train.n_items)
        if not repeats:
            old = distinct(train.judged_items(past.take(users)), train.n_items)
            keys, old_keys = (part.row_of_value() * train.n_items + part.values for part in (pairs, old))
            pairs = pairs.keep(~np.isin(keys, old_keys, assume_unique=True))
        parts.append(pairs)
    lengths, values = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("lengths", "values")
    )
    return Ragged(offsets_of(lengths), values)
