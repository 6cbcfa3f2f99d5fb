"""The space of a search: declared beside the models, changed on the command line, checked before any work."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite, log
from typing import Any, NamedTuple

from recsys.config import toml_value
from recsys.errors import SettingError
from recsys.models.registry import make_model, space_of
from recsys.models.search import OF_ORDER, Choices, Space, Span
from recsys.text import did_you_mean

_EDGE = 0.02  # of a range, from either end
_WIDER = 10.0


class Searched(NamedTuple):
    """name: of the model. fixed: its full settings, those searched at their start. space: what is
    searched."""

    name: str
    fixed: Mapping[str, Any]
    space: Space

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The model's full settings with `values` in the place of what is searched."""
        settings = dict(self.fixed)
        for path, value in values.items():
            settings = set_value(settings, path, value)
        return settings

    @property
    def start(self) -> dict[str, Any] | None:
        """The values of the settings as given; None where they do not lie inside the space."""
        values = {path: value_at(self.fixed, path) for path in self.space}
        return values if all(_inside(self.space[path], value) for path, value in values.items()) else None


def search_space(name: str, settings: Mapping[str, Any], changes: Sequence[str] = ()) -> Searched:
    """The declared space of a model, stretched to hold the settings as given, after `changes`.

    A change is FIELD=LOW:HIGH[:log], FIELD=A,B,C (where `none` is no value) or FIELD=VALUE, which is not
    searched. Raises SettingError for a field that the model does not have, an empty range, a value that it
    does not take, and where nothing is left to search.
    """
    fixed = full_settings(name, settings)
    space = {field: _stretch(one, fixed, field) for field, one in space_of(name).items()}
    for change in changes:
        field, sign, text = change.partition("=")
        if not sign or not field or not text:
            raise SettingError(
                f"--space {change!r} must read FIELD=LOW:HIGH, FIELD=LOW:HIGH:log or FIELD=A,B."
            )
        space[field] = _parse(field, text)
    for field, one in list(space.items()):
        _check(name, fixed, field, one)
        if isinstance(one, Span) and not isinstance(value_at(fixed, field), int):
            space[field] = Span(float(one.low), float(one.high), one.log)
        if isinstance(one, Choices) and len(one.values) == 1:
            fixed = set_value(fixed, field, one.values[0])
            del space[field]
    if not space:
        raise SettingError(f"model {name!r} has nothing to search. Say what: --space FIELD=LOW:HIGH.")
    return Searched(name, fixed, space)


def without_order(searched: Searched, changes: Sequence[str] = ()) -> tuple[Searched, list[str]]:
    """The search without settings that need events in order, unless a change names them, and the names of
    those left out. Nothing is left out where nothing else would be searched."""
    named = {change.partition("=")[0] for change in changes}
    out = [field for field in searched.space if field in OF_ORDER and field not in named]
    space = {field: one for field, one in searched.space.items() if field not in out}
    return (searched._replace(space=space), out) if space else (searched, [])


