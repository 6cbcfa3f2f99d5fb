"""The parent of several workers: it answers nothing and loads nothing, holds the socket, and keeps them
alive.

Workers are processes of their own (never forked), share the listening socket and, by the page cache, the
bundle. A worker that dies is replaced. SIGHUP replaces all of them one by one, each after its successor
answers. SIGTERM and SIGINT are handed on, and the parent ends with the last worker. Workers that lose their
parent end by themselves.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recsys.errors import BundleError, RecsysError, SettingError
from recsys.serving.page.history import History
from recsys.serving.runtime.admin import serve_admin
from recsys.serving.runtime.lifeline import read_to_end
from recsys.serving.runtime.metrics import Workers
from recsys.serving.runtime.reports import Reports, WhatIsServed
from recsys.serving.settings import ServingSettings

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_LOOK_S = 0.05
_PAUSES_S = (0.0, 0.2, 1.0, 5.0)  # before a worker is started again that died so many times without answering
_log = logging.getLogger("serving")


@dataclass(eq=False)
class _Worker:
    """A process and what it said. slot: its number among the living, which its metrics are kept under."""

    slot: int
    process: "subprocess.Popen[bytes]"
    report: int
    said: Mapping[str, Any] | None = None
    leaving: bool = False

    @property
    def ready(self) -> bool:
        return self.said is not None and "error" not in self.said


def supervise(
    path: Path,
    settings: ServingSettings,
    listener: socket.socket,
    say: Callable[[Mapping[str, Any]], None],
    *,
    until_stdin_closes: bool,
) -> None:
    """Serves by several workers until a signal. Raises RecsysError where the first of them cannot serve."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    if until_stdin_closes:
        end = partial(os.kill, os.getpid(), signal.SIGINT)
        threading.Thread(target=read_to_end, args=(end,), daemon=True).start()
    with TemporaryDirectory(prefix="recsys-") as folder:
        Supervisor(path, settings, listener, say, Path(folder)).run()


class Supervisor:
    """See the module. folder: for the files of metrics, and for what workers tell each other."""

    def __init__(
        self,
        path: Path,
        settings: ServingSettings,
        listener: socket.socket,
        say: Callable[[Mapping[str, Any]], None],
        folder: Path,
    ) -> None:
        self._path, self._settings, self._listener, self._say, self._folder = (
            path,
            settings,
            listener,
            say,
            folder,
        )
        self._workers: list[_Worker] = []
        self._outgoing: list[_Worker] = []  # to be replaced, one by one
        self._metrics = Workers(folder, lambda: sum(worker.ready for worker in self._workers))
        self._metrics.registry.register(WhatIsServed(Reports(folder, settings.workers)))
        self._history = History(settings.state_folder, folder, settings.history_s)
        self._stopping = self._announced = False
        self._deaths, self._not_before = 0, 0.0

    def run(self) -> None:
        self._history.keep(self._metrics.registry)
        try:
            for _ in range(self._settings.workers):
                self._start()
            while self._workers:
                number = signal.sigtimedwait(_SIGNALS, _LOOK_S)
                if number is not None:
                    self._take(signal.Signals(number.si_signo))
                self._listen()
                self._bury()
                if not self._stopping:
                    self._fill()
                    self._replace()
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.wait()
            self._history.close()

    def _about(self) -> Mapping[str, Any]:
        """The part of /debug on the workers."""
        told = [{"pid": one.process.pid, "slot": one.slot, "ready": one.ready} for one in list(self._workers)]
        return {"pid": os.getpid(), "workers": told}

    def _take(self, number: signal.Signals) -> None:
        if number == signal.SIGHUP and not self._stopping:
            self._outgoing = [worker for worker in self._workers if not worker.leaving]
            _log.info("replacing %d workers, one by one", len(self._outgoing))
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._stopping = True
            self._listener.close()  # the last worker that closes it shall leave nobody waiting at the door
            for worker in self._workers:
                worker.process.send_signal(number)

    def _start(self) -> None:
        """Starts a worker in the lowest free slot."""
        slot = min(set(range(len(self._workers) + 1)) - {worker.slot for worker in self._workers})
        theirs, report = self._pipe()
        task = {
            "path": str(self._path),
            "settings": self._settings.model_dump(mode="json"),
            "listener": self._listener.fileno(),
            "report": theirs,
            "slot": slot,
            "folder": str(self._folder),
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "recsys.serving.runtime.worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            pass_fds=(self._listener.fileno(), theirs),
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._folder)},
            process_group=0,  # a terminal's Ctrl-C comes to the parent alone, which hands it on
        )
        os.close(theirs)
        self._workers.append(_Worker(slot, process, report))

    @staticmethod
    def _pipe() -> tuple[int, int]:
        """(end to write to, end to read from without waiting)."""
        read, write = os.pipe()
        os.set_blocking(read, False)
        return write, read

    def _listen(self) -> None:
        """Reads the lines that workers wrote; once all answer for the first time, the start is announced."""
        for worker in self._workers:
            try:
                text = os.read(worker.report, 65_536)
            except BlockingIOError:
                continue
            if text:
                worker.said = json.loads(text.splitlines()[0])
                self._deaths = 0 if worker.ready else self._deaths
        if not self._announced and all(worker.ready for worker in self._workers):
            self._announced = True
            admin: Mapping[str, Any] = {}
            if self._settings.admin_port is not None:
                admin = serve_admin(self._metrics.registry, self._settings, self._about)
            self._say({**(self._workers[0].said or {}), **admin})

    def _bury(self) -> None:
        """Removes workers that ended. Raises the error of a first worker that cannot serve."""
        for worker in [worker for worker in self._workers if worker.process.poll() is not None]:
            self._listen()
            os.close(worker.report)
            self._workers.remove(worker)
            if worker.process.stdin is not None:
                worker.process.stdin.close()
            if self._stopping or worker.leaving:
                continue
            said = worker.said or {}
            if not self._announced and "error" in said:
                raise (BundleError if said["kind"] == "bundle" else SettingError)(said["error"])
            if not self._announced and self._deaths >= len(_PAUSES_S):
                raise RecsysError(f"workers end before they serve, with status {worker.process.returncode}.")
            _log.error("worker %d ended with status %d", worker.process.pid, worker.process.returncode)
            self._metrics.count_restart()
            self._deaths += not worker.ready
            self._not_before = time.monotonic() + _PAUSES_S[min(self._deaths, len(_PAUSES_S) - 1)]

    def _fill(self) -> None:
        """Starts workers for those that died."""
        lacking = self._settings.workers - sum(not worker.leaving for worker in self._workers)
        if lacking > 0 and time.monotonic() >= self._not_before:
            for _ in range(lacking):
                self._start()

    def _replace(self) -> None:
        """The next step of a replacement: a successor is started, and once all answer, one that is to go is
        told to."""
        self._outgoing = [
            worker for worker in self._outgoing if worker in self._workers and not worker.leaving
        ]
        if not self._outgoing or any(worker.leaving for worker in self._workers):
            return
        staying = [worker for worker in self._workers if not worker.leaving]
        if len(staying) <= self._settings.workers:
            if time.monotonic() >= self._not_before:
                self._start()
        elif all(worker.ready for worker in staying):
            leaving = self._outgoing.pop(0)
            leaving.leaving = True
            # at once: the socket stays open, others answer new connections
            leaving.process.send_signal(signal.SIGINT)
