"""What the routes do, from the bytes of a request to the bytes of its answer."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from recsys.answers.question import Suggestion
from recsys.answers.similar import similar
from recsys.bundle.bundle import Bundle
from recsys.bundle.manifest import without_paths
from recsys.errors import DataError, RequestError, SettingError
from recsys.events.clock import now_s
from recsys.serving.access.call import Call
from recsys.serving.access.gate import Gate
from recsys.serving.body import parse_body
from recsys.serving.events import Events
from recsys.serving.exposure import open_exposures
from recsys.serving.lists.asked import bundle_of
from recsys.serving.lists.lists import Lists
from recsys.serving.problems import Problem
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.runtime.reports import Reports
from recsys.serving.schemas import EncodeRequest
from recsys.serving.settings import ServingSettings
from recsys.serving.state import Live, Started, Store

_MODEL_KEYS = (
    "bundle_id",
    "space_id",
    "name",
    "kind",
    "dim",
    "metric",
    "counts",
    "index",
    "seen",
    "fallback",
)
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
        self.path, self._settings, self._told, self._metrics = path, settings, started, metrics
        self.reports = reports
        self.store = self._store = Store(
            path, settings.poll_s, self._note_start, self._note_attempt, shared, settings.idle_check_s
        )
        self._first = threading.Event()
        self.events = Events(settings, metrics)
        patience_s = settings.deadline_ms / 1e3
        self.lists = Lists(self.live, self.events, metrics, lambda: gate.cursor_secret, patience_s)
        self._leaving = False

    def start(self) -> None:
        try:
            self.events.start()
            self.lists.exposures = open_exposures(
                self._settings.exposures, self.events, self._metrics.count_lost_lines
            )
        except (SettingError, DataError) as error:
            self._note_start(error)
        else:
            self._store.start()

    def _note_attempt(self, outcome: str) -> None:
        self._metrics.count_swap(outcome)
        self.reports.write(self._store.live, self._store.swap)

    def _note_start(self, outcome: Bundle | Exception) -> None:
        self._told(outcome)
        self._first.set()

    def wait_for_first(self) -> None:
        """Returns when the first bundle is served, or has failed to load."""
        self._first.wait()

    def leave(self) -> None:
        """Makes readiness fail from now on, so that balancers send nobody new; requests that come are still
        answered."""
        self._leaving = True

    def close(self) -> None:
        """No request may run any more; the log is synced to the disk."""
        if self.lists.exposures is not None:
            self._store.close()
            self.lists.exposures.close()
            self.events.close()

    def recommend(self, body: bytes, call: Call) -> bytes:
        return _time_call(call, time.perf_counter(), self.lists.recommend, body)

    def recommend_batch(self, body: bytes, call: Call) -> bytes:
        return _time_call(call, time.perf_counter(), self.lists.recommend_batch, body)

    def assignment(self, name: str, unit_id: str, attributes: Mapping[str, Any]) -> bytes:
        """The arm of a unit in an experiment that runs, or will; no list is made, and nothing is written
        down."""
        arms = self.live().arms
        if name not in arms.names:
            known = ", ".join(arms.names[:20]) or "none"
            raise Problem(
                "unknown_experiment", f"No experiment of this name was started; those that were: {known}."
            )
        assignment = next(
            (one for one in arms.assign(unit_id, attributes, now_s()) if one.experiment == name), None
        )
        said = (
            {"phase": None, "arm": None, "reason": "does not run"}
            if assignment is None
            else assignment._asdict()
        )
        return _encode({**said, "experiment": name, "unit_id": unit_id})

    def similar(self, item_id: str, k: int, domain: str | None) -> bytes:
        bundle = self.live().champion
        try:
            items = similar(bundle, item_id, k, domain)
        except RequestError as error:
            raise Problem.of(error) from None
        return _encode({"bundle_id": bundle.bundle_id, "item_id": item_id, "items": _describe_items(items)})

    def encode(self, body: bytes, call: Call) -> bytes:
        from recsys.answers.new_items import (
            place_items,  # pyarrow comes with it, and few services are asked this
        )

        asked, _ = parse_body(body, EncodeRequest)
        bundle = bundle_of(self.live(), call)
        try:
            places = place_items(bundle, [item.features for item in asked.items], asked.k)
        except RequestError as error:
            raise Problem.of(error) from None
        items = [
            {"item_id": item.item_id, "vector": at.vector.tolist(), "similar": _describe_items(at.similar)}
            for item, at in zip(asked.items, places, strict=True)
        ]
        return _encode(
            {"bundle_id": bundle.bundle_id, "space_id": bundle.manifest["space_id"], "items": items}
        )

    def model(self) -> bytes:
        live = self.live()
        manifest = live.champion.manifest
        essentials = {key: manifest[key] for key in (*_MODEL_KEYS, *_LATER_KEYS)}
        essentials["lineage"] = without_paths(essentials["lineage"])
        domains = sorted(live.champion.catalogue.domains)
        quarantined = {bundle_id: self.without_root(why) for bundle_id, why in live.quarantined.items()}
        experiments = {one.name: one.digest for one in live.deployment.started}
        deployment = {
            name: getattr(live.deployment, name) for name in ("champion", "previous", "shadow", "arms")
        }
        deployment |= {"experiments": experiments, "etag": live.deployment.etag, "quarantined": quarantined}
        swap = asdict(self._store.swap)
        swap["error"] = swap["error"] and self.without_root(swap["error"])
        return _encode({**essentials, "domains": domains, "deployment": deployment, "swap": swap})

    def without_root(self, text: str) -> str:
        """The text of an error without the path of the folder of bundles."""
        for root in (self.path, self.path.resolve(), self.path.parent, self.path.resolve().parent):
            text = text.replace(f"{root}/", "") if len(root.parts) > 1 else text
        for root in (self.path, self.path.resolve()):
            text = text.replace(str(root), root.name) if len(root.parts) > 1 else text
        return text

    def ready(self) -> bytes:
        if self._leaving:
            raise Problem("draining", "The service is about to stop; ask another one.")
        live = self.live()
        assert self.lists.exposures is not None  # a bundle is loaded only after the log is open
        tally = asdict(self.lists.exposures.tally)
        status = "degraded" if self._store.swap.state == "failed" or live.quarantined else "ready"
        return _encode({"status": status, "bundle_id": live.champion.bundle_id, "exposures": tally})

    def live(self) -> Live:
        """What is served; whoever takes a bundle from it may go on with it while another is swapped in."""
        live = self._store.live
        if live is None:
            error = self._store.swap.error
            why = self.without_root(f"No bundle is loaded: {error}")
            detail = why if error else "The first bundle is being verified; try again."
            raise Problem("not_ready", detail, headers={"Retry-After": "1"})
        return live


def _describe_items(items: Sequence[Suggestion]) -> list[dict[str, Any]]:
    return [{"item_id": item.item_id, "score": item.score, "title": item.title} for item in items]


def _time_call(call: Call, began: float, made: Callable[[bytes, Call], Any], body: bytes) -> bytes:
    """The answer to a body, as JSON; its milliseconds are left in `call.search_ms`."""
    content = _encode(made(body, call))
    call.search_ms = (time.perf_counter() - began) * 1e3
    return content


def _encode(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
