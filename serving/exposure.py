"""Exposures: one JSON line for each list that was served, into the event store, or into a log before the
answer leaves.

A line of a log is one `write` to a file opened for appending, so killing the process loses none; a thread of
its own makes them survive the machine, every second (an fsync for each line would allow a few hundred answers
a second, and one for each 32 of them costs as much as writing them).
"""

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from recsys.config import home
from recsys.errors import SettingError
from recsys.events.store import Exposure
from recsys.serving.events import Events, Tally

OFF, STANDARD_OUTPUT, STORE = "off", "-", "store"
_SYNC_S = 1.0
_log = logging.getLogger("serving")


class Shown(NamedTuple):
    """Of a list that was served, what its line is found by."""

    request_id: str
    time_ms: int
    user_id: str | None
    unit_id: str | None


class StoredExposures:
    """Lists go into the event store, soon after the answer: a slow disk holds up no answer. What a process
    that is killed had not written is lost, a tenth of a second at most; what the disk refuses is counted."""

    def __init__(self, events: Events) -> None:
        self._events, self._numbers = events, count(1)
        self.open = events.there

    @property
    def tally(self) -> Tally:
        return self._events.exposed

    def append(self, made: Callable[[int], bytes], shown: Shown) -> None:
        """Has a line written. made: as in `ExposureLog`."""
        self._events.expose(Exposure(*shown, made(next(self._numbers))))

    def close(self) -> None:
        """The store is closed by whoever opened it, after everything is written."""


class ExposureLog:
    """An open log. A failing disk never raises: lines are counted as lost and the first loss is logged."""

    def __init__(self, setting: Path, lost: Callable[[], None] = lambda: None) -> None:
        """Opens the file, makes its folder, ends a line that a crash left torn. Raises SettingError where it
        cannot.

        setting: a file, `-` for standard output, or `off` for no log at all. lost: called for each line that
        is lost.
        """
        self._lost = lost
        self.tally = Tally()
        self._numbers = count(1)
        self._lock, self._closing, self._pending = threading.Lock(), threading.Event(), False
        self._file = _open(setting)
        self._on_disk = self._file is not None and stat.S_ISREG(os.fstat(self._file).st_mode)
        self._torn = self._file is not None and self._on_disk and _ends_torn(self._file)
        self._thread = threading.Thread(target=self._sync_until_closed, name="exposures", daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        """Whether lines are kept at all."""
        return self._file is not None

    def append(self, made: Callable[[int], bytes], shown: Shown) -> None:
        """Writes one line; it is in the kernel's hands when this returns. shown: is in the line.

        made: gives the line with its newline, from its number among all since the start, lost ones counted.
        """
        if self._file is None:
            return
        line = made(next(self._numbers))
        with self._lock:
            text = b"\n" + line if self._torn else line
            try:
                if (written := os.write(self._file, text)) < len(text):
                    self._torn = written > 0
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self._note_failure(error, lost=1)
                return
            self._torn, self.tally.error = False, None
            self.tally.written += 1
            self._pending = True

    def _note_failure(self, error: OSError, lost: int) -> None:
        if self.tally.error is None:
            _log.error("exposure log: %s; answers are still given, lost lines are counted", error.strerror)
        self.tally.error = error.strerror
        self.tally.lost += lost
        if lost:
            self._lost()

    def _sync_until_closed(self) -> None:
        while not self._closing.wait(_SYNC_S):
            self._sync()

    def _sync(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, False
        if pending and self._file is not None and self._on_disk:
            try:
                os.fsync(self._file)
            except OSError as error:
                with self._lock:
                    self._note_failure(error, lost=0)

    def close(self) -> None:
        """Everything written is on the disk when this returns."""
        self._closing.set()
        self._thread.join()
        self._sync()
        if self._file is not None:
            os.close(self._file)


Exposures = ExposureLog | StoredExposures


def open_exposures(setting: Path, events: Events, lost: Callable[[], None]) -> Exposures:
    """Where a setting says that lists go. Raises SettingError where a file cannot be appended to."""
    return StoredExposures(events) if str(setting) == STORE else ExposureLog(setting, lost)


def _open(setting: Path) -> int | None:
    """What to append to; None where nothing is logged."""
    if str(setting) == OFF:
        return None
    if str(setting) == STANDARD_OUTPUT:
        return os.dup(1)
    path = home() / setting
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise SettingError(
            f"setting 'exposures': {path} cannot be appended to: {error.strerror}. Name a file on a "
            f"writable disk, `{STANDARD_OUTPUT}` for standard output, or `{OFF}` for none."
        ) from None


def _ends_torn(file: int) -> bool:
    """Whether a file on disk ends within a line."""
    size = os.fstat(file).st_size
    return size > 0 and os.pread(file, 1, size - 1) != b"\n"
