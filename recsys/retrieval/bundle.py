"""The bundle: the immutable folder in which offline and online meet.

`publish` writes one into a root folder and moves the root's `current` pointer to it; `load` verifies every byte and
replays the golden queries before anything is served. The format is described in docs/bundle.md.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from recsys.arrays import F32, I32, I64, Ragged
from recsys.errors import BundleError
from recsys.ids import IdMap
from recsys.retrieval import durable
from recsys.retrieval.catalogue import Catalogue
from recsys.retrieval.encoders import load_encoder
from recsys.retrieval.golden import check_golden, make_golden
from recsys.retrieval.ranker import Embeddings, VectorRanker
from recsys.retrieval.recommender import Recommender

FORMAT = 1
POINTER = "current"
_MANIFEST, _SEAL = "manifest.json", "manifest.sha256"


@dataclass(frozen=True, eq=False)
class Content:
    """What goes into a bundle.

    histories: what each known user has seen, oldest first, with `history_time` beside it (unix seconds) or None.
    fallback: int32 (n_items,), best first. fallback_days: the window of its counts, None = all time. lineage: where it all
    comes from (run_id, data digest, time range, git, seed, threads, settings).
    """

    name: str
    embeddings: Embeddings
    user_ids: IdMap
    item_ids: IdMap
    catalogue: Catalogue
    histories: Ragged
    history_time: I64 | None
    fallback: I32
    fallback_days: float | None
    seen: str
    lineage: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle, ready to answer. Large arrays are memory-mapped."""

    path: Path
    manifest: Mapping[str, Any]
    recommender: Recommender
    item_vectors: F32
    user_ids: IdMap
    item_ids: IdMap
    catalogue: Catalogue
    histories: Ragged
    history_time: I64 | None

    @property
    def bundle_id(self) -> str:
        bundle_id: str = self.manifest["bundle_id"]
        return bundle_id

    @cached_property
    def norms(self) -> F32:
        """float32 (n_items,): the length of each item vector, 0 for items without one."""
        norms: F32 = np.linalg.norm(self.item_vectors, axis=1)
        return norms


def recommender_of(embeddings: Embeddings, fallback: I32, seen: str, index: Any = None) -> Recommender:
    """The recommender of evaluation (no index) and of a loaded bundle (its FAISS index): the same rules around both."""
    return Recommender(VectorRanker(embeddings, index), fallback, seen, embeddings.trained)


def publish(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, makes it the current one and returns its folder.

    Killed at any moment, it leaves the previous bundle current and whole; the next call sweeps the remains away.
    """
    folder = write(root, content)
    point_to(root, folder.name)
    return folder


def write(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, complete and durable, and returns its folder; the pointer stays where it is."""
    with durable.publishing(root):
        return _write(root, content)


def point_to(root: Path, bundle_id: str) -> None:
    """Makes a bundle of this root the current one: the way forward and the way back."""
    if not (root / bundle_id / _MANIFEST).is_file():
        raise BundleError(f"{root} holds no bundle {bundle_id!r}.")
    with durable.publishing(root):
        durable.write_pointer(root / POINTER, bundle_id + "\n")


def copy_into(root: Path, source: Path) -> Path:
    """Publishes a bundle that lies elsewhere (a run's artefact) below `root`, after verifying it, and returns its folder."""
    bundle_id = read_manifest(source)["bundle_id"]
    verify(source)
    with durable.publishing(root):
        if not (root / bundle_id).exists():
            partial = root / (bundle_id + durable.PARTIAL)
            for path in sorted(source.rglob("*")):
                target = partial / path.relative_to(source)
                if path.is_file():
                    target.parent.mkdir(parents=True, exist_ok=True)
                    durable.write(target, _copier(path))
            durable.sync_tree(partial)
            durable.rename(partial, root / bundle_id)
    point_to(root, bundle_id)
    return root / bundle_id


def _copier(source: Path) -> Callable[[Path], object]:
    from shutil import copyfile

    return lambda target: copyfile(source, target)


def _write(root: Path, content: Content) -> Path:
    """The folder of a new bundle, complete and durable, under its own name."""
    created = datetime.now(UTC)
    stamp = created.strftime("%Y%m%dT%H%M%S%fZ")
    partial = root / (stamp + durable.PARTIAL)
    (partial / "encoder").mkdir(parents=True)
    for name, writer in _writers(content).items():
        durable.write(partial / name, writer)
    content.embeddings.encoder.save(partial / "encoder")
    files = {str(path.relative_to(partial)): _described(path) for path in sorted(partial.rglob("*")) if path.is_file()}
    bundle_id = f"{stamp}-{sha256(json.dumps(files).encode()).hexdigest()[:8]}"
    manifest = json.dumps(_manifest(content, bundle_id, created, files), indent=1).encode() + b"\n"
    durable.write(partial / _MANIFEST, lambda path: path.write_bytes(manifest))
    durable.write(partial / _SEAL, lambda path: path.write_bytes(_seal(manifest)))
    durable.sync_tree(partial)
    durable.rename(partial, root / bundle_id)
    return root / bundle_id


def _writers(content: Content) -> dict[str, Callable[[Path], object]]:
    """What writes each file, manifest and encoder apart."""
    embeddings, histories = content.embeddings, content.histories
    index = faiss.IndexFlatIP(embeddings.items.shape[1])
    index.add(embeddings.items)
    exact = recommender_of(embeddings, content.fallback, content.seen)
    golden = json.dumps(make_golden(exact, histories)).encode()
    writers: dict[str, Callable[[Path], object]] = {
        "items.ids": content.item_ids.save,
        "users.ids": content.user_ids.save,
        "items.arrow": content.catalogue.save,
        "index.faiss": lambda path: faiss.write_index(index, str(path)),
        "histories.offsets.npy": lambda path: np.save(path, histories.offsets),
        "histories.items.npy": lambda path: np.save(path, histories.values),
        "fallback.npy": lambda path: np.save(path, content.fallback),
        "golden.json": lambda path: path.write_bytes(golden),
    }
    if content.history_time is not None:
        writers["histories.time.npy"] = lambda path: np.save(path, content.history_time)  # type: ignore[arg-type]
    return writers


def _manifest(content: Content, bundle_id: str, created: datetime, files: Mapping[str, Any]) -> dict[str, Any]:
    encoder, (n_items, dim) = content.embeddings.encoder, content.embeddings.items.shape
    return {
        "format": FORMAT,
        "bundle_id": bundle_id,
        "space_id": encoder.space_id,
        "created": created.isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("recsys", "numpy", "faiss-cpu", "pyarrow")},
        "name": content.name,
        "kind": encoder.kind,
        "dim": dim,
        "metric": "inner_product",
        "counts": {
            "items": n_items,
            "items_with_vector": int(content.embeddings.trained.sum()),
            "users": len(content.user_ids),
            "events": len(content.histories.values),
        },
        "index": {"factory": "Flat", "recall": 1.0},
        "seen": content.seen,
        "fallback": {"days": content.fallback_days},
        "files": files,
        "lineage": dict(content.lineage),
    }


