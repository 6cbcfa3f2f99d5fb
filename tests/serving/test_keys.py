"""Who may pass: every route asks for its scope, keys come and go without a restart, and nothing tells a
secret."""

import json
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from fastapi.routing import APIRoute

from recsys.errors import SettingError
from recsys.keys import AUDIT, FILE, SCOPES, make_key, read_keys, revoke_key
from recsys.serving.app import create_app
from recsys.serving.routes.table import TABLE, Route, plain_path
from recsys.serving.settings import ServingSettings
from tests.helpers.command_line import answer, recsys
from tests.helpers.service import Answer, Running, publish_toy, running
from tests.serving.test_life import failure, wait_for

NAMES = {
    "{name}": "recommender",
    "{item_id}": "007",
    "{version}": "none",
    "{label}": "champion",
    "{file}": "page.js",
}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def with_keys(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Running, dict[str, str], Path]]:
    """(a service with keys, a key by scope, its folder of state)."""
    folder = tmp_path_factory.mktemp("keys")
    state = folder / "state"
    keys = {scope: make_key(state / FILE, scope, [scope])[0] for scope in SCOPES}
    publish_toy(folder / "bundles")
    options = ("--state", str(state), "--access-log", str(folder / "access.jsonl"), "--admin-port", "0")
    with running(folder / "bundles", folder / "log", *options) as service:
        yield service, keys, state


def ask_route(service: Running, route: Route, headers: dict[str, str] | None = None) -> Answer:
    path = plain_path(route.path)
    for name, value in NAMES.items():
        path = path.replace(name, value)
    return service.ask(route.method, path, {} if route.method == "POST" else None, headers)


def test_every_route_of_the_app_stands_in_the_table() -> None:
    app = create_app(Path("nothing"), ServingSettings.build({"state": "off"}, where="here"))
    served = [
        (method, route.path)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    ]
    assert len(app.routes) == len(served)  # nothing is mounted, and nothing stands beside
    assert sorted(served) == sorted((route.method, route.path) for route in TABLE)
    assert len({route.operation for route in TABLE}) == len(TABLE)
    assert {route.scope for route in TABLE} <= {*SCOPES, None}
    public = {route.path for route in TABLE if route.scope is None}
    assert all(
        "health" in path or path in ("/", "/page/{file}") or path.endswith("/ready") for path in public
    )


@pytest.mark.parametrize("route", TABLE, ids=[route.operation for route in TABLE])
def test_no_route_answers_without_its_scope(
    with_keys: tuple[Running, dict[str, str], Path], route: Route
) -> None:
    service, keys, _ = with_keys
    answers = {scope: ask_route(service, route, bearer(key)) for scope, key in keys.items()}
    for headers in (
        {},
        bearer("rk_" + "0" * 12 + "_" + "A" * 43),
        bearer(keys["read"][:-1]),
        bearer(""),
        {"Authorization": "Basic eA=="},
    ):
        answers[str(headers)] = ask_route(service, route, headers)
    for shown, reply in answers.items():
        if route.scope is None or shown == route.scope:
            assert reply.status not in (401, 403), (shown, reply.body)
        elif shown in SCOPES:
            assert (reply.status, reply.json["code"]) == (403, "missing_scope")
            assert f'scope="{route.scope}"' in reply.headers["www-authenticate"]
        else:
            assert (reply.status, reply.json["code"]) == (401, "unauthorized")
            assert reply.headers["www-authenticate"].startswith("Bearer")


def test_the_hot_routes_ask_for_a_key_on_both_ways(
    with_keys: tuple[Running, dict[str, str], Path],
) -> None:
    service, keys, _ = with_keys
    for path in ("/v1/recommend", "/v1/recommend:batch", "/v1/recommend?x=1"):
        for body in (b"{}", iter([b"{", b"}"])):
            assert service.ask("POST", path, body).status == 401
            assert service.ask("POST", path, {}, bearer(keys["write"])).status == 403
    assert service.ask("POST", "/v1/recommend?key=" + keys["read"], {}).status == 401
    assert service.ask("POST", "/v1/recommend", iter([b"{", b"}"]), bearer(keys["read"])).status == 200


