"""An export that is interrupted, at any moment and in any way, leaves the previous bundle current and
whole."""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryDirectory

import pytest

from recsys import durable
from recsys.bundle.root import current
from recsys.bundle.write import publish
from recsys.errors import BundleError
from tests.helpers.bundles import content
from tests.helpers.crash_process import DIED, POINTER, TASKS, WAYS, small

pytestmark = pytest.mark.slow


def start_process(*arguments: object) -> "subprocess.Popen[str]":
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "tests.helpers.crash_process", *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | single, stdout=PIPE, stderr=PIPE, text=True)


def rows_of(process: "subprocess.Popen[str]") -> list[dict]:
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


@pytest.fixture(scope="module")
def rows_by_way():
    """(task, how) -> a row for each point: six processes side by side, in memory where that is at hand."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        ways = [(task, how) for task in TASKS for how in WAYS]
        for task, how in ways:
            Path(folder, task, how).mkdir(parents=True)
        processes = [start_process("interrupt", Path(folder, *way), *way) for way in ways]
        yield dict(zip(ways, map(rows_of, processes), strict=True))


@pytest.fixture(params=[(task, how) for task in TASKS for how in WAYS], ids=" ".join)
def interruptions(request, rows_by_way):
    return *request.param, rows_by_way[request.param]


def test_each_write_fsync_and_replace_is_a_point(interruptions):
    task, _, rows = interruptions
    points = {tuple(row["point"]) for row in rows}
    files = {"current"}
    if task != "point_to":
        made = {"items.ids", "users.ids", "item_vectors.npy", "fallback.npy", "golden.json"}
        made |= {"manifest.json", "manifest.sha256", "histories.offsets.npy", "histories.items.npy"}
        made |= {f"columns/{name}.npy" for name in ("title.offsets", "title.utf8", "domain")}
        made |= {f"columns/shown.{name}.npy" for name in ("offsets", "utf8")}
        made |= {"histories.time.npy", "encoder/encoder.json", "encoder/gram.npy", "encoder/table.npy"}
        files |= {f"FOLDER/{name}" for name in made}
    folders = {"."} if task == "point_to" else {".", "FOLDER", "FOLDER/encoder", "FOLDER/columns"}
    expected = {("write", name, moment) for name in files for moment in ("before", "during", "after")}
    expected |= {
        ("fsync", name, moment) for name in files | (folders - {"."}) for moment in ("before", "after")
    }
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
    """Power cuts, which no kill can stage, need this order: each file and folder is fsynced before it gets
    its name."""
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
        named = events.index(
            ("fsync", "", "after")
        )  # the folder's name is on the disk before the pointer names it
        assert at["replace", "FOLDER", "after"] < named < at["write", "current", "before"]
    assert events[-1] == ("fsync", "", "after")


def test_a_full_disk_is_one_clear_error(tmp_path):
    limits = [0, 40, 100, 127, 128, 130, 150, 200, 300, 500, 700, 900, 1200, 1500, 2000, 2500, 3000]
    rows = rows_of(start_process("starve", tmp_path, *limits))
    errors = {row["limit"]: row["error"] for row in rows if "error" in row}
    assert sorted(errors) == limits
    for row in rows:
        if "status" in row:
            assert row["status"] == DIED, row
            assert (row["previous"], row["next"], row["swept"], row["left"]) == (True, True, True, 0), row
    for name in ("items.ids", "item_vectors.npy", "gram.npy"):
        assert any(name in error for error in errors.values()), (
            errors
        )  # each kind of writer has met the limit


def test_a_root_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(BundleError, match="file"):
        publish(tmp_path / "file" / "root", content())


def test_a_new_root_is_on_the_disk_before_anything_is_in_it(tmp_path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(durable, "fsync", synced.append)
    with durable.publishing(tmp_path / "outer" / "root"):
        assert {tmp_path, tmp_path / "outer"} <= set(synced)


def test_a_file_that_was_cut_without_a_word_never_becomes_a_bundle(tmp_path, monkeypatch):
    first, write = publish(tmp_path, small(1)), durable.write

    def cutting(path, writer):
        write(path, writer)
        if path.name == "item_vectors.npy":
            os.truncate(path, path.stat().st_size - 100)

    monkeypatch.setattr(durable, "write", cutting)
    with pytest.raises(BundleError, match="cannot be opened"):
        publish(tmp_path, small(2))
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [first]
    assert current(tmp_path) == first
