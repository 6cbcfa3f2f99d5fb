"""What answers each route of the table: a method by the name of its operation."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any

import apsw
import orjson
from fastapi import Path, Query, Request, Response
from pydantic import BaseModel

from recsys.answers.question import MAX_K
from recsys.ids import MAX_ID_CHARACTERS
from recsys.serving import body
from recsys.serving.access.call import Call
from recsys.serving.page import docs
from recsys.serving.page.files import page_file
from recsys.serving.page.history import MOST, History
from recsys.serving.problems import Problem
from recsys.serving.routes.documents import ActivateRequest, Activation, RollBackRequest
from recsys.serving.routes.event_documents import IdentityRequest
from recsys.serving.routes.models import Models
from recsys.serving.runtime.pool import Pool, wait_s
from recsys.serving.runtime.protocol import Work
from recsys.serving.service import Service
from recsys.serving.settings import ServingSettings

Name = Annotated[str, Path(max_length=100, description="the model's name, by --model-name")]


class Handlers:
    """openapi: gives the description of all of it."""

    def __init__(
        self,
        service: Service,
        pool: Pool,
        history: History,
        settings: ServingSettings,
        openapi: Callable[[], dict[str, Any]],
    ) -> None:
        self._service, self._pool, self._history, self._settings = service, pool, history, settings
        self._openapi = openapi
        self._models = Models(service, settings)

    async def _post(self, request: Request, work: Work) -> Response:
        call: Call = request.scope["call"]
        text = await body.read(request, self._settings.read_s)
        return _json(await self._pool.run(work, text, call, wait_s=wait_s(call.headers)))

    async def recommend(self, request: Request) -> Response:
        """The k best items for a person, known or not; the list goes into the exposure log."""
        return await self._post(request, self._service.recommend)

    async def recommend_batch(self, request: Request) -> Response:
        """Several requests of the kind of /v1/recommend, answered from one bundle each, all or none."""
        return await self._post(request, self._service.recommend_batch)

    async def similar_items(
        self,
        item_id: Annotated[str, Path(description="percent-encoded; slashes need not be")],
        k: Annotated[int, Query(ge=1, le=MAX_K)] = 10,
        domain: Annotated[str | None, Query(description="answer with items of this domain only")] = None,
    ) -> Response:
        """The items whose vectors point most nearly the same way."""
        return _json(await self._pool.run(self._service.similar, item_id, k, domain))

    async def encode_items(self, request: Request) -> Response:
        """The vectors of brand-new items from their features, and the known items nearest to each."""
        return await self._post(request, self._service.encode)

    async def tell_events(self, request: Request) -> Response:
        """Takes what people were shown or did; answered once it is on the disk. An array, or JSON lines."""
        text = await body.read(request, self._settings.read_s, lines=True)
        lines = body.is_json_lines(dict(request.headers.raw))
        read, written = await asyncio.to_thread(self._service.events.tell, text, lines)
        try:
            appended = await asyncio.wrap_future(written)
        except apsw.Error as error:
            raise self._service.events.failure_of(error) from None
        return _json(self._service.events.acknowledge(read, appended))

    async def tell_identity(self, request: Request) -> Response:
        """From now on one id is the person of another; their histories are one."""
        asked, _ = body.parse_body(await body.read(request, self._settings.read_s), IdentityRequest)
        return _json(await asyncio.to_thread(self._service.events.identify, [(asked.old, asked.new)]))

    async def get_assignment(
        self,
        name: Annotated[str, Path(max_length=200, description="of an experiment that was started")],
        unit_id: Annotated[
            str, Query(min_length=1, max_length=MAX_ID_CHARACTERS, description="who is assigned")
        ],
        attributes: Annotated[
            str,
            Query(max_length=10_000, description="a JSON object of what a request would bring"),
        ] = "{}",
    ) -> Response:
        """The arm of a unit, without a list: tell it in the request for one, or show one of your own."""
        brought = body.any_json(attributes.encode())
        if not isinstance(brought, dict):
            raise Problem("invalid_request", "`attributes` must be a JSON object.")
        return _json(self._service.assignment(name, unit_id, brought))

    async def forget_user(
        self, user_id: Annotated[str, Path(description="percent-encoded; slashes need not be")]
    ) -> Response:
        """Deletes what is kept of a person under any of their ids; to bundles they are a stranger from now
        on."""
        return _json(await asyncio.to_thread(self._service.events.forget, user_id))

    async def get_model(self) -> Response:
        """What is served, where it comes from, and how the last swap went."""
        return _json(self._service.model(), ETag=self._models.etag())

    async def get_stats(
        self, points: Annotated[int, Query(ge=1, le=MOST, description="the last so many")] = 1_000
    ) -> Response:
        """What was counted by time, over all workers: requests, latency, sources, swaps, lost exposures."""
        return _json(await asyncio.to_thread(self._history.read, points))

    async def get_model_status(self, name: Name) -> Response:
        """The bundles that are deployed and their states, in TensorFlow Serving's form."""
        return self._status(name)

    async def get_version_status(
        self, name: Name, version: Annotated[str, Path(max_length=100, description="a bundle's id")]
    ) -> Response:
        """The state of one bundle, in TensorFlow Serving's form."""
        return self._status(name, version=version)

    async def get_label_status(
        self,
        name: Name,
        label: Annotated[str, Path(max_length=200, description="champion, previous, shadow, or an arm")],
    ) -> Response:
        """The state of the bundle in a role, in TensorFlow Serving's form."""
        return self._status(name, label=label)

    def _status(self, name: str, **chosen: str) -> Response:
        return _document(self._models.status(name, **chosen), ETag=self._models.etag())

    async def activate_bundle(self, request: Request, name: Name) -> Response:
        """Makes a bundle the champion: 202 until all workers report that they serve it, then 200. With
        `If-Match`, only where nothing has changed since."""
        asked, _ = body.parse_body(await body.read(request, self._settings.read_s), ActivateRequest)
        return _follow(
            await asyncio.to_thread(self._models.activate, name, asked.bundle_id, request.scope["call"])
        )

    async def roll_back_bundle(self, request: Request, name: Name) -> Response:
        """Makes the champion before this one the champion: 202, or 200 where all workers serve it already."""
        body.parse_body(await body.read(request, self._settings.read_s), RollBackRequest)
        return _follow(await asyncio.to_thread(self._models.roll_back, name, request.scope["call"]))

    async def get_live(self) -> Response:
        """200 as long as the process answers."""
        return _json(b'{"status":"live"}')

    async def get_ready(self) -> Response:
        """200 once a bundle is served, 503 before; and how the exposure log fares."""
        return _json(self._service.ready())

    async def get_live_v2(self) -> Response:
        """KServe's name of /v1/health/live."""
        return _json(b'{"live":true}')

    async def get_ready_v2(self) -> Response:
        """KServe's name of /v1/health/ready."""
        self._service.ready()
        return _json(b'{"ready":true}')

    async def get_model_ready_v2(self, name: Name) -> Response:
        """200 once the model of this name is served, in KServe's form."""
        self._models.refuse_other_names(name)
        self._service.ready()
        return _json(orjson.dumps({"name": name, "ready": True}))

    async def get_openapi(self) -> Response:
        """This description."""
        return _json(orjson.dumps(self._openapi()))

    async def get_docs(self) -> Response:
        """The description for people."""
        content = docs.page(self._openapi(), f"{self._settings.root_path}/openapi.json")
        return Response(content, media_type="text/html", headers=docs.HEADERS)

    async def get_page(self, request: Request) -> Response:
        """The page for people."""
        return page_file("index.html", request)

    async def get_page_file(self, request: Request, file: str) -> Response:
        """A part of the page for people."""
        return page_file(file, request)


def _json(content: bytes, **headers: str) -> Response:
    return Response(content, headers=headers or None, media_type="application/json")


def _document(document: BaseModel, status: int = 200, **headers: str) -> Response:
    return Response(document.model_dump_json(), status, headers or None, "application/json")


def _follow(said: Activation) -> Response:
    status = 200 if said.reported >= said.workers else 202
    return _document(said, status, ETag=f'"{said.etag}"', **({} if status == 200 else {"Retry-After": "1"}))
