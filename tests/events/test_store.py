"""The event store: numbers in the order of commits, each event once, all ids of a person, and nothing left of
one."""

import itertools
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from recsys.errors import DataError
from recsys.events.database import FILE
from recsys.events.event import StoredEvent
from recsys.events.store import EventStore, Exposure

NOW_MS = 1_800_000_000_000


def event(number: int, user: str | None = "u1", **changes: Any) -> StoredEvent:
    told = StoredEvent(
        f"e{number}",
        "outcome",
        f"i{number}",
        "click",
        user,
        None,
        1_800_000_000 + number,
        None,
        None,
        None,
        None,
    )
    return told._replace(**changes)


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "state")


def test_an_event_counts_once_however_often_it_is_told(store: EventStore, tmp_path: Path) -> None:
    first, second = store.append([[event(1), event(2), event(1)], [event(2), event(3)]], NOW_MS)
    assert (first.accepted, first.duplicates) == (2, 1)
    assert (second.accepted, second.duplicates) == (1, 1)
    assert second.seq == store.last_seq() >= 3
    other = EventStore(tmp_path / "state")  # another process would see the same
    assert other.store_id == store.store_id
    assert other.append([[event(3), event(4)]], NOW_MS)[0][:2] == (1, 1)
    kept = list(store.events())
    assert [told for _, _, told in kept] == [event(1), event(2), event(3), event(4)]
    numbers = [seq for seq, _, _ in kept]
    assert numbers == sorted(set(numbers))
    assert list(store.events(after=numbers[0], until=numbers[2])) == [
        (numbers[1], NOW_MS, event(2)),
        (numbers[2], NOW_MS, event(3)),
    ]


