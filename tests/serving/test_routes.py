"""The service as a client sees it: a real process, real HTTP, every route, every refusal."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from tests.helpers.service import DIM, ITEMS, ODD_IDS, UNTRAINED, Running, content, publish_toy, running

MIB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serving")
    publish_toy(folder / "bundles")
    with running(folder / "bundles", folder / "logs" / "exposures.jsonl") as service:
        yield service


def ids(answer: Any) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def test_a_known_user_is_answered_from_the_learned_vector(service: Running) -> None:
    answer = service.recommend(user_id="u1", k=5)
    toy = content()
    scores = toy.embeddings.encoder.table[1] @ toy.embeddings.items.T  # type: ignore[attr-defined]
    scores[toy.histories.items.row(1)] = -np.inf
    scores[-1] = -np.inf
    assert ids(answer) == [ITEMS[item] for item in np.argsort(-scores)[:5]]
    assert answer["source"] == "known"
    assert "u1" in answer["why"]
    assert answer["bundle_id"] == service.bundle_id
    assert all(item["reason"] and item["because"] in ITEMS for item in answer["items"] if item["because"])


@pytest.mark.parametrize("reasons", [0, 2, 20])
def test_so_many_items_get_a_reason_as_are_asked_for(service: Running, reasons: int) -> None:
    items = service.recommend(history=[{"item_id": "i30"}, {"item_id": "i12"}], k=20, reasons=reasons)[
        "items"
    ]
    told = [item["reason"] is not None for item in items]
    assert sum(told[:reasons]) >= reasons / 2
    assert not any(told[reasons:])
    assert all(
        set(item) == {"item_id", "score", "title", "reason", "reason_code", "because", "like"}
        for item in items
    )


def test_a_newcomer_is_answered_from_his_history(service: Running) -> None:
    answer = service.recommend(
        history=[{"item_id": "i30"}, {"item_id": "a/b", "timestamp": 5, "event": "click"}]
    )
    assert answer["source"] == "history"
    assert len(answer["items"]) == 10
    assert not {"i30", "a/b"} & set(ids(answer))
    assert {item["because"] for item in answer["items"]} <= {"i30", "a/b", None}


def test_a_stranger_gets_what_is_popular(service: Running) -> None:
    for body in (
        {},
        {"user_id": "never seen"},
        {"history": [{"item_id": "nobody knows"}]},
        {"user_id": None},
    ):
        answer = service.recommend(**body)
        assert answer["source"] == "fallback"
        assert len(answer["items"]) == 10
        assert all(item["reason"].startswith("popular now") for item in answer["items"])
    assert service.recommend(history=[{"item_id": "nobody knows"}])["ignored"] == ["nobody knows"]


def test_new_events_of_a_known_user_change_the_answer(service: Running) -> None:
    before = service.recommend(user_id="u2", k=20)
    after = service.recommend(user_id="u2", k=20, history=[{"item_id": ids(before)[0]}])
    assert after["source"] == "history"
    assert "a history of 7 events" in after["why"]
    assert ids(before)[0] not in ids(after)
    assert ids(after) != ids(before)[1:]


def test_deny_allow_and_domain_are_kept(service: Running) -> None:
    for person in ({"user_id": "u3"}, {}):
        best = ids(service.recommend(**person))
        assert not set(best[:3]) & set(ids(service.recommend(**person, deny=best[:3])))
        assert set(ids(service.recommend(**person, allow=[*best[:3], "unheard of"]))) == set(best[:3])
        assert ids(service.recommend(**person, allow=[])) == []
        films = ids(service.recommend(**person, domain="film", k=50))
        assert films
        assert all(ITEMS.index(item) % 2 == 0 for item in films)


def test_exactly_k_and_never_an_untrained_item(service: Running) -> None:
    for k in (1, 7, 53):
        assert len(service.recommend(user_id="u4", k=k)["items"]) == k
    everything = ids(service.recommend(user_id="u4", k=1000))
    assert len(everything) == len(ITEMS) - 6 - 1
    assert UNTRAINED not in everything


def test_a_batch_answers_each_as_alone(service: Running) -> None:
    requests: list[Any] = [{"user_id": "u5", "k": 3}, {}, {"history": [{"item_id": "007"}], "domain": "book"}]
    answer = service.ask("POST", "/v1/recommend:batch", {"requests": requests})
    assert answer.status == 200
    for one, request in zip(answer.json["answers"], requests, strict=True):
        assert {**one, "request_id": 0} == {**service.recommend(**request), "request_id": 0}


def test_a_batch_is_refused_as_a_whole(service: Running) -> None:
    before = len(service.lines())
    answer = service.ask("POST", "/v1/recommend:batch", {"requests": [{}, {"domain": "opera"}]})
    assert (answer.status, answer.json["code"]) == (422, "unknown_domain")
    assert answer.json["detail"].startswith("requests[1]: ")
    assert len(service.lines()) == before


def test_each_answer_has_its_line_in_the_exposure_log(service: Running) -> None:
    alone = service.recommend(user_id="u6", k=4)
    batch = service.ask("POST", "/v1/recommend:batch", {"requests": [{"k": 2}, {"user_id": "日本 \n"}]}).json[
        "answers"
    ]
    lines = service.lines()[-3:]
    for line, answer, user in zip(lines, [alone, *batch], ["u6", None, "日本 \n"], strict=True):
        assert line["items"] == ids(answer)
        assert line["scores"] == [item["score"] for item in answer["items"]]
        assert line["user_id"] == user
        assert all(line[key] == answer[key] for key in ("request_id", "bundle_id", "source"))
        assert line["schema"] == 2
        assert line["time_ms"] > 1e12
        assert line["experiment"] is line["arm"] is line["propensity"] is None
        assert UUID(line["request_id"]).version == 7
        assert int(line["request_id"].replace("-", "")[:12], 16) == line["time_ms"]
    assert [line["seq"] for line in service.lines()] == [*range(1, len(service.lines()) + 1)]


def test_the_line_holds_the_question_as_it_was_asked(service: Running) -> None:
    asked: dict[str, Any] = {
        "user_id": "u7",
        "k": 3,
        "domain": "film",
        "deny": ["i12"],
        "allow": ["i14", "i16", "a/b", "?q#f"],
        "history": [{"item_id": "i30"}, {"item_id": "ü é", "timestamp": 7, "event": "click"}],
        "features": {"age": 3},
    }
    service.recommend(**asked)
    line = service.lines()[-1]
    told = {name: asked[name] for name in ("k", "domain", "deny", "allow", "history", "features")}
    assert line["question"] == {**told, "filter": None}
    assert line["user_id"] == "u7"
    assert line["now_s"] <= line["time_ms"] / 1e3  # asked before it was answered
    assert line["ms"] > 0


def test_a_shadow_request_leaves_no_line(service: Running) -> None:
    before = len(service.lines())
    answer = service.ask("POST", "/v1/recommend", {"user_id": "u1"}, {"X-Recsys-Shadow": "1"})
    batch = service.ask("POST", "/v1/recommend:batch", {"requests": [{}]}, {"X-Recsys-Shadow": "1"})
    assert (answer.status, batch.status) == (200, 200)
    assert ids(answer.json)
    assert len(service.lines()) == before


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BODIES = [
    b'{"user_id": "u1"}',
    b'{"user_id": "u1", "k": 0}',
    b'{"user_id": "a:b", "k": 2}',
    b'{"k": 1, "k": 2}',
    b'{"history": [{"item_id": "i3", "item_id": "i4"}]}',
    b'{"\\u006b": 1, "k": 2}',
    b'{"k": 1e400}',
    b'{"k": NaN}',
    b'{"user_id": "\\ud800"}',
    b'{"user_id": "\xff"}',
    b'{"features": {"age": 123456789012345678901234567890}}',
    b"[" * 100_000,
    b'{"features": ' + b'{"a":' * 600 + b"1" + b"}" * 601,
    b"[1]",
    b"",
    b'{"domain": "opera"}',
]


@pytest.mark.parametrize("body", BODIES, ids=[body[:30].decode(errors="replace") for body in BODIES])
def test_the_short_way_and_the_long_way_answer_alike(service: Running, body: bytes) -> None:
    """What comes whole is answered without the app; chunks go through it."""
    traced = {"x-request-id": "one.of-mine", "traceparent": TRACE}
    short, long = (
        service.ask("POST", "/v1/recommend", sent, traced) for sent in (body, iter([body[:5], body[5:]]))
    )
    told = [re.sub(rb'"request_id":"[^"]*"', b"", answer.body) for answer in (short, long)]
    assert (short.status, told[0]) == (long.status, told[1])
    varying = dict.fromkeys(("date", "content-length", "server-timing"), "")
    assert {**short.headers, **varying} == {**long.headers, **varying}
    assert (short.headers["x-request-id"], short.headers["traceparent"]) == ("one.of-mine", TRACE)


def test_similar_items_by_cosine_for_any_id(service: Running) -> None:
    vectors = content().embeddings.items[:-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for item in ODD_IDS:
        answer = service.similar(item, 3)
        assert answer.status == 200, answer.body
        order = np.argsort(-(unit @ unit[ITEMS.index(item)]))[1:4]
        assert ids(answer.json) == [ITEMS[other] for other in order]
        assert answer.json["item_id"] == item
    assert service.ask("GET", "/v1/items/a/b/similar?k=3").json == service.similar("a/b", 3).json


def test_model_and_health(service: Running) -> None:
    model = service.ask("GET", "/v1/model").json
    assert (model["bundle_id"], model["kind"], model["dim"]) == (service.bundle_id, "solve", DIM)
    assert model["counts"] == {"items": 60, "items_with_vector": 59, "users": 40, "events": 240}
    assert model["domains"] == ["book", "film"]
    assert model["lineage"] == {"seed": 1}
    assert model["seen"] == "exclude"
    assert model["swap"]["state"] == "serving"
    assert model["swap"]["error"] is None
    assert service.ask("GET", "/v1/health/live").json == {"status": "live"}
    ready = service.ask("GET", "/v1/health/ready").json
    assert ready["status"] == "ready"
    assert ready["exposures"]["lost"] == 0
    assert ready["exposures"]["written"] == len(service.lines())
