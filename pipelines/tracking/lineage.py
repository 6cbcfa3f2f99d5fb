"""Where a run comes from: its data and the code; settings as flat names; and a run as the store has it."""

import getpass
import json
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_DIGEST = 36  # characters of a digest that MLflow takes


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"dim": 64}} as {"model.dim": 64}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return result


_ENDS = ("_low", "_high")  # of an interval
_INTERVAL = "interval/"
TIME = "unix_s"  # of a point of a curve: when it was measured; without it, when the run began
SYSTEM = "system"  # the curve, and MLflow's group, of what the machine was doing


def grouped_name(metric: str) -> str:
    """The name under which MLflow shows a metric: intervals in a group of their own, each baseline and each
    learning curve in one, and the means of the run's own model, which have plain names, in the first."""
    return _INTERVAL + metric if metric.endswith(_ENDS) else metric.replace(".", "/", 1)


def plain_name(logged: str) -> str:
    """The metric of a name that MLflow has, by `grouped_name` or as earlier versions wrote it, without
    groups."""
    return logged.removeprefix(_INTERVAL) if logged.startswith(_INTERVAL) else logged.replace("/", ".", 1)


def git_commit() -> str:
    """The commit of the working directory, marked where files differ from it; "none" outside a repository."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # by no tag's name
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return said.stdout.strip() or "none"


def source_tags() -> dict[str, str]:
    """Who began a run, with what, and from which commit, by the names under which MLflow shows them."""
    commit = git_commit().removesuffix("-dirty")
    tags = {"mlflow.source.name": "recsys", "mlflow.source.type": "LOCAL"}
    with suppress(KeyError, OSError):  # nobody by name, as in some containers
        tags["mlflow.user"] = getpass.getuser()
    return tags if commit == "none" else tags | {"mlflow.source.git.commit": commit}


def datasets_of(settings: Mapping[str, Any], tags: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """What a run learned from and what it was judged on: (context, digest, name, source, profile as JSON)
    each, as a tracking store shows datasets; empty where its tags do not say.

    The digest of the first is that of the data, of the second that of the question, each cut to what MLflow
    takes.
    """
    if "data_digest" not in tags:
        return []
    learned = {key.partition(".")[2]: value for key, value in tags.items() if key.startswith("train.")}
    parts = [("training", str(tags["data_digest"]), learned)]
    if "holdout" in tags:
        parts.append((str(settings.get("judge", "test")), str(tags["holdout"]), {"users": tags.get("users")}))
    name, source = str(tags.get("data", "data")), str(settings.get("data", tags.get("data", "")))
    return [
        (context, digest[:_DIGEST], name, source, json.dumps(profile)) for context, digest, profile in parts
    ]


@dataclass(frozen=True)
class LoggedRun:
    """A run as the store has it. started: unix seconds. metrics: the last value of each."""

    run_id: str
    experiment: str
    name: str
    status: str
    started: float
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    aliases: tuple[str, ...]
