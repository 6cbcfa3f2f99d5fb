"""Where a run comes from, the state of the code and settings as flat names; and a run as the store has it."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"model": {"dim": 64}} as {"model.dim": 64}."""
    result: dict[str, Any] = {}
    for key, value in settings.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return result


def git_commit() -> str:
    """The commit of the working directory, marked where files differ from it; "none" outside a repository."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "none"
    return said.stdout.strip() or "none"


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
