"""The wheel: what is in it, and that it serves from an empty environment, outside the repository."""

import json
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

from recsys.events.store import EventStore
from tests.helpers.service import REPOSITORY, Running, command, publish_toy

FORBIDDEN = {"torch", "pandas", "mlflow", "numba", "scipy", "scikit-learn"}
LEFT_OUT = shutil.ignore_patterns(".*", "venv", "mlruns", "build", "dist", "*.egg-info", "__pycache__")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing an earlier build left behind gets in."""
    copy = tmp_path_factory.mktemp("wheel") / "source"
    shutil.copytree(REPOSITORY, copy, ignore=LEFT_OUT, symlinks=True)
    build = [
        sys.executable,
        "-m",
        "build",
        "--outdir",
        str(copy.parent),
        str(copy),
    ]  # sdist, and the wheel from it
    done = subprocess.run(build, capture_output=True, text=True, cwd=copy.parent)
    assert done.returncode == 0, done.stderr
    return next(copy.parent.glob("*.whl"))


@pytest.fixture(scope="module")
def service_alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the wheel with its extra `serve` and nothing else."""
    environment = tmp_path_factory.mktemp("serve") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pins = ["-c", str(REPOSITORY / "constraints.txt")]
    install = [
        str(environment / "bin/python"),
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        *pins,
    ]
    subprocess.run([*install, f"{wheel}[serve]"], check=True)
    return environment / "bin"


def test_the_wheel_holds_the_program_and_nothing_else(wheel: Path) -> None:
    tops = {"recsys": "recsys", "pipelines": "recsys/pipelines", "serving": "recsys/serving"}
    wanted = {
        f"{inside}/{path.relative_to(REPOSITORY / top).as_posix()}"
        for top, inside in tops.items()
        for path in (REPOSITORY / top).rglob("*")
        if path.is_file() and (path.suffix in (".py", ".toml") or path.parent.name == "static")
        if not any(parent.is_symlink() for parent in path.parents)
    }
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == wanted | {"recsys/py.typed"}
    about = ZipFile(wheel).read(
        next(name for name in ZipFile(wheel).namelist() if name.endswith("entry_points.txt"))
    )
    assert b"recsys = recsys.pipelines.cli:main" in about
    assert wheel.name.startswith("recsys_embeddings-")  # `recsys` is somebody else's on the public registry


def test_a_fresh_install_of_the_service_answers(service_alone: Path, tmp_path: Path) -> None:
    python = str(service_alone / "python")
    listed = json.loads(subprocess.check_output([python, "-m", "pip", "list", "--format", "json"]))
    names = {package["name"].lower() for package in listed}
    assert not names & FORBIDDEN
    assert "fastapi" in names
    publish_toy(tmp_path / "bundles")
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    where = subprocess.check_output(
        [python, "-c", "import recsys; print(recsys.__file__)"], text=True, cwd=outside
    )
    assert where.startswith(str(service_alone.parent))
    log = tmp_path / "log"
    arguments = command(tmp_path / "bundles", "--port", "0", "--exposures", str(log))[1:]
    with subprocess.Popen([python, *arguments], stdout=subprocess.PIPE, text=True, cwd=outside) as process:
        assert process.stdout
        try:
            service = Running(process, exposures=log, **json.loads(process.stdout.readline()))
            assert service.recommend(user_id="u1")["source"] == "known"
            assert len(service.lines()) == 1
        finally:
            process.terminate()
            assert process.wait(10) == 0


