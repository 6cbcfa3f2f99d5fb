"""Experiments as they run: frozen when they started, one file each in the folder `experiments` of a root of
bundles.

A frozen definition names bundles by their ids, so that a champion that comes later changes no arm. It is
changed by steps alone that lie in the future (`refuse_change`), and each is told in its history.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from recsys import durable
from recsys.errors import BundleError, SettingError
from recsys.experiments.definition import Experiment, Experiments, Holdout, Holdouts

FOLDER = "experiments"
_VERSION = 1


class Change(NamedTuple):
    """What was done to an experiment. at: unix seconds; digest: of its definition from then on."""

    at: int
    what: str
    digest: str


class Frozen(NamedTuple):
    """An experiment that was started. digest: of the definition. holdouts: those that were in force at its
    start.

    event_names: the types of events that the bundles of all arms know; None where they differ.
    """

    experiment: Experiment
    history: tuple[Change, ...]
    holdouts: tuple[Holdout, ...] = ()
    event_names: tuple[str, ...] | None = ()

    @property
    def name(self) -> str:
        return self.experiment.name

    @property
    def digest(self) -> str:
        return self.experiment.digest

    @property
    def bundles(self) -> frozenset[str]:
        """The ids of the bundles that its arms serve."""
        arms = (self.experiment.arm(name) for name in self.experiment.arm_names)
        return frozenset(arm.bundle for arm in arms if arm.interleave is None)

    def over(self, now: int) -> bool:
        return self.experiment.ends is not None and self.experiment.ends <= now

    def state(self, now: int) -> str:
        """`to come`, `running` or `over`."""
        if self.over(now):
            return "over"
        return "running" if self.experiment.phases[0].starts <= now else "to come"


def experiments_of(frozen: Sequence[Frozen]) -> Experiments:
    """The same for an Assigner."""
    holdouts = dict.fromkeys(holdout for one in frozen for holdout in one.holdouts)
    return Experiments({one.name: one.experiment for one in frozen}, tuple(holdouts))


def read_frozen(root: Path) -> list[Frozen]:
    """All experiments that were started in a root of bundles, by name. Raises BundleError where a file was
    changed."""
    experiments = []
    for path in sorted((root / FOLDER).glob("*.json")):
        status = path.stat()
        experiments.append(_read(path, (status.st_ino, status.st_mtime_ns, status.st_size)))
    return experiments


def write_frozen(root: Path, frozen: Frozen) -> None:
    """Replaces the file of an experiment; a reader sees the old one or the new one."""
    folder = root / FOLDER
    folder.mkdir(exist_ok=True)
    said = {
        "version": _VERSION,
        "digest": frozen.digest,
        "experiment": frozen.experiment.model_dump(mode="json"),
        "holdouts": [one.model_dump(mode="json") for one in frozen.holdouts],
        "event_names": frozen.event_names,
        "history": [one._asdict() for one in frozen.history],
    }
    durable.write_pointer(folder / f"{frozen.name}.json", json.dumps(said, indent=1) + "\n")


def take_back(root: Path, name: str) -> None:
    """Deletes an experiment that nobody was in."""
    (root / FOLDER / f"{name}.json").unlink(missing_ok=True)


@lru_cache(maxsize=128)  # a service looks every second
def _read(path: Path, stamp: tuple[int, ...]) -> Frozen:
    """The experiment of a file. stamp: changes with each time that it is written."""
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        experiment = Experiment.build(said["experiment"], where=str(path))
        holdouts = Holdouts.build({"holdouts": said["holdouts"]}, where=str(path)).holdouts
        history = tuple(Change(**one) for one in said["history"])
        names = None if said["event_names"] is None else tuple(said["event_names"])
        frozen, intact = Frozen(experiment, history, holdouts, names), said["digest"] == experiment.digest
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}. Mend access to it.") from None
    except (ValueError, KeyError, TypeError, SettingError) as error:
        raise BundleError(f"{path} is no experiment that was started ({error}). {_MEND}") from None
    if not intact or path.stem != experiment.name:
        raise BundleError(
            f"{path} was changed since it was frozen, which makes its experiment worthless. {_MEND}"
        )
    return frozen


_MEND = "Put back what was there, or delete it to end the experiment."
