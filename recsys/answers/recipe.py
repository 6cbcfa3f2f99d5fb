"""How a list of an experiment is made: by an arm's bundle under its rules, with some chance, or of two lists.

A recipe and a request's id determine a list, so that it can be made again from what its line in the log says.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import orjson

from recsys.answers.question import Question, Reply
from recsys.answers.respond import Answered, Picked, answer
from recsys.bundle.bundle import Bundle
from recsys.experiments.arms import Explore
from recsys.experiments.definition import Experiment
from recsys.experiments.draft import merge_by_draft


class Part(NamedTuple):
    """The list of one arm. bundle: under the arm's seen policy already. seen: that policy as stated, None =
    its own."""

    arm: str
    bundle: Bundle
    seen: str | Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Recipe:
    """parts: of one arm, or of two that are merged. explore: the chance in the list of one."""

    parts: tuple[Part, ...]
    explore: Explore | None = None

    @property
    def bundle(self) -> Bundle:
        """The bundle that the list is logged under: the first part's."""
        return self.parts[0].bundle

    @cached_property
    def stated(self) -> dict[str, Any] | None:
        """What a line of the log has to say beside the id of the bundle to make the list again; None for
        nothing."""
        said: dict[str, Any] = {}
        if self.explore is not None:
            said["explore"] = self.explore.model_dump(mode="json", exclude_none=True)
        if len(self.parts) > 1:
            said["merged"] = [[one.arm, one.bundle.bundle_id, one.seen] for one in self.parts]
        elif self.parts[0].seen is not None:
            said["seen"] = self.parts[0].seen
        return said or None

    def make(self, question: Question, request_id: str) -> "Answered | Merged":
        """The answer to one request. Raises RequestError as `answer` does, from either bundle."""
        if len(self.parts) > 1:
            return _merge(self.parts, question, request_id)
        if self.explore is None:
            return answer(self.bundle, question)
        explore = self.explore

        def pick(items: list[str], scores: list[float]) -> Picked:
            return Picked(*explore.draw(items, scores, question.k, request_id))

        return answer(self.bundle, question, pick=pick, deep=max(question.k, explore.candidates))


def recipe_of(experiment: Experiment, arm: str, bundle_of: Callable[[str], Bundle]) -> Recipe:
    """How the lists of an arm are made. bundle_of: opens a bundle by its id, and says by raising what stands
    in the way."""
    stated = experiment.arm(arm)
    named = [(name, experiment.arm(name)) for name in stated.interleave or (arm,)]
    parts = tuple(_part(name, one.bundle, one.seen, bundle_of) for name, one in named)
    return Recipe(parts, stated.explore)


def recipe_of_line(line: Mapping[str, Any], bundle_of: Callable[[str], Bundle]) -> Recipe:
    """How the list of a line of the log was made."""
    said = line.get("recipe") or {}
    merged = said.get("merged") or [[line.get("arm") or "", line["bundle_id"], said.get("seen")]]
    explore = Explore.build(said["explore"], where="the log") if "explore" in said else None
    return Recipe(tuple(_part(arm, bundle_id, seen, bundle_of) for arm, bundle_id, seen in merged), explore)


def _part(arm: str, bundle_id: str, seen: Any, bundle_of: Callable[[str], Bundle]) -> Part:
    bundle = bundle_of(bundle_id)
    return Part(arm, bundle if seen is None else bundle.seeing(seen), seen)


@dataclass(frozen=True, eq=False)
class Merged:
    """The lists of two arms as one, with what `Answered` has. rows: of each item, which list it is from, and
    its place there. team: the arm whose pick each item is, None where both would have made it. Scores are
    those of the list that an item is from, so they need not fall."""

    lists: tuple[Answered, Answered]
    rows: tuple[tuple[int, int], ...]
    item_ids: list[str]
    team: list[str | None]
    ignored: list[str]
    ignored_features: list[str]
    propensity: None = None

    @property
    def bundle(self) -> Bundle:
        return self.lists[0].bundle

    @property
    def source(self) -> str:
        return self.lists[0].source

    @property
    def why(self) -> str:
        return self.lists[0].why

    @cached_property
    def scores(self) -> list[float]:
        held = [one.scores.tolist() for one in self.lists]
        return [held[one][at] for one, at in self.rows]

    @property
    def scores_json(self) -> bytes:
        return orjson.dumps(np.array(self.scores, np.float32), option=orjson.OPT_SERIALIZE_NUMPY)

    @property
    def ids_json(self) -> bytes:
        return orjson.dumps(self.item_ids)

    def items_json(self) -> bytes:
        """As that of `Answered`, each item as its own list has it."""
        held = [one.each_json() for one in self.lists]
        return b"[" + b",".join(held[one][at] for one, at in self.rows) + b"]"

    def reply(self) -> Reply:
        """The answer as objects."""
        held = [one.reply() for one in self.lists]
        items = [held[one].items[at] for one, at in self.rows]
        return Reply(self.source, self.why, items, self.ignored, self.ignored_features)


def _merge(parts: tuple[Part, ...], question: Question, request_id: str) -> Merged:
    """An item that both lists have is shown as the first has it; one that is at place p has at most place p
    in its own list, so that it has a reason wherever the question asks for one."""
    first, second = (answer(part.bundle, question) for part in parts)
    lists = {parts[0].arm: first.item_ids, parts[1].arm: second.item_ids}
    draft = merge_by_draft(lists, question.k, request_id)
    places = [{item: at for at, item in enumerate(one.item_ids)} for one in (first, second)]
    rows = []
    for item, team in zip(draft.items, draft.team, strict=True):
        one = 1 if team == parts[1].arm else 0
        rows.append((one, places[one][item]))
    ignored = list(dict.fromkeys([*first.ignored, *second.ignored]))
    unread = list(dict.fromkeys([*first.ignored_features, *second.ignored_features]))
    return Merged((first, second), tuple(rows), draft.items, draft.team, ignored, unread)
