"""The process in which publications are interrupted, for test_crash_safety.py.

It imports once, on single threads, and forks a victim for each point. A point is an event before, during or
after one
of the operations that publishing is made of: a file written (`durable.write`), an `os.fsync`, an
`os.replace`. There `os.fsync` only pretends, which no killed process can notice; that each one comes in the
right order is a test of its own.
"""

import errno
import json
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from recsys import durable
from recsys.bundle import bundle
from recsys.bundle.content import Content
from recsys.bundle.manifest import verify
from recsys.bundle.root import copy_into, current, point_to
from recsys.bundle.write import publish, write
from recsys.errors import BundleError
from tests.helpers.bundles import content

DIED = 77
POINTER = ("replace", "current")
TASKS, WAYS = ("publish", "copy_into", "point_to"), ("die", "refuse")


@contextmanager
def hook_writes(root: Path, event: Callable[[str, str, str], None]) -> Iterator[None]:
    """Calls `event(kind, path, moment)` around each write, fsync and replace below `root`."""
    write, fsync, replace = durable.write, os.fsync, os.replace

    def name_of(path: Path | str) -> str:
        parts = Path(path).relative_to(root).parts
        return "/".join(
            "FOLDER" if part[:1].isdigit() else part.removesuffix(durable.PARTIAL) for part in parts
        )

    def hooked_write(path, writer):
        def writes(path):
            event("write", name_of(path), "before")
            writer(path)
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            event("write", name_of(path), "during")
            path.write_bytes(whole)
            event("write", name_of(path), "after")

        write(path, writes)

    def hooked_fsync(descriptor):
        path = name_of(os.readlink(f"/proc/self/fd/{descriptor}"))
        event("fsync", path, "before")
        fsync(descriptor)
        event("fsync", path, "after")

    def hooked_replace(source, target):
        event("replace", name_of(target), "before")
        replace(source, target)
        event("replace", name_of(target), "after")

    durable.write, os.fsync, os.replace = hooked_write, hooked_fsync, hooked_replace
    try:
        yield
    finally:
        durable.write, os.fsync, os.replace = write, fsync, replace


def run_in_child(work: Callable[[], None]) -> int:
    """The exit status of a child that does the work: 0 done, 1 an exception."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def small(seed: int) -> Content:
    return content(n_users=3, n_items=12, events=3, dim=64, seed=seed)


def fresh(folder: Path, name: str) -> tuple[Path, Path, Callable[[], object]]:
    """A root with a current bundle, that bundle, and the task to interrupt: it makes another one current."""
    model = folder / "model"
    if not model.exists():
        publish(model, small(1))
        write(folder / "made", small(2)).rename(folder / "elsewhere")
    root = Path(shutil.copytree(model, folder / "root"))
    first = current(root)
    if name == "publish":
        return root, first, partial(publish, root, small(2))
    if name == "copy_into":
        return root, first, partial(copy_into, root, folder / "elsewhere")
    return root, first, partial(point_to, root, write(root, small(2)).name)


def interrupt(folder: Path, name: str, how: str) -> None:
    """Interrupts the task at its first event, at its second, and so on until it survives; a JSON line for
    each."""
    number = 0
    while True:
        root, first, task = fresh(folder, name)
        passed: list[tuple[str, str, str]] = []
        listed = folder / "event"

        def event(*point: str, number: int = number, passed: list = passed, listed: Path = listed) -> None:
            passed.append(point)
            if len(passed) == number + 1:
                with listed.open("w") as file:
                    json.dump(passed, file)
                if how == "die":
                    os._exit(DIED)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        error = ""
        if how == "die":

            def victim(root: Path = root, event: Callable = event, task: Callable = task) -> None:
                with hook_writes(root, event):
                    task()

            status = run_in_child(victim)
        else:
            status = 0
            try:
                with hook_writes(root, event):
                    task()
            except BundleError as raised:
                status, error = DIED, str(raised)
        if status != DIED:
            assert status == 0, status
            return
        *before, point = json.loads(listed.read_text())
        print(
            json.dumps({"point": point, "before": before, "error": error, **aftermath(root, first)}),
            flush=True,
        )
        shutil.rmtree(root)
        number += 1


def aftermath(root: Path, first: Path) -> dict[str, object]:
    """What a stranger finds after the interruption, and what the next publication makes of it."""
    left = sorted(path.name for path in root.iterdir() if path.name.endswith(durable.PARTIAL))
    loaded = bundle.load(current(root))
    verify(first)
    following = publish(root, small(3))
    return {
        "left": len(left),
        "previous": loaded.path == first,
        "seed": loaded.manifest["lineage"]["seed"],
        "next": current(root) == following,
        "swept": not any(path.name.endswith(durable.PARTIAL) for path in root.iterdir()),
    }


def starve(folder: Path, limit: int) -> None:
    """Publishes where no file may grow beyond `limit` bytes: a real refusal by the kernel, in the middle of a
    file."""
    root, first, task = fresh(folder, "publish")

    def victim() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            task()
        except BundleError as error:
            sys.stdout.write(json.dumps({"limit": limit, "error": str(error)}) + "\n")
            sys.stdout.flush()
            os._exit(DIED)

    status = run_in_child(victim)
    facts = aftermath(root, first) if status == DIED else {}
    print(json.dumps({"limit": limit, "status": status, **facts}), flush=True)
    shutil.rmtree(root)


if __name__ == "__main__":
    os.fsync = lambda descriptor: None
    verb, folder, *rest = sys.argv[1:]
    if verb == "interrupt":
        interrupt(Path(folder), *rest)
    else:
        for limit in rest:
            starve(Path(folder), int(limit))
