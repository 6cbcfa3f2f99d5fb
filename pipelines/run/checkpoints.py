"""Where a run keeps its state while it learns, so that one that was killed goes on: `recsys train ...
--resume`.

`mlruns/checkpoints/<key>/` holds a folder for each fit (`measured`, `refit`), and in it one for each part of
a mixture.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from recsys import __version__
from recsys.data.dataset import Dataset
from recsys.durable import hold_lock
from recsys.errors import SettingError
from recsys.models.warm_start import start_of
from recsys.pipelines.machine.space import bundle_bytes
from recsys.pipelines.run.run import Run
from recsys.pipelines.tracking.store import store
from recsys.training.checkpoint import STATE, Checkpoint
from recsys.training.loop import Aids

Fit = Literal["measured", "refit"]
_VERSIONS = ("numpy", "torch", "numba")
_ARRAYS = 3  # of a row: its vector, and the two running means of Adam
_COPIES = 2  # the state, and the one before it while it is saved


@dataclass(frozen=True)
class Kept:
    """The checkpoints of one run. folder: None = it keeps none. reads_only: another process keeps them."""

    run: Run
    folder: Path | None
    reads_only: bool = False

    def aids(self, fit: Fit, source: Dataset) -> Aids:
        """The checkpoint of a fit of the run to `source`, and its warm start if the run has one."""
        checkpoint = warm = None
        if self.folder is not None:
            checkpoint = Checkpoint(self.folder / fit, key_of(self.run), reads_only=self.reads_only)
        if self.run.start is not None:
            with self.run.steps.step("warm start"):
                warm = start_of(self.run.start, source)
        return Aids(warm=warm, checkpoint=checkpoint, checkpoint_s=self.run.settings.checkpoint_s)

    def remove(self) -> None:
        """Deletes the states, once the model is safe in its bundle."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def keeping(run: Run, *, resume: bool) -> Iterator[Kept]:
    """The checkpoints of a run, for the run alone: a second process with equal settings keeps none.

    resume: go on from what a killed run left; else that is said and removed. What the run leaves when it
    fails stays for `--resume`; a run that saved nothing leaves nothing.
    """
    folder = folder_of(run)
    lock = _lock_of(folder)
    if lock is None:
        if resume:
            raise SettingError(
                "--resume: a run with these settings is still learning. Wait for it, or end it first."
            )
        run.steps.warn("another run with these settings is learning now, so this one keeps no checkpoint.")
        yield Kept(run, None)
        return
    with lock:
        try:
            _begin(run, folder, resume)
            yield Kept(run, folder if _has_room(run, folder) else None)
        except BaseException:
            if list_saved(folder):
                run.steps.warn(
                    "what was learned so far is kept: the same command with --resume goes on from it."
                )
            raise
        finally:
            if not list_saved(folder):
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # both only where nothing else is in them
                folder.parent.rmdir()
                store().rmdir()


def folder_of(run: Run) -> Path:
    """The folder of the checkpoints of a run."""
    return store() / "checkpoints" / key_of(run)[:16]


def remove_left(home: Path) -> tuple[list[Path], list[Path]]:
    """Removes the checkpoints that killed runs left in a home. Returns the removed folders, and those that
    stay since a run still writes them."""
    gone, held = list[Path](), list[Path]()
    for folder in sorted(path for path in (home / "mlruns" / "checkpoints").glob("*") if path.is_dir()):
        lock = _lock_of(folder)
        (held if lock is None else gone).append(folder)
        if lock is not None:
            with lock:
                shutil.rmtree(folder, ignore_errors=True)
    return gone, held


def key_of(run: Run) -> str:
    """Digest of all that the bytes of a run depend on: only a run with the same one may go on from its
    state."""
    warm = None if run.start is None else run.start.bundle_id
    stated = run.settings.model_dump(mode="json", exclude={"checkpoint_s", "system_metrics", "warm"})
    versions = {"recsys": __version__} | {name: version(name) for name in _VERSIONS}
    text = json.dumps([stated, run.data.digest, run.threads, versions, warm], sort_keys=True)
    return sha256(text.encode()).hexdigest()


def list_saved(folder: Path) -> dict[str, int]:
    """The fits and parts of them that have a state, by name, each with the epochs behind it; 0 = not to be
    read."""
    epochs: dict[str, int] = {}
    for path in sorted(folder.rglob(STATE)):
        name = path.parent.relative_to(folder).as_posix()
        try:
            epochs[name] = len(json.loads(path.read_text())["figures"])
        except (OSError, ValueError, KeyError, TypeError):
            epochs[name] = 0
    return epochs


def _begin(run: Run, folder: Path, resume: bool) -> None:
    """Says what an earlier run left in the folder, and removes it unless `resume`."""
    behind = list_saved(folder)
    said = ", ".join(f"{name} after epoch {epochs}" for name, epochs in behind.items())
    if resume and behind:
        run.steps.say(f"Going on from {folder}: {said}.")
    elif resume:
        run.steps.say(
            f"--resume: no checkpoint of a run of {run.name} with these settings, data, seed and threads; "
            f"it starts from the beginning."
        )
    elif behind:
        run.steps.warn(
            f"an equal run was stopped ({said}); this one starts from the beginning. --resume would "
            "have gone on."
        )
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


def _has_room(run: Run, folder: Path) -> bool:
    """Whether the states fit on the disk beside the bundle. A run needs its bundle, and can do without
    them."""
    dim = getattr(run.learner().settings, "dim", 0)
    states = 4 * dim * (run.data.n_users + run.data.n_items) * _ARRAYS * (_COPIES + run.settings.refit)
    needed, free = states + 2 * bundle_bytes(run), shutil.disk_usage(folder).free
    if needed <= free or list_saved(folder):
        return True
    run.steps.warn(
        f"{folder} has {free / 1e6:,.0f} MB free, and checkpoints need about {states / 1e6:,.0f} MB beside "
        f"the bundle: none is kept, and a run that is killed starts from the beginning."
    )
    return False


def _lock_of(folder: Path) -> ExitStack | None:
    """The lock of a run's folder, held until it is closed or the process dies; None: another process holds
    it."""
    held = ExitStack()
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(hold_lock(folder / ".lock", wait=False))
            return held
        except BlockingIOError:
            return None
        except FileNotFoundError:  # removed in this moment by a run that ended
            continue
