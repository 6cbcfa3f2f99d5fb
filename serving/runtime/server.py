"""A server that ends without dropping a request: it says so, closes its door, and answers whoever is
inside."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import uvicorn

from recsys.serving.app import Parts
from recsys.serving.runtime.protocol import Protocol
from recsys.serving.settings import ServingSettings

_CLOSE = (b"connection", b"close")
_LOOK_S = 0.02


class Server(uvicorn.Server):
    """uvicorn, whose end has three steps.

    Lame duck: for `lame_duck_s` seconds readiness is refused (`leave` is called) while new connections are
    still taken, so that balancers turn away before anybody is refused. Then whoever waits at the door is let
    in, the door is closed, and for `drain_s` seconds open connections are answered with `Connection: close`.
    Then those that are idle are closed, and running requests end. SIGTERM takes all of them; SIGINT, a closed
    standard input and `stop` leave the first one out.
    """

    def __init__(self, parts: Parts, settings: ServingSettings) -> None:
        config = uvicorn.Config(
            parts.app,
            http=cast(Any, partial(Protocol, hot=parts.hot, pool=parts.pool, gate=parts.gate)),
            loop="uvloop",
            ws="none",
            lifespan="off",  # of the parts, which begin before the door is opened and end after it is closed
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=settings.stop_s,
        )
        super().__init__(config)
        self._parts, self._settings = parts, settings
        self._at_once = False

    def stop(self) -> None:
        """Stops at once, without the lame-duck time that balancers get; callable from any thread."""
        self._at_once = self.should_exit = True

    def handle_exit(self, sig: int, frame: object) -> None:
        if sig == signal.SIGTERM and not self.should_exit:
            self.should_exit = True
        else:
            self.stop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """One of several workers takes connections once it can answer them; one alone says that it is not
        ready yet."""
        self._parts.start()
        if self._settings.workers > 1:
            await asyncio.to_thread(self._parts.service.wait_for_first)
        await super().startup([] if self.should_exit else sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self._at_once:
            self._parts.service.leave()
            await self._wait(self._settings.lame_duck_s, lambda: self._at_once)
        # before whoever waits is let in: the first of them may be answered while the last are
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        await self._close_the_door(sockets if sockets and self.servers else [])
        await self._wait(self._settings.drain_s, lambda: not self.server_state.connections)
        await super().shutdown(sockets)
        self._parts.close()

    async def _close_the_door(self, listeners: Sequence[socket.socket]) -> None:
        """Takes no new connections, after all that the kernel has made: a socket that closes resets them."""
        doors = [listener.dup() for listener in listeners]  # the loop closes the listeners themselves
        for server in self.servers:
            server.close()
        inside = [connection for door in doors for connection in self._waiting(door)]
        loop = asyncio.get_running_loop()
        for connection in inside:
            with suppress(OSError):  # who has left meanwhile
                await loop.connect_accepted_socket(self._protocol, connection)

    def _waiting(self, door: socket.socket) -> Iterator[socket.socket]:
        """The connections that the kernel has made at a door, which then is closed."""
        door.setblocking(False)
        with door, suppress(BlockingIOError):
            for _ in range(self.config.backlog):
                yield door.accept()[0]

    def _protocol(self) -> asyncio.Protocol:
        kind = cast(Any, self.config.http_protocol_class)
        protocol: asyncio.Protocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    async def _wait(self, seconds: float, over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not over():
            await asyncio.sleep(_LOOK_S)
