"""Event weights travel with histories: whoever is folded in from a weighted history gets the row learned from
it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.answers.explain import explain
from recsys.answers.person import stored_users
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.arrays import Ragged
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.write import write
from recsys.data.dataset import Dataset
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.encoders.users import Users
from recsys.evaluation.doctor import examine
from recsys.evaluation.evaluate import users_of
from recsys.evaluation.foreign import BundleInDataIds
from recsys.history import Histories, merged
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.export import content_of
from recsys.testing.toys import dataset
from tests.helpers.bundles import START, content

NAMES = ("view", "cart", "buy")
WEIGHTS = {"view": 0.5, "buy": 6.0}
PEOPLE = range(0, 40, 7)


def log(seed: int, *, own: bool = False) -> Dataset:
    """Views, carts and buys with repeats, no two events of a user in one second. own: with weights of their
    own."""
    rng = np.random.default_rng(seed)
    n = 900
    return dataset(
        rng.integers(40, size=n),
        rng.integers(30, size=n),
        40,
        30,
        time=START + rng.permutation(10**6)[:n],
        event=rng.integers(3, size=n),
        event_names=NAMES,
        **({"weight": rng.choice([0.5, 1.0, 4.0], n)} if own else {}),
    )


def bundle_of(data: Dataset, rules: PrepareSettings, folder: Path, seen: Any = "allow") -> Bundle:
    learned = ALS(ALSSettings(dim=6, epochs=4, unobserved_weight=0.3)).fit(data, seed=1)
    return load(write(folder, content_of("als", learned, data, seen=seen, prepare=rules)))


def make_bundle(tmp_path: Path, *, own: bool = False, **rules: Any) -> Bundle:
    stated = PrepareSettings(event_weights=WEIGHTS, **rules)
    return bundle_of(prepare_data(log(1, own=own), stated)[0], stated, tmp_path)


def scores(bundle: Bundle, question: Question) -> dict[str, float]:
    return {item.item_id: item.score for item in respond(bundle, replace(question, k=30, now=START)).items}


def events_of(bundle: Bundle, row: int) -> list[Event]:
    """What a user's client would send: everything that the bundle stores of them, but the weights."""
    one = bundle.histories.take(np.array([row]))
    assert one.time is not None
    assert one.event is not None
    columns = zip(one.items.values.tolist(), one.time.tolist(), one.event.tolist(), strict=True)
    return [Event(bundle.item_ids[item], time, NAMES[code]) for item, time, code in columns]


@pytest.mark.parametrize("own", [False, True], ids=["weight by type", "weights of their own"])
@pytest.mark.parametrize("duplicates", ["all", "first", "last", "sum"])
def test_a_learned_row_is_the_fold_in_of_the_same_weighted_history(
    tmp_path: Path, own: bool, duplicates: str
) -> None:
    bundle = make_bundle(tmp_path, own=own, duplicates=duplicates)
    known = bundle.recommender.recommend(stored_users(bundle, np.arange(40), START), 30)
    folded = bundle.recommender.recommend(Users.unknown(bundle.histories), 30)
    np.testing.assert_allclose(np.sort(folded.scores), np.sort(known.scores), atol=1e-4)
    plain = bundle.recommender.recommend(Users.unknown(bundle.histories.items), 30)
    assert np.abs(np.sort(plain.scores) - np.sort(known.scores)).max() > 0.01  # weights matter here
    assert examine(bundle, now=START).measures["train_serve_skew"] == 0
    for row in PEOPLE:  # over respond: events that are stored already make nothing of their own
        learned = scores(bundle, Question(f"u{row}"))
        again = respond(bundle, Question(f"u{row}", events_of(bundle, row), k=30, now=START))
        assert again.source == "history"
        assert {item.item_id: item.score for item in again.items} == pytest.approx(learned, abs=1e-4)


