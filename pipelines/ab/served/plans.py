"""The plan of the analysis of an experiment that is served: its own table `plan`, with arms and testers from
itself."""

from pathlib import Path
from typing import Any

from recsys.analysis.plan import Plan
from recsys.config import read_toml
from recsys.errors import SettingError
from recsys.experiments.definition import Experiment

_OWN = ("control", "weights", "experiment", "phase", "testers")


def plan_of(experiment: Experiment, phase: int = 0, path: Path | None = None) -> Plan:
    """The plan for one phase, whose weights, control and testers are those of the experiment.

    path: a file with the plan, in place of the experiment's own table. Raises SettingError where there is
    none, or it breaks a rule, or says what the experiment says.
    """
    if path is None and not experiment.plan:
        raise SettingError(
            f"experiment {experiment.name!r} has no table [plan] with [[plan.metrics]], so that nobody "
            f"fixed what it is judged by. Name a file that says so."
        )
    where = str(path) if path is not None else f"the plan of experiment {experiment.name!r}"
    stated: dict[str, Any] = read_toml(path) if path is not None else dict(experiment.plan)
    known = {"control": experiment.control, "weights": dict(experiment.phases[phase].weights)}
    for name in _OWN:
        if name in stated and stated[name] != known.get(name):
            raise SettingError(f"{where} says {name!r}, which the experiment itself says. Leave it out.")
        stated.pop(name, None)
    last = (
        {"ends": experiment.ends}
        if experiment.ends is not None and phase == len(experiment.phases) - 1
        else {}
    )
    values = {**last, **stated, **known, "experiment": experiment.name, "phase": str(phase)}
    values["testers"] = tuple(sorted(experiment.testers))
    if len(known["weights"]) < 2:
        raise SettingError(f"{where} has one arm, which merges two lists: ask which of them people prefer.")
    return Plan.build(values, where=where)
