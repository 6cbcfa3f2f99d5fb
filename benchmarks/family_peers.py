"""What the parts of `benchmarks.family` share: questions to peers in their own environment, and rows of a
table."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import Array

Row = dict[str, Any]


def asked_of_a_peer(work: Path, asked: Row, arrays: Mapping[str, Array], threads: int = 1) -> Row:
    """What `family_worker.py` prints in the peers' environment below `work`, given these arrays."""
    for name, array in arrays.items():
        np.save(work / f"{name}.npy", array)
    python, worker = work / "peers" / "bin" / "python", Path(__file__).with_name("family_worker.py").resolve()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    command = [str(python.absolute()), str(worker), json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work)
    if done.returncode:
        raise SystemExit(f"{asked['library']} failed:\n{done.stderr[-3000:]}")
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    return answer


def difference_row(comparison: Any, other: str, name: str) -> Row:
    """The paired difference to another row, with its interval and p; nothing of a row to itself."""
    if name == other:
        return {}
    return {"less": other, "difference": comparison.difference.mean, "low": comparison.difference.low,
            "high": comparison.difference.high, "p": comparison.p}  # fmt: skip
