"""Starts the service as a process of its own and asks it over HTTP; pipelines never import it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from recsys.errors import RecsysError


@contextmanager
def running(root: Path, *options: str) -> Iterator[str]:
    """The address of a service on a free loopback port that serves `root`; it ends with the block."""
    command = [sys.executable, "-P", "-m", "recsys.serving", str(root), "--port", "0", "--until-stdin-closes"]
    command += ["--state", "off", *options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RecsysError(f"the service did not start: {process.stderr.read().strip()}")
        url: str = json.loads(line)["url"]
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        process.stderr.close()


def ask(url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The service's answer to POST /v1/recommend."""
    request = Request(f"{url}/v1/recommend", json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urlopen(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except HTTPError as error:
        with error:
            raise RecsysError(f"the service refused: {error.read().decode(errors='replace')}") from None
