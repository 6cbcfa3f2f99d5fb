"""What people do after an answer: acknowledged, in their history of every worker, and gone where they ask for
it."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from recsys.answers.exposure import question_of
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.events.event import read_events
from recsys.events.store import EventStore
from recsys.pipelines.cli import main
from tests.helpers.service import ITEMS, Answer, Running, publish_toy, running
from tests.serving.test_life import wait_for

NOW = 1_700_000_000
USER = "u3"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    publish_toy(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(root: Path) -> Bundle:
    return load(current(root))


@pytest.fixture(scope="module")
def service(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("life")
    with running(
        root, folder / "lists.jsonl", "--state", str(folder / "state"), "--workers", "2", "--admin-port", "0"
    ) as started:
        yield started


def outcome(event_id: str, item: str, user: str | None = USER, **more: Any) -> dict[str, Any]:
    who = {} if user is None else {"user_id": user}
    return {"event_id": event_id, "kind": "outcome", "event": "click", "item_id": item, **who, **more}


def tell(service: Running, *events: Any) -> dict[str, Any]:
    told = service.ask("POST", "/v1/events", list(events))
    assert told.status == 200, told.body
    answer: dict[str, Any] = told.json
    return answer


def counts(service: Running) -> dict[str, float]:
    """Events by what became of them, over all workers."""
    assert service.admin is not None
    with urlopen(f"{service.admin}/metrics") as answer:
        lines = re.findall(r'recsys_events_total\{result="(\w+)"\} (\S+)', answer.read().decode())
    return {name: float(value) for name, value in lines}


def unseen(bundle: Bundle, user: str, count: int) -> list[str]:
    """Ids of items that somebody has not had."""
    had = set(bundle.item_ids.take(bundle.histories.row(bundle.user_ids.index(user)).items.values))
    return [item for item in ITEMS[10:-1] if item not in had][:count]


def test_an_event_is_in_the_history_of_the_next_request_of_every_worker(
    service: Running, bundle: Bundle
) -> None:
    first, second, shown = unseen(bundle, USER, 3)
    before = service.recommend(user_id=USER, k=50)
    assert {first, second} <= {item["item_id"] for item in before["items"]}
    told = tell(
        service,
        outcome("a1", first),
        outcome("a2", second),
        outcome("a1", first),
        outcome("a3", shown, kind="impression"),
    )
    assert (told["accepted"], told["duplicates"], told["rejected"], told["redated"]) == (3, 1, [], 0)
    for _ in range(12):  # two workers answer in turn
        after = service.recommend(user_id=USER, k=50)
        items = {item["item_id"] for item in after["items"]}
        assert not {first, second} & items
        assert shown in items  # only what somebody did is had
        assert after["state_seq"] >= told["state_seq"]
        assert "those told since among them" in after["why"]


def test_a_list_can_be_made_again_from_its_line_though_events_went_in(
    service: Running, bundle: Bundle
) -> None:
    (item,) = unseen(bundle, "u5", 1)
    tell(service, outcome("b1", item, "u5"))
    answer = service.recommend(user_id="u5", k=20, history=[{"item_id": ITEMS[30], "timestamp": NOW}])
    line = next(one for one in service.lines() if one["request_id"] == answer["request_id"])
    assert line["state_seq"] == answer["state_seq"] > 0
    assert [event["item_id"] for event in line["question"]["history"]] == [item, ITEMS[30]]
    again = respond(bundle, question_of(line, reasons=10))
    assert [one.item_id for one in again.items] == [one["item_id"] for one in answer["items"]]
    assert [one.score for one in again.items] == pytest.approx(
        [one["score"] for one in answer["items"]], rel=1e-6
    )


def test_a_request_waits_for_the_state_that_it_names(service: Running, bundle: Bundle) -> None:
    item, later = unseen(bundle, "u6", 2)
    seq = tell(service, outcome("c1", item, "u6"))["state_seq"]
    assert service.recommend(user_id="u6", min_state_seq=seq)["state_seq"] >= seq
    answers: list[Answer] = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            service.ask("POST", "/v1/recommend", {"user_id": "u6", "k": 50, "min_state_seq": seq + 1})
        )
    )
    waiting.start()
    tell(service, outcome("c2", later, "u6"))
    waiting.join(60)
    assert answers[0].status == 200
    assert later not in {one["item_id"] for one in answers[0].json["items"]}
    behind = service.ask("POST", "/v1/recommend", {"user_id": "u6", "min_state_seq": seq + 1_000_000})
    assert (behind.status, behind.json["code"]) == (503, "state_behind")
    assert behind.headers["retry-after"] == "1"


def test_who_waits_for_the_state_holds_nobody_up(root: Path, tmp_path: Path) -> None:
    with running(
        root, tmp_path / "log", "--state", str(tmp_path / "state"), "--deadline-ms", "60000"
    ) as service:
        for _ in range(30):  # lists of a small bundle are made in the loop
            service.recommend(user_id=USER)
        connection = service.connection()
        connection.request(
            "POST", "/v1/recommend", b'{"min_state_seq": 7}', {"content-type": "application/json"}
        )
        assert service.ask("GET", "/v1/health/live").status == 200
        service.recommend(user_id=USER)
        tell(service, *[outcome(f"a{number}", "i20") for number in range(7)])  # long before its deadline
        assert connection.getresponse().status == 200
        connection.close()


def test_a_cookie_becomes_a_customer(service: Running, bundle: Bundle) -> None:
    first, second = unseen(bundle, "u7", 2)
    tell(service, outcome("d1", first, "cookie"))
    assert first in {one["item_id"] for one in service.recommend(user_id="u7", k=50)["items"]}
    assert service.ask("POST", "/v1/identities", {"from": "cookie", "to": "u7"}).json == {"accepted": 1}
    assert first not in {one["item_id"] for one in service.recommend(user_id="u7", k=50)["items"]}
    tell(service, outcome("d2", second, "u7"))
    stranger = service.recommend(user_id="cookie", k=50)
    assert stranger["source"] == "history"
    assert not {first, second} & {one["item_id"] for one in stranger["items"]}


def test_without_a_profile_nobody_is_known_and_nothing_is_kept(service: Running) -> None:
    answer = service.recommend(user_id="u8", unit_id="c8", profile=False, history=[{"item_id": ITEMS[30]}])
    assert answer["source"] == "fallback"
    line = next(one for one in service.lines() if one["request_id"] == answer["request_id"])
    assert (line["user_id"], line["unit_id"], line["question"]["history"]) == (None, None, None)


def test_lines_are_taken_one_by_one_and_what_is_wrong_is_named(service: Running) -> None:
    lines = [
        json.dumps(outcome("e1", "i20")),
        "",
        '{"event_id": ',
        json.dumps(outcome("e2", "i20", None)),
        "5",
    ]
    told = service.ask(
        "POST", "/v1/events", "\n".join(lines).encode(), {"content-type": "application/x-ndjson"}
    )
    assert told.status == 200, told.body
    assert told.json["accepted"] == 1
    assert [(one["index"], one["code"]) for one in told.json["rejected"]] == [
        (1, "invalid_value"),
        (2, "invalid_value"),
        (3, "invalid_value"),
    ]
    assert "user_id or a unit_id" in told.json["rejected"][1]["message"]
    for body, status, code in (
        ({"event_id": "x"}, 422, "invalid_request"),
        ([outcome(f"f{number}", "i20") for number in range(501)], 422, "invalid_request"),
        (b"[", 400, "invalid_json"),
        (b"[" + b" " * (1 << 20) + b"]", 413, "body_too_large"),
    ):
        refused = service.ask("POST", "/v1/events", body)
        assert (refused.status, refused.json["code"]) == (status, code)
    before = counts(service)
    future = tell(service, outcome("g1", "i20", timestamp=4_000_000_000), outcome("g1", "i20"), 5, 6, 7)
    assert (future["accepted"], future["redated"]) == (1, 1)
    after = counts(service)
    gained = {name: after[name] - before[name] for name in after}
    assert gained == {"accepted": 1, "duplicate": 1, "rejected": 3, "redated": 1}


def test_a_person_of_thousands_of_events_is_answered(service: Running, bundle: Bundle) -> None:
    for part in range(4):
        tell(service, *[outcome(f"h{part}-{number}", ITEMS[10 + number % 40], "u9") for number in range(500)])
    answer = service.recommend(user_id="u9", k=50)
    assert not {ITEMS[10 + number] for number in range(40)} & {one["item_id"] for one in answer["items"]}


def test_who_is_forgotten_is_a_stranger_and_others_are_answered_as_before(root: Path, tmp_path: Path) -> None:
    from recsys.keys import make_key

    state = tmp_path / "state"
    secret, _ = make_key(state / "keys.json", "operator", ["read", "write", "admin"])
    head = {"authorization": f"Bearer {secret}"}
    with running(root, tmp_path / "lists.jsonl", "--state", str(state)) as service:

        def ask(method: str, path: str, body: Any = None) -> Any:
            answer = service.ask(method, path, body, head)
            assert answer.status == 200, answer.body
            return answer.json

        ask("POST", "/v1/events", [outcome("a1", "i20", "u1"), outcome("a2", "i21", "u2")])
        others = ask("POST", "/v1/recommend", {"user_id": "u2"})["items"]
        assert ask("POST", "/v1/recommend", {"user_id": "u1"})["source"] != "fallback"
        assert ask("DELETE", "/v1/users/u1")["deleted"] == {"events": 1, "exposures": 0, "identities": 0}
        gone = ask("POST", "/v1/recommend", {"user_id": "u1"})
        assert gone["source"] == "fallback"
        assert ask("POST", "/v1/recommend", {"user_id": "u2"})["items"] == others
        ask(
            "POST", "/v1/events", [outcome("a3", "i22", "u1")]
        )  # who comes again is known by what they do from now on
        again = ask("POST", "/v1/recommend", {"user_id": "u1", "k": 50})
        assert again["source"] == "history"
        assert "i22" not in {one["item_id"] for one in again["items"]}
    assert [told.event_id for _, _, told in EventStore(state).events()] == ["a2", "a3"]


def test_lists_go_into_the_store_and_are_traced_and_replayed_from_there(
    root: Path, tmp_path: Path, bundle: Bundle
) -> None:
    state = tmp_path / "state"
    with running(root, Path("store"), "--state", str(state)) as service:
        tell(service, outcome("a1", "i20", "u1"))
        answers = [service.recommend(user_id=f"u{number}", k=7) for number in range(12)]
        service.recommend(user_id="u1", profile=False)
        service.ask("POST", "/v1/recommend", {"user_id": "u1"}, {"x-recsys-shadow": ""})
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    store = EventStore(state)
    assert len(list(store.exposures())) == 13
    assert store.find_shown("u3", answers[3]["items"][4]["item_id"], 0, 1 << 60) == (
        answers[3]["request_id"],
        5,
    )
    log = f"events:{state}"
    traced = CliRunner().invoke(
        main, ["trace", answers[1]["request_id"], "--log", log, "--bundles", str(root), "--json"]
    )
    assert traced.exit_code == 0, traced.output
    assert json.loads(traced.output)["line"]["items"] == [one["item_id"] for one in answers[1]["items"]]
    again = CliRunner().invoke(main, ["replay", log, "--bundle", str(root), "--json"])
    assert again.exit_code == 0, again.output
    assert json.loads(again.output.splitlines()[-1])["overlap"] == 1.0
    missing = CliRunner().invoke(main, ["trace", "none", "--log", log, "--bundles", str(root)])
    assert "the event store has no list of request 'none'" in missing.output
    store.forget("u3", 1)
    assert store.exposure(answers[3]["request_id"]) is None
    assert len(list(store.exposures())) == 12


def test_without_state_nothing_can_be_told(root: Path, tmp_path: Path) -> None:
    with running(root, tmp_path / "lists.jsonl") as service:
        refused = service.ask("POST", "/v1/events", [outcome("a1", "i20")])
        assert (refused.status, refused.json["code"]) == (404, "no_event_store")
        assert service.recommend(user_id=USER)["state_seq"] is None
        asked = service.ask("POST", "/v1/recommend", {"user_id": USER, "min_state_seq": 1})
        assert (asked.status, asked.json["code"]) == (404, "no_event_store")


def test_what_follows_is_counted_old_events_go_and_ids_are_hashed(
    root: Path, tmp_path: Path, bundle: Bundle
) -> None:
    state, person = tmp_path / "state", "customer-qwertzuiopasdfgh"
    old = EventStore(state, hashed_ids=True)
    old.append([read_events([outcome("old", "i20", person)], 1_000).events], 1_000)
    old.close()
    options = (
        "--state",
        str(state),
        "--admin-port",
        "0",
        "--hashed-ids",
        "true",
        "--keep-days",
        "1",
        "--watch-s",
        "0.1",
    )
    with running(root, Path("store"), *options) as service:
        first = service.recommend(user_id=person, k=5, placement="home", unit_id="cookie-yxcvbnmlkjhgfdsa")
        shown = {"request_id": first["request_id"], "position": 1}
        item = first["items"][0]["item_id"]
        tell(
            service,
            outcome("a1", item, person, **shown),
            outcome("a2", item, person, kind="impression", **shown),
        )
        tell(service, outcome("a3", "i30", person))
        after = service.recommend(user_id=person, k=50)
        assert after["source"] == "history"
        assert not {item, "i30"} & {one["item_id"] for one in after["items"]}

        def read_watch() -> dict[tuple[str, str], list[int]]:
            rows = service.ask("GET", "/v1/stats").json["watched"]["rows"]
            return {(row[1], row[2]): row[3:] for row in rows}

        wait_for(lambda: read_watch() == {("home", ""): [1, 1, 1, 1, 1], ("", ""): [1, 0, 1, 0, 0]})
        assert service.admin is not None

        def metrics() -> str:
            with urlopen(f"{service.admin}/metrics") as answer:
                return str(answer.read().decode())

        counted = 'recsys_followed_total{arm="",joined="true",kind="outcome",placement="home"} 1.0'
        wait_for(lambda: counted in metrics())  # the file of the counts is written first
        wait_for(lambda: 'recsys_events_pruned_total{what="events"} 1.0' in metrics())
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    store = EventStore(state)
    assert [told.event_id for _, _, told in store.events()] == ["a1", "a2", "a3"]
    for path in state.rglob("*"):
        assert person.encode() not in (path.read_bytes() if path.is_file() else b"")
    assert store.forget(person, 1)["exposures"] == 2
