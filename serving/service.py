"""What the routes do, from the bytes of a request to the bytes of its answer."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from recsys.answers.exposure import Served, exposure_line, uuid7
from recsys.answers.question import Question, Suggestion
from recsys.answers.respond import Answered, answer
from recsys.answers.similar import similar
from recsys.arrays import I32
from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import without_paths
from recsys.errors import DataError, RequestError, SettingError
from recsys.serving.access.call import Call
from recsys.serving.access.cursor import MAX_SHOWN, make_cursor, read_cursor
from recsys.serving.access.gate import Gate
from recsys.serving.body import parsed, request_in
from recsys.serving.events import Events
from recsys.serving.exposure import Exposures, Shown, open_exposures
from recsys.serving.problems import Problem
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.runtime.reports import Reports
from recsys.serving.schemas import BatchRequest, EncodeRequest, RecommendRequest
from recsys.serving.settings import ServingSettings
from recsys.serving.state import Live, Started, Store

SHADOW = b"x-recsys-shadow"  # the header of a request that shall leave no trace; it may name a bundle that is open
_NOTHING: I32 = np.empty(0, np.int32)
_MODEL_KEYS = ("bundle_id", "space_id", "name", "kind", "dim", "metric", "counts", "index", "seen", "fallback")
_LATER_KEYS = ("created", "versions", "lineage")


class Service:
    """The bundle and the exposure log; `start` and `close` bound their lives.

    started: called once, with the first bundle when it is served, else with what stands in the way.
    """

    def __init__(
        self,
        path: Path,
        settings: ServingSettings,
        started: Started,
        metrics: Metrics,
        gate: Gate,
        reports: Reports,
        shared: Path | None,
    ) -> None:
        self.path, self._settings, self._told, self._metrics, self._gate = path, settings, started, metrics, gate
        self.reports = reports
        self.store = self._store = Store(
            path, settings.poll_s, self._started, self._attempted, shared, settings.idle_check_s
        )
        self._first = threading.Event()
        self.events = Events(settings, metrics)
        self._exposures: Exposures | None = None
        self._leaving = False

    def start(self) -> None:
        try:
            self.events.start()
            self._exposures = open_exposures(self._settings.exposures, self.events, self._metrics.count_lost_lines)
        except (SettingError, DataError) as error:
            self._started(error)
        else:
            self._store.start()

    def _attempted(self, outcome: str) -> None:
        self._metrics.count_swap(outcome)
        self.reports.write(self._store.live, self._store.swap)

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
            self.events.close()

    def recommend(self, body: bytes, call: Call) -> bytes:
        began = time.perf_counter()
        read, raw = request_in(body)
        asked = self._asked(call, read, raw, int(time.time()), began)
        return _timed(call, began, self._served(asked, self._answered(asked), call))

    def recommend_batch(self, body: bytes, call: Call) -> bytes:
        began, now = time.perf_counter(), int(time.time())
        read, raw = parsed(body, BatchRequest)
        pairs = enumerate(zip(read.requests, raw["requests"], strict=True))
        every = [self._asked(call, one, told, now, began, f"requests[{at}]: ") for at, (one, told) in pairs]
        found = [self._answered(one) for one in every]
        answers = [self._served(one, answered, call) for one, answered in zip(every, found, strict=True)]
        return _timed(call, began, {"answers": answers})

    def similar(self, item_id: str, k: int, domain: str | None) -> bytes:
        bundle = self.live().champion
        try:
            found = similar(bundle, item_id, k, domain)
        except RequestError as error:
            raise Problem.of(error) from None
        return _encoded({"bundle_id": bundle.bundle_id, "item_id": item_id, "items": _shown(found)})

    def encode(self, body: bytes, call: Call) -> bytes:
        from recsys.answers.new_items import placed  # pyarrow comes with it, and few services are asked this

        asked, _ = parsed(body, EncodeRequest)
        bundle = self._bundle(call)
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
        live = self.live()
        manifest = live.champion.manifest
        essentials = {key: manifest[key] for key in (*_MODEL_KEYS, *_LATER_KEYS)}
        essentials["lineage"] = without_paths(essentials["lineage"])
        domains = sorted(live.champion.catalogue.domains)
        quarantined = {bundle_id: self.without_root(why) for bundle_id, why in live.quarantined.items()}
        deployment = {**asdict(live.deployment), "etag": live.deployment.etag, "quarantined": quarantined}
        swap = asdict(self._store.swap)
        swap["error"] = swap["error"] and self.without_root(swap["error"])
        return _encoded({**essentials, "domains": domains, "deployment": deployment, "swap": swap})

    def without_root(self, text: str) -> str:
        """What an error says, without the place of the folder of bundles on this machine."""
        for root in (self.path, self.path.resolve(), self.path.parent, self.path.resolve().parent):
            text = text.replace(f"{root}/", "") if len(root.parts) > 1 else text
        return text

    def ready(self) -> bytes:
        if self._leaving:
            raise Problem("draining", "The service is about to stop; ask another one.")
        live = self.live()
        assert self._exposures is not None  # a bundle is loaded only after the log is open
        tally = asdict(self._exposures.tally)
        status = "degraded" if self._store.swap.state == "failed" or live.quarantined else "ready"
        return _encoded({"status": status, "bundle_id": live.champion.bundle_id, "exposures": tally})

    def live(self) -> Live:
        """What is served; whoever takes a bundle from it may go on with it while another is swapped in."""
        live = self._store.live
        if live is None:
            error = self._store.swap.error
            why = self.without_root(f"No bundle is loaded: {error}")
            detail = why if error else "The first bundle is being verified; try again."
            raise Problem("not_ready", detail, headers={"Retry-After": "1"})
        return live

    def _bundle(self, call: Call, experiment: str | None = None, arm: str | None = None) -> Bundle:
        """The one bundle that answers a request."""
        live = self.live()
        if (shadow := call.headers.get(SHADOW)) is not None:
            return live.loaded.get(shadow.decode("latin-1"), live.shadow)
        if experiment is None or arm is None:
            return live.champion
        if (bundle := live.arm(experiment, arm)) is not None:
            return bundle
        arms = live.deployment.arms
        if arm in arms.get(experiment, {}):
            detail = f"The bundle of {experiment}/{arm} does not serve; nothing else is answered in its place."
            raise Problem("not_ready", detail, headers={"Retry-After": "1"})
        known = [f"{one}/{other}" for one, held in arms.items() for other in held]
        raise Problem("unknown_arm", f"The deployment has these arms: {', '.join(known[:20]) or 'none'}.")

    def _asked(
        self, call: Call, read: RecommendRequest, raw: Mapping[str, Any], now: int, began: float, where: str = ""
    ) -> "_Asked":
        """A request that may be answered, with its bundle. Raises a Problem where it may not."""
        try:
            bundle = self._bundle(call, read.experiment, read.arm)
            question, shown = read.question(now), None
            question, seq = self.events.known(bundle, question, read.min_state_seq, self._settings.deadline_ms / 1e3)
            if read.cursor is not None:
                shown = _NOTHING
                if read.cursor:
                    shown = read_cursor(self._gate.cursor_secret, bundle.bundle_id, _person(read), read.cursor)
                gone = bundle.item_ids.take(shown)
                question = replace(
                    question, deny=[*question.deny, *gone], k=max(1, min(question.k, MAX_SHOWN - len(shown)))
                )
            return _Asked(bundle, question, raw.get("history"), read, shown, seq, began, where)
        except Problem as problem:
            if where:
                problem.detail = where + problem.detail
            raise

    def _answered(self, asked: "_Asked") -> Answered:
        try:
            return answer(asked.bundle, asked.question)
        except RequestError as error:
            raise Problem.of(error, asked.where) from None

    def _served(self, asked: "_Asked", answered: Answered, call: Call) -> dict[str, Any]:
        """The answer, after its line is in the exposure log."""
        time_ms = time.time_ns() // 1_000_000
        request_id = uuid7(time_ms)
        if call.request_id is None:
            call.request_id = request_id
        read = asked.read
        assert self._exposures is not None
        if SHADOW not in call.headers and self._exposures.open:
            ms = round((time.perf_counter() - asked.began) * 1e3, 3)
            unit = read.unit_id if read.profile else None
            told = (read.experiment, read.arm, read.placement, unit, asked.state_seq)
            self._exposures.append(
                lambda seq: exposure_line(
                    Served(seq, request_id, time_ms, ms, *told),
                    asked.question,
                    asked.history if read.profile else None,
                    answered,
                ),
                Shown(request_id, time_ms, asked.question.user_id, unit),
            )
        k = len(answered.items)
        self._metrics.count_list(
            answered.source, read.placement, read.experiment, read.arm, k, short=k < asked.question.k
        )
        return {
            "request_id": request_id,
            "bundle_id": asked.bundle.bundle_id,
            "source": answered.source,
            "why": answered.why,
            "items": orjson.Fragment(answered.items_json()),
            "ignored": answered.ignored,
            "ignored_features": answered.ignored_features,
            "cursor": None if asked.shown is None else self._next(asked, answered),
            "state_seq": asked.state_seq,
        }

    def _next(self, asked: "_Asked", answered: Answered) -> str | None:
        """The cursor of the page after this one; None where there is none."""
        assert asked.shown is not None
        shown = np.concatenate([asked.shown, answered.items.astype(np.int32)])
        if len(answered.items) < asked.question.k or len(shown) >= MAX_SHOWN:
            return None
        return make_cursor(self._gate.cursor_secret, asked.bundle.bundle_id, _person(asked.read), shown)


class _Asked(NamedTuple):
    """A question with its bundle and its moment. history: the brought events as they came. shown: the items of the
    pages before, where a page was asked for. state_seq: of what was told since. began: of `time.perf_counter`. where:
    what a refusal begins with."""

    bundle: Bundle
    question: Question
    history: Sequence[Mapping[str, Any]] | None
    read: RecommendRequest
    shown: I32 | None
    state_seq: int | None
    began: float
    where: str


def _person(read: RecommendRequest) -> str:
    """Whom a cursor is bound to."""
    return f"user {read.user_id}" if read.user_id is not None else f"unit {read.unit_id or ''}"


def _shown(items: Sequence[Suggestion]) -> list[dict[str, Any]]:
    return [{"item_id": item.item_id, "score": item.score, "title": item.title} for item in items]


def _timed(call: Call, began: float, value: Any) -> bytes:
    """The value as JSON; how long it took is told to the call."""
    content = _encoded(value)
    call.search_ms = (time.perf_counter() - began) * 1e3
    return content


def _encoded(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
