"""The FastAPI app: the routes of the table and nothing else. Built from arguments; its resources live as it
does."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from time import perf_counter
from typing import Any, NamedTuple

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys import __version__
from recsys.serving import problems
from recsys.serving.access.call import Call
from recsys.serving.access.gate import Gate
from recsys.serving.page.history import History
from recsys.serving.routes.handlers import Handlers
from recsys.serving.routes.openapi import describe
from recsys.serving.routes.table import HOT, TABLE, plain_path
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.runtime.pool import Pool
from recsys.serving.runtime.protocol import Hot, HotRoute
from recsys.serving.runtime.reports import Reports
from recsys.serving.service import Service
from recsys.serving.settings import ServingSettings
from recsys.serving.state import Started

_SCOPES = {(route.method, route.path): route.scope for route in TABLE}
_METHODS = {route.method for route in TABLE}
_HEADERS = [
    "authorization",
    "content-type",
    "x-request-id",
    "traceparent",
    "x-request-timeout-ms",
    "if-match",
]
_SHOWN = [
    "x-request-id",
    "traceparent",
    "server-timing",
    "etag",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
]


class _AnyId(Convertor[str]):
    """An item id in a path: anything, slashes and line breaks included."""

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


class _Name(_AnyId):
    """A name in a path: no slash, and no colon, behind which a verb stands."""

    regex = "[^/:]+"


register_url_convertor("anyid", _AnyId())
register_url_convertor("name", _Name())


class Parts(NamedTuple):
    """What a server is made of. hot: what the protocol answers without the app; pool: in whose threads."""

    app: FastAPI
    hot: Hot
    pool: Pool
    gate: Gate
    metrics: Metrics
    history: History
    service: Service

    def start(self) -> None:
        self.pool.start()
        self.gate.start()
        self.service.start()

    def close(self) -> None:
        """Closes all parts, after the running requests have ended."""
        self.pool.close()
        self.service.close()
        self.gate.close()
        self.history.close()


def create_app(path: FilePath, settings: ServingSettings, started: Started = lambda outcome: None) -> FastAPI:
    """The app of `create_parts`, for another server."""
    return create_parts(path, settings, started).app


def create_parts(
    path: FilePath, settings: ServingSettings, started: Started, shared: FilePath | None = None
) -> Parts:
    """The service of a bundle, or of a folder of bundles and what is deployed in it.

    shared: a folder in which several processes tell each other what they verified and serve.

    started: called once, from a thread, with the first bundle when it is served, else with what stands in the
    way.
    """
    metrics = Metrics(at_once=shared is not None)
    pool = Pool(
        settings.threads or len(os.sched_getaffinity(0)), settings.waiting, settings.deadline_ms / 1e3
    )
    gate = Gate(settings, metrics, lambda: pool.busy, shared)
    reports = Reports(shared, settings.workers if shared is not None else 1)
    service = Service(path, settings, started, metrics, gate, reports, shared)
    history = History(settings.state_folder, shared, settings.history_s)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.start()
        yield
        parts.close()

    async def admit(request: Request) -> None:
        """Raises a Problem where the request shows no key with the scope that the table says, or says too
        much."""
        gate.admit(request.scope["call"], _SCOPES[_method(request.scope), request.scope["route"].path])
        _refuse_unknown_parameters(request)

    app = FastAPI(
        title="recsys",
        version=__version__,
        lifespan=lifespan,
        openapi_url=None,  # a route of the table, which asks for a key as others do
        redirect_slashes=False,
        dependencies=[Depends(admit)],
    )
    problems.install(app)
    app.add_middleware(_AsRouted, root_path=settings.root_path, gate=gate)
    if settings.cors:
        origins = [origin.strip() for origin in settings.cors.split(",")]
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=_HEADERS,
            expose_headers=_SHOWN,
        )

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = describe(app, settings.root_path)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    handlers = Handlers(service, pool, history, settings, openapi)
    for route in TABLE:
        app.add_api_route(
            route.path,
            getattr(handlers, route.operation),
            methods=[route.method],
            operation_id=route.operation,
            response_model=None,
            response_class=JSONResponse,
            include_in_schema=route.listed,
        )
    hot = {
        (prefix + route.path).encode(): HotRoute(getattr(service, route.operation), route.path, route.scope)
        for route in HOT
        for prefix in {"", settings.root_path}
    }
    parts = Parts(app, hot, pool, gate, metrics, history, service)
    return parts


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return "GET" if method == "HEAD" else method


class _AsRouted:
    """Answers HEAD as GET is, for the server sends no body with it, takes paths with or without a proxy's
    own, and tells the gate what is answered."""

    def __init__(self, app: ASGIApp, root_path: str, gate: Gate) -> None:
        self._app, self._root_path, self._gate = app, root_path, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        method, call, since = _method(scope), Call(dict(scope["headers"])), perf_counter()
        inner = {**scope, "method": method, "root_path": self._root_path, "call": call}

        begun = False

        async def tell(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                route = plain_path(getattr(inner.get("route"), "path", "unknown"))
                known = method if method in _METHODS else "_OTHER"
                head = self._gate.finish(call, known, route, message["status"], since)
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in head if one[0] not in own)]
            await send(message)

        try:
            await self._app(inner, receive, tell)
        except Exception as error:  # told here: what stands around us would log all that it says
            response = problems.fault(
                method, getattr(inner.get("route"), "path", "unknown"), error
            ).response()
            if not begun:
                await response(inner, receive, tell)
        return None


def _refuse_unknown_parameters(request: Request) -> None:
    """Raises a Problem for a query parameter that the route does not have, as for an unknown field of a
    body."""
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    unknown = [
        {"loc": (name,), "type": "extra_forbidden"} for name in request.query_params if name not in known
    ]
    if unknown:
        raise problems.Problem.invalid(unknown)
