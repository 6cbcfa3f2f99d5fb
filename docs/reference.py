"""Prints docs/commands.md: every command with its options, every setting with its default, as the code has
them.

`make docs` writes the page; a test holds it against this.
"""

import tomllib
from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from recsys.config import Settings
from recsys.models.registry import MODELS, model_class
from recsys.pipelines.cli import main as recsys
from recsys.pipelines.commands.stage import (
    EXIT_FAULT,
    EXIT_INTERRUPTED,
    EXIT_NEGATIVE,
    EXIT_OURS,
    EXIT_UNREAD,
)
from recsys.pipelines.run.settings import CONFIGS, RunSettings
from recsys.serving.cli import main as serving

_COMMON = {"--json", "--debug"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_HEAD = f"""# Commands and settings

Written by `make docs` from the code; what is said here is what `recsys COMMAND --help` says.

Every command takes `--json` (one JSON object as the last line, and nothing else), `--debug` (the traceback of
an error) and `--help`; `recsys serve` takes `--help` alone, and prints a JSON line once it answers.

| exit status | means |
|---:|---|
| 0 | done |
| {EXIT_NEGATIVE} | negative: `data check`, `data audit`, `doctor`, `trace` found a fault; no `ship` (`ab`) |
| {EXIT_FAULT} | a wrong option, setting, file or environment; a sentence on standard error says what to do |
| {EXIT_OURS} | a fault of recsys itself: the traceback is printed, to be reported |
| {EXIT_INTERRUPTED} | interrupted |
| {EXIT_UNREAD} | nobody read the output to its end, as after `\\| head` |

| variable | means |
|---|---|
| `RECSYS_DATA` | a folder of data sets, to be called by name; downloads are found by name in any case |
| `RECSYS_HOME` | the folder that holds `mlruns/`; without it the working directory |
| `MLFLOW_TRACKING_URI` | another MLflow store; without it `mlruns/mlflow.db` |
"""
_SETTINGS = """## Settings

What `train`, `evaluate` and `demo` take as `KEY=VALUE`, and a TOML file for `--config` as tables. Defaults
come first, then the file, then what the command line says. An unknown key names the nearest known one;
`--dry-run` prints all. Values are written as in TOML, and a plain word needs no quotes:
`model.dim=32 judge=validation 'metrics=["mrr_at_5"]'`.
"""


def page() -> str:
    """The whole page."""
    parts = [_HEAD, "## Commands\n"]
    for name, command in _commands(recsys, "recsys"):
        parts += _command(name, command)
    parts += [_SETTINGS, *_settings("", RunSettings)]
    parts += [
        "## Models\n",
        "Settings of the model, beside its name: `--model ease model.half_life=10`. (`model.name=ease`\n"
        "would keep what the config of the data states for its own model; `--model` starts without.)\n",
    ]
    for name in sorted(MODELS):
        cls = model_class(name)
        parts += [
            f"### model.name={name}\n",
            f"{_first(cls.__doc__)}\n",
            *_table("model.", cls.Settings.model_fields),
        ]
    parts += [
        "## Configs\n",
        "For `--config`; one that is named like the data set is taken without asking.\n",
    ]
    parts += ["\n".join(["| name | purpose |", "|---|---|", *_configs()])]
    return "\n".join(parts) + "\n"


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", serving if name == "serve" else command


def _command(name: str, command: click.Command) -> list[str]:
    context = click.Context(command, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    options = [one for one in command.params if isinstance(one, click.Option) and not {*one.opts} & _COMMON]
    records = [record for one in options if (record := one.get_help_record(context))]
    rows = [f"| `{_cell(flag)}` | {_cell(said)} |" for flag, said in records]
    text = "\n".join(line.strip() for line in (command.help or "").strip().splitlines())
    return [f"### {name}\n", f"```\n{name} {usage}\n```\n", f"{text}\n", *_rows(["option", "meaning"], rows)]


def _settings(prefix: str, cls: type[Settings]) -> list[str]:
    """The table of a settings class, and those of the classes inside, each under the name of its table."""
    inner = {name: field for name, field in cls.model_fields.items() if _settings_class(field) is not None}
    parts = _table(prefix, {name: field for name, field in cls.model_fields.items() if name not in inner})
    for name, field in inner.items():
        within = _settings_class(field)
        assert within is not None
        parts += [
            f"### [{prefix}{name}]\n",
            f"{_sentence(field.description)}\n",
            *_settings(f"{prefix}{name}.", within),
        ]
    return parts


def _settings_class(field: FieldInfo) -> type[Settings] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def _table(prefix: str, fields: Mapping[str, FieldInfo]) -> list[str]:
    rows = [
        f"| `{prefix}{name}` | {_takes(field)} | `{_default(field.default)}` | {_cell(field.description)} |"
        for name, field in fields.items()
    ]
    return _rows(["setting", "takes", "default", "meaning"], rows)


def _rows(header: list[str], rows: list[str]) -> list[str]:
    if not rows:
        return []
    return ["\n".join([f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *rows]) + "\n"]


def _takes(field: FieldInfo) -> str:
    """What a setting may hold, in words."""
    bounds = [
        f"{word} {bound:g}"
        for one in field.metadata
        for key, word in _BOUNDS.items()
        for bound in _bound(one, key)
    ]
    return ", ".join([_type(field.annotation), *bounds])


def _bound(constraint: Any, key: str) -> list[float]:
    return [getattr(constraint, key)] if hasattr(constraint, key) else []


def _type(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in inner)
    if origin is UnionType:
        return " or ".join(_type(one) for one in inner)
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"table of {_type(inner[1])}"
    if hasattr(kind, "__metadata__"):
        return _type(inner[0])
    if isinstance(kind, type) and issubclass(kind, Settings):
        return " or ".join(f"`{name}`" for name in kind.model_fields)
    names = {
        str: "text",
        int: "whole number",
        float: "number",
        bool: "`true` or `false`",
        type(None): "none",
        Any: "any",
    }
    return names.get(kind) or str(getattr(kind, "__name__", kind))


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {one}" for key, one in value.items()) + "}"
    return str(value)


def _configs() -> Iterator[str]:
    for path in sorted(CONFIGS.glob("*.toml")):
        text = path.read_text(encoding="utf-8")
        assert tomllib.loads(text)
        yield f"| `{path.stem}` | {_cell(text.splitlines()[0].removeprefix('# Purpose: '))} |"


def _first(doc: str | None) -> str:
    """The first paragraph of a docstring, as a sentence."""
    return _sentence(" ".join((doc or "").split("\n\n")[0].split()))


def _sentence(text: str | None) -> str:
    text = (text or "").rstrip(":,")
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?")) else ".")


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
