"""Prints docs/public-names.txt: what others may lean on, as the code has it (docs/stability.md says what may
change).

`make docs` writes the file; tests/test_stability.py holds it against this.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from inspect import isclass, isfunction, signature
from pathlib import Path
from typing import Any

import click
import numpy as np

from recsys.bundle.manifest import MANIFEST
from recsys.bundle.write import publish
from recsys.models.export import content_of
from recsys.models.registry import MODELS
from recsys.pipelines.cli import main as recsys
from recsys.serving.app import create_app
from recsys.serving.cli import main as serving
from recsys.serving.settings import ServingSettings
from recsys.testing.learners import Case
from recsys.testing.toys import dataset

ROOMS = {
    "": "arrays history ids config errors keys progress",
    "data.": "dataset interactions prepare",
    "data.read.": "load tables download",
    "data.check.": "check findings",
    "data.split.": "holdout split audit",
    "data.planted.": "world",
    "experiments.": "definition folder assignment draft exploration",
    "encoders.": "encoder users features solve bag concat user_tower item_tower",
    "retrieval.": "embeddings ranker vector_ranker recommender seen",
    "bundle.": "bundle content write root manifest catalogue prune",
    "answers.": "question respond reasons similar explain new_items",
    "training.": "loop epochs early_stopping",
    "models.": "base registry search export warm_start",
    "evaluation.": "evaluate significance order planted foreign outside_lists tables frames",
    "evaluation.metrics.": "hits lists by_name item_facts",
    "analysis.": "plan verdict compare study planning interleaving off_policy planted",
    "testing.": "epochs learners encoders toys",
    "serving.": "client",
}
MODULES = [room + module for room, modules in ROOMS.items() for module in modules.split()]
_INHERITED = {"model_config", "model_fields", "model_computed_fields", "model_post_init"}  # by pydantic


def python_names() -> Iterator[str]:
    """Functions with their parameters, classes with their public attributes, and the learners by their
    classes."""
    for path in MODULES:
        module = import_module(f"recsys.{path}")
        for name, value in sorted(vars(module).items()):
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if isfunction(value):
                yield f"recsys.{path}.{name}({', '.join(signature(value).parameters)})"
            elif isclass(value):
                fields = getattr(value, "model_fields", {}) or {}
                parts = {*vars(value), *fields, *getattr(value, "__annotations__", {})}
                shown = sorted(part for part in parts if not part.startswith("_") and part not in _INHERITED)
                yield f"recsys.{path}.{name}: {' '.join(shown)}".rstrip(": ")
    for name, place in sorted(MODELS.items()):
        yield f"learner {name} = {place}"


def commands(command: click.Command, path: str) -> Iterator[str]:
    """Each command with its arguments and options."""
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from commands(inner, f"{path} {name}")
    if not isinstance(command, click.Group) or command.invoke_without_command:
        words = [option for one in command.params if isinstance(one, click.Option) for option in one.opts]
        arguments = [str(one.name).upper() for one in command.params if isinstance(one, click.Argument)]
        yield " ".join([path, *arguments, *sorted(words)])


def http(document: Mapping[str, Any]) -> Iterator[str]:
    """Each route, and each field of what goes in and comes out."""
    for path, methods in sorted(document["paths"].items()):
        for method in sorted(methods):
            yield f"{method.upper()} {path}"
    for name, schema in sorted(document["components"]["schemas"].items()):
        required = set(schema.get("required", ()))
        fields = (
            f"{field}{'' if field in required else '?'}" for field in sorted(schema.get("properties", ()))
        )
        yield f"{name}: {' '.join(fields)}"


def bundle(folder: Path) -> Iterator[str]:
    """The files of bundles of three kinds of encoder, and the keys of their manifests."""
    user, item = np.repeat(np.arange(12), 4), np.arange(48) % 9
    data = dataset(user, item, 12, 9, time=np.arange(48), weight=np.tile([1, 2], 24).astype(np.float32))
    files, keys = set[str](), set[str]()
    small: dict[str, dict[str, Any]] = {
        "als": {"dim": 4, "epochs": 1},
        "softmax": {"dim": 4, "epochs": 1},
        "two_tower": {"dim": 4, "epochs": 1},
    }
    for name, settings in small.items():
        made = publish(folder / name, content_of(name, Case(name, settings).fit(data), data))
        manifest = json.loads((made / MANIFEST).read_text())
        files |= set(manifest["files"])
        keys |= manifest.keys()
    yield from (f"file {name}" for name in sorted(files))
    yield from (f"manifest {key}" for key in sorted(keys))


def page() -> str:
    """The whole file."""
    with tempfile.TemporaryDirectory() as place:
        bundles = list(bundle(Path(place)))
        document = create_app(Path(place) / "als", ServingSettings()).openapi()
    parts = {
        "python": list(python_names()),
        "commands": [*commands(recsys, "recsys"), *commands(serving, "python -m recsys.serving")],
        "http": list(http(document)),
        "bundle": bundles,
    }
    return "\n".join(line for name, lines in parts.items() for line in (f"[{name}]", *lines, ""))


if __name__ == "__main__":
    print(page(), end="")
