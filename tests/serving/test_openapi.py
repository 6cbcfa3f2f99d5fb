"""The OpenAPI document against what the service really answers."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.service import Running, published, running
from tests.helpers.towers import COLOUR, bundled, coloured

ENCODE = "/v1/items:encode"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("serving")
    published(folder / "bundles")
    with running(folder / "bundles", folder / "logs" / "exposures.jsonl") as service:
        yield service


def test_openapi_describes_the_real_answers(service: Running) -> None:
    document = service.ask("GET", "/openapi.json").json
    batch = {"requests": [{"user_id": "u1"}]}
    calls: list[tuple[str, str, Any, str]] = [
        ("POST", "/v1/recommend", {"user_id": "u1", "history": [{"item_id": "007", "timestamp": 3}]}, ""),
        ("POST", "/v1/recommend:batch", batch, ""),
        ("GET", "/v1/items/007/similar", None, "/v1/items/{item_id}/similar"),
        *(("GET", path, None, "") for path, known in document["paths"].items() if "get" in known and "{" not in path),
    ]
    assert {"/v1/health/live", "/v1/health/ready", "/v1/model"} < {path for _, path, _, _ in calls}
    assert set(document["paths"]) - {ENCODE} == {route or path for _, path, _, route in calls}
    for method, path, body, route in calls:
        operation = document["paths"][route or path][method.lower()]
        conforms(service.ask(method, path, body).json, operation["responses"]["200"], document)
        if body is not None:
            conforms(body, operation["requestBody"], document)
        for example in examples(operation, document):
            assert service.ask(method, path, example).status == 200
    for path, body in (("/v1/recommend", b"["), ("/v1/recommend", b'{"k": 0}')):
        refusal = service.ask("POST", path, body).json
        problem = document["paths"][path]["post"]["responses"]["4XX"]["content"]["application/problem+json"]
        check(refusal, problem["schema"], document)


def test_openapi_describes_new_items(tmp_path: Path) -> None:
    bundled(tmp_path / "bundles", coloured(), epochs=2, item_features=COLOUR)
    with running(tmp_path / "bundles", tmp_path / "exposures.jsonl") as service:
        document = service.ask("GET", "/openapi.json").json
        operation = document["paths"][ENCODE]["post"]
        for body in [{"items": [{"features": {"colour": "odd"}}]}, *examples(operation, document)]:
            conforms(body, operation["requestBody"], document)
            conforms(service.ask("POST", ENCODE, body).json, operation["responses"]["200"], document)
    assert examples(operation, document)


def examples(operation: Any, document: Any) -> list[Any]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema")
    return resolved(schema, document).get("examples", []) if schema else []


def conforms(value: Any, described: Any, document: Any) -> None:
    check(value, described["content"]["application/json"]["schema"], document)


def resolved(schema: Any, document: Any) -> Any:
    return document["components"]["schemas"][schema["$ref"].split("/")[-1]] if "$ref" in schema else schema


def check(value: Any, schema: Any, document: Any) -> None:
    """As much of JSON Schema as the document uses: types, properties (none beside the described), items, choices."""
    schema = resolved(schema, document)
    if "anyOf" in schema:
        types = [resolved(choice, document)["type"] for choice in schema["anyOf"]]
        schema = schema["anyOf"][
            types.index("null") if value is None else next(i for i, t in enumerate(types) if t != "null")
        ]
        schema = resolved(schema, document)
    if "type" not in schema:
        return
    kinds = {"string": str, "integer": int, "number": float, "object": dict, "array": list, "null": type(None)}
    assert isinstance(value, kinds[schema["type"]]), (value, schema)
    if schema["type"] == "array":
        for part in value:
            check(part, schema["items"], document)
    if "properties" in schema:
        assert set(schema.get("required", [])) <= set(value) <= set(schema["properties"]), (value, schema)
        for key, part in value.items():
            check(part, schema["properties"][key], document)
    if schema["type"] == "number":
        assert math.isfinite(value)
