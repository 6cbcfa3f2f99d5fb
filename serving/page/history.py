"""What was counted, by time, for the page: a line for each step in a file that outlives the service.

One process writes it, which sees the sums over all workers; all of them read it.
"""

import fcntl
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from prometheus_client.registry import CollectorRegistry

from recsys.events import watch

FILE, POINTER = "history.jsonl", "history"
MOST = 10_000  # points that are kept
COLUMNS = (
    *("time", "requests", "errors", "shed", "p50_ms", "p99_ms"),  # rates are by second; time in unix seconds
    *("known", "history", "features", "fallback", "swaps", "lost"),
)
_SOURCES = COLUMNS[6:10]
_DURATION = "http_server_request_duration_seconds"
_log = logging.getLogger("serving")


class History:
    """state: the folder of what outlives the service, or None. shared: that of several workers. step_s:
    seconds."""

    def __init__(self, state: Path | None, shared: Path | None, step_s: float) -> None:
        self._state, self._shared, self.step_s = state, shared, step_s
        self._path: Path | None = None
        self._lock: int | None = None
        self._own: TemporaryDirectory[str] | None = None
        self._before: dict[str, float] | None = None
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, registry: CollectorRegistry) -> None:
        """Writes a point every `step_s` seconds from now on, until `close`."""
        self._path = self._claim()
        if self._shared is not None:
            (self._shared / POINTER).write_text(str(self._path))
        self._thread = threading.Thread(target=self._record, args=(registry,), name="history", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._lock is not None:
            os.close(self._lock)
        if self._own is not None:
            self._own.cleanup()

    def read(self, points: int) -> bytes:
        """The last points, as the JSON of `documents.Stats`."""
        path = self._path
        if path is None and self._shared is not None and (self._shared / POINTER).exists():
            path = Path((self._shared / POINTER).read_text())
        lines = [] if path is None or not path.exists() else path.read_bytes().split(b"\n")[:-1]
        watched = {"columns": watch.COLUMNS, "rows": watch.read(self._state)["rows"]}
        head = orjson.dumps({"step_s": self.step_s, "watched": watched, "columns": COLUMNS})
        return head[:-1] + b',"rows":[' + b",".join(lines[-points:]) + b"]}"

    def _claim(self) -> Path:
        """The file, which nobody else writes: beside the keys, or where that cannot be, for this life
        only."""
        if self._state is not None:
            try:
                self._state.mkdir(parents=True, exist_ok=True)
                lock = os.open(self._state / f"{FILE}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(lock)
                    raise
                self._lock = lock
                (self._state / FILE).touch(0o640)
                _shorten(self._state / FILE)
                return self._state / FILE
            except OSError as error:
                _log.warning("the history of this life is not kept: %s", error.strerror)
        self._own = TemporaryDirectory(prefix="recsys-history-")
        return Path(self._own.name, FILE)

    def _record(self, registry: CollectorRegistry) -> None:
        assert self._path is not None
        written = 0
        while not self._closing.wait(self.step_s):
            line = self._point(registry)
            try:
                with self._path.open("ab") as file:
                    file.write(line + b"\n")
                if (written := written + 1) % MOST == 0:
                    _shorten(self._path)
            except OSError:  # a full disk stops nothing else
                continue

    def _point(self, registry: CollectorRegistry) -> bytes:
        now = _sums(registry)
        before, self._before = self._before or dict.fromkeys(now, 0.0), now
        grown = {name: max(0.0, value - before.get(name, 0.0)) for name, value in now.items()}

        def rate(name: str) -> float:
            return round(grown.get(name, 0.0) / self.step_s, 3)

        edges = sorted((float(name[3:]), value) for name, value in grown.items() if name.startswith("le="))
        quantiles = [_quantile(edges, share) for share in (0.5, 0.99)]
        row = [round(time.time()), rate("requests"), rate("errors"), rate("shed"), *quantiles]
        row += [rate(f"source={source}") for source in _SOURCES]
        return orjson.dumps([*row, grown.get("swaps", 0.0), grown.get("lost", 0.0)])


def _sums(registry: CollectorRegistry) -> dict[str, float]:
    """The counts that points are made of."""
    sums: dict[str, float] = {}

    def add(name: str, value: float) -> None:
        sums[name] = sums.get(name, 0.0) + value

    for family in registry.collect():
        for sample in family.samples:
            labels: Mapping[str, Any] = sample.labels
            if sample.name == f"{_DURATION}_bucket":
                add(f"le={labels['le']}", sample.value)
            elif sample.name == f"{_DURATION}_count":
                add("requests", sample.value)
                if labels["http_response_status_code"].startswith("5"):
                    add("errors", sample.value)
            elif sample.name == "recsys_answers_total":
                add(f"source={labels['source']}", sample.value)
            elif sample.name == "recsys_shed_requests_total":
                add("shed", sample.value)
            elif sample.name == "recsys_swaps_total":
                add("swaps", sample.value)
            elif sample.name == "recsys_exposures_lost_total":
                add("lost", sample.value)
    return sums


def _quantile(edges: list[tuple[float, float]], share: float) -> float | None:
    """Milliseconds under which such a share of the requests lies, straight between the edges of buckets."""
    if not edges or not edges[-1][1]:
        return None
    wanted, low, below = share * edges[-1][1], 0.0, 0.0
    for edge, count in edges:
        if count >= wanted:
            if edge == float("inf"):
                return round(low * 1e3, 3)
            return round((low + (edge - low) * (wanted - below) / max(count - below, 1e-9)) * 1e3, 3)
        low, below = edge, count
    return None


def _shorten(path: Path) -> None:
    """Leaves the last points, and no torn line."""
    lines = path.read_bytes().split(b"\n")[:-1]
    whole = [line for line in lines[-MOST:] if line.startswith(b"[") and line.endswith(b"]")]
    aside = path.with_suffix(".partial")
    aside.write_bytes(b"".join(line + b"\n" for line in whole))
    aside.replace(path)
