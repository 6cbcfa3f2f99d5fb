"""Where the bundle of a run lies, and by which digest it is known: tags of the run, in place of a copy in the store."""

import socket
from collections.abc import Mapping
from pathlib import Path

from recsys.bundle.forget import first_seal
from recsys.bundle.manifest import read_manifest
from recsys.config import home
from recsys.errors import BundleError, TrackingError

BUNDLE = "bundle"  # the artefact of a run whose bundle is registered
ADDRESS, DIGEST, HOST = "bundle_address", "bundle_digest", "bundle_host"  # tags of a run


def address_of(bundle: Path) -> dict[str, str]:
    """The tags of a run with this bundle. What lies below the home is named from there, so that a home may be moved."""
    place, below = bundle.resolve(), home().resolve()
    said = place.relative_to(below) if place.is_relative_to(below) else place
    digest = first_seal(bundle, read_manifest(bundle))
    return {ADDRESS: said.as_posix(), DIGEST: digest, HOST: socket.gethostname()}


def placed(tags: Mapping[str, str]) -> Path | None:
    """The bundle of a run with these tags, where it lies on this machine and is still the one that the run wrote; None
    elsewhere, and of a run of an earlier version, which keeps a copy in the store."""
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
        f"run {run_id} had a bundle at {tags[ADDRESS]} on {tags.get(HOST, 'its machine')}, which is not to be had "
        f"here, and the store has no copy. {fix}; or register it where it lies, which makes one: recsys promote RUN"
    )
