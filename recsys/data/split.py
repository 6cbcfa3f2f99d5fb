"""Splits: what is learned from, what is judged on, and what each user had done before.

The global time split is the default: it is the only one here that asks for the future from the past alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from recsys.arrays import I32, I64, Array, Ragged, distinct
from recsys.config import Settings
from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.interactions import Interactions
from recsys.errors import DataError
from recsys.seeding import generator


class SplitSettings(Settings):
    """Settings of a split."""

    kind: str = Field(
        "auto", description="auto | global_time | later_half | published; auto: by time where there are times"
    )
    validation: float = Field(
        0.1, gt=0, lt=1, description="global_time: share of events before the test part to tune on"
    )
    test: float = Field(0.1, gt=0, lt=1, description="global_time: share of events, the latest, to judge on")
    cut: float = Field(0.6, gt=0, lt=1, description="later_half: share of events, the earliest, to learn from")
    repeats: bool = Field(False, description="count targets that the user had before; goes with seen = allow")

    @field_validator("test")
    @classmethod
    def _leaves_something(cls, test: float, info: ValidationInfo) -> float:
        validation = info.data.get("validation", 0.0)
        if test + validation >= 1:
            raise ValueError(f"with validation = {validation} nothing is left to learn from; their sum must be below 1")
        return test


@dataclass(frozen=True, eq=False)
class Holdout:
    """One question with its answer: learn from `train`, recommend to users with this history, compare with `targets`.

    user: int32 (n,) users in the data set's numbering. history: rows of all their earlier events, oldest first, with
    `history_time` beside it (or None). known: (n,) whether the learner saw the user. targets: rows of distinct items.
    now: unix second at which the question is asked, or None without times.
    """

    train: Dataset
    user: I32
    history: Ragged
    history_time: I64 | None
    known: Array
    targets: Ragged
    now: int | None

    def take(self, rows: Array) -> "Holdout":
        """The same question about some of the users."""
        at = self.history.positions(rows)
        return Holdout(
            self.train,
            self.user[rows],
            self.history.take(rows),
            None if self.history_time is None else self.history_time[at],
            self.known[rows],
            self.targets.take(rows),
            self.now,
        )


@dataclass(frozen=True, eq=False)
class Split:
    """A holdout to tune on and one to judge on, once. title: says which protocol this is, and what it leaks."""

    title: str
    validation: Holdout
    test: Holdout


def split(data: Dataset, settings: SplitSettings, *, seed: int) -> Split:
    """The split that the settings ask for. Raises DataError where the data cannot be split so, with the reason."""
    kind = settings.kind
    if kind == "auto":
        kind = "global_time" if data.interactions.time is not None else "published"
    if kind not in SPLITS:
        raise DataError(f"split kind {kind!r} is unknown; known ones are auto, {', '.join(SPLITS)}.")
    if kind == "published" and data.published is None:
        raise DataError(
            f"{data.name} has neither timestamps nor a published split. Add a timestamp column, or a column `split`."
        )
    if kind != "published" and data.interactions.time is None:
        raise DataError(f"split kind {kind!r} needs timestamps, and {data.name} has none. Use split.kind=published.")
    return SPLITS[kind](data, settings, seed)


def _global_time(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """Cut at two moments: targets are what happened after, the history is what happened before."""
    events = data.interactions
    assert events.time is not None
    _refuse_empty(data)
    at_test = _moment(events, 1 - settings.test)
    at_validation = _moment(events, 1 - settings.test - settings.validation)
    if not events.time[0] < at_validation < at_test <= events.time[-1]:
        raise DataError(f"{data.name} is too small or too short in time to cut twice; it has {len(events)} events.")
    before = slice(None, int(np.searchsorted(events.time, at_validation)))
    between = slice(before.stop, int(np.searchsorted(events.time, at_test)))
    return Split(
        "global time split: learned before, judged after, items new to the user"
        if not settings.repeats
        else "global time split: learned before, judged after, repeats count",
        _after(data, before, between, at_validation, settings.repeats),
        _after(data, slice(None, between.stop), slice(between.stop, None), at_test, settings.repeats),
    )


def _refuse_empty(data: Dataset) -> None:
    if not len(data.interactions):
        raise DataError(f"{data.name} has no events to split.")


def _moment(events: Interactions, share: float) -> int:
    """The unix second before which this share of the events lies."""
    assert events.time is not None
    return int(np.ceil(np.quantile(events.time, share)))


def _after(data: Dataset, past: slice, future: slice, now: int | None, repeats: bool) -> Holdout:
    """The holdout that learns from one part of the events and asks for another."""
    train = data.having(data.interactions.where(past))
    return _holdout(train, train.interactions, data.interactions.where(future), now, repeats, None)


def _holdout(
    train: Dataset, past: Interactions, future: Interactions, now: int | None, repeats: bool, known: Array | None
) -> Holdout:
    """Users with at least one target; `past` is what they bring, `known` (n_users,) who has a row in the model."""
    pairs = distinct(Ragged.from_pairs(future.user, future.item, future.n_users), future.n_items)
    if not repeats:
        old = distinct(Ragged.from_pairs(past.user, past.item, past.n_users), past.n_items)
        keys, old_keys = (part.row_of_value() * past.n_items + part.values for part in (pairs, old))
        pairs = pairs.keep(~np.isin(keys, old_keys, assume_unique=True))
    user = np.flatnonzero(pairs.lengths).astype(np.int32)
    if not len(user):
        raise DataError(
            f"{train.name}: no user has anything to be asked for{'' if repeats else ' that is new to him'}. "
            "Choose an earlier cut, count repeats, or bring more data."
        )
    histories = past.histories()
    at = histories.items.positions(user)
    trained = np.bincount(train.interactions.user, minlength=train.n_users) > 0 if known is None else known
    return Holdout(
        train,
        user,
        histories.items.take(user),
        None if histories.time is None else histories.time[at],
        trained[user],
        pairs.take(user),
        now,
    )


def _later_half(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """Learn before the cut; each later user brings the first half of his later events and is asked for the rest.

    What he did before the cut stands in his history as well: it is his, and no target may repeat it. Half of
    these users tune, half judge. All count as unknown to the model: they are encoded from their history.
    """
    events = data.interactions
    assert events.time is not None
    _refuse_empty(data)
    cut = _moment(events, settings.cut)
    first = int(np.searchsorted(events.time, cut))
    if not first:
        raise DataError(f"{data.name} has no event before the cut at {settings.cut:.0%} of events. Choose a later cut.")
    train = data.having(events.where(slice(None, first)))
    later = events.where(slice(first, None))
    order = np.argsort(later.user, kind="stable")
    counts = np.bincount(later.user, minlength=data.n_users)
    rank = np.empty(len(later), np.int64)
    rank[order] = np.arange(len(later)) - np.repeat(np.cumsum(counts) - counts, counts)
    asked = rank >= (counts[later.user] + 1) // 2
    brought = np.concatenate([np.ones(first, bool), ~asked])
    nobody = np.zeros(data.n_users, bool)
    whole = _holdout(train, events.where(brought), later.where(asked), None, settings.repeats, nobody)
    tunes = generator(seed, "later half").permutation(len(whole.user)) < len(whole.user) // 2
    return Split(
        f"later-half split: learned before {settings.cut:.0%} of events, later users encoded from what they did up to "
        "the first half of their later events, asked for the rest",
        whole.take(np.flatnonzero(tunes)),
        whole.take(np.flatnonzero(~tunes)),
    )


def _published(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """The split that came with the data. It is not by time: the model has seen the future of other users."""
    published = data.published
    assert published is not None
    train, validation, test = (published.part == part for part in (TRAIN, VALIDATION, TEST))
    if not (train.any() and test.any()):
        raise DataError(f"{data.name}: the published split needs events to train on and to judge on.")
    if not validation.any():  # none was published: a tenth of train, drawn
        validation = train & (generator(seed, "published validation").random(len(train)) < 0.1)
        train = train & ~validation

    def ask(past: Array, future: Array) -> Holdout:
        learned = data.having(data.interactions.where(past))
        return _holdout(learned, learned.interactions, data.interactions.where(future), None, settings.repeats, None)

    return Split(
        f"published split ({published.name}), not by time: it leaks the future of other users",
        ask(train, validation),
        ask(train | validation, test),
    )


SPLITS: dict[str, Callable[[Dataset, SplitSettings, int], Split]] = {
    "global_time": _global_time,
    "later_half": _later_half,
    "published": _published,
}
