"""Judging some types of event: what was merely viewed is asked for and answered, what was bought is not
again."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.arrays import I32, Array
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.data.read.tables import dataset_of
from recsys.data.split.audit import audit_holdout
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError
from recsys.evaluation.evaluate import evaluate_on, users_of
from recsys.models.own_history import OwnHistory
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings

BUY = PrepareSettings(target_event="buy")


def shop(n: int = 3_000, users: int = 60, items: int = 40) -> pd.DataFrame:
    """People who buy what they have viewed: each buy follows a view of the same item by the same user."""
    rng = np.random.default_rng(8)
    views = pd.DataFrame(
        {"user_id": rng.integers(0, users, n), "item_id": rng.integers(0, items, n), "event": "view"}
    )
    views["timestamp"] = np.arange(n) * 100
    bought = views[rng.random(n) < 0.3].assign(event="buy")
    bought["timestamp"] += 20_000
    log = pd.concat([views, bought]).sort_values("timestamp", kind="stable").reset_index(drop=True)
    return log.astype({"user_id": str, "item_id": str})


def two_domains() -> Dataset:
    """Books that are viewed, bought or rented, and music that is viewed or listened to."""
    log = shop(6_000)
    rng = np.random.default_rng(9)
    music = log.item_id.astype(int) % 2 == 1
    log["event"] = np.where(
        log.event == "view", "view", np.where(music, "listen", rng.choice(["buy", "rent"], len(log)))
    )
    domain = ["music" if item % 2 else "books" for item in range(40)]
    items = pd.DataFrame({"item_id": [str(item) for item in range(40)], "domain": domain})
    return dataset_of(log, items)


DONE = {"books": ("buy", "rent"), "music": ("listen",)}


def counting(
    data: Dataset, events: Interactions, types: dict[str, tuple[str, ...]]
) -> set[tuple[int, int, int]]:
    """User, item and time of the events of these types by domain, one by one."""
    domain = data.items["domain"].to_pylist()
    return {
        (int(user), int(item), int(at))
        for user, item, at, kind in zip(events.user, events.item, events.time, events.event, strict=True)
        if events.event_names[kind] in types[domain[item]]
    }


@pytest.mark.parametrize(
    ("stated", "types"),
    [
        (["buy", "rent"], dict.fromkeys(DONE, ("buy", "rent"))),
        ({"books": ["buy", "rent"], "music": "listen"}, DONE),
        ({"books": "rent"}, {"books": ("rent",), "music": ("view", "listen")}),  # elsewhere every type counts
    ],
)
@pytest.mark.parametrize("kind", ["global_time", "leave_last_out"])
def test_several_types_are_judged_and_count_as_had_everywhere_or_by_domain(
    stated: Any, types: dict[str, tuple[str, ...]], kind: Any
) -> None:
    data, notes = prepare_data(two_domains(), PrepareSettings(target_event=stated))
    holdout = split(data, SplitSettings(kind=kind), seed=1).test
    learned = counting(data, holdout.train.interactions, types)
    later = counting(data, data.interactions, types) - learned
    had = {(user, item) for user, item, _ in learned}
    pairs = {(user, item) for user, item, _ in later} - had
    targets = holdout.targets
    questions = set(zip(holdout.user[targets.row_of_value()].tolist(), targets.values.tolist(), strict=True))
    if kind == "global_time":
        assert questions == pairs
    assert questions
    assert questions <= pairs
    counted = data.judged_events(holdout.train.interactions)
    assert (
        set(zip(counted.user.tolist(), counted.item.tolist(), counted.time.tolist(), strict=True)) == learned
    )
    row = holdout.had.row_of_value()
    assert set(zip(holdout.user[row].tolist(), holdout.had.values.tolist(), strict=True)) <= had
    assert {one.kind for one in audit_holdout(holdout, "test") if one.level == "error"} == set()
    assert data.target_event is not None
    assert notes[-1] == f"only {data.target_event.text} are judged; all types are learned from"


def test_they_are_said_in_words() -> None:
    for stated, words in (
        ("buy", "'buy' events"),
        (["buy", "rent"], "'buy' or 'rent' events"),
        (
            {"books": ["buy", "rent"], "music": "listen"},
            "'buy' or 'rent' events in books, 'listen' events in music and all events in other domains",
        ),
    ):
        data, _ = prepare_data(two_domains(), PrepareSettings(target_event=stated))  # type: ignore[arg-type]
        assert data.target_event is not None
        assert data.target_event.text == words


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        (["buy", "borrow"], r"has no event type 'borrow'; its types are buy, listen, rent, view"),
        (
            {"books": "listen"},
            r"no event type 'listen' in domain 'books'; its types in domain 'books' are buy, rent, view",
        ),
        ({"book": "buy"}, r"has no domain 'book'; did you mean 'books'"),
        ([], r"names no event type; name one, or leave it out"),
        ({"books": []}, r"names no event type in domain 'books'"),
    ],
)
def test_a_type_that_occurs_nowhere_is_refused_with_those_that_do(stated: Any, words: str) -> None:
    with pytest.raises(DataError, match=rf"prepare\.target_event.*{words}"):
        prepare_data(two_domains(), PrepareSettings(target_event=stated))
    with pytest.raises(DataError, match="is by domain, and the items of events have none"):
        prepare_data(dataset_of(shop()), PrepareSettings(target_event={"books": "buy"}))
    with pytest.raises(DataError, match=r"'rent' would judge on events that prepare\.event_weights leaves"):
        prepare_data(
            two_domains(), PrepareSettings(target_event={"books": "rent"}, event_weights={"rent": 0})
        )


@pytest.mark.parametrize(
    ("assignment", "seen"),
    [
        ('prepare.target_event=["buy", "rent"]', {"events": ["buy", "rent"]}),
        (
            'prepare.target_event={books = ["buy", "rent"], music = "listen"}',
            {"domains": {"books": {"events": ["buy", "rent"]}, "music": {"events": ["listen"]}}},
        ),
        ('prepare.target_event={books = "rent"}', {"domains": {"books": {"events": ["rent"]}}}),
    ],
)
def test_by_default_what_is_judged_is_what_is_not_answered_again(assignment: str, seen: Any) -> None:
    """The policy of the recommender leaves out exactly what the split counts as had."""
    settings = load_settings(None, [assignment])
    assert settings.seen.stated == seen
    assert load_settings(None, [], **settings.model_dump(mode="json")) == settings  # as a bundle states it
    data, _ = prepare_data(two_domains(), settings.prepare)
    holdout = split(data, SplitSettings(), seed=1).test
    engine = recommender_for(
        Run(settings, Steps(), data, holdout, "", 1), OwnHistory().fit(holdout.train, seed=1)
    )
    answered = engine.recommend(users_of(holdout), 40).ids
    for row, ids in enumerate(answered):
        assert set(ids[ids >= 0].tolist()) == set(range(40)) - set(holdout.had.row(row).tolist())


def questions_of(data: Dataset, holdout: Holdout) -> set[tuple[str, str]]:
    return {
        (data.user_ids[int(user)], data.item_ids[int(item)])
        for row, user in enumerate(holdout.user)
        for item in holdout.targets.row(row)
    }


@pytest.mark.parametrize("repeats", [False, True])
def test_buys_are_asked_for_though_viewed_unless_they_were_bought_before(repeats: bool) -> None:
    log = shop()
    data, _ = prepare_data(dataset_of(log), BUY)
    holdout = split(data, SplitSettings(repeats=repeats), seed=1).test
    buys = log[log.event == "buy"]
    later = buys[buys.timestamp >= holdout.now]
    earlier = set(
        zip(
            buys.user_id[buys.timestamp < holdout.now],
            buys.item_id[buys.timestamp < holdout.now],
            strict=True,
        )
    )
    slow = set(zip(later.user_id, later.item_id, strict=True)) - (set() if repeats else earlier)
    assert questions_of(data, holdout) == slow
    viewed = set(
        zip(log.user_id[log.timestamp < holdout.now], log.item_id[log.timestamp < holdout.now], strict=True)
    )
    assert len(slow & viewed) > len(slow) / 2
    assert holdout.train.interactions.event_names == ("buy", "view")
    assert len(holdout.history.items.values) > len(holdout.had.values) > 0
    assert {
        one.kind for one in audit_holdout(holdout, "test", repeats=repeats) if one.level == "error"
    } == set()


def test_a_target_bought_before_is_a_leak_and_one_viewed_before_is_none() -> None:
    data, _ = prepare_data(dataset_of(shop()), BUY)
    holdout = split(data, SplitSettings(repeats=True), seed=1).test
    leaks = {one.kind: one for one in audit_holdout(holdout, "test") if one.level == "error"}
    had = holdout.had
    both = sum(len(np.intersect1d(had.row(row), holdout.targets.row(row))) for row in range(had.rows))
    assert leaks["target_in_history"].count == both > 0


def test_drawn_candidates_may_have_been_viewed_as_targets_may() -> None:
    data, _ = prepare_data(dataset_of(shop()), BUY)
    holdout = split(data, SplitSettings(candidates=30), seed=1).test
    assert holdout.among is not None
    viewed = [len(np.intersect1d(row, past)) for row, past in _rows(holdout)]
    assert sum(viewed) > 0
    for row in range(len(holdout.user)):
        drawn = np.setdiff1d(holdout.among.row(row), holdout.targets.row(row))
        assert not len(np.intersect1d(drawn, holdout.had.row(row)))


def _rows(holdout: Holdout) -> list[tuple[Array, I32]]:
    assert holdout.among is not None
    drawn = [
        np.setdiff1d(holdout.among.row(row), holdout.targets.row(row)) for row in range(len(holdout.user))
    ]
    return [(row, holdout.history.items.row(at)) for at, row in enumerate(drawn)]


def test_the_default_policy_of_a_run_keeps_out_what_was_bought_alone() -> None:
    settings = load_settings(None, ["prepare.target_event=buy"])
    assert settings.seen.stated == {"events": ["buy"]}
    excluding = load_settings(None, ["prepare.target_event=buy", "seen=exclude"])
    assert excluding.seen.stated == "exclude"
    assert load_settings(None, []).seen.stated == "exclude"
    data, _ = prepare_data(dataset_of(shop()), BUY)
    holdout = split(data, SplitSettings(), seed=1).test
    own = OwnHistory().fit(holdout.train, seed=1)
    recalls = {
        name: evaluate_on(
            recommender_for(Run(chosen, Steps(), data, holdout, "", 1), own),
            holdout,
            metrics=("recall_at_40",),
        )
        .interval("recall_at_40")
        .mean
        for name, chosen in (("default", settings), ("exclude", excluding))
    }
    viewed = sum(
        len(np.intersect1d(holdout.history.items.row(row), holdout.targets.row(row)))
        for row in range(len(holdout.user))
    )
    assert viewed > 0
    assert recalls["default"] == pytest.approx(1.0)  # all 40 items but those bought before may be answered
    assert recalls["exclude"] < 0.6


def test_the_title_of_a_run_says_which_events_are_judged(tmp_path: Path) -> None:
    shop().to_csv(tmp_path / "shop.csv", index=False)
    for setting, words in (
        ("prepare.target_event=buy", ", judged on 'buy' events, asked at "),
        ("seed=2", "new to the user, "),
    ):
        settings = load_settings(None, [setting, "threads=1"], data=str(tmp_path / "shop.csv"))
        title = prepare(settings, Steps(quiet=True)).title
        assert words in title
        assert ("judged on" in title) == ("buy" in setting)
