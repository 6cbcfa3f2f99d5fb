"""A user whose project has folders `pipelines` and `serving` of its own, found before ours: nothing of ours
minds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

from recsys.pipelines.service import ask
from recsys.testing.toys import random_log
from tests.helpers.command_line import answer

pytestmark = pytest.mark.slow

COLUMNS = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]
TINY = ["model.dim=8", "model.epochs=3"]
THEIRS = "raise ImportError('this is the package of the user, and none of ours imports it')\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their folders, empty or full, and a log of clicks."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("pipelines", "serving"):
        (folder / name).mkdir()
        for module in ("__init__", "__main__", "cli", "settings"):
            (folder / name / f"{module}.py").write_text(THEIRS)
    events = random_log(5, n_users=60, n_items=40, n=3_000).interactions
    rows = (
        f"{user:03},{item:03},{at}"
        for user, item, at in zip(events.user, events.item, events.time, strict=True)
    )
    (folder / "clicks.csv").write_text("\n".join(["visitor,article,at", *rows]) + "\n")
    return folder


def recsys(project: Path, *arguments: str, rc: int = 0) -> Any:
    """The installed command, in their folder, which also stands first on the path."""
    command = [str(Path(sys.executable).with_name("recsys")), *arguments]
    environment = os.environ | {"PYTHONPATH": ".", "RECSYS_HOME": str(project)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=project)
    assert done.returncode == rc, done.stdout + done.stderr
    return done


def test_all_commands_of_the_readme_work_there(project: Path) -> None:
    assert "Commands:" in recsys(project, "--help").stdout
    recsys(project, "data", "check", "clicks.csv", *COLUMNS)
    run_id = answer(recsys(project, "train", "clicks.csv", *COLUMNS, *TINY, "--json"))["run_id"]
    recsys(project, "export", "last")
    bundles = project / "mlruns/bundles"
    assert answer(recsys(project, "recommend", str(bundles), "--user", "001", "--json"))["items"]
    assert answer(recsys(project, "bundles", "list", "--json"))["bundles"]
    assert run_id[:8] in recsys(project, "runs").stdout
    recsys(project, "promote", "last", "--as", "champion")
    assert "stale_data" in recsys(project, "doctor", str(bundles), rc=1).stdout  # clicks of long ago
    recsys(project, "why", str(bundles), "001", "002")
    recsys(project, "tune", "clicks.csv", *COLUMNS, "--trials", "2", *TINY)
    recsys(project, "models")


@pytest.mark.parametrize(
    "start", [["recsys", "serve"], ["python", "-m", "recsys.serving"]], ids=["recsys", "-m"]
)
def test_the_service_is_ours_and_not_theirs(project: Path, start: list[str]) -> None:
    command = [str(Path(sys.executable).with_name(start[0])), *start[1:], "mlruns/bundles", "--port", "0"]
    command += ["--until-stdin-closes"]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": "."},
        cwd=project,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        assert len(ask(json.loads(line)["url"], {"user_id": "001", "k": 3})["items"]) == 3
    finally:
        process.communicate(timeout=20)
    assert process.returncode == 0
