"""The state of a learner on disk after an epoch, so that a killed run goes on from there to the same
bytes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsys import durable
from recsys.arrays import Array
from recsys.errors import BundleError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

STATE = "state.json"
Figures = Mapping[str, float]
State = Mapping[str, "Array | Tensor"]  # tensors on any device


class Checkpoint:
    """One folder with the arrays of the last finished epoch that was saved, and the figures of all epochs so
    far.

    key: what the state depends on (settings, data, seed, threads). A folder that was written under another
    key is
    refused and never overwritten: two runs do not mix. reads_only: another process saves and removes it.
    """

    def __init__(self, folder: Path, key: str, *, reads_only: bool = False) -> None:
        self.folder, self.key, self.reads_only = folder, key, reads_only

    def part(self, name: str) -> "Checkpoint":
        """That of a part of the learner (one model of a mixture), in a folder within this one."""
        return Checkpoint(self.folder / name, self.key, reads_only=self.reads_only)

    def restore(self, state: State) -> tuple[Figures, ...]:
        """Fills the arrays with those saved and returns the figures of each epoch behind them; none where
        none is.

        Raises ModelError where the folder belongs to another run or cannot be read.
        """
        if not (self.folder / STATE).exists():
            return ()
        try:
            described = json.loads((self.folder / STATE).read_text())
            self._check(described["key"])
            figures, saved = tuple(described["figures"]), self.folder / described["arrays"]
            for name, kept in state.items():
                saved_array, array = np.load(saved / f"{name}.npy", mmap_mode="r"), _array(kept)
                if (saved_array.shape, saved_array.dtype) != (array.shape, array.dtype):
                    raise ValueError(
                        f"{name} is {saved_array.dtype} {saved_array.shape}, not {array.dtype} {array.shape}"
                    )
                _fill(kept, saved_array)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"checkpoint {self.folder} cannot be read: {error}. Remove it to start anew."
            ) from None
        return figures

    def save(self, figures: Sequence[Figures], state: State) -> None:
        """Makes what the state holds, after the epochs with these figures, what `restore` gives. Killed
        within, the earlier one stays.

        Raises ModelError where the disk refuses, or where the folder belongs to another run.
        """
        if self.reads_only:
            return
        try:
            with durable.publishing(self.folder):
                if (self.folder / STATE).exists():
                    self._check(json.loads((self.folder / STATE).read_text())["key"])
                aside = self.folder / f"epoch-{len(figures)}{durable.PARTIAL}"
                aside.mkdir()
                for name, kept in state.items():
                    durable.write(aside / f"{name}.npy", partial(np.save, arr=_array(kept)))
                durable.sync_tree(aside)
                target = self.folder / f"epoch-{len(figures)}"
                shutil.rmtree(target, ignore_errors=True)
                durable.rename(aside, target)
                described = {"key": self.key, "arrays": target.name, "figures": list(map(_plain, figures))}
                durable.write_pointer(self.folder / STATE, json.dumps(described) + "\n")
                for old in self.folder.glob("epoch-*"):
                    if old.name != target.name:
                        shutil.rmtree(old, ignore_errors=True)
        except BundleError as error:
            raise ModelError(f"the checkpoint could not be saved: {error}") from None

    def remove(self) -> None:
        """Forgets the state; the run is complete."""
        if self.reads_only:
            return
        shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self, key: str) -> None:
        if key != self.key:
            raise ModelError(
                f"checkpoint {self.folder} belongs to a run with other settings, data, seed or threads. "
                "Repeat that run's settings to go on, or remove the folder to start anew."
            )


def _array(kept: "Array | Tensor") -> Array:
    """The same memory where it is that of the host."""
    return kept if isinstance(kept, np.ndarray) else kept.cpu().numpy()


def _fill(kept: "Array | Tensor", array: Array) -> None:
    if isinstance(kept, np.ndarray):
        kept[...] = array
        return
    from torch import from_numpy

    kept.copy_(from_numpy(np.array(array)))


def _plain(figures: Figures) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items()}
