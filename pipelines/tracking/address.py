"""Where the artefacts of a run lie, and its bundle: by address and digest, tags of the run, until it is
registered."""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.bundle.forget import first_seal
from recsys.bundle.manifest import read_manifest
from recsys.config import home
from recsys.errors import BundleError, ModelError, TrackingError
from recsys.pipelines.tracking import client
from recsys.pipelines.tracking.store import place_of_artifacts

BUNDLE, MODEL = "bundle", "model"
COPY = f"{MODEL}/{BUNDLE}"  # the artefact of a run whose bundle is registered
RECORD = "record"  # the folder of artefacts that programs read; pictures and the table stand outside
ADDRESS, DIGEST, HOST = "bundle_address", "bundle_digest", "bundle_host"  # tags of a run


def address_of(bundle: Path) -> dict[str, str]:
    """The tags of a run with this bundle. What lies below the home is named from there, so that a home may be
    moved."""
    place, below = bundle.resolve(), home().resolve()
    said = place.relative_to(below) if place.is_relative_to(below) else place
    digest = first_seal(bundle, read_manifest(bundle))
    return {ADDRESS: said.as_posix(), DIGEST: digest, HOST: socket.gethostname()}


def find_bundle(tags: Mapping[str, str]) -> Path | None:
    """The bundle of a run with these tags, where it lies on this machine and is still the one that the run
    wrote; None elsewhere, and of a run of an earlier version, which keeps a copy in the store."""
    if ADDRESS not in tags or DIGEST not in tags:
        return None
    place = home() / tags[ADDRESS]
    try:
        same = first_seal(place, read_manifest(place)) == tags[DIGEST]
    except (BundleError, OSError):
        return None
    return place if same else None


def missing(run_id: str, name: str, tags: Mapping[str, str], place: str) -> TrackingError:
    """What to say where a run has no artefact of this name. place: of its artefacts."""
    if "bundle_id" not in tags:
        return TrackingError(f"run {run_id} has no {name}: it is a trial, or did not finish. Train it again.")
    fix = "Bring it back there, or log its bundle again: recsys track BUNDLE"
    if name != BUNDLE or ADDRESS not in tags:
        return TrackingError(f"run {run_id} had a {name}, and {place} no longer holds it. {fix}")
    return TrackingError(
        f"run {run_id} had a bundle at {tags[ADDRESS]} on {tags.get(HOST, 'its machine')}, which is not to "
        f"be had here, and the store has no copy. {fix}; or register it where it lies, which makes one: "
        "recsys promote RUN"
    )


def bundle_of(run_id: str) -> Path:
    """A local folder with the bundle of a run: where it was written, else the copy of its registered
    version."""
    with client.connection() as connected:
        run = client.known_run(connected, run_id)
        if (here := find_bundle(run.data.tags)) is not None:
            return here
        return Path(client.artifacts_of(run).download_artifacts(refuse_missing(run, BUNDLE)))


def artifact_of(run_id: str, name: str) -> Path:
    """A local copy, or the place itself, of a file or folder that a run logged."""
    with client.connection() as connected:
        run = client.known_run(connected, run_id)
        return Path(client.artifacts_of(run).download_artifacts(refuse_missing(run, name)))


def path_of(run: Any, name: str) -> str | None:
    """Where a file or folder lies among the artefacts of a run; None where it has none."""
    artifacts = client.artifacts_of(run)
    for path in (COPY if name == BUNDLE else f"{RECORD}/{name}", name):  # the latter: of an earlier version
        if any(one.path == path for one in artifacts.list_artifacts(path.rpartition("/")[0] or None)):
            return path
    return None


def refuse_missing(run: Any, name: str) -> str:
    """`path_of`. Raises ModelError where a run never had a bundle, TrackingError where there is no such
    artefact."""
    if name == BUNDLE and (reason := run.data.tags.get(client.WITHOUT_BUNDLE)):
        raise ModelError(reason)
    if (path := path_of(run, name)) is None:
        raise missing(run.info.run_id, name, run.data.tags, place_of_artifacts(run.info.artifact_uri))
    return path
