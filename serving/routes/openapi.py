"""The OpenAPI 3.1 document: what the table and the models say, with each status by name, examples and
links."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recsys import __version__
from recsys.serving import problems, schemas
from recsys.serving.routes.table import EVERY, EVERYWHERE, TABLE, Route, plain_path

_REFERENCE = "#/components/schemas/{model}"
_PROBLEM = {"$ref": _REFERENCE.format(model=schemas.ProblemDocument.__name__)}
_HEADERS = {
    "X-Request-Id": {
        "description": "the request's own, where it was a plain token, else made",
        "schema": {"type": "string"},
    },
}
_TIMEOUT = "X-Request-Timeout-Ms"
_TOLD = (
    ("X-Request-Id", "a plain token that the answer and the log repeat"),
    ("traceparent", "of W3C's trace context; the answer and the log repeat it"),
    (_TIMEOUT, "milliseconds that its caller waits"),
)
MODEL = "recommender"  # by default
_FIRST, _LIST = "$response.body#/items/0/item_id", "$response.body#/request_id"
# operation -> link -> (operation that it leads to, parameters, the body or its members)
_LINKS: Mapping[str, Mapping[str, tuple[str, Mapping[str, str], Any]]] = {
    "recommend": {
        "SimilarToTheBest": ("similar_items", {"item_id": _FIRST}, {}),
        "NextPage": ("recommend", {}, {"cursor": "$response.body#/cursor"}),
        "ItsBundle": ("get_version_status", {"name": MODEL, "version": "$response.body#/bundle_id"}, {}),
        "WhatFollowed": (
            "tell_events",
            {},
            [
                {
                    "event_id": _LIST,
                    "kind": "outcome",
                    "event": "click",
                    "user_id": "$request.body#/user_id",
                    "item_id": _FIRST,
                    "request_id": _LIST,
                }
            ],
        ),
    },
    "tell_events": {"WithThem": ("recommend", {}, {"min_state_seq": "$response.body#/state_seq"})},
    "get_assignment": {
        "ItsList": (
            "recommend",
            {},
            {
                "experiment": "$response.body#/experiment",
                "arm": "$response.body#/arm",
                "unit_id": "$response.body#/unit_id",
            },
        ),
    },
    "similar_items": {"SimilarToThat": ("similar_items", {"item_id": _FIRST}, {})},
    "get_model": {
        "ItsState": ("get_version_status", {"name": MODEL, "version": "$response.body#/bundle_id"}, {}),
        "ActivateIt": ("activate_bundle", {"name": MODEL}, {"bundle_id": "$response.body#/bundle_id"}),
    },
    "get_live": {"ItsModel": ("get_model_status", {"name": MODEL}, {})},
    "get_ready": {
        "ItsModel": ("get_model_ready_v2", {"name": MODEL}, {}),
        "AList": ("recommend", {}, {}),
        "AnEvent": ("tell_events", {}, {}),
    },
    "activate_bundle": {"BackAgain": ("roll_back_bundle", {"name": MODEL}, {})},
    "get_model_status": {
        "OneVersion": (
            "get_version_status",
            {"name": MODEL, "version": "$response.body#/model_version_status/0/version"},
            {},
        ),
        "OneLabel": (
            "get_label_status",
            {"name": MODEL, "label": "$response.body#/model_version_status/0/labels/0"},
            {},
        ),
    },
}


def describe(app: FastAPI, root_path: str) -> dict[str, Any]:
    """The OpenAPI document of an app with the routes of the table."""
    document = get_openapi(
        title="recsys",
        version=__version__,
        openapi_version="3.1.0",
        description="Recommendations and similar items from one bundle. Every refusal is a problem "
        "document, whose `code` is stable. Fields are only ever added.",
        routes=app.routes,
    )
    if root_path:
        document["servers"] = [{"url": root_path}]
    asked: list[type[BaseModel]] = [route.asked for route in TABLE if route.asked is not None]
    answered = [route.answer for route in TABLE if route.answer is not None]
    asked.append(schemas.ProblemDocument)
    described: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = []
    described += [(model, "validation") for model in dict.fromkeys(asked)]
    described += [(model, "serialization") for model in dict.fromkeys(answered)]
    _, models = models_json_schema(described, ref_template=_REFERENCE)
    document["components"] = {
        "schemas": dict(sorted(models["$defs"].items())),
        "securitySchemes": {
            "key": {"type": "http", "scheme": "bearer", "description": "made by `recsys keys make`"}
        },
    }
    for route in TABLE:
        if route.listed:
            _complete(document["paths"][plain_path(route.path)][route.method.lower()], route)
    return document


def _complete(operation: dict[str, Any], route: Route) -> None:
    operation["operationId"] = route.operation
    operation["security"] = [] if route.scope is None else [{"key": [route.scope]}]
    if route.scope is not None:
        operation["x-scope"] = route.scope
    if route.asked is not None:
        schema = {"schema": {"$ref": _REFERENCE.format(model=route.asked.__name__)}}
        operation["requestBody"] = {"required": True, "content": {"application/json": schema}}
        if route.scope != "write":  # what is told is answered when it is on the disk, however long that takes
            operation.setdefault("parameters", []).extend(_headers(route))
    assert route.answer is not None
    answer = {"application/json": {"schema": {"$ref": _REFERENCE.format(model=route.answer.__name__)}}}
    done: dict[str, Any] = {"description": "Done", "headers": _HEADERS, "content": answer}
    if route.operation in _LINKS:
        done["links"] = {name: _link(*link) for name, link in _LINKS[route.operation].items()}
    responses = {"200": done}
    if route.changes:
        responses["202"] = {**done, "description": "Changed; not all workers report yet. Ask again."}
    by_status: dict[int, list[str]] = {}
    for code in (*route.codes, *_also(route), *(EVERYWHERE if route.scope else ()), *EVERY):
        by_status.setdefault(problems.CODES[code][0], []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = {
            "description": "; ".join(f"`{code}`: {problems.CODES[code][1]}" for code in dict.fromkeys(codes)),
            "headers": _HEADERS,
            "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM}},
        }
    operation["responses"] = responses


def _headers(route: Route) -> list[dict[str, Any]]:
    """The headers of a request that a route looks at."""
    told = [*_TOLD, *([("If-Match", "the etag that the deployment must have")] if route.changes else [])]
    milliseconds = {"type": "integer", "minimum": 0, "maximum": 999_999_999, "examples": [500]}
    return [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": text,
            "schema": milliseconds if name == _TIMEOUT else {"type": "string"},
        }
        for name, text in told
        if name != _TIMEOUT or not route.changes
    ]


def _also(route: Route) -> tuple[str, ...]:
    """Codes of a route beside those in the table: those with the same status as one there, and 422 for its
    query parameters."""
    codes = ["invalid_request"]
    if route.operation.startswith("recommend"):
        codes += ["unknown_domain", "unknown_arm", "invalid_cursor"]
    if route.operation == "similar_items":
        codes += ["no_similar_items", "unknown_domain"]
    if route.operation == "activate_bundle":
        codes += ["unknown_bundle"]
    if route.asked is not None:
        codes += ["duplicate_key", "too_deep", "invalid_text"]
    if route.changes:
        codes += ["audit_failed"]
    if route.operation.startswith("get_ready") or route.operation == "get_model_ready_v2":
        codes += ["draining"]
    return tuple(codes)


def _link(operation: str, parameters: Mapping[str, str], body: Any) -> dict[str, Any]:
    link: dict[str, Any] = {"operationId": operation}
    if parameters:
        link["parameters"] = dict(parameters)
    if body:
        link["requestBody"] = body
    return link
