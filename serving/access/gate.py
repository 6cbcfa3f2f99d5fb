"""Who may pass: keys with scopes and quotas, read anew when their file changes; and what is told of every
request."""

import logging
import os
import random
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from recsys.errors import SettingError
from recsys.keys import Key, read_keys
from recsys.serving.access.access_log import AccessLog
from recsys.serving.access.call import Call, Head
from recsys.serving.problems import Problem
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.runtime.spans import Spans
from recsys.serving.settings import ServingSettings

_LOOK_S = 0.5
_SCHEME = b"bearer "
_SECRET = "cursor.secret"
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_log = logging.getLogger("serving")


class Gate:
    """Lets requests in, and writes down what became of them. `start` and `close` bound its life.

    busy: how many requests are answered or wait. shared: a folder of several workers, which holds the secret
    of cursors where no file of keys does.
    """

    def __init__(
        self, settings: ServingSettings, metrics: Metrics, busy: Callable[[], int], shared: Path | None = None
    ) -> None:
        self._file = settings.keys_file
        self._metrics, self._busy, self._quotas = metrics, busy, _Quotas(settings.workers)
        self._log = AccessLog(settings.access_log)
        self._spans = Spans(settings.otel, settings.otel_share) if settings.otel else None
        self._stamp = self._read_stamp()
        self._ring = None if self._file is None else read_keys(self._file)
        self._lonely_secret = _secret_of_start(shared)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="keys", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()
        self._log.close()
        self._metrics.set_queue(0)  # a successor in this slot counts on
        if self._spans is not None:
            self._spans.close()

    @property
    def cursor_secret(self) -> bytes:
        return self._lonely_secret if self._ring is None else self._ring.cursor_secret

    @property
    def asks(self) -> bool:
        """Whether a key is asked for."""
        return self._ring is not None

    def admit(self, call: Call, scope: str | None) -> None:
        """Raises a Problem where the request may not pass. scope: what its route asks for; None = nothing."""
        ring = self._ring
        if scope is None:
            return
        if ring is None:
            if scope == "admin":
                raise Problem(
                    "missing_scope", "What is served is changed only by a key with the scope admin; make one."
                )
            return
        given = call.headers.get(b"authorization", b"")
        key = ring.find(given[len(_SCHEME) :].strip()) if given[: len(_SCHEME)].lower() == _SCHEME else None
        if key is None:
            detail = "Send a key that is not revoked, as `Authorization: Bearer rk_...`."
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="recsys"'})
        call.key = key
        if scope not in key.scopes:
            challenge = f'Bearer realm="recsys", error="insufficient_scope", scope="{scope}"'
            detail = f"The key {key.id} lacks the scope {scope}."
            raise Problem("missing_scope", detail, headers={"WWW-Authenticate": challenge})
        if key.quota is not None:
            try:
                call.head = self._quotas.take(key)
            except Problem:
                call.limited = True
                raise

    def finish(self, call: Call, method: str, route: str, status: int, since: float) -> Head:
        """Counts an answer and writes it down, before it leaves; what its head says of the request.

        since: the moment of `time.perf_counter` at which the request was there.
        """
        seconds = perf_counter() - since
        self._metrics.count_request(method, route, status, seconds)
        if status == 429:
            self._metrics.count_shed("rate_limited" if call.limited else "overloaded")
        if call.search_ms is not None:
            self._metrics.time_search(call.search_ms / 1e3)
        if self._log.open:
            self._log.append(call, method, route, status, seconds)
        if self._spans is not None:
            self._spans.record(call, method, route, status, seconds)
        return call.answer_head()

    def _read_stamp(self) -> tuple[int, int, int] | None:
        if self._file is None:
            return None
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _watch(self) -> None:
        """Takes the keys anew when their file changes. What cannot be read, or is gone, leaves those that
        were."""
        while not self._closing.wait(_LOOK_S):
            self._metrics.set_queue(self._busy())
            self._metrics.settle()
            stamp = self._read_stamp()
            if self._file is None or stamp == self._stamp:
                continue
            self._stamp = stamp
            try:
                ring = read_keys(self._file)
            except SettingError as error:
                _log.error("keys stay as they were: %s", error)
                continue
            if ring is None:
                _log.error("the file of keys is gone; those that it held stay")
            else:
                self._ring = ring
                _log.info("%d keys are live", len(ring.live))


class _Quotas:
    """How many requests a key may make: a fixed window for each, in the memory of this process.

    share: the number of processes that a quota is divided by, since each counts for itself."""

    def __init__(self, share: int) -> None:
        self._share = share
        self._limiter: Any = None
        self._limits = dict[str, tuple[Any, bytes]]()

    def take(self, key: Key) -> Head:
        """Counts a request of a key that has a quota; the headers that say so. Raises a Problem where none is
        left.

        The headers are those of an Internet-Draft (draft-ietf-httpapi-ratelimit-headers), in its form of
        2025.
        """
        limit, policy = self._limit_of(key)
        taken = self._limiter.hit(limit, key.id)
        reset, left = self._limiter.get_window_stats(limit, key.id)
        seconds = max(0, round(reset - time.time()))
        state = b'"key";r=%d;t=%d' % (left, seconds)
        if not taken:
            wait = max(1, seconds) + random.randrange(3)  # so that clients do not come back all at once
            headers = {
                "Retry-After": str(wait),
                "RateLimit-Policy": policy.decode(),
                "RateLimit": state.decode(),
            }
            raise Problem(
                "rate_limited", f"The key may make {key.quota} requests; try again later.", headers=headers
            )
        return [(b"ratelimit-policy", policy), (b"ratelimit", state)]

    def _limit_of(self, key: Key) -> tuple[Any, bytes]:
        """(the limit of this process, its policy as a header)."""
        assert key.quota is not None
        if (limit_of := self._limits.get(key.quota)) is None:
            import limits  # only where a key has a quota

            if self._limiter is None:
                self._limiter = limits.strategies.FixedWindowRateLimiter(limits.storage.MemoryStorage())
            amount, unit = key.quota.split("/")
            share = max(1, int(amount) // self._share)
            limit = limits.parse(f"{share}/{unit}")
            limit_of = self._limits[key.quota] = limit, b'"key";q=%d;w=%d' % (share, _SECONDS[unit])
        return limit_of


def _secret_of_start(shared: Path | None) -> bytes:
    """32 bytes, the same for all workers of one start."""
    if shared is None:
        return secrets.token_bytes(32)
    path, aside = shared / _SECRET, shared / f"{_SECRET}.{os.getpid()}"
    aside.write_bytes(secrets.token_bytes(32))
    with suppress(FileExistsError):  # another worker was first
        os.link(aside, path)
    aside.unlink()
    return path.read_bytes()
