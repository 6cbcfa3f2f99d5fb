"""What a service needs to start and to stay, and one request of a large shop.

    python -m benchmarks.service_sizes [--quick] [--json]

`start`: from the command to the first answer with a million items, median of five, the pages of the bundle in
memory. `memory`: of one worker that serves 100,000 items of dim 64, after a thousand requests. `shop`:
400,000 items in eight domains, 3 million people; each request brings 50 events of a known person and asks for
100 items of one domain with 10 reasons; 100 of them arrive each second, whether others are answered or not,
at two workers.
"""

import os
import random
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.answer import K, make_bundle
from benchmarks.results import read_rows, report
from benchmarks.service_load import Connection, arrive, request, serving

DOMAINS, EVENTS, RATE = 8, 50, 100


def start_row(folder: Path, quick: bool) -> dict[str, Any]:
    n = 100_000 if quick else 1_000_000
    root, seconds, spent = make_bundle(n, 1_000, folder).path, list[float](), list[float]()
    for _ in range(5):
        begin = time.perf_counter()
        with serving(root, "--exposures", "off") as process:
            seconds.append(time.perf_counter() - begin)
            spent.append(process.cpu_ms() / 1e3)
    said = (
        f"{n:,} items: {np.median(seconds):.2f} s to ready ({min(seconds):.2f} at best), "
        f"{np.median(spent):.2f} CPU-s"
    )
    return {"part": "start", "figure": float(np.median(seconds)), "unit": "s", "said": said}


def memory_row(folder: Path, quick: bool) -> dict[str, Any]:
    n = 10_000 if quick else 100_000
    with serving(make_bundle(n, 1_000, folder).path, "--exposures", str(folder / "log")) as process:
        connection = Connection(process.address)
        for user in range(1_000):
            connection.ask(request({"user_id": f"u{user}", "k": K}))
        resident, own = process.resident_kib() / 1024, process.memory_kib() / 1024
    said = f"{n:,} items of dim 64: {resident:.0f} MiB resident, {own:.0f} of them its own"
    return {"part": "memory", "figure": resident, "unit": "MiB", "said": said}


def shop_row(folder: Path, quick: bool) -> dict[str, Any]:
    items, people, seconds = (40_000, 30_000, 2) if quick else (400_000, 3_000_000, 30)
    root, draw = make_bundle(items, people, folder, events=5, domains=DOMAINS).path, random.Random(0)
    bodies = [
        request(
            {
                "user_id": f"u{draw.randrange(people)}",
                "history": [
                    {"item_id": f"i{draw.randrange(items)}", "timestamp": 1_700_000_000 + at}
                    for at in range(EVENTS)
                ],
                "domain": f"d{draw.randrange(DOMAINS)}",
                "k": K,
            }
        )
        for _ in range(1_000)
    ]
    with serving(root, "--exposures", str(folder / "log"), "--workers", "2") as process:
        arrive(process.address, RATE, 2, bodies)
        spent = process.cpu_ms()
        seen = arrive(process.address, RATE, seconds, bodies)
        spent = (process.cpu_ms() - spent) / max(seen.answered, 1)
    p50, p99 = seen.quantile_ms(0.5), seen.quantile_ms(0.99)
    said = (
        f"{items:,} items, {people:,} people: p50 {p50:.1f} ms, p99 {p99:.1f} ms, {spent:.2f} CPU-ms a "
        f"request, {seen.statuses.get(429, 0)} of {seen.sent} told to come back, {seen.failed} failed"
    )
    return {"part": "shop", "figure": p99, "unit": "ms", "said": said}


PARTS = {"start": start_row, "memory": memory_row, "shop": shop_row}


@click.command()
@click.argument("parts", nargs=-1, type=click.Choice(list(PARTS)))
@click.option("--quick", is_flag=True, help="Small bundles; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(parts: Sequence[str], quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service_sizes.md; parts that are not run keep their rows."""
    rows = []
    for part in parts or PARTS:
        with TemporaryDirectory() as folder:
            rows.append({**PARTS[part](Path(folder), quick), "load": os.getloadavg()[0]})
        click.echo(rows[-1]["said"], err=True)
    others = [row for row in read_rows("service_sizes") if row["part"] not in {one["part"] for one in rows}]
    every = sorted([*others, *rows], key=lambda row: list(PARTS).index(row["part"]))
    note = (
        "`start`: the command to the first answer, median of five. `shop`: 100 requests a second, two "
        "workers."
    )
    report("service_sizes", every, title="What a service needs", note=note, quick=quick, as_json=as_json)


if __name__ == "__main__":
    main()
