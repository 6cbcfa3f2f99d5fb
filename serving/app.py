"""The FastAPI app: routes and their description. Built from arguments; its resources live as long as its lifespan."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from time import perf_counter
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, FastAPI, Path, Query, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.convertors import Convertor, register_url_convertor
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys import __version__
from recsys.answers.question import MAX_K
from recsys.serving import body, problems, schemas
from recsys.serving.page import page
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.runtime.pool import Pool, wait_s
from recsys.serving.runtime.protocol import Hot, Work
from recsys.serving.service import Service
from recsys.serving.settings import ServingSettings
from recsys.serving.state import Started

_REFERENCE = "#/components/schemas/{model}"


class _AnyId(Convertor[str]):
    """An item id in a path: anything, slashes and line breaks included."""

    regex = r"(?s:.+)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("anyid", _AnyId())


class Parts(NamedTuple):
    """What a server is made of. hot: what the protocol answers without the app; pool: in whose threads."""

    app: FastAPI
    hot: Hot
    pool: Pool
    metrics: Metrics
    service: Service

    def start(self) -> None:
        self.pool.start()
        self.service.start()

    def close(self) -> None:
        """Running requests end first."""
        self.pool.close()
        self.service.close()


def create_app(path: FilePath, settings: ServingSettings, started: Started = lambda outcome: None) -> FastAPI:
    """The app of `create_parts`, for another server."""
    return create_parts(path, settings, started).app


def create_parts(path: FilePath, settings: ServingSettings, started: Started, shared: FilePath | None = None) -> Parts:
    """The service of a bundle, or of a folder of bundles and what is deployed in it.

    shared: a folder in which several processes tell each other what they verified.

    started: called once, from a thread, with the first bundle when it is served, else with what stands in the way.
    """
    metrics = Metrics()
    service = Service(path, settings, started, metrics, shared)
    pool = Pool(settings.threads or len(os.sched_getaffinity(0)), settings.waiting, settings.deadline_ms / 1e3)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        parts.start()
        yield
        parts.close()

    app = FastAPI(
        title="recsys",
        version=__version__,
        description="Recommendations and similar items from one bundle. Every refusal is a problem document.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(_refuse_unknown_parameters)],
    )
    problems.install(app)
    app.add_middleware(_AsRouted, root_path=settings.root_path, metrics=metrics)
    if settings.cors:
        origins = [origin.strip() for origin in settings.cors.split(",")]
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["content-type"]
        )

    async def posted(request: Request, work: Work) -> Response:
        headers = dict(request.headers.raw)
        text = await body.read(request, settings.read_s)
        return _json(await pool.run(work, text, headers, wait_s=wait_s(headers)))

    @app.post("/v1/recommend", **_described(schemas.RecommendAnswer, schemas.RecommendRequest))
    async def recommend(request: Request) -> Response:
        """The k best items for a person, known or not; the list goes into the exposure log."""
        return await posted(request, service.recommend)

    @app.post("/v1/recommend:batch", **_described(schemas.BatchAnswer, schemas.BatchRequest))
    async def recommend_batch(request: Request) -> Response:
        """Several requests of the kind of /v1/recommend, answered from one bundle, all or none."""
        return await posted(request, service.recommend_batch)

    @app.get("/v1/items/{item_id:anyid}/similar", **_described(schemas.SimilarAnswer))
    async def similar(
        item_id: Annotated[str, Path(description="percent-encoded; slashes need not be")],
        k: Annotated[int, Query(ge=1, le=MAX_K)] = 10,
        domain: Annotated[str | None, Query(description="answer with items of this domain only")] = None,
    ) -> Response:
        """The items whose vectors point most nearly the same way."""
        return _json(await pool.run(service.similar, item_id, k, domain))

    @app.post("/v1/items:encode", **_described(schemas.EncodeAnswer, schemas.EncodeRequest))
    async def encode(request: Request) -> Response:
        """The vectors of brand-new items from their features, and the known items nearest to each."""
        return await posted(request, service.encode)

    @app.get("/v1/health/live", **_described(schemas.Live))
    async def live() -> Response:
        """200 as long as the process answers."""
        return _json(b'{"status":"live"}')

    @app.get("/v1/health/ready", **_described(schemas.Ready))
    async def ready() -> Response:
        """200 once a bundle is served, 503 before; and how the exposure log fares."""
        return _json(service.ready())

    @app.get("/v1/model", **_described(schemas.ModelAnswer))
    async def model() -> Response:
        """What is served, where it comes from, and how the last swap went."""
        return _json(service.model())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        """The description for people."""
        return Response(page(app.openapi(), f"{settings.root_path}/openapi.json"), media_type="text/html")

    app.openapi = lambda: _openapi(app, settings.root_path)  # type: ignore[method-assign]
    hot: dict[str, Work] = {"/v1/recommend": service.recommend, "/v1/recommend:batch": service.recommend_batch}
    paths = {prefix + path: work for path, work in hot.items() for prefix in ("", settings.root_path)}
    parts = Parts(app, {path.encode(): work for path, work in paths.items()}, pool, metrics, service)
    return parts


class _AsRouted:
    """Answers HEAD as GET is, for the server sends no body with it, takes paths with or without a proxy's own, and
    counts what is answered."""

    def __init__(self, app: ASGIApp, root_path: str, metrics: Metrics) -> None:
        self._app, self._root_path, self._metrics = app, root_path, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        inner, since = {**scope, "method": method, "root_path": self._root_path}, perf_counter()

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(inner.get("route"), "path", "unknown")
                known = method if method in ("GET", "POST") else "_OTHER"
                self._metrics.count_request(known, route, message["status"], perf_counter() - since)
            await send(message)

        return await self._app(inner, receive, counted)


async def _refuse_unknown_parameters(request: Request) -> None:
    """Raises a Problem for a query parameter that the route does not have, as for an unknown field of a body."""
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    unknown = [{"loc": (name,), "type": "extra_forbidden"} for name in request.query_params if name not in known]
    if unknown:
        raise problems.Problem.invalid(unknown)


def _json(content: bytes) -> Response:
    return Response(content, media_type="application/json")


def _described(answer: type[BaseModel], asked: type[BaseModel] | None = None) -> dict[str, Any]:
    """What OpenAPI says of a route. Nothing of it runs with a request: bodies are read, and answers written, by us."""
    problem = {problems.MEDIA_TYPE: {"schema": {"$ref": _REFERENCE.format(model=schemas.ProblemDocument.__name__)}}}
    described: dict[str, Any] = {
        "response_model": None,
        "response_class": JSONResponse,
        "responses": {
            200: {"model": answer},
            "4XX": {"description": "Refused; `code` says why", "content": problem},
            "5XX": {"description": "Not ready, overloaded, or a fault", "content": problem},
        },
    }
    if asked is not None:
        schema = {"schema": {"$ref": _REFERENCE.format(model=asked.__name__)}}
        described["openapi_extra"] = {"requestBody": {"required": True, "content": {"application/json": schema}}}
    return described


def _openapi(app: FastAPI, root_path: str) -> dict[str, Any]:
    """The document, with the models that FastAPI does not see because it neither reads nor writes them."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        if root_path:
            document["servers"] = [{"url": root_path}]
        unseen: list[type[BaseModel]] = [
            schemas.RecommendRequest,
            schemas.BatchRequest,
            schemas.EncodeRequest,
            schemas.ProblemDocument,
        ]
        _, models = models_json_schema([(model, "validation") for model in unseen], ref_template=_REFERENCE)
        document["components"]["schemas"].update(models["$defs"])
        app.openapi_schema = document
    return app.openapi_schema
