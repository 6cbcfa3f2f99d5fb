"""The OpenAPI document: the file in docs, what the service really answers, what breaks clients, and a client
of it."""

import copy
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from recsys.keys import FILE, make_key
from recsys.serving.problems import CODES
from tests.helpers.service import REPOSITORY, Answer, Running, publish_toy, running
from tests.helpers.towers import COLOUR, colour_checkerboard, publish_towers

COMMITTED = json.loads((REPOSITORY / "docs/openapi.json").read_text())
ENCODE = "/v1/items:encode"


def program() -> ModuleType:
    """docs/openapi.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("docs_openapi", REPOSITORY / "docs/openapi.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OPENAPI = program()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("serving")
    publish_toy(folder / "bundles")
    key, _ = make_key(folder / "state" / FILE, "everything", ["read", "write", "admin"])
    with running(folder / "bundles", folder / "log", "--state", str(folder / "state")) as service:
        yield service, {"Authorization": f"Bearer {key}"}


def test_the_committed_file_is_what_the_service_says(service: tuple[Running, dict[str, str]]) -> None:
    """A change that breaks clients fails here and cannot be written; others are: make docs."""
    said = service[0].ask("GET", "/openapi.json", headers=service[1]).json
    assert OPENAPI.breaks(COMMITTED, said) == []
    assert said == COMMITTED, "docs/openapi.json is not what the code says. Write it again: make docs"


def conforms(value: Any, schema: Any) -> None:
    jsonschema.Draft202012Validator({**schema, "components": COMMITTED["components"]}).validate(value)


def assert_as_described(answer: Answer, operation: Any) -> None:
    """Whether the status is named, and the body is as its schema says, with no field beside those
    described."""
    content = operation["responses"][str(answer.status)]["content"]
    media = answer.headers["content-type"].partition(";")[0]
    conforms(answer.json, content[media]["schema"])
    schema = content[media]["schema"]
    described = COMMITTED["components"]["schemas"][schema["$ref"].split("/")[-1]]
    assert set(answer.json) <= set(described["properties"])


def test_every_answer_is_as_described_and_every_example_is_answered(
    service: tuple[Running, dict[str, str]],
) -> None:
    names = {
        "{item_id}": "007",
        "{name}": "recommender",
        "{version}": service[0].bundle_id,
        "{label}": "champion",
    }
    statuses = set()
    for path, methods in COMMITTED["paths"].items():
        for method, operation in methods.items():
            where = path
            for name, value in names.items():
                where = where.replace(name, value)
            for body in examples(operation) if method == "post" else [None]:
                for headers in ({}, service[1]):
                    answer = service[0].ask(method.upper(), where, body, headers)
                    assert_as_described(answer, operation)
                    statuses.add(answer.status)
                    unasked = path == ENCODE or "/experiments/" in path
                    if headers and not unasked and ":activate" not in path and ":rollback" not in path:
                        assert answer.status == 200, (path, answer.body)
            if method == "post":
                for wrong in (b"[", b"[1]", b'{"no such field": 1}'):
                    assert_as_described(service[0].ask("POST", where, wrong, service[1]), operation)
    assert statuses >= {200, 401, 404}


def test_new_items_are_as_described(tmp_path: Path) -> None:
    publish_towers(tmp_path / "bundles", colour_checkerboard(), epochs=2, item_features=COLOUR)
    operation = COMMITTED["paths"][ENCODE]["post"]
    with running(tmp_path / "bundles", tmp_path / "exposures.jsonl") as service:
        for body in [{"items": [{"features": {"colour": "odd"}}]}, *examples(operation)]:
            answer = service.ask("POST", ENCODE, body)
            assert answer.status == 200
            assert_as_described(answer, operation)


def examples(operation: Any) -> list[Any]:
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    described = COMMITTED["components"]["schemas"][schema["$ref"].split("/")[-1]]
    return list(described.get("examples") or [{"requests": [{"user_id": "u1"}]}])


def test_every_operation_names_its_statuses_and_its_scope() -> None:
    ids = set()
    for path, methods in COMMITTED["paths"].items():
        for operation in methods.values():
            ids.add(operation["operationId"])
            assert operation["description"]
            statuses = set(operation["responses"])
            assert not statuses & {"default", "4XX", "5XX"}
            assert "200" in statuses
            if operation["security"]:
                assert {"401", "403", "429"} <= statuses, path
            else:
                assert "health" in path or "ready" in path
    assert len(ids) == sum(len(methods) for methods in COMMITTED["paths"].values())
    assert {"400", "401", "403", "408", "410", "413", "415", "422", "429", "503"} <= set(
        COMMITTED["paths"]["/v1/recommend"]["post"]["responses"]
    )
    told = json.dumps(COMMITTED)
    everywhere = {"unknown_route", "method_not_allowed"}  # of addresses that are no operation
    assert {code for code in CODES if f"`{code}`" not in told} == everywhere


ASKED, ANSWERED = "RecommendRequest", "RecommendAnswer"


def of(document: Any, name: str) -> Any:
    return document["components"]["schemas"][name]["properties"]


BREAKING: dict[str, tuple[Callable[[Any], Any], str]] = {
    "route": (lambda d: d["paths"].pop("/v1/model"), "GET /v1/model is gone"),
    "id": (lambda d: d["paths"]["/v1/model"]["get"].update(operationId="model"), "operationId get_model"),
    "status": (lambda d: d["paths"]["/v1/recommend"]["post"]["responses"].pop("429"), "status 429 is gone"),
    "answer": (lambda d: of(d, "RecommendedItem").pop("title"), "items[].title is gone"),
    "type": (
        lambda d: of(d, "RecommendedItem")["item_id"].update(type="integer"),
        "item_id: it may be integer",
    ),
    "null": (
        lambda d: of(d, ANSWERED).update(why={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        "may be null",
    ),
    "absent": (lambda d: d["components"]["schemas"][ANSWERED]["required"].remove("why"), "why may be absent"),
    "field": (lambda d: of(d, ASKED).pop("domain"), "body.domain is gone"),
    "limit": (lambda d: of(d, ASKED)["k"].update(maximum=100), "k: maximum is 100"),
    "least": (lambda d: of(d, ASKED)["k"].update(minimum=5), "k: minimum is 5"),
    "pattern": (lambda d: of(d, ASKED)["user_id"]["anyOf"][0].update(pattern="^u"), "must match"),
    "required": (lambda d: d["components"]["schemas"][ASKED].update(required=["k"]), "body.k is required"),
    "narrowed": (lambda d: of(d, ASKED).update(user_id={"type": "string"}), "user_id: null is refused"),
    "deep": (lambda d: of(d, "HistoryEvent").pop("event"), "history[].event is gone"),
    "parameter": (lambda d: d["paths"]["/v1/stats"]["get"]["parameters"].pop(), "parameter points is gone"),
    "scope": (
        lambda d: d["paths"]["/v1/model"]["get"].update(security=[{"key": ["admin"]}]),
        "another scope",
    ),
}


@pytest.mark.parametrize("what", BREAKING)
def test_a_change_that_breaks_clients_is_found(what: str) -> None:
    changed = copy.deepcopy(COMMITTED)
    change, said = BREAKING[what]
    change(changed)
    assert any(said in line for line in OPENAPI.breaks(COMMITTED, changed)), OPENAPI.breaks(
        COMMITTED, changed
    )


def test_what_is_added_breaks_nobody() -> None:
    changed = copy.deepcopy(COMMITTED)
    of(changed, ASKED)["filter"] = {"anyOf": [{"type": "object"}, {"type": "null"}]}
    of(changed, ANSWERED)["more"] = {"type": "string"}
    changed["components"]["schemas"][ANSWERED]["required"].append("more")
    of(changed, ASKED)["k"]["maximum"] = 5_000
    changed["paths"]["/v1/later"] = changed["paths"]["/v1/recommend"]
    changed["paths"]["/v1/model"]["get"]["responses"]["304"] = {"description": "", "content": {}}
    assert OPENAPI.breaks(COMMITTED, changed) == []
    assert OPENAPI.breaks(COMMITTED, COMMITTED) == []


@pytest.mark.slow
def test_a_generated_client_asks_the_service(service: tuple[Running, dict[str, str]], tmp_path: Path) -> None:
    pytest.importorskip("openapi_python_client", reason="the extra `contract` is not installed")
    (tmp_path / "config.yaml").write_text(
        "post_hooks: []\nproject_name_override: made\npackage_name_override: made\n"
    )
    generate = [
        sys.executable,
        "-m",
        "openapi_python_client",
        "generate",
        "--path",
        str(REPOSITORY / "docs/openapi.json"),
    ]
    options = [
        "--meta",
        "none",
        "--output-path",
        str(tmp_path / "made"),
        "--config",
        str(tmp_path / "config.yaml"),
    ]
    done = subprocess.run([*generate, *options], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    asks = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from made import AuthenticatedClient
from made.api.default import get_model, recommend, similar_items
from made.models import HistoryEvent, RecommendRequest
client = AuthenticatedClient({service[0].url!r}, {service[1]["Authorization"].removeprefix("Bearer ")!r})
question = RecommendRequest(user_id="u1", k=3, history=[HistoryEvent("007")])
answer = recommend.sync(client=client, body=question)
assert len(answer.items) == 3, answer
assert answer.items[0].item_id and answer.source == "history", answer
assert len(similar_items.sync("a/b", client=client, k=4).items) == 4
assert get_model.sync(client=client).bundle_id == {service[0].bundle_id!r}
refused = recommend.sync(client=client, body=RecommendRequest(k=0))
assert refused.code == "invalid_request" and refused.status == 422, refused
print("asked")
"""
    done = subprocess.run([sys.executable, "-c", asks], capture_output=True, text=True, timeout=120)
    assert done.stdout == "asked\n", done.stderr
