"""What is done to events before they are split: bots, rating thresholds, event weights, duplicate policy,
k-core.

In this order, each rule over whole arrays; every rule says how many events it took. What a rating threshold
or a weight of 0 leaves out of learning was had all the same: it stays in `Dataset.whole`, and so in every
history. All but the k-core look at one user and item at a time. A k-core over the whole log looks at
everybody's future: it keeps the users and items that *will* have enough events, so its figures are those of
an easier question (the note it leaves says so).
"""

from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from recsys.arrays import I32, I64, Array, Bool
from recsys.config import Settings
from recsys.data.check.patterns import find_bots
from recsys.data.choice import choose_events, drop_idle, leave_out
from recsys.data.dataset import Dataset
from recsys.data.targets import Types, target_events
from recsys.errors import DataError
from recsys.history import counted_events
from recsys.matrix.on_disk import make_array


class PrepareSettings(Settings):
    """Settings of what is done to the events before the split."""

    missing_users: Literal["refuse", "drop"] = Field(
        "refuse", description="events without a user: an error, or left out and counted"
    )
    bots: Literal["keep", "drop"] = Field(
        "keep",
        description="users whom `recsys data check` calls bots: keep their events, or leave them out",
    )
    min_rating: float | None = Field(
        None,
        description="for ratings: learn from events rated at least this, each with weight 1; the others "
        "still count as had",
    )
    disliked_rating: float | None = Field(
        None,
        description=(
            'events whose weight is at most this say "not this": their items are never answered again'
        ),
    )
    event_weights: dict[str, float] = Field(
        {},
        description="weight of each event type, times the event's own; others count 1; 0 leaves a type out "
        "of learning "
        'and not of what was had; below 0 it says "not this": its items are never answered again',
    )
    target_event: Types | dict[str, Types] | None = Field(
        None,
        description="judge on events of this type only, on a list of types, or on those that a table names "
        "for each "
        'domain, as in {music = "listen", books = ["buy", "rent"]}; all types are learned from',
    )
    duplicates: Literal["all", "first", "last", "sum"] = Field(
        "all",
        description="events of one user, item and type: keep all, the first, the last, or one with their sum",
    )
    min_user_events: int = Field(
        0, ge=0, description="k-core: users with fewer events are left out; 0 = keep all"
    )
    min_item_events: int = Field(
        0, ge=0, description="k-core: items with fewer events are left out; 0 = keep all"
    )

    @property
    def rates(self) -> bool:
        """Whether weights are ratings, of which a threshold makes something."""
        return self.min_rating is not None or self.disliked_rating is not None

    @property
    def ratings_rule(self) -> str:
        """The thresholds, as a person sets them."""
        stated = {"min_rating": self.min_rating, "disliked_rating": self.disliked_rating}
        return ", ".join(f"prepare.{name} = {value:g}" for name, value in stated.items() if value is not None)


def prepare_data(
    data: Dataset, settings: PrepareSettings, *, compact: bool = True
) -> tuple[Dataset, list[str]]:
    """The data set after all rules, and a sentence for each rule that changed it.

    compact: after a k-core, users and items without events lose their place in the id maps. Raises DataError
    where a rule needs a column that is not there, names an unknown event type, or leaves nothing.
    """
    notes = list(data.notes)

    def note(before: Dataset, after: Dataset, rule: str) -> Dataset:
        taken = len(before.interactions) - len(after.interactions)
        if taken:
            still = " of learning; they still count as had" if len(before.had) == len(after.had) else ""
            notes.append(f"{rule}: {taken:,} of {len(before.interactions):,} events are left out{still}")
        if not len(after.interactions):
            raise DataError(f"{data.name}: {rule} leaves no event; choose a milder rule.")
        return after

    if settings.bots == "drop":
        data = note(data, _without_bots(data, notes), "prepare.bots = 'drop'")
    core_asked = max(settings.min_user_events, settings.min_item_events) > 1
    if data.interactions.folder is not None and (settings.duplicates != "all" or core_asked):
        what = "a k-core" if core_asked else f"prepare.duplicates = {settings.duplicates!r}"
        raise DataError(
            f"{data.name}: {what} looks at all events at once, in memory. Leave it or on_disk out."
        )
    if settings.rates:
        before, data = data, note(data, _apply_ratings(data, settings), settings.ratings_rule)
        if len(data.interactions) == len(before.interactions):
            notes.append(f"{settings.ratings_rule} leaves out none of {len(before.interactions):,} events")
    if settings.event_weights:
        data = note(data, _apply_weights(data, settings.event_weights), "prepare.event_weights")
    if settings.duplicates != "all":
        data = note(data, _single(data, settings.duplicates), f"prepare.duplicates = {settings.duplicates!r}")
    if core_asked:
        core = f"core of {settings.min_user_events} events a user and {settings.min_item_events} an item"
        cored = _core(data, settings.min_user_events, settings.min_item_events)
        data = note(data, cored, f"{core}, chosen with the judged future in view")
        data = replace(drop_idle(data) if compact else data, name=f"{data.name} ({core})")
    if settings.target_event is not None:
        targets = target_events(settings.target_event, data.name, data.items, data.had)
        for name in targets.types:
            if settings.event_weights.get(name, 1) <= 0:
                raise DataError(
                    f"prepare.target_event = {name!r} would judge on events that prepare.event_weights "
                    f"leaves out of learning; give the type a weight above 0."
                )
        data = replace(data, target_event=targets)
        notes.append(f"only {targets.text} are judged; all types are learned from")
    return data, notes


