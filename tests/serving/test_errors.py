"""What the service refuses, and how: every refusal is a problem document with a stable code."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys.bundle.write import publish
from recsys.serving.problems import CODES
from tests.helpers.service import REPOSITORY, UNTRAINED, Answer, Running, content, publish_toy, running

MIB = 1 << 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serving")
    publish_toy(folder / "bundles")
    with running(folder / "bundles", folder / "logs" / "exposures.jsonl") as service:
        yield service


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["status"] == status
    assert answer.json["type"] == f"urn:recsys:problem:{code}"
    assert answer.json["title"]
    assert answer.json["detail"].endswith(".")
    assert len(answer.body) < 4000


def test_a_problem_names_the_field(service: Running) -> None:
    answer = service.ask("POST", "/v1/recommend:batch", {"requests": [{}, {"history": [{"item_id": 3}]}]})
    assert_refused(answer, 422, "invalid_request")
    assert answer.json["errors"][0]["field"] == "requests[1].history[0].item_id"
    for requests in ([], [{}] * 101):
        assert_refused(
            service.ask("POST", "/v1/recommend:batch", {"requests": requests}), 422, "invalid_request"
        )


def test_a_body_of_a_mebibyte_is_the_most(service: Running) -> None:
    assert service.ask("POST", "/v1/recommend", b"{" + b" " * (MIB - 2) + b"}").status == 200
    assert_refused(service.ask("POST", "/v1/recommend", b"{" + b" " * MIB + b"}"), 413, "body_too_large")
    chunks = iter([b"{", *[b" " * 65536] * 17, b"}"])
    assert_refused(service.ask("POST", "/v1/recommend", chunks), 413, "body_too_large")
    assert service.ask("POST", "/v1/recommend", iter([b'{"k"', b":1}"])).status == 200


def test_only_plain_json_is_read(service: Running) -> None:
    for headers in (
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ):
        assert_refused(service.ask("POST", "/v1/recommend", b"{}", headers), 415, "unsupported_media_type")
    assert (
        service.ask(
            "POST", "/v1/recommend", b"{}", {"content-type": 'Application/JSON; charset="UTF-8"'}
        ).status
        == 200
    )


def test_other_addresses_and_methods_are_problems(service: Running) -> None:
    for path in (
        "/nothing",
        "/page/none.js",
        "/page/..%2fapp.py",
        "/v1/recommend/",
        "/v2/recommend",
        "/v1/items//similar",
        "/%ff",
    ):
        assert_refused(service.ask("GET", path), 404, "unknown_route")
    answer = service.ask("GET", "/v1/recommend")
    assert_refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert_refused(service.similar("nobody knows"), 404, "unknown_item")
    assert_refused(service.ask("GET", "/v1/items/%ED%A0%80/similar"), 404, "unknown_item")
    assert_refused(service.similar(UNTRAINED), 404, "unknown_item")
    for k in ("0", "1001", "x", ""):
        assert_refused(service.ask("GET", f"/v1/items/007/similar?k={k}"), 422, "invalid_request")


def test_popularity_has_no_similar_items_and_the_log_survives_a_full_disk(tmp_path: Path) -> None:
    folder = publish(tmp_path, content(popular=True))
    with running(folder, Path("/dev/full")) as service:  # a bundle itself, without pointer
        assert_refused(service.similar("007"), 404, "no_similar_items")
        answers = [service.recommend() for _ in range(3)]
        assert all(answer["source"] == "history" or answer["items"] for answer in answers)
        exposures = service.ask("GET", "/v1/health/ready").json["exposures"]
        assert exposures["lost"] == 3
        assert exposures["written"] == 0
        assert "space" in exposures["error"]
        service.process.terminate()
        service.process.wait(10)
        assert service.process.stderr is not None
        assert len(re.findall("exposure log", service.process.stderr.read())) == 1


def test_too_many_requests_are_told_to_come_back(tmp_path: Path) -> None:
    publish_toy(tmp_path)
    heavy = {"requests": [{"user_id": "u1", "k": 1000, "history": [{"item_id": "007"}]}] * 100}
    with (
        running(tmp_path, tmp_path / "log", "--threads", "1", "--waiting", "0") as service,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: service.ask("POST", "/v1/recommend:batch", heavy), range(16)))
        busy = [answer for answer in answers if answer.status != 200]
        assert busy
        assert len(busy) < 16
        for answer in busy:
            assert_refused(answer, 429, "overloaded")
            assert answer.headers["retry-after"] == "1"
        assert service.ask("GET", "/v1/health/live").status == 200


def test_the_operators_page_names_every_code() -> None:
    page = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\| (\d{3}) \| `(\w+)` \|", page)) == {
        (str(s), code) for code, (s, _) in CODES.items()
    }
