"""`python -m recsys.serving`: listens, says so in one line on standard output, and stops without dropping a
request."""

import ipaddress
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from recsys.errors import RecsysError, SettingError
from recsys.keys import read_keys
from recsys.serving.runtime.lifeline import log_to_stderr
from recsys.serving.settings import ServingSettings


def run(path: Path, settings: ServingSettings, *, until_stdin_closes: bool) -> None:
    """Serves until a signal. Raises RecsysError where the first bundle, a port or the exposure log cannot be
    had."""
    _refuse_an_open_door(settings)
    if settings.clock and not _is_loopback(settings.host):
        raise SettingError(
            f"setting 'clock': {settings.host} is open to other machines, which no simulator asks from."
        )
    listener = _listener(settings)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def say(said: Mapping[str, Any]) -> None:
        print(json.dumps({"url": url, **said, "pid": os.getpid()}), flush=True)

    if settings.workers > 1:  # the parent of several loads nothing of what answers
        from recsys.serving.runtime.supervisor import supervise

        supervise(path, settings, listener, say, until_stdin_closes=until_stdin_closes)
    else:
        from recsys.serving.runtime.worker import serve

        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        serve(path, settings, listener, say, until_stdin_closes=until_stdin_closes)


def _refuse_an_open_door(settings: ServingSettings) -> None:
    """Raises SettingError where others than this machine could ask and no key is asked for."""
    ring = None if settings.keys_file is None else read_keys(settings.keys_file)
    if (ring is not None and ring.live) or _is_loopback(settings.host):
        return
    where = f" --state {settings.state}" if str(settings.state) not in ("off", "mlruns/state") else ""
    raise SettingError(
        f"setting 'host': {settings.host} is open to other machines, and there is no key that they would "
        f"have to show. Make one: recsys keys make NAME{where} (and do not serve with --state off), or "
        "listen on 127.0.0.1."
    )


def _is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
    # Inherited by every connection. Without it head and body of an answer, written apart, wait 40 ms for each
    # other.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command one option for each setting."""
    for name, field in reversed(ServingSettings.model_fields.items()):
        text = f"{field.description}  [default: {field.default}]"
        command = click.option(f"--{name.replace('_', '-')}", name, metavar="VALUE", help=text)(command)
    return command


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@_with_settings
@click.option(
    "--until-stdin-closes", is_flag=True, help="stop when standard input ends: a child ends with its parent"
)
def main(path: Path, until_stdin_closes: bool, **values: str | None) -> None:
    """Serve the bundle in PATH, or the current one of a folder of bundles, over HTTP.

    The first line on standard output is {"url", "bundle_id", "pid"}, once requests are answered. SIGTERM and
    SIGINT stop the service after its running requests.
    """
    log_to_stderr()
    try:
        given = {name: value for name, value in values.items() if value is not None}
        settings = ServingSettings.build(given, where="the command line")
        run(path, settings, until_stdin_closes=until_stdin_closes)
    except RecsysError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
