"""The files of `deploy/`: held against the code, and by the programs that read them, as far as there are
any."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from recsys.pipelines.cli import main as recsys
from recsys.serving.cli import main as serving
from recsys.serving.settings import ServingSettings
from tests.helpers.service import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
PODS: list[Any] = list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


def settings_of(arguments: list[str]) -> ServingSettings:
    """The settings that a command line gives."""
    options = serving.make_context("serve", list(arguments)).params
    given = {
        name: value
        for name, value in options.items()
        if name in ServingSettings.model_fields and value is not None
    }
    return ServingSettings.build(given, where="here")


def container_arguments() -> list[str]:
    match = re.search(r"^CMD (\[.*\])$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE)
    assert match
    return list(json.loads(match[1]))


def unit(name: str) -> str:
    match = re.search(rf"^{name}=(.*)$", (DEPLOY / "recsys.service").read_text(), re.MULTILINE)
    assert match, name
    return match[1]


def test_the_arguments_are_options_of_the_service() -> None:
    container = PODS[0]["spec"]["template"]["spec"]["containers"][0]
    for arguments in (container_arguments(), container["args"], shlex.split(unit("ExecStart"))[3:]):
        assert settings_of(arguments).workers == 2


def test_the_image_runs_without_rights_and_installs_what_serves() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    assert re.search(r"^USER \d+:\d+$", text, re.MULTILINE)
    assert 'ENTRYPOINT ["python"' in text  # a list: signals reach the service, which is process 1
    for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in source.split():
            assert (REPOSITORY / name).exists(), name
    assert "'.[serve]'" in text


def test_pods_are_asked_and_stopped_as_the_service_needs() -> None:
    pod = PODS[0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    settings = settings_of(container["args"])
    assert (
        container["startupProbe"]["httpGet"]["path"]
        == container["readinessProbe"]["httpGet"]["path"]
        == "/v1/health/ready"
    )
    assert container["livenessProbe"]["httpGet"]["path"] == "/v1/health/live"
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    whole = sleep + settings.lame_duck_s + settings.drain_s + settings.stop_s
    assert pod["terminationGracePeriodSeconds"] > whole
    assert (
        sleep + settings.lame_duck_s
        > container["readinessProbe"]["periodSeconds"] * container["readinessProbe"]["failureThreshold"]
    )
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert "subPath" not in mounts["keys"]  # else a changed secret would not reach it
    assert Path(settings.keys).is_relative_to(mounts["keys"]["mountPath"])
    assert container["args"][0] == mounts["bundles"]["mountPath"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": settings.port, "admin": settings.admin_port}
    assert PODS[1]["spec"]["ports"][0]["targetPort"] == "http"
    assert PODS[1]["spec"]["selector"] == PODS[0]["spec"]["template"]["metadata"]["labels"]


def test_the_unit_stops_and_reloads_as_the_service_needs() -> None:
    settings = settings_of(shlex.split(unit("ExecStart"))[3:])
    assert unit("KillSignal") == "SIGTERM"
    assert "-HUP $MAINPID" in unit("ExecReload")
    assert unit("KillMode") == "mixed"  # the parent hands the signal on; what is left at the end is killed
    assert int(unit("TimeoutStopSec")) > settings.lame_duck_s + settings.drain_s + settings.stop_s


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze is installed")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "recsys.service").read_text().replace("/opt/recsys/bin/python", sys.executable)
    (tmp_path / "recsys.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "recsys.service")],
        capture_output=True,
        text=True,
    )
    assert "recsys.service" not in done.stderr, done.stderr


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool is installed: apt-get install prometheus"
)
def test_prometheus_takes_the_rules() -> None:
    done = subprocess.run(
        ["promtool", "check", "rules", str(DEPLOY / "alerts.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "6 rules found" in done.stdout


def test_prometheus_reads_the_admin_port_with_a_key_and_loads_the_rules() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"][0]["targets"] == [
        f"localhost:{settings_of(container_arguments()).admin_port}"
    ]
    assert job["authorization"]["credentials_file"].startswith("/")
    assert all((DEPLOY / rules).exists() for rules in scrape["rule_files"])


def test_the_dashboard_asks_for_what_there_is_and_has_no_panel_twice() -> None:
    board = json.loads((DEPLOY / "grafana.json").read_text())
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) == 10
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_every_threat_names_tests_that_are_there() -> None:
    page = (REPOSITORY / "docs/threat-model.md").read_text()
    named = re.findall(r"`(test_\w+\.py)(?:::(test_\w+))?`", page)
    assert len(named) > 20
    for file, test in named:
        texts = [path.read_text() for path in (REPOSITORY / "tests").rglob(file)]
        assert any(not test or f"def {test}(" in text for text in texts), (file, test)


def options_of(command: click.Command) -> set[str]:
    """The options of a command, and of all below it."""
    own = {option for one in command.params if isinstance(one, click.Option) for option in one.opts}
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return own.union(*(options_of(one) for one in below))


def test_options_of_pages_are_options() -> None:
    known = options_of(serving) | options_of(recsys) | {"--no-deps", "--upgrade"}  # the last two are pip's
    for page in ("serving.md", "runbook.md", "threat-model.md"):
        used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (REPOSITORY / "docs" / page).read_text()))
        assert used <= known, used - known
