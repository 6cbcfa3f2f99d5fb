"""Raw bytes against a real service: whatever comes, it answers or closes, and goes on.

    python -m benchmarks.service_bytes [--cases 20000] [--quick] [--json]

Requests that are cut, repeated, changed by bytes, with other lengths than they say, odd methods, targets,
versions and headers, pipelined, with chunks that lie, and plain noise; with keys and without. A hang is a
connection of which nothing comes for ten seconds after everything was sent and the sending side was closed. A
fault is a 5xx but 503.
"""

import random
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.results import report
from benchmarks.service_contract import example_service

PATHS: tuple[bytes, ...] = (
    b"/v1/recommend",
    b"/v1/recommend:batch",
    b"/v1/items/i1/similar",
    b"/v1/model",
    b"/v1/health/ready",
    b"/",
    b"/page/page.js",
    b"/v1/events",
)
PATHS += (
    b"/v1/models/recommender:activate",
    b"/v1/stats",
    b"/openapi.json",
    b"/v1/items:encode",
    b"/v1/identities",
    b"/v1/experiments/rows/assignment?unit_id=u1",
    b"/v1/users/u1",
    b"/nothing",
    b"*",
    b"//",
    b"/%00",
)
BODIES: tuple[bytes, ...] = (
    b"{}",
    b'{"k":3}',
    b'{"user_id":"u1"}',
    b'[{"event_id":"1","kind":"outcome","event":"click","user_id":"u1","item_id":"i1"}]',
    b'{"from":"a","to":"b"}',
    b"[",
    b"\xff\xfe",
    b'{"k":1e999}',
    b'{"a":' * 200,
    b"",
    b"\x00" * 64,
    b"A" * 70_000,
)
ODD: tuple[bytes, ...] = (
    b"transfer-encoding: chunked",
    b"content-length: -1",
    b"content-length: 1e9",
    b"content-length: 5\r\ncontent-length: 6",
)
ODD += (
    b"expect: 100-continue",
    b"upgrade: websocket\r\nconnection: upgrade",
    b"connection: close",
    b"host: a\r\nhost: b",
)
ODD += (
    b"authorization: Bearer",
    b"authorization: Bearer \xff\xfe",
    b"x-request-id: a\x1b[31mb",
    b"traceparent: 00-0-0-00",
)
ODD += (
    b"x" * 9_000 + b": y",
    b": empty",
    b" folded: x",
    b"a: b\r\n c",
    b"content-encoding: gzip",
    b"origin: http://x",
)
_METHODS = (b"OPTIONS", b"get", b"", b"X" * 40, b"PRI", b"POST\t", b"DELETE", b"TRACE", b"CONNECT")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_PATIENCE_S = 10.0


def draw_case(draw: random.Random, key: bytes | None) -> list[bytes]:
    """One case: the pieces that are sent, one after the other."""
    if draw.random() < 0.1:
        return [draw.randbytes(draw.randrange(1, 300))]
    whole = b"".join(_request(draw, key) for _ in range(draw.choice((1, 1, 1, 2, 5))))
    change = draw.randrange(10)
    if change == 0:
        whole = whole[: draw.randrange(len(whole))]
    elif change == 1:
        changed = bytearray(whole)
        for _ in range(draw.randrange(1, 8)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        whole = bytes(changed)
    elif change == 2:
        at = draw.randrange(len(whole))
        whole = whole[:at] + draw.randbytes(draw.randrange(1, 40)) + whole[at:]
    if draw.random() < 0.3:
        cut = draw.randrange(len(whole) + 1)
        return [whole[:cut], whole[cut:]]
    return [whole]


def _request(draw: random.Random, key: bytes | None) -> bytes:
    odd = draw.random() < 0.15
    method = draw.choice(_METHODS if odd else (b"POST", b"POST", b"GET", b"HEAD", b"DELETE"))
    version = draw.choice((b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"")) if draw.random() < 0.1 else b"HTTP/1.1"
    body = draw.choice(BODIES)
    target = draw.choice(PATHS[:8] if draw.random() < 0.7 else PATHS) + draw.choice(
        (b"", b"", b"", b"?k=1", b"?%", b"?a=b&a=c", b"#f", b"/" * 30)
    )
    head = [b" ".join((method, target, version)), b"host: x", b"content-type: application/json"]
    if key is not None and draw.random() < 0.8:
        head.append(b"authorization: Bearer " + key)
    head += draw.sample(ODD, draw.choice((0, 0, 0, 1)))
    if draw.random() < 0.2:
        chunks = b"%x\r\n%s\r\n" % (draw.choice((len(body), len(body) + 3, 0, 2**40)), body)
        return (
            b"\r\n".join([*head, b"transfer-encoding: chunked", b"", b""])
            + chunks
            + draw.choice((b"0\r\n\r\n", b"", b"z"))
        )
    length = draw.choice((len(body),) * 6 + (0, len(body) + 1, max(0, len(body) - 1), 2**31))
    return b"\r\n".join([*head, b"content-length: %d" % length, b"", b""]) + body


def ask(address: tuple[str, int], pieces: list[bytes]) -> tuple[list[int], bool]:
    """(statuses that came, whether it hung)."""
    answer = b""
    try:
        with socket.create_connection(address, timeout=_PATIENCE_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(65_536):
                answer += more
    except TimeoutError:
        return [int(status) for status in _STATUS.findall(answer)], True
    except OSError:  # closed by the other side, which is an answer
        pass
    return [int(status) for status in _STATUS.findall(answer)], False


def attack(address: tuple[str, int], key: bytes | None, cases: int, seed: int) -> dict[str, Any]:
    """What became of drawn cases, and whether the service still answers."""
    draw, statuses, hangs, silent = random.Random(seed), Counter[int](), 0, 0
    start = time.monotonic()
    for _ in range(cases):
        came, hung = ask(address, draw_case(draw, key))
        statuses.update(came)
        hangs += hung
        silent += not came
    good = b"GET /v1/health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    return {
        "cases": cases,
        "hangs": hangs,
        "faults": sum(count for status, count in statuses.items() if status >= 500 and status != 503),
        "closed_silently": silent,
        "statuses": dict(sorted(statuses.items())),
        "answers_after": ask(address, [good])[0] == [200],
        "seconds": round(time.monotonic() - start),
    }


def rows_of(cases: int, seed: int) -> Iterator[dict[str, Any]]:
    for keyed in (True, False):
        with TemporaryDirectory() as folder, example_service(Path(folder), keyed=keyed) as (url, key):
            host, port = url.removeprefix("http://").split(":")
            shown = None if key is None else key.encode()
            yield {
                "keys": "with" if keyed else "without",
                **attack((host, int(port)), shown, cases // 2, seed + keyed),
            }


@click.command()
@click.option("--cases", default=20_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--quick", is_flag=True, help="500 cases; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(cases: int, seed: int, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service_bytes.md; exit status 1 where something fails."""
    rows = list(rows_of(500 if quick else cases, seed))
    report("service_bytes", rows, title="Raw bytes against the service", quick=quick, as_json=as_json)
    sys.exit(any(row["hangs"] or row["faults"] or not row["answers_after"] for row in rows))


if __name__ == "__main__":
    main()
