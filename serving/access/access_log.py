"""The access log: a JSON line for each request. It names routes and the public parts of keys, no address and
nobody."""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import orjson

from recsys.config import home
from recsys.errors import SettingError
from recsys.serving.access.call import Call

OFF = "off"
_FLUSH_S, _FLUSH_LINES = 1.0, 256


class AccessLog:
    """Lines are kept until a second is over or many wait, and are then written at once."""

    def __init__(self, setting: str) -> None:
        """setting: a file, or `off`. Raises SettingError where it cannot be appended to."""
        self._lines: list[bytes] = []
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._file = None if setting == OFF else _open(home() / setting)
        self._thread = threading.Thread(target=self._flush_until_closed, name="access log", daemon=True)
        if self._file is not None:
            self._thread.start()

    @property
    def open(self) -> bool:
        return self._file is not None

    def append(self, call: Call, method: str, route: str, status: int, seconds: float) -> None:
        trace = call.traceparent
        self._lines.append(
            orjson.dumps(
                {
                    "time": round(time.time(), 3),
                    "request_id": call.shown_id.decode(),
                    "list_id": call.request_id,
                    "trace_id": None if trace is None else trace[3:35].decode(),
                    "key": None if call.key is None else call.key.id,
                    "method": method,
                    "route": route,
                    "status": status,
                    "ms": round(seconds * 1e3, 3),
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
        )
        if len(self._lines) >= _FLUSH_LINES:
            self._flush()

    def _flush(self) -> None:
        with self._lock:
            lines, self._lines = self._lines, []
            if lines and self._file is not None:
                with suppress(OSError):  # a full disk stops no answer; the exposure log says what is lost
                    os.write(self._file, b"".join(lines))

    def _flush_until_closed(self) -> None:
        while not self._closing.wait(_FLUSH_S):
            self._flush()

    def close(self) -> None:
        """Everything is in the kernel's hands when this returns."""
        self._closing.set()
        if self._file is not None:
            self._thread.join()
            self._flush()
            os.close(self._file)
            self._file = None


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise SettingError(
            f"setting 'access_log': {path} cannot be appended to: {error.strerror}. Name a file, or "
            f"`{OFF}` for none."
        ) from None