def test_the_admin_port_asks_for_keys_too(with_keys: tuple[Running, dict[str, str], Path]) -> None:
    service, keys, _ = with_keys

    def status(path: str, headers: dict[str, str]) -> int:
        try:
            with urlopen(Request(f"{service.admin}{path}", headers=headers), timeout=10) as response:
                return int(response.status)
        except HTTPError as error:
            return error.code

    assert [status("/metrics", headers) for headers in ({}, bearer("rk_x"), bearer(keys["admin"]))] == [
        401,
        401,
        403,
    ]
    assert [status("/debug", headers) for headers in ({}, bearer(keys["read"]))] == [401, 403]
    assert status("/metrics", bearer(keys["read"])) == 200
    assert status("/debug", bearer(keys["admin"])) == 200
    assert status("/etc/passwd", bearer(keys["admin"])) == 404


def test_a_key_is_rotated_without_a_restart(with_keys: tuple[Running, dict[str, str], Path]) -> None:
    service, _, state = with_keys
    old, known = make_key(state / FILE, "shop", ["read"])
    wait_for(lambda: service.ask("GET", "/v1/model", headers=bearer(old)).status == 200)
    new, _ = make_key(state / FILE, "shop", ["read"])
    wait_for(lambda: service.ask("GET", "/v1/model", headers=bearer(new)).status == 200)
    assert service.ask("GET", "/v1/model", headers=bearer(old)).status == 200
    revoke_key(state / FILE, known.id)
    wait_for(lambda: service.ask("GET", "/v1/model", headers=bearer(old)).status == 401)
    assert service.ask("GET", "/v1/model", headers=bearer(new)).status == 200
    whole = (state / FILE).read_bytes()
    for broken in (b"", b"{", whole.replace(b'"format": 1', b'"format": 2')):
        (state / FILE).write_bytes(broken)
        time.sleep(0.8)
        assert service.ask("GET", "/v1/model", headers=bearer(new)).status == 200
        assert service.ask("GET", "/v1/model").status == 401
    (state / FILE).unlink()
    time.sleep(0.8)
    assert service.ask("GET", "/v1/model").status == 401  # never opens by itself
    (state / FILE).write_bytes(whole)


def test_the_file_holds_no_key_and_is_its_owners_alone(tmp_path: Path) -> None:
    text, key = make_key(tmp_path / FILE, "shop", ["admin", "read"], "5/second")
    stored = (tmp_path / FILE).read_text()
    assert text not in stored
    assert text.split("_", 2)[2] not in stored
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert re.fullmatch(r"rk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", text)
    ring = read_keys(tmp_path / FILE)
    assert ring is not None
    assert ring.find(text.encode()) == key
    assert (key.scopes, key.quota) == (("read", "admin"), "5/second")
    for wrong in (text[:-1], text + "A", text[:20] + "A" + text[21:], "", "rk_", text.upper()):
        assert ring.find(wrong.encode()) is None
    secret = ring.cursor_secret
    make_key(tmp_path / FILE, "other", ["read"])
    after = read_keys(tmp_path / FILE)
    assert after is not None
    assert after.cursor_secret == secret
    assert not list(tmp_path.glob("*.partial"))


