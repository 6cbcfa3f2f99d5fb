"""What is counted, by OpenMetrics' names: in this process or, with several workers, in files that outlive
them."""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

_SECONDS = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.0075,
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    0.75,
    1.0,
    2.5,
    5.0,
    10.0,
)
_SEARCH_S = (0.0001, 0.00025, *_SECONDS[:13])
_LOOKS, _LOOK_S = 50, 0.02  # at files that workers are making, and the seconds between two
_MOST_PLACEMENTS, _OTHER = 50, "_other"  # labels are written by clients, and memory is ours


class Metrics:
    """The metrics of one process. An answer is counted before anybody can look.

    at_once: every answer is counted before it leaves, for values in files, which outlive the process. Else
    answers wait in a queue, and are counted many at a time and before anybody looks: the values end with the
    process, so nobody can tell, and a request does not pay for counters that the search pushed out of the
    caches.
    """

    def __init__(self, *, at_once: bool = False) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Before(self.settle))
        self._at_once = at_once
        self._waiting, self._settling = deque[tuple[Callable[..., None], tuple[Any, ...]]](), threading.Lock()
        self._requests = Histogram(
            "http_server_request_duration_seconds",
            "Requests by route and status, from their last byte to their answer",
            ("http_request_method", "http_route", "http_response_status_code"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._search = Histogram(
            "recsys_search_duration_seconds",
            "Answers of lists, without HTTP and waiting",
            buckets=_SEARCH_S,
            registry=self.registry,
        )
        self._answers = Counter(
            "recsys_answers",
            "Lists answered, by where they come from, where they are shown, and by which arm",
            ("source", "placement", "arm"),
            registry=self.registry,
        )
        self._items = Counter("recsys_answer_items", "Items in these lists", registry=self.registry)
        self._short = Counter(
            "recsys_answers_short", "Lists with fewer items than were asked for", registry=self.registry
        )
        self._shed = Counter(
            "recsys_shed_requests", "Requests refused for load", ("reason",), registry=self.registry
        )
        self._queue = Gauge(
            "recsys_queue_requests",
            "Requests that are answered or wait",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._lost = Counter(
            "recsys_exposures_lost", "Lines that the exposure log lost", registry=self.registry
        )
        self._arm_fallbacks = Counter(
            "recsys_arm_fallbacks",
            "Lists of an arm that the champion answered, by why the arm could not",
            ("arm", "reason"),
            registry=self.registry,
        )
        self._events = Counter(
            "recsys_events", "Events told, by what became of them", ("result",), registry=self.registry
        )
        self._followed = Counter(
            "recsys_followed",
            (
                "Lists and what followed, by where and by which arm they were shown, and whether the list "
                "is known"
            ),
            ("kind", "placement", "arm", "joined"),
            registry=self.registry,
        )
        self._pruned = Counter(
            "recsys_events_pruned",
            "Events and lists deleted for their age",
            ("what",),
            registry=self.registry,
        )
        self._swaps = Counter("recsys_swaps", "Deployments tried", ("outcome",), registry=self.registry)
        self._children = dict[tuple[str, ...], Any]()
        self._placements = {""}
        for result in ("accepted", "duplicate", "rejected", "redated"):
            self._child(self._events, result)
        for kind in ("list", "impression", "outcome"):
            self._child(self._followed, kind, "", "", "true")
        for what in ("events", "exposures"):
            self._child(self._pruned, what)
        for reason in ("overloaded", "rate_limited"):
            self._shed.labels(reason)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._count(self._add_request, method, route, status, seconds)

    def count_shed(self, reason: str) -> None:
        self._child(self._shed, reason).inc()

    def count_list(
        self,
        source: str,
        placement: str | None,
        experiment: str | None,
        arm: str | None,
        items: int,
        *,
        short: bool,
    ) -> None:
        """short: whether it has fewer items than were asked for."""
        self._count(self._add_list, source, placement, experiment, arm, items, short)

    def count_arm_fallback(self, experiment: str, arm: str, reason: str) -> None:
        """reason: not_loaded, failed or refused."""
        self._child(self._arm_fallbacks, f"{experiment}/{arm}", reason).inc()

    def time_search(self, seconds: float) -> None:
        self._count(self._search.observe, seconds)

    def set_queue(self, requests: int) -> None:
        self._queue.set(requests)

    def count_lost_lines(self, lines: int = 1) -> None:
        self._lost.inc(lines)

    def count_events(self, counts: Mapping[str, int]) -> None:
        """counts: by outcome; `redated` are among the accepted."""
        for result, count in counts.items():
            self._child(self._events, result).inc(count)

    def count_followed(self, counts: Mapping[tuple[str, str, str, bool], int]) -> None:
        """counts: by kind, placement, arm, and whether the list is known; the caller keeps the labels few."""
        for (kind, placement, arm, joined), count in counts.items():
            self._child(self._followed, kind, placement, arm, str(joined).lower()).inc(count)

    def count_pruned(self, counts: Mapping[str, int]) -> None:
        for what, count in counts.items():
            self._child(self._pruned, what).inc(count)

    def count_swap(self, outcome: str) -> None:
        self._child(self._swaps, outcome).inc()

    def settle(self) -> None:
        """Counts the answers that wait in the queue."""
        with self._settling:  # whoever looks waits for what another is just counting
            while self._waiting:
                add, told = self._waiting.popleft()
                add(*told)

    def _count(self, add: Callable[..., None], *told: Any) -> None:
        if self._at_once:
            add(*told)
        else:
            self._waiting.append((add, told))

    def _add_request(self, method: str, route: str, status: int, seconds: float) -> None:
        self._child(self._requests, method, route, str(status)).observe(seconds)

    def _add_list(
        self,
        source: str,
        placement: str | None,
        experiment: str | None,
        arm: str | None,
        items: int,
        short: bool,
    ) -> None:
        where = placement or ""
        if where not in self._placements:
            if len(self._placements) > _MOST_PLACEMENTS:
                where = _OTHER
            self._placements.add(where)
        self._child(self._answers, source, where, f"{experiment}/{arm}" if experiment else "").inc()
        self._items.inc(items)
        if short:
            self._short.inc()

    def _child(self, metric: Any, *labels: str) -> Any:
        """`metric.labels(...)`, cached, since it is slow."""
        key = (metric._name, *labels)
        if (child := self._children.get(key)) is None:
            child = self._children[key] = metric.labels(*labels)
        return child


def keep_in_files(slot: int) -> None:
    """From now on values of this process are kept in the files of a slot, below PROMETHEUS_MULTIPROC_DIR.

    A worker that takes the place of a dead one takes its slot, and goes on counting where it ended. Two that
    live at the same time must not share one.
    """
    values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


class _Before(Collector):
    """A collector without metrics: runs a function before those that are registered after it are read."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def collect(self) -> Iterator[Metric]:
        self._act()
        return iter(())


class _Files(Collector):
    """The files of all workers. One that a worker is just making cannot be read: then all are looked at
    anew."""

    def __init__(self, folder: Path) -> None:
        self._files = MultiProcessCollector(None, path=str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        for _ in range(_LOOKS):
            with suppress(OSError, ValueError, RuntimeError, LookupError, struct.error):
                return self._look()
            time.sleep(_LOOK_S)
        return self._look()

    def _look(self) -> Iterator[Metric]:
        return iter(list(self._files.collect()))  # type: ignore[no-untyped-call]


class Workers:
    """Sums over the files of all workers, dead ones included, and what the parent itself knows.

    alive: says, whenever somebody looks, how many serve.
    """

    def __init__(self, folder: Path, alive: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Files(folder))
        Gauge("recsys_workers", "Workers that serve", registry=self.registry).set_function(alive)
        self._restarts = Counter(
            "recsys_worker_restarts", "Workers that died and were replaced", registry=self.registry
        )

    def count_restart(self) -> None:
        self._restarts.inc()
