"""Every route of the service, with the scope that it asks for. What does not stand here is not served."""

import re
from typing import NamedTuple

from pydantic import BaseModel

from recsys.serving import schemas
from recsys.serving.routes import documents
from recsys.serving.routes import event_documents as told


class Route(NamedTuple):
    """A route, and what OpenAPI says of it.

    operation: its stable id, and the name of what answers it. scope: of the key that it asks for; None =
    nobody's.
    codes: of the problems that it may answer with, beside those that every route may. answer, asked: None
    where they are no JSON. changes: whether it changes what is served. listed: whether OpenAPI lists it.
    """

    method: str
    path: str
    operation: str
    scope: str | None
    answer: type[BaseModel] | None = None
    asked: type[BaseModel] | None = None
    codes: tuple[str, ...] = ()
    changes: bool = False
    listed: bool = True


_BODY = ("invalid_json", "body_timeout", "body_too_large", "unsupported_media_type")
_ANSWER = (*_BODY, "overloaded", "not_ready", "invalid_request")
_RECOMMEND = (*_ANSWER, "cursor_expired", "no_event_store", "state_behind")
_STATE = ("no_event_store", "event_store_failed")
_MODEL = "/v1/models/{name:name}"

TABLE = (
    Route(
        "POST",
        "/v1/recommend",
        "recommend",
        "read",
        schemas.RecommendAnswer,
        schemas.RecommendRequest,
        _RECOMMEND,
    ),
    Route(
        "POST",
        "/v1/recommend:batch",
        "recommend_batch",
        "read",
        schemas.BatchAnswer,
        schemas.BatchRequest,
        _RECOMMEND,
    ),
    Route(
        "GET",
        "/v1/items/{item_id:anyid}/similar",
        "similar_items",
        "read",
        schemas.SimilarAnswer,
        None,
        ("unknown_item", "invalid_request", "overloaded", "not_ready"),
    ),
    Route(
        "POST",
        "/v1/items:encode",
        "encode_items",
        "read",
        schemas.EncodeAnswer,
        schemas.EncodeRequest,
        (*_ANSWER, "no_item_encoder"),
    ),
    Route(
        "POST",
        "/v1/events",
        "tell_events",
        "write",
        told.EventsAnswer,
        told.EventsRequest,
        (*_BODY, *_STATE, "event_queue_full", "invalid_request"),
    ),
    Route(
        "POST",
        "/v1/identities",
        "tell_identity",
        "write",
        told.IdentityAnswer,
        told.IdentityRequest,
        (*_BODY, *_STATE, "invalid_request"),
    ),
    Route(
        "GET",
        "/v1/experiments/{name:name}/assignment",
        "get_assignment",
        "read",
        documents.AssignmentAnswer,
        None,
        ("unknown_experiment", "not_ready", "invalid_json"),
    ),
    Route("DELETE", "/v1/users/{user_id:anyid}", "forget_user", "admin", told.Forgotten, None, _STATE),
    Route(
        "GET", "/v1/model", "get_model", "read", documents.ModelAnswer, None, ("not_ready", "invalid_request")
    ),
    Route("GET", "/v1/stats", "get_stats", "read", documents.Stats, None, ("invalid_request",)),
    Route(
        "GET", _MODEL, "get_model_status", "read", documents.ModelStatus, None, ("unknown_model", "not_ready")
    ),
    Route(
        "GET",
        f"{_MODEL}/versions/{{version}}",
        "get_version_status",
        "read",
        documents.ModelStatus,
        None,
        ("unknown_model", "not_ready"),
    ),
    Route(
        "GET",
        f"{_MODEL}/labels/{{label}}",
        "get_label_status",
        "read",
        documents.ModelStatus,
        None,
        ("unknown_model", "not_ready"),
    ),
    Route(
        "POST",
        f"{_MODEL}:activate",
        "activate_bundle",
        "admin",
        documents.Activation,
        documents.ActivateRequest,
        (*_BODY, "unknown_model", "bundle_refused", "precondition_failed", "invalid_request", "not_ready"),
        changes=True,
    ),
    Route(
        "POST",
        f"{_MODEL}:rollback",
        "roll_back_bundle",
        "admin",
        documents.Activation,
        documents.RollBackRequest,
        (*_BODY, "unknown_model", "bundle_refused", "precondition_failed", "invalid_request", "not_ready"),
        changes=True,
    ),
    Route("GET", "/v1/health/live", "get_live", None, documents.Live),
    Route("GET", "/v1/health/ready", "get_ready", None, documents.Ready, None, ("not_ready",)),
    Route("GET", "/v2/health/live", "get_live_v2", None, documents.LiveV2),
    Route("GET", "/v2/health/ready", "get_ready_v2", None, documents.ReadyV2, None, ("not_ready",)),
    Route(
        "GET",
        "/v2/models/{name:name}/ready",
        "get_model_ready_v2",
        None,
        documents.ModelReadyV2,
        None,
        ("unknown_model", "not_ready"),
    ),
    Route("GET", "/openapi.json", "get_openapi", "read", listed=False),
    Route("GET", "/docs", "get_docs", "read", listed=False),
    Route("GET", "/", "get_page", None, listed=False),
    Route("GET", "/page/{file}", "get_page_file", None, listed=False),
)
HOT = tuple(route for route in TABLE if route.operation in ("recommend", "recommend_batch"))
EVERYWHERE = ("unauthorized", "missing_scope", "rate_limited")  # the problems of a route that asks for a key
EVERY = ("invalid_http", "internal_error")  # and of any


def plain_path(path: str) -> str:
    """A route's path as people and OpenAPI write it, without what its parts may hold."""
    return re.sub(r":\w+}", "}", path)
