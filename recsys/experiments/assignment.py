"""Who gets which arm: a pure function of the experiments, a unit, its attributes and the moment."""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from recsys.experiments.definition import Experiment, Experiments, Phase
from recsys.experiments.hashing import place, two_places
from recsys.experiments.targeting import Test, meets, tests_of

# Why a person is in an arm, or in none.
IN, TESTER, HOLDOUT, NOT_TARGETED, OTHER_SLOTS, NOT_YET = (
    "assigned",
    "tester",
    "holdout",
    "not targeted",
    "outside its slots",
    "not in the ramp yet",
)
_NAMESPACE, _HOLDOUT = "namespace\x01", "holdout\x01"  # no salt of a phase is one of these by chance


class Assignment(NamedTuple):
    """An arm of an experiment for one unit. phase: from 0. arm: None where the unit is not in it; reason:
    why.

    Testers have an arm and are never analysed; whoever has none gets what is served without the experiment.
    """

    experiment: str
    phase: int
    arm: str | None
    reason: str


class _Running(NamedTuple):
    """A phase that runs, ready to be asked."""

    name: str
    phase: int
    salt: str
    arms: tuple[str, ...]
    tops: tuple[float, ...]  # the upper end of each arm's range
    share: float
    tests: list[tuple[str, Test]]
    namespace: str | None
    slots: tuple[float, float]
    testers: Mapping[str, str]
    holdouts: tuple[int, ...]


class Assigner:
    """Assigns units to the arms of all experiments that run. Threads may share one."""

    def __init__(self, experiments: Experiments) -> None:
        self._experiments = experiments
        changes: set[int] = set()
        for experiment in experiments.by_name.values():
            for phase in experiment.phases:
                changes |= {phase.starts, *(step.at for step in phase.ramp)}
            changes |= {experiment.ends} if experiment.ends is not None else set()
        self._changes = sorted(changes)
        self._ready: tuple[float, float, list[_Running]] = (0.0, 0.0, [])  # true from, until

    def assign(self, unit: str, attributes: Mapping[str, Any], now: int) -> list[Assignment]:
        """An assignment for each experiment that runs at `now`, in unix seconds, in the order of their
        names."""
        since, until, running = self._ready
        if not since <= now < until:
            running = self._prepare(now)
        places: dict[str, float] = {}
        held = [place(_HOLDOUT + one.salt, unit) < one.share for one in self._experiments.holdouts]
        assignments = []
        for one in running:
            arm, reason = None, IN
            if one.testers and unit in one.testers:
                arm, reason = one.testers[unit], TESTER
            elif one.holdouts and any(held[at] for at in one.holdouts):
                reason = HOLDOUT
            elif one.tests and not meets(attributes, one.tests):
                reason = NOT_TARGETED
            else:
                if (namespace := one.namespace) is not None:
                    if namespace not in places:
                        places[namespace] = place(_NAMESPACE + namespace, unit)
                    if not one.slots[0] <= places[namespace] < one.slots[1]:
                        assignments.append(Assignment(one.name, one.phase, None, OTHER_SLOTS))
                        continue
                at, ramp = two_places(one.salt, unit)
                if ramp < one.share:
                    arm = one.arms[bisect_right(one.tops, at)]
                else:
                    reason = NOT_YET
            assignments.append(Assignment(one.name, one.phase, arm, reason))
        return assignments

    def _prepare(self, now: int) -> list[_Running]:
        """What runs until the next change."""
        at = bisect_right(self._changes, now)
        since = self._changes[at - 1] if at else float("-inf")
        until = self._changes[at] if at < len(self._changes) else float("inf")
        running = []
        for name, experiment in sorted(self._experiments.by_name.items()):
            if (number := experiment.phase_at(now)) >= 0:
                running.append(self._running(name, experiment, number, experiment.phases[number], now))
        self._ready = (since, until, running)
        return running

    def _running(self, name: str, experiment: Experiment, number: int, phase: Phase, now: int) -> _Running:
        """What it takes to assign a unit to this phase, made once for all units. now: unix seconds, by which
        the share of people that is let in grows."""
        first, arms = experiment.phases[0].starts, sorted(phase.weights)  # whatever their order in the file
        return _Running(
            name=name,
            phase=number,
            salt=phase.salt,
            arms=tuple(arms),
            tops=tuple(accumulate(phase.weights[arm] for arm in arms))[:-1],  # the last arm reaches to 1
            share=phase.share_at(now),
            tests=tests_of(phase.where),
            namespace=experiment.namespace,
            slots=phase.slots,
            testers=experiment.testers,
            holdouts=tuple(at for at, one in enumerate(self._experiments.holdouts) if one.holds(first)),
        )
