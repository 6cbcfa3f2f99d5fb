"""Commands that publish and answer: export, deploy, recommend, serve, trace, replay."""

import math
import sys
from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import EXPERIMENT, Negative, say, stage


@click.command()
@click.argument("run")
@EXPERIMENT
@click.option("--to", type=click.Path(path_type=Path), help="Folder of bundles; default mlruns/bundles.")
@stage
def export(run: str, experiment: str | None, to: Path | None, as_json: bool) -> Any:
    """Publish the bundle of RUN into a folder of bundles and make it current.

    RUN: an id or its beginning, `last`, `champion`, `challenger` (`shop/champion` in experiment `shop`), or a
    bundle.
    """
    from recsys.bundle.manifest import read_manifest
    from recsys.bundle.root import copy_into, current
    from recsys.pipelines.tracking import address, client
    from recsys.pipelines.tracking.registry import resolve
    from recsys.pipelines.tracking.store import store
    from recsys.text import command_line

    place, told = None, run
    if Path(run).is_dir():
        source = current(Path(run))
    else:
        run = resolve(run, experiment)
        logged = client.run_of(run)
        place, told = logged.experiment, f"{logged.name}, run {run} of experiment {logged.experiment}"
        source = address.bundle_of(run)
    root = to or store() / "bundles"
    folder = copy_into(root, source)
    unlearned = read_manifest(folder)["lineage"].get("unlearned")
    if not as_json:
        click.echo(
            f"{folder} ({told}) is the current bundle of {root}. Next: {command_line('recsys serve', root)}"
        )
        if unlearned and unlearned["events"]:
            days = "" if unlearned["days"] is None else f" of the last {unlearned['days']:,.1f} days"
            click.echo(
                f"It has not learned {unlearned['events']:,} events{days}, which its run was judged on or "
                f"left out: train with refit=true to publish what has learned from all."
            )
    return {"bundle": str(folder), "root": str(root), "run": run, "experiment": place, "unlearned": unlearned}


@click.command()
@click.argument("run", required=False)
@EXPERIMENT
@click.option(
    "--alias", help="In place of RUN: the run that has this alias in the registry, as in --alias champion."
)
@click.option(
    "--as", "role", default="champion", show_default=True, help="champion, shadow, or an arm: EXPERIMENT/ARM."
)
@click.option(
    "--withdraw", is_flag=True, help="Take the role away: shadow, EXPERIMENT/ARM, or all arms by EXPERIMENT."
)
@click.option("--roll-back", is_flag=True, help="Make the champion before this one the champion again.")
@click.option("--to", type=click.Path(path_type=Path), help="Folder of bundles; default mlruns/bundles.")
@stage
def deploy(
    run: str | None,
    experiment: str | None,
    alias: str | None,
    role: str,
    withdraw: bool,
    roll_back: bool,
    to: Path | None,
    as_json: bool,
) -> Any:
    """Give the bundle of RUN a role in what is served: champion, shadow, or an arm; a running service swaps
    by itself.

    RUN: as of `recsys export`, or the id of a bundle that the folder holds. What is served stands in
    deployment.toml.
    """
    from recsys.bundle.root import assign, copy_into, deployment_of
    from recsys.bundle.root import roll_back as run_roll_back
    from recsys.errors import SettingError
    from recsys.pipelines.tracking.store import store

    chosen = [bool(run), bool(alias), withdraw, roll_back]
    if sum(chosen) > 1:
        raise SettingError("RUN, --alias, --withdraw and --roll-back exclude each other; give one of them.")
    root = to or store() / "bundles"
    if roll_back:
        after = run_roll_back(root)
    elif withdraw:
        after = assign(root, role, None)
    elif not any(chosen):
        _, after = deployment_of(root)
    else:
        bundle_id = run or ""
        if alias or not (root / bundle_id).is_dir():
            from recsys.pipelines.tracking import address
            from recsys.pipelines.tracking.registry import resolve

            bundle_id = copy_into(
                root, address.bundle_of(resolve(alias or bundle_id, experiment)), pointing=False
            ).name
        after = assign(root, role, bundle_id)
    if not as_json:
        click.echo(after.toml().rstrip())
    return {"root": str(root), **vars(after), "etag": after.etag}


