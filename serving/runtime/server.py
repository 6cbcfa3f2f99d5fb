"""A server that ends without dropping a request: it says so, closes its door, and answers whoever is inside."""

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from fastapi import FastAPI

from recsys.serving.runtime.pool import Pool
from recsys.serving.runtime.protocol import Hot, Protocol
from recsys.serving.settings import ServingSettings

_CLOSE = (b"connection", b"close")
_LOOK_S = 0.02


class Server(uvicorn.Server):
    """uvicorn, whose end has three steps.

    Lame duck: for `lame_duck_s` seconds readiness is refused (`leave` is called) while new connections are still taken,
    so that balancers turn away before anybody is refused. Then the door is closed, and for `drain_s` seconds open
    connections are answered with `Connection: close`. Then those that are idle are closed, and running requests end.
    SIGTERM takes all of them; SIGINT, a closed standard input and `stop` leave the first one out.
    """

    def __init__(
        self, app: FastAPI, hot: Hot, pool: Pool, settings: ServingSettings, leave: Callable[[], None]
    ) -> None:
        config = uvicorn.Config(
            app,
            http=cast(Any, partial(Protocol, hot=hot, pool=pool)),
            loop="uvloop",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=settings.stop_s,
        )
        super().__init__(config)
        self._leave, self._lame_duck_s, self._drain_s = leave, settings.lame_duck_s, settings.drain_s
        self._at_once = False

    def stop(self) -> None:
        """Ends it without the time for balancers; from any thread."""
        self._at_once = self.should_exit = True

    def handle_exit(self, sig: int, frame: object) -> None:
        if sig == signal.SIGTERM and not self.should_exit:
            self.should_exit = True
        else:
            self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leave()
        await self._wait(self._lame_duck_s, lambda: self._at_once)
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        await self._wait(self._drain_s, lambda: not self.server_state.connections)
        await super().shutdown(sockets)

    async def _wait(self, seconds: float, over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not over():
            await asyncio.sleep(_LOOK_S)
