"""Commands about data: what is wrong with a table, what leaks between two, and public sets to download."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import (
    Negative,
    column_options,
    config_for,
    data_options,
    run_options,
    show_settings,
    stage,
)


@click.group()
def data() -> None:
    """Check events, audit splits, download public sets."""


@data.command()
@click.argument("source", metavar="FILE")
@click.option("--items", help="The item table; default: that of the folder.")
@click.option("--users", help="The user table; default: that of the folder.")
@data_options
@run_options
@stage
def check(
    source: str,
    items: str | None,
    users: str | None,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Say everything that is wrong with the events of FILE: a file, folder, pattern or named data set.

    The tables of items and users beside them are read as well. Exit status 1 where there are errors, 0 with
    warnings
    alone: then `recsys train` with the same settings does not refuse the data.
    """
    from recsys.config import overridden

    named = [text for text in assignments if text.split("=")[0].split(".")[0] == "columns"]
    if config or dry_run or len(named) < len(assignments):
        from recsys.pipelines.run.check import check_for
        from recsys.pipelines.run.settings import load_settings

        settings = load_settings(config or config_for(source), assignments, data=source)
        if dry_run:
            return show_settings(settings, as_json)
        checked = check_for(settings, items=items, users=users)
    else:  # no settings are read, and nothing of the training extra is needed
        from recsys.data.check.check import check as run_check
        from recsys.data.read.columns import own_names

        columns = own_names(overridden({"columns": {}}, named)["columns"])
        checked = run_check(source, columns, items=items, users=users)
    result = {
        "where": checked.where,
        "facts": dict(checked.facts),
        "errors": checked.errors,
        "warnings": len(checked.findings) - checked.errors,
        "findings": [finding.plain() for finding in checked.findings],
    }
    if not as_json:
        click.echo(f"{checked.where}: {_facts(checked.facts)}")
        _say(checked.findings, checked.where)
    return Negative(result) if checked.errors else result


@data.command()
@click.argument("train", required=False)
@click.argument("test", required=False)
@column_options
@click.option("--repeats", is_flag=True, help="Items that the user had before are asked for on purpose.")
@click.option("--world", is_flag=True, help="Instead: how much a random split invents on the planted world.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="A setting for --world: world.seed=2."
)
@stage
def audit(
    train: str | None,
    test: str | None,
    columns: dict[str, str],
    repeats: bool,
    world: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Say what leaks from the events of TEST into those of TRAIN. Exit status 1 where something does."""
    if world:
        from recsys.pipelines.console import Steps
        from recsys.pipelines.run.audit_world import audit_world
        from recsys.pipelines.run.settings import load_settings

        return audit_world(load_settings("world", assignments), Steps(quiet=as_json))
    if train is None or test is None:
        raise click.UsageError("name both tables, TRAIN and TEST, or ask for --world")
    from recsys.data.check.findings import errors
    from recsys.data.read.load import find
    from recsys.data.split.audit import audit_tables, verdict

    findings = audit_tables(find(train), find(test), columns, repeats=repeats)
    if not as_json:
        _say(findings, f"{train} against {test}")
        click.echo(verdict(findings))
    result = {"leaks": len(errors(findings)), "findings": [finding.plain() for finding in findings]}
    return Negative(result) if result["leaks"] else result


@data.command()
@click.argument("name", required=False)
@click.option("--mirror", help="Address of a folder that holds the files, instead of GroupLens.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to put the file; the cache by default."
)
@stage
def download(name: str | None, mirror: str | None, folder: Path | None, as_json: bool) -> Any:
    """Download the MovieLens set NAME into the cache, verified; without NAME, list them."""
    from recsys.data.read.download import GROUPLENS, REMOTES
    from recsys.data.read.download import download as fetch

    if name is None:
        listed = {key: {"note": remote.note, "md5": remote.md5} for key, remote in REMOTES.items()}
        if not as_json:
            for key, remote in REMOTES.items():
                click.echo(f"{key}: {remote.note}{'' if remote.md5 else ', so it cannot be verified'}")
        return listed
    from recsys.pipelines.console import Steps
    from recsys.text import command_line

    steps = Steps(quiet=as_json)
    with steps.step("download") as progress:
        path = fetch(name, base=mirror or GROUPLENS, folder=folder, progress=progress)
    verified = REMOTES[name].md5 is not None
    if not verified:
        steps.warn(f"{name} changes over time, so no digest could be held against it.")
    steps.say(f"{path}. Next: {command_line('recsys data check', path if folder else name)}")
    return {"path": str(path), "verified": verified}


def _facts(facts: Mapping[str, int | str | None]) -> str:
    told = [
        f"{value:,} {name}" if isinstance(value, int) else f"{name} {value}" for name, value in facts.items()
    ]
    return ", ".join(told).replace("_", " ")


def _say(findings: Any, where: str) -> None:
    for finding in findings:
        click.echo(f"{finding.level}: {finding.sentence(where)}")
    if not findings:
        click.echo("nothing to report")


@click.command()
@click.argument("data")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="A folder that is empty or not there: what is written.",
)
@data_options
@run_options
@stage
def split(
    data: str, out: Path, config: str | None, dry_run: bool, assignments: tuple[str, ...], as_json: bool
) -> Any:
    """Write the question that DATA and its split ask, for another system: what to learn from, whom to answer,
    and when.

    OUT gets train.parquet (events), questions.parquet (user_id, and history: the items had before) and
    split.json, with the moment of the question. Lists made so are judged by `recsys evaluate --candidates`
    with the same settings.
    """
    from recsys.pipelines.run.settings import load_settings

    settings = load_settings(config or config_for(data), assignments, data=data)
    if dry_run:
        return show_settings(settings, as_json)
    from recsys.pipelines.console import Steps
    from recsys.pipelines.questions import write_question
    from recsys.pipelines.run.question import prepare
    from recsys.text import command_line

    steps = Steps(quiet=as_json)
    run = prepare(settings, steps)
    stated = write_question(run, out)
    steps.say(
        f"{stated['title']}. {stated['people']:,} people, {stated['events']:,} events to learn from: {out}."
    )
    own = [word for word in assignments if word.split("=")[0] != "data"]
    judging = command_line("recsys evaluate", f"data={data}", *own, candidates="LISTS.parquet")
    steps.say(f"Make their lists, user_id, item_id and rank, as LISTS.parquet. Next: {judging}")
    return stated