@click.command()
@click.argument("request_id")
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    help="An exposure log, or events:FOLDER; default the store in mlruns/state.",
)
@click.option(
    "--bundles", "root", type=click.Path(path_type=Path), help="Folder of bundles; default mlruns/bundles."
)
@stage
def trace(request_id: str, log: Path | None, root: Path | None, as_json: bool) -> Any:
    """Rebuild the list that REQUEST_ID was answered with, from the bundle that answered, and compare.

    Exit status 1 where the list or a score is another one now.
    """
    from recsys.answers import replay as lists
    from recsys.answers.exposure import find_line
    from recsys.bundle.bundle import load
    from recsys.errors import BundleError
    from recsys.events.address import ADDRESS
    from recsys.pipelines.tracking.store import store
    from recsys.text import text_table

    line = find_line(log or Path(ADDRESS), request_id)
    folder = (root or store() / "bundles") / line["bundle_id"]
    if not folder.is_dir():
        raise BundleError(f"{folder.parent} holds {line['bundle_id']} no more, which answered this request.")
    merged = {bundle_id for _, bundle_id, _ in (line.get("recipe") or {}).get("merged", ())} - {folder.name}
    traced = lists.trace(load(folder), line, {one: load(folder.parent / one) for one in merged})
    verdict = "NOT the list that was served"
    if traced.same:
        verdict = "identical" if traced.identical else "the same, but for items that tie"
    if not as_json:
        asked = {name: value for name, value in line["question"].items() if value is not None}
        click.echo(
            f"User {line['user_id']!r} asked {asked} and got {len(line['items'])} items ({line['source']}):"
        )
        rows = [[i.item_id, i.title or "", i.reason or "", f"{i.score:.6g}"] for i in traced.items]
        say(text_table(["item", "title", "reason", "score"], rows))
        click.echo(
            f"Asked again of {line['bundle_id']}: {verdict}; scores differ by at most {traced.furthest:.1e}."
        )
    result = {
        "line": line,
        "identical": traced.identical,
        "furthest": traced.furthest if math.isfinite(traced.furthest) else None,
    }
    result["items"] = [item._asdict() for item in traced.items]
    return result if traced.same else Negative(result)


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    required=True,
    help="The challenger: a bundle, or a folder of them.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Ask only the first so many questions.")
@stage
def replay(log: Path, bundle: Path, limit: int | None, as_json: bool) -> Any:
    """Put the questions of LOG to a bundle, and compare its lists. LOG: `events:` for the service's own event
    store, an exposure log, or that of another system.

    Says how much of the lists is the same, whose lists differ, which are short or empty, where answers come
    from and
    what they cost: over all, and by source, domain, placement, experiment, arm and `segment`.
    """
    from recsys.answers import replay as lists
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current
    from recsys.pipelines.console import Steps

    steps = Steps(quiet=as_json)
    with steps.step("load"):
        challenger = load(current(bundle))
    with steps.step("ask") as progress:
        result = lists.replay(challenger, lists.read_log(log), limit, progress)
    if not as_json:
        say(lists.replay_text(result))
    return result


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--user", help="A user id.")
@click.option(
    "--history",
    multiple=True,
    help=(
        "Item ids, oldest first, separated by commas, or repeated; one with a comma in quotes, as in "
        "'\"a,b\",c'."
    ),
)
@click.option("--domain", help="Only items of this domain.")
@click.option("-k", "--k", default=10, show_default=True, help="How many items.")
@click.option("--all-users", is_flag=True, help="Every user of the bundle: lists in --out; resumable.")
@click.option(
    "--users",
    type=click.Path(path_type=Path),
    help=(
        "As --all-users, for the ids of a file: one a line (.txt, .ids), a table with user_id, or an array "
        "(.npy)."
    ),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=(
        "With --all-users or --users: an empty folder for Parquet files, or one to go on with; or a file "
        "that ends in .csv, for a spreadsheet, with titles."
    ),
)
@stage
def recommend(
    bundle: Path,
    user: str | None,
    history: tuple[str, ...],
    domain: str | None,
    k: int,
    all_users: bool,
    users: Path | None,
    out: Path | None,
    as_json: bool,
) -> Any:
    """Recommend from BUNDLE (or a folder of bundles), by the same code as the service."""
    if all_users or users is not None or out is not None:
        from recsys.errors import RequestError
        from recsys.pipelines.batch import command

        if all_users == (users is not None) or user or history:
            raise RequestError(
                "--out goes with one of --all-users and --users, and with neither --user nor --history."
            )
        return command(bundle, k, out, users, domain, as_json)
    from recsys.answers.question import Event, Question
    from recsys.answers.respond import respond
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current

    events = [Event(item_id) for item_id in _ids(history)]
    reply = respond(load(current(bundle)), Question(user, events, k, domain, reasons=k))
    if not as_json:
        from recsys.text import text_table

        rows = [[i.item_id, i.title or "", i.reason or "", f"{i.score:.3f}"] for i in reply.items]
        click.echo(f"{reply.source}: {reply.why}")
        if reply.ignored:
            click.echo(f"ignored, not in the bundle: {', '.join(reply.ignored)}")
        say(text_table(["item", "title", "reason", "score"], rows))
    return {**vars(reply), "items": [item._asdict() for item in reply.items]}


def _ids(lines: tuple[str, ...]) -> list[str]:
    """The ids in lines of comma-separated values; blanks around an id and empty places are left out."""
    import csv

    from recsys.errors import RequestError

    try:
        rows = [row for line in lines for row in csv.reader([line], skipinitialspace=True, strict=True)]
    except csv.Error as error:
        raise RequestError(
            f"--history {' '.join(lines)!r} is no list of ids ({error}). Separate ids by commas, and put "
            f"one with a comma or a quote into double quotes, a quote inside it twice."
        ) from None
    return [field.strip() for row in rows for field in row if field.strip()]


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> None:
    """Serve a bundle over HTTP: starts `python -m recsys.serving`, whose options it takes."""
    import os

    os.execv(sys.executable, [sys.executable, "-P", "-m", "recsys.serving", *arguments])
