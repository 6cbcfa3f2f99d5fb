"""What events and lists survive: processes that are killed, a full disk, a slow one, and any order of calls.

    python -m benchmarks.event_faults [--only kill --only full --only slow --only model] [--kills 200]
    [--steps 500]
        [--seconds 20] [--more] [--quick] [--json]

`kill`: four clients tell arrays of 20 over HTTP while the service gets `kill -9` at random moments and is
started anew; whoever is not sure tells the same again. At the end every acknowledged event is in the store,
once. `full`: the process may make no file longer; what is refused is told again when it may. `slow`: every
sync takes 200 ms, and lists are asked for meanwhile, in turn with a service whose disk is as it is. `model`:
tests/helpers/told_service.py, against a plain model. Parts that are not asked for keep their last figures.
"""

import json
import random
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.answer import make_bundle
from benchmarks.results import read_rows, report
from benchmarks.service_load import HEAD, Connection, Process, request, running, serving
from recsys.events.store import EventStore

PARTS = ("kill", "full", "slow", "model")
CLIENTS, ARRAY, ITEMS, USERS, SLOW_S, ROUNDS = 4, 20, 300, 200, 0.2, 3
PAGE, PATIENCE_S = 4096, 60.0


def array_of(client: int, number: int) -> tuple[list[str], bytes]:
    """The ids of the events of one call, and the call."""
    ids = [f"{client}-{number}-{at}" for at in range(ARRAY)]
    events = [
        {"event_id": one, "kind": "outcome", "user_id": f"u{at}", "item_id": f"i{at}"}
        for at, one in enumerate(ids)
    ]
    text = json.dumps(events)
    return ids, (HEAD.format(path="/v1/events", length=len(text)) + text).encode()


