"""A root folder of bundles, and the pointer in it to the current one."""

from functools import partial
from pathlib import Path
from shutil import copyfile

from recsys import durable
from recsys.bundle.manifest import MANIFEST, SEAL, verify
from recsys.errors import BundleError
from recsys.text import did_you_mean

POINTER = "current"


def point_to(root: Path, bundle_id: str) -> None:
    """Makes a bundle of this root, after verifying it, the current one: the way forward and the way back."""
    if not _holds(root, bundle_id):
        held = [path.parent.name for path in sorted(root.glob(f"*/{MANIFEST}"))]
        raise BundleError(f"{root} holds no bundle {bundle_id!r}; {did_you_mean(bundle_id, held)}")
    verify(root / bundle_id)
    with durable.publishing(root):
        set_pointer(root, bundle_id)


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
        set_pointer(root, folder.name)
    return folder


def set_pointer(root: Path, bundle_id: str) -> None:
    durable.write_pointer(root / POINTER, bundle_id + "\n")


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
