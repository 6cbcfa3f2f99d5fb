"""What the routes do, from the bytes of a request to the bytes of its answer."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from recsys.answers.exposure import Served, exposure_line, uuid7
from recsys.answers.question import Question, Suggestion
from recsys.answers.respond import Answered, answer
from recsys.answers.similar import similar
from recsys.bundle.bundle import Bundle
from recsys.errors import RequestError, SettingError
from recsys.serving.body import parsed, question_in
from recsys.serving.exposure import ExposureLog
from recsys.serving.problems import Problem
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.runtime.protocol import Headers
from recsys.serving.schemas import BatchRequest, EncodeRequest
from recsys.serving.settings import ServingSettings
from recsys.serving.state import Live, Started, Store

SHADOW = b"x-recsys-shadow"  # the header of a request that shall leave no trace
_MODEL_KEYS = ("bundle_id", "space_id", "name", "kind", "dim", "metric", "counts", "index", "seen", "fallback")
_LATER_KEYS = ("created", "versions", "lineage")


class Service:
    """The bundle and the exposure log; `start` and `close` bound their lives.

    started: called once, with the first bundle when it is served, else with what stands in the way.
    """

    def __init__(
        self, path: Path, settings: ServingSettings, started: Started, metrics: Metrics, shared: Path | None
    ) -> None:
        self._settings, self._told, self._metrics = settings, started, metrics
        self._store = Store(path, settings.poll_s, self._started, metrics.count_swap, shared, settings.idle_check_s)
        self._first = threading.Event()
        self._exposures: ExposureLog | None = None
        self._leaving = False

    def start(self) -> None:
        try:
            self._exposures = ExposureLog(self._settings.exposures, self._metrics.count_lost_line)
        except SettingError as error:
            self._started(error)
        else:
            self._store.start()

    def _started(self, outcome: Bundle | Exception) -> None:
        self._told(outcome)
        self._first.set()

    def wait_for_first(self) -> None:
        """Until the first bundle is served, or something stands in its way."""
        self._first.wait()

    def leave(self) -> None:
        """Readiness is refused from now on, so that nobody new comes; who comes is answered."""
        self._leaving = True

    def close(self) -> None:
        """No request may run any more; the log is synced to the disk."""
        if self._exposures is not None:
            self._store.close()
            self._exposures.close()

    def recommend(self, body: bytes, headers: Headers) -> bytes:
        began = time.perf_counter()
        asked = _Asked(*question_in(body, int(time.time())), began)
        bundle = self._bundle(headers)
        return _encoded(self._served(bundle, asked, self._answered(bundle, asked), headers))

    def recommend_batch(self, body: bytes, headers: Headers) -> bytes:
        began, now = time.perf_counter(), int(time.time())
        read, raw = parsed(body, BatchRequest)
        histories = [one.get("history") for one in raw["requests"]]
        every = [_Asked(one.question(now), told, began) for one, told in zip(read.requests, histories, strict=True)]
        bundle = self._bundle(headers)
        found = [self._answered(bundle, one, f"requests[{at}]: ") for at, one in enumerate(every)]
        answers = [self._served(bundle, one, answered, headers) for one, answered in zip(every, found, strict=True)]
        return _encoded({"answers": answers})

    def similar(self, item_id: str, k: int, domain: str | None) -> bytes:
        bundle = self._live().champion
        try:
            found = similar(bundle, item_id, k, domain)
        except RequestError as error:
            raise Problem.of(error) from None
        return _encoded({"bundle_id": bundle.bundle_id, "item_id": item_id, "items": _shown(found)})

    def encode(self, body: bytes, headers: Headers) -> bytes:
        from recsys.answers.new_items import placed  # pyarrow comes with it, and few services are asked this

        asked, _ = parsed(body, EncodeRequest)
        bundle = self._bundle(headers)
        try:
            found = placed(bundle, [item.features for item in asked.items], asked.k)
        except RequestError as error:
            raise Problem.of(error) from None
        items = [
            {"item_id": item.item_id, "vector": at.vector.tolist(), "similar": _shown(at.similar)}
            for item, at in zip(asked.items, found, strict=True)
        ]
        return _encoded({"bundle_id": bundle.bundle_id, "space_id": bundle.manifest["space_id"], "items": items})

    def model(self) -> bytes:
        live = self._live()
        manifest = live.champion.manifest
        essentials = {key: manifest[key] for key in (*_MODEL_KEYS, *_LATER_KEYS)}
        essentials["lineage"] = _without_paths(essentials["lineage"])
        domains = sorted(live.champion.catalogue.domains)
        deployment = {**asdict(live.deployment), "etag": live.deployment.etag, "quarantined": live.quarantined}
        swap = asdict(self._store.swap)
        return _encoded({**essentials, "domains": domains, "deployment": deployment, "swap": swap})

    def ready(self) -> bytes:
        if self._leaving:
            raise Problem("draining", "The service is about to stop; ask another one.")
        live = self._live()
        assert self._exposures is not None  # a bundle is loaded only after the log is open
        tally = asdict(self._exposures.tally)
        status = "degraded" if self._store.swap.state == "failed" or live.quarantined else "ready"
        return _encoded({"status": status, "bundle_id": live.champion.bundle_id, "exposures": tally})

    def _live(self) -> Live:
        """What is served; whoever takes a bundle from it may go on with it while another is swapped in."""
        live = self._store.live
        if live is None:
            error = self._store.swap.error
            detail = f"No bundle is loaded: {error}" if error else "The first bundle is being verified; try again."
            raise Problem("not_ready", detail, headers={"Retry-After": "1"})
        return live

    def _bundle(self, headers: Headers) -> Bundle:
        """The one bundle that answers a request."""
        live = self._live()
        return live.shadow if SHADOW in headers else live.champion

    def _answered(self, bundle: Bundle, asked: "_Asked", where: str = "") -> Answered:
        try:
            return answer(bundle, asked.question)
        except RequestError as error:
            raise Problem.of(error, where) from None

    def _served(self, bundle: Bundle, asked: "_Asked", answered: Answered, headers: Headers) -> dict[str, Any]:
        """The answer, after its line is in the exposure log."""
        time_ms = time.time_ns() // 1_000_000
        request_id = uuid7(time_ms)
        assert self._exposures is not None
        if SHADOW not in headers and self._exposures.open:
            ms = round((time.perf_counter() - asked.began) * 1e3, 3)
            self._exposures.append(
                lambda seq: exposure_line(Served(seq, request_id, time_ms, ms), asked.question, asked.history, answered)
            )
        self._metrics.count_list(answered.source, short=len(answered.items) < asked.question.k)
        return {
            "request_id": request_id,
            "bundle_id": bundle.bundle_id,
            "source": answered.source,
            "why": answered.why,
            "items": orjson.Fragment(answered.items_json()),
            "ignored": answered.ignored,
            "ignored_features": answered.ignored_features,
        }


class _Asked(NamedTuple):
    """A question with its moment, the brought events as they came, and when its work began (`time.perf_counter`)."""

    question: Question
    history: Sequence[Mapping[str, Any]] | None
    began: float


def _without_paths(value: Any) -> Any:
    """A lineage with the last names of what lay on the machine that trained, in place of its absolute paths."""
    if isinstance(value, Mapping):
        return {key: _without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_paths(one) for one in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _shown(items: Sequence[Suggestion]) -> list[dict[str, Any]]:
    return [{"item_id": item.item_id, "score": item.score, "title": item.title} for item in items]


def _encoded(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
