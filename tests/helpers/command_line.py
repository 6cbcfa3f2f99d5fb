"""The command line in processes of its own, for tests."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TINY = ["model.dim=8", "model.epochs=3"]


def recsys(home: Path, *arguments: str, rc: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a person would, in its own process and home."""
    command = [sys.executable, "-W", "ignore", "-m", "recsys.pipelines.cli", *arguments]
    environment = {**os.environ, "RECSYS_HOME": str(home)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment |= variables
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert said.returncode == rc, said.stdout + said.stderr
    return said


def answer(said: subprocess.CompletedProcess[str]) -> Any:
    """The object on the last line of standard output."""
    return json.loads(said.stdout.splitlines()[-1])
