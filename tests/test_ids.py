"""String ids and their dense indices: exact, append-only, and large."""

import time
from pathlib import Path

import numpy as np
import pytest

from recsys import ids as module
from recsys.errors import BundleError, DataError
from recsys.ids import IdMap
from tests.helpers.bundles import is_mapped

GOLDEN = {  # saved maps hold these hashes: they must never change
    b"a": 0x54CDA58D1D83AB9D,
    b"007": 0x12BA60D26E4EAEB8,
    b"NA": 0xE603C63C09FC821,
    b"12345678": 0x4F0AF08F98573EC2,
    b"123456789": 0xB961C5CFF53F0E7B,
    "日本".encode(): 0xE3049BAA3FC12809,
    b"\0" * 16: 0x2C5211BE1E63044,
    bytes(range(40)): 0xAA0FAFAE712081BA,
}
AWKWARD = [
    "007",
    "7",
    "NA",
    "null",
    " ",
    "a b",
    "\n",
    "\0",
    "é",
    "e\u0301",
    "日本",
    "🎬",
    "x" * 10_000,
    "x" * 9_999,
    "-1",
]
LONE = "\ud800"


def hash_all(strings: list[bytes]) -> list[int]:
    offsets = np.cumsum([0, *map(len, strings)]).astype(np.int64)
    return module.hash_texts(np.frombuffer(b"".join(strings), np.uint8), offsets).tolist()


def test_awkward_strings_are_ids_like_any_other() -> None:
    ids = IdMap.of(AWKWARD)
    assert list(ids) == AWKWARD
    assert len(ids) == len(AWKWARD)
    assert [ids.index(id_) for id_ in AWKWARD] == list(range(len(AWKWARD)))
    assert ids.indices(AWKWARD[::-1]).tolist() == list(range(len(AWKWARD)))[::-1]


def test_strings_that_look_alike_are_not_the_same_id() -> None:
    ids = IdMap.of(["007", "NA", "é", "a", "?"])
    strangers = ["7", "0070", "00", "na", "e\u0301", "a\0", "a ", "", LONE, "x" * 50]
    assert [ids.index(id_) for id_ in strangers] == [-1] * len(strangers)
    assert ids.indices(strangers).tolist() == [-1] * len(strangers)
    assert ids.indices(["a", LONE, "007"]).tolist() == [3, -1, 0]
    assert "7" not in ids
    assert 7 not in ids
    assert "007" in ids


