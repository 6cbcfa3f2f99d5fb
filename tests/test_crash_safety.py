"""An export that is interrupted, at any moment and in any way, leaves the previous bundle current and whole.

Run as a program, this file is the process in which the interruptions happen: it imports once, on single threads, and
forks a victim for each point. A point is an event before, during or after one of the operations that publishing is made
of: a file written (`durable.write`), an `os.fsync`, an `os.replace`. There `os.fsync` only pretends, which no killed
process can notice; that each one comes in the right order is a test of its own.
"""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory

import pytest
from bundle_maker import content

from recsys.errors import BundleError
from recsys.retrieval import bundle, durable

DIED = 77
POINTER = ("replace", "current")
TASKS, WAYS = ("publish", "copy_into", "point_to"), ("die", "refuse")


@contextmanager
def hooked(root: Path, event: Callable[[str, str, str], None]) -> Iterator[None]:
    """Calls `event(kind, path, moment)` around each write, fsync and replace below `root`."""
    write, fsync, replace = durable.write, os.fsync, os.replace

    def named(path: Path | str) -> str:
        parts = Path(path).relative_to(root).parts
        return "/".join("FOLDER" if part[:1].isdigit() else part.removesuffix(durable.PARTIAL) for part in parts)

    def hooked_write(path, writer):
        def writes(path):
            event("write", named(path), "before")
            writer(path)
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            event("write", named(path), "during")
            path.write_bytes(whole)
            event("write", named(path), "after")

        write(path, writes)

    def hooked_fsync(descriptor):
        path = named(os.readlink(f"/proc/self/fd/{descriptor}"))
        event("fsync", path, "before")
        fsync(descriptor)
        event("fsync", path, "after")

    def hooked_replace(source, target):
        event("replace", named(target), "before")
        replace(source, target)
        event("replace", named(target), "after")

    durable.write, os.fsync, os.replace = hooked_write, hooked_fsync, hooked_replace
    try:
        yield
    finally:
        durable.write, os.fsync, os.replace = write, fsync, replace


# The process in which it happens


def forked(work: Callable[[], None]) -> int:
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


def small(seed: int) -> bundle.Content:
    return content(n_users=3, n_items=12, events=3, dim=64, seed=seed)


def fresh(folder: Path, name: str) -> tuple[Path, Path, Callable[[], object]]:
    """A root with a current bundle, that bundle, and the task to interrupt: it makes another one current."""
    model = folder / "model"
    if not model.exists():
        bundle.publish(model, small(1))
        bundle.write(folder / "made", small(2)).rename(folder / "elsewhere")
    root = Path(shutil.copytree(model, folder / "root"))
    first = bundle.current(root)
    if name == "publish":
        return root, first, partial(bundle.publish, root, small(2))
    if name == "copy_into":
        return root, first, partial(bundle.copy_into, root, folder / "elsewhere")
    return root, first, partial(bundle.point_to, root, bundle.write(root, small(2)).name)


def interrupt(folder: Path, name: str, how: str) -> None:
    """Interrupts the task at its first event, at its second, and so on until it survives; a JSON line for each."""
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
                with hooked(root, event):
                    task()

            status = forked(victim)
        else:
            status = 0
            try:
                with hooked(root, event):
                    task()
            except BundleError as raised:
                status, error = DIED, str(raised)
        if status != DIED:
            assert status == 0, status
            return
        *before, point = json.loads(listed.read_text())
        print(json.dumps({"point": point, "before": before, "error": error, **aftermath(root, first)}), flush=True)
        shutil.rmtree(root)
        number += 1


def aftermath(root: Path, first: Path) -> dict[str, object]:
    """What a stranger finds after the interruption, and what the next publication makes of it."""
    left = sorted(path.name for path in root.iterdir() if path.name.endswith(durable.PARTIAL))
    loaded = bundle.load(bundle.current(root))
    bundle.verify(first)
    following = bundle.publish(root, small(3))
    return {
        "left": len(left),
        "previous": loaded.path == first,
        "seed": loaded.manifest["lineage"]["seed"],
        "next": bundle.current(root) == following,
        "swept": not any(path.name.endswith(durable.PARTIAL) for path in root.iterdir()),
    }


def starve(folder: Path, limit: int) -> None:
    """Publishes where no file may grow beyond `limit` bytes: a real refusal by the kernel, in the middle of a file."""
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

    status = forked(victim)
    found = aftermath(root, first) if status == DIED else {}
    print(json.dumps({"limit": limit, "status": status, **found}), flush=True)
    shutil.rmtree(root)


# The tests


def started(*arguments: object) -> "subprocess.Popen[str]":
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | single, stdout=PIPE, stderr=PIPE, text=True)


