"""Commands about the event store: what came back, to learn from it, and what others have kept, into it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import Negative, say, stage

_STATE = click.option(
    "--state", type=click.Path(path_type=Path), help="Folder of the store; default mlruns/state."
)


@click.group()
def events() -> None:
    """What people did after an answer: to Parquet, and from other people's tables."""


@events.command("export")
@click.argument("to", type=click.Path(path_type=Path))
@_STATE
@stage
def export_(to: Path, state: Path | None, as_json: bool) -> Any:
    """Write the store into the folder TO as Parquet by day: outcomes, impressions, exposures.

    Once more writes what came since. `recsys train TO/outcomes` learns from it, as `recsys train events:`
    does from the store itself.
    """
    from recsys.events.address import open_store
    from recsys.pipelines.console import Steps
    from recsys.pipelines.events.export import export
    from recsys.text import command_line

    store = open_store(state)
    with Steps(quiet=as_json).step("export") as progress:
        counts = export(store, to, progress)
    if not as_json:
        said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        click.echo(
            f"{said} since the last export are in {to}. Next: {command_line('recsys train', to / 'outcomes')}"
        )
    return {"folder": str(to), **counts}


@events.command()
@_STATE
@click.option(
    "--keep-days", type=click.FloatRange(0), required=True, help="Days that events and lists are kept."
)
@stage
def prune(state: Path | None, keep_days: float, as_json: bool) -> Any:
    """Delete events that were received, and lists that were served, more than so many days ago. Export them
    first."""
    from recsys.events.address import open_store
    from recsys.history import DAY_S

    gone = open_store(state).prune(time.time_ns() // 1_000_000 - int(keep_days * DAY_S * 1000))
    if not as_json:
        click.echo(f"{gone['events']:,} events and {gone['exposures']:,} lists are deleted.")
    return gone


@events.command("import")
@click.argument("files", nargs=-1, required=True)
@_STATE
@click.option(
    "--kind",
    default="outcome",
    show_default=True,
    type=click.Choice(["outcome", "impression"]),
    help="The kind of all rows.",
)
@click.option(
    "--col", multiple=True, metavar="ROLE=COLUMN", help="Your own name of a column, as user_id=visitor."
)
@click.option(
    "--window-h",
    default=24.0,
    show_default=True,
    type=click.FloatRange(0),
    help=(
        "Hours before an event without a request_id in which the list was served that it follows; 0 = none "
        "is sought."
    ),
)
@stage
def import_(
    files: Sequence[str], state: Path | None, kind: str, col: Sequence[str], window_h: float, as_json: bool
) -> Any:
    """Take the tables FILES (a path, folder, pattern or address each) into the store; the same again change
    nothing.

    Columns: item_id, timestamp, user_id or unit_id, and perhaps event, event_id, request_id, position,
    placement and value. Exit status 1 where rows break a rule; the others are in.
    """
    from recsys.config import home
    from recsys.errors import SettingError
    from recsys.events.address import STATE
    from recsys.events.store import EventStore
    from recsys.pipelines.console import Steps
    from recsys.pipelines.events.imports import ROLES, import_files

    columns = dict[str, str]()
    for one in col:
        role, is_there, name = one.partition("=")
        if role not in ROLES or not is_there or not name:
            raise SettingError(f"--col {one} is not ROLE=COLUMN; the roles are {', '.join(ROLES)}.")
        columns[role] = name
    store = EventStore(state or home() / STATE)
    with Steps(quiet=as_json).step("import") as progress:
        now_ms = time.time_ns() // 1_000_000
        counts = import_files(
            store, files, columns, kind=kind, window_s=int(window_h * 3600), now_ms=now_ms, progress=progress
        )
    if not as_json:
        click.echo(
            f"{counts.rows:,} rows: {counts.accepted:,} new events, {counts.duplicates:,} known already, "
            f"{counts.rejected.total():,} against a rule; {counts.joined:,} found the list that they follow."
        )
        for code, count in counts.rejected.most_common():
            click.echo(f"{code}: {count:,} rows, the first {counts.first[code]}")
    plain = {
        "rows": counts.rows,
        "accepted": counts.accepted,
        "duplicates": counts.duplicates,
        "joined": counts.joined,
    }
    result = plain | {"rejected": dict(counts.rejected), "first": counts.first}
    return Negative(result) if counts.rejected else result


@click.command()
@click.argument("user_id")
@_STATE
@click.option(
    "--finish", is_flag=True, help="Take the id out of all those places as well, and write a receipt."
)
@stage
def forget(user_id: str, state: Path | None, finish: bool, as_json: bool) -> Any:
    """Delete what the event store holds of USER_ID under any of their ids, and say where else below the home
    they lie.

    To the service they are a stranger from then on. With --finish, bundles, exports, logs, checkpoints and
    texts that recsys wrote are rewritten without them; killed and run again, it goes on. Exit status 1 where
    an id is left.
    """
    from recsys.config import home
    from recsys.events.address import open_store
    from recsys.pipelines.console import Steps
    from recsys.pipelines.events import forget as steps
    from recsys.pipelines.events.places import Person, places_of
    from recsys.text import text_table

    began, store = time.time(), open_store(state)
    ids = {user_id, *store.ids_of(user_id)}
    gone = store.forget(user_id, time.time_ns() // 1_000_000)
    person = Person(ids, store.forgotten_with(user_id), store.digest)
    number = len(store.forgotten_with(user_id))
    result: dict[str, Any] = {"ids": number, "deleted": gone}
    with Steps(quiet=as_json).step("look for the id") as progress:
        if finish:
            done = steps.finish(person, home(), progress)
            receipt = steps.write_receipt(store.path.parent, store.digest(user_id), number, gone, done, began)
            result |= {"places": done.places, "receipt": str(receipt)}
            rows, left = steps.table_of(done.places), done.left
        else:
            places = list(places_of(person, home(), progress))
            result["places"] = [
                {"kind": one.kind, "path": str(one.path), "unread": one.unread} for one in places
            ]
            rows, left = (
                [[one.kind, str(one.path), one.unread or "holds an id"] for one in places],
                bool(places),
            )
    if not as_json:
        said = ", ".join(f"{count:,} {name}" for name, count in gone.items())
        click.echo(f"Forgotten in the event store under {number} ids: {said}.")
        if rows:
            say(text_table(["what", "where", ""], rows))
        if finish:
            click.echo(f"The receipt, which also says what cannot be reached, is {result['receipt']}.")
        elif rows:
            click.echo("Take them out of there: the same command with --finish.")
        else:
            click.echo(
                "Nothing else below the home holds them. Not looked into: archives, databases, other "
                "machines."
            )
    return Negative(result) if left else result
