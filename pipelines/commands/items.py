"""Commands about items after training: encode and add new ones, hide and show."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.pipelines.commands.stage import stage

if TYPE_CHECKING:
    from recsys.bundle.content import Content
    from recsys.data.read.tables import ItemTable

_BUNDLE = click.argument("bundle", type=click.Path(path_type=Path))
_FILE = click.argument("file", type=click.Path(path_type=Path))
_ID = click.option(
    "--item-col", "own_name", default="item_id", show_default=True, help="Column with the item ids."
)
_TO = click.option(
    "--to", type=click.Path(path_type=Path), help="Folder of bundles to publish in; default BUNDLE itself."
)


@click.group()
def items() -> None:
    """Items after training: vectors of new ones (a two_tower or fasttext model with item_features), hide,
    show."""


@items.command()
@_BUNDLE
@_FILE
@_ID
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Parquet file: item_id, vector.")
@stage
def encode(bundle: Path, file: Path, own_name: str, out: Path, as_json: bool) -> Any:
    """Write the vectors of the items in FILE, in the space of BUNDLE (or of a folder's current one)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from recsys import durable
    from recsys.answers.new_items import encoded_items
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current
    from recsys.data.read.tables import read_items
    from recsys.errors import SettingError
    from recsys.pipelines.console import Steps

    steps = Steps(quiet=as_json)
    if not out.parent.is_dir():
        raise SettingError(f"--out {out}: there is no folder {out.parent}; make it first.")
    table, loaded = read_items(file, own_name), load(current(bundle))
    with steps.step(f"encode {len(table.ids):,} items") as progress, _placing(table):
        vectors = encoded_items(loaded, table.described, progress)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    space = str(loaded.manifest["space_id"])
    written = pa.table({"item_id": table.ids, "vector": column}).replace_schema_metadata({"space_id": space})
    durable.write_whole(out, lambda path: pq.write_table(written, path, compression="zstd"))
    steps.say(f"{out} holds {len(vectors):,} vectors of dim {vectors.shape[1]} in space {space}.")
    return {"out": str(out), "items": len(vectors), "dim": vectors.shape[1], "space_id": space}


@contextmanager
def _placing(table: "ItemTable") -> Iterator[None]:
    """Adds to an error about a feature value its item id and its row."""
    from recsys.encoders.cells import WrongValueError

    try:
        yield
    except WrongValueError as error:
        raise error.at(f"{table.where.row(error.row + 1)} (item {table.ids[error.row]!r})") from None


@items.command()
@_BUNDLE
@_FILE
@_ID
@_TO
@stage
def add(bundle: Path, file: Path, own_name: str, to: Path | None, as_json: bool) -> Any:
    """Publish BUNDLE (a folder of bundles) with the new items of FILE; a running service swaps to it.

    FILE may be the whole table of items: those that the bundle knows stay as they are.
    """
    from recsys.answers.new_items import with_items
    from recsys.bundle.bundle import load
    from recsys.bundle.root import current
    from recsys.data.read.tables import read_items
    from recsys.errors import BundleError
    from recsys.pipelines.console import Steps

    steps, source = Steps(quiet=as_json), current(bundle)
    root = to or bundle
    if root == source:
        raise BundleError(
            f"{bundle} is one bundle, which is never changed; name a folder of bundles with --to."
        )
    table, loaded = read_items(file, own_name), load(source)
    with steps.step(f"encode the new ones of {len(table.ids):,} items") as progress, _placing(table):
        grown = with_items(loaded, table.ids, table.shown, table.described, progress)
    if not grown.added:
        steps.say(f"{file} has no item that bundle {loaded.bundle_id} does not know: nothing was published.")
        return {"bundle": str(source), "root": str(root), "added": 0, "kept": grown.kept}
    folder = _publish(root, source, to, grown.content)
    steps.say(
        f"{folder} has {grown.added:,} new items beside {len(loaded.item_ids):,} and is the current "
        f"one of {root}."
    )
    return {"bundle": str(folder), "root": str(root), "added": grown.added, "kept": grown.kept}


@items.command()
@_BUNDLE
@click.argument("ids", nargs=-1)
@click.option(
    "--file", type=click.Path(path_type=Path), help="Ids: one a line (.txt, .ids), or a table of items."
)
@_ID
@_TO
@stage
def hide(
    bundle: Path, ids: tuple[str, ...], file: Path | None, own_name: str, to: Path | None, as_json: bool
) -> Any:
    """Publish BUNDLE (a folder of bundles) with these items hidden: nobody is answered one, whatever asks."""
    return _show(bundle, ids, file, own_name, to, as_json, shown=False)


@items.command()
@_BUNDLE
@click.argument("ids", nargs=-1)
@click.option(
    "--file", type=click.Path(path_type=Path), help="Ids: one a line (.txt, .ids), or a table of items."
)
@click.option("--only", is_flag=True, help="Hide all others: the list is what there is.")
@_ID
@_TO
@stage
def show(
    bundle: Path,
    ids: tuple[str, ...],
    file: Path | None,
    only: bool,
    own_name: str,
    to: Path | None,
    as_json: bool,
) -> Any:
    """Publish BUNDLE (a folder of bundles) with these items shown again."""
    return _show(bundle, ids, file, own_name, to, as_json, shown=True, only=only)


def _show(
    bundle: Path,
    ids: tuple[str, ...],
    file: Path | None,
    own_name: str,
    to: Path | None,
    as_json: bool,
    *,
    shown: bool,
    only: bool = False,
) -> Any:
    from dataclasses import replace

    import numpy as np

    from recsys.bundle.bundle import load
    from recsys.bundle.root import current
    from recsys.errors import BundleError, SettingError
    from recsys.pipelines.console import Steps
    from recsys.pipelines.imports import read_ids

    source = current(bundle)
    root = to or bundle
    if root == source:
        raise BundleError(
            f"{bundle} is one bundle, which is never changed; name a folder of bundles with --to."
        )
    if file is not None and not file.is_file():
        raise SettingError(f"there is no file {file}; check the path.")
    named = [*ids, *([] if file is None else read_ids(file, "item", own_name))]
    if not named:
        raise SettingError("name ids of items, or a file of them: --file FILE.")
    loaded, steps = load(source), Steps(quiet=as_json)
    indices = loaded.item_ids.indices(named)
    unknown = [one for one, index in zip(named, indices, strict=True) if index < 0]
    if len(unknown) == len(named):
        raise SettingError(
            f"none of the {len(named):,} ids is in bundle {loaded.bundle_id}; the first is {named[0]!r}."
        )
    if unknown:
        steps.warn(
            f"{len(unknown):,} of {len(named):,} ids are not in the bundle; the first is {unknown[0]!r}."
        )
    catalogue = loaded.catalogue.showing(np.arange(len(loaded.item_ids)), False) if only else loaded.catalogue
    catalogue = catalogue.showing(indices[indices >= 0], shown)
    folder = _publish(root, source, to, replace(loaded.content(), catalogue=catalogue))
    assert catalogue.availability is not None
    assert catalogue.availability.shown is not None
    hidden = int((~catalogue.availability.shown).sum())
    steps.say(
        f"{folder} hides {hidden:,} of {len(loaded.item_ids):,} items and is the current one of {root}."
    )
    return {"bundle": str(folder), "root": str(root), "hidden": hidden, "unknown": len(unknown)}


def _publish(root: Path, source: Path, to: Path | None, content: "Content") -> Path:
    """Publishes content made of the bundle `source`; BundleError where another bundle became current
    meanwhile."""
    from recsys.bundle.root import current
    from recsys.bundle.write import publish
    from recsys.errors import BundleError

    if to is None and current(root) != source:
        raise BundleError(
            f"{root} points to another bundle since this began; run it again, to change that one."
        )
    return publish(root, content)
