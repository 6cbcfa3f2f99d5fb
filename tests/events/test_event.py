"""What is wrong with an event that somebody tells, by its place and code, and when its time is believed."""

from typing import Any

import pytest

from recsys.events.event import EARLY_S, LATE_S, StoredEvent, read_events

NOW = 1_800_000_000
GOOD = {
    "event_id": "e1",
    "kind": "outcome",
    "event": "click",
    "user_id": "u1",
    "item_id": "i1",
    "timestamp": NOW - 5,
}


def read(*told: Any, trusted: bool = False) -> Any:
    return read_events(told, NOW * 1000 + 700, trusted=trusted)


def test_all_fields_are_kept_and_those_left_out_are_none() -> None:
    whole = GOOD | {
        "unit_id": "c1",
        "request_id": "r1",
        "position": 3,
        "placement": "home",
        "value": 9.5,
        "timestamp": NOW - 5.5,
    }
    reading = read(GOOD, whole)
    assert reading.events == [
        StoredEvent("e1", "outcome", "i1", "click", "u1", None, NOW - 5, None, None, None, None),
        StoredEvent("e1", "outcome", "i1", "click", "u1", "c1", NOW - 6, "r1", 3, "home", 9.5),
    ]
    assert (reading.rejected, reading.redated) == ([], 0)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"event_id": None}, "invalid_value", "event_id"),
        ({"event_id": ""}, "invalid_value", "event_id"),
        ({"item_id": "x" * 1_001}, "too_long", "item_id"),
        ({"item_id": 7}, "invalid_value", "item_id"),
        ({"item_id": "\ud800"}, "invalid_value", "item_id"),
        ({"kind": "served"}, "invalid_value", "impression"),
        ({"user_id": None}, "invalid_value", "user_id or a unit_id"),
        ({"timestamp": float("nan")}, "invalid_value", "timestamp"),
        ({"timestamp": "2026-01-01"}, "invalid_value", "timestamp"),
        ({"timestamp": True}, "invalid_value", "timestamp"),
        ({"timestamp": -1}, "invalid_value", "timestamp"),
        ({"position": 0}, "invalid_value", "position"),
        ({"position": 1.5}, "invalid_value", "position"),
        ({"value": float("inf")}, "invalid_value", "value"),
        ({"clicked": True}, "unknown_field", "clicked"),
    ],
)
def test_an_event_against_the_rules_is_named_and_the_others_are_taken(
    change: dict[str, Any], code: str, said: str
) -> None:
    reading = read(GOOD, GOOD | change, GOOD | {"event_id": "e2"})
    assert [event.event_id for event in reading.events] == ["e1", "e2"]
    (wrong,) = reading.rejected
    assert (wrong.index, wrong.code) == (1, code)
    assert said in wrong.message


@pytest.mark.parametrize("wrong", [None, 5, "click", [GOOD]])
def test_what_is_no_object_is_rejected(wrong: Any) -> None:
    assert [(one.index, one.code) for one in read(wrong).rejected] == [(0, "invalid_value")]
    missing = read({key: value for key, value in GOOD.items() if key != "item_id"})
    assert [one.code for one in missing.rejected] == ["missing_field"]


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (NOW - EARLY_S, NOW - EARLY_S),
        (NOW - EARLY_S - 1, NOW),
        (NOW + LATE_S, NOW + LATE_S),
        (NOW + LATE_S + 1, NOW),
        (NOW * 1000, NOW),  # milliseconds taken for seconds
        (0, NOW),
    ],
)
def test_a_time_far_from_its_receipt_is_that_of_its_receipt_and_counted(told: int, kept: int) -> None:
    reading = read(GOOD | {"timestamp": told})
    assert [event.timestamp for event in reading.events] == [kept]
    assert reading.redated == int(told != kept)
    trusted = read(GOOD | {"timestamp": told}, trusted=True)
    assert ([event.timestamp for event in trusted.events], trusted.redated) == ([told], 0)


def test_an_event_without_a_time_has_that_of_its_receipt() -> None:
    reading = read({key: value for key, value in GOOD.items() if key != "timestamp"})
    assert (reading.events[0].timestamp, reading.redated) == (NOW, 0)