def test_who_brings_his_whole_history_gets_the_row_that_was_learned_from_it(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    assert bundle.manifest["event_weights"] == {"view": 0.5, "buy": 6.0, "cart": 1.0}
    for row in PEOPLE:
        brought = scores(bundle, Question("a stranger", events_of(bundle, row)))
        assert brought == pytest.approx(scores(bundle, Question(f"u{row}")), abs=1e-4)
        untyped = [event._replace(event=None) for event in events_of(bundle, row)]
        assert scores(bundle, Question("a stranger", untyped)) != pytest.approx(brought, abs=1e-2)


@pytest.mark.parametrize("duplicates", ["all", "first", "last", "sum"])
def test_stored_and_brought_events_count_as_they_would_have_in_one_log(
    tmp_path: Path, duplicates: str
) -> None:
    """The bundle learned from the first part of a log; requests bring all of it. The rules of [prepare] hold
    across."""
    rules = PrepareSettings(event_weights=WEIGHTS, duplicates=duplicates)  # type: ignore[arg-type]
    whole = log(2)
    assert whole.interactions.time is not None
    cut = int(np.quantile(whole.interactions.time, 0.6))
    early = whole.having(whole.interactions.where(whole.interactions.time < cut))
    bundle = bundle_of(prepare_data(early, rules)[0], rules, tmp_path)
    together = prepare_data(whole, rules)[0].interactions.histories()
    expected = bundle.recommender.recommend(Users.unknown(replace(together, event=None)), 30)
    events = whole.interactions.histories()
    assert events.time is not None
    assert events.event is not None
    for row in PEOPLE:
        at = events.items.positions(np.array([row]))
        sent = [
            Event(f"i{events.items.values[place]}", int(events.time[place]), NAMES[events.event[place]])
            for place in at
        ]
        by_item = scores(bundle, Question(f"u{row}", sent))
        wanted = dict(
            zip((f"i{item}" for item in expected.ids[row]), expected.scores[row].tolist(), strict=True)
        )
        assert by_item == pytest.approx(wanted, abs=1e-4)


def test_an_event_of_a_type_that_training_left_out_is_said_and_counts_as_had_alone(tmp_path: Path) -> None:
    rules = PrepareSettings(event_weights={"view": 0.0, "buy": 2.0})
    bundle = bundle_of(prepare_data(log(3), rules)[0], rules, tmp_path, seen="exclude")
    bought = Question(None, [Event("i3", START, "buy")], k=30)
    both = Question(None, [Event("i3", START, "buy"), Event("i9", START + 1, "view")], k=30)
    without = scores(bundle, bought)
    assert without.pop("i9") is not None
    assert scores(bundle, both) == without
    reply = respond(bundle, both)
    assert (reply.ignored, "history of 1 events" in reply.why) == (["i9"], True)
    viewed = respond(bundle, Question(None, [Event("i9", START, "view")], k=30))
    assert (viewed.source, viewed.ignored) == ("fallback", ["i9"])
    assert "i9" not in {item.item_id for item in viewed.items}


@pytest.mark.parametrize("seen", ["exclude", "allow", {"policy": "exclude", "events": ["buy"]}])
def test_an_item_that_was_disliked_never_comes_again_whatever_the_seen_rule(
    seen: str | dict[str, Any], tmp_path: Path
) -> None:
    """By a stored event and by one that comes with the request; what was merely viewed obeys the seen
    rule."""
    rules = PrepareSettings(event_weights={"view": 0.0, "cart": -1.0, "buy": 2.0})
    data, notes = prepare_data(log(3), rules)
    assert "still count as had" in notes[0]
    bundle = bundle_of(data, rules, tmp_path, seen=seen)
    events = log(3).interactions.histories()
    assert events.event is not None
    for row in PEOPLE:
        at = events.items.positions(np.array([row]))
        items, types = (
            (f"i{item}" for item in events.items.values[at]),
            (NAMES[code] for code in events.event[at]),
        )
        pairs = list(zip(items, types, strict=True))
        had = {name: {item for item, type_ in pairs if type_ == name} for name in NAMES}
        fresh = next(id_ for id_ in bundle.item_ids if id_ not in set().union(*had.values()))
        for asked in (Question(f"u{row}", k=30), Question(f"u{row}", [Event(fresh, START, "cart")], k=30)):
            got = {item.item_id for item in respond(bundle, asked).items}
            assert not got & had["cart"]
            for disliked in had["cart"]:
                assert explain(bundle, f"u{row}", disliked).not_because == "disliked"
            assert (fresh in got) == (not asked.history)
            assert bool(got & (had["buy"] - had["cart"])) == (seen == "allow")
            viewed = had["view"] - had["cart"] - had["buy"]
            assert (viewed <= got) == (seen != "exclude")


def test_a_type_weighs_what_its_events_weigh_where_that_is_one_number(tmp_path: Path) -> None:
    data = log(4)
    event = data.interactions.event
    assert event is not None
    weight = np.array([1, 2, 7], np.float32)[event]
    weight[np.flatnonzero(event == 1)[0]] = 3
    weighted = data.having(replace(data.interactions, weight=weight))
    assert weighted.interactions.type_weights() == {"view": 1.0, "buy": 7.0}
    assert bundle_of(weighted, PrepareSettings(), tmp_path).event_weights == {"view": 1.0, "buy": 7.0}
    assert data.interactions.type_weights() == {}


def test_a_rating_is_a_weight_without_types(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(30), np.arange(25), indexing="ij"))
    had = rng.random(750) < 0.4
    data = dataset(user[had], item[had], 30, 25, weight=rng.integers(1, 6, had.sum()))
    bundle = bundle_of(data, PrepareSettings(), tmp_path)
    assert "event_weights" not in bundle.manifest
    assert (bundle.histories.time, bundle.histories.event) == (None, None)
    for row in range(5):
        stored = Event(
            bundle.item_ids[int(bundle.histories.items.row(row)[0])], -1
        )  # times are unknown: as if stored
        again = respond(bundle, Question(f"u{row}", [stored], k=25))
        by_item = {item.item_id: item.score for item in again.items}
        assert by_item == pytest.approx(scores(bundle, Question(f"u{row}")), abs=1e-4)
        shares = explain(bundle, f"u{row}", "i3").shares
        assert sum(share.share for share in shares) == pytest.approx(by_item["i3"], abs=1e-4)


