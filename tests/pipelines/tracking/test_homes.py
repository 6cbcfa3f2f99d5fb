"""A home that is moved, mounted where it may only be read, or copied, is the home at hand and no other."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.bundle.content import Content
from recsys.bundle.write import write
from recsys.pipelines.cli import main
from recsys.pipelines.tracking import address, client, record, store
from tests.helpers.bundles import content
from tests.helpers.refusals import snapshot

_READ_ONLY, _REMOUNT, _BIND = 1, 32, 4096
LIBC = ctypes.CDLL(None, use_errno=True)


def run_command(home: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    """Exit status and output of a command in a home."""
    monkeypatch.setenv("RECSYS_HOME", str(home))
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def log_run(made: Content) -> tuple[str, str]:
    """The ids of a run in the home at hand and of the bundle that it logged."""
    folder = write(store.store() / "trained", made)
    run_id, _ = record.track(folder)
    return run_id, folder.name


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in a folder whose name a URI must encode."""
    folder = tmp_path / "old home ü"
    folder.mkdir()
    monkeypatch.setenv("RECSYS_HOME", str(folder))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_moved_home_exports_and_promotes_and_logs_what_it_held(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, bundle_id = log_run(content())
    assert run_command(home, monkeypatch, "promote", run_id)[0] == 0
    moved = tmp_path / "there" / "new"
    moved.parent.mkdir()
    home.rename(moved)
    shutil.rmtree(moved / "mlruns/trained")  # who is registered has a copy
    for reference in ("last", "champion", run_id[:8]):
        code, text = run_command(moved, monkeypatch, "export", reference)
        assert code == 0, text
        assert (moved / "mlruns/bundles" / bundle_id).is_dir()
        shutil.rmtree(moved / "mlruns/bundles")
    assert run_command(moved, monkeypatch, "promote", "last", "--as", "challenger")[0] == 0
    assert run_command(moved, monkeypatch, "doctor", "last", "--now", "1700100000")[0] in (0, 1)
    later, _ = log_run(content(seed=2))  # in an experiment that was made at the old place
    assert address.bundle_of(later).is_relative_to(moved)
    assert client.last_run(None) == later
    assert not home.exists()


def test_two_homes_of_one_origin_each_answer_from_themselves(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, bundle_id = log_run(content())
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    shutil.rmtree(home / "mlruns/trained")
    assert run_command(copy, monkeypatch, "export", "last")[0] == 0
    assert (copy / "mlruns/bundles" / bundle_id).is_dir()
    # lost here, and that the copy has it is no excuse
    code, text = run_command(home, monkeypatch, "export", "last")
    assert code == 2
    assert f"run {run_id} had a bundle" in text
    assert f"mlruns/trained/{bundle_id} on " in text
    before = snapshot(home)
    monkeypatch.setenv("RECSYS_HOME", str(copy))
    log_run(content(seed=2))
    assert snapshot(home) == before


def test_no_bundle_is_said_only_of_a_run_that_never_had_one(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, _ = log_run(content())
    never = client.start_run("recsys", "killed before its bundle")
    for command in ("export", "promote"):
        code, text = run_command(home, monkeypatch, command, never)
        assert code == 2
        assert f"run {never} has no bundle" in text
    shutil.rmtree(address.bundle_of(run_id))
    for command in ("export", "promote"):
        code, text = run_command(home, monkeypatch, command, run_id)
        assert code == 2
        assert "had a bundle" in text
        assert "has no bundle" not in text


@pytest.fixture
def read_only(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home mounted elsewhere, to be read alone; where nobody may mount, moved and without the right to
    write."""
    log_run(content())
    assert run_command(home, monkeypatch, "export", "last")[0] == 0
    place = tmp_path / "mounted"
    place.mkdir()
    paths = os.fsencode(home), os.fsencode(place)
    if LIBC.mount(*paths, None, _BIND, None) == 0:
        assert LIBC.mount(*paths, None, _BIND | _REMOUNT | _READ_ONLY, None) == 0
        yield place
        LIBC.umount2(paths[1], 2)
        return
    place.rmdir()
    home.rename(place)
    folders = [place, *(path for path in place.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    if os.access(place, os.W_OK):
        pytest.skip("neither may anything be mounted here, nor do rights hold for this user")
    yield place
    for folder in folders:
        folder.chmod(0o755)


def test_a_home_that_may_only_be_read_is_read_and_refuses_what_writes(
    read_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(read_only)
    reading: list[tuple[str, ...]] = [
        ("runs",),
        ("export", "last", "--to", str(tmp_path / "out")),
        ("doctor", "last", "--now", "1700100000"),
        ("bundles", "list"),
        ("recommend", str(read_only / "mlruns/bundles"), "--user", "u1"),
    ]
    for command in reading:
        code, text = run_command(read_only, monkeypatch, *command)
        assert code in (0, 1), (command, text)
    kept = str(tmp_path / "out")
    writing = [("promote", "last"), ("export", "last"), ("track", kept), ("bundles", "prune", "--keep", "1")]
    for words in writing:
        code, text = run_command(read_only, monkeypatch, *words)
        assert code == 2, (words, text)
        assert text.count("\n") == 1
        assert text.startswith(f"recsys: {read_only / 'mlruns'}"), text
        assert "only be read" in text or "Read-only" in text or "Permission" in text
    assert snapshot(read_only) == before
