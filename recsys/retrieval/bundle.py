"""The bundle: the immutable folder in which offline and online meet.

`publish` writes one into a root folder and moves the root's `current` pointer to it; `load` verifies every byte and
replays the golden queries before anything is served. The format is described in docs/bundle.md.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from typing import Any, cast

import numpy as np

from recsys.arrays import F32, I8, I32, I64, Array, Bool, Histories, Ragged
from recsys.errors import BundleError, ModelError
from recsys.ids import IdMap
from recsys.retrieval import durable
from recsys.retrieval.catalogue import Catalogue
from recsys.retrieval.content import Content as Content  # callers find it here, beside `publish`
from recsys.retrieval.encoders import Encoder, load_encoder
from recsys.retrieval.golden import check_golden, make_golden
from recsys.retrieval.index import read_index, vectors_of, write_index
from recsys.retrieval.manifest import MANIFEST, SEAL, describe, manifest_of, seal_of
from recsys.retrieval.manifest import read_manifest as read_manifest  # callers find it here, beside `verify`
from recsys.retrieval.manifest import verify as verify
from recsys.retrieval.ranker import Embeddings, ItemEncoder, TrainedRanker, VectorRanker, ranker_of
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.seen import SeenSettings, seen_policy
from recsys.retrieval.users import Users

POINTER = "current"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle, ready to answer. All but the index is memory-mapped, shared by all processes that load it."""

    path: Path
    manifest: Mapping[str, Any]
    recommender: Recommender
    item_vectors: F32
    user_ids: IdMap
    item_ids: IdMap
    catalogue: Catalogue
    histories: Ragged
    history_time: I64 | None
    history_event: I8 | None = None
    history_weight: F32 | None = None

    @property
    def past(self) -> Histories:
        """The histories with what stands beside them."""
        return Histories(self.histories, self.history_time, self.history_weight, self.history_event)

    @property
    def event_names(self) -> tuple[str, ...]:
        """The event types that the codes of `history_event` stand for; none where the data had none."""
        return tuple(self.manifest.get("event_names", ()))

    @property
    def event_weights(self) -> Mapping[str, float]:
        """What an event of a type weighs that comes with a request; a type not named weighs 1."""
        weights: Mapping[str, float] = self.manifest.get("event_weights", {})
        return weights

    @property
    def weighted(self) -> bool:
        """Whether events count by weights here; else each counts 1, whatever its type."""
        return self.history_weight is not None or bool(self.event_weights)

    @property
    def duplicates(self) -> str:
        """Which events of one user, item and type were learned from: all, first, last, or one with their sum."""
        return str(self.manifest.get("duplicates", "all"))

    @property
    def bundle_id(self) -> str:
        bundle_id: str = self.manifest["bundle_id"]
        return bundle_id

    @property
    def encoder(self) -> Encoder:
        """What gives users their vectors."""
        return cast(VectorRanker, self.recommender.ranker).encoder

    @cached_property
    def item_encoder(self) -> ItemEncoder | None:
        """What gives brand-new items their vectors; None where the model has no such part."""
        from recsys.retrieval.tower import ItemTower

        folder = self.path / "item_encoder"
        return ItemTower.load(folder) if folder.is_dir() else None

    @cached_property
    def popular_now(self) -> Bool:
        """bool (n_items,): which items anybody had in the days that the fallback counts, before the last event."""
        days, recent = self.manifest["fallback"]["days"], np.zeros(len(self.item_vectors), bool)
        if days is not None and self.history_time is not None and len(self.history_time):
            since = self.history_time.max() - days * 86_400
            recent[self.histories.values[np.flatnonzero(self.history_time >= since)]] = True
        return recent

    @cached_property
    def norms(self) -> F32:
        """float32 (n_items,): the length of each item vector, 0 for items without one."""
        norms: F32 = np.linalg.norm(self.item_vectors, axis=1)
        return norms


def recommender_of(
    learned: Embeddings | TrainedRanker,
    fallback: I32,
    seen: str | Mapping[str, Any] | SeenSettings,
    index: Any = None,
    *,
    event_names: tuple[str, ...] = (),
    domains: Mapping[str, I32] | None = None,
) -> Recommender:
    """The recommender of evaluation (no index) and of a loaded bundle (its FAISS index): the same rules around both.

    event_names, domains: the event types and the items by domain that a seen policy may name.
    """
    policy = seen_policy(seen, len(fallback), event_names, domains)
    return Recommender(ranker_of(learned, index), fallback, policy, learned.trained)


