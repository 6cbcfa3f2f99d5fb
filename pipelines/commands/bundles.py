"""Commands about the bundles of a folder: list them, choose the current one, upgrade it, delete the old
ones."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.pipelines.commands.stage import say, stage

if TYPE_CHECKING:
    from recsys.bundle.prune import Held

_ROOT = click.argument("root", required=False, type=click.Path(path_type=Path))


@click.group()
def bundles() -> None:
    """List the bundles of a folder (default mlruns/bundles), choose the current one, upgrade it, delete
    others."""


@bundles.command("list")
@_ROOT
@stage
def list_(root: Path | None, as_json: bool) -> Any:
    """List the bundles of ROOT, the newest first: size, age, and which one is current."""
    from recsys.bundle.prune import list_bundles
    from recsys.text import command_line

    root = root or _default()
    bundles = list_bundles(root)
    if not as_json:
        publish, prune_ = (
            command_line("recsys export", "last", to=root),
            command_line("recsys bundles prune", root, keep=3),
        )
        say(_table(bundles) if bundles else f"{root} holds no bundles. Publish one: {publish}")
        click.echo(f"{len(bundles)} bundles, {_mib(sum(one.size for one in bundles))} MiB. Next: {prune_}")
    return {"root": str(root), "bundles": [asdict(one) for one in bundles]}


@bundles.command()
@click.argument("bundle_id", metavar="ID")
@_ROOT
@stage
def use(bundle_id: str, root: Path | None, as_json: bool) -> Any:
    """Make bundle ID of ROOT the current one, after verifying it: the way back, and forward again.

    A running service swaps to it by itself.
    """
    from recsys.bundle.root import current, point_to

    root = root or _default()
    before = current(root).name
    point_to(root, bundle_id)
    if not as_json:
        same = before == bundle_id
        click.echo(
            f"{bundle_id} is the current bundle of {root}{', as before' if same else f', after {before}'}."
        )
    return {"root": str(root), "current": bundle_id, "before": before}


@bundles.command()
@_ROOT
@stage
def upgrade(root: Path | None, as_json: bool) -> Any:
    """Write the current bundle of ROOT anew in the format of this version, with the same answers, and make it
    current.

    The old one stays beside it.
    """
    from recsys.bundle.manifest import FORMAT
    from recsys.bundle.root import current
    from recsys.bundle.write import upgrade as run_upgrade

    root = root or _default()
    before = current(root)
    after = run_upgrade(root)
    if not as_json:
        done = (
            f"upgraded to format {FORMAT}, after {before.name}"
            if after != before
            else f"of format {FORMAT} already"
        )
        click.echo(f"{after.name} is the current bundle of {root}, {done}.")
    return {"root": str(root), "current": after.name, "before": before.name, "format": FORMAT}


@bundles.command()
@_ROOT
@click.option(
    "--keep", type=click.IntRange(min=1), required=True, help="Number of the newest bundles to keep."
)
@click.option("--dry-run", is_flag=True, help="Say what would be deleted, and delete nothing.")
@stage
def prune(root: Path | None, keep: int, dry_run: bool, as_json: bool) -> Any:
    """Delete all but the newest bundles of ROOT. The current one and the one before it always stay."""
    from recsys.bundle.prune import prune as run_prune

    root = root or _default()
    gone = run_prune(root, keep, dry_run=dry_run)
    if not as_json:
        if gone:
            say(_table(gone))
        freed = f"{len(gone)} bundles, {_mib(sum(one.size for one in gone))} MiB"
        click.echo(f"Would delete {freed}." if dry_run else f"Deleted {freed}.")
    return {"root": str(root), "deleted": [asdict(one) for one in gone], "dry_run": dry_run}


def _default() -> Path:
    from recsys.pipelines.tracking.store import store

    return store() / "bundles"


def _table(bundles: Sequence["Held"]) -> str:
    from recsys.text import text_table

    rows = [
        [one.bundle_id, _mib(one.size), _age(time.time() - one.created), "current" if one.current else ""]
        for one in bundles
    ]
    return text_table(["bundle", "MiB", "age", ""], rows)


def _mib(size: int) -> str:
    return f"{size / (1 << 20):,.1f}"


def _age(seconds: float) -> str:
    from recsys.history import DAY_S

    for unit, name in ((DAY_S, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(0.0, seconds):.0f} seconds"