def test_the_page_leads_from_the_wheel_to_a_service_that_is_replaced(
    service_alone: Path, tmp_path: Path
) -> None:
    """The commands of docs/serving.md as they stand, but for paths and ports, and for what installs the
    wheel."""
    section = (
        (REPOSITORY / "docs/serving.md")
        .read_text()
        .split("## From a wheel to a service")[1]
        .split("\n## ")[0]
    )
    _, start, ask, restart = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in (start, ask, restart) for line in block.splitlines()]
    assert sum("pip install" in line for line in lines) == 2
    publish_toy(tmp_path / "bundles")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"8000": str(one.getsockname()[1]), "9000": str(other.getsockname()[1])}
    changed = {
        "/srv/recsys/bundles": str(tmp_path / "bundles"),
        "/var/lib/recsys": str(tmp_path / "home"),
        **ports,
    }
    changed |= {
        "/opt/recsys/bin": str(service_alone),
        "0.0.0.0": "127.0.0.1",
        "kill -HUP 10997": 'kill -HUP "$service"',
    }
    script = ["set -e"]
    for line in lines:
        if "pip install" in line or "-m venv" in line or line.startswith("{"):
            continue
        for old, new in changed.items():
            line = line.replace(old, new)
        if line.startswith("recsys serve"):
            script += [f"{line} > recsys.out &", "service=$!", "trap 'kill $service; wait $service' EXIT"]
            script += ["until grep -q url recsys.out; do sleep 0.1; done"]
            script += ["before=$(cat /proc/$service/task/$service/children)", 'echo "$before" > before']
        elif line.startswith("kill"):
            script += [
                line,
                "for one in $before; do while kill -0 $one 2>/dev/null; do sleep 0.1; done; done",
            ]
        else:
            script += [f"{line} -f; echo" if line.startswith("curl") else line]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [line for line in done.stdout.splitlines() if line.startswith('{"')]
    assert [json.loads(line).get("status") or json.loads(line)["source"] for line in answers] == [
        "ready",
        "fallback",
    ]
    assert "recsys_workers 2.0" in done.stdout
    debug = json.loads(done.stdout[done.stdout.rindex('{\n "pid"') :])
    assert [worker["ready"] for worker in debug["workers"]] == [True, True]
    assert not {str(worker["pid"]) for worker in debug["workers"]} & set(
        (tmp_path / "before").read_text().split()
    )


def test_without_an_extra_a_command_says_which_one_it_needs(service_alone: Path, tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles")

    def run_program(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path)
        return done.returncode, done.stderr + done.stdout

    recsys = str(service_alone / "recsys")
    status, answer = run_program(recsys, "recommend", "bundles", "--user", "u1", "-k", "1")
    assert status == 0
    assert answer.startswith("known: ")
    rows = [f"u{at % 20},i{at % 7},{1_700_000_000 + 3_600 * at}" for at in range(400)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    status, answer = run_program(recsys, "data", "check", "clicks.csv")  # needs none
    assert status in (0, 1), answer
    assert "400" in answer
    EventStore(tmp_path / "mlruns/state").close()
    bundles = ["--to", "bundles"]
    for works in (
        ["deploy", *bundles],
        ["bundles", "prune", "bundles", "--keep", "1"],
        ["forget", "me", "--finish"],
    ):
        # what the runbook has an operator do where nothing is learned
        status, answer = run_program(recsys, *works)
        assert status == 0, answer
    for refused in (
        ["deploy", *bundles, "--roll-back"],
        ["trace", "x"],
        ["replay", "events:", "--bundle", "bundles"],
    ):
        status, answer = run_program(recsys, *refused)
        assert status == 2
        assert "No module named" not in answer
    for wanting in (["train", "clicks.csv"], ["runs"], ["models"]):
        status, answer = run_program(recsys, *wanting)
        assert status == 2
        assert answer.count("\n") == 1
        assert "No module named" in answer
        assert "'recsys-embeddings[train]'" in answer
    subprocess.run(
        [str(service_alone / "python"), "-m", "pip", "uninstall", "-q", "-y", "uvicorn"], check=True
    )
    status, answer = run_program(recsys, "serve", "bundles")
    assert (status, answer.count("\n")) == (2, 1)
    assert "'recsys-embeddings[serve]'" in answer


def test_the_lowest_versions_that_are_pinned_are_those_that_are_stated() -> None:
    """`make soak` installs these pins: a bound that nobody runs is a guess."""
    pins = dict(
        line.split("==")
        for line in (REPOSITORY / "constraints-lowest.txt").read_text().splitlines()
        if "==" in line
    )
    stated = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = stated["optional-dependencies"]
    for group in (stated["dependencies"], *(extras[name] for name in ("train", "serve", "dev"))):
        for line in group:
            name, bound = line.split(">=")
            pinned = pins[name.lower().partition("[")[0]].split(".")
            assert pinned[: len(bound.split("."))] == bound.split("."), line
