"""What is done to events before the split, against hand-typed rows and slow second versions."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from recsys.data.dataset import TEST, TRAIN, Dataset
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError
from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import RunSettings, load_settings

Row = tuple[str, str, int, float, str]
ROWS: list[Row] = [
    ("u", "x", 1, 1.0, "view"),
    ("u", "x", 2, 2.0, "view"),
    ("u", "x", 3, 4.0, "buy"),
    ("v", "x", 4, 5.0, "view"),
    ("u", "y", 5, 3.5, "view"),
    ("u", "x", 6, 0.5, "view"),
]
COLUMNS = ["user_id", "item_id", "timestamp", "weight", "event"]


def data_of(rows: list[Row], part: Any = None) -> Dataset:
    return dataset_of(pd.DataFrame(rows, columns=COLUMNS), part=part, part_name="drawn", name="toy")


def rows_of(data: Dataset) -> list[Row]:
    events = data.interactions
    assert events.time is not None
    assert events.event is not None
    return [
        (data.user_ids[u], data.item_ids[i], t, w, events.event_names[e])
        for u, i, t, w, e in zip(
            events.user, events.item, events.time.tolist(), events.weights.tolist(), events.event, strict=True
        )
    ]


def after(rows: list[Row], **settings: Any) -> list[Row]:
    return rows_of(prepare_data(data_of(rows), PrepareSettings(**settings))[0])


def test_nothing_is_done_unless_asked() -> None:
    data = data_of(ROWS)
    same, notes = prepare_data(data, PrepareSettings())
    assert same is data
    assert notes == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("all", ROWS),
        ("first", [ROWS[0], ROWS[2], ROWS[3], ROWS[4]]),
        ("last", [ROWS[2], ROWS[3], ROWS[4], ROWS[5]]),
        ("sum", [ROWS[2], ROWS[3], ROWS[4], ("u", "x", 6, 3.5, "view")]),
    ],
)
def test_duplicates_of_a_user_item_and_type(policy: str, expected: list[Row]) -> None:
    assert after(ROWS, duplicates=policy) == expected


def test_a_rating_threshold_keeps_what_was_liked_and_lets_it_count_one() -> None:
    assert after(ROWS, min_rating=3.5) == [(u, i, t, 1.0, e) for u, i, t, w, e in ROWS if w >= 3.5]
    data, notes = prepare_data(data_of(ROWS), PrepareSettings(min_rating=3.5))
    assert notes == [
        "prepare.min_rating = 3.5: 3 of 6 events are left out of learning; they still count as had"
    ]
    assert len(data.interactions) == 3


def whole_of(data: Dataset) -> list[tuple[str, str, int, float]]:
    assert data.whole is not None
    assert data.whole.time is not None
    assert data.whole.weight is not None
    columns = (data.whole.user, data.whole.item, data.whole.time.tolist(), data.whole.weight.tolist())
    return [(data.user_ids[u], data.item_ids[i], t, w) for u, i, t, w in zip(*columns, strict=True)]


def test_what_is_left_out_of_learning_was_had_and_what_is_disliked_says_so() -> None:
    data, _ = prepare_data(data_of(ROWS), PrepareSettings(min_rating=3.5, disliked_rating=1))
    weights = [-1, 0, 1, 1, 1, -1]
    assert whole_of(data) == [(u, i, t, w) for (u, i, t, _, _), w in zip(ROWS, weights, strict=True)]
    data, _ = prepare_data(data_of(ROWS), PrepareSettings(event_weights={"view": 0}, min_rating=2))
    assert [row[3] for row in whole_of(data)] == [0, 0, 1, 0, 0, 0]
    data, _ = prepare_data(data_of(ROWS), PrepareSettings(event_weights={"buy": -2}))
    assert [row[3] for row in whole_of(data)] == [1, 2, -8, 5, 3.5, 0.5]
    assert len(data.interactions) == 5
    data, notes = prepare_data(data_of(ROWS), PrepareSettings(min_rating=0.5))
    assert data.whole is None
    assert notes == ["prepare.min_rating = 0.5 leaves out none of 6 events"]


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(
    ("rules", "weights"),
    [
        ({"min_rating": 0}, [0, 0, 1, 1, 1]),
        ({"min_rating": 0, "disliked_rating": -2}, [-1, 0, 1, 1, 1]),
        ({"min_rating": -1, "disliked_rating": -1.5}, [-1, 1, 1, 1, 1]),
        ({"min_rating": 3, "disliked_rating": 0}, [-1, -1, -1, 0, 1]),
        ({"disliked_rating": 0}, [-1, -1, -1, 0.5, 5]),
    ],
)
def test_ratings_of_0_and_less_are_ratings(
    rules: dict[str, float], weights: list[float], on_disk: bool, tmp_path: Path
) -> None:
    ratings = [-10.0, -1.0, 0.0, 0.5, 5.0]
    rows = {
        "user_id": list("uvuvw"),
        "item_id": list("xxyyz"),
        "timestamp": [1, 2, 3, 4, 5],
        "weight": ratings,
    }
    pd.DataFrame(rows).to_parquet(tmp_path / "rated.parquet")
    prepare = [f"prepare.{name}={value}" for name, value in rules.items()]
    settings = load_settings(None, [f"data={tmp_path / 'rated.parquet'}", *prepare])
    folder = tmp_path if on_disk else None
    data, _ = prepare_data(
        load_dataset(settings.data, reading=settings.reading, on_disk=folder), settings.prepare
    )
    assert data.had.weights.tolist() == weights
    assert data.interactions.weights.tolist() == [weight for weight in weights if weight > 0]


def test_weights_of_0_are_refused_where_no_rating_is_asked_for() -> None:
    with pytest.raises(DataError, match=r"a weight that is not above 0, first row 1.*prepare\.min_rating=R"):
        data_of([("u", "x", 1, 0.0, "view"), ("v", "y", 2, 1.0, "view")])


@pytest.mark.parametrize("policy", ["first", "last", "sum"])
def test_duplicates_are_taken_out_of_what_is_learned_and_what_is_left_out_stays(policy: str) -> None:
    rules = PrepareSettings(min_rating=2, duplicates=policy)  # type: ignore[arg-type]
    data, _ = prepare_data(data_of(ROWS), rules)
    learned = [(u, i, t, w) for u, i, t, w, _ in rows_of(data)]
    whole = whole_of(data)
    assert [row for row in whole if row[3] > 0] == learned
    assert [row[2] for row in whole if row[3] == 0] == [1, 6]
    assert [row[2] for row in whole] == sorted(row[2] for row in whole)


def test_a_core_takes_the_left_out_events_of_whom_it_takes() -> None:
    rows: list[Row] = [
        ("a", "x", 1, 5.0, "view"),
        ("b", "x", 2, 5.0, "view"),
        ("a", "y", 3, 5.0, "view"),
        ("b", "y", 4, 1.0, "view"),
        ("a", "z", 5, 1.0, "view"),
        ("c", "x", 6, 1.0, "view"),
        ("b", "y", 7, 5.0, "view"),
    ]
    data, _ = prepare_data(data_of(rows), PrepareSettings(min_rating=3, min_user_events=2, min_item_events=2))
    assert [row[:3] for row in whole_of(data)] == [row[:3] for row in rows if row[2] not in (5, 6)]
    assert list(data.item_ids) == sorted(data.item_ids)


def test_the_published_part_of_what_is_left_out_goes_with_it() -> None:
    part = np.array([TRAIN, TRAIN, TEST, TRAIN, TEST, TEST], np.int8)
    data, _ = prepare_data(data_of(ROWS, part), PrepareSettings(min_rating=2, duplicates="first"))
    assert data.published is not None
    assert data.published.part.tolist() == [TRAIN, TRAIN, TEST, TRAIN, TEST, TEST]
    assert data.published.part[data.learned].tolist() == [TRAIN, TEST, TRAIN, TEST]


def test_event_weights_multiply_and_zero_leaves_a_type_out() -> None:
    weighed = after(ROWS, event_weights={"buy": 10})
    assert [row[3] for row in weighed] == [1.0, 2.0, 40.0, 5.0, 3.5, 0.5]
    assert after(ROWS, event_weights={"view": 0.0, "buy": 0.5}) == [("u", "x", 3, 2.0, "buy")]


def slow_core(rows: list[Row], least_user: int, least_item: int) -> list[Row]:
    while True:
        users, items = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
        kept = [row for row in rows if users[row[0]] >= least_user and items[row[1]] >= least_item]
        if kept == rows:
            return rows
        rows = kept


@pytest.mark.parametrize("least", [(2, 2), (3, 5), (5, 3), (0, 6), (6, 0)])
@pytest.mark.parametrize("seed", range(3))
def test_the_core_is_that_of_a_slow_second_version(seed: int, least: tuple[int, int]) -> None:
    random = np.random.default_rng(seed)
    users, items = (random.zipf(1.6, 400) % 60).astype(str), (random.zipf(1.5, 400) % 80).astype(str)
    rows: list[Row] = [(u, i, t, 1.0, "view") for t, (u, i) in enumerate(zip(users, items, strict=True))]
    expected = slow_core(rows, *least)
    data, notes = prepare_data(
        data_of(rows), PrepareSettings(min_user_events=least[0], min_item_events=least[1])
    )
    assert rows_of(data) == expected
    assert 0 < len(expected) < len(rows)
    assert set(data.user_ids) == {row[0] for row in expected}
    assert set(data.item_ids) == {row[1] for row in expected}
    assert len(data.items) == data.n_items
    assert "judged future" in notes[0]


def test_titles_stay_with_their_items_and_a_world_keeps_its_places() -> None:
    rows = pd.DataFrame({"user_id": list("aabbc"), "item_id": list("xyxyz")})
    titles = pd.DataFrame({"item_id": list("zyx"), "title": ["Z", "Y", "X"]})
    data = dataset_of(rows, titles)
    core, _ = prepare_data(data, PrepareSettings(min_user_events=2))
    assert dict(zip(core.item_ids, core.items["title"].to_pylist(), strict=True)) == {"y": "Y", "x": "X"}
    kept, _ = prepare_data(data, PrepareSettings(min_user_events=2), compact=False)
    assert list(kept.item_ids) == list(data.item_ids)
    assert kept.interactions.n_users == 3
    assert len(kept.interactions) == len(core.interactions) == 4


def test_the_published_part_goes_with_its_events_and_parts_are_never_merged() -> None:
    part = np.array([TRAIN, TRAIN, TRAIN, TEST, TRAIN, TEST], np.int8)
    data, _ = prepare_data(data_of(ROWS, part), PrepareSettings(duplicates="first"))
    assert data.published is not None
    assert list(zip([row[2] for row in rows_of(data)], data.published.part.tolist(), strict=True)) == [
        (1, TRAIN),
        (3, TRAIN),
        (4, TEST),
        (5, TRAIN),
        (6, TEST),
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"event_weights": {"click": 2}}, r"toy has no event type 'click'; its types are buy, view"),
        ({"event_weights": {"buy": float("inf")}}, r"prepare\.event_weights\.buy must be finite, got inf"),
        ({"event_weights": {"buy": 0}, "target_event": "buy"}, "give the type a weight above 0"),
        ({"disliked_rating": -1}, "disliked_rating = -1 needs prepare.min_rating"),
        (
            {"min_rating": 2, "disliked_rating": 2},
            r"disliked_rating = 2 must be below prepare\.min_rating = 2",
        ),
        ({"target_event": "click"}, r"prepare\.target_event: toy has no event type 'click'"),
        ({"min_rating": 9}, r"prepare\.min_rating = 9 leaves no event; choose a milder rule"),
        ({"min_user_events": 99}, r"leaves no event"),
    ],
)
def test_rules_that_do_not_fit_the_data_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare_data(data_of(ROWS), PrepareSettings(**settings))


@pytest.mark.parametrize("ratings", [False, True])
def test_who_acts_as_no_person_does_is_left_out_and_counted(ratings: bool) -> None:
    start, one = 1_700_000_000, 5.0
    people = [(f"u{at % 50}", f"i{at % 9}", start + at * 500, one, "view") for at in range(1_000)]
    robot = [("robot", f"i{at % 9}", start + at, one - 4 * (at % 2), "view") for at in range(1_300)]
    data, rule = data_of(people + robot), {"min_rating": 3.0} if ratings else {}
    kept, notes = prepare_data(data, PrepareSettings(bots="drop", **rule))
    assert "robot" not in {kept.user_ids[int(user)] for user in np.unique(kept.had.user)}
    assert len(kept.interactions) == len(kept.had) == 1_000
    assert "prepare.bots = 'drop': 1 users act as no person does, and are left out" in notes
    assert "prepare.bots = 'drop': 1,300 of 2,300 events are left out" in notes
    assert prepare_data(data_of(people), PrepareSettings(bots="drop"))[1] == []
    with pytest.raises(DataError, match="leaves no event"):
        prepare_data(data_of(robot), PrepareSettings(bots="drop"))


def test_a_threshold_without_ratings_is_refused() -> None:
    plain = dataset_of(pd.DataFrame({"user_id": ["a"], "item_id": ["b"]}))
    with pytest.raises(
        DataError, match=r"needs ratings, and events has no weight column; name it by --weight-col"
    ):
        prepare_data(plain, PrepareSettings(min_rating=4))
    with pytest.raises(DataError, match="it has no event column; name it by --event-col"):
        prepare_data(plain, PrepareSettings(target_event="buy"))


@pytest.mark.parametrize("kind", ["global_time", "later_half"])
def test_only_the_target_event_is_asked_for_and_all_are_learned_from(kind: str) -> None:
    random = np.random.default_rng(4)
    n = 1_500
    frame = pd.DataFrame(
        {
            "user_id": random.integers(0, 40, n).astype(str),
            "item_id": random.integers(0, 400, n).astype(str),
            "timestamp": np.arange(n),
            "event": random.choice(["view", "buy"], n, p=[0.7, 0.3]),
        }
    )
    data, _ = prepare_data(dataset_of(frame), PrepareSettings(target_event="buy"))
    test = split(data, SplitSettings(kind=kind), seed=1).test
    assert test.train.interactions.event is not None
    assert set(test.train.interactions.event.tolist()) == {0, 1}
    bought = set(zip(frame.user_id[frame.event == "buy"], frame.item_id[frame.event == "buy"], strict=True))
    asked = [
        (data.user_ids[user], data.item_ids[item])
        for row, user in enumerate(test.user.tolist())
        for item in test.targets.row(row).tolist()
    ]
    assert set(asked) <= bought
    everything = split(dataset_of(frame), SplitSettings(kind=kind), seed=1).test
    assert 0 < len(asked) < len(everything.targets.values)


def test_the_settings_of_a_run_are_applied_before_its_split(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS * 40, columns=["who", "what", "at", "stars", "type"])
    frame["at"] = np.arange(len(frame)) * 1_000
    frame["who"] = np.char.add("u", (np.arange(len(frame)) // 3).astype(str))
    frame.loc[frame.index[-2], "who"] = "once"
    frame.to_csv(tmp_path / "log.csv", index=False)
    names = [
        word
        for role in ("user who", "item what", "time at", "event type", "weight stars")
        for word in role.split()
    ]
    options = [f"--{word}-col" if at % 2 == 0 else word for at, word in enumerate(names)]
    rules = ["prepare.min_user_events=2", "prepare.min_rating=1", "split.repeats=true", "seen=allow"]
    said = CliRunner().invoke(
        main, ["train", str(tmp_path / "log.csv"), *options, *rules, "--dry-run", "--json"]
    )
    assert said.exit_code == 0, said.output
    shown = json.loads(said.stdout)
    roles = {"user_id": "who", "item_id": "what", "timestamp": "at", "event": "type", "weight": "stars"}
    assert (shown["columns"], shown["prepare"]["min_user_events"]) == (roles, 2)
    settings = RunSettings.build(shown, where="test")
    run = prepare(settings, Steps(quiet=True))
    expected = frame[frame.stars >= 1]
    expected = expected[expected.groupby("who").who.transform("size") >= 2]
    assert len(run.data.interactions) == len(expected) < len(frame[frame.stars >= 1])
    assert set(run.data.user_ids) == set(expected.who)
    assert "core of 2 events a user" in run.title


def test_a_world_keeps_the_places_of_its_users_and_items() -> None:
    settings = load_settings("world", ["world.users=300", "world.items=60", "prepare.min_user_events=9"])
    run = prepare(settings, Steps(quiet=True))
    assert run.world is not None
    assert (run.data.n_users, run.data.n_items) == (300, 60)
    counts = np.bincount(run.data.interactions.user, minlength=300)
    assert (counts == 0).any()
    assert counts[counts > 0].min() >= 9
