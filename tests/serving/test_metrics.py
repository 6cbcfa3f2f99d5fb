"""What is counted, over all workers; the alerts that it sets off; history; spans."""

import json
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import Request, urlopen

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from recsys.bundle.root import assign
from recsys.bundle.write import write
from recsys.serving.page.history import COLUMNS, MOST
from recsys.serving.runtime.metrics import Metrics
from tests.helpers.service import REPOSITORY, Running, content, publish_toy, running
from tests.serving.test_life import bundle_of, wait_for
from tests.serving.test_workers import children, metrics

ALERTS = yaml.safe_load((REPOSITORY / "deploy/alerts.yaml").read_text())["groups"][0]["rules"]
PROMTOOL = shutil.which("promtool")


def openmetrics(service: Running) -> dict[str, Any]:
    """The families, as a scraper that asks for OpenMetrics reads them."""
    asked = Request(
        f"{service.admin}/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urlopen(asked, timeout=10) as response:
        assert response.headers["content-type"].startswith("application/openmetrics-text")
        return {family.name: family for family in text_string_to_metric_families(response.read().decode())}


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_metrics_stand_by_the_names_of_the_convention(tmp_path: Path, workers: str) -> None:
    root = tmp_path / "bundles"
    first = publish_toy(root)
    second = write(root, content(2)).name
    assign(root, "towers/b", second)
    with running(root, tmp_path / "log", "--admin-port", "0", "--workers", workers) as service:
        for _ in range(20):
            service.recommend(user_id="u1", k=3, placement="home", experiment="towers", arm="b")
        service.recommend(k=1000)
        families = openmetrics(service)
        counted = {sample.name: sample for family in families.values() for sample in family.samples}
        home = {"source": "known", "placement": "home", "arm": "towers/b"}
        assert {"labels": home, "value": 20.0} in [
            {"labels": one.labels, "value": one.value} for one in families["recsys_answers"].samples
        ]
        assert counted["recsys_answer_items_total"].value == 60 + 59
        assert counted["recsys_answers_short_total"].value == 1
        assert counted["recsys_search_duration_seconds_count"].value == 21
        info = families["recsys_bundle_info"].samples
        assert [one.labels["bundle_id"] for one in info] == [first]
        assert abs(counted["recsys_bundle_loaded_timestamp_seconds"].value - time.time()) < 60
        assert abs(counted["recsys_bundle_created_timestamp_seconds"].value - time.time()) < 60
        assert counted["process_resident_memory_bytes"].value > 20e6 * int(workers)
        assign(root, "champion", second)
        wait_for(lambda: {bundle_of(service) for _ in range(6)} == {second})
        wait_for(
            lambda: (
                [one.labels["bundle_id"] for one in openmetrics(service)["recsys_bundle_info"].samples]
                == [second]
            )
        )
        page = (REPOSITORY / "docs/serving.md").read_text()
        idle = {
            "process_resident_memory_bytes",
            "recsys_arm_fallbacks_total",
        }  # the latter once an arm has failed
        named = set(re.findall(r"`((?:recsys|http|process)_[a-z_]+)`", page)) - idle
        names = set(counted) | set(families) | {re.sub("_(count|sum|bucket)$", "", name) for name in counted}
        missing = (
            named - names - (set() if workers == "2" else {"recsys_workers", "recsys_worker_restarts_total"})
        )
        assert not missing
        used = set(
            re.findall(r"((?:recsys|http|process)_[a-z_]+)", (REPOSITORY / "deploy/grafana.json").read_text())
        )
        used -= {"http_response_status_code"}
        assert (
            not used
            - names
            - set(counted)
            - ({"recsys_workers", "recsys_worker_restarts_total"} if workers == "1" else set())
        )


def test_placements_cannot_grow_without_end() -> None:
    counts = Metrics()
    for number in range(500):
        counts.count_list("known", f"place-{number}", None, None, 1, short=False)
    labels = {
        sample.labels["placement"]
        for family in counts.registry.collect()
        if family.name == "recsys_answers"
        for sample in family.samples
    }
    assert len(labels) <= 52
    assert "_other" in labels


def series(before: Mapping[str, float], after: Mapping[str, float]) -> list[dict[str, str]]:
    """For promtool: a quarter of an hour of the first scrape, and one in which it goes on as it did to the
    second."""
    rows = []
    for name, value in after.items():
        was = before.get(name, 0.0)
        if name.startswith(("recsys_", "http_server")) and "_bucket" not in name:
            rows.append({"series": name, "values": f"{was}x15 {value}+{max(0.0, value - was)}x15"})
    return rows


def firing_alerts(folder: Path, before: Mapping[str, float], after: Mapping[str, float]) -> set[str]:
    """The alerts that Prometheus's own program finds firing between two scrapes, one second apart for it."""
    assert PROMTOOL is not None
    firing = set()
    for alert in ALERTS:
        name = alert["alert"]
        test = {
            "rule_files": [str(REPOSITORY / "deploy/alerts.yaml")],
            "evaluation_interval": "1m",
            "tests": [
                {
                    "interval": "1m",
                    "input_series": series(before, after),
                    "alert_rule_test": [
                        {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": []}
                        for minute in (18, 24)
                    ],
                }
            ],
        }
        (folder / "test.yaml").write_text(yaml.safe_dump(test))
        done = subprocess.run(
            [PROMTOOL, "test", "rules", str(folder / "test.yaml")], capture_output=True, text=True
        )
        said = done.stdout + done.stderr
        if done.returncode:
            assert "Labels:{" in said, said
            firing.add(name)
    return firing


def provoke_errors(service: Running, root: Path) -> None:
    for _ in range(20):
        assert service.ask("POST", "/v1/recommend", {"experiment": "towers", "arm": "broken"}).status == 503


def provoke_shedding(service: Running, root: Path) -> None:
    heavy = {"requests": [{"user_id": "u1", "k": 1000, "history": [{"item_id": "007"}]}] * 100}
    with ThreadPoolExecutor(8) as pool:
        assert 429 in {
            one.status
            for one in pool.map(lambda _: service.ask("POST", "/v1/recommend:batch", heavy), range(24))
        }


def provoke_loss(service: Running, root: Path) -> None:
    for _ in range(3):
        service.recommend()


def provoke_a_failing_swap(service: Running, root: Path) -> None:
    bad = write(root, content(9)).name
    (root / bad / "fallback.npy").write_bytes(b"")
    (root / "current").write_text(bad + "\n")
    wait_for(lambda: service.ask("GET", "/v1/model").json["swap"]["state"] == "failed")


def provoke_deaths(service: Running, root: Path) -> None:
    import os

    for _ in range(3):
        dies = min(children(service))
        os.kill(dies, signal.SIGKILL)
        wait_for(lambda: dies not in children(service))  # noqa: B023
        wait_for(lambda: metrics(service)["recsys_workers"] == 2)


CONDITIONS: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "RecsysErrorsBurnTheBudget": (provoke_errors, (), r"http_server.*_count\{.*503"),
    "RecsysSheds": (
        provoke_shedding,
        ("--threads", "1", "--waiting", "0"),
        r"shed_requests_total\{.*overloaded",
    ),
    "RecsysExposuresAreLost": (provoke_loss, ("--exposures", "/dev/full"), "exposures_lost_total"),
    "RecsysSwapFails": (provoke_a_failing_swap, (), r"swaps_total\{.*failed"),
    "RecsysWorkersDie": (provoke_deaths, ("--workers", "2"), "worker_restarts_total"),
    "RecsysBundleIsStale": (None, (), "bundle_created_timestamp_seconds"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONDITIONS)
def test_each_alert_fires_where_its_condition_is_brought_about_and_no_other_does(
    tmp_path: Path, name: str
) -> None:
    """By Prometheus's own program, where it is installed. Without it, what the rule looks at is seen to
    grow."""
    provoke, options, watched = CONDITIONS[name]
    root = tmp_path / "bundles"
    publish_toy(root)
    broken = write(root, content(8)).name
    if name == "RecsysErrorsBurnTheBudget":
        assign(root, "towers/broken", broken)
        (root / broken / "fallback.npy").write_bytes(b"")
    if name == "RecsysBundleIsStale":
        age(root, days=3)
    with running(root, tmp_path / "log", "--admin-port", "0", *options) as service:
        service.ask("GET", "/v1/health/live")
        before = metrics(service)
        if provoke is not None:
            provoke(service, root)
        after = metrics(service)
    values = [sum(value for key, value in one.items() if re.search(watched, key)) for one in (before, after)]
    if name == "RecsysBundleIsStale":
        assert values[1] < time.time() - 2 * 86_400
        moved = {
            key: value - time.time() if "created_timestamp" in key else value for key, value in after.items()
        }
        before = after = moved  # promtool's clock begins at 0
    else:
        assert values[1] > values[0]
        fresh = {key: 0.0 for key in after if "created_timestamp" in key}
        before, after = {**before, **fresh}, {**after, **fresh}
    if PROMTOOL is None:
        pytest.skip("no promtool is installed, so the rule itself is not asked: apt-get install prometheus")
    assert firing_alerts(tmp_path, before, after) == {name}


def age(root: Path, days: int) -> None:
    """Makes the current bundle of a folder one that was made so many days ago."""
    from datetime import UTC, datetime, timedelta

    from recsys.bundle.manifest import MANIFEST, SEAL, seal_of
    from recsys.bundle.root import current

    folder = current(root)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["created"] = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="seconds")
    raw = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(raw)
    (folder / SEAL).write_bytes(seal_of(raw))


def test_every_alert_has_a_section_with_its_four_parts_and_a_test() -> None:
    sections = (REPOSITORY / "docs/runbook.md").read_text().split("\n## ")[1:]
    parts = {section.splitlines()[0]: section for section in sections}
    assert set(parts) == {alert["alert"] for alert in ALERTS} == set(CONDITIONS)
    for alert in ALERTS:
        section = parts[alert["alert"]]
        assert all(f"**{part}**" in section for part in ("Means", "Look", "Do", "Undo"))
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in ("page", "ticket")


def points(service: Running) -> list[list[Any]]:
    answer = service.ask("GET", "/v1/stats?points=10000").json
    assert answer["columns"] == list(COLUMNS)
    return list(answer["rows"])


def known_of(rows: list[list[Any]]) -> float:
    """Lists of known people in points of .2 s."""
    return sum(0.2 * float(row[COLUMNS.index("known")]) for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_history_is_of_all_workers_and_outlives_them(tmp_path: Path, workers: str) -> None:
    publish_toy(tmp_path / "bundles")
    options = ("--state", str(tmp_path / "state"), "--history-s", "0.2", "--workers", workers)
    rows: list[list[Any]] = []
    for _ in range(2):
        with running(tmp_path / "bundles", Path("off"), *options) as service:
            asked = 0
            while asked < 30:
                service.recommend(user_id="u1")
                asked += 1

            wanted = asked + known_of(rows)
            wait_for(lambda: round(known_of(points(service)) - wanted) == 0)  # noqa: B023
            wait_for(lambda: len(service.ask("GET", "/v1/stats?points=2").json["rows"]) == 2)
            rows = points(service)
            service.process.terminate()
            assert service.process.wait(15) == 0
    busy = [row for row in rows if row[COLUMNS.index("requests")]]
    assert all(0 < row[COLUMNS.index("p50_ms")] <= row[COLUMNS.index("p99_ms")] for row in busy)


def test_history_keeps_so_many_points_and_no_torn_line(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")
    file = tmp_path / "state" / "history.jsonl"
    file.parent.mkdir()
    file.write_bytes(
        b"".join(b"[%d,0,0,0,null,null,0,0,0,0,0,0]\n" % at for at in range(MOST + 500)) + b"[1,2"
    )
    with running(tmp_path / "bundles", Path("off"), "--state", str(file.parent)) as service:
        rows = service.ask("GET", f"/v1/stats?points={MOST}").json["rows"]
        assert (len(rows), rows[0][0], rows[-1][0]) == (MOST, 500, MOST + 499)
        with running(
            tmp_path / "bundles", Path("off"), "--state", str(file.parent)
        ) as other:  # the file is the first one's
            assert other.ask("GET", "/v1/stats").json["rows"] == []
        assert service.ask("GET", "/v1/stats?points=10001").status == 422


class Collector(BaseHTTPRequestHandler):
    """Takes spans as OTLP sends them."""

    bodies: ClassVar[list[bytes]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_request_becomes_a_span_of_its_callers_trace(tmp_path: Path) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    publish_toy(tmp_path / "bundles")
    trace, unsampled = "4bf92f3577b34da6a3ce929d0e0e4736", "5bf92f3577b34da6a3ce929d0e0e4736"
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    with running(tmp_path / "bundles", Path("off"), "--otel", endpoint, "--otel-share", "0") as service:
        for one, flag in ((trace, "01"), (unsampled, "00")):
            service.ask(
                "POST",
                "/v1/recommend",
                {"user_id": "anna"},
                {"traceparent": f"00-{one}-00f067aa0ba902b7-{flag}"},
            )
        service.recommend()
        service.process.terminate()
        assert service.process.wait(20) == 0
    collector.shutdown()
    collector.server_close()
    assert b"anna" not in b"".join(Collector.bodies)
    spans = [
        span
        for body in Collector.bodies
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert [(span.name, span.trace_id.hex(), span.parent_span_id.hex()) for span in spans] == [
        ("POST /v1/recommend", trace, "00f067aa0ba902b7")
    ]


@pytest.mark.parametrize("at_once", [True, False])
def test_whoever_looks_finds_every_answer_counted(at_once: bool) -> None:
    counts = Metrics(at_once=at_once)
    for seconds in (0.0004, 0.02, 20.0):
        counts.count_request("POST", "/v1/recommend", 200, seconds)
        counts.time_search(seconds)
        counts.count_list("known", "home", None, None, 10, short=True)
    values = {sample.name: sample.value for family in counts.registry.collect() for sample in family.samples}
    assert values["http_server_request_duration_seconds_count"] == 3
    assert values["recsys_search_duration_seconds_count"] == 3
    assert values["recsys_answer_items_total"] == 30
    assert values["recsys_answers_short_total"] == 3


def test_answers_are_counted_once_by_many_who_look() -> None:
    counts = Metrics()
    for _ in range(2_000):
        counts.count_list("known", None, None, None, 1, short=False)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: counts.settle(), range(8)))
    assert [
        sample.value
        for family in counts.registry.collect()
        for sample in family.samples
        if sample.name == "recsys_answer_items_total"
    ] == [2_000]
