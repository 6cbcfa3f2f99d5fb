"""Kernels run from the code on disk alone: a first run, whose cache is empty, ends in the bytes of every
later one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from recsys.arrays import F32
from recsys.matrix.compiled import kernel
from tests.helpers.command_line import ROOT

# Learns iALS of a width at which the compiling process rounded otherwise and, where `all` is asked for, two
# towers; prints the digests. From a folder of checkpoints it goes on; `stop` makes it die after an epoch.
PROGRAM = """
import json, os, signal, sys
from hashlib import sha256
from pathlib import Path
from recsys.models.registry import make_model
from recsys.testing.toys import random_log
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids

folder, stop = Path(sys.argv[1]), sys.argv[2] == "stop"
data = random_log(1, 400, 300, 30_000)

def die(step):
    if stop and step.task == "learning als" and step.done == 4:
        os.kill(os.getpid(), signal.SIGKILL)

learners = {"als": {"dim": 16, "epochs": 6}, "two_tower": {"dim": 8, "epochs": 1}}
digests = {}
for name in learners if sys.argv[2] == "all" else ["als"]:
    aids = Aids(checkpoint=Checkpoint(folder / name, "key"), checkpoint_s=0)
    learned = make_model(name, learners[name]).fit(data, seed=1, aids=aids, progress=die)
    digests[name] = sha256(learned.items.tobytes()).hexdigest()
print(json.dumps(digests))
"""


def run(cache: Path, checkpoints: Path, how: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(checkpoints), how],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_two_first_runs_and_a_second_end_in_the_same_bytes_and_so_does_one_that_was_killed(
    tmp_path: Path,
) -> None:
    killed = run(tmp_path / "one cache", tmp_path / "resumed", "stop")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert list((tmp_path / "resumed").glob("als/epoch-*"))
    again = [run(tmp_path / "one cache", tmp_path / "resumed", "als")]
    again += [run(tmp_path / "other cache", tmp_path / name, "all") for name in ("first", "second")]
    assert [done.returncode for done in again] == [0, 0, 0], [done.stderr for done in again]
    resumed, first, second = (json.loads(done.stdout) for done in again)
    assert list(first) == ["als", "two_tower"]
    assert first == second
    assert resumed == {"als": first["als"]}


@kernel(parallel=True, fastmath=True)
def dots(rows: F32, out: F32) -> None:
    for row in numba.prange(len(rows)):
        for value in rows[row]:
            out[row] += value * value


def test_a_kernel_computes_what_its_function_says() -> None:
    rows, out = np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(3, np.float32)
    dots(rows, out)
    np.testing.assert_allclose(out, (rows**2).sum(axis=1), rtol=1e-6)
    wide = np.zeros(3)
    dots(rows.astype(np.float64), wide)  # other types: compiled once more
    np.testing.assert_allclose(wide, (rows**2).sum(axis=1))


def test_a_kernel_is_called_by_position() -> None:
    with pytest.raises(AssertionError, match="keywords"):
        dots(rows=np.zeros((1, 2), np.float32), out=np.zeros(1, np.float32))


def test_where_no_other_process_can_compile_the_caller_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.matrix.compiled._compile_elsewhere", lambda *task: None)

    @kernel(parallel=True)
    def double(rows: F32, out: F32) -> None:
        for row in numba.prange(len(rows)):
            out[row] = 2 * rows[row]

    out = np.zeros(2)
    double(np.array([1.0, 3.0]), out)
    assert out.tolist() == [2, 6]
