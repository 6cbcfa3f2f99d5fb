"""The nights of the re-enacted incumbent: what is learned ends before them, and the questions come after."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.incumbent import (
    ALL,
    AT_NIGHT,
    FRESH,
    GOAL,
    NIGHTS,
    STALE,
    Question,
    after,
    compare_systems,
    moments,
    night_of,
    replay_nights,
    rows_of,
)
from benchmarks.incumbent_systems import MEMBERS, SYSTEMS, TRIALS, Searched
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.pipelines.console import Steps
from recsys.pipelines.search.space import search_space
from recsys.testing.toys import dataset, random_log

DAYS = 35


@pytest.fixture(scope="module", params=[1, 2, 3])
def log(request: pytest.FixtureRequest) -> Dataset:
    return random_log(request.param, n_users=400, n_items=80, n=1_500)


def events_of(question: Question) -> list[tuple[set[int], set[int]]]:
    """Of each person asked: the items of their history, and their targets."""
    history, targets = question.users.history.items, question.targets
    return [({*history.row(row).tolist()}, {*targets.row(row).tolist()}) for row in range(targets.rows)]


def test_a_night_learns_what_came_before_it_and_asks_for_what_came_until_the_next(log: Dataset) -> None:
    events = log.interactions
    assert events.time is not None
    asked = 0
    for start, period_s in moments(log, DAYS):
        night = night_of(log, start, period_s)
        learned, inside = night.past.had, (events.time >= start) & (events.time < start + period_s)
        assert learned.time is not None
        assert len(learned) == (events.time < start).sum()
        assert learned.time.max() < start
        before = {
            person: {*events.item[(events.user == person) & (events.time < start)].tolist()}
            for person in range(400)
        }
        for occasion, question in night.questions.items():
            for person, (had, wanted) in zip(question.person, events_of(question), strict=True):
                acted = {*events.item[(events.user == person) & inside].tolist()}
                assert wanted <= acted, occasion
                assert not wanted & had, occasion
                assert had <= before[person] | acted, occasion
                if occasion in (AT_NIGHT, STALE):
                    assert had == before[person]
                if occasion == FRESH:
                    assert had >= before[person]
                asked += len(wanted)
    assert asked > 300
    last, period_s = moments(log, DAYS)[-1]
    assert last + period_s == events.time[-1] + 1
    assert len(moments(log, DAYS)) * period_s == DAYS * DAY_S


def test_later_questions_are_the_same_known_more_or_less(log: Dataset) -> None:
    night = night_of(log, *moments(log, DAYS)[0])
    fresh, stale = night.questions[FRESH], night.questions[STALE]
    assert np.array_equal(fresh.person, stale.person)
    assert np.array_equal(fresh.targets.values, stale.targets.values)
    assert (fresh.users.history.lengths > stale.users.history.lengths).all()
    assert fresh.users.fresh is not None
    assert fresh.users.fresh.all()


def test_after_so_many_clicks_a_person_is_known_by_these(log: Dataset) -> None:
    for start, period_s in moments(log, DAYS)[:2]:
        for clicks in (1, 2, 4):
            assert (
                night_of(log, start, period_s).questions[after(clicks)].users.history.lengths == clicks
            ).all()
    one = dataset([0, 1, 1, 1, 2, 2], [0, 0, 1, 2, 0, 1], 3, 3, time=np.array([0, 5, 6, 7, 1, 9]) * DAY_S)
    questions = night_of(one, 4 * DAY_S, 6 * DAY_S).questions[after(1)]
    assert questions.person.tolist() == [
        1
    ]  # who came after the night; not who made the first click before it
    assert questions.targets.values.tolist() == [1, 2]


def test_an_event_from_after_the_night_among_what_is_learned_is_refused(log: Dataset) -> None:
    start, period_s = moments(log, DAYS)[0]
    events = log.interactions
    assert events.time is not None
    leak = events.time.copy()
    leak[5] = start + 1  # stands among the first events, so that the cut by place lets it through
    planted: Any = Interactions(events.user, events.item, events.n_users, events.n_items, time=leak)
    with pytest.raises(DataError, match="after the cut"):
        night_of(replace(log, interactions=planted), start, period_s)


@pytest.mark.parametrize("make", [*SYSTEMS, *MEMBERS.values()], ids=lambda make: make.name)
@pytest.mark.parametrize("n_items", [1_000, 100_000])
def test_every_search_is_one_that_its_learner_takes_within_the_trials_of_all(make: Any, n_items: int) -> None:
    system = make()
    system.found = [(0.2, {"name": "als"}), (0.1, {"name": "variational"})]
    items = SimpleNamespace(column_names=["item_id", "categories"])
    data = SimpleNamespace(n_users=1_000, n_items=n_items, described_items=items)
    stages = list(system.stages(SimpleNamespace(data=data)))
    for stage in stages:
        own = {key: value for key, value in stage.model.items() if key != "name"}
        assert search_space(stage.model["name"], own, stage.space).start is not None
    assert 0 < sum(stage.trials for stage in stages) <= TRIALS


class Popular(Searched):
    """A system without a search, which remembers the last second that it learned from."""

    name = "popular"

    def __init__(self) -> None:
        super().__init__()
        self.chosen, self.until = {"model": {"name": "popularity"}, "days": 7.0}, []

    def learn(self, past: Dataset) -> None:
        assert past.interactions.time is not None
        self.until.append(int(past.interactions.time.max()))
        super().learn(past)


def test_a_replay_learns_each_night_once_and_compares_people_with_themselves(
    log: Dataset, tmp_path: Path
) -> None:
    system = Popular()
    replay = replay_nights(system, log, DAYS, Steps(quiet=True), tmp_path / "nights")
    assert [until < start for until, (start, _) in zip(system.until, moments(log, DAYS), strict=True)] == [
        True
    ] * NIGHTS
    again = replay_nights(system, log, DAYS, Steps(quiet=True), tmp_path / "nights")
    assert len(system.until) == NIGHTS  # what lies in the folder is not learned again
    assert again.values.keys() == replay.values.keys()
    person, night, value = replay.values[AT_NIGHT, ALL, GOAL].T
    means = replay.by_person((AT_NIGHT, ALL, GOAL))
    assert np.allclose(means[int(person[0])], value[person == person[0]].mean())
    assert {*night} == {*range(1, NIGHTS + 1)}
    rows = rows_of("toy", {"ours": replay, "our als": replay, "incumbent": again})
    assert {row["difference"] for row in rows if not row["what"].startswith("freshness")} == {0.0}
    assert {"new people", "returning people", "domain films", "after 4 clicks"} <= {
        row["what"] for row in rows
    }


def test_a_gain_is_said_where_the_interval_leaves_out_zero() -> None:
    noise = np.random.default_rng(1).normal(size=400)
    assert compare_systems(noise + 1, noise)["verdict"] == "better"
    assert compare_systems(noise - 1, noise)["verdict"] == "WORSE"
    assert compare_systems(noise, noise)["verdict"] == "no gain shown"
    assert compare_systems(np.append(noise, np.nan), np.append(noise, np.nan))["people"] == 400
    assert compare_systems(noise[:50] + 1, noise[:50])["verdict"] == "better (50 people are few)"
