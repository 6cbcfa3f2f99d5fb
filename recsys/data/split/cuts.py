"""How each protocol, by its name, cuts the events into train, validation and test, and what it leaks."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from recsys.arrays import I64, Bool
from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.interactions import Interactions
from recsys.data.split.ask import ask_after, ask_holdout, before_first_asked, events_until, with_idle
from recsys.data.split.candidates import drawn_candidates, published_candidates
from recsys.data.split.clumped import draw_clumps
from recsys.data.split.holdout import Split, SplitSettings
from recsys.data.split.moments import moment_of_share, two_moments
from recsys.errors import DataError
from recsys.seeding import generator


def _global_time(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """Cut at two moments: targets are what happened after, the history is what happened before."""
    at_validation, at_test, before, between, after = _cut_twice(data, settings)
    return Split(
        "global time split: learned before, judged after, no leak, items new to the user"
        if not settings.repeats
        else "global time split: learned before, judged after, no leak, repeats count",
        ask_after(data, before, between, at_validation, settings.repeats),
        ask_after(data, slice(None, between.stop), after, at_test, settings.repeats),
    )


def _cut_twice(data: Dataset, settings: SplitSettings) -> tuple[int, int, slice, slice, slice]:
    """The two moments, and the places of the events before the first, between them, and of the test part."""
    events = data.interactions
    assert events.time is not None
    _refuse_empty(data)
    moments = two_moments(data.name, events.time, settings)
    ends = [int(np.searchsorted(events.time, moment)) for moment in moments]
    return *moments[:2], slice(None, ends[0]), slice(ends[0], ends[1]), slice(ends[1], ends[2])


def _refuse_empty(data: Dataset) -> None:
    if not len(data.interactions):
        raise DataError(f"{data.name} has no events to split.")


def _later_half(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """Learn before the cut; each later user brings the first half of their later events and is asked for the
    rest.

    What they did before the cut stands in their history as well, and no target may repeat it. Half of
    these users tune, half judge. All count as unknown to the model: they are encoded from their history.
    """
    events = data.interactions
    assert events.time is not None
    _refuse_empty(data)
    cut = moment_of_share(events.time, settings.cut)
    first = int(np.searchsorted(events.time, cut))
    if not first:
        raise DataError(
            f"{data.name} has no event before the cut at {settings.cut:.0%} of events. Choose a later cut."
        )
    train = data.having(
        events.where(slice(None, first)), None if data.whole is None else events_until(data.whole, cut)
    )
    rank, count = _places(events.where(slice(first, None)))
    asked = np.concatenate([np.zeros(first, bool), rank >= (count + 1) // 2])
    whole = with_idle(data, ~asked, before_first_asked(asked))
    brought = events.where(~asked) if whole is None else whole
    nobody = np.zeros(data.n_users, bool)
    both = ask_holdout(train, brought, events.where(asked), None, settings.repeats, nobody)
    tunes = generator(seed, "later half").permutation(len(both.user)) < len(both.user) // 2
    return Split(
        f"later-half split: learned before {settings.cut:.0%} of events, later users encoded from what "
        "they did up to the first half of their later events, asked for the rest; no leak into what is "
        "learned",
        both.take(np.flatnonzero(tunes)),
        both.take(np.flatnonzero(~tunes)),
    )


def _places(events: Interactions) -> tuple[I64, I64]:
    """int64 (n,) each: the place of an event among those of its user, oldest 0, and how many events they
    have."""
    order = np.argsort(events.user, kind="stable")
    counts = np.bincount(events.user, minlength=events.n_users)
    rank = np.empty(len(events), np.int64)
    rank[order] = np.arange(len(events)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank, counts[events.user]


def _leave_last_out(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """Each user's last event is asked for, and the last but one to tune on; a user keeps at least one event
    to learn.

    The protocol of the tables on sequences. Without times the order of the rows is taken for that of the
    events.
    """
    _refuse_empty(data)
    events = data.interactions
    rank, count = _places(events)
    judged = (rank == count - 1) & (count > 1)
    tuned = (rank == count - 2) & (count > 2)

    def before(asked: Bool) -> Dataset:
        return data.having(events.where(~asked), with_idle(data, ~asked, before_first_asked(asked)))

    return _ask_twice(
        "leave-last-out split, not by time: it leaks the future of other users",
        (before(judged | tuned), events.where(tuned)),
        (before(judged), events.where(judged)),
        settings,
    )


def _ask_twice(
    title: str,
    tune: tuple[Dataset, Interactions],
    judge: tuple[Dataset, Interactions],
    settings: SplitSettings,
) -> Split:
    """The split that asks for the future (second) from the past (first), once to tune on and once to judge
    on.

    The judged model has learned from all of its past, or, without `learn_validation`, from no more than the
    tuned one.
    """
    (train, tuned), (past, judged) = tune, judge
    if not settings.learn_validation:
        title += "; judged without having learned from the validation part, which stands in the histories"
    return Split(
        title,
        ask_holdout(train, train.had, tuned, None, settings.repeats, None),
        ask_holdout(
            past if settings.learn_validation else train, past.had, judged, None, settings.repeats, None
        ),
    )


def _published_candidates(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """The published split, ranked among the published candidates; on validation among as many drawn ones."""
    split = _split_published(data, settings, seed)
    test, tune = split.test, split.validation
    among = published_candidates(data, test.user, test.targets)
    listed = among.lengths - test.targets.lengths
    least, count = int(listed.min()), int(listed.max())
    said = f"{count:,}" if least == count else f"{least:,} to {count:,}"
    return Split(
        (
            f"{split.title}; ranked among {said} published candidates and not all items: compare within "
            "this protocol only"
        ),
        replace(tune, among=drawn_candidates(data, tune.had, tune.targets, count, seed=seed)),
        replace(test, among=among),
    )


def _split_published(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """The split that came with the data. It is not by time: the model has seen the future of other users."""
    published = data.published
    assert published is not None
    parts = published.part[data.learned]
    train, validation, test = (parts == part for part in (TRAIN, VALIDATION, TEST))
    if not (train.any() and test.any()):
        raise DataError(f"{data.name}: the published split needs events to train on and to judge on.")
    if settings.clumped:
        learned = np.flatnonzero(train | validation)
        validation = np.zeros(len(train), bool)
        validation[learned] = draw_clumps(data.interactions.where(learned), settings.clumped, seed=seed)
        train = (parts != TEST) & ~validation
    elif not validation.any():  # none was published: a tenth of train, drawn
        validation = train & (generator(seed, "published validation").random(len(train)) < 0.1)
        train = train & ~validation

    events = data.interactions

    def having(past: Bool, idle: tuple[int, ...]) -> Dataset:
        whole = with_idle(data, past, lambda *_: np.isin(published.part, idle))
        return data.having(events.where(past), whole)

    return _ask_twice(
        f"published split ({published.name}), not by time: it leaks the future of other users"
        + (f"; tuned on {settings.clumped:.0%} of train in clumps" if settings.clumped else ""),
        (having(train, (TRAIN,)), events.where(validation)),
        (having(train | validation, (TRAIN, VALIDATION)), events.where(test)),
        settings,
    )


def _random(data: Dataset, settings: SplitSettings, seed: int) -> Split:
    """Shares of what each user had, drawn at random, to judge on and to tune on; all events of an item
    together.

    For a log that has neither times nor an order nor a split of its own. It is the easiest of all questions.
    """
    _refuse_empty(data)
    events = data.interactions
    judged = _draw_items(events, settings.test, seed, "random test")
    tuned, rest = np.zeros(len(events), bool), np.flatnonzero(~judged)
    others = events.where(rest)
    if settings.clumped:
        tuned[rest] = draw_clumps(others, settings.clumped, seed=seed)
    else:
        tuned[rest] = _draw_items(others, settings.validation, seed, "random validation")

    def without(asked: Bool) -> Dataset:
        return data.having(events.where(~asked), with_idle(data, ~asked, before_first_asked(asked)))

    return _ask_twice(
        (
            f"random split, {settings.test:.0%} of what each user had, not by time: it leaks the future of "
            "everybody"
        )
        + (f"; tuned on {settings.clumped:.0%} of the rest in clumps" if settings.clumped else ""),
        (without(judged | tuned), events.where(tuned)),
        (without(judged), events.where(judged)),
        settings,
    )


def _draw_items(events: Interactions, share: float, seed: int, purpose: str) -> Bool:
    """(n,): about this share of the items of each user, drawn at random, all events of a pair together; each
    user keeps one."""
    rng = generator(seed, purpose)
    pairs, pair_of_event = np.unique(
        events.user.astype(np.int64) * events.n_items + events.item, return_inverse=True
    )
    user = pairs // events.n_items
    counts = np.bincount(user, minlength=events.n_users)
    wanted = np.minimum(
        (share * counts + rng.random(events.n_users)).astype(np.int64), np.maximum(counts - 1, 0)
    )
    order = np.lexsort((rng.random(len(pairs)), user))
    place = np.empty(len(pairs), np.int64)
    place[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    drawn: Bool = (place < wanted[user])[pair_of_event]
    return drawn


SPLITS: dict[str, Callable[[Dataset, SplitSettings, int], Split]] = {
    "global_time": _global_time,
    "later_half": _later_half,
    "leave_last_out": _leave_last_out,
    "published": _split_published,
    "published_candidates": _published_candidates,
    "random": _random,
}
