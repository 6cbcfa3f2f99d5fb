"""What is acknowledged is on the disk, whenever the process ends; what is not taken says so."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import apsw
import pytest

from recsys.events.store import EventStore, Exposure
from recsys.events.writer import EventWriter, FullError
from tests.events.test_store import NOW_MS, event

_TELLER = """
import itertools, sys, threading
from pathlib import Path
from recsys.events.store import EventStore
from recsys.events.writer import EventWriter
from tests.events.test_store import event
writer = EventWriter(EventStore(Path(sys.argv[1])))
numbers = itertools.count(int(sys.argv[2]))
def tell():
    while True:
        some = [event(next(numbers)) for _ in range(20)]
        writer.tell(some).result()
        sys.stdout.write("".join(one.event_id + "\\n" for one in some)); sys.stdout.flush()
for _ in range(3): threading.Thread(target=tell, daemon=True).start()
threading.Event().wait()
"""


def test_a_process_that_is_killed_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    acknowledged = list[str]()
    for round_ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _TELLER, str(tmp_path), str(round_ * 10_000_000)],
            stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()},
        ) as process:  # fmt: skip
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(200 + 70 * round_)]
            process.send_signal(signal.SIGKILL)
            told += process.stdout.readlines()
        acknowledged += [line.strip() for line in told if line.endswith("\n")]
    kept = [told.event_id for _, _, told in EventStore(tmp_path).events()]
    assert len(kept) == len(set(kept))
    assert set(acknowledged) <= set(kept)
    assert len(acknowledged) >= 800


def test_waiting_batches_are_written_in_one_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, gate, sizes = EventStore(tmp_path), threading.Event(), list[int]()
    append = store.append

    def slow(batches: object, received_ms: int) -> object:
        sizes.append(len(batches))  # type: ignore[arg-type]
        gate.wait()
        return append(batches, received_ms)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "append", slow)
    writer = EventWriter(store, most=6)
    first = writer.tell([event(0)])
    while not sizes:
        pass
    others = [writer.tell([event(number), event(number + 100)]) for number in range(1, 4)]
    with pytest.raises(FullError, match="6 events wait to be written"):
        writer.tell([event(7)])
    assert not first.done()
    gate.set()
    assert [one.result(10).accepted for one in (first, *others)] == [1, 2, 2, 2]
    assert sizes == [1, 3]
    writer.close()
    with pytest.raises(FullError):
        writer.tell([event(8)])
    assert store.last_seq() == 7


def test_a_disk_that_is_full_is_told_to_who_waits_and_later_writes_go_on(tmp_path: Path) -> None:
    store = EventStore(tmp_path)
    writer = EventWriter(store)
    (pages,) = store._one("PRAGMA page_count")
    store._database.execute(f"PRAGMA max_page_count = {pages + 3}").fetchall()
    large = [event(number, item_id="x" * 900) for number in range(100)]
    with pytest.raises(apsw.FullError):
        writer.tell(large).result(10)
    writer.expose(Exposure("r1", NOW_MS, "u1", None, json.dumps(["x" * 100_000]).encode()))
    store._database.execute("PRAGMA max_page_count = 1000000").fetchall()
    assert writer.tell(large).result(10)[:2] == (100, 0)
    writer.expose(Exposure("r2", NOW_MS, "u1", None, b"{}"))
    writer.close()
    assert store.exposure("r2") == b"{}"
    assert writer.lost_exposures == int(store.exposure("r1") is None)
