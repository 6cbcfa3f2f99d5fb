"""The life of a service: start, swap, roll back, failing loads, stop, kill; and what it never imports."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.bundle.bundle import Bundle
from recsys.bundle.root import point_to
from recsys.bundle.write import publish
from recsys.serving.app import create_app
from recsys.serving.exposure import ExposureLog, Shown
from recsys.serving.settings import ServingSettings
from recsys.serving.state import Store
from tests.helpers.service import REPOSITORY, Running, content, publish_toy, running
from tests.helpers.service_inside import in_process

pytestmark = pytest.mark.slow

FORBIDDEN = ("torch", "pandas", "mlflow", "numba", "scipy", "sklearn", "pyarrow")


PATIENCE_S = 120  # a bound for what never comes; a starved machine is slow
UNHURRIED = ("--drain-s", "60")  # a client that is starved itself asks in time, and leaves when told to


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def swap_of(service: Running) -> Any:
    return service.ask("GET", "/v1/model").json["swap"]


def bundle_of(service: Running) -> str:
    bundle_id: str = service.ask("GET", "/v1/model").json["bundle_id"]
    return bundle_id


class Traffic:
    """Four clients that ask over connections kept alive until told to stop, or until the service is gone."""

    def __init__(self, service: Running) -> None:
        self.service, self.answers, self.faults = service, list[Any](), list[str]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = self.service.connection()
        while not self._stop.is_set():
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:
                break
            try:
                connection.request(
                    "POST", "/v1/recommend", b'{"user_id": "u1"}', {"content-type": "application/json"}
                )
                response = connection.getresponse()
                body = response.read()
                (self.answers if response.status == 200 else self.faults).append(json.loads(body))
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
                break
        connection.close()

    def end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_swap_and_roll_back_under_load(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    first = publish_toy(root)
    with running(root, tmp_path / "log") as service:
        traffic = Traffic(service)
        second = publish_toy(root, seed=2)
        wait_for(lambda: bundle_of(service) == second)  # the check has the lowest claim on a busy processor
        wait_for(
            lambda: str(root / first) not in Path(f"/proc/{service.pid}/maps").read_text()
        )  # memory given back
        point_to(root, first)
        wait_for(lambda: bundle_of(service) == first)
        traffic.end()
        assert not traffic.faults
        assert {answer["bundle_id"] for answer in traffic.answers} == {first, second}
        assert len(service.lines()) == len(traffic.answers)


def test_a_damaged_bundle_leaves_the_old_one_serving(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    first = publish_toy(root)
    with running(root, tmp_path / "log") as service:
        bad = publish(tmp_path / "elsewhere", content(3))
        damaged = bytearray((bad / "fallback.npy").read_bytes())
        damaged[-1] ^= 1
        (bad / "fallback.npy").write_bytes(damaged)
        shutil.move(bad, root / bad.name)
        (root / "next").write_text(bad.name)
        (root / "next").rename(root / "current")  # by hand, since `point_to` refuses a damaged bundle
        wait_for(lambda: swap_of(service)["state"] == "failed")
        assert "fallback.npy is damaged" in swap_of(service)["error"]
        assert swap_of(service)["bundle_id"] == bad.name
        assert service.recommend(user_id="u1")["bundle_id"] == first
        ready = service.ask("GET", "/v1/health/ready")
        assert (ready.status, ready.json["status"]) == (200, "degraded")
        (root / "current").unlink()
        wait_for(lambda: "neither a bundle nor" in str(swap_of(service)["error"]))
        second = publish_toy(root, seed=2)
        wait_for(lambda: bundle_of(service) == second)
        assert swap_of(service)["error"] is None
        assert service.ask("GET", "/v1/health/ready").json["status"] == "ready"


def test_the_old_bundle_goes_with_its_last_request(tmp_path: Path) -> None:
    publish_toy(tmp_path)
    started: list[Any] = []
    store = Store(tmp_path, 0.05, lambda outcome: started.append(type(outcome)))
    store.start()
    try:
        wait_for(lambda: bool(started))
        assert started == [Bundle]
        assert store.live is not None
        old = weakref.ref(store.live.champion)
        second = publish_toy(tmp_path, seed=2)
        wait_for(lambda: store.live is not None and store.live.champion.bundle_id == second)
        wait_for(lambda: old() is None)
    finally:
        store.close()


def test_not_ready_before_the_first_bundle(tmp_path: Path) -> None:
    app = create_app(
        tmp_path / "nothing", ServingSettings(poll_s=0.05, exposures=tmp_path / "log", idle_check_s=0)
    )
    with in_process(app) as ask:
        for method, path in (("GET", "/v1/health/ready"), ("GET", "/v1/model"), ("POST", "/v1/recommend")):
            wait_for(lambda method=method, path=path: "neither" in ask(method, path)[1])  # type: ignore[misc]
            status, text = ask(method, path)
            assert status == 503
            assert json.loads(text)["code"] == "not_ready"
        assert ask("GET", "/v1/health/live")[0] == 200
        publish_toy(tmp_path / "nothing")
        wait_for(lambda: ask("GET", "/v1/health/ready")[0] == 200)


def test_who_comes_before_balancers_have_turned_away_is_answered(tmp_path: Path) -> None:
    """For a while after SIGTERM readiness is refused, and new connections are still taken."""
    publish_toy(tmp_path / "bundles")
    with running(tmp_path / "bundles", tmp_path / "log", "--lame-duck-s", str(PATIENCE_S)) as service:
        os.kill(service.pid, signal.SIGTERM)
        wait_for(lambda: service.ask("GET", "/v1/health/ready").status == 503)
        assert service.ask("GET", "/v1/health/ready").json["code"] == "draining"
        assert service.ask("GET", "/v1/health/live").status == 200
        assert service.recommend(user_id="u1")["items"]  # on a new connection
        os.kill(service.pid, signal.SIGTERM)  # whoever says it twice does not want to wait
        assert service.process.wait(PATIENCE_S) == 0
        with pytest.raises(ConnectionRefusedError):
            service.recommend()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_drops_no_request(tmp_path: Path, number: signal.Signals) -> None:
    publish_toy(tmp_path / "bundles")
    with running(tmp_path / "bundles", tmp_path / "log", *UNHURRIED) as service:
        traffic = Traffic(service)
        wait_for(lambda: len(traffic.answers) > 50)
        os.kill(service.pid, number)
        assert service.process.wait(PATIENCE_S) == 0
        traffic.end()
        assert not traffic.faults
        logged = [line["request_id"] for line in service.lines()]
        assert sorted(logged) == sorted(answer["request_id"] for answer in traffic.answers)


def test_kill_9_loses_no_answered_line_and_a_torn_one_is_closed(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    with running(tmp_path / "bundles", tmp_path / "log") as service:
        traffic = Traffic(service)
        wait_for(lambda: len(traffic.answers) > 100)
        os.kill(service.pid, signal.SIGKILL)
        service.process.wait(PATIENCE_S)
        traffic.end()
        logged = {line["request_id"] for line in service.lines()}
        assert {answer["request_id"] for answer in traffic.answers} <= logged
    with (tmp_path / "log").open("ab") as file:
        file.write(b'{"schema": 1, "torn')
    with running(tmp_path / "bundles", tmp_path / "log") as service:
        answer = service.recommend()
        last = (tmp_path / "log").read_bytes().splitlines()[-2:]
        assert last[0].endswith(b"torn")
        assert json.loads(last[1])["request_id"] == answer["request_id"]


def test_a_half_written_line_is_lost_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, shown = ExposureLog(tmp_path / "deep" / "log"), Shown("r1", 1, None, None)
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, text: write(file, text[:3]))
        log.append(lambda _: b'{"a": 1}\n', shown)
    assert (log.tally.written, log.tally.lost) == (0, 1)
    assert log.tally.error
    log.append(lambda _: b'{"b": 2}\n', shown)
    assert vars(log.tally) == {"written": 1, "lost": 1, "error": None}
    log.close()
    assert (tmp_path / "deep" / "log").read_text().splitlines() == ['{"a', '{"b": 2}']


def test_the_service_ends_with_its_standard_input(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    options = ("--until-stdin-closes",)
    with running(tmp_path / "bundles", tmp_path / "log", *options, stdin=subprocess.PIPE) as service:
        service.recommend()
        assert service.process.stdin is not None
        service.process.stdin.close()
        assert service.process.wait(PATIENCE_S) == 0


def failure(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "recsys.serving", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2
    assert not done.stdout
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    return lines[-1]


def test_what_stands_in_the_way_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    root, log = tmp_path / "bundles", str(tmp_path / "log")
    bundle = root / publish_toy(root)
    assert "neither a bundle nor" in failure(str(tmp_path / "none"), "--port", "0", "--exposures", log)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"port {port}: Address already in use" in failure(
            str(root), "--port", port, "--exposures", log
        )
    assert "cannot be appended to" in failure(str(root), "--port", "0", "--exposures", str(tmp_path))
    assert "setting 'threads' in the command line" in failure(str(root), "--threads", "x")
    (bundle / "fallback.npy").write_bytes(b"x")
    assert "fallback.npy is damaged" in failure(str(root), "--port", "0", "--exposures", log)


def test_forbidden_libraries_stay_out_through_a_whole_life(tmp_path: Path) -> None:
    root = tmp_path / "bundles"
    first, second = publish_toy(root), publish_toy(root, seed=2)
    point_to(root, first)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.helpers.service_inside",
            root,
            tmp_path / "log",
            first,
            second,
            *FORBIDDEN,
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"answered": 22, "threads_of_openmp": 1, "present": []}
