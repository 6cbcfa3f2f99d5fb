"""One process that serves: the only one, or one of several that a parent starts with its task in JSON."""

import faulthandler
import gc
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from recsys.bundle.bundle import Bundle
from recsys.errors import BundleError, RecsysError
from recsys.events.clock import follow
from recsys.serving.app import create_parts
from recsys.serving.runtime.admin import serve_admin
from recsys.serving.runtime.lifeline import log_to_stderr, read_to_end
from recsys.serving.runtime.metrics import keep_in_files
from recsys.serving.runtime.reports import WhatIsServed
from recsys.serving.runtime.server import Server
from recsys.serving.settings import ServingSettings

Say = Callable[[Mapping[str, Any]], None]
_TURN_S = (
    0.001  # of the interpreter's lock: a thread back from its search does not wait while many are refused
)


def serve(
    path: Path,
    settings: ServingSettings,
    listener: socket.socket,
    say: Say,
    *,
    until_stdin_closes: bool,
    shared: Path | None = None,
) -> None:
    """Serves until a signal. Raises RecsysError where the first bundle or the exposure log cannot be had.

    say: told once, when answers are given: {"bundle_id"}, and {"admin"} where there is an admin port. shared:
    as in `create_parts`.
    """
    failures: list[Exception] = []

    def note_start(outcome: Bundle | Exception) -> None:
        if isinstance(outcome, Exception):
            failures.append(outcome)
            server.stop()
        else:
            gc.collect()
            # what stays for good is never looked through again, which would take 100 ms amid requests
            gc.freeze()
            say({"bundle_id": outcome.bundle_id, **admin})

    if settings.clock:
        follow(Path(settings.clock))
    sys.setswitchinterval(_TURN_S)
    parts = create_parts(path, settings, note_start, shared)
    server = Server(parts, settings)
    admin: Mapping[str, Any] = {}
    if shared is None:
        parts.metrics.registry.register(WhatIsServed(parts.service.reports))
        parts.history.keep(parts.metrics.registry)
    if settings.admin_port is not None:
        admin = serve_admin(parts.metrics.registry, settings, lambda: {"pids": [os.getpid()]})
    faulthandler.register(signal.SIGUSR1)  # says on standard error where each thread is
    if until_stdin_closes:
        threading.Thread(target=read_to_end, args=(server.stop,), daemon=True).start()
    server.run([listener])
    if failures:
        raise failures[0]


def main() -> None:
    """The life of a worker: its task is the first argument, its standard input ends with its parent."""
    task = json.loads(sys.argv[1])
    log_to_stderr()
    keep_in_files(task["slot"])
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent waits for its signals with them held back
    settings = ServingSettings.build({**task["settings"], "admin_port": None}, where="the parent")
    listener = socket.socket(fileno=task["listener"])

    def say(said: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):  # whoever lost its parent learns it from its standard input
            os.write(task["report"], json.dumps(said).encode() + b"\n")

    try:
        serve(
            Path(task["path"]), settings, listener, say, until_stdin_closes=True, shared=Path(task["folder"])
        )
    except RecsysError as error:
        say({"error": str(error), "kind": "bundle" if isinstance(error, BundleError) else "setting"})
        sys.exit(2)


if __name__ == "__main__":
    main()
