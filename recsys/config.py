"""Settings: defaults < TOML file < key=value, checked before any work starts; and the folders a run uses."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from itertools import takewhile
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import SettingError
from recsys.text import did_you_mean


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def build(cls, values: Mapping[str, Any], *, where: str, path: str = "") -> Self:
        """Validated settings.

        where: which file or command line the values came from, for errors. path: what stands before the name
        of a field, where these settings are a part of others.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingError(_sentences(cls, error.errors(), where, path)) from None


_RULES = {
    "int": "must be a whole number",
    "float": "must be a number",
    "bool": "must be true or false",
    "string": "must be text, in quotes where it looks like a number",
    "tuple": "must be a list, as in [value, value]",
    "list": "must be a list, as in [value, value]",
    "dict": "must be a table, as in {name = value}",
    "model": "must be a table of settings, as in {name = value}",
}


class _Fault(NamedTuple):
    """What is wrong with a setting. path: the fields, keys and places that lead to it. end: that of the
    sentence."""

    path: tuple[str | int, ...]
    rule: str
    end: str


def _sentences(cls: type[BaseModel], problems: Sequence[Any], where: str, path: str) -> str:
    """A sentence for each wrong setting. One that may be of several types has a fault for each, of which
    those count that went farthest."""
    faults = [_fault(cls, problem) for problem in problems]
    by_setting: dict[str, list[_Fault]] = {}
    for fault in faults:
        if not any(len(other.path) > len(fault.path) == _common(fault.path, other.path) for other in faults):
            name = ".".join([path, *map(str, fault.path)] if path else map(str, fault.path))
            by_setting.setdefault(f"setting {name!r} in {where}", []).append(fault)
    return " ".join(
        f"{owner} {' or '.join(dict.fromkeys(fault.rule for fault in faults))}{faults[0].end}"
        for owner, faults in by_setting.items()
    )


def _fault(cls: type[BaseModel], problem: Any) -> _Fault:
    kind, value = problem["type"], problem["input"]
    path, kinds = _walk_fault(cls, problem["loc"], named=kind == "extra_forbidden")
    if kind == "extra_forbidden":
        fields = [name for one in kinds for name in getattr(one, "model_fields", {})]
        return _Fault(path, f"is unknown; {did_you_mean(str(path[-1]), fields)}", "")
    if kind == "missing":
        return _Fault(path, "is missing, and has no default", ".")
    rule = _RULES.get(kind.partition("_")[0]) if kind.endswith(("_type", "_parsing", "_from_float")) else None
    message = problem["msg"].replace("Input should be ", "must be ").replace("Value error, ", "is refused: ")
    return _Fault(path, rule or message, f", got {value!r}.")


def _walk_fault(
    cls: type[BaseModel], loc: Sequence[str | int], *, named: bool
) -> tuple[tuple[str | int, ...], list[Any]]:
    """The place of a fault without pydantic's own names of types, and the types of what holds it.

    named: the last part is the name of a field that is not there.
    """
    path: list[str | int] = []
    holders: list[Any] = [cls]
    kinds: list[Any] = [cls]
    for at, part in enumerate(loc):
        inner = [kind for one in kinds for kind in _inside(one, part)]
        if (
            inner or len(kinds) == 1 or (named and at == len(loc) - 1)
        ):  # else it says which of several types was tried
            path.append(part)
            holders, kinds = kinds, inner
    return tuple(path), holders


def _inside(kind: Any, part: str | int) -> list[Any]:
    """The types that a field, key or place of a type may have; none where the type has no such part."""
    if field := getattr(kind, "model_fields", {}).get(part):
        return _members(field.annotation)
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(part, int) and origin in (list, tuple):
        return _members(arguments[0])
    if isinstance(part, str) and origin is dict and "[" not in part:
        return _members(arguments[1])
    return []


def _members(annotation: Any) -> list[Any]:
    """The types of a union, or the one type that it is."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [kind for one in get_args(annotation) for kind in _members(one)]
    return [annotation]


def _common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many parts two paths begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; a SettingError names the file and the line that does not parse."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(
            f"settings file {path} cannot be read: {error.strerror}. Check the path."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"settings file {path} is not valid TOML: {error}.") from None


def overridden(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`values` with each `a.b=value` of the command line set; the value is read as TOML, else as plain
    text."""
    result = deepcopy(dict(values))
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise SettingError(
                f"{assignment!r} on the command line must have the form key=value, as in model.dim=64."
            )
        table = result
        *parents, name = key.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise SettingError(
                    f"setting {key!r} on the command line: {parent!r} is a value, not a table."
                )
        table[name] = toml_value(text)
    return result


def toml_value(text: str) -> Any:
    """The value that a text says in TOML; the text itself where it says none."""
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text


def home() -> Path:
    """The folder that holds `mlruns/`: RECSYS_HOME, which must be there, else the working directory."""
    named = Path(os.environ.get("RECSYS_HOME") or ".").resolve()
    if not named.is_dir():
        raise SettingError(
            f"RECSYS_HOME is {named}, which is no folder. Make it, or unset it for the current folder."
        )
    return named


def data_folders() -> list[Path]:
    """Where named data sets are looked up: RECSYS_DATA, then the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recsys" / "data"
    named = os.environ.get("RECSYS_DATA")
    return ([Path(named)] if named else []) + [cache]
