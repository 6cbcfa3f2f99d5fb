"""What events cost the service: told by many clients at once, and exposures beside each answer.

    python -m benchmarks.service_events [--seconds 5] [--quick] [--json]

`told`: eight clients on connections that are kept tell arrays of 50, each of which is on the disk when it is
answered; by one worker and by two. `asked`: CPU-milliseconds of a list of 100 for people of whom 20 events
were told, exposures off, in a file, and in the event store, in turn, medians of five; and the same with no
state at all.
"""

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import click
import numpy as np

from benchmarks.answer import K, make_bundle
from benchmarks.results import report
from benchmarks.service import cpu_ms
from benchmarks.service_load import HEAD, Connection, Process, serving

ITEMS, USERS, CLIENTS, ARRAY, EVENTS, ROUNDS = 10_000, 2_000, 8, 50, 20, 5


def array_of(first: int, count: int) -> bytes:
    """A request that tells so many events."""
    events = [
        {
            "event_id": f"e{first + at}",
            "kind": "outcome",
            "user_id": f"u{(first + at) % USERS}",
            "item_id": f"i{at}",
        }
        for at in range(count)
    ]
    text = json.dumps(events)
    return (HEAD.format(path="/v1/events", length=len(text)) + text).encode()


def tell_events(process: Process, seconds: float) -> dict[str, float]:
    """Events a second and milliseconds of a call, by all clients at once."""
    taken: list[list[float]] = [[] for _ in range(CLIENTS)]
    end = time.perf_counter() + seconds

    def tell(client: int) -> None:
        connection, number = Connection(process.address), 0
        while (started := time.perf_counter()) < end:
            status, body = connection.ask(array_of((client << 40) + number * ARRAY, ARRAY))
            assert status == 200, body
            assert json.loads(body)["accepted"] == ARRAY, body
            taken[client].append(time.perf_counter() - started)
            number += 1

    threads = [Thread(target=tell, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = np.concatenate(taken)
    p50, p99 = np.quantile(calls, [0.5, 0.99])
    return {"events a second": len(calls) * ARRAY / seconds, "p50 ms": p50 * 1e3, "p99 ms": p99 * 1e3}


def rows_of(folder: Path, seconds: float, asked: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each way."""
    root, rows = make_bundle(ITEMS, USERS, folder).path, []
    for workers in (1, 2):
        options = ("--workers", str(workers), "--state", str(folder / f"told {workers}"), "--waiting", "64")
        with serving(root, *options) as process:
            rows.append(
                {"what": f"told, {workers} worker{'s' * (workers > 1)}", **tell_events(process, seconds)}
            )
    ways: dict[str, tuple[str, ...]] = {
        "no state, exposures off": ("--state", "off", "--exposures", "off"),
        "exposures off": ("--exposures", "off"),
        "exposures in a file": ("--exposures", str(folder / "lists.jsonl")),
        "exposures in the store": ("--exposures", "store"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, chosen in ways.items():
            state = () if "--state" in chosen else ("--state", str(folder / name.replace(" ", "-")))
            with serving(root, *chosen, *state) as process:
                if state:
                    connection = Connection(process.address)
                    for first in range(0, USERS * EVENTS, 500):
                        connection.ask(array_of(first, 500))
                times[name].append(cpu_ms(process, asked))
    return rows + [{"what": f"asked, {name}", "CPU-ms": float(np.median(one))} for name, one in times.items()]


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="In which clients tell events.")
@click.option("--quick", is_flag=True, help="A second, and few questions; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(seconds: float, quick: bool, as_json: bool) -> None:
    """Measure events told to the service, and what exposures add to an answer."""
    with TemporaryDirectory() as folder:
        rows = rows_of(Path(folder), 1.0 if quick else seconds, 50 if quick else 500, 1 if quick else ROUNDS)
    report(
        "service_events",
        rows,
        title="Events, told and asked for",
        note=(
            f"{CLIENTS} clients, arrays of {ARRAY}, durable when answered; lists of {K} among {ITEMS:,} "
            "items."
        ),
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
