"""Settings: defaults < TOML file < key=value, checked before any work starts; and the folders a run uses."""

import os
import tomllib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from recsys.errors import SettingError
from recsys.text import did_you_mean


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def build(cls, values: Mapping[str, Any], *, where: str) -> Self:
        """Validated settings; `where` says in errors which file or command line the values came from."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingError("; ".join(_sentence(cls, problem, where) for problem in error.errors())) from None


def _sentence(cls: type[BaseModel], problem: Any, where: str) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _names(cls, problem["loc"][:-1])
        return f"setting {path!r} in {where} is unknown; {did_you_mean(str(problem['loc'][-1]), known)}"
    return f"setting {path!r} in {where}: {problem['msg']}, got {problem['input']!r}."


def _names(cls: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """The field names of the settings class that `path` leads to."""
    current: Any = cls
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        current = field.annotation if field else None
    return list(getattr(current, "model_fields", {}))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; a SettingError names the file and the line that does not parse."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"settings file {path} cannot be read: {error.strerror}. Check the path.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"settings file {path} is not valid TOML: {error}.") from None


def overridden(values: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """`values` with each `a.b=value` of the command line set; the value is read as TOML, else as plain text."""
    result = deepcopy(dict(values))
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise SettingError(f"{assignment!r} on the command line must have the form key=value, as in model.dim=64.")
        table = result
        *parents, name = key.split(".")
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise SettingError(f"setting {key!r} on the command line: {parent!r} is a value, not a table.")
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
        raise SettingError(f"RECSYS_HOME is {named}, which is no folder. Make it, or unset it for the current folder.")
    return named


def data_folders() -> list[Path]:
    """Where named data sets are looked up: RECSYS_DATA, then the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recsys" / "data"
    named = os.environ.get("RECSYS_DATA")
    return ([Path(named)] if named else []) + [cache]
