"""What commands share: settings from the command line, one object as JSON, and errors as one sentence."""

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from recsys.errors import RecsysError, SettingError
from recsys.pipelines.commands import interrupt
from recsys.pipelines.console import fitting

EXIT_NEGATIVE, EXIT_FAULT, EXIT_OURS, EXIT_INTERRUPTED, EXIT_UNREAD = 1, 2, 70, 130, 141
_OWN = ("recsys", "pipelines", "serving")
_LONGEST = 2_000  # characters of a sentence: a value that somebody gave may be a whole file
ROLES = {"user": "user_id", "item": "item_id", "time": "timestamp", "event": "event", "weight": "weight"}


@dataclass(frozen=True)
class Negative:
    """What a command returns whose verdict is negative (a check, an audit, a gate): printed as ever, exit
    status 1."""

    result: Any


def stage(command: Callable[..., Any]) -> Callable[..., None]:
    """Adds --json and --debug; prints the result as the last line, and an error as one sentence with exit
    status 2."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object, as the last line, and nothing else."
    )
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @wraps(command)
    def run(*args: Any, as_json: bool, debug: bool, **kwargs: Any) -> None:
        interrupt.listen()
        try:
            _refuse_what_is_no_text(kwargs)
            result = command(*args, as_json=as_json, **kwargs)
            if as_json and result is not None:
                click.echo(json.dumps(result.result if isinstance(result, Negative) else result))
        except BrokenPipeError:
            leave_unread()
        except (RecsysError, OSError, MemoryError, ModuleNotFoundError) as error:
            if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in _OWN:
                raise  # a fault of ours
            if debug:
                traceback.print_exc()
            say_fault(sentence_of(error))
            sys.exit(EXIT_FAULT)
        except (Exception, KeyboardInterrupt) as error:
            if not (interrupt.was_pressed() or isinstance(error, KeyboardInterrupt)):
                raise
            click.echo("recsys: interrupted", err=True)
            sys.exit(EXIT_INTERRUPTED)
        if isinstance(result, Negative):
            sys.exit(EXIT_NEGATIVE)

    return run


def leave_unread() -> NoReturn:
    """Exits quietly where nobody reads the output any more, as after `| head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(EXIT_UNREAD)


def say(text: str) -> None:
    """Prints lines whose tables fit the console."""
    click.echo(fitting(text))


def say_fault(sentence: str) -> None:
    """Prints one printable line on standard error."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(sentence.split()))
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 4 :]}"
    click.echo(f"recsys: {text}", err=True)


def sentence_of(error: Exception) -> str:
    """The sentence of an error; errors of the system get words of our own."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error}. This command needs the extra `train`: pip install 'recsys-embeddings[train]'."
    if isinstance(error, MemoryError):
        reason = str(error).rstrip(".") or "it has no more"
        return (
            f"the memory of this machine does not suffice: {reason}. Lower model.dim, or take fewer events."
        )
    if isinstance(error, OSError) and error.strerror:
        what = f"{error.filename} cannot be used" if error.filename else "the system refused"
        return f"{what}: {error.strerror}. Check the path, its permissions and the free space."
    return str(error)


def _refuse_what_is_no_text(arguments: Mapping[str, Any]) -> None:
    """Raises SettingError for words of the command line that are no UTF-8: nothing of ours is named so."""
    for name, value in arguments.items():
        for word in value if isinstance(value, tuple) else (value,):
            if isinstance(word, str) and not _is_text(word):
                raise SettingError(
                    f"{name} {word!r} on the command line is no UTF-8 text. Write it in UTF-8."
                )


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of every command that starts from settings."""
    command = click.argument("assignments", nargs=-1, metavar="[KEY=VALUE]...")(command)
    command = click.option("-c", "--config", help="A TOML file, or the name of one in pipelines/configs.")(
        command
    )
    return click.option("--dry-run", is_flag=True, help="Check and print the settings, then stop.")(command)


EXPERIMENT = click.option(
    "--experiment",
    help="Only this experiment. Default: all of them, but `champion` and `challenger` are those of `recsys`.",
)


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --user-col and its like; the command gets `columns`, the user's own names by role."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        named = {role: kwargs.pop(f"{short}_col") for short, role in ROLES.items()}
        return command(*args, columns={role: name for role, name in named.items() if name}, **kwargs)

    for short, role in reversed(ROLES.items()):
        run = click.option(f"--{short}-col", help=f"Your name for the column {role}; columns.{role}=NAME.")(
            run
        )
    return run


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --user-col and its like and --model, each another spelling of a setting: they stand before
    `assignments`."""

    @wraps(command)
    def run(*args: Any, columns: Mapping[str, str], model: str | None, **kwargs: Any) -> Any:
        chosen = [] if model is None else [f"model={quote_value(model)}"]
        own = [f"columns.{role}={quote_value(name)}" for role, name in columns.items()]
        return command(*args, **kwargs | {"assignments": (*own, *chosen, *kwargs["assignments"])})

    model = click.option(
        "--model", help="The model, by name; model=NAME. A config of another one lends it no settings."
    )
    return model(column_options(run))


def quote_value(value: str) -> str:
    """Text as a setting on the command line that is read as this text, whatever it looks like."""
    return json.dumps(value, ensure_ascii=False)


def config_for(data: str) -> str | None:
    """The config that is named like the data set, if there is one; a path of the user's own has none."""
    from recsys.pipelines.run.settings import CONFIGS

    own = Path(data).exists() or Path(data).name != data
    return data if not own and (CONFIGS / f"{data}.toml").is_file() else None


def show_settings(settings: Any, as_json: bool) -> Any:
    """Prints the checked settings and returns them as plain data, for --dry-run."""
    if not as_json:
        click.echo(settings.model_dump_json(indent=2))
    return settings.model_dump(mode="json")
