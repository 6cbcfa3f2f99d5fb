"""Commands that bring in what other libraries learned: import vectors."""

from pathlib import Path
from typing import Any

import click

from recsys.pipelines.commands.stage import config_for, data_options, run_options, show_settings, stage

_PATH = click.Path(path_type=Path)


@click.group("import")
def import_() -> None:
    """Make a bundle of what another library learned."""


@import_.command()
@click.argument("data")
@click.option(
    "--items", type=_PATH, help="Vectors of items: a table (item_id, vector, perhaps bias), or a .npy."
)
@click.option(
    "--users", type=_PATH, help="Vectors of users, likewise; without, people are the mean of their history."
)
@click.option(
    "--implicit", type=_PATH, help="In place of both: what `model.save` of implicit's ALS wrote (.npz)."
)
@click.option(
    "--item-ids",
    type=_PATH,
    help="Ids of the items of a .npy or .npz, in order: a line each (.txt, .ids), a table, or a .npy.",
)
@click.option("--user-ids", type=_PATH, help="Ids of its users, likewise.")
@click.option("--to", type=click.Path(path_type=Path), help="A folder of bundles. [default: mlruns/bundles]")
@click.option("--name", default="imported", show_default=True, help="What the model is called.")
@data_options
@run_options
@stage
def vectors(
    data: str,
    items: Path | None,
    users: Path | None,
    implicit: Path | None,
    item_ids: Path | None,
    user_ids: Path | None,
    to: Path | None,
    name: str,
    config: str | None,
    dry_run: bool,
    assignments: tuple[str, ...],
    as_json: bool,
) -> Any:
    """Publish a bundle of vectors that implicit, LightFM or anybody else learned, with the histories of DATA.

    It is judged, served and asked like any other. DATA: the events that the model has learned from.
    """
    from recsys.errors import SettingError
    from recsys.pipelines.run.settings import load_settings

    settings = load_settings(config or config_for(data), assignments, data=data)
    if dry_run:
        return show_settings(settings, as_json)
    if (items is None) == (implicit is None) or (
        implicit is not None and (item_ids is None or user_ids is None)
    ):
        raise SettingError("give --items FILE, or --implicit FILE with --item-ids FILE and --user-ids FILE.")
    for path in (items, users, implicit, item_ids, user_ids):
        if path is not None and not path.is_file():
            raise SettingError(f"there is no file {path}; check the path.")
    from recsys.bundle.write import publish
    from recsys.pipelines.console import Steps
    from recsys.pipelines.imports import Rows, make_content, read_ids, read_implicit, read_rows
    from recsys.pipelines.run.question import read_data
    from recsys.pipelines.tracking.store import store
    from recsys.text import command_line

    steps = Steps(quiet=as_json)
    own = settings.columns
    with steps.step("data") as progress:
        _, events, notes = read_data(settings, progress)
    for note in (*events.warnings, *notes):
        steps.say(note)
    of_users: Rows | None = None
    rule = None
    with steps.step("read vectors"):
        if implicit is not None:
            assert item_ids is not None
            assert user_ids is not None
            read = (
                read_ids(item_ids, "item", own.get("item_id")),
                read_ids(user_ids, "user", own.get("user_id")),
            )
            of_items, of_users, rule = read_implicit(implicit, *read)
        else:
            assert items is not None
            of_items = read_rows(items, item_ids, "item", own.get("item_id"))
            if users is not None:
                of_users = read_rows(users, user_ids, "user", own.get("user_id"))
        content = make_content(events, of_items, of_users, settings, rule=rule, name=name)
    root = to or store() / "bundles"
    with steps.step("bundle"):
        folder = publish(root, content)
    with_vector = int((content.embeddings.items != 0).any(axis=1).sum())
    steps.say(
        f"{folder} is the current bundle of {root}: {with_vector:,} of {len(content.item_ids):,} items "
        f"have a vector. Next: {command_line('recsys serve', root)}"
    )
    return {
        "bundle": str(folder),
        "root": str(root),
        "items": len(content.item_ids),
        "items_with_vector": with_vector,
    }
