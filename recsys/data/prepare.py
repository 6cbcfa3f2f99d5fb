"""What is done to events before they are split: rating threshold, event weights, duplicate policy, k-core.

In this order, each rule over whole arrays; every rule says how many events it took. All but the k-core look at one user
and item at a time. A k-core over the whole log looks at everybody's future: it keeps the users and items that *will*
have enough events, so its figures are those of an easier question (the note it leaves says so).
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from recsys.arrays import F32, I32, I64, Array, Bool
from recsys.config import Settings
from recsys.data.dataset import Dataset, Published
from recsys.errors import DataError
from recsys.history import counted_events
from recsys.ids import IdMap
from recsys.matrix.on_disk import chosen, made


class PrepareSettings(Settings):
    """Settings of what is done to the events before the split."""

    missing_users: Literal["refuse", "drop"] = Field(
        "refuse", description="events without a user: an error, or left out and counted"
    )
    min_rating: float | None = Field(
        None, description="keep events whose weight is at least this, each then counts 1; for ratings, 0 among them"
    )
    event_weights: dict[str, float] = Field(
        {}, description="weight of each event type, times the event's own; 0 leaves a type out; others count 1"
    )
    target_event: str | None = Field(None, description="judge on events of this type only; all types are learned from")
    duplicates: Literal["all", "first", "last", "sum"] = Field(
        "all", description="events of one user, item and type: keep all, the first, the last, or one with their sum"
    )
    min_user_events: int = Field(0, ge=0, description="k-core: users with fewer events are left out; 0 = keep all")
    min_item_events: int = Field(0, ge=0, description="k-core: items with fewer events are left out; 0 = keep all")


def prepared(data: Dataset, settings: PrepareSettings, *, compact: bool = True) -> tuple[Dataset, list[str]]:
    """The data set after all rules, and a sentence for each rule that changed it.

    compact: after a k-core, users and items without events lose their place in the id maps. Raises DataError where a
    rule needs a column that is not there, names an unknown event type, or leaves nothing.
    """
    notes = list(data.notes)

    def note(before: Dataset, after: Dataset, rule: str) -> Dataset:
        taken = len(before.interactions) - len(after.interactions)
        if taken:
            notes.append(f"{rule}: {taken:,} of {len(before.interactions):,} events are left out")
        if not len(after.interactions):
            raise DataError(f"{data.name}: {rule} leaves no event; choose a milder rule.")
        return after

    core_asked = max(settings.min_user_events, settings.min_item_events) > 1
    if data.interactions.folder is not None and (settings.duplicates != "all" or core_asked):
        what = "a k-core" if core_asked else f"prepare.duplicates = {settings.duplicates!r}"
        raise DataError(f"{data.name}: {what} looks at all events at once, in memory. Leave it or on_disk out.")
    if settings.min_rating is not None:
        data = note(data, _rated(data, settings.min_rating), f"prepare.min_rating = {settings.min_rating:g}")
    if settings.event_weights:
        data = note(data, _weighted(data, settings.event_weights), "prepare.event_weights")
    if settings.duplicates != "all":
        data = note(data, _single(data, settings.duplicates), f"prepare.duplicates = {settings.duplicates!r}")
    if core_asked:
        core = f"core of {settings.min_user_events} events a user and {settings.min_item_events} an item"
        cored = _core(data, settings.min_user_events, settings.min_item_events)
        data = note(data, cored, f"{core}, chosen with the judged future in view")
        data = replace(_compacted(data) if compact else data, name=f"{data.name} ({core})")
    if settings.target_event is not None:
        _code_of(data, settings.target_event, "prepare.target_event")
        data = replace(data, target_event=settings.target_event)
        notes.append(f"only {settings.target_event!r} events are judged; all types are learned from")
    return data, notes


def refuse_one_sided(name: str, user: I32, item: I32) -> None:
    """Raises DataError where all events, n users and items, are of one: there is nothing to tell apart."""
    for what, column in (("user", user), ("item", item)):
        if len(column) and column.min() == column.max():
            raise DataError(f"{name} has events of one {what} alone; learning whom what suits takes two. Add others.")


def _chosen(data: Dataset, kept: Array, weight: F32 | None = None) -> Dataset:
    """The events of a mask or of ascending places, with other weights if given; the published part goes with them."""
    events = data.interactions.where(kept)
    events = events if weight is None else replace(events, weight=weight)
    published = data.published
    return replace(
        data,
        interactions=events,
        published=None if published is None else Published(published.part[kept], published.name),
    )


def _rated(data: Dataset, least: float) -> Dataset:
    events = data.interactions
    if events.weight is None:
        raise DataError(
            f"prepare.min_rating = {least:g} needs ratings, and {data.name} has no weight column; "
            "name it by --weight-col."
        )
    folder, weight = events.folder, events.weight
    kept = made(folder, len(events), bool, lambda at: weight[at] >= np.float32(least))
    return _chosen(data, kept, made(folder, int(np.count_nonzero(kept)), np.float32, lambda at: 1))


def _code_of(data: Dataset, name: str, setting: str) -> int:
    names = data.interactions.event_names
    if name not in names:
        known = f"its types are {', '.join(names)}" if names else "it has no event column; name it by --event-col"
        raise DataError(f"{setting}: {data.name} has no event type {name!r}; {known}.")
    return names.index(name)


def _weighted(data: Dataset, weights: dict[str, float]) -> Dataset:
    events = data.interactions
    by_code = np.ones(max(len(events.event_names), 1), np.float32)
    for name, factor in weights.items():
        if not (np.isfinite(factor) and factor >= 0):
            raise DataError(f"prepare.event_weights.{name} must be 0 or more and finite, got {factor}.")
        by_code[_code_of(data, name, "prepare.event_weights")] = factor
    codes = events.event
    own = events.weight
    assert codes is not None

    def of_type(at: slice) -> Array:
        factor: Array = by_code[codes[at]]
        return factor if own is None else own[at] * factor

    weight = made(events.folder, len(events), np.float32, of_type)
    kept = made(events.folder, len(events), bool, lambda at: weight[at] > 0)
    return _chosen(data, kept, weight[kept] if events.folder is None else chosen(events.folder, weight, kept))


def _single(data: Dataset, policy: str) -> Dataset:
    """One event for each user, item and type: the first, the last, or the last with the sum of all weights."""
    events = data.interactions
    kinds = max(len(events.event_names), 1)
    key: I64 = events.user.astype(np.int64) * events.n_items + events.item
    if events.event is not None:
        key = key * kinds + events.event
    if data.published is not None:  # an event to learn from never stands for one to judge on
        key = key * 3 + data.published.part
    places, total = counted_events(key, policy, events.weights if policy == "sum" else None)
    return _chosen(data, places, total)


def _core(data: Dataset, least_user: int, least_item: int) -> Dataset:
    """The largest part of the events in which every user and every item has enough: removed until nothing changes."""
    events = data.interactions
    kept: Bool = np.ones(len(events), bool)
    while True:
        users = np.bincount(events.user[kept], minlength=events.n_users) >= least_user
        items = np.bincount(events.item[kept], minlength=events.n_items) >= least_item
        still = kept & users[events.user] & items[events.item]
        if np.array_equal(still, kept):
            return _chosen(data, kept)
        kept = still


def _compacted(data: Dataset) -> Dataset:
    """Only the users and items that have events, in the same order."""
    events = data.interactions
    user, item = (
        np.flatnonzero(np.bincount(column, minlength=n))
        for column, n in ((events.user, events.n_users), (events.item, events.n_items))
    )
    if len(user) == data.n_users and len(item) == data.n_items:
        return data
    return replace(
        data,
        interactions=replace(
            events,
            user=np.searchsorted(user, events.user).astype(np.int32),
            item=np.searchsorted(item, events.item).astype(np.int32),
            n_users=len(user),
            n_items=len(item),
        ),
        user_ids=IdMap.of([data.user_ids[at] for at in user.tolist()]),
        item_ids=IdMap.of([data.item_ids[at] for at in item.tolist()]),
        items=data.items.take(item),
        item_features=None if data.item_features is None else data.item_features.take(item),
        user_features=None if data.user_features is None else data.user_features.take(user),
        item_rows=None if data.item_rows is None else data.item_rows._replace(row=data.item_rows.row[item]),
        user_rows=None if data.user_rows is None else data.user_rows._replace(row=data.user_rows.row[user]),
    )
