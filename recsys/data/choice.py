"""A data set with fewer events, or with fewer users and items: what the rules of `prepare` are made of."""

from dataclasses import replace

import numpy as np

from recsys.arrays import F32, Array, Bool
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.ids import IdMap
from recsys.matrix.on_disk import make_array, take_where


def choose_events(data: Dataset, kept: Array, weight: F32 | None = None) -> Dataset:
    """The events of a mask or of ascending places, with other weights if given; the published part goes with
    them.

    The others are gone for good; those that an earlier rule left out of learning stay.
    """
    events = data.interactions.where(kept)
    events = events if weight is None else replace(events, weight=weight)
    staying = ~data.learned
    staying[np.flatnonzero(data.learned)[kept]] = True
    whole = (
        None
        if data.whole is None
        else _weigh_events(data.whole.where(staying), data.learned[staying], events.weights)
    )
    published = None if data.published is None else replace(data.published, part=data.published.part[staying])
    return replace(data, interactions=events, whole=whole, published=published)


def leave_out(data: Dataset, kept: Array, weight: F32) -> Dataset:
    """The same with these weights (n,) of its events, of which those of a mask (n,) alone are still learned
    from."""
    folder = data.interactions.folder
    learned = weight[kept] if folder is None else take_where(folder, weight, kept)
    events = replace(data.interactions.where(kept), weight=learned)
    whole = None if data.whole is None and kept.all() else _weigh_events(data.had, data.learned, weight)
    return replace(data, interactions=events, whole=whole)


def _weigh_events(whole: Interactions, learned: Bool, weight: F32) -> Interactions:
    """All events, those of a mask (n,) with these weights (m,), the others as they are."""
    filled = 0

    def part(at: slice) -> Array:
        nonlocal filled
        mask = learned[at]
        weights = np.ones(len(mask), np.float32) if whole.weight is None else whole.weight[at].copy()
        weights[mask] = weight[filled : filled + int(mask.sum())]
        filled += int(mask.sum())
        return weights

    return replace(whole, weight=make_array(whole.folder, len(whole), np.float32, part))


def drop_idle(data: Dataset) -> Dataset:
    """Only the users and items that have events to learn from, in the same order."""
    events, had = data.interactions, data.had
    with_user, with_item = (
        np.bincount(column, minlength=n) > 0
        for column, n in ((events.user, events.n_users), (events.item, events.n_items))
    )
    if with_user.all() and with_item.all():
        return data
    user, item = np.flatnonzero(with_user), np.flatnonzero(with_item)

    def renumber(events: Interactions) -> Interactions:
        return replace(
            events,
            user=np.searchsorted(user, events.user).astype(np.int32),
            item=np.searchsorted(item, events.item).astype(np.int32),
            n_users=len(user),
            n_items=len(item),
        )

    staying = with_user[had.user] & with_item[had.item]
    return replace(
        data,
        interactions=renumber(events),
        whole=None if data.whole is None else renumber(data.whole.where(staying)),
        published=None
        if data.published is None
        else replace(data.published, part=data.published.part[staying]),
        user_ids=IdMap.of([data.user_ids[at] for at in user.tolist()]),
        item_ids=IdMap.of([data.item_ids[at] for at in item.tolist()]),
        items=data.items.take(item),
        item_features=None if data.item_features is None else data.item_features.take(item),
        user_features=None if data.user_features is None else data.user_features.take(user),
        item_rows=None if data.item_rows is None else data.item_rows._replace(row=data.item_rows.row[item]),
        user_rows=None if data.user_rows is None else data.user_rows._replace(row=data.user_rows.row[user]),
    )
