"""What the routes do: bounded work in threads, from the bytes of a request to the bytes of its answer."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import faiss
import orjson

from recsys.answers.new_items import placed
from recsys.answers.question import Suggestion
from recsys.answers.respond import Answered, answer
from recsys.answers.similar import similar
from recsys.bundle.bundle import Bundle
from recsys.errors import RequestError, SettingError
from recsys.serving.body import parsed
from recsys.serving.exposure import SCHEMA, ExposureLog
from recsys.serving.problems import Problem
from recsys.serving.schemas import BatchRequest, EncodeRequest, RecommendRequest
from recsys.serving.settings import ServingSettings
from recsys.serving.state import Started, Store

_MODEL_KEYS = ("bundle_id", "space_id", "name", "kind", "dim", "metric", "counts", "index", "seen", "fallback")
_LATER_KEYS = ("created", "versions", "lineage")


class Service:
    """The bundle, the exposure log and the threads; `start` and `close` bound their lives.

    started: called once, with the first bundle when it is served, else with what stands in the way.
    """

    def __init__(self, path: Path, settings: ServingSettings, started: Started) -> None:
        self._settings, self._started = settings, started
        self._store = Store(path, settings.poll_s, started)
        self._exposures: ExposureLog | None = None
        self._threads = settings.threads or len(os.sched_getaffinity(0))
        self._busy = 0

    def start(self) -> None:
        # OpenMP keeps its thread count for each thread, so every one of the pool sets it.
        self._pool = ThreadPoolExecutor(self._threads, "search", faiss.omp_set_num_threads, (1,))
        try:
            self._exposures = ExposureLog(self._settings.exposures)
        except SettingError as error:
            self._started(error)
        else:
            self._store.start()

    def close(self) -> None:
        """Running requests end first, then the log is synced to the disk."""
        self._pool.shutdown()
        if self._exposures is not None:
            self._store.close()
            self._exposures.close()

    async def in_thread(self, work: Callable[..., bytes], *arguments: Any) -> bytes:
        """The result of `work` in a thread of the pool; a Problem where too many requests wait already."""
        if self._busy >= self._threads + self._settings.waiting:
            detail = f"{self._busy} requests are being answered or wait; try again in a second."
            raise Problem("overloaded", detail, headers={"Retry-After": "1"})
        self._busy += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)
        finally:
            self._busy -= 1

    def recommend(self, body: bytes) -> bytes:
        asked = parsed(body, RecommendRequest)
        bundle = self._bundle()
        return _encoded(self._served(bundle, asked, self._answered(bundle, asked)))

    def recommend_batch(self, body: bytes) -> bytes:
        asked = parsed(body, BatchRequest).requests
        bundle = self._bundle()
        found = [self._answered(bundle, one, f"requests[{at}]: ") for at, one in enumerate(asked)]
        answers = [self._served(bundle, one, answered) for one, answered in zip(asked, found, strict=True)]
        return _encoded({"answers": answers})

    def similar(self, item_id: str, k: int, domain: str | None) -> bytes:
        bundle = self._bundle()
        try:
            found = similar(bundle, item_id, k, domain)
        except RequestError as error:
            raise Problem.of(error) from None
        return _encoded({"bundle_id": bundle.bundle_id, "item_id": item_id, "items": _shown(found)})

    def encode(self, body: bytes) -> bytes:
        asked = parsed(body, EncodeRequest)
        bundle = self._bundle()
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
        bundle = self._bundle()
        essentials = {key: bundle.manifest[key] for key in (*_MODEL_KEYS, *_LATER_KEYS)}
        essentials["lineage"] = _without_paths(essentials["lineage"])
        return _encoded({**essentials, "domains": sorted(bundle.catalogue.domains), "swap": asdict(self._store.swap)})

    def ready(self) -> bytes:
        bundle = self._bundle()
        assert self._exposures is not None  # a bundle is loaded only after the log is open
        tally = asdict(self._exposures.tally)
        return _encoded({"status": "ready", "bundle_id": bundle.bundle_id, "exposures": tally})

    def _bundle(self) -> Bundle:
        """The bundle to answer from; whoever holds it may go on with it while another is swapped in."""
        bundle = self._store.bundle
        if bundle is None:
            error = self._store.swap.error
            detail = f"No bundle is loaded: {error}" if error else "The first bundle is being verified; try again."
            raise Problem("not_ready", detail, headers={"Retry-After": "1"})
        return bundle

    def _answered(self, bundle: Bundle, asked: RecommendRequest, where: str = "") -> Answered:
        try:
            return answer(bundle, asked.question())
        except RequestError as error:
            raise Problem.of(error, where) from None

    def _served(self, bundle: Bundle, asked: RecommendRequest, answered: Answered) -> dict[str, Any]:
        """The answer, after its line is in the exposure log."""
        request_id = uuid4().hex
        line = {
            "schema": SCHEMA,
            "event_id": uuid4().hex,
            "request_id": request_id,
            "time_ms": time.time_ns() // 1_000_000,
            "user_id": asked.user_id,
            "experiment": None,
            "arm": None,
            "bundle_id": bundle.bundle_id,
            "source": answered.source,
            "items": answered.item_ids,
            "scores": answered.scores,
            "propensity": None,
        }
        assert self._exposures is not None
        self._exposures.append(_encoded(line) + b"\n")
        return {
            "request_id": request_id,
            "bundle_id": bundle.bundle_id,
            "source": answered.source,
            "why": answered.why,
            "items": orjson.Fragment(answered.items_json()),
            "ignored": answered.ignored,
            "ignored_features": answered.ignored_features,
        }


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
