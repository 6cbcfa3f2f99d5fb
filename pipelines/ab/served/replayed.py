"""What the arms of an experiment would have answered to logged requests: for whom their lists differ at all.

Bundles never change and an answer follows from its question, so the list of the other arm can be made after
the fact, and before a test as well. People whose lists never differ only dilute an effect.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from recsys.answers.exposure import SCHEMA, question_of
from recsys.answers.question import Question
from recsys.answers.recipe import Recipe, recipe_of
from recsys.bundle.bundle import Bundle, load
from recsys.errors import BundleError, DataError, RequestError
from recsys.experiments.definition import Experiment
from recsys.progress import Progress, Step, silent

_EVERY = 500


class Replayed(NamedTuple):
    """A logged request, and the ids that each arm answers to it; refused: an arm's bundle cannot."""

    line: Mapping[str, Any]
    lists: Mapping[str, list[str]]
    refused: bool

    @property
    def differs(self) -> bool:
        first, *others = self.lists.values()
        return any(one != first for one in others)


class Arms:
    """The arms of one phase, open. root: of the bundles."""

    def __init__(self, experiment: Experiment, phase: int, root: Path) -> None:
        """Raises BundleError where a bundle of an arm is gone."""
        self._opened: dict[str, Bundle] = {}
        self._root = root
        self.experiment = experiment
        self.recipes = {
            arm: recipe_of(experiment, arm, self._bundle_of)
            for arm in sorted(experiment.phases[phase].weights)
        }

    def _bundle_of(self, bundle_id: str) -> Bundle:
        if bundle_id not in self._opened:
            if not (self._root / bundle_id).is_dir():
                raise BundleError(
                    f"{self._root} holds no {bundle_id}, which an arm of {self.experiment.name!r} serves: "
                    f"its lists cannot be made again. Put it back, or leave out what needs them."
                )
            self._opened[bundle_id] = load(self._root / bundle_id)
        return self._opened[bundle_id]

    def replay(self, lines: Iterable[Mapping[str, Any]], progress: Progress = silent) -> Iterator[Replayed]:
        """What each arm answers to each line that holds its question. The list of the arm that was served by
        what the arm serves is taken from the line."""
        for number, line in enumerate(lines):
            if line.get("schema") != SCHEMA:
                continue
            question, request_id = question_of(line), line["request_id"]
            lists, refused = dict[str, list[str]](), False
            for arm, recipe in self.recipes.items():
                if arm == line["arm"] and _served_by(recipe, line):
                    lists[arm] = line["items"]
                    continue
                made = _make_list(recipe, question, request_id)
                refused |= made is None
                lists[arm] = made or []
            yield Replayed(line, lists, refused)
            if number % _EVERY == 0:
                progress(Step("make the lists of the other arms", number, 0))


def _served_by(recipe: Recipe, line: Mapping[str, Any]) -> bool:
    return line["bundle_id"] == recipe.bundle.bundle_id and line.get("recipe") == recipe.stated


def _make_list(recipe: Recipe, question: Question, request_id: str) -> list[str] | None:
    try:
        return recipe.make(question, request_id).item_ids
    except RequestError:
        return None


def differing(
    experiment: Experiment,
    phase: int,
    root: Path,
    lines: Iterable[Mapping[str, Any]],
    progress: Progress = silent,
) -> dict[str, bool]:
    """request id -> whether the lists of its arms differ, of the lists of one phase. Raises DataError where
    there are none."""
    mine = (one for one in lines if one["experiment"] == experiment.name and one["phase"] == str(phase))
    differs = {
        one.line["request_id"]: one.differs for one in Arms(experiment, phase, root).replay(mine, progress)
    }
    if not differs:
        raise DataError(f"no list of phase {phase + 1} of experiment {experiment.name!r} is in the log.")
    return differs