def test_index_and_indices_agree_with_a_dictionary_on_random_ids() -> None:
    rng = np.random.default_rng(0)
    strings = list(dict.fromkeys(rng.bytes(rng.integers(1, 12)).hex() for _ in range(5_000)))
    known, truth = strings[::2], {id_: index for index, id_ in enumerate(strings[::2])}
    ids = IdMap.of(known)
    expected = [truth.get(id_, -1) for id_ in strings]
    assert ids.indices(strings).tolist() == expected
    assert ids.indices(strings).dtype == np.int32
    assert [ids.index(id_) for id_ in strings[:500]] == expected[:500]


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_outside_the_map_is_an_error(index: int) -> None:
    with pytest.raises(IndexError, match=r"outside 0 \.\.\. 1"):
        IdMap.of(["a", "b"])[index]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["a", "", "b"], "must not be empty; id number 1 is"),
        (["a", "b", "a"], "distinct; 'a' occurs more than once"),
        (["a", 7], "valid text, got 7"),
        (["a", None], "valid text, got None"),
        (["a", LONE], r"valid text, got '\\ud800'"),
    ],
)
def test_what_is_no_id_is_refused_by_name(bad: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        IdMap.of(bad)


def test_extending_never_moves_an_old_id() -> None:
    old = IdMap.of(["b", "a"])
    new = old.with_ids(["z", "a", "c", "z", "b"])
    assert list(new) == ["b", "a", "z", "c"]
    assert [new.index(id_) for id_ in ["b", "a", "z", "c"]] == [0, 1, 2, 3]
    assert list(old) == ["b", "a"]
    assert list(IdMap.of([]).with_ids(iter(["q"]))) == ["q"]
    assert old.with_ids(["a"]) is old
    for bad in ("", LONE):
        with pytest.raises(DataError):
            old.with_ids([bad])


def test_an_empty_map_knows_nobody(tmp_path: Path) -> None:
    IdMap.of([]).save(tmp_path / "ids")
    for ids in (IdMap.of([]), IdMap.load(tmp_path / "ids")):
        assert len(ids) == 0
        assert ids.index("a") == -1
        assert ids.indices(["a", "b"]).tolist() == [-1, -1]


@pytest.mark.parametrize("length", range(1, 41))
def test_the_two_hashes_agree_on_bytes_of_every_length(length: int) -> None:
    rng = np.random.default_rng(length)
    strings = [rng.bytes(length) for _ in range(20)] + [rng.bytes(rng.integers(1, 41)) for _ in range(20)]
    strings += [b"\0" * length, b"\xff" * length]
    assert hash_all(strings) == [module._hash_one(string) for string in strings]


def test_hashes_never_change() -> None:
    assert {string: module._hash_one(string) for string in GOLDEN} == GOLDEN
    assert hash_all(list(GOLDEN)) == list(GOLDEN.values())


@pytest.mark.parametrize("buckets", [1, 3])
def test_equal_hashes_do_not_confuse_ids(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, buckets: int
) -> None:
    monkeypatch.setattr(module, "_hash_one", lambda encoded: len(encoded) % buckets)
    monkeypatch.setattr(
        module, "hash_texts", lambda _, offsets: (np.diff(offsets) % buckets).astype(np.uint64)
    )
    names = ["aa", "ab", "b", "abc", "abd", "007", "70"]
    ids = IdMap.of(names)
    ids.save(tmp_path / "ids")
    for each in (ids, IdMap.load(tmp_path / "ids"), IdMap.of(names[:2]).with_ids(names)):
        assert [each.index(id_) for id_ in names] == list(range(7))
        assert each.indices([*names, "ac", "zzz", "abce"]).tolist() == [*range(7), -1, -1, -1]
    with pytest.raises(DataError, match="'ab' occurs more than once"):
        IdMap.of(["aa", "ab", "b", "ab"])


def test_a_saved_map_is_the_same_map_mapped_into_memory(tmp_path: Path) -> None:
    ids = IdMap.of(AWKWARD)
    ids.save(tmp_path / "ids")
    loaded = IdMap.load(tmp_path / "ids")
    assert list(loaded) == AWKWARD
    assert loaded.indices([*AWKWARD, "stranger"]).tolist() == [*range(len(AWKWARD)), -1]
    assert loaded.digest() == ids.digest() != IdMap.of(AWKWARD[::-1]).digest()
    assert list(loaded.with_ids(["new"])) == [*AWKWARD, "new"]
    for part in (loaded._text, loaded._offsets, loaded._hashes, loaded._order):
        assert is_mapped(part)
        assert not part.flags.writeable


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids"
    IdMap.of(AWKWARD).save(path)
    whole = path.read_bytes()
    IdMap.load(path)
    short = [whole[:cut] for cut in (0, 1, 15, 16, 20, 31, 32, 33, 40, 100, len(whole) - 1)]
    negative = whole[:16] + np.array([-1, 20], np.int64).tobytes() + whole[32:]
    for number, damaged in enumerate([*short, whole + b"x", b"PAR1" + whole[4:], negative]):
        damaged_path = tmp_path / f"damaged{number}"
        damaged_path.write_bytes(damaged)
        with pytest.raises(BundleError, match=f"damaged{number} .*export the bundle again"):
            IdMap.load(damaged_path)


def test_two_million_ids_open_at_once_and_answer_quickly(tmp_path: Path) -> None:
    n, path = 2_000_000, tmp_path / "ids"
    names = [f"user-{number}" for number in range(n)]
    IdMap.of(names).save(path)
    opened = []
    for _ in range(5):  # a busy machine makes some of them wait
        started = time.perf_counter()
        ids = IdMap.load(path)
        opened.append(time.perf_counter() - started)
    asked = np.random.default_rng(0).integers(0, n, 2_000)
    times = []
    for index in asked:
        started = time.perf_counter()
        rows = ids.index(names[index])
        times.append(time.perf_counter() - started)
        assert rows == index
    assert min(opened) < 0.1
    assert np.median(times) < 20e-6
    assert path.stat().st_size <= 40 * n + sum(map(len, names))
    assert ids.indices(["user-1999999", "user-2000000", "user-0"]).tolist() == [n - 1, -1, 0]


def test_a_forgotten_id_is_found_no_more_and_no_other_moves(tmp_path: Path) -> None:
    names = [f"user {number}" for number in range(300)]
    ids = IdMap.of(names)
    for part in ([0], [299], [3, 4, 5], range(100, 200)):
        ids = ids.without(list(part))
        gone = {names[at] for at in part}
        assert not gone & set(ids)
    ids.save(tmp_path / "ids")
    assert b"user 150" not in (tmp_path / "ids").read_bytes()
    again = IdMap.load(tmp_path / "ids")
    left = [number for number in range(300) if number not in {0, 299, 3, 4, 5, *range(100, 200)}]
    assert np.flatnonzero(again.present).tolist() == left
    expected = [number if number in left else -1 for number in range(300)]
    assert again.indices(names).tolist() == [again.index(name) for name in names] == expected
    assert again.index("") == -1
    assert again.indices(["", *names])[0] == again.indices([""])[0] == -1
    assert "" not in again
    more = again.with_ids(["user 3", "user 7", "new"])
    assert (more.index("user 3"), more.index("user 7"), more.index("new"), len(more)) == (300, 7, 301, 302)
    assert more.index("user 150") == -1