@pytest.mark.parametrize("kind", ["global_time", "later_half", "leave_last_out"])
def test_a_holdout_brings_the_weights_of_its_histories(kind: str) -> None:
    data = log(6, own=True)
    whole = data.interactions
    assert whole.time is not None
    weight = dict(zip(whole.time.tolist(), whole.weights.tolist(), strict=True))  # a time names an event
    parts = split(data, SplitSettings(kind=kind), seed=1)  # type: ignore[arg-type]
    for holdout in (parts.validation, parts.test, parts.test.take(np.array([2, 0]))):
        users = users_of(holdout)
        assert holdout.history.time is not None
        assert users.history.weight is not None
        assert users.history.weight.tolist() == [weight[time] for time in holdout.history.time.tolist()]


def test_a_bundle_is_judged_with_the_weights_of_the_data(tmp_path: Path) -> None:
    """It knows 25 of the 30 items: what is left of each history keeps its weights, types and times."""
    whole = log(7, own=True).interactions
    some = whole.where(whole.item < 25)
    known = dataset(
        some.user,
        some.item,
        40,
        25,
        time=some.time,  # type: ignore[arg-type]
        weight=some.weight,  # type: ignore[arg-type]
        event=some.event,  # type: ignore[arg-type]
        event_names=NAMES,
    )
    bundle, asked = bundle_of(known, PrepareSettings(), tmp_path), log(7, own=True)
    histories = (
        BundleInDataIds(bundle, asked).translate(Users.unknown(asked.interactions.histories())).history
    )
    for column, expected in zip(columns_of(histories), columns_of(bundle.histories), strict=True):
        np.testing.assert_array_equal(column, expected)
    plain = replace(
        bundle, histories=replace(bundle.histories, weight=None)
    )  # one of an earlier version serves without weights, and is judged so
    assert (
        BundleInDataIds(plain, asked).translate(Users.unknown(asked.interactions.histories())).history.weight
        is None
    )


def columns_of(past: Histories) -> list[Any]:
    return [*past.items, past.time, past.weight, past.event]


def test_merging_keeps_the_columns_of_an_event_together() -> None:
    stored = Histories(
        Ragged.of([[4, 5]]), time=np.array([10, 30]), weight=np.float32([2, 3]), event=np.int8([0, 1])
    )
    brought = Histories(
        Ragged.of([[6, 5, 4]]),
        time=np.array([20, 30, 40]),
        weight=np.float32([7, 8, 9]),
        event=np.int8([1, -1, 0]),
    )
    whole = merged(stored, brought)
    rows = zip(whole.items.values, *whole.columns().values(), strict=True)
    assert [tuple(map(float, row)) for row in rows] == [
        (4, 10, 2, 0),
        (6, 20, 7, 1),
        (5, 30, 3, 1),
        (4, 40, 9, 0),
    ]
    kept = {name: merged(stored, brought, name).weight for name in ("first", "last", "sum")}
    assert {name: weight.tolist() for name, weight in kept.items() if weight is not None} == {
        "first": [2, 7, 3],
        "last": [7, 3, 9],
        "sum": [7, 3, 11],
    }


@pytest.mark.parametrize("duplicates", ["first", "last", "sum"])
def test_what_is_not_learned_from_stands_in_for_no_event_that_is(duplicates: str) -> None:
    stored = Histories(Ragged.of([[4, 4, 4]]), time=np.array([10, 20, 30]), weight=np.float32([0, 1, 0]))
    brought = Histories(Ragged.of([[4, 6]]), time=np.array([40, 50]), weight=np.float32([-1, 1]))
    weight = merged(stored, brought, duplicates).weight
    assert weight is not None
    assert weight.tolist() == [0, 1, 0, -1, 1]


def test_a_bundle_with_weights_states_them_and_asks_with_them(tmp_path: Path) -> None:
    """Its golden queries hold the weights, so that a reader that knows none refuses it and does not serve it
    skewed."""
    bundle = load(write(tmp_path, content(weighted=True)))
    assert bundle.manifest["event_weights"] == {"buy": 5.0}
    np.testing.assert_array_equal(bundle.histories.weight, content(weighted=True).histories.weight)
    golden = (bundle.path / "golden.json").read_text()
    assert '"weight": [1.0, 5.0' in golden
    known, unknown = (bundle.recommender.recommend(users, 8) for users in both(bundle))
    np.testing.assert_allclose(unknown.scores, known.scores, rtol=1e-4)


def both(bundle: Bundle) -> tuple[Users, Users]:
    return stored_users(bundle, np.arange(30), START), Users.unknown(bundle.histories)
