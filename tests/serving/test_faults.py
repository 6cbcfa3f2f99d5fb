"""What was acknowledged is there, once, after a kill and on a full disk, and a slow disk holds up no list:
the short forms of `python -m benchmarks.event_faults`."""

import sys
import threading
from pathlib import Path

import pytest

from benchmarks.event_faults import array_of, full, kill
from benchmarks.service_load import Connection, request, running
from recsys.bundle.root import current
from recsys.events.store import EventStore
from tests.helpers.service import publish_toy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bundles")
    publish_toy(root)
    return current(root)


def test_killed_a_service_has_lost_and_doubled_nothing(bundle: Path, tmp_path: Path) -> None:
    row = kill(bundle, tmp_path, 3)
    assert (row["lost"], row["doubled"]) == (0, 0)


def test_a_full_disk_refuses_and_loses_nothing_and_lists_go_on(bundle: Path, tmp_path: Path) -> None:
    row = full(bundle, tmp_path, 0.2)
    assert (row["lost"], row["doubled"]) == (0, 0)
    assert row["acknowledged"] > 0
    assert row["refused"] > 0
    assert row["lists meanwhile"] > 0


def test_a_list_does_not_wait_for_the_disk_that_events_wait_for(bundle: Path, tmp_path: Path) -> None:
    EventStore(tmp_path / "state").close()
    options = ["--port", "0", "--lame-duck-s", "0", "--state", str(tmp_path / "state")]
    command = [sys.executable, "-m", "benchmarks.slow_disk", "1.5", str(bundle), *options]
    with running(command) as process:
        order, asked = list[str](), Connection(process.address)
        teller = Connection(process.address)

        def tell() -> None:
            status, _ = teller.ask(array_of(0, 0)[1])
            order.append(f"told {status}")

        thread = threading.Thread(target=tell)
        thread.start()
        status, _ = asked.ask(request({"user_id": "u1", "k": 5}))
        order.append(f"list {status}")
        thread.join()
        teller.socket.close()
        asked.socket.close()
        assert order == ["list 200", "told 200"]