def full_settings(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a model as plain data, those of the models inside it included, such as the parts of a
    mixture."""
    whole: dict[str, Any] = make_model(name, settings, where=f"model {name!r}").settings.model_dump(
        mode="json"
    )
    inner = [part for part in whole.values() if isinstance(part, dict) and "name" in part]
    for part in (*whole.get("parts", ()), *inner):
        part |= full_settings(part["name"], {key: value for key, value in part.items() if key != "name"})
    return whole


def set_value(settings: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of `settings` with the value at a path such as `dim` or `weights.1`."""
    changed: dict[str, Any] = json.loads(json.dumps(settings))
    *parents, last = path.split(".")
    table: Any = changed
    for parent in parents:
        table = table[_key(table, parent)]
    table[_key(table, last)] = value
    return changed


def value_at(settings: Mapping[str, Any], path: str) -> Any:
    """The value at a path; a KeyError where there is none."""
    value: Any = settings
    for part in path.split("."):
        try:
            value = value[_key(value, part)]
        except (IndexError, TypeError, ValueError):
            raise KeyError(path) from None
    return value


def distributions(space: Space) -> dict[str, Any]:
    """The space as distributions of Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    def one(span: Span | Choices) -> Any:
        if isinstance(span, Choices):
            return CategoricalDistribution(span.values)
        kind = IntDistribution if _whole(span) else FloatDistribution
        return kind(span.low, span.high, log=span.log)  # type: ignore[arg-type]

    return {field: one(span) for field, span in space.items()}


def shorten(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values to try and to write: fractions rounded to three significant digits, inside their ranges."""

    def one(field: str, value: Any) -> Any:
        span = space[field]
        if not isinstance(value, float) or not isinstance(span, Span):
            return value
        return min(max(float(f"{value:.3g}"), span.low), span.high)

    return {field: one(field, value) for field, value in values.items()}


def edges(searched: Searched, values: Mapping[str, Any]) -> list[str]:
    """A sentence, with the option that widens the range, for each value at an end that the setting would
    pass."""
    sentences = []
    for field, span in searched.space.items():
        if not isinstance(span, Span):
            continue
        place = _share(span, values[field])
        if _EDGE < place < 1 - _EDGE:
            continue
        low, high = _widen(span, upper=place > 0.5)
        beyond = high if place > 0.5 else low
        if beyond in (span.low, span.high):
            continue
        try:
            make_model(searched.name, searched.settings({**values, field: beyond}))
        except SettingError:
            continue  # the setting itself ends here
        option = f"--space {field}={low:g}:{high:g}{':log' if span.log else ''}"
        end = "upper" if place > 0.5 else "lower"
        sentences.append(
            f"{field} = {values[field]:g} is at the {end} edge of its range, {span.low:g} to {span.high:g}: "
            f"better ones may lie outside. Go on with {option}"
        )
    return sentences


def describe_space(space: Space) -> dict[str, str]:
    """The space by field, as the text of a change: LOW:HIGH, LOW:HIGH:log or A,B."""

    def one(span: Span | Choices) -> str:
        if isinstance(span, Choices):
            return ",".join("none" if value is None else str(value) for value in span.values)
        return f"{span.low:g}:{span.high:g}{':log' if span.log else ''}"

    return {field: one(span) for field, span in space.items()}


def _parse(field: str, text: str) -> Span | Choices:
    parts = text.split(":")
    if len(parts) == 1:
        values = tuple(None if word == "none" else toml_value(word) for word in text.split(","))
        if len(set(map(repr, values))) < len(values):
            raise SettingError(f"--space {field}={text} names a value twice; name each once.")
        return Choices(values)
    low, high = (_figure(part) for part in parts[:2])
    if low is None or high is None or len(parts) > 3 or (len(parts) == 3 and parts[2] != "log"):
        raise SettingError(
            f"--space {field}={text} must be LOW:HIGH or LOW:HIGH:log, as in {field}=0.001:0.1:log."
        )
    return Span(low, high, len(parts) == 3)


def _stretch(one: Span | Choices, fixed: Mapping[str, Any], field: str) -> Span | Choices:
    """A declared range or choice, as wide as it takes to hold the settings as given."""
    try:
        start = value_at(fixed, field)
    except KeyError:
        return one
    if isinstance(one, Choices):
        return one if start in one.values else Choices((*one.values, start))
    if not _number(start) or (one.log and start <= 0):
        return one
    return Span(min(one.low, start), max(one.high, start), one.log)


def _figure(text: str) -> int | float | None:
    """The number that a text holds, an int where it has no decimal point; None where it is not finite or no
    number."""
    try:
        value = int(text) if text.strip().lstrip("+-").isdecimal() else float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _check(name: str, fixed: Mapping[str, Any], field: str, one: Span | Choices) -> None:
    """Raises SettingError where the model does not take the field, the ends of its range or a choice."""
    try:
        current = value_at(fixed, field)
    except KeyError:
        hint = did_you_mean(field, fixed)
        raise SettingError(f"field {field!r} of the search is no setting of model {name!r}; {hint}") from None
    if isinstance(one, Span):
        if not one.low < one.high:
            raise SettingError(
                f"the range of {field}, {one.low:g}:{one.high:g}, is empty; the lower end comes first."
            )
        if one.log and one.low <= 0:
            raise SettingError(
                f"the range of {field} begins at {one.low:g}, which has no logarithm; begin above 0."
            )
        if isinstance(current, bool | str | list | dict):
            raise SettingError(
                f"{field} of model {name!r} is {current!r} and takes no range; write --space {field}=A,B."
            )
        if isinstance(current, int) and not _whole(one):
            raise SettingError(
                f"{field} of model {name!r} takes whole numbers; write both ends of its range so."
            )
    ends = (one.low, one.high) if isinstance(one, Span) else one.values
    for value in ends:
        make_model(name, set_value(fixed, field, value), where=f"the search of model {name!r}")


def _inside(one: Span | Choices, value: Any) -> bool:
    if isinstance(one, Choices):
        return value in one.values
    return _number(value) and one.low <= value <= one.high


def _share(span: Span, value: float) -> float:
    """The place of a value in its range, from 0 to 1."""
    scale = log if span.log else float
    return (scale(value) - scale(span.low)) / (scale(span.high) - scale(span.low))


def _widen(span: Span, upper: bool) -> tuple[float, float]:
    whole, width = _whole(span), span.high - span.low
    if span.log:
        low, high = (span.low, span.high * _WIDER) if upper else (span.low / _WIDER, span.high)
    else:
        low, high = (span.low, span.high + width) if upper else (span.low - width, span.high)
    return (max(1, int(low)) if span.log else int(low), int(high)) if whole else (low, high)


def _whole(span: Span) -> bool:
    return isinstance(span.low, int) and isinstance(span.high, int)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(table: Any, part: str) -> Any:
    return int(part) if isinstance(table, list) else part