def test_a_store_is_read_whole_in_parts(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.events.store._AT_A_TIME", 3)
    store.append([[event(number) for number in range(1, 10)]], NOW_MS)
    store.expose([Exposure(f"r{number}", NOW_MS, "u1", None, b"{}") for number in range(1, 7)])
    assert [seq for seq, _, _ in store.events()] == list(range(1, 10))
    assert [seq for seq, _ in store.exposures(after=2)] == [3, 4, 5, 6]


def test_the_history_of_a_person_is_of_outcomes_under_all_their_ids(store: EventStore) -> None:
    store.append([[event(1), event(2, "cookie"), event(3, kind="impression"), event(4, "other"),
                   event(5, None, unit_id="u1")]], NOW_MS)  # fmt: skip
    assert [one.item_id for one in store.outcomes("u1")] == ["i1"]
    store.identify([("cookie", "u1"), ("u1", "u1")], NOW_MS)
    for id_ in ("u1", "cookie"):
        assert [one.item_id for one in store.outcomes(id_)] == ["i1", "i2"]
        assert store.ids_of(id_) == ["cookie", "u1"]
    store.identify([("u1", "login"), ("login", "cookie")], NOW_MS)  # round in a circle
    store.append([[event(6, "login")]], NOW_MS)
    assert [one.item_id for one in store.outcomes("cookie", after=1)] == ["i2", "i6"]
    assert [one.item_id for one in store.outcomes("other")] == ["i4"]


def test_everybody_is_called_by_what_they_became(store: EventStore) -> None:
    store.identify([("a", "b"), ("b", "c"), ("d", "c"), ("x", "y"), ("y", "z"), ("z", "y")], NOW_MS)
    assert store.people() == {"a": "c", "b": "c", "d": "c", "x": "y", "z": "y"}
    for id_, end in store.people().items():
        assert {id_, end} <= set(store.ids_of(id_))


def test_numbers_are_in_the_order_of_commits_from_many_threads_and_connections(tmp_path: Path) -> None:
    stores = [EventStore(tmp_path) for _ in range(3)]
    numbers, seen = itertools.count(), list[int]()

    def write(store: EventStore) -> None:
        for _ in range(30):
            store.append([[event(next(numbers)), event(next(numbers))]], NOW_MS)

    threads = [threading.Thread(target=write, args=(store,)) for store in (*stores, stores[0])]
    for thread in threads:
        thread.start()
    reader = EventStore(tmp_path)
    going = True
    while going:
        going = any(thread.is_alive() for thread in threads)
        seen += [seq for seq, _, _ in reader.events(after=seen[-1] if seen else 0)]
    assert seen == list(range(1, 241))  # nothing came later below a number that was read


def test_several_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    script = """
import sys
from multiprocessing import get_context
from pathlib import Path
from recsys.events.store import EventStore

def open_it(folder):
    together.wait()
    EventStore(folder)

context, processes = get_context("fork"), 3
for turn in range(20):
    together = context.Barrier(processes)
    folder = Path(sys.argv[1]) / str(turn)
    opening = [context.Process(target=open_it, args=(folder,)) for _ in range(processes)]
    for process in opening:
        process.start()
    for process in opening:
        process.join()
    print(*(process.exitcode for process in opening))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 0 0\n" * 20, done.stderr


def test_nothing_is_left_of_a_person_who_is_forgotten(store: EventStore, tmp_path: Path) -> None:
    secret, cookie = "person-abcdefghijklmnopq", "cookie-zyxwvutsrqponmlkj"
    store.append([[event(1, secret), event(2, cookie), event(3), event(4, None, unit_id=cookie)]], NOW_MS)
    store.expose(
        [
            Exposure("r1", NOW_MS, secret, None, b'{"user_id":"person-abcdefghijklmnopq"}'),
            Exposure("r2", NOW_MS, "u1", None, b'{"user_id":"u1"}'),
        ]
    )
    store.identify([(cookie, secret)], NOW_MS)
    assert any(cookie.encode() in path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert store.forget(cookie, NOW_MS) == {"events": 3, "exposures": 1, "identities": 1}
    assert store.is_forgotten(secret)
    assert store.is_forgotten(cookie)
    assert not store.is_forgotten("u1")
    for path in (tmp_path / "state").iterdir():
        assert secret.encode() not in path.read_bytes(), path
        assert cookie.encode() not in path.read_bytes(), path
    assert [told.event_id for _, _, told in store.events()] == ["e3"]
    assert store.exposure("r1") is None
    assert store.exposure("r2") == b'{"user_id":"u1"}'
    store.append([[event(9, secret)]], NOW_MS)  # somebody new, who is numbered after all that was there
    assert [(one.seq, one.item_id) for one in store.outcomes(secret)] == [(5, "i9")]


def test_what_is_older_than_is_kept_goes_and_numbers_are_not_given_again(
    store: EventStore, tmp_path: Path
) -> None:
    store.append([[event(1, "ancient-abcdefghijklmn")]], NOW_MS - 10)
    store.append([[event(2), event(3)]], NOW_MS)
    store.expose([Exposure(f"r{at}", NOW_MS - at, "u1", None, b"{}") for at in range(4)])
    assert store.prune(NOW_MS) == {"events": 1, "exposures": 3}
    assert [told.event_id for _, _, told in store.events()] == ["e2", "e3"]
    assert not any(b"ancient-abcdefghijklmn" in path.read_bytes() for path in (tmp_path / "state").iterdir())
    store.prune(NOW_MS + 1)
    assert list(store.events()) == []
    assert store.append([[event(4)]], NOW_MS)[0].seq > 3


def test_a_store_of_a_newer_schema_or_no_store_is_refused_by_name(tmp_path: Path) -> None:
    EventStore(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("PRAGMA user_version = 3")
    with pytest.raises(DataError, match=r"events\.db has schema 3, and this version of recsys knows 2"):
        EventStore(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / FILE).write_text(
        "no database, but text that is long enough to be read as its header" * 9
    )
    with pytest.raises(DataError, match="cannot be opened"):
        EventStore(tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be opened"):
        EventStore(tmp_path / "file")


def test_a_store_of_an_older_schema_is_brought_up_and_holds_what_it_held(tmp_path: Path) -> None:
    store = EventStore(tmp_path)
    store.append([[event(1, "u1"), event(2, "u2")]], NOW_MS)
    store.forget("u1", NOW_MS)
    store.close()
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("ALTER TABLE forgotten DROP COLUMN person")
        database.execute("PRAGMA user_version = 1")
    database.close()
    store = EventStore(tmp_path)
    assert store.is_forgotten("u1")
    assert store.forgotten_with("u1") == {store.digest("u1")}
    assert [told.event_id for _, _, told in store.events()] == ["e2"]


def test_a_forgotten_person_is_found_by_the_digests_of_all_their_ids(tmp_path: Path) -> None:
    store = EventStore(tmp_path)
    store.identify([("cookie", "u1"), ("phone", "u1")], NOW_MS)
    store.forget("u1", NOW_MS)
    assert store.forgotten_with("u1") == {store.digest(one) for one in ("cookie", "phone", "u1")}
    store.forget("u1", NOW_MS)  # whoever says it again, as after a crash, has lost nothing
    assert store.forgotten_with("cookie") == {store.digest(one) for one in ("cookie", "phone", "u1")}
    store.identify([("tablet", "u1")], NOW_MS)
    store.forget("tablet", NOW_MS)
    assert len(store.forgotten_with("phone")) == 4
    assert store.forgotten_with("u2") == frozenset()


def test_with_hashed_ids_nobody_is_named_in_the_files_and_everybody_is_found(tmp_path: Path) -> None:
    name, other = "customer-qwertzuiopasdfgh", "cookie-yxcvbnmlkjhgfdsa"
    store = EventStore(tmp_path, hashed_ids=True)
    store.append([[event(1, name), event(2, other), event(3, None, unit_id=other)]], NOW_MS)
    store.identify([(other, name)], NOW_MS)
    line = b'{"request_id":"r1","user_id":"%s","unit_id":null,"items":["i1","i2"]}\n' % name.encode()
    store.expose([Exposure("r1", NOW_MS, name, None, line)])
    assert [one.seq for one in store.outcomes(name)] == [one.seq for one in store.outcomes(other)] == [1, 2]
    assert store.find_shown(name, "i2", 0, NOW_MS) == ("r1", 2)
    assert store.ids_of(name) == sorted([store.name(name), store.name(other)])
    assert store.people() == {store.name(other): store.name(name)}
    again = [told for _, _, told in store.events()]
    assert {told.user_id for told in again} == {store.name(name), store.name(other), None}
    assert store.append([again], NOW_MS)[0].accepted == 0
    assert store.name(store.name(name)) == store.name(name)  # what came out goes in again
    for path in tmp_path.iterdir():
        assert name.encode() not in path.read_bytes()
        assert other.encode() not in path.read_bytes()
    assert (tmp_path / "ids.key").stat().st_mode & 0o777 == 0o600
    assert EventStore(tmp_path).hashed_ids  # whoever opens it keeps to it
    assert store.forget(other, NOW_MS) == {"events": 3, "exposures": 1, "identities": 1}
    assert store.is_forgotten(name)
    with pytest.raises(DataError, match="keeps ids hashed, and the other way is asked for"):
        EventStore(tmp_path, hashed_ids=False)
    (tmp_path / "ids.key").unlink()
    with pytest.raises(DataError, match="without it nobody in the store is found"):
        EventStore(tmp_path)
    EventStore(tmp_path / "plain").append([[event(1)]], NOW_MS)
    with pytest.raises(DataError, match="keeps ids as they are, and the other way is asked for"):
        EventStore(tmp_path / "plain", hashed_ids=True)


def test_a_prune_by_slices_takes_what_is_old_though_a_clock_ran_backwards(tmp_path: Path) -> None:
    store, day = EventStore(tmp_path), 86_400_000
    for number in range(5_000):
        if number % 1_000 == 0:
            received = NOW_MS - [10, 10, 3, 10, 1][number // 1_000] * day
            store.append([[event(one, f"u{one}") for one in range(number, number + 1_000)]], received)
    gone = store.prune(NOW_MS - 5 * day)
    assert gone == {"events": 3_000, "exposures": 0}
    assert (
        sorted(int(told.event_id[1:]) // 1_000 for _, _, told in store.events()) == [2] * 1_000 + [4] * 1_000
    )
