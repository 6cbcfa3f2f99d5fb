"""The admin port: metrics for those who watch, and what a process does right now for those who repair it."""

import json
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from typing import Any

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry

from recsys.errors import SettingError
from recsys.keys import read_keys
from recsys.serving.settings import ServingSettings

SCOPES = {"/metrics": "read", "/debug": "admin"}


def serve_admin(
    registry: CollectorRegistry, settings: ServingSettings, about: Callable[[], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """Answers on the admin port, from threads; its address as {"admin": URL}.

    Keys are those of the service. about: what /debug says beside settings and stacks.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version, timeout = "recsys", "", 10

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path not in SCOPES:
                return self._say(404, "text/plain; charset=utf-8", b"GET /metrics or /debug.\n")
            if (refusal := self._refusal(SCOPES[path])) is not None:
                return self._say(
                    refusal, "text/plain; charset=utf-8", b"Send a key: Authorization: Bearer rk_...\n"
                )
            if path == "/debug":
                said = {**about(), "settings": settings.model_dump(mode="json"), "stacks": _stacks()}
                return self._say(200, "application/json", json.dumps(said, indent=1).encode())
            encode, media = choose_encoder(self.headers.get("accept", ""))
            return self._say(200, media, encode(registry))

        def _refusal(self, scope: str) -> int | None:
            """The status to refuse a request with, 401 or 403; None where its key has the scope."""
            try:
                ring = None if settings.keys_file is None else read_keys(settings.keys_file)
            except SettingError:
                return 401
            if ring is None:
                return None
            scheme, _, text = self.headers.get("authorization", "").partition(" ")
            key = ring.find(text.strip().encode()) if scheme.lower() == "bearer" else None
            return 401 if key is None else None if scope in key.scopes else 403

        def _say(self, status: int, media: str, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            if status == 401:
                self.send_header("WWW-Authenticate", 'Bearer realm="recsys"')
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        address_family = AF_INET6 if ":" in settings.host else ThreadingHTTPServer.address_family

    try:
        server = Server((settings.host, settings.admin_port or 0), Handler)
    except OSError as error:
        raise SettingError(
            f"cannot listen on {settings.host} port {settings.admin_port}: {error.strerror}. "
            "Choose another with --admin-port, or --admin-port 0 for a free one."
        ) from None
    threading.Thread(target=server.serve_forever, name="admin", daemon=True).start()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return {"admin": f"http://{host}:{server.server_port}"}


def _stacks() -> dict[str, list[str]]:
    """The stack of each thread of this process, by its name."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        names.get(ident, str(ident)): [line.strip() for line in traceback.format_stack(frame)]
        for ident, frame in sys._current_frames().items()
    }
