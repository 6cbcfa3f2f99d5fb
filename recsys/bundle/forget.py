"""People taken out of a bundle that was written: everything that is theirs alone, and nothing of anybody
else.

A bundle never changes but by this. It keeps its id, for it answers everybody else as before: the pointer, a
deployment, an experiment that runs, and every line of a log that names it stay true. Its manifest says so in
`forgotten`, with the seal of the first edition, by which runs know it.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recsys import durable
from recsys.arrays import I32, Array
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.manifest import MANIFEST, SEAL, describe, seal_of, verify
from recsys.errors import BundleError
from recsys.ids import IdMap

USERS, _GOLDEN, _ENCODER = "users.ids", "golden.json", "encoder"


def forget_rows(folder: Path, rows: I32) -> None:
    """Writes the bundle in a folder anew without these known users (m,), in the same place and under the same
    id.

    Their ids, histories and learned rows go, and the golden queries made of them. Killed at any moment, it
    leaves the one edition or the other, whole. Whoever has the old one open keeps it until they close it.
    Raises BundleError where the bundle is damaged, or its encoder, of an installed package, cannot forget.
    """
    durable.settle(folder)
    manifest, aside = verify(folder), folder.with_name(folder.name + durable.PARTIAL)
    bundle = load(folder, verified=True)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    written = _write_changed(aside, bundle, rows)
    for name in manifest["files"].keys() - written:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        durable.write(aside / name, partial(_link_file, folder / name))
    people = len(bundle.user_ids) - int((~bundle.user_ids.present).sum()) - len(rows)
    said = manifest.get("forgotten", {"people": 0, "first_seal": _seal(folder)})
    changed = {
        "counts": manifest["counts"]
        | {"users": people, "events": len(np.load(aside / "histories.items.npy"))},
        "files": {name: describe(aside / name) for name in manifest["files"]},
        "forgotten": {**said, "people": said["people"] + len(rows)},
    }
    text = json.dumps({**manifest, **changed}, indent=1).encode() + b"\n"
    durable.write(aside / MANIFEST, lambda path: path.write_bytes(text))
    durable.write(aside / SEAL, lambda path: path.write_bytes(seal_of(text)))
    durable.sync_tree(aside)
    load(aside)  # the golden queries of all others are answered as they were
    durable.exchange(aside, folder)


def first_seal(folder: Path, manifest: Mapping[str, Any]) -> str:
    """The digest by which a run knows the bundle in a folder: that of its manifest when it was first
    written."""
    return str(manifest.get("forgotten", {}).get("first_seal") or _seal(folder))


def _seal(folder: Path) -> str:
    return (folder / SEAL).read_text("ascii").split()[0]


def _write_changed(aside: Path, bundle: Bundle, rows: I32) -> set[str]:
    """Writes the files that hold anything of these users, and returns their names."""
    own = np.zeros(len(bundle.user_ids), bool)
    own[rows] = True
    past = bundle.histories.keep(~own[bundle.histories.items.row_of_value()])
    arrays: dict[str, Array] = {"offsets": past.items.offsets, "items": past.items.values, **past.columns()}
    for name, array in arrays.items():
        durable.write(aside / f"histories.{name}.npy", partial(np.save, arr=array, allow_pickle=False))
    durable.write(aside / USERS, bundle.user_ids.without(rows).save)
    golden = json.dumps(_golden(json.loads((bundle.path / _GOLDEN).read_bytes()), own)).encode()
    durable.write(aside / _GOLDEN, lambda path: path.write_bytes(golden))
    if bundle.encoder.knows_users:
        (aside / _ENCODER).mkdir()
        try:
            emptied = bundle.encoder.without_rows
        except AttributeError:
            raise BundleError(
                f"{bundle.path}: encoders of kind {bundle.encoder.encoder_kind!r} have no `without_rows` "
                f"and cannot forget a person. Learn anew without them, and delete this bundle."
            ) from None
        emptied(rows).save(aside / _ENCODER)
    return {path.relative_to(aside).as_posix() for path in aside.rglob("*") if path.is_file()}


def _golden(asked: Sequence[Mapping[str, Any]], own: Array) -> list[Mapping[str, Any]]:
    """The golden queries that are of nobody among `own` (n_users,), not even as a stranger with their
    history."""
    gone = [one["history"] for one in asked if one["index"] >= 0 and own[one["index"]]]
    return [one for one in asked if not (one["history"] in gone and (one["index"] < 0 or own[one["index"]]))]


def _link_file(source: Path, target: Path) -> None:
    """A file under a second name, or its copy where the disk has no such thing: files of bundles never
    change."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def rows_in(folder: Path, ids: Sequence[str]) -> I32:
    """int32 (m,): the rows of the people among these ids whom the bundle in a folder knows."""
    rows = IdMap.load(folder / USERS).indices(ids)
    return np.unique(rows[rows >= 0])
