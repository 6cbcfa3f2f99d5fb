"""A root folder of bundles, the pointer in it to the current one, and what else of it is served."""

from functools import partial
from pathlib import Path
from shutil import copyfile

from recsys import durable
from recsys.bundle.deployment import FILE, Deployment, read_deployment, write_deployment
from recsys.bundle.manifest import MANIFEST, SEAL, verify
from recsys.errors import BundleError
from recsys.text import did_you_mean

POINTER = "current"


def point_to(root: Path, bundle_id: str) -> None:
    """Makes a bundle of this root, after verifying it, the current one: the way forward and the way back."""
    verify(_find_bundle(root, bundle_id))
    with durable.publishing(root):
        set_pointer(root, bundle_id)


def deployment_of(path: Path) -> tuple[Path, Deployment]:
    """The root, and what is deployed in it; a bundle by itself is the champion of the folder around it.

    Raises BundleError where there is no current bundle, and where the file does not say what it should.
    """
    champion = current(path)
    alone = champion == path
    return champion.parent, Deployment(champion.name) if alone else read_deployment(path, champion.name)


class StaleError(BundleError):
    """The deployment has changed since the caller read it."""


def assign(root: Path, role: str, bundle_id: str | None, *, expected: str | None = None) -> Deployment:
    """Gives a bundle of this root, after verifying it, a role (champion, shadow, EXPERIMENT/ARM), or takes it
    away.

    expected: the etag that the deployment must have; StaleError where it has another.
    """
    if bundle_id is not None:
        verify(_find_bundle(root, bundle_id))
    with durable.publishing(root):
        if bundle_id is not None and role == "champion" and not (root / POINTER).exists():
            before = Deployment(bundle_id)
        else:
            _, before = deployment_of(root)
        if expected is not None and before.etag != expected:
            raise StaleError(
                f"{root}: the deployment has the etag {before.etag}, and {expected} was expected."
            )
        after = before.with_role(role, bundle_id)
        durable.write_pointer(root / POINTER, after.champion + "\n")
        write_deployment(root, after)
    return after


def roll_back(root: Path, *, expected: str | None = None) -> Deployment:
    """Makes the champion before this one the champion, and this one the way back from it. expected: as in
    `assign`."""
    _, now = deployment_of(root)
    if now.previous is None:
        raise BundleError(
            f"{root} knows no champion before {now.champion}. Name one: recsys bundles list {root}, and then "
            f"recsys bundles use ID {root}"
        )
    return assign(root, "champion", now.previous, expected=expected or now.etag)


def copy_into(root: Path, source: Path, *, pointing: bool = True) -> Path:
    """Publishes a bundle that lies elsewhere (a run's artefact) below `root`, verified at both ends.

    pointing: whether it becomes the current one.
    """
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
        if pointing:
            set_pointer(root, folder.name)
    return folder


def set_pointer(root: Path, bundle_id: str) -> None:
    """Makes a bundle the current one, and the champion of the deployment, where there is one; under the
    lock."""
    after = read_deployment(root, bundle_id) if (root / FILE).is_file() else None
    durable.write_pointer(root / POINTER, bundle_id + "\n")
    if after is not None:  # dying before it, readers see the same: the pointer rules
        write_deployment(root, after)


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
        raise BundleError(
            f"{pointer} names {bundle_id!r}, and {root} holds no such bundle. Export one again."
        )
    return root / bundle_id


def _find_bundle(root: Path, bundle_id: str) -> Path:
    """The folder of a bundle of this root; where there is none, a BundleError names the nearest."""
    if not _holds(root, bundle_id):
        held = [path.parent.name for path in sorted(root.glob(f"*/{MANIFEST}"))]
        raise BundleError(f"{root} holds no bundle {bundle_id!r}; {did_you_mean(bundle_id, held)}")
    return root / bundle_id


def _holds(root: Path, bundle_id: str) -> bool:
    """Whether a name is that of a folder directly below the root; one that leads elsewhere, by a link too, is
    not."""
    if bundle_id in ("", "..") or Path(bundle_id).name != bundle_id or "\0" in bundle_id:
        return False
    folder = root / bundle_id
    return folder.is_dir() and folder.resolve().parent == root.resolve()
