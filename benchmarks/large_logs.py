"""What does a run take whose log grows: `on_disk` beside in memory?

    python -m benchmarks.large_logs [--work FOLDER] [--quick] [--json]

A log of drawn events (items by Zipf's law, 200,000 users, 50,000 items, no pattern to learn) is written as
Parquet, and `recsys train` reads, splits, learns (two towers by history, one epoch), judges 2,000 people and
writes a bundle. Memory is the most that the process held with no file behind it (RssAnon), looked at every 20
ms: what is mapped from files can be dropped whenever the machine needs it. Each run is a process of its own.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import click
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from benchmarks.results import report

USERS, ITEMS = 200_000, 50_000
SIZES = (5_000_000, 20_000_000, 60_000_000)
IN_MEMORY = 20_000_000  # the longest log that is also kept in memory
TOWERS = (
    'model={name="two_tower",dim=16,epochs=1,batch_size=16384,sampler="uniform",negatives=256,'
    'longest_history=20,id_dropout=0,initial="random"}'
)
_ROWS = 1_000_000


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="Where logs and runs go.")
@click.option("--quick", is_flag=True, help="A small log; keeps the results of the last full run.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
def main(work: Path | None, quick: bool, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    with TemporaryDirectory(dir=work) as folder:
        for n in (100_000,) if quick else SIZES:
            path = Path(folder) / "log.parquet"
            write_log(path, n)
            for kept in ("on disk", "in memory"):
                if kept == "on disk" or n <= IN_MEMORY:
                    rows.append({"events": n, "kept": kept, **_train(path, kept == "on disk", Path(folder))})
                    click.echo(rows[-1], err=True)
    for row in rows:
        first = next(one for one in rows if one["kept"] == row["kept"])
        more = row["events"] - first["events"]
        row["bytes for each further event"] = (
            (row["memory, MB"] - first["memory, MB"]) * 1e6 / more if more else None
        )
    note = f"{USERS:,} users, {ITEMS:,} items; two towers of dim 16, one epoch, two threads."
    report("large_logs", rows, title="A log that grows", note=note, quick=quick, as_json=as_json)


def write_log(path: Path, n: int) -> None:
    """Events in order of time, with a million of them in memory."""
    rng, time_s = np.random.default_rng(n), 1_600_000_000
    schema = pa.schema([("user_id", pa.int64()), ("item_id", pa.int64()), ("timestamp", pa.int64())])
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, n, _ROWS):
            size = min(_ROWS, n - start)
            item = rng.zipf(1.2, size) % ITEMS
            time = np.sort(rng.integers(time_s, time_s + 86_400, size))
            time_s += 86_400
            writer.write_table(pa.table([rng.integers(USERS, size=size), item, time], schema=schema))


def _train(path: Path, on_disk: bool, home: Path) -> dict[str, Any]:
    """Seconds and the most megabytes of a run."""
    settings = [
        f"on_disk={str(on_disk).lower()}",
        "evaluate_users=2000",
        "baselines_days=[30]",
        "threads=2",
        TOWERS,
    ]
    command = [sys.executable, "-m", "recsys.pipelines.cli", "train", str(path), *settings]
    started, peak = time.perf_counter(), 0
    environment = os.environ | {"RECSYS_HOME": str(home)}
    with (
        TemporaryFile("w+") as said,
        subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process,
    ):
        while process.poll() is None:
            peak = max(peak, _anonymous(process.pid))
            time.sleep(0.02)
        if process.returncode:
            said.seek(0)
            raise SystemExit(said.read()[-3000:])
    return {"memory, MB": round(peak / 1e6), "seconds": round(time.perf_counter() - started, 1)}


def _anonymous(pid: int) -> int:
    """Bytes of a process that no file stands behind; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
