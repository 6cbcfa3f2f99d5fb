"""The bundles that pile up in a root: listed, and the old ones deleted where the operator asks for it."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from recsys import durable
from recsys.bundle.deployment import read_deployment
from recsys.bundle.root import POINTER
from recsys.errors import BundleError
from recsys.text import command_line

_NAME = re.compile(r"^(\d{8}T\d{12})Z-[0-9a-f]{8}$")  # when it was made, and the beginning of its digest


@dataclass(frozen=True)
class Held:
    """A bundle of a root. created: unix seconds, from its name. size: bytes of its files."""

    bundle_id: str
    created: float
    size: int
    current: bool


def list_bundles(root: Path) -> list[Held]:
    """The bundles of a root, the newest first. Raises BundleError where there is no such folder."""
    try:
        folders = [path for path in root.iterdir() if _NAME.match(path.name) and path.is_dir()]
    except OSError as error:
        fix = "Name a folder of bundles, or publish one: recsys export last"
        raise BundleError(f"{root} cannot be listed: {error.strerror}. {fix}") from None
    current = _current(root)
    bundles = [Held(path.name, _created_s(path.name), _size(path), path.name == current) for path in folders]
    return sorted(bundles, key=lambda one: one.bundle_id, reverse=True)


def prune(root: Path, keep: int, *, dry_run: bool = False) -> list[Held]:
    """Deletes all but the `keep` newest bundles of a root, and returns those that it deleted, the newest
    first.

    The current bundle stays, so does the one made before it (the way back), so do all that the deployment
    names, and all that experiments serve which run or will, however old they are. Each is renamed aside
    before it is deleted: killed at any moment, prune leaves only whole bundles under their names, and the
    next publication, export or prune sweeps the rest away. Whoever has a deleted bundle open keeps it until
    they close it. dry_run: deletes nothing. Raises BundleError where no bundle is current, for then nobody
    knows which is served.
    """
    if keep < 1:
        raise BundleError(f"keep must be at least 1, got {keep}.")
    bundles = list_bundles(root)  # before a folder that is not there is made for its lock
    if dry_run:
        return _spare(root, bundles, keep)
    with durable.publishing(root):  # nobody moves the pointer meanwhile
        spare = _spare(root, list_bundles(root), keep)
        for one in spare:
            aside = root / (one.bundle_id + durable.PARTIAL)
            durable.rename(root / one.bundle_id, aside)
            shutil.rmtree(aside, ignore_errors=True)  # what resists is swept away by whoever publishes next
    return spare


def _spare(root: Path, bundles: Sequence[Held], keep: int) -> list[Held]:
    at = next((place for place, one in enumerate(bundles) if one.current), None)
    if at is None:
        if not bundles:
            return []
        raise BundleError(
            f"{root} has {len(bundles)} bundles and none of them is current, so that none can be called "
            f"old. Make one current: {command_line('recsys export', root / bundles[0].bundle_id, to=root)}"
        )
    previous = at + 1 if at + 1 < len(bundles) else at - 1
    named = read_deployment(root, bundles[at].bundle_id).named
    spared = {bundles[at].bundle_id, bundles[previous].bundle_id} | named
    return [one for place, one in enumerate(bundles) if place >= keep and one.bundle_id not in spared]


def _current(root: Path) -> str | None:
    try:
        return (root / POINTER).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _created_s(bundle_id: str) -> float:
    match = _NAME.match(bundle_id)
    assert match is not None
    return datetime.strptime(match[1], "%Y%m%dT%H%M%S%f").replace(tzinfo=UTC).timestamp()


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
