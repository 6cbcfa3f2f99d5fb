"""A bundle that is damaged, mixed, copied or swept: nothing but a whole one is ever loaded or made
current."""

import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from recsys import durable
from recsys.bundle import bundle
from recsys.bundle.manifest import read_manifest
from recsys.bundle.root import copy_into, current
from recsys.bundle.write import publish
from recsys.errors import BundleError
from tests.helpers.bundles import content

MADE = content(weighted=True)
SEAL = ("manifest.json", "manifest.sha256")
FILES = {
    *SEAL,
    "items.ids",
    "users.ids",
    "item_vectors.npy",
    "columns/title.offsets.npy",
    "columns/title.utf8.npy",
    "columns/domain.npy",
    "columns/shown.offsets.npy",
    "columns/shown.utf8.npy",
    "histories.offsets.npy",
    "histories.items.npy",
    "histories.time.npy",
    "histories.event.npy",
    "histories.weight.npy",
    "fallback.npy",
    "golden.json",
    "encoder/encoder.json",
    "encoder/gram.npy",
    "encoder/table.npy",
}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A bundle that no test may change."""
    return publish(tmp_path_factory.mktemp("written"), MADE)


@pytest.fixture
def copy(original, tmp_path):
    """The same, for a test to damage."""
    return Path(shutil.copytree(original, tmp_path / "copied"))


def reseal(folder, **changes):
    """Makes the manifest true to the files again, by hand, as only somebody who means it would."""
    manifest = json.loads((folder / "manifest.json").read_bytes()) | changes
    for name in manifest["files"]:
        raw = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    raw = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")
    return folder


# Damage


def test_these_are_all_the_files(original):
    assert {p.relative_to(original).as_posix() for p in original.rglob("*") if p.is_file()} == FILES
    assert set(read_manifest(original)["files"]) == FILES - set(SEAL)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_changed_byte_is_refused_and_the_file_named(copy, name, place):
    raw = bytearray((copy / name).read_bytes())
    raw[{"first": 0, "middle": len(raw) // 2, "last": -1}[place]] ^= 1
    (copy / name).write_bytes(raw)
    with pytest.raises(BundleError, match=Path(name).name):
        bundle.load(copy)


@pytest.mark.parametrize("name", sorted(FILES))
@pytest.mark.parametrize("length", ["none", "half", "one more"])
def test_another_length_is_refused_and_the_file_named(copy, name, length):
    raw = (copy / name).read_bytes()
    (copy / name).write_bytes({"none": b"", "half": raw[: len(raw) // 2], "one more": raw + b"\0"}[length])
    with pytest.raises(BundleError, match=Path(name).name):
        bundle.load(copy)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} cannot be read"):
        bundle.load(copy)


# Mixing


def test_an_encoder_of_another_training_is_refused(copy, tmp_path):
    other = publish(tmp_path / "other", content(seed=2))
    shutil.rmtree(copy / "encoder")
    shutil.copytree(other / "encoder", copy / "encoder")
    with pytest.raises(BundleError, match="the encoder belongs to space"):
        bundle.load(reseal(copy))


@pytest.mark.parametrize("name", ["item_vectors.npy", "encoder/gram.npy", "encoder/table.npy"])
def test_arrays_of_another_training_fail_the_golden_queries(copy, tmp_path, name):
    other = publish(tmp_path / "other", content(seed=2, weighted=True))
    shutil.copy(other / name, copy / name)
    with pytest.raises(BundleError, match="golden query"):
        bundle.load(reseal(copy))


def test_a_changed_golden_answer_is_refused_and_a_near_tie_is_not(copy):
    path = copy / "golden.json"
    golden = json.loads(path.read_bytes())
    golden[0]["scores"] = [score * (1 + 1e-5) for score in golden[0]["scores"]]
    path.write_text(json.dumps(golden))
    bundle.load(reseal(copy))
    wrong = [golden[0] | {"scores": [score * (1 + 1e-3) for score in golden[0]["scores"]]}, *golden[1:]]
    path.write_text(json.dumps(wrong))
    with pytest.raises(BundleError, match="golden query 0"):
        bundle.load(reseal(copy))
    golden[0]["ids"][:2] = golden[0]["ids"][1::-1]
    path.write_text(json.dumps(golden))
    with pytest.raises(BundleError, match="golden query 0"):
        bundle.load(reseal(copy))


@pytest.mark.parametrize("number", [0, 3, None, "1"])
def test_another_format_is_refused(copy, number):
    with pytest.raises(BundleError, match="format"):
        bundle.load(reseal(copy, format=number))


def test_what_a_bundle_requires_and_this_version_does_not_know_is_refused(copy):
    bundle.load(reseal(copy, requires=[]))
    with pytest.raises(BundleError, match="requires 'colours' of whoever reads it"):
        bundle.load(reseal(copy, requires=["colours"]))


@pytest.mark.parametrize("bundle_id", ["../outside", "/outside"])
def test_a_manifest_that_leaves_its_folder_is_refused(copy, tmp_path, bundle_id):
    with pytest.raises(BundleError, match="outside the bundle"):
        copy_into(tmp_path / "root", reseal(copy, bundle_id=bundle_id))


def test_an_array_that_does_not_fit_is_a_bundle_error(copy):
    np.save(copy / "item_vectors.npy", np.ones((40, 3), np.float32))
    with pytest.raises(BundleError, match="cannot be opened"):
        bundle.load(reseal(copy))


# Publishing beside others


def test_copying_publishes_a_verified_copy(original, tmp_path):
    folder = copy_into(tmp_path, original)
    assert folder == tmp_path / original.name
    assert current(tmp_path) == folder
    for name in FILES:
        assert (folder / name).read_bytes() == (original / name).read_bytes()
    assert copy_into(tmp_path, original) == folder  # again: nothing to do


def test_copying_refuses_a_damaged_source_and_a_damaged_copy(copy, tmp_path):
    root = tmp_path / "root"
    folder = copy_into(root, copy)
    newer = publish(root, content(seed=2))
    (folder / "items.ids").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"items\.ids is damaged"):
        copy_into(root, copy)
    (copy / "fallback.npy").write_bytes(b"damaged")
    with pytest.raises(BundleError, match=r"fallback\.npy is damaged"):
        copy_into(root, copy)
    assert current(root) == newer


def test_a_copy_that_was_cut_without_a_word_is_refused(copy, tmp_path, monkeypatch):
    write = durable.write

    def cutting(path, writer):
        write(path, writer)
        if path.name == "items.ids":
            os.truncate(path, path.stat().st_size - 1)

    monkeypatch.setattr(durable, "write", cutting)
    with pytest.raises(BundleError, match=r"items\.ids is damaged"):
        copy_into(tmp_path / "root", copy)
    assert [path.name for path in (tmp_path / "root").iterdir()] == [".lock"]


def test_copying_takes_only_what_the_manifest_lists(copy, tmp_path):
    (copy / "notes.txt").write_text("not part of it")
    assert not (copy_into(tmp_path / "root", copy) / "notes.txt").exists()


def test_publishers_take_turns(tmp_path):
    together = Barrier(4)

    def publish_at_once(seed):
        together.wait()
        return publish(tmp_path, content(seed=seed))

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(publish_at_once, range(4)))
    assert len(set(folders)) == 4
    for seed, folder in enumerate(folders):
        assert bundle.load(folder).manifest["lineage"]["seed"] == seed
    assert current(tmp_path) == max(folders)  # names begin with the time: the last to write points last


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path):
    first = publish(tmp_path, MADE)
    left = tmp_path / f"20200101T000000000000Z{durable.PARTIAL}"
    shutil.copytree(first, left)
    (tmp_path / f"current{durable.PARTIAL}").write_text("half")
    (tmp_path / "notes").mkdir()
    with durable.publishing(tmp_path):  # before the next one needs the space
        assert not left.exists()
    second = publish(tmp_path, content(seed=2))
    assert {path.name for path in tmp_path.iterdir()} == {
        first.name,
        second.name,
        "notes",
        "current",
        ".lock",
    }
    assert bundle.load(first).bundle_id == first.name
