"""Fits of implicit ALS by ours and by peers, each in a process of its own, kept as they are made."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.mf_data import make, objective

LIBRARIES = ("recsys", "implicit", "irspack")
COMMON = {
    "regularization": 1.0,
    "unobserved_weight": 0.01,
    "exponent": 0.0,
    "cg_steps": 3,
    "threads": 2,
    "seed": 1,
}

Row = dict[str, Any]


class Measured:
    """Fits made so far, a JSON line each: appended at once, read at the start."""

    def __init__(self, path: Path, work: Path, libraries: Sequence[str]) -> None:
        self.path, self.work = path, work
        self.rows: list[Row] = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        )
        self.libraries = [name for name in libraries if name == "recsys" or (work / name).exists()]
        if len(self.libraries) == 1:
            click.echo(f"No peers in {work}: run with --set-up first to compare.", err=True)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        with self.path.open("a") as lines:
            lines.write(json.dumps(row) + "\n")

    def having(self, **wanted: Any) -> Iterator[Row]:
        return (row for row in self.rows if all(row.get(key) == value for key, value in wanted.items()))

    def fit(
        self,
        kind: str,
        library: str,
        data: str,
        dim: int,
        solver: str,
        epochs: int,
        repeat: int,
        *,
        kept: bool,
        settings: Row | None = None,
    ) -> Row:
        """One fit in a process of its own, unless it is there; with its objective, and its vectors in
        `work/factors`, where `kept`."""
        key = {
            "library": library,
            "data": data,
            "dim": dim,
            "solver": solver,
            "epochs": epochs,
            "repeat": repeat,
        }
        key |= COMMON | (settings or {})
        if earlier := next(self.having(kind=kind, **key), None):
            return earlier
        folder = make(data, self.work / "data")
        factors = str(self.work / "factors") if kept else None
        python = sys.executable if library == "recsys" else self.work / library / "bin" / "python"
        asked = json.dumps({**key, "data": str(folder), "factors": factors})
        environment = (
            os.environ | {"OPENBLAS_NUM_THREADS": "1"} if library == "implicit" else dict(os.environ)
        )
        command = [str(python), str(Path(__file__).with_name("mf_worker.py")), asked]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{library} failed on {asked}:\n{done.stderr[-3000:]}")
        row = {"kind": kind, **key, **json.loads(done.stdout.splitlines()[-1]), "load": os.getloadavg()[0]}
        if kept:
            users, items = (np.load(f"{factors}-{side}.npy") for side in ("users", "items"))
            row["objective"] = objective(folder, users, items, COMMON | (settings or {}))
        self.add(row)
        epoch = statistics.median(row["epochs_s"]) if row["epochs_s"] else row["total_s"]
        click.echo(f"{library} {data} dim {dim} {solver}: {epoch:.3f} s, load {row['load']:.1f}", err=True)
        return row
