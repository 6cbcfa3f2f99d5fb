"""What a request costs the service, beside a plain FastAPI + FAISS app and the raw search, and what load does
to it.

    python -m benchmarks.service [--items 10000 --items 100000] [--quick] [--json]

CPU-milliseconds a request, medians of five in turn, one client on a connection that is kept: k = 100, 50 seen
items, dim 64; ours with 10 reasons and the exposure log, the plain app as one writes it (`plain_service.py`,
with a set of seen items and nothing else). Then 8 clients, one service after the other. Then by arrivals at a
rate: .8 and 4 times what one worker can do, and .8 again.
"""

import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import faiss
import numpy as np

from benchmarks.answer import DIM, K, make_bundle
from benchmarks.results import report
from benchmarks.service_load import Clients, Connection, Process, arrive, request, running, serving

USERS, ASKED, ROUNDS = 2_000, 500, 5


def cpu_ms(process: Process, asked: int) -> float:
    """CPU-milliseconds a request of a client on one connection, after some to warm up."""
    connection = Connection(process.address)
    draw = np.random.default_rng(0)
    bodies = [request({"user_id": f"u{user}", "k": K}) for user in draw.integers(USERS, size=asked + 100)]
    for body in bodies[:100]:
        connection.ask(body)
    start = process.cpu_ms()
    for body in bodies[100:]:
        status, _ = connection.ask(body)
        assert status == 200
    spent = process.cpu_ms() - start
    connection.socket.close()
    return spent / asked


def raw_ms(items: int, asked: int) -> float:
    """CPU-milliseconds of a search in FAISS's flat index, within this process."""
    faiss.omp_set_num_threads(1)
    random, index = np.random.default_rng(0), faiss.IndexFlatIP(DIM)
    index.add(random.standard_normal((items, DIM), np.float32))
    asked_for = random.standard_normal((asked, DIM), np.float32)
    start = time.process_time()
    for one in asked_for:
        index.search(one[None], K)
    return (time.process_time() - start) / asked * 1e3


def cost_row(items: int, folder: Path, asked: int) -> dict[str, Any]:
    """Ours, ours without reasons and log, with two workers, the plain app and the raw search, in turn."""
    root = make_bundle(items, USERS, folder).path
    plain = [sys.executable, "-P", str(Path(__file__).with_name("plain_service.py")), str(items), str(USERS)]
    log = str(folder / "log")
    with (
        serving(root, "--exposures", log) as ours,
        serving(root, "--exposures", log, "--workers", "2") as two,
        running(plain) as other,
    ):
        ways = {"ours": ours, "two": two, "plain": other}
        times: dict[str, list[float]] = {name: [] for name in (*ways, "raw")}
        for _ in range(ROUNDS):
            for name, process in ways.items():
                times[name].append(cpu_ms(process, asked))
            times["raw"].append(raw_ms(items, min(asked, 500)))
    row = {name: float(np.median(values)) for name, values in times.items()}
    return {
        "items": items,
        **row,
        "over_raw": row["ours"] - row["raw"],
        "plain_over_raw": row["plain"] - row["raw"],
        "times_plain": row["plain"] / row["ours"],
        "two_workers": row["two"] / row["ours"],
        "load": os.getloadavg()[0],
    }


def tail_rows(items: int, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """Eight clients that ask again as soon as they are answered, in turn at ours, ours with two workers, and
    the plain
    app: medians of five."""
    root = make_bundle(items, USERS, folder).path
    plain = [sys.executable, "-P", str(Path(__file__).with_name("plain_service.py")), str(items), str(USERS)]
    log = str(folder / "log")
    with (
        serving(root, "--exposures", log) as ours,
        serving(root, "--exposures", log, "--workers", "2") as two,
        running(plain) as other,
    ):
        by_service: dict[str, list[tuple[float, ...]]] = {
            "ours": [],
            "ours, two workers": [],
            "plain app": [],
        }
        for _ in range(ROUNDS):
            for rounds, process in zip(by_service.values(), (ours, two, other), strict=True):
                spent, clients = process.cpu_ms(), Clients(partial(getattr, process, "address"), 8, USERS)
                time.sleep(seconds)
                seen = clients.end()
                p50, p99 = seen.quantile_ms(0.5), seen.quantile_ms(0.99)
                asked = max(seen.answered, 1)
                rounds.append(
                    (seen.answered / seconds, (process.cpu_ms() - spent) / asked, p50, p99, p99 / p50)
                )
    names = ("answers_a_second", "cpu_ms", "p50_ms", "p99_ms", "p99_of_p50")
    medians = {name: np.median(np.array(rounds), axis=0).tolist() for name, rounds in by_service.items()}
    load = os.getloadavg()[0]
    return [
        {"service": name, **dict(zip(names, row, strict=True)), "load": load} for name, row in medians.items()
    ]


def load_rows(items: int, folder: Path, seconds: float) -> list[dict[str, Any]]:
    """One worker under arrivals at rates around what it can do."""
    root = make_bundle(items, USERS, folder).path
    bodies = [request({"user_id": f"u{user}", "k": K}) for user in range(USERS)]
    rows = []
    with serving(root, "--exposures", str(folder / "log"), "--threads", "1") as process:
        clients = Clients(lambda: process.address, 4, USERS)
        time.sleep(seconds)
        peak = clients.end().answered / seconds
        for name, share in (("below", 0.8), ("overload", 4.0), ("after", 0.8)):
            seen = arrive(process.address, share * peak, seconds, bodies, connections=256)
            rows.append(
                {
                    "load": name,
                    "rate": share * peak,
                    "goodput_of_peak": seen.answered / seconds / peak,
                    "shed": seen.statuses.get(429, 0),
                    "failed": seen.failed,
                    "p50_ms": seen.quantile_ms(0.5),
                    "p99_ms": seen.quantile_ms(0.99),
                }
            )
            time.sleep(2)
    return rows


@click.command()
@click.option("--items", "sizes", multiple=True, type=int, default=(10_000, 100_000), show_default=True)
@click.option("--quick", is_flag=True, help="Fewer requests; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(sizes: Sequence[int], quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service.md, service_clients.md and service_overload.md."""
    with TemporaryDirectory() as folder:
        rows = [cost_row(size, Path(folder, str(size)), 300 if quick else ASKED) for size in sizes]
        tails = tail_rows(sizes[0], Path(folder, "tails"), 1 if quick else 2)
        loaded = load_rows(sizes[0], Path(folder, "load"), 2 if quick else 5)
    beside = (
        ""
        if os.sched_getscheduler(0) == os.SCHED_OTHER
        else " With real-time priority: other work ran beside it."
    )
    columns = {
        "items": "items",
        "ours": "ours",
        "two": "ours, two workers",
        "plain": "plain app",
        "raw": "raw search",
        "over_raw": "ours over raw",
        "plain_over_raw": "plain over raw",
        "times_plain": "plain / ours",
        "load": "load",
    }
    note = (
        "CPU-milliseconds a request, medians of five in turn; k = 100, 50 seen items, dim 64, 10 reasons, "
        "exposures."
    )
    report(
        "service",
        rows,
        title="What a request costs",
        columns=columns,
        note=note + beside,
        quick=quick,
        as_json=as_json,
    )
    note = "Eight clients that ask again as soon as they are answered; medians of five in turn."
    report("service_clients", tails, title="Eight clients", note=note + beside, quick=quick, as_json=as_json)
    note = (
        "One worker; arrivals at a rate, whether others are answered or not. Peak: 4 clients that ask in "
        "turn."
    )
    report(
        "service_overload",
        loaded,
        title="More than it can do",
        note=note + beside,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
