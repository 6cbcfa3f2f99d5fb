"""`recsys train --resume`: killed at any moment of learning, a run ends in the same bytes as one that was
not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recsys.errors import BundleError, ModelError, SettingError
from recsys.pipelines.console import Steps
from recsys.pipelines.run.checkpoints import keeping, key_of
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.run.train import Trained, train
from recsys.training.checkpoint import STATE, Checkpoint
from tests.helpers.command_line import answer, recsys

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
WORLD = [
    "world.users=120",
    "world.items=60",
    "world.events_per_user=15",
    "baselines_days=[]",
    "checkpoint_s=0",
]
SOFTMAX = ["model.name=softmax", "model.dim=8", "model.epochs=10", "model.batch_size=16"]
TINY = [*WORLD, *SOFTMAX]
EPOCHS = [1, 9]  # to kill after, beside the one that the command itself resumes


@pytest.fixture(autouse=True)
def home(untracked_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """fsync only pretends, which no killed process can notice; the real commands below have the real one."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    return untracked_home


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Gets (place, epoch) of each epoch that is saved: with checkpoint_s=0, of each that is learned."""
    epochs, save = [], Checkpoint.save

    def save_and_stop(self: Checkpoint, figures: Sequence[Any], state: Any) -> None:
        save(self, figures, state)
        epochs.append((self.folder.name, len(figures)))
        if epochs[-1] in STOPS:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", save_and_stop)
    STOPS.clear()
    return epochs


STOPS: list[tuple[str, int]] = []


def run(*assignments: str, resume: bool = False) -> tuple[Trained, Steps]:
    steps = Steps(quiet=True)
    return train(prepare(load_settings(None, [*TINY, *assignments]), steps), resume=resume), steps


def interrupt_run(*assignments: str, at: tuple[str, int], resume: bool = False) -> None:
    STOPS.append(at)
    with pytest.raises(KeyboardInterrupt):
        run(*assignments, resume=resume)
    STOPS.clear()


def files_of(trained: Trained) -> Any:
    """Size and digest of all files of the bundle: vectors, encoder, ids, histories, fallback and golden
    answers."""
    assert trained.bundle is not None
    files = json.loads((trained.bundle / "manifest.json").read_text())["files"]
    assert {"item_vectors.npy", "encoder/table.npy", "encoder/encoder.json"} <= set(files)
    return files


def checkpoints(home: Path) -> Path:
    return home / "mlruns/checkpoints"


@pytest.mark.parametrize("model", ["softmax", "als", "variational", "two_tower"])
def test_a_stopped_run_goes_on_to_the_same_bundle_figures_and_curve(
    home: Path, epochs: list[Any], model: str
) -> None:
    named = () if model == "softmax" else (f'model={{name="{model}", dim=8, epochs=10}}',)
    whole, told = run(*named)
    assert epochs == [("measured", epoch) for epoch in range(1, 11)]
    assert not checkpoints(home).exists()
    interrupt_run(*named, at=("measured", 4))
    epochs.clear()
    resumed, again = run(*named, resume=True)
    assert epochs == [("measured", epoch) for epoch in range(5, 11)]
    assert files_of(resumed) == files_of(whole)
    assert again.curves == told.curves
    assert len(told.curves[f"learning {model}"]) == 10
    assert resumed.table == whole.table
    assert not checkpoints(home).exists()


def test_of_a_refitted_run_the_finished_fit_is_not_learned_again(home: Path, epochs: list[Any]) -> None:
    whole, told = run("refit=true")
    epochs.clear()
    interrupt_run("refit=true", at=("refit", 3))
    assert epochs == [("measured", epoch) for epoch in range(1, 11)] + [
        ("refit", epoch) for epoch in (1, 2, 3)
    ]
    epochs.clear()
    interrupt_run("refit=true", at=("refit", 6), resume=True)
    resumed, again = run("refit=true", resume=True)
    assert epochs == [("refit", epoch) for epoch in range(4, 11)]
    assert files_of(resumed) == files_of(whole)
    assert again.curves == told.curves
    assert resumed.table == whole.table


def test_without_resume_a_stopped_run_is_named_and_removed(
    home: Path, epochs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_run(at=("measured", 4))
    assert "the same command with --resume goes on" in capsys.readouterr().err
    epochs.clear()
    run()
    lines = [line for line in capsys.readouterr().err.splitlines() if "--resume" in line]
    assert lines == [
        "recsys: warning: an equal run was stopped (measured after epoch 4); this one starts from the "
        "beginning. --resume would have gone on."
    ]
    assert epochs == [("measured", epoch) for epoch in range(1, 11)]


def test_with_nothing_to_resume_that_is_said_and_it_starts_from_the_beginning(
    epochs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt_run(at=("measured", 4))
    epochs.clear()
    settings = load_settings(None, [*TINY, "seed=2"])
    train(prepare(settings, Steps()), resume=True)
    assert "--resume: no checkpoint of a run of softmax on world-120x60-seed1" in capsys.readouterr().out
    assert epochs == [("measured", epoch) for epoch in range(1, 11)]


def test_a_bundle_that_could_not_be_written_is_made_later_without_learning_again(
    home: Path, epochs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> Path:
        raise BundleError("no space left.")

    with monkeypatch.context() as broken:
        broken.setattr("recsys.pipelines.run.train.write", full)
        with pytest.raises(BundleError):
            run()
    epochs.clear()
    resumed, _ = run(resume=True)
    assert epochs == []
    assert files_of(resumed) == files_of(run()[0])


def test_a_run_that_saved_nothing_leaves_nothing(home: Path) -> None:
    run("checkpoint_s=30")
    assert not checkpoints(home).exists()
    for wrong in (["model.similarity=dot", "model.learning_rate=1e38"], ["warm=nowhere"]):
        shutil.rmtree(home / "mlruns")
        with pytest.raises((ModelError, SettingError)):
            run(*wrong)
        assert not (home / "mlruns").exists()
        (home / "mlruns").mkdir()


@pytest.mark.parametrize(
    "changed", ["seed=2", "model.epochs=11", "split.test=0.2", "world.seed=2", "refit=true"]
)
def test_only_an_equal_run_goes_on(changed: str) -> None:
    def key(*assignments: str, threads: int = 2, warm: str | None = None) -> str:
        start: Any = warm and SimpleNamespace(bundle_id=warm)
        return key_of(replace(prepare_run(*assignments), threads=threads, start=start))

    assert key() == key("checkpoint_s=7")
    assert len({key(), key(changed), key(threads=1), key(warm="20260728T101500000000Z-0a1b2c3d")}) == 4


def prepare_run(*assignments: str) -> Run:
    return replace(prepare(load_settings(None, [*TINY, *assignments]), Steps(quiet=True)), steps=Steps())


def test_two_equal_runs_at_once_do_not_share_a_checkpoint(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = prepare_run()
    with keeping(run, resume=False) as first:
        with keeping(run, resume=False) as second:
            assert (first.folder is None, second.folder is None) == (False, True)
        assert "keeps no checkpoint" in capsys.readouterr().err
        with (
            pytest.raises(SettingError, match="still learning"),
            keeping(run, resume=True),
        ):
            pass
        assert first.folder is not None
        assert first.folder.exists()
    with keeping(run, resume=True) as third:
        assert third.folder == first.folder


def test_where_there_is_no_room_a_run_keeps_none_and_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = prepare_run()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 20_000))
    with keeping(run, resume=False) as kept:
        assert kept.aids("measured", run.holdout.train).checkpoint is None
    assert "starts from the beginning" in capsys.readouterr().err
    assert not checkpoints(home).exists()


def kill_training(home: Path, place: str, epoch: int, *assignments: str) -> None:
    """Starts the real command and kills it with SIGKILL as soon as the state after that epoch is on the
    disk."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "recsys.pipelines.cli",
        "train",
        "world",
        "-c",
        str(home / "s.toml"),
    ]
    environment = {**os.environ, "RECSYS_HOME": str(home)}
    (home / "s.toml").write_text("")
    process = subprocess.Popen(
        [*command, *TINY, *assignments],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        state = next(checkpoints(home).glob(f"*/{place}/{STATE}"), None)
        if state is not None and len(json.loads(state.read_text())["figures"]) >= epoch:
            break
        time.sleep(0.001)
    process.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, said.decode()
    assert not list((home / "mlruns").glob("trained/*")), "it was over before it was killed"


def test_a_killed_train_command_ends_in_the_same_bytes_when_it_is_resumed(
    home: Path, epochs: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("whole")
    (elsewhere / "s.toml").write_text("")
    command = ["train", "world", "-c", str(elsewhere / "s.toml"), *TINY, "--json"]
    whole = json.loads(Path(answer(recsys(elsewhere, *command))["bundle"], "manifest.json").read_text())
    for epoch in EPOCHS:
        kill_training(home, "measured", epoch)
        epochs.clear()
        resumed, _ = run(resume=True)
        assert files_of(resumed) == whole["files"], epoch
        assert epochs == [("measured", later) for later in range(11 - len(epochs), 11)]
        assert len(epochs) <= 10 - epoch
        shutil.rmtree(home / "mlruns")
    kill_training(home, "measured", 5)
    command[3] = str(home / "s.toml")
    again = answer(recsys(home, *command, "--resume"))
    manifest = json.loads(Path(again["bundle"], "manifest.json").read_text())
    assert manifest["files"] == whole["files"]
    assert manifest["lineage"]["settings"] == whole["lineage"]["settings"]
    assert not checkpoints(home).exists()
