"""What is served, by role and version, and its change over HTTP: arms, activation with an etag, the way
back."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys.bundle.root import assign, deployment_of
from recsys.bundle.write import write
from recsys.keys import AUDIT, FILE, make_key
from tests.helpers.service import Answer, Running, content, publish_toy, running
from tests.serving.test_life import wait_for

MODEL = "/v1/models/recommender"


class Keyed:
    """A folder with two bundles, a service of two workers, and a key for all."""

    def __init__(self, folder: Path) -> None:
        self.root, self.state = folder / "bundles", folder / "state"
        self.first = publish_toy(self.root)
        self.second = write(self.root, content(2)).name
        key, self.key = make_key(self.state / FILE, "platform", ["read", "admin"])
        self.headers = {"Authorization": f"Bearer {key}"}
        self.service: Running

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        return self.service.ask(method, path, body, {**self.headers, **headers})

    def activate(self, bundle_id: str, **headers: str) -> Answer:
        return self.ask("POST", f"{MODEL}:activate", {"bundle_id": bundle_id}, **headers)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Keyed]:
    made = Keyed(tmp_path)
    options = ("--state", str(made.state), "--workers", "2", "--idle-check-s", "0")
    with running(made.root, tmp_path / "log", *options) as made.service:
        yield made


@pytest.mark.slow
def test_activation_answers_202_until_all_workers_serve_and_200_then(shop: Keyed) -> None:
    tag = shop.ask("GET", MODEL).headers["etag"]
    changed = shop.activate(shop.second, **{"If-Match": tag})
    assert changed.status == 202
    assert changed.json["bundle_id"] == shop.second
    assert changed.json["workers"] == 2
    assert changed.headers["etag"] != tag
    wait_for(lambda: shop.activate(shop.second).status == 200)
    assert shop.activate(shop.second).json["reported"] == 2
    assert {shop.ask("POST", "/v1/recommend", {}).json["bundle_id"] for _ in range(12)} == {shop.second}
    stale = shop.activate(shop.first, **{"If-Match": tag})
    assert (stale.status, stale.json["code"]) == (412, "precondition_failed")
    assert deployment_of(shop.root)[1].champion == shop.second
    back = shop.ask("POST", f"{MODEL}:rollback", {}, **{"If-Match": changed.headers["etag"]})
    assert (back.status, back.json["bundle_id"]) == (202, shop.first)
    wait_for(lambda: shop.activate(shop.first).status == 200)
    told = [json.loads(line) for line in (shop.state / AUDIT).read_text().splitlines()]
    done = [
        (one["operation"], one["bundle_id"], one["key"], one["outcome"]) for one in told if "outcome" in one
    ]
    assert done == [
        ("activate_bundle", shop.second, shop.key.id, "asked"),
        ("activate_bundle", shop.second, shop.key.id, "done"),
        ("roll_back_bundle", shop.first, shop.key.id, "asked"),
        ("roll_back_bundle", shop.first, shop.key.id, "done"),
    ]


@pytest.mark.slow
def test_what_cannot_be_activated_changes_nothing(shop: Keyed, tmp_path: Path) -> None:
    outside = write(tmp_path / "elsewhere", content(3))
    (shop.root / "linked").symlink_to(outside)
    damaged = shop.root / shop.second / "fallback.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x07")
    for bundle_id, status, code in (
        ("none", 404, "unknown_bundle"),
        ("..", 422, "invalid_request"),
        ("../elsewhere/" + outside.name, 422, "invalid_request"),
        ("a\x00b", 422, "invalid_request"),
        ("linked", 409, "bundle_refused"),
        (shop.second, 409, "bundle_refused"),
    ):
        refused = shop.activate(bundle_id)
        assert (refused.status, refused.json["code"]) == (status, code), refused.body
        assert str(tmp_path) not in refused.body.decode()
    empty = shop.ask("POST", f"{MODEL}:rollback", {})
    assert (empty.status, empty.json["code"]) == (409, "bundle_refused")
    assert str(tmp_path) not in empty.body.decode()
    assert str(shop.root) not in empty.body.decode()
    assert (
        shop.ask("POST", "/v1/models/other:activate", {"bundle_id": shop.first}).json["code"]
        == "unknown_model"
    )
    assert shop.ask("POST", "/v1/recommend", {}).json["bundle_id"] == shop.first
    assert deployment_of(shop.root)[1].champion == shop.first


@pytest.mark.slow
def test_what_cannot_be_written_down_is_not_done(shop: Keyed) -> None:
    (shop.state / AUDIT).unlink()
    (shop.state / AUDIT).mkdir()
    refused = shop.activate(shop.second)
    assert (refused.status, refused.json["code"]) == (500, "audit_failed")
    assert deployment_of(shop.root)[1].champion == shop.first


def test_without_keys_nothing_is_changed_over_http(tmp_path: Path) -> None:
    first = publish_toy(tmp_path / "bundles")
    with running(tmp_path / "bundles", Path("off")) as service:
        for verb, body in (("activate", {"bundle_id": first}), ("rollback", {})):
            refused = service.ask("POST", f"{MODEL}:{verb}", body)
            assert (refused.status, refused.json["code"]) == (403, "missing_scope")


def test_an_arm_answers_with_its_bundle_and_stands_in_the_log(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    first = publish_toy(root)
    second, third = write(root, content(2)).name, write(root, content(3)).name
    assign(root, "towers/a", first)
    assign(root, "towers/b", second)
    assign(root, "towers/c", third)
    (root / third / "fallback.npy").write_bytes(b"")
    with running(root, tmp_path / "log", "--admin-port", "0") as service:
        told = {"user_id": "u1", "experiment": "towers", "placement": "home", "unit_id": "device-1"}
        assert [service.recommend(**told, arm=arm)["bundle_id"] for arm in "ab"] == [first, second]
        line = service.lines()[-1]
        assert {name: line[name] for name in ("experiment", "arm", "placement", "unit_id", "bundle_id")} == {
            **{name: told[name] for name in ("experiment", "placement", "unit_id")},
            "arm": "b",
            "bundle_id": second,
        }
        broken = service.ask("POST", "/v1/recommend", {**told, "arm": "c"})
        assert (broken.status, broken.json["code"]) == (503, "not_ready")  # never the champion in its place
        for unknown in ({"experiment": "towers", "arm": "d"}, {"experiment": "other", "arm": "a"}):
            refused = service.ask("POST", "/v1/recommend", unknown)
            assert (refused.status, refused.json["code"]) == (422, "unknown_arm")
            assert "towers/a, towers/b, towers/c" in refused.json["detail"]
        batch = {"requests": [{**told, "arm": "a"}, {**told, "arm": "b"}]}
        both = service.ask("POST", "/v1/recommend:batch", batch).json["answers"]
        assert [one["bundle_id"] for one in both] == [first, second]
        wrong = service.ask(
            "POST", "/v1/recommend:batch", {"requests": [{}, {"experiment": "towers", "arm": "d"}]}
        )
        assert wrong.json["detail"].startswith("requests[1]: ")
        for half in ({"experiment": "towers"}, {"arm": "a"}):
            assert service.ask("POST", "/v1/recommend", half).json["code"] == "invalid_request"
        shadow = service.ask("POST", "/v1/recommend", {"user_id": "u1"}, {"X-Recsys-Shadow": second}).json
        assert shadow["bundle_id"] == second


def test_the_status_is_tensorflow_servings_and_kserves(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    first = publish_toy(root)
    second = write(root, content(2)).name
    third = write(root, content(3)).name
    assign(root, "champion", second)
    assign(root, "towers/b", third)
    os.truncate(root / third / "users.ids", 3)
    with running(root, Path("off"), "--model-name", "shop.v2") as service:
        answer = service.ask("GET", "/v1/models/shop.v2")
        states = {
            one["version"]: (one["state"], one["labels"]) for one in answer.json["model_version_status"]
        }
        assert states[second] == ("AVAILABLE", ["champion"])
        assert states[third] == ("END", ["towers/b"])
        assert states[first][1] == ["previous"]
        broken = service.ask("GET", f"/v1/models/shop.v2/versions/{third}").json["model_version_status"]
        assert len(broken) == 1
        assert broken[0]["status"]["error_code"] != "OK"
        assert "users.ids" in broken[0]["status"]["error_message"]
        assert str(tmp_path) not in broken[0]["status"]["error_message"]
        labelled = service.ask("GET", "/v1/models/shop.v2/labels/champion").json["model_version_status"]
        assert [one["version"] for one in labelled] == [second]
        assert answer.headers["etag"] == service.ask("GET", "/v1/model").headers["etag"]
        for path in ("/v1/models/other", "/v1/models/shop.v2/versions/none", "/v2/models/other/ready"):
            assert service.ask("GET", path).json["code"] == "unknown_model"
        for path, body in (
            ("/v2/health/live", {"live": True}),
            ("/v2/health/ready", {"ready": True}),
            ("/v2/models/shop.v2/ready", {"name": "shop.v2", "ready": True}),
        ):
            assert service.ask("GET", path).json == body
