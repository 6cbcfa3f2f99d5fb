"""How long the analysis of a large log takes, and how much memory: ten million lists of ten items, a million
people.

python -m benchmarks.ab_scale [--quick]
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from benchmarks.results import report
from recsys.history import DAY_S

START, DAYS, WINDOW = 20_788 * DAY_S, 28, 7
PLAN = """control = "control"
weights = { control = 0.5, wide = 0.5 }
people = %d
[[metrics]]
name = "plays"
event = "play"
role = "primary"
[[metrics]]
name = "plays a list"
event = "play"
per = "exposures"
[[metrics]]
name = "money"
event = "buy"
value = "sum"
cap = 500.0
"""


def write(folder: Path, exposures: int, people: int) -> None:
    """Daily files, ids as text; each list is followed by a play in four of ten, and there were as many
    before."""
    rng = np.random.default_rng(1)
    treated = rng.random(people) < 0.5
    ids = np.char.add("user-", np.arange(people).astype(str))
    for name in ("exposures", "outcomes"):
        (folder / name).mkdir()
    for day in range(-28, DAYS + WINDOW):
        date = np.datetime64(START // DAY_S + day, "D")
        n = exposures // DAYS
        person = np.minimum((rng.random(n) ** 1.5 * people).astype(np.int64), people - 1)
        second = np.sort(START + day * DAY_S + rng.integers(0, DAY_S, n))
        request = np.char.add(f"{day:+03d}-", np.arange(n).astype(str))
        if 0 <= day < DAYS:
            items = pa.FixedSizeListArray.from_arrays(rng.integers(0, 100_000, 10 * n).astype(np.int32), 10)
            arm = pa.array(np.where(treated[person], "wide", "control")).dictionary_encode()
            table = pa.table(
                {
                    "unit_id": ids[person],
                    "timestamp": second,
                    "arm": arm,
                    "request_id": request,
                    "items": items.cast(pa.list_(pa.int32())),
                }
            )
            parquet.write_table(table, folder / "exposures" / f"{date}.parquet")
        acted = np.flatnonzero(rng.random(n) < 0.4)
        buys = rng.random(len(acted)) < 0.1
        event = pa.array(np.where(buys, "buy", "play")).dictionary_encode()
        value = np.where(buys, rng.lognormal(3, 1, len(acted)), 1.0)
        table = pa.table(
            {"unit_id": ids[person[acted]], "timestamp": second[acted] + 30, "event": event, "value": value,
             "event_id": np.char.add("e", request[acted]), "request_id": request[acted]}
        )  # fmt: skip
        parquet.write_table(table, folder / "outcomes" / f"{date}.parquet")
    (folder / "plan.toml").write_text(PLAN % people)


def measure(folder: Path) -> dict[str, Any]:
    """Seconds and the most memory of one analysis, in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "recsys.pipelines.cli",
        "ab",
        "analyse",
        "--json",
        "--plan",
        str(folder / "plan.toml"),
    ]
    for name in ("exposures", "outcomes"):
        command += [f"--{name}", str(folder / name)]
    began = time.perf_counter()
    said = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    seconds = time.perf_counter() - began
    if said.returncode not in (0, 1):
        raise RuntimeError(said.stderr)
    analysis = json.loads(said.stdout.splitlines()[-1])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    most, busy = used.ru_maxrss / 2**20, used.ru_utime + used.ru_stime
    sick = [one["name"] for one in analysis["health"] if one["state"] == "sick"]
    return {
        "seconds": round(seconds, 1),
        "of the processor": round(busy, 1),
        "memory GiB": round(most, 2),
        "people analysed": sum(analysis["people"].values()),
        "sick": "; ".join(sick),
    }


def main() -> None:
    quick = "--quick" in sys.argv
    exposures, people = (280_000, 30_000) if quick else (10_000_000, 1_000_000)
    with TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        write(Path(place), exposures, people)
        outcomes = sum(parquet.read_metadata(file).num_rows for file in (Path(place) / "outcomes").iterdir())
        row = {"exposures": exposures, "outcomes": outcomes, "people": people, **measure(Path(place))}
    row["load average"] = round(os.getloadavg()[0], 1)
    report(
        "ab_scale",
        [row],
        title="recsys ab analyse on daily Parquet, k = 10, three metrics with CUPED, 35 daily looks",
        quick=quick,
    )


if __name__ == "__main__":
    main()