def rows_of(process: "subprocess.Popen[str]") -> list[dict]:
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture(scope="module")
def interrupted():
    """(task, how) -> a row for each point: six processes side by side, in memory where that is at hand."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        ways = [(task, how) for task in TASKS for how in WAYS]
        for task, how in ways:
            Path(folder, task, how).mkdir(parents=True)
        processes = [started("interrupt", Path(folder, *way), *way) for way in ways]
        yield dict(zip(ways, map(rows_of, processes), strict=True))


@pytest.fixture(params=[(task, how) for task in TASKS for how in WAYS], ids=" ".join)
def interruptions(request, interrupted):
    return *request.param, interrupted[request.param]


def test_each_write_fsync_and_replace_is_a_point(interruptions):
    task, _, rows = interruptions
    points = {tuple(row["point"]) for row in rows}
    files = {"current"}
    if task != "point_to":
        made = {"items.arrow", "items.ids", "users.ids", "index.faiss", "fallback.npy", "golden.json"}
        made |= {"manifest.json", "manifest.sha256", "histories.offsets.npy", "histories.items.npy"}
        made |= {"histories.time.npy", "encoder/encoder.json", "encoder/gram.npy", "encoder/table.npy"}
        files |= {f"FOLDER/{name}" for name in made}
    folders = {"."} if task == "point_to" else {".", "FOLDER", "FOLDER/encoder"}
    expected = {("write", name, moment) for name in files for moment in ("before", "during", "after")}
    expected |= {("fsync", name, moment) for name in files | (folders - {"."}) for moment in ("before", "after")}
    expected |= {("fsync", "", moment) for moment in ("before", "after")}
    expected |= {
        ("replace", name, moment)
        for name in {"current", *folders} & {"current", "FOLDER"}
        for moment in ("before", "after")
    }
    assert points == expected


def test_the_previous_bundle_loads_or_the_new_one_is_whole(interruptions):
    _, _, rows = interruptions
    for row in rows:
        pointed = [*POINTER, "after"] in [*row["before"], row["point"]]
        assert row["previous"] is not pointed, row
        assert row["seed"] == (2 if pointed else 1), row


def test_the_next_publication_succeeds_and_sweeps(interruptions):
    _, how, rows = interruptions
    assert all(row["next"] and row["swept"] for row in rows)
    left = [row["left"] for row in rows]
    assert any(left) if how == "die" else not any(left)  # who can still act leaves nothing behind


def test_a_refusal_names_the_path_and_the_reason(interruptions):
    _, how, rows = interruptions
    for row in rows if how == "refuse" else ():
        assert row["point"][1].split("/")[-1].replace("FOLDER", "") in row["error"], row
        assert "No space left on device" in row["error"]
        assert "publish again" in row["error"]


def test_everything_is_on_the_disk_before_a_name_appears(interruptions):
    """Power cuts, which no kill can stage, need this order: each file and folder is fsynced before it gets its name."""
    task, _, rows = interruptions
    events = [tuple(point) for point in [*rows[-1]["before"], rows[-1]["point"]]]
    at = {event: number for number, event in enumerate(events)}
    for (kind, name, moment), number in at.items():
        if (kind, moment) == ("write", "after"):
            goal = ("replace", "current" if name == "current" else "FOLDER", "before")
            assert number < at["fsync", name, "before"] < at[goal]
    if task != "point_to":
        last = max(number for event, number in at.items() if event[:2] == ("fsync", "FOLDER/encoder"))
        assert last < at["fsync", "FOLDER", "before"] < at["replace", "FOLDER", "before"]
        named = events.index(("fsync", "", "after"))  # the folder's name is on the disk before the pointer names it
        assert at["replace", "FOLDER", "after"] < named < at["write", "current", "before"]
    assert events[-1] == ("fsync", "", "after")


def test_a_full_disk_is_one_clear_error(tmp_path):
    limits = [0, 40, 100, 127, 128, 130, 150, 200, 300, 500, 700, 900, 1200, 1500, 2000, 2500, 3000]
    rows = rows_of(started("starve", tmp_path, *limits))
    errors = {row["limit"]: row["error"] for row in rows if "error" in row}
    assert sorted(errors) == limits
    for row in rows:
        if "status" in row:
            assert row["status"] == DIED, row
            assert (row["previous"], row["next"], row["swept"], row["left"]) == (True, True, True, 0), row
    for name in ("items.ids", "items.arrow", "gram.npy"):
        assert any(name in error for error in errors.values()), errors  # each kind of writer has met the limit


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match="file"):
        bundle.publish(tmp_path / "file" / "root", content())


def test_a_new_root_is_on_the_disk_before_anything_is_in_it(tmp_path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(durable, "fsync", synced.append)
    with durable.publishing(tmp_path / "outer" / "root"):
        assert {tmp_path, tmp_path / "outer"} <= set(synced)


def test_a_file_that_was_cut_without_a_word_never_becomes_a_bundle(tmp_path, monkeypatch):
    first, write = bundle.publish(tmp_path, small(1)), durable.write

    def cutting(path, writer):
        write(path, writer)
        if path.name == "index.faiss":
            os.truncate(path, path.stat().st_size - 100)

    monkeypatch.setattr(durable, "write", cutting)
    with pytest.raises(BundleError, match="is not a FAISS index"):
        bundle.publish(tmp_path, small(2))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [first]
    assert bundle.current(tmp_path) == first


if __name__ == "__main__":
    os.fsync = lambda descriptor: None
    verb, folder, *rest = sys.argv[1:]
    if verb == "interrupt":
        interrupt(Path(folder), *rest)
    else:
        for limit in rest:
            starve(Path(folder), int(limit))
