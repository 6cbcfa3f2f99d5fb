"""Several workers behind one port: started, killed, replaced, counted."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.helpers.service import REPOSITORY, Running, command, publish_toy, running
from tests.serving.test_life import PATIENCE_S, UNHURRIED, Traffic, bundle_of, failure, wait_for

pytestmark = pytest.mark.slow


def children(service: Running) -> set[int]:
    """The workers, as processes."""
    text = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text()
    return {int(pid) for pid in text.split()}


def metrics(service: Running) -> dict[str, float]:
    assert service.admin is not None
    text = urlopen(f"{service.admin}/metrics", timeout=PATIENCE_S).read().decode()
    lines = re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def have_restarted(service: Running, times: int) -> bool:
    return metrics(service)["recsys_worker_restarts_total"] == times


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two workers that several tests put to the test, one after the other; bundles are beside the log."""
    folder = tmp_path_factory.mktemp("pair")
    publish_toy(folder / "bundles")
    options = ("--workers", "2", "--admin-port", "0", "--idle-check-s", "0")
    with running(folder / "bundles", folder / "log", *options) as service:
        yield service


def answers_counted(service: Running) -> float:
    return sum(value for name, value in metrics(service).items() if name.startswith("recsys_answers_total"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_to_the_parent_drops_no_request(tmp_path: Path, number: signal.Signals) -> None:
    publish_toy(tmp_path / "bundles")
    options = ("--workers", "2", "--admin-port", "0", *UNHURRIED)
    with running(tmp_path / "bundles", tmp_path / "log", *options) as service:
        workers = children(service)
        assert len(workers) == 2
        traffic = Traffic(service)
        wait_for(lambda: len(traffic.answers) > 100)
        assert len(traffic.answers) <= answers_counted(service)
        os.kill(service.pid, number)
        assert service.process.wait(PATIENCE_S) == 0
        traffic.end()
        assert not traffic.faults
        logged = [line["request_id"] for line in service.lines()]
        assert sorted(logged) == sorted(answer["request_id"] for answer in traffic.answers)
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_killed_worker_is_replaced_and_the_counts_go_on(pair: Running) -> None:
    name = 'http_server_request_duration_seconds_count{http_request_method="POST",'
    name += 'http_response_status_code="200",http_route="/v1/recommend"}'
    restarts, asked, counted = metrics(pair).get("recsys_worker_restarts_total", 0), 0, answers_counted(pair)
    requests = metrics(pair).get(name, 0)
    for turn in range(3):
        for _ in range(10):
            pair.recommend(user_id="u1")
        asked += 10
        victim = min(children(pair))
        os.kill(victim, signal.SIGKILL)
        wait_for(partial(have_restarted, pair, restarts + turn + 1))
        wait_for(lambda: metrics(pair)["recsys_workers"] == 2)
    assert answers_counted(pair) == counted + asked
    assert metrics(pair)["recsys_worker_restarts_total"] == restarts + 3
    assert metrics(pair)[name] == requests + asked


def test_a_hangup_replaces_the_workers_one_by_one_and_nobody_notices(pair: Running) -> None:
    before = children(pair)
    traffic = Traffic(pair)
    os.kill(pair.pid, signal.SIGHUP)
    deadline = time.monotonic() + PATIENCE_S
    while children(pair) & before:
        assert time.monotonic() < deadline
        assert pair.recommend(user_id="u1")["items"]  # on a new connection each time
        assert metrics(pair)["recsys_workers"] >= 2
    wait_for(lambda: len(children(pair)) == 2)
    traffic.end()
    assert not traffic.faults
    assert answers_counted(pair) == len(pair.lines())


def test_all_workers_swap_and_verify_once(pair: Running) -> None:
    root, swaps = pair.exposures.parent / "bundles", 'recsys_swaps_total{outcome="serving"}'
    before = metrics(pair)[swaps]
    second = publish_toy(root, seed=2)
    wait_for(lambda: {bundle_of(pair) for _ in range(8)} == {second})
    wait_for(lambda: metrics(pair)[swaps] == before + 2)
    assert "mlflow" not in Path(f"/proc/{pair.pid}/maps").read_text()
    assert (
        "faiss" not in Path(f"/proc/{pair.pid}/maps").read_text()
    )  # the parent loads nothing of what answers


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    with running(tmp_path / "bundles", tmp_path / "log", "--workers", "2") as service:
        workers = children(service)
        os.kill(service.pid, signal.SIGKILL)
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_workers_end_with_a_parent_that_was_killed_while_they_began(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    begun = command(tmp_path / "bundles", "--port", "0", "--workers", "2", "--exposures", "off")
    with subprocess.Popen(begun, cwd=REPOSITORY, stderr=subprocess.DEVNULL) as parent:
        listed = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        wait_for(lambda: len(listed.read_text().split()) == 2)
        workers = listed.read_text().split()
        parent.kill()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


def test_what_stands_in_the_way_of_workers_is_one_sentence(tmp_path: Path) -> None:
    workers = ("--port", "0", "--workers", "2", "--exposures")
    root = tmp_path / "bundles"
    bundle = root / publish_toy(root)
    assert "exposures" in failure(str(root), *workers, str(bundle / "manifest.json" / "log"))
    shutil.copyfile(bundle / "users.ids", bundle / "items.ids")
    assert "items.ids is damaged" in failure(str(root), *workers, "off")
