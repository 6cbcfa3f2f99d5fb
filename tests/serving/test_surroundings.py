"""The service among what people put around it: proxies, browsers, probes, logs that go elsewhere."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recsys.bundle.write import publish
from tests.helpers.service import ITEMS, Running, content, publish_toy, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Below a path, for pages of one origin, without an exposure log, from a bundle with paths in its
    lineage."""
    folder = tmp_path_factory.mktemp("serving")
    settings = {
        "data": "/home/somebody/shop/events.csv",
        "warm": None,
        "columns": {"items": ["/data/extra.csv"]},
    }
    publish(folder / "bundles", replace(content(), lineage={"data": "events.csv", "settings": settings}))
    options = ("--root-path", "/shop", "--cors", "https://a.example, https://b.example")
    with running(folder / "bundles", Path("off"), *options) as service:
        yield service


@pytest.mark.parametrize(
    "path", ["/v1/health/live", "/v1/health/ready", "/v1/model", "/v1/items/007/similar", "/docs"]
)
def test_head_is_get_without_a_body(service: Running, path: str) -> None:
    named = {"x-request-id": "mine"}
    got, head = service.ask("GET", path, headers=named), service.ask("HEAD", path, headers=named)
    assert (got.status, head.status, head.body) == (200, 200, b"")
    assert {**got.headers, "date": ""} == {**head.headers, "date": ""}
    assert int(head.headers["content-length"]) == len(got.body)


def test_a_route_that_takes_head_says_so(service: Running) -> None:
    assert service.ask("POST", "/v1/model", {}).headers["allow"] == "GET, HEAD"
    refused = service.ask("HEAD", "/v1/recommend")
    assert (refused.status, refused.headers["allow"], refused.body) == (405, "POST", b"")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/items/007/similar?k=3&domian=film"),
        ("GET", "/v1/model?domian=film"),
        ("POST", "/v1/recommend?domian=film"),
    ],
)
def test_an_unknown_query_parameter_is_refused_as_an_unknown_field_is(
    service: Running, method: str, path: str
) -> None:
    answer = service.ask(method, path, {} if method == "POST" else None)
    field = service.ask("POST", "/v1/recommend", {"domian": "film"})
    assert answer.status == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json == field.json


def test_similar_items_stay_within_a_domain(service: Running) -> None:
    every = service.similar("007", 1000).json["items"]
    inside = service.ask("GET", "/v1/items/007/similar?k=1000&domain=film").json["items"]
    films = {id_ for number, id_ in enumerate(ITEMS) if number % 2 == 0}
    assert inside == [item for item in every if item["item_id"] in films]
    assert 0 < len(inside) < len(every)
    assert service.ask("GET", "/v1/items/007/similar?domain=none").json["code"] == "unknown_domain"


def test_pages_of_the_named_origins_may_ask(service: Running) -> None:
    preflight = {
        "origin": "https://b.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    allowed = service.ask("OPTIONS", "/v1/recommend", headers=preflight)
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == "https://b.example"
    asked = service.ask("POST", "/v1/recommend", {"k": 0}, {"origin": "https://a.example"})
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (422, "https://a.example")
    stranger = service.ask("POST", "/v1/recommend", {}, {"origin": "https://c.example"})
    assert "access-control-allow-origin" not in stranger.headers


def test_a_proxy_may_keep_the_path_below_which_it_shows_the_service_or_cut_it(service: Running) -> None:
    for path in ("/v1/items/007/similar", "/openapi.json", "/docs"):
        kept, cut = service.ask("GET", "/shop" + path), service.ask("GET", path)
        assert (kept.status, kept.body) == (200, cut.body)
    assert service.ask("GET", "/openapi.json").json["servers"] == [{"url": "/shop"}]


def test_the_page_needs_nothing_from_elsewhere(service: Running) -> None:
    text = service.ask("GET", "/docs").body.decode()
    document = service.ask("GET", "/openapi.json").json
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    assert 'href="/shop/openapi.json"' in text
    for path in document["paths"]:
        assert path in text
    for name, schema in document["components"]["schemas"].items():
        assert f'id="{name}"' in text
        assert all(f"<code>{field}</code>" in text for field in schema.get("properties", {}))


def test_the_model_does_not_tell_where_the_training_machine_keeps_its_data(service: Running) -> None:
    answer = service.ask("GET", "/v1/model")
    assert answer.json["lineage"]["settings"] == {
        "data": "events.csv",
        "warm": None,
        "columns": {"items": ["extra.csv"]},
    }
    assert b"/home" not in answer.body


def test_without_an_exposure_log_lists_are_served_and_none_is_written(service: Running) -> None:
    assert len(service.recommend(user_id="u1", k=3)["items"]) == 3
    assert service.ask("GET", "/v1/health/ready").json["exposures"] == {
        "written": 0,
        "lost": 0,
        "error": None,
    }
    assert not Path("off").exists()


def test_exposures_go_to_standard_output(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    with running(tmp_path / "bundles", Path("-")) as service:
        answers = [service.recommend(user_id="u1", k=3), service.recommend(k=2)]
        service.process.terminate()
        out, err = service.process.communicate(timeout=10)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["request_id"] for line in lines] == [answer["request_id"] for answer in answers]
    assert "exposure log" not in err
    assert service.process.returncode == 0


@pytest.mark.parametrize(
    ("option", "value"), [("--cors", "example.com"), ("--root-path", "shop"), ("--root-path", "/")]
)
def test_a_setting_that_cannot_work_is_refused_by_name(tmp_path: Path, option: str, value: str) -> None:
    publish_toy(tmp_path / "bundles")
    refused = pytest.raises(AssertionError, match=option.strip("-").replace("-", "_"))
    with refused, running(tmp_path / "bundles", Path("off"), option, value):
        pass