def current(root: Path) -> Path:
    """The folder of a root's current bundle; a folder that is a bundle itself stands for itself."""
    if (root / _MANIFEST).is_file():
        return root
    try:
        return root / (root / POINTER).read_text(encoding="utf-8").strip()
    except OSError:
        raise BundleError(
            f"{root} is neither a bundle nor a folder of bundles. Make one with `recsys export`."
        ) from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, checked against its seal and for a format that this version reads."""
    try:
        raw, seal = (folder / _MANIFEST).read_bytes(), (folder / _SEAL).read_bytes()
    except OSError as error:
        raise BundleError(f"{error.filename} cannot be read: {error.strerror}. Export the bundle again.") from None
    if seal != _seal(raw):
        raise BundleError(f"{folder / _MANIFEST} does not match {_SEAL}: one of them was changed. Export it again.")
    manifest: dict[str, Any] = json.loads(raw)
    if manifest["format"] != FORMAT:
        raise BundleError(
            f"{folder} has bundle format {manifest['format']}, this version reads {FORMAT}. "
            "Export it again, or install the version that wrote it."
        )
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, after every file has been compared with its size and SHA-256 there."""
    manifest = read_manifest(folder)
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing. Export the bundle again.")
        if _described(path) != expected:
            raise BundleError(f"{path} is damaged: its bytes do not match the manifest. Export the bundle again.")
    return manifest


def load(folder: Path) -> Bundle:
    """A verified bundle whose golden queries give the answers that they gave when it was written."""
    manifest = verify(folder)
    index = faiss.read_index(str(folder / "index.faiss"), faiss.IO_FLAG_MMAP_IFC)
    vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
    encoder = load_encoder(folder / "encoder", vectors)
    if encoder.space_id != manifest["space_id"]:
        raise BundleError(
            f"{folder}: the encoder belongs to space {encoder.space_id}, the index to {manifest['space_id']}. "
            "Vectors of two trainings do not mix; export the bundle again."
        )
    time = folder / "histories.time.npy"
    bundle = Bundle(
        folder,
        manifest,
        recommender_of(Embeddings(vectors, encoder), np.load(folder / "fallback.npy"), manifest["seen"], index),
        vectors,
        IdMap.load(folder / "users.ids"),
        IdMap.load(folder / "items.ids"),
        Catalogue.load(folder / "items.arrow"),
        Ragged(_mapped(folder / "histories.offsets.npy"), _mapped(folder / "histories.items.npy")),
        _mapped(time) if time.is_file() else None,
    )
    check_golden(bundle.recommender, json.loads((folder / "golden.json").read_bytes()), folder)
    return bundle


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


def _described(path: Path) -> dict[str, Any]:
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _seal(manifest: bytes) -> bytes:
    """The line that `sha256sum --check` understands."""
    return f"{sha256(manifest).hexdigest()}  {_MANIFEST}\n".encode()
