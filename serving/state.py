"""Which bundle is served: loaded and verified aside, swapped in one assignment, the old one kept where loading fails.

Requests in flight hold the bundle they began with; its memory goes with the last of them.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import POINTER, current
from recsys.errors import BundleError

_log = logging.getLogger("serving")
_PATIENCE_S = 1.0

Started = Callable[[Bundle | Exception], None]


@dataclass(frozen=True)
class Swap:
    """The last attempt to load a bundle. state: loading, serving or failed; since: unix seconds."""

    state: str
    bundle_id: str | None = None
    error: str | None = None
    since: int = field(default_factory=lambda: int(time.time()))


class Store:
    """Serves the bundle that `path` is, or the one that its pointer names, looked up again every `poll_s` seconds.

    A roll back is a pointer that names an earlier bundle. A bundle that failed is tried again when the pointer is
    written again. started: called once, after the first attempt, with the bundle or what stands in the way.
    """

    def __init__(self, path: Path, poll_s: float, started: Started) -> None:
        self.bundle: Bundle | None = None
        self.swap = Swap("loading")
        self._path, self._poll_s, self._started = path, poll_s, started
        self._seen: object = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="bundles", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the watch; a load that still runs is not waited for, since nothing depends on it."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)

    def _watch(self) -> None:
        self._begin()
        while not self._stop.wait(self._poll_s):
            self._look()

    def _begin(self) -> None:
        outcome = self._look() or self.bundle
        assert outcome is not None
        self._started(outcome)

    def _look(self) -> Exception | None:
        """Loads what the path leads to, unless that is served or has been tried already; the error, if any."""
        try:
            seen = self._stamp(), current(self._path)
        except (BundleError, OSError, ValueError) as error:
            return None if self._seen == str(error) else self._fail(None, error, str(error))
        if seen == self._seen:
            return None
        self._seen, folder = seen, seen[1]
        if self.bundle is None or self.bundle.path != folder:
            self.swap = Swap("loading", folder.name)
            try:
                bundle = load(folder)
                _ = bundle.norms  # computed here, not in the first request that needs it
            except Exception as error:  # a damaged file can fail anywhere; the old bundle serves on
                return self._fail(folder.name, error, seen)
            self.bundle = bundle
            _log.info("serving bundle %s", bundle.bundle_id)
        self.swap = Swap("serving", self.bundle.bundle_id)
        return None

    def _stamp(self) -> tuple[int, int] | None:
        """Changes whenever the pointer is written."""
        pointer = self._path / POINTER
        if not pointer.is_file():
            return None
        status = pointer.stat()
        return status.st_ino, status.st_mtime_ns

    def _fail(self, bundle_id: str | None, error: Exception, seen: object) -> Exception:
        sentence = str(error) if isinstance(error, BundleError) else f"{type(error).__name__}: {error}"
        self._seen, self.swap = seen, Swap("failed", bundle_id, sentence)
        if self.bundle is not None:
            _log.error("keeping bundle %s: %s", self.bundle.bundle_id, sentence)
        return BundleError(sentence)
