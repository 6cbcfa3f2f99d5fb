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
from recsys.history import Histories
from recsys.retrieval.approximate import FILE, Approximate
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.retrieval.tuner import PEOPLE, Quality, measure_index, people_of, reaches


def publish(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, makes it the current one and returns its folder.

    Killed at any moment, it leaves the previous bundle current and whole; the next call sweeps the remains
    away. Two callers take turns. Raises BundleError where the disk refuses, or where the bundle does not load
    as it should.
    """
    with durable.publishing(root):
        folder = _write(root, content)
        set_pointer(root, folder.name)
    return folder


def write(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, complete and durable, and returns its folder; the pointer stays where it
    is."""
    with durable.publishing(root):
        return _write(root, content)


def _write(root: Path, content: Content) -> Path:
    """The folder of a new bundle under its own name: complete, durable, and loaded once to see that it
    answers."""
    created = datetime.now(UTC)
    stamp = created.strftime("%Y%m%dT%H%M%S%fZ")
    aside = root / (stamp + durable.PARTIAL)
    (aside / "encoder").mkdir(parents=True)
    (aside / "columns").mkdir()
    past, exact = _past_of(content), exact_recommender(content)
    for name, writer in _writers(content, past, exact).items():
        durable.write(aside / name, writer)
    quality: dict[str, Quality] = {}
    if not content.index.exact:
        (aside / "index").mkdir()
        index, quality = _measured_index(content, past, exact)
        durable.write(aside / "index" / FILE, index.save)
    content.embeddings.encoder.save(aside / "encoder")
    if content.embeddings.item_encoder is not None:
        (aside / "item_encoder").mkdir()
        content.embeddings.item_encoder.save(aside / "item_encoder")
    for path in [*(aside / "encoder").rglob("*.npy"), *(aside / "item_encoder").rglob("*.npy")]:
        if not np.isfinite(map_array(path)).all():
            raise ModelError(
                f"{path.stem} of the encoder holds NaN or infinity. Training diverged: raise the "
                "regularization."
            )
    files = {
        path.relative_to(aside).as_posix(): describe(path)
        for path in sorted(aside.rglob("*"))
        if path.is_file()
    }
    bundle_id = f"{stamp}-{sha256(json.dumps(files).encode()).hexdigest()[:8]}"
    manifest = json.dumps(manifest_of(content, bundle_id, created, files, quality), indent=1).encode() + b"\n"
    durable.write(aside / MANIFEST, lambda path: path.write_bytes(manifest))
    durable.write(aside / SEAL, lambda path: path.write_bytes(seal_of(manifest)))
    durable.sync_tree(aside)
    load(aside)
    durable.rename(aside, root / bundle_id)
    return root / bundle_id


def exact_recommender(content: Content) -> Recommender:
    """The recommender of a bundle with this content, without an index."""
    known: Any = {"event_names": content.event_names, "domains": content.catalogue.domains}
    known["availability"] = content.catalogue.availability
    return recommender_of(content.embeddings, content.fallback, content.seen, **known)


def _past_of(content: Content) -> Histories:
    past = content.histories
    alike = past.weight is not None and bool((past.weight == 1).all())
    return replace(past, weight=None) if alike else past  # as if there were none


def _measured_index(
    content: Content, past: Histories, exact: Recommender
) -> tuple[Approximate, dict[str, Quality]]:
    """The index that is asked for, and what it finds for people drawn from the histories. Raises ModelError
    where that is too little."""
    index = Approximate.build(content.embeddings.items, content.index)
    quality, _ = measure_index(exact, index, people_of(past, PEOPLE, 0, "measure"), content.index.k)
    for source, one in quality.items():
        if not reaches(content.index, one):
            raise ModelError(
                f"the index {content.index.factory} finds {one.recall:.4f} of the best {content.index.k} "
                f"items of people who are {source}, and {one.recall_p5:.2f} for the worst 5 %; "
                f"{content.index.target} and {content.index.target_p5} are asked for. Tune it for these "
                "vectors: recsys index tune."
            )
    return index, quality


def _writers(content: Content, past: Histories, exact: Recommender) -> dict[str, Callable[[Path], object]]:
    """What writes each file, manifest, encoder and index apart."""
    everyone = Users.of_rows(np.arange(past.items.rows), past)
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
    """Writes the current bundle of `root` anew in the format of this version, makes it current, and returns
    its folder.

    Its answers, its space and its lineage stay, and so does the old one. One of this format already is
    returned as it is. Raises BundleError where `root` is a bundle itself.
    """
    source = current(root)
    if source == root:
        raise BundleError(f"{root} is a bundle, and bundles never change; name the folder that it lies in.")
    if read_manifest(source)["format"] == FORMAT:
        return source
    content = load(source).content()
    return publish(root, replace(content, lineage={**content.lineage, "upgraded_from": source.name}))
