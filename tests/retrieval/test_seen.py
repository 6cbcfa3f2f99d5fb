"""The seen policy: when what a user had may come again, by time, event type and domain, offline and served
alike."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.arrays import Ragged
from recsys.bundle import bundle
from recsys.bundle.content import Content
from recsys.bundle.write import publish
from recsys.encoders.users import Users
from recsys.errors import ModelError, SettingError
from recsys.history import Histories
from recsys.retrieval.recommender import recommender_of
from recsys.retrieval.seen import SeenSettings, seen_policy
from tests.helpers.bundles import START, content
from tests.helpers.seen import DAY, NAMES, STATED, make_content

NOW = 1_700_000_000
N_ITEMS = 30
DOMAINS = {
    "films": np.arange(0, 30, 3, dtype=np.int32),
    "books": np.arange(1, 30, 3, dtype=np.int32),
}  # a third: none


def users(seed: int, n: int = 25) -> Users:
    """People with events of the last 40 days, some of unknown type, one in the future, and one without
    any."""
    rng = np.random.default_rng(seed)
    lengths = np.r_[0, rng.integers(1, 20, n - 1)]
    history = Ragged.of([rng.integers(N_ITEMS, size=length) for length in lengths])
    time = NOW - rng.integers(-DAY, 40 * DAY, len(history.values))
    event = rng.integers(-1, 3, len(history.values)).astype(np.int8)
    now = NOW + rng.integers(0, DAY, n)
    return Users.unknown(Histories(history, time=time, event=event), now)


def slowly(stated: Any, people: Users) -> list[list[int]]:
    """Event by event, from the plain words of the settings."""

    def keeps_out(rule: dict, age: int) -> bool:
        policy = rule.get("policy", "exclude")
        return policy == "exclude" or (policy == "cooldown_days" and age < rule["days"] * DAY)

    def as_rule(given: Any) -> dict:
        return {"policy": given} if isinstance(given, str) else given

    def of_type(rule: dict, name: str, age: int) -> bool:
        events = rule.get("events", ())
        if isinstance(events, dict):
            return keeps_out(as_rule(events.get(name, rule)), age)
        return (not events or name in events) and keeps_out(rule, age)

    general = as_rule(stated)
    forbidden: list[list[int]] = []
    for row in range(len(people)):
        forbidden.append([])
        start = people.history.items.offsets[row]
        for at, item in enumerate(people.history.items.row(row)):
            domain = next((name for name, items in DOMAINS.items() if item in items), None)
            rule = as_rule(general.get("domains", {}).get(domain, general))
            age = int(people.now[row] - people.history.time[start + at])
            code = people.history.event[start + at]
            types = NAMES if code < 0 else [NAMES[code]]  # of unknown type: as bad as the worst
            if any(of_type(rule, name, age) for name in types):
                forbidden[-1].append(int(item))
    return forbidden


POLICIES: list[Any] = [
    {"policy": "cooldown_days", "days": 10},
    {"policy": "cooldown_days", "days": 0.5},
    {"policy": "exclude", "events": ["buy"]},
    {"policy": "cooldown_days", "days": 7, "events": ["buy", "rate"]},
    {"policy": "allow", "events": {"buy": "exclude", "view": {"policy": "cooldown_days", "days": 3}}},
    {"policy": "exclude", "domains": {"films": "allow", "books": {"policy": "cooldown_days", "days": 20}}},
    {"policy": "allow", "domains": {"books": {"policy": "exclude", "events": ["rate"]}}},
    {
        "policy": "cooldown_days",
        "days": 5,
        "domains": {"films": {"policy": "exclude", "events": {"view": "allow"}}},
    },
]


@pytest.mark.parametrize("stated", POLICIES, ids=json.dumps)
def test_forbidden_items_are_those_of_a_slow_reading_of_the_settings(stated: dict) -> None:
    policy = seen_policy(stated, N_ITEMS, NAMES, DOMAINS)
    people = users(1)
    assert not isinstance(policy, str)
    forbidden = policy.forbidden_items(people)
    assert [forbidden.row(row).tolist() for row in range(len(people))] == slowly(stated, people)
    assert 0 < len(forbidden.values) < len(people.history.items.values)


@pytest.mark.parametrize("word", ["exclude", "allow"])
def test_a_word_is_a_policy_and_stays_a_word(word: str) -> None:
    assert seen_policy(word, N_ITEMS) == seen_policy({"policy": word}, N_ITEMS) == word
    assert SeenSettings.of(word).stated == word


@pytest.mark.parametrize("stated", POLICIES, ids=json.dumps)
def test_what_is_stated_reads_back(stated: dict) -> None:
    settings = SeenSettings.of(stated)
    assert SeenSettings.of(json.loads(json.dumps(settings.stated))) == settings


def test_a_cooldown_ends_to_the_second() -> None:
    policy = seen_policy({"policy": "cooldown_days", "days": 2}, N_ITEMS)
    assert not isinstance(policy, str)
    for age, kept_out in ((2 * DAY - 1, [4]), (2 * DAY, [])):
        one = Users.unknown(Histories(Ragged.of([[4]]), time=np.array([NOW - age])), np.array([NOW]))
        assert policy.forbidden_items(one).values.tolist() == kept_out


def test_an_item_had_twice_is_kept_out_by_the_later_time() -> None:
    policy = seen_policy({"policy": "cooldown_days", "days": 2}, N_ITEMS)
    assert not isinstance(policy, str)
    time = np.array([NOW - 9 * DAY, NOW - DAY])
    one = Users.unknown(Histories(Ragged.of([[4, 4]]), time=time), np.array([NOW]))
    assert policy.forbidden_items(one).values.tolist() == [4]


def test_wrong_policies_are_refused_in_a_sentence() -> None:
    for stated, sentence in (
        ("never", "must be 'exclude', 'allow' or 'cooldown_days', got 'never'"),
        ({"policy": "cooldown_days"}, "days goes with policy = 'cooldown_days'"),
        ({"policy": "exclude", "days": 3}, "days goes with policy = 'cooldown_days'"),
        ({"policy": "cooldown_days", "days": 0}, "greater than 0"),
        ({"polcy": "allow"}, "did you mean 'policy'"),
    ):
        with pytest.raises(SettingError, match=sentence):
            SeenSettings.of(stated)
    with pytest.raises(SettingError, match=r"seen.events names 'purchase'.*theirs are: view, buy, rate"):
        seen_policy({"events": ["purchase"]}, N_ITEMS, NAMES)
    with pytest.raises(SettingError, match=r"seen.events names 'buy'.*theirs are: none"):
        seen_policy({"events": {"buy": "allow"}}, N_ITEMS)
    with pytest.raises(SettingError, match=r"seen.domains names 'music'.*theirs are: books, films"):
        seen_policy({"domains": {"music": "allow"}}, N_ITEMS, domains=DOMAINS)


def test_days_need_times_and_a_moment() -> None:
    policy = seen_policy({"policy": "cooldown_days", "days": 2}, N_ITEMS)
    assert not isinstance(policy, str)
    with pytest.raises(ModelError, match="needs `now`"):
        policy.forbidden_items(replace(users(1), now=None))
    with pytest.raises(ModelError, match="needs the times of the history"):
        policy.forbidden_items(Users.unknown(replace(users(1).history, time=None), users(1).now))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> bundle.Bundle:
    return bundle.load(publish(tmp_path_factory.mktemp("root"), make_content(STATED)))


def test_a_bundle_keeps_policy_events_and_names(shop: bundle.Bundle) -> None:
    assert shop.manifest["seen"] == SeenSettings.of(STATED).stated
    assert shop.event_names == NAMES
    np.testing.assert_array_equal(shop.histories.event, make_content(STATED).histories.event)
    golden = json.loads((shop.path / "golden.json").read_text())
    assert {"time", "event", "now"} <= set(golden[0])


def test_a_bundle_of_data_without_event_types_has_neither_file_nor_names(tmp_path: Any) -> None:
    plain = bundle.load(publish(tmp_path, content()))
    assert plain.histories.event is None
    assert plain.event_names == ()
    assert "event_names" not in plain.manifest
    assert not (plain.path / "histories.event.npy").exists()


def counts_at_the_end(whole: Content) -> np.ndarray:
    """int (30,): how many items are left to each user when all cooldowns are over."""
    books = whole.catalogue.domains["books"]
    events = zip(
        whole.histories.items.row_of_value(), whole.histories.items.values, whole.histories.event, strict=True
    )  # type: ignore[arg-type]
    bought = {(user, item) for user, item, code in events if NAMES[code] == "buy" and item in books}
    return 39 - np.bincount([user for user, _ in bought], minlength=30)


@pytest.mark.parametrize("hours", [0, 5, 20, 24.5, 26.5, 28.1, 40])
def test_the_service_keeps_out_what_evaluation_keeps_out(shop: bundle.Bundle, hours: float) -> None:
    whole = make_content(STATED)
    now = START + int(hours * 3600)
    everyone = Users.of_rows(np.arange(30), whole.histories, np.full(30, now))
    offline = recommender_of(
        whole.embeddings, whole.fallback, STATED, event_names=NAMES, domains=whole.catalogue.domains
    ).recommend(everyone, 40)
    for user in range(30):
        reply = respond(shop, Question(f"u{user}", k=40, now=now))
        served = [item.item_id for item in reply.items]
        assert served == [f"i{item}" for item in offline.ids[user] if item >= 0]
    counts = (offline.ids >= 0).sum(axis=1)
    assert (offline.ids != 39).all()  # never trained
    last = counts_at_the_end(whole)
    assert (counts <= last).all()
    assert (counts == last).all() == (
        hours >= 29
    )  # a day after the last event only bought books are kept out


def test_an_event_of_the_request_counts_by_its_type_and_time(shop: bundle.Bundle) -> None:
    now = START + 100 * DAY

    def keeps_out(item: str, **event: Any) -> bool:
        reply = respond(shop, Question(None, [Event(item, **event)], k=40, now=now))
        return item not in [one.item_id for one in reply.items]

    film, book = "i6", "i7"
    assert keeps_out(film, timestamp=now - 60, event="view")
    assert not keeps_out(film, timestamp=now - 60, event="rate")
    assert not keeps_out(film, timestamp=now - 2 * DAY, event="buy")
    assert keeps_out(film)  # just now, of unknown type
    assert keeps_out(film, event="no such type")
    assert not keeps_out(book, event="view")
    assert keeps_out(book, timestamp=now - 200 * DAY, event="buy")  # for books a purchase is for ever


def test_the_clock_is_now_where_nothing_else_is_said(shop: bundle.Bundle) -> None:
    reply = respond(
        shop, Question("u4", k=40)
    )  # the stored events are years old: only bought books stay away
    books = {f"i{item}" for item in shop.catalogue.domains["books"]}
    kept_out = {f"i{item}" for item in range(39)} - {item.item_id for item in reply.items}
    start = shop.histories.items.offsets[4]
    codes = shop.histories.event[start : start + 6]  # type: ignore[index]
    bought = {f"i{item}" for item, code in zip(shop.histories.items.row(4), codes, strict=True) if code == 1}
    assert kept_out == bought & books


def test_a_stored_event_sent_again_counts_once_also_without_its_type(shop: bundle.Bundle) -> None:
    stored = shop.histories.items.row(4)
    time = shop.histories.time[shop.histories.items.offsets[4]]  # type: ignore[index]
    again = [Event(f"i{stored[0]}", int(time)), Event(f"i{stored[0]}", int(time), "no such type")]
    brought, plain = (respond(shop, Question("u4", events, k=40, now=START)) for events in (again, []))
    assert "6 events" in brought.why
    assert [item.item_id for item in brought.items] == [item.item_id for item in plain.items]
