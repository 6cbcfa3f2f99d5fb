"""What a bundle states about itself and its files, and the check that it is true."""

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from recsys import __version__
from recsys.bundle.content import Content
from recsys.errors import BundleError
from recsys.retrieval.approximate import IndexSettings
from recsys.retrieval.seen import SeenSettings
from recsys.retrieval.tuner import Quality

FORMAT, OLDEST_FORMAT = 2, 1  # what is written, and from which on it is read
REQUIREMENTS: frozenset[str] = frozenset()  # what a bundle may require of its reader beyond its format
MANIFEST, SEAL = "manifest.json", "manifest.sha256"
_READ = {
    "items.ids",
    "users.ids",
    "fallback.npy",
    "golden.json",
    "histories.offsets.npy",
    "histories.items.npy",
}
_KEYS: Mapping[str, type | tuple[type, ...]] = {  # what every manifest of either format says, and as what
    **dict.fromkeys(("bundle_id", "created", "kind", "metric", "name", "space_id"), str),
    **dict.fromkeys(("counts", "fallback", "files", "index", "lineage", "versions"), dict),
    "dim": int,
    "seen": (str, dict),
}


def manifest_of(
    content: Content,
    bundle_id: str,
    created: datetime,
    files: Mapping[str, Mapping[str, Any]],
    quality: Mapping[str, Quality],
) -> dict[str, Any]:
    """What the manifest of a bundle with this content says; keys of features that are not used are left out.

    quality: what its index was measured to find, where it is not exact.
    """
    encoder, (n_items, dim) = content.embeddings.encoder, content.embeddings.items.shape
    weights, used = dict(content.event_weights), dict[str, Any]()
    if content.histories.event is not None:
        used["event_names"] = list(content.event_names)
    if content.catalogue.domain_names:
        used["domains"] = list(content.catalogue.domain_names)
    if any(weight != 1 for weight in weights.values()):
        used["event_weights"] = weights
    if content.duplicates != "all":
        used["duplicates"] = content.duplicates
    return {
        "format": FORMAT,
        "requires": [],
        "bundle_id": bundle_id,
        "space_id": encoder.space_id,
        "created": created.isoformat(timespec="seconds"),
        "versions": {"recsys": __version__} | {name: version(name) for name in ("numpy", "faiss-cpu")},
        "name": content.name,
        "kind": encoder.encoder_kind,
        "dim": dim,
        "metric": "inner_product",
        "counts": {
            "items": n_items,
            "items_with_vector": int(content.embeddings.trained.sum()),
            "users": len(content.user_ids),
            "events": len(content.histories),
        },
        "index": _describe_index(content.index, quality),
        "seen": SeenSettings.of(content.seen).stated,
        "fallback": {"days": content.fallback_days},
        "files": files,
        "lineage": dict(content.lineage),
    } | used


def _describe_index(index: IndexSettings, quality: Mapping[str, Quality]) -> dict[str, Any]:
    """The manifest's words on an index: how it is made and asked, and what was measured through it."""
    if index.exact:
        return {"factory": index.factory, "recall": 1.0, "ndcg": 1.0}
    whole = quality["all"]
    measured = {source: one._asdict() for source, one in quality.items() if source != "all"}
    return index.model_dump(mode="json") | whole._asdict() | {"by_source": measured}


def index_settings(manifest: Mapping[str, Any]) -> IndexSettings:
    """The settings of the index that a manifest states."""
    stated = {name: value for name, value in manifest["index"].items() if name in IndexSettings.model_fields}
    return IndexSettings.build(stated, where="the manifest's index")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, checked against its seal and for a format that this version reads."""
    raw = _read(folder / MANIFEST)
    if _read(folder / SEAL) != seal_of(raw):
        raise BundleError(
            f"{folder / MANIFEST} does not match {SEAL}: one of them was changed. Export it again."
        )
    try:
        manifest: dict[str, Any] = dict(json.loads(raw))
    except (ValueError, TypeError):
        raise BundleError(
            f"{folder / MANIFEST} is not the manifest of a bundle. Export the bundle again."
        ) from None
    if manifest.get("format") not in range(OLDEST_FORMAT, FORMAT + 1):
        raise BundleError(
            f"{folder} has bundle format {manifest.get('format')}, this version reads {OLDEST_FORMAT} to "
            f"{FORMAT}. Export it again, or install the version that wrote it."
        )
    if lacking := sorted(set(manifest.get("requires", ())) - REQUIREMENTS):
        raise BundleError(
            f"{folder} requires {lacking[0]!r} of whoever reads it, which this version does not know. "
            "Install the version that wrote it."
        )
    if lacking := [key for key, kind in _KEYS.items() if not isinstance(manifest.get(key), kind)]:
        raise BundleError(
            f"{folder / MANIFEST} says nothing that fits of {lacking[0]!r}. Export the bundle again."
        )
    for name in (manifest["bundle_id"], *manifest["files"]):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(
                f"{folder / MANIFEST} names {name!r}, outside the bundle. Do not trust its sender."
            )
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """The manifest, after every file has been compared with its size and SHA-256 there.

    A bundle is refused that would be read beyond what it names, or whose files are links to elsewhere: nobody
    has verified the one, and the other may change. What else lies beside its files is nobody's business.
    """
    manifest, inside = read_manifest(folder), folder.resolve()
    within = {str(path.relative_to(folder)) for path in folder.glob("*/**/*") if not path.is_dir()}
    read = within | _READ | (set() if manifest["format"] == OLDEST_FORMAT else {"item_vectors.npy"})
    if unnamed := sorted(read - manifest["files"].keys()):
        raise BundleError(f"{folder / MANIFEST} does not name {unnamed[0]}. Export the bundle again.")
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.resolve().is_relative_to(inside):
            raise BundleError(f"{path} is a link that leads out of the bundle. Put the file itself there.")
        try:
            actual = describe(path)
        except OSError as error:
            raise _unreadable(path, error) from None
        if actual != expected:
            raise BundleError(
                f"{path} is damaged: its bytes do not match the manifest. Export the bundle again."
            )
    return manifest


def describe(path: Path) -> dict[str, Any]:
    """A file's entry in the manifest: its size and SHA-256."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def seal_of(manifest: bytes) -> bytes:
    """The line that `sha256sum --check` understands."""
    return f"{sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> BundleError:
    return BundleError(f"{path} cannot be read: {error.strerror}. Export the bundle again.")


def without_paths(value: Any) -> Any:
    """A lineage with the last names of what lay on the machine that trained, in place of its absolute
    paths."""
    if isinstance(value, Mapping):
        return {key: without_paths(one) for key, one in value.items()}
    if isinstance(value, list):
        return [without_paths(one) for one in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
