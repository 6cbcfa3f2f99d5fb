"""What commands share: settings from the command line, one object as JSON, and errors as one sentence."""

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from recsys.errors import RecsysError

EXIT_NEGATIVE, EXIT_FAULT, EXIT_INTERRUPTED = 1, 2, 130
ROLES = {"user": "user_id", "item": "item_id", "time": "timestamp", "event": "event", "weight": "weight"}


@dataclass(frozen=True)
class Negative:
    """What a command returns whose verdict is negative (a check, an audit, a gate): printed as ever, exit status 1."""

    result: Any


def stage(command: Callable[..., Any]) -> Callable[..., None]:
    """Adds --json and --debug; prints the result as the last line, and an error as one sentence with exit status 2."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object, as the last line, and nothing else.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @wraps(command)
    def run(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> None:
        try:
            result = command(*args, as_json=as_json, **kwargs)
        except (RecsysError, OSError) as error:
            if debug:
                traceback.print_exc()
            click.echo(f"recsys: {error}", err=True)
            sys.exit(EXIT_FAULT)
        except KeyboardInterrupt:
            click.echo("recsys: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)
        verdict = result.result if isinstance(result, Negative) else result
        if as_json:
            click.echo(json.dumps(verdict))
        if isinstance(result, Negative):
            sys.exit(EXIT_NEGATIVE)

    return run


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that starts from settings takes."""
    command = click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")(command)
    command = click.option("-c", "--config", help="A TOML file, or the name of one in pipelines/configs.")(command)
    return click.option("--dry-run", is_flag=True, help="Check and print the settings, then stop.")(command)


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --user-col and its like; the command gets `columns`, the user's own names by role."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        named = {role: kwargs.pop(f"{short}_col") for short, role in ROLES.items()}
        return command(*args, columns={role: name for role, name in named.items() if name}, **kwargs)

    for short, role in reversed(ROLES.items()):
        run = click.option(f"--{short}-col", help=f"Your name for the column {role}.")(run)
    return run


def config_for(data: str) -> str | None:
    """The config that is named like the data set, if there is one; a path of the user's own has none."""
    from pipelines.settings import CONFIGS

    own = Path(data).exists() or Path(data).name != data
    return data if not own and (CONFIGS / f"{data}.toml").is_file() else None


def shown(settings: Any, as_json: bool) -> Any:
    """Prints checked settings and does nothing else."""
    if not as_json:
        click.echo(settings.model_dump_json(indent=2))
    return settings.model_dump(mode="json")
