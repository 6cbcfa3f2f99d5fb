"""Bad surroundings, the other half of the list in test_bad_input.py: rights, disks, ports, packages, signals,
pipes."""

import ctypes
import hashlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recsys import durable
from recsys.bundle.write import publish
from recsys.data.split.split import split
from recsys.errors import TrackingError
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.export import content_of
from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.pipelines.machine import space
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.tracking import store
from recsys.testing.toys import random_log
from tests.helpers.refusals import GOOD, ROOT, assert_refused, bundles, file, snapshot


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", "recsys.pipelines.cli", *arguments]


def child(folder: Path, *arguments: str, **popen: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=120,
        **popen,
    )


def environment(folder: Path) -> dict[str, str]:
    own = {"RECSYS_HOME": str(folder), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"} | own


def without_override() -> None:
    """Takes CAP_DAC_OVERRIDE from what this process becomes; no more than an error for who has it not."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


@pytest.mark.slow
def test_a_home_that_may_not_be_written_is_found_before_learning(tmp_path: Path) -> None:
    """Where the tests run as root, whom no mode stops, the child loses that privilege."""
    file(GOOD)(tmp_path)
    tmp_path.chmod(0o555)
    before = snapshot(tmp_path)
    said = child(tmp_path, "train", "c.csv", preexec_fn=without_override)
    tmp_path.chmod(0o755)
    assert_refused(
        said.returncode, said.stdout, said.stderr, (f"{tmp_path}, where runs are kept", "RECSYS_HOME")
    )
    assert "learn" not in said.stderr
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_a_full_disk_leaves_no_half_bundle(tmp_path: Path) -> None:
    made = bundles(tmp_path)
    before = snapshot(tmp_path)
    largest = max(path.stat().st_size for path in made.rglob("*"))
    limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (largest - 1, largest - 1))
    said = child(tmp_path, "export", str(made), "--to", "there", preexec_fn=limited)
    assert_refused(said.returncode, said.stdout, said.stderr, ("there/", "File too large", "Free space"))
    assert snapshot(tmp_path) == before | {"there": None, "there/.lock": hashlib.sha256(b"").hexdigest()}


@pytest.mark.slow
def test_a_taken_port_and_a_closed_log_are_said_before_serving(tmp_path: Path) -> None:
    bundles(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = child(tmp_path, "serve", "bundles", "--port", port)
        assert (said.returncode, said.stdout) == (2, "")
        assert f"port {port}: Address already in use" in said.stderr
        assert "Choose another with --port" in said.stderr.splitlines()[-1]
    for option, value, words in (
        ("--port", "99999", "less than or equal to 65535, got '99999'"),
        ("--exposures", "bundles/current/x", "bundles/current/x cannot be appended to"),
        ("--threads", "-1", "greater than or equal to 0"),
    ):
        said = child(tmp_path, "serve", "bundles", "--port", "0", option, value)
        assert (said.returncode, said.stdout) == (2, ""), said.stderr
        assert words in said.stderr.splitlines()[-1]
        assert "Traceback" not in said.stderr


@pytest.mark.slow
@pytest.mark.parametrize("module", ["mlflow", "scipy"])
def test_a_package_that_is_not_installed_is_named_with_the_extra(module: str, tmp_path: Path) -> None:
    file(GOOD)(tmp_path)
    (tmp_path / "mlruns").mkdir()
    file("", "mlruns/mlflow.db")(tmp_path)
    before = snapshot(tmp_path)
    program = (
        f"import sys; sys.modules[{module!r}] = None; from recsys.pipelines.cli import main; "
        "main(prog_name='recsys')"
    )
    arguments = ["runs"] if module == "mlflow" else ["train", "c.csv"]
    said = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert_refused(
        said.returncode, said.stdout, said.stderr, (module, "pip install 'recsys-embeddings[train]'")
    )
    assert snapshot(tmp_path) == before | (
        {"mlruns/.lock": hashlib.sha256(b"").hexdigest()} if arguments[0] == "runs" else {}
    )


@pytest.mark.slow
def test_an_interrupted_training_leaves_nothing(tmp_path: Path) -> None:
    file(GOOD)(tmp_path)
    before = snapshot(tmp_path)
    running = subprocess.Popen(
        command("train", "c.csv", "model.dim=256", "model.epochs=100000"),
        cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # a shell's background job ignores it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert running.stderr
    for line in running.stderr:
        if line.startswith("learn"):
            break
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == 130
    assert stderr.splitlines()[-1] == "recsys: interrupted"
    assert "Traceback" not in stderr
    assert snapshot(tmp_path) == before


@pytest.mark.slow
@pytest.mark.parametrize("shown", [["models"], ["models", "--json"], ["--help"]])
def test_output_that_nobody_reads_ends_quietly(shown: list[str], tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    said = subprocess.run(
        command(*shown),
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    os.close(writer)
    assert (said.returncode, said.stderr) == (1 if shown == ["--help"] else 141, b"")


def test_a_lock_and_remains_of_a_dead_process_do_no_harm(tmp_path: Path) -> None:
    """A lock dies with its process; the file alone says nothing."""
    made = bundles(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/.lock").write_text("4194303")
    (tmp_path / f"there/{made.name}{durable.PARTIAL}").mkdir()
    said = CliRunner().invoke(main, ["export", str(made), "--to", str(tmp_path / "there"), "--json"])
    assert said.exit_code == 0, said.stderr
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [".lock", made.name, "current"]


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_room_for_the_bundle_is_asked_for_before_learning(
    factor: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The estimate is the size that the bundle then has, and a disk with less is refused before anything is
    learned."""
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    data = random_log(3, n_users=2_000, n_items=500, n=40_000)
    settings = load_settings(None, ["model.dim=16", "model.epochs=1"])
    learned = ALS(ALSSettings(dim=16, epochs=1)).fit(data, seed=1)
    made = publish(
        tmp_path / "b", content_of("als", learned, data, seen=settings.seen, fallback_days=30, lineage={})
    )
    run = Run(settings, Steps(quiet=True), data, split(data, settings.split, seed=1).test, "", 1)
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    assert space.bundle_bytes(run) == pytest.approx(size, rel=0.2)
    needed = 2 * space.bundle_bytes(run) + (16 << 20)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, int(needed * factor))
    )
    before = snapshot(tmp_path)
    if factor > 1:
        space.refuse_without_room(run)
    else:
        with pytest.raises(
            TrackingError, match=rf"{needed * factor / 1e6:,.0f} MB free.*about {needed / 1e6:,.0f} MB"
        ):
            space.refuse_without_room(run)
    assert snapshot(tmp_path) == before


def test_half_a_database_is_emptied_and_removed_and_a_whole_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store.store().mkdir()

    def full(*names: str) -> None:
        with store.opening_database():
            for name in names:
                (store.store() / name).write_bytes(b"half")
            opened.append(store.database().open("rb"))
            raise OSError("full")

    opened: list[Any] = []
    with pytest.raises(OSError, match="full"):
        full("mlflow.db", "mlflow.db-journal")
    with opened[0] as held:
        assert held.read() == b""  # its space is free although it is open still
    assert {left.name for left in store.store().iterdir()} <= {".lock"}
    store.database().write_bytes(b"whole")
    with pytest.raises(OSError, match="full"):
        full()
    opened[1].close()
    assert store.database().read_bytes() == b"whole"
