"""A thread that looks after the event store: it counts what came, and deletes what is older than it may be.

Every worker has one, and one of them at a time does the work: whoever holds a lock file. It has a connection
of its own and works by small slices, so that it holds up nobody who tells.
"""

import fcntl
import logging
import os
import threading
import time
from pathlib import Path

import apsw

from recsys.events.store import EventStore
from recsys.events.watch import Watch
from recsys.history import DAY_S
from recsys.serving.runtime.metrics import Metrics

LOCK = "keeper.lock"
_PAUSE_S = 0.05  # between two slices of what is deleted
_log = logging.getLogger("serving")


class Keeper:
    """The thread. folder: of the store. keep_days: days that events and lists are kept, None = for ever.
    watch_s: seconds between two counts of new events; prune_s: between two deletions of old ones."""

    def __init__(
        self, folder: Path, metrics: Metrics, keep_days: float | None, watch_s: float, prune_s: float = 600.0
    ) -> None:
        self._folder, self._metrics, self._keep_days = folder, metrics, keep_days
        self._watch_s, self._prune_s = watch_s, prune_s
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _keep(self) -> None:
        lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        store: EventStore | None = None
        try:
            while not self._holds(lock):
                if self._closing.wait(self._watch_s):
                    return
            store = EventStore(self._folder)
            self._work(store, Watch(store))
        finally:
            if store is not None:
                store.close()
            os.close(lock)

    @staticmethod
    def _holds(lock: int) -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _work(self, store: EventStore, watch: Watch) -> None:
        pruned = -float("inf")
        while True:
            try:
                self._metrics.count_followed(watch.look())
                if self._keep_days is not None and time.monotonic() - pruned >= self._prune_s:
                    before_ms = time.time_ns() // 1_000_000 - int(self._keep_days * DAY_S * 1000)
                    self._metrics.count_pruned(store.prune(before_ms, _PAUSE_S, self._closing.is_set))
                    pruned = time.monotonic()
            except apsw.Error as error:  # a full disk, say: the next look may go well
                _log.error("event store: %s", error)
            if self._closing.wait(self._watch_s):
                return
