"""The command line: a thin skin over the stages. Heavy libraries are loaded by the command that needs
them."""

import re
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from recsys import __version__
from recsys.pipelines.ab.commands import ab
from recsys.pipelines.best.commands import best
from recsys.pipelines.commands.bundles import bundles
from recsys.pipelines.commands.data import data, split
from recsys.pipelines.commands.explain import arithmetic, communities, doctor, projector, similar, why
from recsys.pipelines.commands.imports import import_
from recsys.pipelines.commands.items import items
from recsys.pipelines.commands.keys import keys
from recsys.pipelines.commands.learning import demo, evaluate, models, order, train, transfer
from recsys.pipelines.commands.runs import promote, runs, track
from recsys.pipelines.commands.serving import deploy, export, recommend, replay, serve, trace
from recsys.pipelines.commands.stage import EXIT_INTERRUPTED, EXIT_OURS, leave_unread, say_fault
from recsys.pipelines.commands.tuning import dims, index, tune
from recsys.pipelines.events.commands import events, forget
from recsys.pipelines.simulate.commands import simulate

_show_as_python_does = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    """Ours, which are about what a person gave, in a line; those of libraries with their place in the
    code."""
    if category is UserWarning:
        click.echo(f"recsys: warning: {message}", err=True)
    else:
        _show_as_python_does(message, category, *where, **more)


class OneSentence(click.Group):
    """A group that says a wrong option or argument as it says every other fault: in one sentence, exit status
    2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        called, warnings.showwarning = super().main, _show_warning
        if not standalone_mode:
            return called(args, prog_name, complete_var, False, **extra)
        try:
            sys.exit(called(args, prog_name, complete_var, False, **extra) or 0)
        except click.ClickException as error:
            if isinstance(error, click.exceptions.NoArgsIsHelpError):
                error.show()
            else:
                context = getattr(error, "ctx", None)
                path = context.command_path if context else "recsys"
                said = error.format_message()
                if hint := _hint_of_user(said, context):
                    said = said.rstrip(".") + hint
                if isinstance(error, click.NoSuchOption):
                    said += (
                        f" An id or a file that begins with a dash stands behind --, as in `{path} -- -1`."
                    )
                say_fault(f"{said}{'' if said.endswith(('.', '?')) else '.'} See `{path} --help`.")
            sys.exit(error.exit_code)
        except BrokenPipeError:
            leave_unread()
        except click.Abort:
            say_fault("interrupted")
            sys.exit(EXIT_INTERRUPTED)
        except Exception as error:  # not 1, which is the verdict of a check
            traceback.print_exc()
            said = f"{type(error).__name__}: {error}".rstrip(".")
            say_fault(
                f"this is a fault of recsys and not yours ({said}). Please report it with the lines above."
            )
            sys.exit(EXIT_OURS)


def _hint_of_user(said: str, context: click.Context | None) -> str:
    """The end of a refusal of one word too many, where it may be the id of a user."""
    extra = re.match(r"Got unexpected extra argument \((.+)\)", said)
    takes_users = context is not None and any("--user" in one.opts for one in context.command.params)
    return f": did you mean --user {extra[1]}?" if extra and takes_users else ""


@click.group(
    cls=OneSentence, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="recsys")
@click.pass_context
def main(context: click.Context) -> None:
    """From a log of clicks to a measured index that answers requests.

    Without a command: says what to do next in this folder.
    Settings are KEY=VALUE pairs such as model.dim=128; `recsys train world --dry-run` lists them all.
    """
    if context.invoked_subcommand is None:
        click.echo(next_step())


def next_step() -> str:
    """What there is in this folder and in the home, and the commands that go on from there."""
    from recsys.config import home
    from recsys.text import command_line

    runs = home() / "mlruns"
    bundles, trained = runs / "bundles", runs / "trained"
    tables = sorted(path for path in Path().iterdir() if path.is_file() and _is_table(path))
    here, steps = "Nothing is trained here yet, and no table of events lies in this folder.", []
    if (bundles / "current").is_file():
        here = f"A model is published in {bundles}."
        steps = [("answer requests", command_line("recsys serve", bundles)), ("see its runs", "recsys runs")]
    elif trained.is_dir() and any(path.is_dir() and not path.suffix for path in trained.iterdir()):
        here = f"Models are trained in {runs}, and none is published."
        steps = [("compare them", "recsys runs"), ("publish the last one", "recsys export last")]
    elif tables:
        here = f"{tables[0]} may be a table of events; nothing is trained here yet."
        steps = [
            ("check it", command_line("recsys data check", tables[0])),
            ("get the best model for it in ten minutes", command_line("recsys best", tables[0], minutes=10)),
        ]
    else:
        steps = [
            ("see everything once, on data that it makes", "recsys demo"),
            ("your own data, a row for each event: user, item, time", "recsys data check FILE.csv"),
        ]
    width = max(len(command) for _, command in steps)
    lines = [f"  {command:{width}}  {purpose}" for purpose, command in steps]
    return "\n".join([here, "Next:", *lines, "", "All commands: recsys --help"])


def _is_table(path: Path) -> bool:
    """Whether a file is called like a table that recsys reads."""
    endings = [ending for ending in path.suffixes if ending not in (".gz", ".zst", ".bz2")]
    return bool(endings) and endings[-1] in (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson")


for command in (
    demo,
    train,
    best,
    tune,
    dims,
    evaluate,
    order,
    transfer,
    export,
    deploy,
    recommend,
    serve,
    keys,
    trace,
    replay,
    models,
    data,
    split,
    runs,
    promote,
    bundles,
    index,
    items,
    import_,
    track,
    why,
    similar,
    arithmetic,
    communities,
    projector,
    doctor,
    events,
    forget,
    ab,
    simulate,
):
    main.add_command(command)


if __name__ == "__main__":
    main(prog_name="recsys")
