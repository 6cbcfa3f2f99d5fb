"""Where a run comes from: the state of the code, and settings as flat names."""

import subprocess
from collections.abc import Mapping
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