class Tellers:
    """Clients that tell until they are stopped, and remember what was acknowledged. address: where, right
    now."""

    def __init__(self, address: Callable[[], tuple[str, int] | None]) -> None:
        self.acknowledged, self.refused, self.again = [list[str]() for _ in range(CLIENTS)], 0, 0
        self._address, self._stop = address, threading.Event()
        self._threads = [threading.Thread(target=self._tell, args=(client,)) for client in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _tell(self, client: int) -> None:
        number, connection = 0, None
        while not self._stop.is_set():
            ids, asked = array_of(client, number)
            try:
                if connection is None:
                    if (address := self._address()) is None:
                        raise ConnectionError
                    connection = Connection(address)
                status, body = connection.ask(asked)
            except (OSError, ValueError, IndexError):
                if connection is not None:
                    connection.socket.close()
                connection = None
                self.again += 1
                time.sleep(0.02)
                continue
            if status == 200:
                said = json.loads(body)
                assert said["accepted"] + said["duplicates"] == ARRAY, said
                self.acknowledged[client] += ids
                number += 1
            else:
                assert status == 503, (status, body)
                self.refused += 1
                time.sleep(0.05)
        if connection is not None:
            connection.socket.close()

    def end(self) -> set[str]:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return {one for ids in self.acknowledged for one in ids}


def compare_store(state: Path, acknowledged: set[str]) -> dict[str, Any]:
    """What the store holds of what was acknowledged."""
    store = EventStore(state)
    kept = [event.event_id for _, _, event in store.events()]
    store.close()
    return {
        "acknowledged": len(acknowledged),
        "lost": len(acknowledged - set(kept)),
        "doubled": len(kept) - len(set(kept)),
    }


def kill(root: Path, folder: Path, kills: int) -> dict[str, Any]:
    """A row: the service is killed so many times."""
    state, where, chance = folder / "killed", list[tuple[str, int] | None]([None]), random.Random(1)
    tellers, died = Tellers(lambda: where[0]), 0
    try:
        while died < kills:
            with serving(root, "--state", str(state), "--watch-s", "0.05") as process:
                where[0] = process.address
                time.sleep(chance.uniform(0.02, 0.4))
                where[0] = None
                process.process.kill()
                process.process.wait()
                died += 1
    finally:
        acknowledged = tellers.end()
    return {
        "what": "kill -9",
        "times": kills,
        **compare_store(state, acknowledged),
        "told again": tellers.again,
    }


def add_rows(row: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """Two rows of one part as one: what is counted adds up."""
    return row | {
        key: value + before[key] for key, value in row.items() if isinstance(value, int) and key in before
    }


def _may_write(pid: int, size: int) -> None:
    hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def _wait(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "nothing came of it in a minute"
        time.sleep(0.02)


def full(root: Path, folder: Path, seconds: float) -> dict[str, Any]:
    """A row: for so many seconds no file may be longer than a page, and then it may again."""
    state = folder / "full"
    with serving(root, "--state", str(state)) as process:
        tellers = Tellers(lambda: process.address)
        _wait(lambda: all(tellers.acknowledged))
        _may_write(process.pid, PAGE)
        until, answered, connection = time.monotonic() + seconds, 0, Connection(process.address)
        while time.monotonic() < until or not answered or tellers.refused < CLIENTS:
            answered += connection.ask(request({"user_id": "u1", "k": 10}))[0] == 200
        connection.socket.close()
        _may_write(process.pid, resource.RLIM_INFINITY)
        before = sum(map(len, tellers.acknowledged))
        _wait(lambda: sum(map(len, tellers.acknowledged)) > before)
        acknowledged = tellers.end()
    return {
        "what": "full disk",
        **compare_store(state, acknowledged),
        "refused": tellers.refused,
        "lists meanwhile": answered,
    }


def _p99_ms(process: Process, seconds: float) -> tuple[float, int]:
    """Milliseconds of 99 of 100 lists, asked one after another while clients tell; how many."""
    tellers, connection, taken = Tellers(lambda: process.address), Connection(process.address), list[float]()
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        status, _ = connection.ask(request({"user_id": f"u{len(taken) % USERS}", "k": 20}))
        assert status == 200
        taken.append(time.perf_counter() - began)
        time.sleep(0.002)
    tellers.end()
    connection.socket.close()
    return float(np.quantile(taken, 0.99)) * 1e3, len(taken)


def slow(root: Path, folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """A row: lists beside a disk that syncs in 200 ms, against one that is as it is."""
    by_disk: dict[str, list[float]] = {"slow": [], "as it is": []}
    for number in range(rounds):
        for name, delay in (("as it is", 0.0), ("slow", SLOW_S)):
            options = ["--port", "0", "--lame-duck-s", "0", "--state", str(folder / f"{name} {number}")]
            command = [sys.executable, "-m", "benchmarks.slow_disk", str(delay), str(root), *options]
            with running(command) as process:
                _p99_ms(process, seconds / 10)
                by_disk[name].append(_p99_ms(process, seconds)[0])
    ratios = [one / other for one, other in zip(by_disk["slow"], by_disk["as it is"], strict=True)]
    p99 = {f"p99 ms, {name}": float(np.median(values)) for name, values in by_disk.items()}
    return {"what": "slow disk, 200 ms a sync", **p99, "ratio": float(np.median(ratios))}


def model(steps: int) -> dict[str, Any]:
    """A row: calls in any order."""
    from hypothesis import HealthCheck, settings
    from hypothesis.stateful import run_state_machine_as_test

    from tests.helpers.told_service import ToldService

    long = settings(
        max_examples=1,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(ToldService, settings=long)
    return {"what": "steps in any order over HTTP", "times": steps, "lost": 0, "doubled": 0}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Parts to run; default all.")
@click.option("--kills", default=200, show_default=True)
@click.option("--steps", default=500, show_default=True)
@click.option("--seconds", default=20.0, show_default=True, help="Of a round on a full or a slow disk.")
@click.option("--more", is_flag=True, help="Adds what is counted to the last figures.")
@click.option("--quick", is_flag=True, help="Few kills, steps and seconds; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(
    only: Sequence[str], kills: int, steps: int, seconds: float, more: bool, quick: bool, as_json: bool
) -> None:
    """Kill, fill and slow what events are written to."""
    if quick:
        kills, steps, seconds = 5, 20, 2.0
    fresh = dict[str, dict[str, Any]]()
    with TemporaryDirectory() as place:
        folder = Path(place)
        root = make_bundle(ITEMS, USERS, folder / "bundles").path
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "kill": lambda: kill(root, folder, kills),
            "full": lambda: full(root, folder, seconds),
            "slow": lambda: slow(root, folder, seconds, 1 if quick else ROUNDS),
            "model": lambda: model(steps),
        }
        for part in only or PARTS:
            fresh[part] = {"part": part, **parts[part]()}
    rows = {row["part"]: row for row in read_rows("event_faults")}
    rows |= {part: add_rows(row, rows[part]) if more and part in rows else row for part, row in fresh.items()}
    report(
        "event_faults",
        [rows[part] for part in PARTS if part in rows],
        title="Events and faults",
        note=f"{CLIENTS} clients, arrays of {ARRAY}, each told again until it is acknowledged.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