def publish(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, makes it the current one and returns its folder.

    Killed at any moment, it leaves the previous bundle current and whole; the next call sweeps the remains away. Two
    callers take turns. Raises BundleError where the disk refuses, or where the bundle does not load as it should.
    """
    with durable.publishing(root):
        folder = _write(root, content)
        _point(root, folder.name)
    return folder


def write(root: Path, content: Content) -> Path:
    """Writes a bundle below `root`, complete and durable, and returns its folder; the pointer stays where it is."""
    with durable.publishing(root):
        return _write(root, content)


def point_to(root: Path, bundle_id: str) -> None:
    """Makes a bundle of this root, after verifying it, the current one: the way forward and the way back."""
    if not _holds(root, bundle_id):
        raise BundleError(f"{root} holds no bundle {bundle_id!r}.")
    verify(root / bundle_id)
    with durable.publishing(root):
        _point(root, bundle_id)


def copy_into(root: Path, source: Path) -> Path:
    """Publishes a bundle that lies elsewhere (a run's artefact) below `root`, verified at both ends."""
    manifest = verify(source)
    folder = root / str(manifest["bundle_id"])
    with durable.publishing(root):
        if folder.exists():
            verify(folder)
        else:
            aside = folder.with_name(folder.name + durable.PARTIAL)
            for name in (*manifest["files"], MANIFEST, SEAL):
                (aside / name).parent.mkdir(parents=True, exist_ok=True)
                durable.write(aside / name, partial(copyfile, source / name))
            durable.sync_tree(aside)
            verify(aside)
            durable.rename(aside, folder)
        _point(root, folder.name)
    return folder


def _point(root: Path, bundle_id: str) -> None:
    durable.write_pointer(root / POINTER, bundle_id + "\n")


def _write(root: Path, content: Content) -> Path:
    """The folder of a new bundle under its own name: complete, durable, and loaded once to see that it answers."""
    created = datetime.now(UTC)
    stamp = created.strftime("%Y%m%dT%H%M%S%fZ")
    aside = root / (stamp + durable.PARTIAL)
    (aside / "encoder").mkdir(parents=True)
    for name, writer in _writers(content).items():
        durable.write(aside / name, writer)
    content.embeddings.encoder.save(aside / "encoder")
    if content.embeddings.item_encoder is not None:
        (aside / "item_encoder").mkdir()
        content.embeddings.item_encoder.save(aside / "item_encoder")
    for path in [*(aside / "encoder").rglob("*.npy"), *aside.glob("item_encoder/*.npy")]:
        if not np.isfinite(_mapped(path)).all():
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
    past = content.past
    known: Any = {"event_names": content.event_names, "domains": content.catalogue.domains}
    exact = recommender_of(content.embeddings, content.fallback, content.seen, **known)
    golden = json.dumps(make_golden(exact, Users.known(np.arange(past.items.rows), past))).encode()
    arrays: dict[str, Array] = {
        "histories.offsets.npy": past.items.offsets,
        "histories.items.npy": past.items.values,
        "fallback.npy": content.fallback,
    }
    beside = {"time": past.time, "event": past.event, "weight": past.weight}
    arrays |= {f"histories.{name}.npy": array for name, array in beside.items() if array is not None}
    writers: dict[str, Callable[[Path], object]] = {
        "items.ids": content.item_ids.save,
        "users.ids": content.user_ids.save,
        "items.arrow": content.catalogue.save,
        "index.faiss": partial(write_index, content.embeddings.items),
        "golden.json": lambda path: path.write_bytes(golden),
    }
    return writers | {name: partial(np.save, arr=array, allow_pickle=False) for name, array in arrays.items()}


def current(root: Path) -> Path:
    """The folder of a root's current bundle; a folder that is a bundle itself stands for itself."""
    if (root / MANIFEST).is_file():
        return root
    pointer = root / POINTER
    try:
        bundle_id = pointer.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise BundleError(
            f"{root} is neither a bundle nor a folder of bundles ({POINTER}: {error.strerror}). "
            "Make one with `recsys export`."
        ) from None
    if not _holds(root, bundle_id):
        raise BundleError(f"{pointer} names {bundle_id!r}, and {root} holds no such bundle. Export one again.")
    return root / bundle_id


def _holds(root: Path, bundle_id: str) -> bool:
    """Whether a name is that of a folder directly below the root, and not one that leads elsewhere."""
    return bundle_id not in ("", "..") and Path(bundle_id).name == bundle_id and (root / bundle_id).is_dir()


def load(folder: Path) -> Bundle:
    """A verified bundle whose golden queries give the answers that they gave when it was written."""
    manifest = verify(folder)
    try:
        bundle, golden = _opened(folder, manifest), json.loads((folder / "golden.json").read_bytes())
    except (OSError, ValueError, KeyError, ModelError) as error:
        raise BundleError(f"{folder} cannot be opened: {error}. Export the bundle again.") from error
    check_golden(bundle.recommender, golden, folder)
    return bundle


def _opened(folder: Path, manifest: Mapping[str, Any]) -> Bundle:
    index = read_index(folder / "index.faiss")
    vectors = vectors_of(index)
    encoder = load_encoder(folder / "encoder", vectors)
    if encoder.space_id != manifest["space_id"]:
        raise BundleError(
            f"{folder}: the encoder belongs to space {encoder.space_id}, the index to {manifest['space_id']}. "
            "Two trainings do not mix; export the bundle again."
        )
    catalogue, fallback = Catalogue.load(folder / "items.arrow"), _mapped(folder / "fallback.npy")
    known: Any = {"event_names": tuple(manifest.get("event_names", ())), "domains": catalogue.domains}
    recommender = recommender_of(Embeddings(vectors, encoder), fallback, manifest["seen"], index, **known)
    files = (f"histories.{name}.npy" for name in ("time", "event", "weight"))
    beside = [_mapped(folder / name) if name in manifest["files"] else None for name in files]
    return Bundle(
        folder,
        manifest,
        recommender,
        vectors,
        IdMap.load(folder / "users.ids"),
        IdMap.load(folder / "items.ids"),
        catalogue,
        Ragged(_mapped(folder / "histories.offsets.npy"), _mapped(folder / "histories.items.npy")),
        *beside,
    )


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")
