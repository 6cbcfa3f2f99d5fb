"""The folder of experiments: read as a whole, and what may not be changed while an experiment runs."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

from recsys.config import read_toml
from recsys.errors import SettingError
from recsys.experiments.definition import Experiment, Experiments, Holdouts, Phase
from recsys.text import utc_text

HOLDOUTS = "holdouts.toml"


def read_experiments(folder: Path) -> Experiments:
    """All experiments of a folder, each a TOML file, and the holdouts beside them; none where there is no
    folder.

    Raises SettingError that names the file and the rule: a wrong definition, or two that overlap in a
    namespace.
    """
    files = sorted(folder.glob("*.toml"))
    experiments = {path.stem: read_experiment(path) for path in files if path.name != HOLDOUTS}
    refuse_overlaps(experiments.values())
    path = folder / HOLDOUTS
    holdouts = Holdouts.build(read_toml(path), where=str(path)).holdouts if path.is_file() else ()
    for what in ("name", "salt"):
        if len({getattr(holdout, what) for holdout in holdouts}) < len(holdouts):
            raise SettingError(f"{path} has two holdouts of one {what}. Give each its own.")
    return Experiments(experiments, holdouts)


def read_experiment(path: Path) -> Experiment:
    """The experiment of a file, named like the file. Raises SettingError where the file breaks a rule."""
    return experiment_of(read_toml(path), path.stem, where=str(path))


def experiment_of(values: Mapping[str, Any], name: str, *, where: str) -> Experiment:
    """The experiment that a table says. where: the file or place that it came from, for errors."""
    if values.get("name", name) != name:
        raise SettingError(
            f"{where} says name = {values['name']!r}, and an experiment is called as its file. Leave "
            "the name out."
        )
    return Experiment.build({**values, "name": name}, where=where)


def refuse_overlaps(experiments: Iterable[Experiment]) -> None:
    """Raises SettingError where two phases of one namespace have people and time in common, or two salts are
    one."""
    for one, other in combinations(experiments, 2):
        salts = {phase.salt for phase in one.phases} & {phase.salt for phase in other.phases}
        if salts:
            raise SettingError(
                f"experiments {one.name!r} and {other.name!r} both have the salt {sorted(salts)[0]!r}, so "
                f"that an arm of one would be an arm of the other. Give each its own."
            )
        if one.namespace is None or one.namespace != other.namespace:
            continue
        for first, (start, end) in zip(one.phases, one.spans(), strict=True):
            for second, (other_start, other_end) in zip(other.phases, other.spans(), strict=True):
                same_time = start < other_end and other_start < end
                if same_time and first.slots[0] < second.slots[1] and second.slots[0] < first.slots[1]:
                    raise SettingError(
                        f"experiments {one.name!r} and {other.name!r} overlap in namespace "
                        f"{one.namespace!r}: slots [{first.slots[0]:g}, {first.slots[1]:g}] and "
                        f"[{second.slots[0]:g}, {second.slots[1]:g}] at one time. Move the slots of one "
                        "apart, or start it at or after the end of the other."
                    )


def refuse_change(before: Experiment, after: Experiment, now: int) -> None:
    """Raises SettingError where a definition changes what people already live in.

    Allowed at any time: testers, the hypothesis, and an end in the future. Of the phase that runs, steps of
    the ramp that lie in the future. Whatever else is to change (weights, people, conditions) is a new phase,
    which starts in the future, so that no two processes ever disagree.
    """
    started = [phase for phase in before.phases if phase.starts <= now]
    if not started:
        _refuse_past(after.phases, now)
        return
    for name in ("control", "namespace", "hash_version"):
        if getattr(before, name) != getattr(after, name):
            raise SettingError(f"experiment {before.name!r} has started, and its {name} stays. {_NEW}")
    for number, phase in enumerate(started, start=1):
        new = after.phases[number - 1] if number <= len(after.phases) else None
        if new is None or new.model_copy(update={"ramp": ()}) != phase.model_copy(update={"ramp": ()}):
            raise SettingError(
                f"phase {number} of experiment {before.name!r} has started at {utc_text(phase.starts)}, "
                f"and its salt, start, weights, slots and conditions stay. {_NEW}"
            )
        if _ramp_until(new, now) != _ramp_until(phase, now) or (bool(new.ramp) != bool(phase.ramp)):
            raise SettingError(
                f"phase {number} of experiment {before.name!r} has gone up to {phase.share_at(now):.0%} of "
                f"its people, and that stays. Steps may be added, or changed, that lie in the future."
            )
    _refuse_past(after.phases[len(started) :], now)
    if after.ends != before.ends and after.ends is not None and after.ends <= now:
        raise SettingError(
            f"experiment {before.name!r} cannot end in the past. Set `ends` to a moment in the future."
        )


_NEW = "Add a phase with a salt of its own, that starts in the future."


def _ramp_until(phase: Phase, now: int) -> list[Any]:
    return [step for step in phase.ramp if step.at <= now]


def _refuse_past(phases: Iterable[Phase], now: int) -> None:
    for phase in phases:
        if phase.starts <= now:
            raise SettingError(
                f"the phase with salt {phase.salt!r} would start at {utc_text(phase.starts)}, which is "
                f"over. A phase starts in the future."
            )
