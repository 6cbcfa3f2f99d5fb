"""Soak and faults: what a service survives, and that nobody notices. Exit status 1 where somebody would have.

    python -m benchmarks.service_soak [swaps endurance resets kills restarts hangups trace] [--items 20000]
        [--times 50] [--quick]

swaps: new champions under 8 clients; each answer is made again from the bundle it names. endurance: a swap
each half minute, and what of memory, files and threads is not given back. resets: clients that end
without a goodbye. kills: kill -9 of one of two workers. restarts: SIGTERM in turn to two services behind a
balancer that reads readiness, every request on a connection of its own. hangups: SIGHUP to two workers, the
same. trace: logged requests, asked again.
"""

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import click
import numpy as np

from benchmarks.answer import K, make_bundle
from benchmarks.results import read_rows, report
from benchmarks.service_load import Clients, Connection, Process, request, serving
from recsys.answers.exposure import find_line
from recsys.answers.question import Question
from recsys.answers.replay import TOLERANCE, furthest, trace
from recsys.answers.respond import answer
from recsys.bundle.bundle import load
from recsys.bundle.root import deployment_of, point_to
from recsys.bundle.write import write

USERS, CLIENTS, SWAP_S = 2_000, 8, 30


def wait_for(for_: Callable[[], bool], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while not for_():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def champion(process: Process) -> str:
    return str(process.get("/v1/model")[1]["bundle_id"])


def swaps(root: Path, log: Path, times: int) -> dict[str, Any]:
    """Each swap verifies; answers are made again from the bundle they name; p99 beside that without swaps."""
    ids = [path.name for path in sorted(root.iterdir()) if path.is_dir()]
    with serving(root, "--exposures", str(log), "--poll-s", "0.1") as process:
        quiet = Clients(lambda: process.address, CLIENTS, USERS)
        time.sleep(min(30, times))
        before = quiet.end()
        memory, clients = process.memory_kib(), Clients(lambda: process.address, CLIENTS, USERS, keep=200)
        swapped = 0
        for turn in range(times):
            wanted = ids[(turn + 1) % len(ids)]
            point_to(root, wanted)
            swapped += wait_for(lambda wanted=wanted: champion(process) == wanted)  # type: ignore[misc]
        seen = clients.end()
        grown = process.memory_kib() - memory
    bundles = {bundle_id: load(root / bundle_id) for bundle_id in ids}
    mixed = 0
    for user, bundle_id, items in seen.answers:
        again = answer(bundles[bundle_id], Question(user, k=K))
        now = list(zip(again.item_ids, again.scores.tolist(), strict=True))
        mixed += furthest(now, items) > TOLERANCE
    times_p99 = seen.quantile_ms(0.99) / before.quantile_ms(0.99)
    bad = seen.failed or mixed or swapped < times
    said = (
        f"{swapped} swaps, {mixed} of {len(seen.answers)} answers mixed, p99 {times_p99:.2f} times, "
        f"{grown:+} KiB"
    )
    return {"requests": seen.sent, "failed": seen.failed, "bad": bool(bad), "said": said}


def endurance(root: Path, log: Path, times: int) -> dict[str, Any]:
    """A swap each half minute, so many times, under four clients that rest; how memory, files and threads
    grow."""
    ids = [path.name for path in sorted(root.iterdir()) if path.is_dir()]
    with serving(root, "--exposures", str(log), "--poll-s", "0.1") as process:
        clients = Clients(lambda: process.address, CLIENTS // 2, USERS, rest_s=0.01)
        held, swapped = list[tuple[float, int]](), 0
        for turn in range(times):
            until, wanted = time.monotonic() + SWAP_S, ids[(turn + 1) % len(ids)]
            point_to(root, wanted)
            swapped += wait_for(lambda wanted=wanted: champion(process) == wanted)  # type: ignore[misc]
            time.sleep(max(0.0, until - time.monotonic()))
            held.append((time.monotonic() / 60, process.memory_kib()))
            if turn == len(ids):
                files, running = process.files_and_threads()
        left, seen = process.files_and_threads(), clients.end()
    minutes, kib = np.array(held[len(ids) :]).T  # once each bundle was there
    growth = float(np.polyfit(minutes, kib, 1)[0])
    bad = seen.failed > 0 or swapped < times or growth > 1_024 or left[0] > files + 1 or left[1] > running
    said = (
        f"{growth:+.0f} KiB a minute, files {files} -> {left[0]}, threads {running} -> {left[1]}, "
        f"{swapped} swaps"
    )
    return {"requests": seen.sent, "failed": seen.failed, "bad": bad, "said": said}


def resets(root: Path, log: Path, times: int) -> dict[str, Any]:
    """Eight clients that ask once and end by a reset, for as many seconds as `times`."""
    with serving(root, "--exposures", str(log)) as process:
        stop, asked, errors = threading.Event(), [0] * CLIENTS, list[str]()

        def ask(number: int) -> None:
            body = request({"user_id": f"u{number}", "k": 10})
            while not stop.is_set():
                try:
                    connection = Connection(process.address)
                    if asked[number] % 2:
                        connection.ask(body)
                    else:
                        connection.socket.sendall(body)  # and does not wait for the answer
                    connection.reset()
                    asked[number] += 1
                except OSError as error:
                    errors.append(repr(error))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(min(5, times))  # what comes first is not growth: buffers, caches
        start, (files, running), began = process.memory_kib(), process.files_and_threads(), time.monotonic()
        time.sleep(times)
        grown, minutes = process.memory_kib() - start, (time.monotonic() - began) / 60
        stop.set()
        for thread in threads:
            thread.join()
        wait_for(lambda: process.files_and_threads()[0] <= files, 10)
        left = process.files_and_threads()
        healthy = process.get("/v1/health/ready")[0] == 200
    bad = not healthy or grown / minutes > 1_024 or left[0] > files or left[1] > running
    said = f"{grown / minutes:+.0f} KiB a minute, files {files} -> {left[0]}, threads {running} -> {left[1]}"
    return {"requests": sum(asked), "failed": 0, "bad": bad, "said": said}


def count_answers(process: Process) -> float:
    text = urlopen(f"{process.admin}/metrics", timeout=10).read().decode()
    return sum(
        float(value) for value in re.findall(r"^recsys_answers_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
    )


def workers_of(process: Process) -> float:
    """How many answer, as the parent says; none while it has not looked yet."""
    text = urlopen(f"{process.admin}/metrics", timeout=60).read().decode()
    match = re.search(r"^recsys_workers (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else 0


def kills(root: Path, log: Path, times: int) -> dict[str, Any]:
    """Each death may take what its own connections wait for: at most one request of each client."""
    with serving(root, "--exposures", str(log), "--workers", "2", "--admin-port", "0") as process:
        clients, survived = Clients(lambda: process.address, CLIENTS, USERS), 0
        for turn in range(times):
            workers = process.children()
            errors, dead = len(clients.seen.errors), workers[turn % len(workers)]
            os.kill(dead, signal.SIGKILL)
            survived += wait_for(lambda dead=dead: dead not in process.children())  # type: ignore[misc]
            time.sleep(0.2)  # the parent counts the living twenty times a second
            survived += wait_for(lambda: workers_of(process) == 2)
            time.sleep(0.3)
            if len(clients.seen.errors) - errors > CLIENTS:
                survived -= 2
        seen = clients.end()
        total = count_answers(process)
    right = seen.answered <= total <= seen.sent
    return {
        "requests": seen.sent,
        "failed": seen.failed,
        "bad": survived < 2 * times or not right or seen.failed > CLIENTS * times,
        "said": (
            f"{times} deaths; answers received {seen.answered} <= counted {total:.0f} <= sent {seen.sent}: "
            f"{right}"
        ),
    }


def restarts(root: Path, log: Path, times: int) -> dict[str, Any]:
    """A balancer that looks at readiness ten times a second, in front of two services of which one is
    restarted."""
    options = ("--exposures", str(log), "--lame-duck-s", "1")
    ready, stop = dict[int, tuple[str, int]](), threading.Event()
    with ExitStack() as stack:
        places: list[tuple[ExitStack, Process]] = []
        for _ in range(2):
            inner = stack.enter_context(ExitStack())
            places.append((inner, inner.enter_context(serving(root, *options))))

        def look() -> None:
            while not stop.wait(0.1):
                for number, (_, process) in enumerate(places):
                    try:
                        fine = process.get("/v1/health/ready")[0] == 200
                    except OSError:
                        fine = False
                    if fine:
                        ready[number] = process.address
                    else:
                        ready.pop(number, None)

        turn = iter(range(1 << 62))

        def choose() -> tuple[str, int]:
            addresses = list(ready.values())
            return addresses[next(turn) % len(addresses)]

        watcher = threading.Thread(target=look)
        watcher.start()
        wait_for(lambda: len(ready) == 2)
        clients = Clients(choose, CLIENTS // 2, USERS, fresh=True)
        for number in range(times):
            inner, process = places[number % 2]
            process.process.terminate()
            process.process.wait(60)
            inner.close()
            fresh = stack.enter_context(ExitStack())
            places[number % 2] = fresh, fresh.enter_context(serving(root, *options))
            wait_for(lambda: len(ready) == 2)
        seen = clients.end()
        stop.set()
        watcher.join()
    return {
        "requests": seen.sent,
        "failed": seen.failed,
        "bad": seen.failed > 0,
        "said": "; ".join(seen.errors[:2]),
    }


def _all_gone(process: Process, workers: set[int]) -> bool:
    return not workers & set(process.children())


def hangups(root: Path, log: Path, times: int) -> dict[str, Any]:
    """Two workers replaced one by one, again and again."""
    with serving(root, "--exposures", str(log), "--workers", "2") as process:
        clients, replaced = Clients(lambda: process.address, CLIENTS // 2, USERS, fresh=True), 0
        for _ in range(times):
            before = set(process.children())
            process.process.send_signal(signal.SIGHUP)
            replaced += wait_for(partial(_all_gone, process, before))
            wait_for(lambda: len(process.children()) == 2)
        seen = clients.end()
    bad = seen.failed > 0 or replaced < times
    return {
        "requests": seen.sent,
        "failed": seen.failed,
        "bad": bad,
        "said": f"{replaced} times; {seen.errors[:2]}",
    }


def trace_lists(root: Path, log: Path, times: int) -> dict[str, Any]:
    """Twenty requests a time, some with a history, each list made again from its bundle."""
    bundle = load(root / deployment_of(root)[1].champion)
    with serving(root, "--exposures", str(log)) as process:
        connection, ids = Connection(process.address), []
        for number in range(20 * times):
            body: dict[str, Any] = {"user_id": f"u{number % (USERS + 20)}", "k": 1 + number % K}
            if number % 3 == 0:
                body["history"] = [{"item_id": f"i{number * 7 % 1_000}", "timestamp": number}]
            ids.append(json.loads(connection.ask(request(body))[1])["request_id"])
    wrong = sum(not trace(bundle, find_line(log, request_id)).same for request_id in ids)
    return {"requests": len(ids), "failed": 0, "bad": wrong > 0, "said": f"{wrong} lists differ"}


PARTS = {
    "swaps": swaps,
    "endurance": endurance,
    "resets": resets,
    "kills": kills,
    "restarts": restarts,
    "hangups": hangups,
    "trace": trace_lists,
}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--items", default=20_000, show_default=True, help="Items of the three bundles.")
@click.option(
    "--people",
    default=USERS,
    show_default=True,
    help="People of the three bundles; a million make a gigabyte.",
)
@click.option("--times", default=50, show_default=True, help="Swaps, deaths, restarts; seconds of resets.")
@click.option("--quick", is_flag=True, help="Three times each; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(parts: Sequence[str], items: int, people: int, times: int, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service_soak.md; parts that are not run keep their rows."""
    rows = []
    times = 3 if quick else times
    with TemporaryDirectory() as name:
        root = Path(name, "bundles")
        first = make_bundle(items, people, root)
        for at, clustered in enumerate((True, False)):
            write(root, make_bundle(items, people, Path(name, f"aside-{at}"), clustered=clustered).content())
            shutil.rmtree(Path(name, f"aside-{at}"))
        point_to(root, first.bundle_id)
        size = sum(path.stat().st_size for path in first.path.rglob("*") if path.is_file())
        for part in parts or PARTS:
            done = PARTS[part](root, Path(name, f"{part}.log"), times)
            rows.append(
                {
                    "part": part,
                    "times": times,
                    "bundle_mb": round(size / 1e6),
                    **done,
                    "load": os.getloadavg()[0],
                }
            )
            click.echo(json.dumps(rows[-1]), err=True)
    others = [row for row in read_rows("service_soak") if row["part"] not in {one["part"] for one in rows}]
    every = sorted([*others, *rows], key=lambda row: list(PARTS).index(row["part"]))
    note = (
        "Each part so many times (of `resets` seconds, of `trace` twenty requests), under load; bad: "
        "somebody noticed."
    )
    report("service_soak", every, title="What the service survives", note=note, quick=quick, as_json=as_json)
    sys.exit(any(row["bad"] for row in rows))


if __name__ == "__main__":
    main()
