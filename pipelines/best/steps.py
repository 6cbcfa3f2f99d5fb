"""The steps of a search: one setting changed, from the best model of a family."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import exp, log
from typing import Any, NamedTuple

from recsys.models.registry import model_class
from recsys.models.search import Choices, Space, Span
from recsys.pipelines.best.ledger import Tried
from recsys.pipelines.best.trials import Trials
from recsys.pipelines.search.space import value_at

_RADII = (1.0, 0.5)
_FACTOR = 3.0  # by which a step of radius 1 changes what is searched by its logarithm
_PART = 0.2  # of its range that it changes what is searched as it is
_OF_EPOCHS = 1.6  # the same of epochs
# what matters most, where a family has it
_FIRST = ("unobserved_weight", "temperature", "regularization", "dim")
_OF_SIZE = ("dim", "epochs")  # other settings are about as good whatever these are
_CLEARLY = 2.0  # standard errors
_WORTH = 0.25  # standard errors that a step has to bring for the next to go on in its direction


class Step(NamedTuple):
    """Settings a step away. changed: in which setting, behind the sign of the step; dearer: how many times as
    long they take."""

    model: dict[str, Any]
    changed: str
    dearer: float


def steps_from(trials: Trials, best: Tried, space: Space) -> Iterator[Step]:
    """The models around the best one that were not tried; first those that go on as it was come upon, if that
    was worth it, and none that goes back."""
    full, rank = whole_settings(best.model), {field: place for place, field in enumerate(_FIRST)}
    fields = sorted(space, key=lambda field: rank.get(field, len(rank)))
    came, came_by = best.changed[1:], -1 if best.changed[:1] == "-" else 1
    if came in fields:
        start = fields.index(came) + (0 if _was_worth(trials, best) else 1)
        fields = fields[start:] + fields[:start]
    for radius in _RADII:
        for field in fields:
            one, old = space[field], value_at(full, field)
            for direction in (came_by, -came_by) if field == came else (1, -1):
                if radius == 1 and field == came and direction != came_by:
                    continue
                value = _move_value(one, old, direction * radius, field)
                if (value is None and not isinstance(one, Choices)) or value == old:
                    continue
                model = dict(best.model) | {field: value}
                if trials.find_earlier(model) is not None or not _is_accepted(model):
                    continue
                changed = f"{'-' if direction < 0 else '+'}{field}"
                yield Step(model, changed, float(value) / old if field in ("dim", "epochs") else 1.0)


def worse_last(trials: Trials, best: Tried, steps: Iterable[Step]) -> list[Step]:
    """The steps in their order, last those which led to something clearly worse from another width or from
    other epochs."""
    worse = [_but_size(one.model) for one in trials.spaces() if one.mean < best.mean - _CLEARLY * best.error]
    return sorted(steps, key=lambda step: step.changed[1:] not in _OF_SIZE and _but_size(step.model) in worse)


def _but_size(model: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in model.items() if name not in _OF_SIZE}


def _was_worth(trials: Trials, best: Tried) -> bool:
    """Whether the best model of a family is clearly better than its previous best."""
    earlier = [one.mean for one in trials.spaces() if one.family == best.family and one.at < best.at]
    return not earlier or best.mean - max(earlier) > _WORTH * best.error


def whole_settings(model: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a model, defaults among them. Raises ValueError where the learner refuses them."""
    own = {key: value for key, value in model.items() if key != "name"}
    settings: dict[str, Any] = model_class(model["name"]).Settings(**own).model_dump(mode="json")
    return settings


def _is_accepted(model: Mapping[str, Any]) -> bool:
    """Whether the learner accepts this combination of settings."""
    try:
        whole_settings(model)
    except ValueError:
        return False
    return True


def _move_value(one: Span | Choices, value: Any, by: float, field: str) -> Any:
    """The value one step away; unchanged at the end of the range."""
    if isinstance(one, Choices):
        return _next_choice(one.values, value, by) if abs(by) == 1 else value
    if value is None or (one.log and value <= 0):
        return value
    if one.log:
        moved = exp(log(value) + by * log(_OF_EPOCHS if field == "epochs" else _FACTOR))
    else:
        moved = value + by * _PART * (one.high - one.low)
    moved = min(max(moved, min(one.low, value)), max(one.high, value))
    return round(moved) if isinstance(value, int) else float(f"{moved:.3g}")


def _next_choice(values: Sequence[Any], value: Any, by: float) -> Any:
    """The choice that follows, or, for one that is not among them, the nearest above or below."""
    if value in values:
        at = values.index(value) + (1 if by > 0 else -1)
        return values[at] if 0 <= at < len(values) else value
    beyond = [one for one in values if isinstance(one, int | float) and (one > value) == (by > 0)]
    return (min(beyond) if by > 0 else max(beyond)) if beyond else value
