"""The bundle: the immutable folder in which offline and online meet, opened and verified.

`load` verifies every byte and replays the golden queries before anything is served. The format is described
in docs/bundle.md; `recsys.bundle.write` makes bundles, `recsys.bundle.root` holds several of them.
"""

import ctypes
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np

from recsys.arrays import F32, Bool, Ragged
from recsys.bundle import format_1
from recsys.bundle.catalogue import SHOWN, Catalogue, shown_of
from recsys.bundle.content import Content
from recsys.bundle.golden import check_golden
from recsys.bundle.manifest import index_settings, read_manifest, verify
from recsys.encoders.encoder import Encoder, ItemEncoder, load_encoder, load_item_encoder
from recsys.errors import BundleError, ModelError
from recsys.history import DAY_S, DTYPES, Histories
from recsys.ids import IdMap
from recsys.retrieval.approximate import Approximate
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.index import Flat, Index
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.retrieval.seen import SeenSettings, seen_policy
from recsys.retrieval.vector_ranker import VectorRanker
from recsys.texts import Texts


@dataclass(frozen=True, eq=False)
class Bundle:
    """A verified bundle, ready to answer. Its arrays are memory-mapped, shared by all processes that load
    it."""

    path: Path
    manifest: Mapping[str, Any]
    recommender: Recommender
    item_vectors: F32
    user_ids: IdMap
    item_ids: IdMap
    catalogue: Catalogue
    histories: Histories
    shown: Texts  # of each item, its id and title as the beginning of a JSON object

    @property
    def event_names(self) -> tuple[str, ...]:
        """The event types that the codes in the histories stand for; none where the data had none."""
        return tuple(self.manifest.get("event_names", ()))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains of the items in the order of their codes (`Users.domain`)."""
        return tuple(self.manifest.get("domains", self.catalogue.domains))

    @property
    def event_weights(self) -> Mapping[str, float]:
        """What an event of a type weighs that comes with a request; a type not named weighs 1."""
        weights: Mapping[str, float] = self.manifest.get("event_weights", {})
        return weights

    @property
    def weighted(self) -> bool:
        """Whether events count by weights here; else each counts 1, whatever its type."""
        return self.histories.weight is not None or bool(self.event_weights)

    @property
    def duplicates(self) -> str:
        """Which events of one user, item and type were learned from: all, first, last, or one with their
        sum."""
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
        folder = self.path / "item_encoder"
        return load_item_encoder(folder, self.item_vectors) if folder.is_dir() else None

    @cached_property
    def popular_now(self) -> Bool:
        """bool (n_items,): which items anybody had in the days that the fallback counts, before the last
        event."""
        days, recent = self.manifest["fallback"]["days"], np.zeros(len(self.item_vectors), bool)
        time = self.histories.time
        if days is not None and time is not None and len(time):
            since = time.max() - days * DAY_S
            recent[self.histories.items.values[(time >= since) & self.histories.learnable(len(recent))]] = (
                True
            )
        return recent

    @cached_property
    def norms(self) -> F32:
        """float32 (n_items,): the length of each item vector, 0 for items without one."""
        norms: F32 = np.linalg.norm(self.item_vectors, axis=1)
        return norms

    def name_of(self, item: int) -> str:
        """What people call an item: its title, or its id where it has none."""
        return self.catalogue.title(item) or self.item_ids[item]

    def seeing(self, stated: str | Mapping[str, Any]) -> "Bundle":
        """The same bundle under another seen policy. Raises SettingError where that names what the bundle has
        not."""
        items = self.catalogue.domains
        policy = seen_policy(stated, len(self.item_vectors), self.event_names, items)
        return replace(self, recommender=replace(self.recommender, seen=policy))

    def content(self) -> Content:
        """What it holds, to be written again with something else in it."""
        return Content(
            name=str(self.manifest["name"]),
            embeddings=Embeddings(self.item_vectors, self.encoder, self.item_encoder),
            user_ids=self.user_ids,
            item_ids=self.item_ids,
            catalogue=self.catalogue,
            histories=self.histories,
            event_names=self.event_names,
            event_weights=self.event_weights,
            duplicates=self.duplicates,
            fallback=self.recommender.fallback,
            fallback_days=self.manifest["fallback"]["days"],
            seen=SeenSettings.of(self.manifest["seen"]),
            lineage=self.manifest["lineage"],
            index=index_settings(self.manifest),
        )


def load(folder: Path, *, verified: bool = False) -> Bundle:
    """A verified bundle whose golden queries give the answers that they gave when it was written.

    verified: whether somebody has just compared every byte, so that it need not be done again.
    """
    manifest = read_manifest(folder) if verified else verify(folder)
    try:
        bundle, golden = _open_bundle(folder, manifest), json.loads((folder / "golden.json").read_bytes())
    except (OSError, ValueError, KeyError, ModelError) as error:
        raise BundleError(f"{folder} cannot be opened: {error}. Export the bundle again.") from error
    recall = None if index_settings(manifest).exact else float(manifest["index"]["recall"])
    check_golden(bundle.recommender, golden, folder, recall)
    _return_freed_memory()
    return bundle


def _return_freed_memory() -> None:
    """Gives the system what checking took, where the C library can: 5 MB for each process that serves."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def _open_bundle(folder: Path, manifest: Mapping[str, Any]) -> Bundle:
    old, domains = manifest["format"] == 1, manifest.get("domains", ())
    vectors = format_1.read_vectors(folder) if old else map_array(folder / "item_vectors.npy")
    encoder = load_encoder(folder / "encoder", vectors)
    if encoder.space_id != manifest["space_id"]:
        raise BundleError(
            f"{folder}: the encoder belongs to space {encoder.space_id}, the items to "
            f"{manifest['space_id']}. Two trainings do not mix; export the bundle again."
        )
    for name, value in {"kind": encoder.encoder_kind, "dim": encoder.dim}.items():
        if manifest[name] != value:
            raise BundleError(
                f"{folder}: the {name} of the encoder is {value}, and the manifest says {manifest[name]}. "
                f"Export the bundle again."
            )
    columns = folder / "columns"
    catalogue = format_1.read_catalogue(folder) if old else Catalogue.load(columns, len(vectors), domains)
    item_ids, fallback = IdMap.load(folder / "items.ids"), map_array(folder / "fallback.npy")
    known: Any = {"event_names": tuple(manifest.get("event_names", ())), "domains": catalogue.domains}
    known["availability"] = catalogue.availability
    index = _index(folder, manifest, vectors)
    recommender = recommender_of(Embeddings(vectors, encoder), fallback, manifest["seen"], index, **known)
    files = {name: f"histories.{name}.npy" for name in DTYPES}
    beside = {name: map_array(folder / file) for name, file in files.items() if file in manifest["files"]}
    items = Ragged(map_array(folder / "histories.offsets.npy"), map_array(folder / "histories.items.npy"))
    return Bundle(
        folder,
        manifest,
        recommender,
        vectors,
        IdMap.load(folder / "users.ids"),
        item_ids,
        catalogue,
        Histories(items, **beside),
        shown_of(item_ids, catalogue) if old else Texts.load(columns, SHOWN),
    )


def _index(folder: Path, manifest: Mapping[str, Any], vectors: F32) -> Index:
    settings = index_settings(manifest)
    return Flat(vectors) if settings.exact else Approximate.load(folder / "index", vectors, settings)


def map_array(path: Path) -> Any:
    """A memory-mapped array, as a plain one: numpy's class for mapped ones is slow to cut."""
    return np.asarray(np.load(path, mmap_mode="r"))
