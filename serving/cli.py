"""`python -m recsys.serving`: listens, says so in one line on standard output, and stops without dropping a request."""

import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click

from recsys.bundle.bundle import Bundle
from recsys.errors import RecsysError, SettingError
from recsys.serving.app import create_parts
from recsys.serving.runtime.server import Server
from recsys.serving.settings import ServingSettings


def run(path: Path, settings: ServingSettings, *, until_stdin_closes: bool) -> None:
    """Serves until a signal. Raises RecsysError where the first bundle, the port or the exposure log cannot be had."""
    listener = _listener(settings)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    failures: list[Exception] = []

    def started(outcome: Bundle | Exception) -> None:
        if isinstance(outcome, Exception):
            failures.append(outcome)
            server.stop()
        else:
            print(json.dumps({"url": url, "bundle_id": outcome.bundle_id, "pid": os.getpid()}), flush=True)

    parts = create_parts(path, settings, started)
    server = Server(parts.app, parts.hot, parts.pool, settings, parts.leave)
    if until_stdin_closes:
        threading.Thread(target=_read_to_end, args=(server.stop,), daemon=True).start()
    server.run([listener])
    if failures:
        raise failures[0]


def _listener(settings: ServingSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise SettingError(
            f"cannot listen on {settings.host} port {settings.port}: {why}. "
            "Choose another with --port, or --port 0 for a free one."
        ) from None
    # Inherited by every connection. Without it head and body of an answer, written apart, wait 40 ms for each other.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _read_to_end(then: Callable[[], None]) -> None:
    while os.read(0, 4096):
        pass
    then()


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": round(record.created, 3), "level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("serving").setLevel(logging.INFO)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option for each setting."""
    for name, field in reversed(ServingSettings.model_fields.items()):
        text = f"{field.description}  [default: {field.default}]"
        command = click.option(f"--{name.replace('_', '-')}", name, metavar="VALUE", help=text)(command)
    return command


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@_with_settings
@click.option("--until-stdin-closes", is_flag=True, help="stop when standard input ends: a child ends with its parent")
def main(path: Path, until_stdin_closes: bool, **values: str | None) -> None:
    """Serve the bundle in PATH, or the current one of a folder of bundles, over HTTP.

    The first line on standard output is {"url", "bundle_id", "pid"}, once requests are answered. SIGTERM and SIGINT
    stop the service after its running requests.
    """
    _log_to_stderr()
    try:
        given = {name: value for name, value in values.items() if value is not None}
        settings = ServingSettings.build(given, where="the command line")
        run(path, settings, until_stdin_closes=until_stdin_closes)
    except RecsysError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
