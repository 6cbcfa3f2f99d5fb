"""Writes bundles: complete and durable in a folder of their own, or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from recsys import durable
from recsys.arrays import Array
from recsys.bundle.bundle import load, map_array
from recsys.bundle.catalogue import SHOWN, shown_of
from recsys.bundle.content import Content
from recsys.bundle.golden import make_golden
from recsys.bundle.manifest import FORMAT, MANIFEST, SEAL, describe, manifest_of, read_manifest, seal_of
from recsys.bundle.root import current, set_pointer
from recsys.encoders.users import Users
from recsys.errors import BundleError, ModelError
from recsys.retrieval.recommender import recommender_of


def publish(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, makes it the current one and returns its folder.

    Killed at any moment, it leaves the previous bundle current and whole; the next call sweeps the remains away. Two
    callers take turns. Raises BundleError where the disk refuses, or where the bundle does not load as it should.
    """
    with durable.publishing(root):
        folder = _write(root, content)
        set_pointer(root, folder.name)
    return folder


def write(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, complete and durable, and returns its folder; the pointer stays where it is."""
    with durable.publishing(root):
        return _write(root, content)


def _write(root: Path, content: Content) -> Path:
    """The folder of a new bundle under its own name: complete, durable, and loaded once to see that it answers."""
    created = datetime.now(UTC)
    stamp = created.strftime("%Y%m%dT%H%M%S%fZ")
    aside = root / (stamp + durable.PARTIAL)
    (aside / "encoder").mkdir(parents=True)
    (aside / "columns").mkdir()
    for name, writer in _writers(content).items():
        durable.write(aside / name, writer)
    content.embeddings.encoder.save(aside / "encoder")
    if content.embeddings.item_encoder is not None:
        (aside / "item_encoder").mkdir()
        content.embeddings.item_encoder.save(aside / "item_encoder")
    for path in [*(aside / "encoder").rglob("*.npy"), *(aside / "item_encoder").rglob("*.npy")]:
        if not np.isfinite(map_array(path)).all():
            raise ModelError(
                f"{path.stem} of the encoder holds NaN or infinity. Training diverged: raise the regularization."
            )
    files = {path.relative_to(aside).as_posix(): describe(path) for path in sorted(aside.rglob("*")) if path.is_file()}
    bundle_id = f"{stamp}-{sha256(json.dumps(files).encode()).hexdigest()[:8]}"
    manifest = json.dumps(manifest_of(content, bundle_id, created, files), indent=1).encode() + b"\n"
    durable.write(aside / MANIFEST, lambda path: path.write_bytes(manifest))
    durable.write(aside / SEAL, lambda path: path.write_bytes(seal_of(manifest)))
    durable.sync_tree(aside)
    load(aside)
    durable.rename(aside, root / bundle_id)
    return root / bundle_id


def _writers(content: Content) -> dict[str, Callable[[Path], object]]:
    """What writes each file, manifest and encoder apart."""
    past = content.histories
    if past.weight is not None and (past.weight == 1).all():
        past = replace(past, weight=None)  # as if there were none
    known: Any = {"event_names": content.event_names, "domains": content.catalogue.domains}
    known["availability"] = content.catalogue.availability
    exact = recommender_of(content.embeddings, content.fallback, content.seen, **known)
    everyone = Users.known(np.arange(past.items.rows), past)
    golden = json.dumps(make_golden(exact, everyone, content.embeddings.encoder.needs)).encode()
    arrays: dict[str, Array] = {
        "item_vectors.npy": np.ascontiguousarray(content.embeddings.items),
        "histories.offsets.npy": past.items.offsets,
        "histories.items.npy": past.items.values,
        "fallback.npy": content.fallback,
    }
    arrays |= {f"histories.{name}.npy": array for name, array in past.columns().items()}
    arrays |= {f"columns/{name}.npy": array for name, array in content.catalogue.arrays().items()}
    shown = shown_of(content.item_ids, content.catalogue).arrays(SHOWN)
    arrays |= {f"columns/{name}.npy": array for name, array in shown.items()}
    writers: dict[str, Callable[[Path], object]] = {
        "items.ids": content.item_ids.save,
        "users.ids": content.user_ids.save,
    }
    writers |= {name: partial(np.save, arr=array, allow_pickle=False) for name, array in arrays.items()}
    return writers | {"golden.json": lambda path: path.write_bytes(golden)}


def upgrade(root: Path) -> Path:
    """Writes the current bundle of `root` anew in the format of this version, makes it current, and returns its folder.

    Its answers, its space and its lineage stay, and so does the old one. One of this format already is returned as it
    is. Raises BundleError where `root` is a bundle itself.
    """
    source = current(root)
    if source == root:
        raise BundleError(f"{root} is a bundle, and bundles never change; name the folder that it lies in.")
    if read_manifest(source)["format"] == FORMAT:
        return source
    content = load(source).content()
    return publish(root, replace(content, lineage={**content.lineage, "upgraded_from": source.name}))
