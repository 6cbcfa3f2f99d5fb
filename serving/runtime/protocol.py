"""How bytes of a connection become answers: uvicorn's protocol, with a short way for the requests that come
most.

A POST to one of the hot paths that arrives whole, in one piece, goes from its bytes to the pool and from
there back to the connection. All others (other routes, queries, chunked or large or slow bodies) go uvicorn's
way, to the app.
"""

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from recsys.serving.access.call import Call, Head
from recsys.serving.access.gate import Gate
from recsys.serving.body import refuse_other_media
from recsys.serving.problems import Problem, fault
from recsys.serving.runtime.pool import OVERLOADED, Pool, wait_s
from recsys.serving.schemas import MAX_BODY_BYTES

Work = Callable[[bytes, Call], bytes]  # from the body of a request to the answer's body
_WAITS = (
    b"min_state_seq"  # in the body of a request that may wait for what others write, and so not in the loop
)


class HotRoute(NamedTuple):
    """What answers POST, in a thread of the pool; the route's name, and the scope that it asks for."""

    work: Work
    path: str
    scope: str | None


Hot = Mapping[bytes, HotRoute]  # by the bytes of an address
_CLOSE = (b"connection", b"close")


class _NoEvent:
    def set(self) -> None:
        pass


class _Direct:
    """A request on the short way, as uvicorn's protocol sees those that it answers itself."""

    __slots__ = ("call", "disconnected", "keep_alive", "response_complete", "route", "since")
    message_event = _NoEvent()

    def __init__(self, call: Call, route: str, keep_alive: bool) -> None:
        self.call, self.route, self.keep_alive, self.since = call, route, keep_alive, perf_counter()
        self.response_complete = self.disconnected = False


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, hot: Hot, pool: Pool, gate: Gate, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._hot, self._pool, self._gate = hot, pool, gate
        self._work: HotRoute | None = None  # of the request that is being read, where it may go the short way
        self._body = b""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn cancels its timer only where the other end said goodbye: after a reset all would be held
        # until then
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._work is not None and not self.transport.is_closing():
            self._take_the_long_way()

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's words for what is no HTTP, which are plain text."""
        _, head, body = _NO_HTTP
        told = [b"%s: %s\r\n" % header for header in (*self.server_state.default_headers, _CLOSE)]
        self.transport.write(b"".join([STATUS_LINE[400], *dict.fromkeys(told), head, b"\r\n", body]))
        self.transport.close()

    def on_headers_complete(self) -> None:
        work = self._hot.get(self.url)
        if (
            work is None
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
            or self.parser.should_upgrade()
            or self.expect_100_continue
            or not (self.cycle is None or self.cycle.response_complete)
        ):
            return super().on_headers_complete()
        self._work, self._body = work, b""
        return None

    def on_body(self, body: bytes) -> None:
        if self._work is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        headers = dict(self.headers or ())
        if self._work is not None and (len(self._body) > MAX_BODY_BYTES or b"origin" in headers):
            self._take_the_long_way()
        if (work := self._work) is None:
            return super().on_message_complete()
        self._work = None
        call = Call(headers)
        cycle: Any = _Direct(call, work.path, self.parser.should_keep_alive())
        self.cycle = cycle
        try:
            self._gate.admit(call, work.scope)
            if self._pool.full:  # said before anything is read
                return self._answer(cycle, OVERLOADED)
            refuse_other_media(headers)
            one = not work.path.endswith(":batch") and _WAITS not in self._body
            done = partial(self._answer, cycle)
            self._pool.submit(done, work.work, self._body, call, wait_s=wait_s(headers), one_list=one)
        except Problem as problem:
            self._answer(cycle, problem)
        return None

    def _take_the_long_way(self) -> None:
        """Gives what has been read of the request to uvicorn, as if it had come now."""
        self._work = None
        super().on_headers_complete()
        if self._body:
            super().on_body(self._body)

    def _answer(self, cycle: _Direct, outcome: bytes | Exception) -> None:
        """Writes the outcome of the request, and goes on with the next."""
        if cycle.disconnected or self.transport.is_closing():
            return
        if isinstance(outcome, bytes):
            status, head = 200, b"content-length: %d\r\ncontent-type: application/json\r\n" % len(outcome)
        else:
            problem = outcome if isinstance(outcome, Problem) else fault("POST", cycle.route, outcome)
            status, head, outcome = _OVERLOADED if problem is OVERLOADED else _refusal(problem)
        told: Head = self._gate.finish(cycle.call, "POST", cycle.route, status, cycle.since)
        told += self.server_state.default_headers
        parts = [STATUS_LINE[status], *[b"%s: %s\r\n" % header for header in told], head]
        if not cycle.keep_alive and _CLOSE not in self.server_state.default_headers:
            parts.append(b"connection: close\r\n")
        self.transport.write(b"".join([*parts, b"\r\n", outcome]))
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _refusal(problem: Problem) -> tuple[int, bytes, bytes]:
    """(status, lines of the head, body) of a problem."""
    response = problem.response()
    head = b"".join(b"%s: %s\r\n" % header for header in response.raw_headers)
    return response.status_code, head, bytes(response.body)


_NO_HTTP = _refusal(
    Problem("invalid_http", "The request is no HTTP/1.1, or its address or a header is too long.")
)
_OVERLOADED = _refusal(OVERLOADED)  # many are told it at a time
