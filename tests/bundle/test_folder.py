"""The folder of a bundle: what it holds, what may be done to it, which one is current, and the page about
it."""

import gc
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.bundle import bundle
from recsys.bundle.manifest import read_manifest
from recsys.bundle.root import copy_into, current, point_to
from recsys.bundle.write import publish, upgrade, write
from recsys.encoders.users import Users
from recsys.errors import BundleError
from tests.helpers.bundles import START, content, exact, is_mapped, single

MADE = content()
OLD = Path(__file__).parents[1] / "bundles"  # as earlier versions wrote them


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A bundle that no test may change."""
    return publish(tmp_path_factory.mktemp("written"), MADE)


# What the folder holds


@pytest.mark.parametrize("name", ["before_weights_plain", "before_weights_typed"])
def test_a_bundle_of_an_earlier_version_loads_and_weighs_every_event_alike(name):
    loaded = bundle.load(OLD / name)
    assert loaded.histories.weight is None
    assert (dict(loaded.event_weights), loaded.duplicates) == ({}, "all")
    assert loaded.event_names == (("view", "buy") if name.endswith("typed") else ())
    users = Users.unknown(loaded.histories)
    ids, _ = single(loaded.recommender, replace(users, now=np.full(12, START)), 5)
    assert (ids >= 0).all()


def test_a_bundle_of_format_2_loads_with_its_index_and_says_what_it_said_when_it_was_written():
    loaded = bundle.load(OLD / "format_2")  # its golden questions are asked
    assert (loaded.manifest["format"], loaded.manifest["index"]["factory"]) == (2, "IVF16,SQ8")
    assert not loaded.recommender.ranker.index.exact
    assert (len(loaded.item_ids), len(loaded.user_ids), len(loaded.histories)) == (700, 12, 48)
    catalogue = loaded.catalogue
    assert [catalogue.title(item) for item in (0, 1, 2)] == ["Title 0", None, "Title 2"]
    assert [catalogue.domain(item) for item in (0, 1)] == ["films", "books"]
    assert [catalogue.categories(item) for item in (0, 1)] == [[], ["c1"]]
    assert np.flatnonzero(~catalogue.availability.at(1_900_000_000)).tolist() == [
        *range(0, 5, 2),
        5,
        *range(6, 700, 2),
    ]
    assert [loaded.event_names[event] for event in loaded.histories.event[:2]] == ["view", "buy"]
    assert json.loads(loaded.shown[1] + "}") == {"item_id": "i1", "title": None}
    answer = loaded.recommender.recommend(
        Users.of_rows(np.arange(12), loaded.histories, np.full(12, START)), 20
    )
    assert (answer.ids >= 0).all()


@pytest.mark.parametrize("name", ["before_weights_plain", "before_weights_typed"])
def test_an_upgraded_bundle_gives_the_same_lists(tmp_path, name):
    before = copy_into(tmp_path, OLD / name)
    old = bundle.load(before)
    after = upgrade(tmp_path)
    new = bundle.load(after)
    assert (read_manifest(before)["format"], read_manifest(after)["format"]) == (1, 2)
    assert current(tmp_path) == after != before
    assert after == upgrade(tmp_path)  # there is nothing left to do
    assert new.manifest["lineage"] == {**old.manifest["lineage"], "upgraded_from": before.name}
    n = len(old.item_ids)
    users = Users.of_rows(np.arange(len(old.user_ids)), old.histories, np.full(len(old.user_ids), START))
    strangers = replace(users, index=np.full(len(users), -1, np.int32))
    for asked in (users, strangers):
        expected, lists = old.recommender.recommend(asked, n), new.recommender.recommend(asked, n)
        for part in ("ids", "scores", "source"):
            np.testing.assert_array_equal(getattr(lists, part), getattr(expected, part))
        for one, other in zip(
            single(old.recommender, asked, n), single(new.recommender, asked, n), strict=True
        ):
            np.testing.assert_array_equal(other, one)
    every = range(n)
    assert [new.item_ids[item] for item in every] == [old.item_ids[item] for item in every]
    for told in (lambda one, item: one.catalogue.title(item), lambda one, item: one.catalogue.domain(item)):
        assert [told(new, item) for item in every] == [told(old, item) for item in every]
    with pytest.raises(BundleError, match="name the folder that it lies in"):
        upgrade(after)


def test_a_bundle_without_weights_is_written_as_it_was_before_there_were_any(tmp_path):
    made = content(12, 20, 4, events=4)
    old, new = OLD / "before_weights_plain", publish(tmp_path, made)
    ones = replace(
        made, histories=replace(made.histories, weight=np.ones(48, np.float32)), event_weights={"buy": 1.0}
    )
    for folder in (new, publish(tmp_path, ones)):
        before, after = read_manifest(old), read_manifest(folder)
        assert list(before) == [
            key for key in after if key not in ("domains", "requires")
        ]  # which are younger
        kept = [name for name in before["files"] if name not in ("index.faiss", "items.arrow")]  # of format 1
        assert kept == [n for n in after["files"] if n != "item_vectors.npy" and not n.startswith("columns/")]
        questions = [json.loads((path / "golden.json").read_bytes()) for path in (old, folder)]
        asked = [[{**one, "scores": None} for one in golden] for golden in questions]
        assert asked[0] == asked[1]
        for file in (
            "histories.items.npy",
            "histories.offsets.npy",
            "histories.time.npy",
            "users.ids",
            "fallback.npy",
        ):
            assert before["files"][file] == after["files"][file]


def test_the_manifest_tells_where_the_bundle_comes_from(original):
    manifest = read_manifest(original)
    assert (manifest["format"], manifest["requires"]) == (2, [])
    assert manifest["bundle_id"] == original.name
    assert manifest["space_id"] == MADE.embeddings.encoder.space_id
    assert (manifest["kind"], manifest["dim"], manifest["metric"]) == ("solve", 8, "inner_product")
    assert manifest["counts"] == {"items": 40, "items_with_vector": 39, "users": 30, "events": 180}
    assert manifest["index"] == {"factory": "Flat", "recall": 1.0, "ndcg": 1.0}
    assert manifest["seen"] == "exclude"
    assert manifest["lineage"] == {"seed": 1, "data": "made by hand"}
    assert set(manifest["versions"]) == {"recsys", "numpy", "faiss-cpu"}
    assert manifest["created"].endswith("+00:00")


def test_nothing_in_a_bundle_is_a_pickle(original):
    for path in original.rglob("*.npy"):
        assert np.load(path, allow_pickle=False).dtype.kind in "fiu"


def test_the_vectors_are_stored_once_and_shared_by_all_who_use_them(original):
    stored = MADE.embeddings.items.tobytes()
    assert [p.name for p in original.rglob("*") if p.is_file() and stored in p.read_bytes()] == [
        "item_vectors.npy"
    ]
    loaded = bundle.load(original)
    address = loaded.item_vectors.ctypes.data
    ranker = loaded.recommender.ranker
    assert np.load(original / "item_vectors.npy", mmap_mode="r").offset % 64 == 0
    assert ranker.index.nbytes == 0
    assert ranker.encoder.inputs.ctypes.data == address
    assert ranker.items.ctypes.data == address


def test_large_arrays_are_mapped_and_aligned(original):
    before = pa.total_allocated_bytes()
    loaded = bundle.load(original)
    mapped = [
        loaded.recommender.ranker.encoder.table,
        loaded.recommender.fallback,
        loaded.histories.items.offsets,
        loaded.histories.items.values,
        loaded.histories.time,
        loaded.item_vectors,
        loaded.catalogue.titles.utf8,
        loaded.shown.utf8,
    ]
    for array in mapped:
        assert is_mapped(array)
        assert not array.flags.writeable
    assert loaded.item_vectors.flags.aligned  # else numpy copies the whole array for every product
    assert not loaded.item_vectors.flags.writeable
    assert loaded.catalogue.title(0) == "Title 0"
    assert pa.total_allocated_bytes() == before


def test_parts_outlive_the_bundle_and_the_folder(original, tmp_path):
    folder = Path(shutil.copytree(original, tmp_path / "gone"))
    users = Users.of_rows(np.arange(30), MADE.histories)
    expected = exact(MADE).recommend(users, 12).ids
    loaded = bundle.load(folder)
    index, vectors = loaded.recommender.ranker.index, bundle.load(folder).item_vectors
    shutil.rmtree(folder)
    np.testing.assert_array_equal(single(loaded.recommender, users, 12)[0], expected)
    assert (loaded.item_ids[3], loaded.catalogue.title(3)) == ("i3", "Title 3")
    del loaded
    gc.collect()
    np.testing.assert_array_equal(vectors, MADE.embeddings.items)
    everything = np.argsort(-(MADE.embeddings.items @ MADE.embeddings.items[5]), kind="stable")
    assert index.search(MADE.embeddings.items[5:6].copy(), 5)[1][0].tolist() == everything[:5].tolist()


# The pointer


def test_the_pointer_goes_forward_and_back(tmp_path):
    first = publish(tmp_path, content(seed=1))
    second = publish(tmp_path, content(seed=2))
    assert current(tmp_path) == second
    point_to(tmp_path, first.name)
    assert current(tmp_path) == first
    third = write(tmp_path, content(seed=3))
    assert current(tmp_path) == first
    point_to(tmp_path, third.name)
    assert bundle.load(current(tmp_path)).bundle_id == third.name


def test_the_pointer_never_names_what_is_not_a_whole_bundle(tmp_path):
    first = publish(tmp_path, content(seed=1))
    second = publish(tmp_path, content(seed=2))
    (first / "fallback.npy").write_bytes(b"damaged")
    for bundle_id in (first.name, "absent", "", ".", f"../{tmp_path.name}/{second.name}", str(second)):
        with pytest.raises(BundleError):
            point_to(tmp_path, bundle_id)
    assert current(tmp_path) == second


def test_current_of_a_bundle_is_itself(original):
    assert current(original) == original
    assert current(original.parent) == original


@pytest.mark.parametrize("text", [None, "", "\n", "absent\n", "..\n", b"\xff\xfe"])
def test_current_of_nothing_says_what_to_do(tmp_path, text):
    if text is not None:
        (tmp_path / "current").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BundleError, match=r"recsys export|Export one"):
        current(tmp_path)
    with pytest.raises(BundleError, match="recsys export"):
        current(tmp_path / "absent")


# The page about it


def test_the_page_is_enough_to_read_a_bundle_without_our_code(original):
    page = (Path(__file__).parents[2] / "docs/bundle.md").read_text()
    names = {"folder": original}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)
    answer = bundle.load(original).recommender.recommend(
        Users.of_rows(np.array([0]), MADE.histories.take([0])), 10
    )
    assert [id_ for id_, _, _ in names["answer"]] == [f"i{item}" for item in answer.ids[0]]
    assert [title for _, title, _ in names["answer"]] == [
        MADE.catalogue.title(int(item)) for item in answer.ids[0]
    ]
    np.testing.assert_allclose([score for _, _, score in names["answer"]], answer.scores[0], rtol=1e-4)


def test_the_page_names_every_file_and_every_key(tmp_path):
    page = (Path(__file__).parents[2] / "docs/bundle.md").read_text()
    manifest = read_manifest(publish(tmp_path, replace(content(weighted=True), duplicates="sum")))
    files = [
        name for name in manifest["files"] if not (name.startswith("encoder/") and name.endswith(".npy"))
    ]
    for name in (*files, *manifest, *manifest["counts"], "gram", "table"):
        assert f"`{name}`" in page, name
