"""The command line: a thin skin over the stages. Heavy libraries are loaded by the command that needs them."""

import json
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from recsys import __version__
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


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="recsys")
def main() -> None:
    """From a log of clicks to a measured index that answers requests.

    Settings are KEY=VALUE pairs such as model.dim=128; `recsys train --dry-run` lists them all.
    """


@main.command()
@click.option("--data", default="world", show_default=True, help="`world`, a named data set, or a folder or file.")
@run_options
@stage
def demo(data: str, config: str | None, dry_run: bool, assignments: tuple[str, ...], as_json: bool) -> Any:
    """The whole line: learn, measure, log, export, serve, and recommend to three people."""
    from pipelines.settings import load_settings

    settings = load_settings(config or _config_for(data), assignments, data=data)
    if dry_run:
        return _shown(settings, as_json)
    from pipelines.console import Steps
    from pipelines.demo import demo as run_demo

    return run_demo(settings, Steps(quiet=as_json))


@main.command()
@click.argument("data")
@click.option("--user-col", help="Your name for the column user_id.")
@click.option("--item-col", help="Your name for the column item_id.")
@click.option("--time-col", help="Your name for the column timestamp.")
@run_options
@stage
def train(
    data: str,
    user_col: str | None,
    item_col: str | None,
    time_col: str | None,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Learn from DATA (`world`, a named data set, a folder or a file), judge, and log the run with its bundle."""
    from pipelines.settings import load_settings

    named = {"user_id": user_col, "item_id": item_col, "timestamp": time_col}
    columns = {f"columns.{role}={json.dumps(column)}" for role, column in named.items() if column}
    settings = load_settings(config or _config_for(data), [*sorted(columns), *assignments], data=data)
    if dry_run:
        return _shown(settings, as_json)
    from pipelines.console import Steps
    from pipelines.train import comparisons_of, metrics_of
    from pipelines.train import train as run_train

    steps = Steps(quiet=as_json)
    trained = run_train(settings, steps)
    steps.say(trained.table)
    logged = trained.bundle if trained.run_id is None else trained.run_id
    steps.say(f"\nRun {trained.run_id or 'not logged'}. Next: recsys export {logged}")
    return {
        "run_id": trained.run_id,
        "bundle": str(trained.bundle),
        "metrics": metrics_of(trained.measured),
        "comparisons": comparisons_of(trained.measured),
        "seconds": steps.seconds,
    }


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@run_options
@stage
def evaluate(bundle: Path, config: str | None, dry_run: bool, assignments: tuple[str, ...], as_json: bool) -> Any:
    """Judge BUNDLE (or a folder of bundles) on the data and split of its own run.

    Others by settings: data=... split.kind=...
    """
    from pipelines.evaluate import evaluate_bundle, report_table, settings_of
    from pipelines.settings import load_settings
    from recsys.retrieval.bundle import current, load

    loaded = load(current(bundle))
    settings = load_settings(config, assignments, **({} if config else settings_of(loaded)))
    if dry_run:
        return _shown(settings, as_json)
    from pipelines.console import Steps

    steps = Steps(quiet=as_json)
    title, report = evaluate_bundle(loaded, settings, steps)
    steps.say(report_table(title, report))
    return {"bundle_id": loaded.bundle_id, "metrics": {name: report.interval(name)._asdict() for name in report.values}}


@main.command()
@click.argument("run")
@click.option("--to", type=click.Path(path_type=Path), help="Folder of bundles; default mlruns/bundles.")
@stage
def export(run: str, to: Path | None, as_json: bool) -> Any:
    """Publish the bundle of RUN (an id, `last`, or a bundle's folder) into a folder of bundles; make it current."""
    from pipelines import tracking
    from pipelines.settings import RunSettings
    from recsys.retrieval.bundle import copy_into

    if run == "last":
        run = tracking.last_run(RunSettings.model_fields["experiment"].default)
    root = to or tracking.store() / "bundles"
    folder = copy_into(root, Path(run) if Path(run).is_dir() else tracking.bundle_of(run))
    if not as_json:
        click.echo(f"{folder} is the current bundle of {root}. Next: recsys serve {root}")
    return {"bundle": str(folder), "root": str(root), "run": run}


@main.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--user", help="A user id.")
@click.option("--history", help="Item ids, comma-separated, oldest first.")
@click.option("--domain", help="Only items of this domain.")
@click.option("-k", default=10, show_default=True, help="How many items.")
@stage
def recommend(bundle: Path, user: str | None, history: str | None, domain: str | None, k: int, as_json: bool) -> Any:
    """Recommend from BUNDLE (or a folder of bundles), by the same code as the service."""
    from dataclasses import asdict

    from recsys.retrieval.bundle import current, load
    from recsys.retrieval.respond import Event, Question, respond

    events = [Event(item_id.strip()) for item_id in history.split(",")] if history else []
    reply = respond(load(current(bundle)), Question(user, events, k, domain))
    if not as_json:
        from pipelines.console import text_table

        rows = [[i.item_id, i.title or "", i.reason or "", f"{i.score:.3f}"] for i in reply.items]
        click.echo(f"{reply.source}: {reply.why}")
        if reply.ignored:
            click.echo(f"ignored, not in the bundle: {', '.join(reply.ignored)}")
        click.echo(text_table(["item", "title", "reason", "score"], rows))
    return asdict(reply)


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve a bundle over HTTP: starts `python -m serving` with the same arguments; see `recsys serve --help`."""
    import os

    os.execv(sys.executable, [sys.executable, "-m", "serving", *arguments])


@main.command()
@stage
def models(as_json: bool) -> Any:
    """List the models with their settings, defaults and reasons."""
    from recsys.models.registry import MODELS, model_class

    listed = {}
    for name in sorted(MODELS):
        cls = model_class(name)
        fields = cls.Settings.model_fields
        listed[name] = {
            "summary": cls.__doc__.split("\n")[0].strip(),
            "settings": {
                key: {"default": field.default, "meaning": field.description} for key, field in fields.items()
            },
        }
        if not as_json:
            click.echo(f"{name}: {listed[name]['summary']}")
            for key, field in fields.items():
                click.echo(f"  model.{key} = {field.default}    {field.description}")
    return listed


def _config_for(data: str) -> str | None:
    """The config that is named like the data set, if there is one."""
    from pipelines.settings import CONFIGS

    return data if (CONFIGS / f"{data}.toml").is_file() else None


def _shown(settings: Any, as_json: bool) -> Any:
    """Prints checked settings and does nothing else."""
    if not as_json:
        click.echo(settings.model_dump_json(indent=2))
    return settings.model_dump(mode="json")


if __name__ == "__main__":
    main()
