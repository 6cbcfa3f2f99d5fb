"""How many events a second are on the disk, told by eight clients at once in arrays of 50, and how soon they
know.

    python -m benchmarks.event_store [--seconds 10] [--folder FOLDER] [--quick] [--json]

`ours`: the event store and its writer, one process, in process. `two writers`: two of them on one file.
`plain`: what one writes in 25 lines, a connection of SQLite for each client and a commit for each array, with
the same pragmas; in turn, the median of three rounds. Milliseconds are from telling to knowing that the
events are on the disk.
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import apsw
import click
import numpy as np

from benchmarks.results import report
from recsys.events.event import StoredEvent
from recsys.events.store import EventStore
from recsys.events.writer import EventWriter

CLIENTS, ARRAY, ROUNDS = 8, 50, 3
Tell = Callable[[list[StoredEvent]], None]


def array_of(client: int, number: int) -> list[StoredEvent]:
    """Events of one call."""
    first = (client << 40) + number * ARRAY
    return [
        StoredEvent(
            f"{first + at}",
            "outcome",
            f"i{at}",
            "click",
            f"u{client}",
            None,
            1_800_000_000,
            None,
            1,
            None,
            None,
        )
        for at in range(ARRAY)
    ]


def measure(clients: list[Tell], seconds: float) -> dict[str, float]:
    """Events a second, and milliseconds of a call."""
    taken: list[list[float]] = [[] for _ in clients]
    end = time.perf_counter() + seconds

    def tell(client: int, way: Tell) -> None:
        number = 0
        while (started := time.perf_counter()) < end:
            way(array_of(client, number))
            taken[client].append(time.perf_counter() - started)
            number += 1

    threads = [Thread(target=tell, args=(at, way)) for at, way in enumerate(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = np.concatenate(taken)
    return {
        "events a second": len(calls) * ARRAY / seconds,
        "p50 ms": float(np.quantile(calls, 0.5)) * 1e3,
        "p99 ms": float(np.quantile(calls, 0.99)) * 1e3,
    }


def ours(folder: Path, writers: int, seconds: float) -> dict[str, float]:
    """The store, by so many writers on one file."""
    made = [EventWriter(EventStore(folder)) for _ in range(writers)]

    def client(writer: EventWriter) -> Tell:
        return lambda events: writer.tell(events).result() and None

    figures = measure([client(made[at % writers]) for at in range(CLIENTS)], seconds)
    for writer in made:
        writer.close()
    return figures


def plain(folder: Path, seconds: float) -> dict[str, float]:
    """A table, a connection a client, a commit an array."""

    def client() -> Tell:
        database = apsw.Connection(str(folder / "plain.db"))
        database.set_busy_timeout(10_000)
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        with suppress(apsw.SQLError):
            database.execute("CREATE TABLE events (id TEXT PRIMARY KEY, kind, item, event, user, unit, at, "
                             "request, position, placement, value)")  # fmt: skip

        def tell(events: list[StoredEvent]) -> None:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(f"INSERT OR IGNORE INTO events VALUES ({', '.join('?' * 11)})", events)
            database.execute("COMMIT")

        return tell

    return measure([client() for _ in range(CLIENTS)], seconds)


@click.command()
@click.option("--seconds", default=10.0, show_default=True, help="Of each round.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="On the disk to measure; default: that of the system."
)
@click.option("--quick", is_flag=True, help="Half a second a round; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(seconds: float, folder: Path | None, quick: bool, as_json: bool) -> None:
    """Measure durable events a second beside a plain table of SQLite."""
    seconds = 0.5 if quick else seconds
    ways: dict[str, Callable[[Path], dict[str, float]]] = {
        "ours": lambda place: ours(place, 1, seconds),
        "two writers": lambda place: ours(place, 2, seconds),
        "plain": lambda place: plain(place, seconds),
    }
    by_way: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(1 if quick else ROUNDS):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory(dir=folder) as place:
                by_way[name].append(way(Path(place)))
    rows: list[dict[str, Any]] = [
        {"way": name, **{key: median(one[key] for one in rounds) for key in rounds[0]}}
        for name, rounds in by_way.items()
    ]
    report(
        "event_store",
        rows,
        title="Events that are on the disk",
        note=f"{CLIENTS} clients at once, arrays of {ARRAY}, in process, durable when acknowledged; the "
        f"median of {ROUNDS} rounds in turn.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
