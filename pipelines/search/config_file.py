"""The config file that a search ends in: what `recsys train -c` takes, with its purpose and commands on
top."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from recsys.models.registry import make_model
from recsys.pipelines.run.settings import RunSettings

_APART = ("judge", "model", "threads")  # of the search, or written by hand


def config_text(
    settings: RunSettings, model: Mapping[str, Any], keep: Sequence[str], head: Sequence[str]
) -> str:
    """A config as TOML: the settings of a run as far as they are not the defaults, and those of its model.

    model: its full settings. keep: fields that are written even where they are the default. head: lines of
    comment.
    """
    written = _find_changes(settings.model_dump(mode="json"), RunSettings().model_dump(mode="json"))
    written = {"data": settings.data, **{key: value for key, value in written.items() if key not in _APART}}
    usual = make_model(settings.model_name, {}).settings.model_dump(mode="json")
    named = {path.partition(".")[0] for path in keep}
    own = {key: value for key, value in model.items() if key in named or value != usual[key]}
    written["model"] = {"name": settings.model_name, **own}
    said = ("".join(letter if letter.isprintable() else "?" for letter in line) for line in head)
    return "".join(f"# {line}\n" for line in said) + toml_text(written)


def write_config(path: Path, text: str) -> None:
    """Writes the file atomically: whole or not at all."""
    aside = path.with_suffix(".partial")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def toml_text(values: Mapping[str, Any]) -> str:
    """Plain data as TOML. What is None is left out: TOML cannot say it."""
    return tomli_w.dumps(_without_none(values))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(one) for key, one in value.items() if one is not None}
    return [_without_none(one) for one in value] if isinstance(value, list | tuple) else value


def _find_changes(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from the defaults, inside tables, too."""
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if value == usual.get(key):
            continue
        both = isinstance(value, Mapping) and isinstance(usual.get(key), Mapping)
        changes[key] = _find_changes(value, usual[key]) if both else value
    return changes
