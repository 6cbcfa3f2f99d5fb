"""What is left out of learning still counts as had: in the history of whoever is asked, never from their
future."""

import numpy as np
import pandas as pd
import pytest

from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split

Event = tuple[int, int, int, bool]  # user, item, time or part, whether it is learned from


def make_ratings(seed: int, *, timed: bool) -> Dataset:
    """A log with ratings 1 to 5, of which those from 3 on are learned from."""
    rng = np.random.default_rng(seed)
    n = 900
    columns = {"user_id": rng.integers(0, 60, n).astype(str), "item_id": rng.integers(0, 60, n).astype(str)}
    columns["weight"] = rng.integers(1, 6, n)
    if timed:
        columns["timestamp"] = np.sort(rng.integers(1_000, 1_400, n))  # many ties
    part = None if timed else rng.choice([TRAIN, VALIDATION, TEST], n, p=[0.7, 0.1, 0.2])
    data, _ = prepare_data(
        dataset_of(pd.DataFrame(columns), part=part, name="rated"), PrepareSettings(min_rating=3)
    )
    return data


def events_of(data: Dataset) -> list[Event]:
    whole = data.whole
    assert whole is not None
    if data.published is not None:
        third = data.published.part.tolist()
    else:
        assert whole.time is not None
        third = whole.time.tolist()
    return list(zip(whole.user.tolist(), whole.item.tolist(), third, data.learned.tolist(), strict=True))


def check(holdout: Holdout, events: list[Event], past: set[int], asked: set[int]) -> None:
    """past, asked: places of the events that are had before, and of those that are asked for."""
    history: dict[int, list[int]] = {}
    targets: dict[int, set[int]] = {}
    for place in sorted(past):
        history.setdefault(events[place][0], []).append(events[place][1])
    for place in sorted(asked):
        user, item, _, learned = events[place]
        if learned and item not in history.get(user, []):
            targets.setdefault(user, set()).add(item)
    users = sorted(targets)
    assert holdout.user.tolist() == users
    rows = range(len(users))
    assert [set(holdout.targets.row(row).tolist()) for row in rows] == [targets[user] for user in users]
    assert [holdout.history.items.row(row).tolist() for row in rows] == [
        history.get(user, []) for user in users
    ]
    by_user: dict[int, list[bool]] = {}
    for place in sorted(past):
        by_user.setdefault(events[place][0], []).append(events[place][3])
    assert holdout.history.weight is not None
    assert (holdout.history.weight > 0).tolist() == [one for user in users for one in by_user.get(user, [])]
    assert (holdout.history.weight == 0).any()
    assert holdout.warm.tolist() == [any(by_user.get(user, [])) for user in users]
    trained = {(u, i) for u, i, _, learned in (events[place] for place in past) if learned}
    train = holdout.train.interactions
    assert set(zip(train.user.tolist(), train.item.tolist(), strict=True)) <= trained
    assert train.weights.min() == 1


@pytest.mark.parametrize("seed", range(3))
def test_by_time_the_history_is_all_that_happened_before_the_moment(seed: int) -> None:
    data = make_ratings(seed, timed=True)
    events = events_of(data)
    cut = split(data, SplitSettings(kind="global_time", validation=0.15, test=0.15), seed=1)
    last = max(time for _, _, time, _ in events) + 1
    assert cut.validation.now is not None
    assert cut.test.now is not None
    for holdout, end in ((cut.validation, cut.test.now), (cut.test, last)):
        assert holdout.now is not None
        past = {place for place, event in enumerate(events) if event[2] < holdout.now}
        check(
            holdout, events, past, {place for place, one in enumerate(events) if holdout.now <= one[2] < end}
        )
        whole = holdout.train.whole
        assert whole is not None
        assert list(zip(whole.user.tolist(), whole.item.tolist(), strict=True)) == [
            events[at][:2] for at in sorted(past)
        ]


def own_past(events: list[Event], asked: set[int], gone: set[int]) -> set[int]:
    """Places before the first of their user that is asked for; of those that are learned from all but
    `gone`."""
    first = {
        user: min((at for at in asked if events[at][0] == user), default=len(events)) for user, *_ in events
    }
    return {
        at
        for at, (user, *_, learned) in enumerate(events)
        if (at not in gone if learned else at < first[user])
    }


@pytest.mark.parametrize("seed", range(3))
def test_leaving_the_last_out_the_history_ends_where_its_user_is_asked(seed: int) -> None:
    data = make_ratings(seed, timed=True)
    events = events_of(data)
    own: dict[int, list[int]] = {}
    for place, (user, _, _, learned) in enumerate(events):
        if learned:
            own.setdefault(user, []).append(place)
    judged = {places[-1] for places in own.values() if len(places) > 1}
    tuned = {places[-2] for places in own.values() if len(places) > 2}
    cut = split(data, SplitSettings(kind="leave_last_out"), seed=1)
    check(cut.test, events, own_past(events, judged, judged), judged)
    check(cut.validation, events, own_past(events, tuned, judged | tuned), tuned)


@pytest.mark.parametrize("seed", range(3))
def test_of_later_users_it_ends_where_the_half_begins_that_they_are_asked_for(seed: int) -> None:
    data = make_ratings(seed, timed=True)
    events = events_of(data)
    moment = int(np.ceil(np.quantile([time for *_, time, learned in events if learned], 0.6)))
    later: dict[int, list[int]] = {}
    for place, (user, _, time, learned) in enumerate(events):
        if learned and time >= moment:
            later.setdefault(user, []).append(place)
    asked = {at for places in later.values() for at in places[(len(places) + 1) // 2 :]}
    cut = split(data, SplitSettings(kind="later_half"), seed=1)
    past = own_past(events, asked, asked)
    for holdout in (cut.validation, cut.test):
        mine = {at for at in asked if events[at][0] in set(holdout.user.tolist())}
        check(holdout, events, past, mine)
        whole = holdout.train.whole
        assert whole is not None
        assert whole.time is not None
        assert whole.time.max() < moment


@pytest.mark.parametrize("seed", range(3))
def test_of_published_parts_it_is_that_of_the_parts_that_are_learned_from(seed: int) -> None:
    data = make_ratings(seed, timed=False)
    events = events_of(data)
    cut = split(data, SplitSettings(kind="published"), seed=1)
    places = {
        part: {at for at, one in enumerate(events) if one[2] == part} for part in (TRAIN, VALIDATION, TEST)
    }
    check(cut.validation, events, places[TRAIN], places[VALIDATION])
    check(cut.test, events, places[TRAIN] | places[VALIDATION], places[TEST])