def test_whoever_could_read_the_file_still_can(tmp_path: Path) -> None:
    make_key(tmp_path / FILE, "shop", ["read"])
    os.chmod(tmp_path / FILE, 0o640)
    make_key(tmp_path / FILE, "shop", ["read"])
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "scopes", "quota", "said"),
    [
        ("", ["read"], None, "1 to 60 printable"),
        ("a\nb", ["read"], None, "1 to 60 printable"),
        ("shop", ["raed"], None, "read"),
        ("shop", [], None, "read, write, admin"),
        ("shop", ["read"], "fast", "100/second"),
        ("shop", ["read"], "0/second", "100/second"),
    ],
)
def test_what_makes_no_key_is_a_sentence(
    tmp_path: Path, name: str, scopes: list[str], quota: Any, said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        make_key(tmp_path / FILE, name, scopes, quota)
    assert not (tmp_path / FILE).exists()


@pytest.mark.slow
def test_keys_by_the_command_line(tmp_path: Path) -> None:
    made = recsys(
        tmp_path, "keys", "make", "shop", "--scope", "read", "--scope", "admin", "--quota", "9/minute"
    )
    key = made.stdout.strip()
    assert key.startswith("rk_")
    listed = answer(recsys(tmp_path, "keys", "list", "--json"))["keys"]
    assert [(one["name"], one["scopes"], one["quota"], one["revoked"]) for one in listed] == [
        ("shop", ["read", "admin"], "9/minute", None)
    ]
    assert key not in recsys(tmp_path, "keys", "list").stdout
    refused = recsys(tmp_path, "keys", "revoke", "c0ffee", rc=2).stderr
    assert "holds no key 'c0ffee'" in refused
    recsys(tmp_path, "keys", "revoke", listed[0]["id"])
    assert answer(recsys(tmp_path, "keys", "list", "--json"))["keys"][0]["revoked"]
    told = [json.loads(line) for line in (tmp_path / "mlruns/state" / AUDIT).read_text().splitlines()]
    assert [one["operation"] for one in told] == ["make_key", "revoke_key"]
    assert key not in (tmp_path / "mlruns/state" / AUDIT).read_text()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_a_host_that_others_reach_asks_for_keys_first(tmp_path: Path, host: str) -> None:
    root = tmp_path / "bundles"
    publish_toy(root)
    state = tmp_path / "state"
    for given in (str(state), "off"):
        said = failure(str(root), "--port", "0", "--exposures", "off", "--host", host, "--state", given)
        assert f"setting 'host': {host} is open to other machines" in said
        assert "recsys keys make NAME" in said
    _, key = make_key(state / FILE, "shop", ["read"])
    revoke_key(state / FILE, key.id)
    assert "is open to other machines" in failure(
        str(root),
        "--port",
        "0",
        "--exposures",
        "off",
        "--host",
        host,
        "--state",
        str(state),
        "--workers",
        "2",
    )


def test_a_host_that_others_reach_serves_with_a_key(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    key, _ = make_key(tmp_path / "state" / FILE, "shop", ["read"])
    with running(
        tmp_path / "bundles", Path("off"), "--host", "0.0.0.0", "--state", str(tmp_path / "state")
    ) as service:
        assert service.ask("POST", "/v1/recommend", {}).status == 401
        assert service.ask("POST", "/v1/recommend", {}, bearer(key)).status == 200


def test_a_quota_counts_by_key_and_says_so(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    path = tmp_path / "state" / FILE
    (few, _), (many, _) = make_key(path, "few", ["read"], "5/hour"), make_key(path, "many", ["read"])
    with running(
        tmp_path / "bundles", Path("off"), "--state", str(tmp_path / "state"), "--admin-port", "0"
    ) as service:
        answers = [service.ask("POST", "/v1/recommend", {}, bearer(few)) for _ in range(7)]
        assert [one.status for one in answers] == [200] * 5 + [429] * 2
        assert [one.headers["ratelimit"].split(";")[1] for one in answers] == [
            "r=4",
            "r=3",
            "r=2",
            "r=1",
            "r=0",
            "r=0",
            "r=0",
        ]
        assert answers[0].headers["ratelimit-policy"] == '"key";q=5;w=3600'
        assert answers[-1].json["code"] == "rate_limited"
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 3603
        other = service.ask("POST", "/v1/recommend", {}, bearer(many))
        assert (other.status, "ratelimit" in other.headers) == (200, False)
        with urlopen(Request(f"{service.admin}/metrics", headers=bearer(many)), timeout=10) as response:
            assert 'recsys_shed_requests_total{reason="rate_limited"} 2.0' in response.read().decode()


def test_secrets_and_people_stand_in_no_log_no_metric_and_no_error(tmp_path: Path) -> None:
    person, unit = "anna.secret@example.org", "device-4711-secret"
    publish_toy(tmp_path / "bundles")
    key, known = make_key(tmp_path / "state" / FILE, "shop", ["read", "write", "admin"])
    options = (
        "--state",
        str(tmp_path / "state"),
        "--access-log",
        str(tmp_path / "access"),
        "--admin-port",
        "0",
    )
    with running(tmp_path / "bundles", Path("off"), *options, "--watch-s", "0.2") as service:
        who = {"user_id": person, "unit_id": unit}
        errors = b""
        for body in (
            who,
            {**who, "k": 0},
            {**who, "user_id": person * 100},
            {**who, "unit_id": [person]},
            {**who, "history": [{"thing": person}]},
            {**who, "history": person},
            {"requests": [who]},
            {**who, "cursor": "AAAA"},
            {**who, "experiment": "x", "arm": "y"},
            {**who, "domain": "opera"},
        ):
            for path in ("/v1/recommend", "/v1/recommend:batch"):
                reply = service.ask("POST", path, body, bearer(key))
                errors += reply.body if reply.status >= 400 else b""
        event = {"event_id": person, "kind": "outcome", "event": "click", "item_id": "007", **who}
        told: tuple[tuple[str, Any], ...] = (
            ("/v1/events", [event, {**event, "kind": person}, person]),
            ("/v1/events", [{**event, "event_id": "2", "placement": person, "request_id": unit}]),
            ("/v1/identities", {"from": unit, "to": person}),
            ("/v1/identities", {"from": [unit], "to": person}),
        )
        for path, body in told:
            errors += service.ask("POST", path, body, bearer(key)).body
        assert b"rejected" in errors
        errors += service.ask(
            "GET", f"/v1/experiments/{person}/assignment?unit_id={unit}", headers=bearer(key)
        ).body
        time.sleep(2.5)  # until what was told is counted
        assert service.ask("DELETE", f"/v1/users/{person}", headers=bearer(key)).status == 200
        for path in (
            f"/v1/items/{person}/similar",
            f"/{person}",
            f"/v1/model?{person}=1",
            f"/v1/users/{person}?key={key}",
        ):
            service.ask("GET", path, headers=bearer(key))
            service.ask("GET", path, headers={"Authorization": f"Bearer {key}x", "x-request-id": "given"})
        with urlopen(Request(f"{service.admin}/metrics", headers=bearer(key)), timeout=10) as response:
            metrics = response.read()
        with urlopen(Request(f"{service.admin}/debug", headers=bearer(key)), timeout=10) as response:
            debug = response.read()
        service.process.terminate()
        _, stderr = service.process.communicate(timeout=15)
    access = (tmp_path / "access").read_bytes()
    assert access.count(b"\n") >= 28
    for place in (errors, metrics, debug, stderr.encode(), access, (tmp_path / "state" / AUDIT).read_bytes()):
        for secret in (person, unit, key, key.split("_", 2)[2]):
            assert secret.encode() not in place, (secret, place[:300])
    lines = [json.loads(line) for line in access.splitlines()]
    named = {"/v1/recommend", "/v1/items/{item_id}/similar", "unknown", "/v1/events", "/v1/identities"}
    assert {line["route"] for line in lines} >= named | {
        "/v1/users/{user_id}",
        "/v1/experiments/{name}/assignment",
    }
    assert b'placement="_other"' in metrics
    assert {line["key"] for line in lines} == {known.id, None}
    assert any(line["request_id"] == "given" for line in lines)


def test_a_fault_tells_the_log_where_and_nobody_who(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from recsys.serving.lists import lists as code
    from tests.helpers.service_inside import in_process

    person = "anna.secret@example.org"

    def fails(*_: object) -> None:
        raise KeyError(person)

    monkeypatch.setattr(code, "answer", fails)
    publish_toy(tmp_path)
    settings = ServingSettings.build({"state": "off", "exposures": "off"}, where="here")
    with in_process(create_app(tmp_path, settings)) as ask:
        wait_for(lambda: ask("GET", "/v1/health/ready")[0] == 200)
        status, text = ask("POST", "/v1/recommend", json.dumps({"user_id": person}))
    assert (status, json.loads(text)["code"]) == (500, "internal_error")
    assert "anna" not in text
    assert "KeyError" in caplog.text
    assert "in fails" in caplog.text
    assert "anna" not in caplog.text
