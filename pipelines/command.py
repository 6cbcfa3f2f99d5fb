"""What commands share: settings from the command line, one object as JSON, and errors as one sentence."""

import json
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from recsys.errors import RecsysError

EXIT_FAULT, EXIT_INTERRUPTED = 2, 130


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
        if as_json:
            click.echo(json.dumps(result))

    return run


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command that starts from settings takes."""
    command = click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")(command)
    command = click.option("-c", "--config", help="A TOML file, or the name of one in pipelines/configs.")(command)
    return click.option("--dry-run", is_flag=True, help="Check and print the settings, then stop.")(command)


def config_for(data: str) -> str | None:
    """The config that is named like the data set, if there is one."""
    from pipelines.settings import CONFIGS

    return data if (CONFIGS / f"{data}.toml").is_file() else None


def shown(settings: Any, as_json: bool) -> Any:
    """Prints checked settings and does nothing else."""
    if not as_json:
        click.echo(settings.model_dump_json(indent=2))
    return settings.model_dump(mode="json")
