"""The few file operations that publishing needs, in the order that survives a crash.

A folder appears whole or not at all: it is written under a temporary name, every file and folder of it is
fsynced, it is renamed, and only then does the pointer change, by a rename of its own. A disk that refuses is
a BundleError.
"""

import ctypes
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EWOULDBLOCK
from pathlib import Path

from recsys.errors import BundleError

PARTIAL, BEFORE = ".partial", ".before"
_HERE, _EXCHANGE = -100, 2  # of renameat2(2): AT_FDCWD and RENAME_EXCHANGE


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Lets `writer` write one file."""
    with _naming(path):
        writer(path)


def fsync(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on the disk."""
    with _naming(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def rename(source: Path, target: Path) -> None:
    """Moves within a folder, atomically, and waits until the folder remembers it."""
    with _naming(target):
        os.replace(source, target)
    fsync(target.parent)


def exchange(new: Path, old: Path) -> None:
    """Puts a folder in the place of another one beside it, which is gone then; readers see one of both,
    whole.

    Linux does it in one step. Where the system or its disk cannot, the old one is renamed aside first: killed
    between the two steps, `settle` brings it back.
    """
    with _naming(old):
        if _exchange(new, old):
            fsync(old.parent)
        else:
            rename(old, old.with_name(old.name + BEFORE))
            rename(new, old)
    for gone in (new, old.with_name(old.name + BEFORE)):
        shutil.rmtree(gone, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Whether two names could be exchanged in one step."""
    call = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return call is not None and call(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0


def settle(folder: Path) -> None:
    """Ends what an `exchange` in this place that was killed had begun: the folder is whole, and there is
    one."""
    before = folder.with_name(folder.name + BEFORE)
    if before.is_dir():
        shutil.rmtree(before) if folder.is_dir() else rename(before, folder)


def sync_tree(folder: Path) -> None:
    """`fsync` of everything in a folder, files first, each folder after what it holds."""
    for parent, _, names in os.walk(folder, topdown=False):
        for name in sorted(names):
            fsync(Path(parent, name))
        fsync(Path(parent))


def write_whole(path: Path, writer: Callable[[Path], object]) -> None:
    """Lets `writer` write one file that appears whole, in the place of what stood there."""
    aside = path.with_name(path.name + PARTIAL)
    write(aside, writer)
    fsync(aside)
    rename(aside, path)


def write_pointer(pointer: Path, text: str) -> None:
    """Replaces a small text file, so that a reader sees the old text or the new one."""
    write_whole(pointer, lambda path: path.write_text(text, encoding="utf-8"))


@contextmanager
def hold_lock(path: Path, *, wait: bool = True, keep: bool = True) -> Iterator[None]:
    """Holds a lock file, which is made where there is none, and is let go at the end, or when the process
    dies.

    wait: until another process lets it go; else that other one is a BlockingIOError. keep: whether the file
    stays.
    """
    from filelock import FileLock, Timeout

    try:
        held = FileLock(path).acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BlockingIOError(EWOULDBLOCK, "another process holds the lock", str(path)) from None
    with held:
        try:
            yield
        finally:
            if not keep:  # while it is held: whoever waits for it sees that it is gone, and makes a new one
                path.unlink(missing_ok=True)


@contextmanager
def publishing(root: Path) -> Iterator[None]:
    """Holds the folder's lock, which dies with the process; sweeps away what is unfinished, before and
    after."""
    with _naming(root):
        _make(root)
        with hold_lock(root / ".lock"):
            _sweep(root)
            try:
                yield
            finally:
                _sweep(root)


def _make(folder: Path) -> None:
    """Creates a folder with its parents, each remembered by the one that holds it."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    if not missing and not folder.is_dir():
        raise BundleError(f"{folder} is a file, and must be a folder. Name another place.")
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        fsync(path.parent)


def _sweep(root: Path) -> None:
    """Removes partial files and folders. One that resists is no reason to fail: nobody reads it."""
    for left in root.glob(f"*{PARTIAL}"):
        shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns the refusal of the disk into a BundleError that names the path (the error's own, where it has
    one)."""
    try:
        yield
    except OSError as error:
        target = (
            error.filename2 or error.filename or path
        )  # the second name: a copy that fails names its source first
        reason = f"{target} cannot be written: {error.strerror or error}"
        raise BundleError(f"{reason}. Free space or mend access, then publish again.") from error
