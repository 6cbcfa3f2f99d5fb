"""The experiments that run, ready to be asked: which arm a request is in, and how the lists of that arm are
made."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from recsys.answers.recipe import Recipe, recipe_of
from recsys.bundle.bundle import Bundle
from recsys.errors import BundleError, RecsysError
from recsys.experiments.assignment import Assigner, Assignment
from recsys.experiments.frozen import Frozen, experiments_of
from recsys.serving.problems import Problem

_log = logging.getLogger("serving")


class Choice(NamedTuple):
    """The arm that a request is in. recipe: None where its bundle does not serve, so that the champion
    answers; the request stays one of its arm, for whom it was meant."""

    experiment: str
    phase: str
    arm: str
    recipe: Recipe | None


class Arms:
    """What the arms of experiments serve, by what is loaded. Threads share one."""

    def __init__(self, started: Sequence[Frozen], loaded: Mapping[str, Bundle]) -> None:
        self._experiments = {one.name: one.experiment for one in started}
        here = [one for one in started if one.experiment.assigned == "here"]
        self._assigner = Assigner(experiments_of(here))
        self._idle = not here
        self._aims = any(phase.where for one in self._experiments.values() for phase in one.phases)
        self._choices: dict[tuple[str, int, str], Choice] = {}
        self.recipes: dict[tuple[str, str], Recipe | None] = {}
        for frozen in started:
            for arm in frozen.experiment.arm_names:
                self.recipes[frozen.name, arm] = _recipe(frozen, arm, loaded)

    @property
    def names(self) -> list[str]:
        """The experiments that run, or will."""
        return list(self._experiments)

    def assign(self, unit: str, attributes: Mapping[str, Any], now: int) -> list[Assignment]:
        """The unit's arm, or why it has none, in each experiment that runs."""
        return self._assigner.assign(unit, attributes, now)

    def choose(
        self, unit: str | None, features: Mapping[str, Any] | None, beside: Mapping[str, Any], now: int
    ) -> Choice | None:
        """The arm that decides a list; None where no experiment does. At most one has a say for a list: that
        was looked at when they were started. beside: what a request says of the list, `placement` and
        `domain`."""
        if unit is None or self._idle:
            return None
        attributes = {**(features or {}), **beside} if self._aims else {}
        for one in self._assigner.assign(unit, attributes, now):
            if one.arm is None:
                continue
            placement = self._experiments[one.experiment].placement
            if placement is None or placement == beside.get("placement"):
                return self._choice(one.experiment, one.phase, one.arm)
        return None

    def assigned_arm(self, experiment: str, arm: str, now: int) -> Choice | None:
        """The arm of this name, as the request brings it; None where no started experiment has it. Raises a
        Problem where its experiment does not run at `now` (unix seconds)."""
        if (experiment, arm) not in self.recipes:
            return None
        phase = self._experiments[experiment].phase_at(now)
        if phase < 0:
            raise Problem(
                "unknown_arm", f"Experiment {experiment} does not run now; ask without naming an arm."
            )
        return self._choice(experiment, phase, arm)

    def _choice(self, experiment: str, phase: int, arm: str) -> Choice:
        key = (experiment, phase, arm)
        if (choice := self._choices.get(key)) is None:
            choice = self._choices[key] = Choice(experiment, str(phase), arm, self.recipes[experiment, arm])
        return choice


def _recipe(frozen: Frozen, arm: str, loaded: Mapping[str, Bundle]) -> Recipe | None:
    """How an arm's lists are made; None, and a line in the log, where a bundle is missing or a rule does not
    fit it."""

    def bundle_of(bundle_id: str) -> Bundle:
        if bundle_id not in loaded:
            raise BundleError(f"its bundle {bundle_id} does not serve")
        return loaded[bundle_id]

    try:
        recipe = recipe_of(frozen.experiment, arm, bundle_of)
    except RecsysError as error:
        _log.warning("arm %s/%s is served the champion for now: %s", frozen.name, arm, error)
        return None
    for part in recipe.parts:
        _ = part.bundle.norms  # computed here, not in the first request that needs it
    return recipe
