"""Where a run keeps its state while it learns, so that one that was killed goes on: `recsys train ... --resume`.

`mlruns/checkpoints/<key>/` holds a folder for each fit (`measured`, `refit`), and in it one for each part of a mixture.
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
from recsys.durable import locked
from recsys.errors import SettingError
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.tracking.store import bundle_bytes, store
from recsys.training.checkpoint import STATE, Checkpoint
from recsys.training.loop import Aids, Start

Fit = Literal["measured", "refit"]
_VERSIONS = ("numpy", "torch", "numba")
_ARRAYS = 3  # of a row: its vector, and the two running means of Adam
_COPIES = 2  # the state, and the one before it while it is saved


@dataclass(frozen=True)
class Kept:
    """The checkpoints of one run. folder: None = it keeps none. reads_only: another process keeps them."""

    folder: Path | None
    key: str
    checkpoint_s: float
    reads_only: bool = False

    def aids(self, fit: Fit, warm: Start | None) -> Aids:
        """What helps a fit of the run along."""
        checkpoint = (
            None if self.folder is None else Checkpoint(self.folder / fit, self.key, reads_only=self.reads_only)
        )
        return Aids(warm=warm, checkpoint=checkpoint, checkpoint_s=self.checkpoint_s)

    def remove(self) -> None:
        """Forgets the states: what was learned is safe."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def keeping(
    settings: RunSettings, data: Dataset, threads: int, steps: Steps, *, warm: str | None, resume: bool
) -> Iterator[Kept]:
    """The checkpoints of a run, for the run alone: a second process with equal settings keeps none.

    resume: go on from what a killed run left; else that is said and removed. warm: the id of the bundle that the run
    starts from. What the run leaves when it fails stays for `--resume`; a run that saved nothing leaves nothing.
    """
    key = key_of(settings, data, threads, warm)
    folder = store() / "checkpoints" / key[:16]
    lock = _lock_of(folder)
    if lock is None:
        if resume:
            raise SettingError("--resume: a run with these settings is still learning. Wait for it, or end it first.")
        steps.warn("another run with these settings is learning now, so this one keeps no checkpoint.")
        yield Kept(None, key, settings.checkpoint_s)
        return
    with lock:
        try:
            _begin(folder, settings, data, steps, resume)
            yield Kept(folder if _has_room(folder, settings, data, steps) else None, key, settings.checkpoint_s)
        except BaseException:
            if saved(folder):
                steps.warn("what was learned so far is kept: the same command with --resume goes on from it.")
            raise
        finally:
            if not saved(folder):
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # both only where nothing else is in them
                folder.parent.rmdir()
                store().rmdir()


def key_of(settings: RunSettings, data: Dataset, threads: int, warm: str | None) -> str:
    """Digest of all that the bytes of a run depend on: only a run with the same one may go on from its state."""
    stated = settings.model_dump(mode="json", exclude={"checkpoint_s", "warm"})
    versions = {"recsys": __version__} | {name: version(name) for name in _VERSIONS}
    text = json.dumps([stated, data.digest, threads, versions, warm], sort_keys=True)
    return sha256(text.encode()).hexdigest()


def saved(folder: Path) -> dict[str, int]:
    """The fits and parts of them that have a state, by name, each with the epochs behind it; 0 = not to be read."""
    found: dict[str, int] = {}
    for path in sorted(folder.rglob(STATE)):
        name = path.parent.relative_to(folder).as_posix()
        try:
            found[name] = len(json.loads(path.read_text())["figures"])
        except (OSError, ValueError, KeyError, TypeError):
            found[name] = 0
    return found


def _begin(folder: Path, settings: RunSettings, data: Dataset, steps: Steps, resume: bool) -> None:
    """Says what lies there already, and removes it where it is not wanted."""
    found = saved(folder)
    said = ", ".join(f"{name} after epoch {epochs}" for name, epochs in found.items())
    if resume and found:
        steps.say(f"Going on from {folder}: {said}.")
    elif resume:
        steps.say(
            f"--resume: no checkpoint of a run of {settings.model_name} on {data.name} with these settings, data, seed "
            "and threads; it starts from the beginning."
        )
    elif found:
        steps.warn(
            f"an equal run was stopped ({said}); this one starts from the beginning. --resume would have gone on."
        )
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)


def _has_room(folder: Path, settings: RunSettings, data: Dataset, steps: Steps) -> bool:
    """Whether the states fit on the disk beside the bundle. A run needs its bundle, and can do without them."""
    dim = getattr(make_model(settings.model_name, settings.model_settings).settings, "dim", 0)
    states = 4 * dim * (data.n_users + data.n_items) * _ARRAYS * (_COPIES + settings.refit)
    needed, free = states + 2 * bundle_bytes(settings, data), shutil.disk_usage(folder).free
    if needed <= free or saved(folder):
        return True
    steps.warn(
        f"{folder} has {free / 1e6:,.0f} MB free, and checkpoints need about {states / 1e6:,.0f} MB beside the bundle: "
        "none is kept, and a run that is killed starts from the beginning."
    )
    return False


def _lock_of(folder: Path) -> ExitStack | None:
    """The lock of a run's folder, held until it is closed or the process dies; None: another process holds it."""
    held = ExitStack()
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder / ".lock", wait=False))
            return held
        except BlockingIOError:
            return None
        except FileNotFoundError:  # removed in this moment by a run that ended
            continue
