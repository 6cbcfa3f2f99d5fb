"""What keys, metrics and trace ids cost a request.

    python -m benchmarks.service_access [--rounds 9] [--quick] [--json]

CPU-milliseconds of the service's process for POST /v1/recommend, in turn: as it is, asked with a key, a
traceparent and an X-Request-Id; and the same service whose gate lets everybody in, counts nothing and says
nothing. Then the same calls alone, in a loop within this process.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.answer import make_bundle
from benchmarks.results import report
from benchmarks.service_load import Connection, Process, running, serving
from recsys.keys import FILE, make_key

ITEMS, USERS, K = 10_000, 2_000, 10
TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def request(user: int, key: str) -> bytes:
    """The bytes of a POST with all that a careful client sends."""
    body = b'{"user_id":"u%d","k":%d}' % (user, K)
    head = b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    told = b"authorization: Bearer %s\r\ntraceparent: %s\r\nx-request-id: web-1\r\n" % (key.encode(), TRACE)
    return head + told + b"content-length: %d\r\n\r\n" % len(body) + body


def cpu_ms(process: Process, bodies: list[bytes]) -> float:
    """CPU-milliseconds a request, of one client on one connection."""
    connection = Connection(process.address)
    for body in bodies[:200]:
        connection.ask(body)
    start = process.cpu_ms()
    for body in bodies:
        status, _ = connection.ask(body)
        assert status == 200
    spent = process.cpu_ms() - start
    connection.socket.close()
    return spent / len(bodies)


def without(arguments: list[str]) -> None:
    """The service without what is measured; the life of a process."""
    from recsys.serving.access.gate import Gate
    from recsys.serving.cli import main as serve
    from recsys.serving.runtime.metrics import Metrics

    Gate.admit = lambda self, call, scope: None  # type: ignore[method-assign]
    Gate.finish = lambda self, call, method, route, status, since: []  # type: ignore[method-assign]
    Metrics.count_list = lambda self, *told, short: None  # type: ignore[method-assign]
    serve(arguments)


@contextmanager
def in_loop(state: Path) -> Iterator[Any]:
    """A gate as the service has it."""
    from recsys.serving.access.gate import Gate
    from recsys.serving.runtime.metrics import Metrics
    from recsys.serving.settings import ServingSettings

    metrics = Metrics()
    gate = Gate(ServingSettings.build({"state": str(state)}, where="here"), metrics, lambda: 0)
    gate.start()
    try:
        yield gate, metrics
    finally:
        gate.close()


def loop_ms(gate: Any, metrics: Any, key: str, times: int) -> float:
    """CPU-milliseconds of what a request does at the gate and in the counts, with its id of a list made
    already."""
    from recsys.serving.access.call import Call

    headers = {b"authorization": f"Bearer {key}".encode(), b"traceparent": TRACE, b"x-request-id": b"web-1"}
    start = time.thread_time()
    for _ in range(times):
        call = Call(headers)
        gate.admit(call, "read")
        call.search_ms, call.request_id = 0.2, "019ab6c1-3f14-7c2e-9d0b-4f7a1c55e2b8"
        metrics.count_list("known", "home", None, None, K, short=False)
        told = gate.finish(call, "POST", "/v1/recommend", 200, 0.0)
        b"".join([b"%s: %s\r\n" % header for header in told])
    return (time.thread_time() - start) / times * 1e3


@click.command()
@click.option("--rounds", default=9, show_default=True)
@click.option("--asked", default=4_000, show_default=True)
@click.option("--quick", is_flag=True, help="Few requests; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(rounds: int, asked: int, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service_access.md."""
    rounds, asked = (2, 300) if quick else (rounds, asked)
    with TemporaryDirectory() as folder:
        state = Path(folder, "state")
        key, _ = make_key(state / FILE, "benchmark", ["read"])
        quota, _ = make_key(state / FILE, "with a quota", ["read"], "100000000/day")
        root = make_bundle(ITEMS, USERS, Path(folder, "bundles")).path
        options = ("--exposures", "off", "--state", str(state))
        plain = [
            sys.executable,
            "-c",
            (
                "from benchmarks.service_access import without; "
                f"without({[str(root), '--port', '0', *options]!r})"
            ),
        ]
        people = np.random.default_rng(0).integers(USERS, size=asked)
        keyed, limited = ([request(user, one) for user in people] for one in (key, quota))
        with serving(root, *options) as ours, running(plain) as other:
            times: dict[str, list[float]] = {"ours": [], "quota": [], "without": []}
            for _ in range(rounds):
                times["ours"].append(cpu_ms(ours, keyed))
                times["without"].append(cpu_ms(other, keyed))
                times["quota"].append(cpu_ms(ours, limited))
        with in_loop(state) as (gate, metrics):
            alone = [min(loop_ms(gate, metrics, one, asked) for _ in range(rounds)) for one in (key, quota)]
    with_all, bare_ms, with_quota = (float(np.median(times[name])) for name in ("ours", "without", "quota"))
    paired = float(np.median(np.subtract(times["ours"], times["without"])))
    rows = [
        {"what": "with key, metrics and trace ids", "cpu_ms": with_all, "alone_ms": alone[0]},
        {"what": "with a quota as well", "cpu_ms": with_quota, "alone_ms": alone[1]},
        {"what": "without", "cpu_ms": bare_ms},
        {"what": "what they cost", "cpu_ms": paired, "alone_ms": alone[0], "load": os.getloadavg()[0]},
    ]
    note = (
        f"CPU-milliseconds a request, medians of {rounds} in turn; alone: the least of {rounds} loops of "
        "these calls."
    )
    report(
        "service_access",
        rows,
        title="What keys, metrics and trace ids cost",
        note=note,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