def refuse_one_sided(name: str, user: I32, item: I32) -> None:
    """Raises DataError where all events, n users and items, are of one: there is nothing to tell apart."""
    for what, column in (("user", user), ("item", item)):
        if len(column) and column.min() == column.max():
            raise DataError(
                f"{name} has events of one {what} alone; learning whom what suits takes two. Add others."
            )


def _without_bots(data: Dataset, notes: list[str]) -> Dataset:
    """The events of all but bots, of whom the notes say how many there are."""
    events = data.interactions
    robot = find_bots(events.user, events.n_users, events.time)
    if not robot.any():
        return data
    notes.append(f"prepare.bots = 'drop': {int(robot.sum()):,} users act as no person does, and are left out")
    return choose_events(data, ~robot[events.user])


def _apply_ratings(data: Dataset, settings: PrepareSettings) -> Dataset:
    """With a threshold each event that reaches it counts 1, the others 0; without, its rating; what is
    disliked -1."""
    least, most, events = settings.min_rating, settings.disliked_rating, data.interactions
    if events.weight is None:
        raise DataError(
            f"{settings.ratings_rule} needs ratings, and {data.name} has no weight column; name it by "
            "--weight-col."
        )
    if most is not None and most >= (np.inf if least is None else least):
        raise DataError(f"prepare.disliked_rating = {most:g} must be below prepare.min_rating = {least:g}.")
    if most is not None and least is None and most < 0:
        raise DataError(
            f"prepare.disliked_rating = {most:g} needs prepare.min_rating: weights of 0 and below "
            "teach nothing."
        )
    folder, rating = events.folder, events.weight

    def weight(at: slice) -> Array:
        liked = rating[at] if least is None else (rating[at] >= np.float32(least)).astype(np.float32)
        return liked if most is None else np.where(rating[at] <= np.float32(most), np.float32(-1), liked)

    weights = make_array(folder, len(events), np.float32, weight)
    return leave_out(data, make_array(folder, len(events), bool, lambda at: weights[at] > 0), weights)


def _code_of(data: Dataset, name: str, setting: str) -> int:
    names = data.interactions.event_names
    if name not in names:
        known = (
            f"its types are {', '.join(names)}" if names else "it has no event column; name it by --event-col"
        )
        raise DataError(f"{setting}: {data.name} has no event type {name!r}; {known}.")
    return names.index(name)


def _apply_weights(data: Dataset, weights: dict[str, float]) -> Dataset:
    events = data.interactions
    by_code = np.ones(max(len(events.event_names), 1), np.float32)
    for name, factor in weights.items():
        if not np.isfinite(factor):
            raise DataError(f"prepare.event_weights.{name} must be finite, got {factor}.")
        by_code[_code_of(data, name, "prepare.event_weights")] = factor
    codes = events.event
    own = events.weight
    assert codes is not None

    def of_type(at: slice) -> Array:
        factor: Array = by_code[codes[at]]
        return factor if own is None else own[at] * factor

    weight = make_array(events.folder, len(events), np.float32, of_type)
    kept = make_array(events.folder, len(events), bool, lambda at: weight[at] > 0)
    return leave_out(data, kept, weight)


def _single(data: Dataset, policy: str) -> Dataset:
    """One event for each user, item and type: the first, the last, or the last with the sum of all
    weights."""
    events = data.interactions
    kinds = max(len(events.event_names), 1)
    key: I64 = events.user.astype(np.int64) * events.n_items + events.item
    if events.event is not None:
        key = key * kinds + events.event
    if data.published is not None:  # an event to learn from never stands for one to judge on
        key = key * 3 + data.published.part[data.learned]
    places, total = counted_events(key, policy, events.weights if policy == "sum" else None)
    return choose_events(data, places, total)


def _core(data: Dataset, least_user: int, least_item: int) -> Dataset:
    """The largest part of the events in which every user and every item has enough: removed until nothing
    changes."""
    events = data.interactions
    kept: Bool = np.ones(len(events), bool)
    while True:
        users = np.bincount(events.user[kept], minlength=events.n_users) >= least_user
        items = np.bincount(events.item[kept], minlength=events.n_items) >= least_item
        still = kept & users[events.user] & items[events.item]
        if np.array_equal(still, kept):
            return choose_events(data, kept)
        kept = still
