"""The command line in real processes, with a real MLflow store and a real service."""

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import load
from recsys.errors import SettingError
from recsys.models.als.als import ALSSettings
from recsys.models.registry import MODELS
from recsys.pipelines.run.settings import CONFIGS, load_settings
from recsys.testing.toys import random_log
from tests.helpers.command_line import TINY, answer, recsys

COMMANDS = ["demo", "train", "evaluate", "export", "recommend", "serve", "models"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def clicks(home: Path) -> Path:
    """A user's own CSV, with column names of their own and ids that look like numbers."""
    data = random_log(5, n_users=60, n_items=40, n=3000)
    events = data.interactions
    lines = [
        f"{user:03},{item:03},{time}"
        for user, item, time in zip(events.user, events.item, events.time, strict=True)
    ]
    path = home / "clicks.csv"
    path.write_text("visitor,article,at\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def training(home: Path, clicks: Path) -> Any:
    columns = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]
    return answer(recsys(home, "train", str(clicks), *columns, *TINY, "--json"))


@pytest.fixture(scope="module")
def root(home: Path, training: Any) -> Path:
    return Path(answer(recsys(home, "export", training["run_id"], "--json"))["root"])


def test_train_prints_one_object_with_what_it_promises(training: Any) -> None:
    assert {"run_id", "bundle", "metrics", "comparisons", "seconds"} <= set(training)
    for row in ("als", "popularity", "popularity_7_days", "popularity_30_days", "popularity_365_days"):
        for interval in training["metrics"][row].values():
            assert 0 <= interval["low"] <= interval["mean"] <= interval["high"] <= 1
    assert {row["second"] for row in training["comparisons"]} == set(training["metrics"]) - {"als"}


def test_the_run_holds_settings_data_code_figures_curves_and_bundle(home: Path, training: Any) -> None:
    with sqlite3.connect(home / "mlruns/mlflow.db") as store:
        run = (training["run_id"],)
        params = dict(store.execute("select key, value from params where run_uuid = ?", run))
        tags = dict(store.execute("select key, value from tags where run_uuid = ?", run))
        metrics = store.execute("select key, value, step from metrics where run_uuid = ?", run).fetchall()
    store.close()
    assert params["model.dim"] == "8"
    assert params["seed"] == "1"
    assert {
        f"model.{name}" for name in ALSSettings.model_fields
    } < params.keys()  # those left at their defaults too
    assert not any(name.startswith("world.") for name in params)
    assert len(tags["data_digest"]) == 64
    assert int(tags["train.first"]) < int(tags["train.last"])
    assert {"git", "versions.numpy", "bundle_id", "split"} <= set(tags)
    latest = {key: value for key, value, step in metrics if step == 0}
    interval, names = training["metrics"]["als"]["ndcg_at_10"], ("", "interval/%s_low", "interval/%s_high")
    logged = [latest[name % "ndcg_at_10" if name else "ndcg_at_10"] for name in names]
    assert logged == pytest.approx(list(interval.values()))
    assert latest["popularity/ndcg_at_10"] == pytest.approx(
        training["metrics"]["popularity"]["ndcg_at_10"]["mean"]
    )
    assert sum(key == "learning_als/objective" for key, _, _ in metrics) == 3
    artifacts = home / "mlruns/artifacts" / training["run_id"] / "artifacts"
    assert {"settings.json", "comparisons.json", "values.npz"} <= {
        path.name for path in (artifacts / "record").iterdir()
    }
    top = sorted(path.name for path in artifacts.iterdir())
    assert top[0].endswith(".png")  # what people look at first stands first
    assert {"model", "record", "table.md"} <= set(top)
    assert not (
        artifacts / "model/bundle"
    ).exists()  # the store has its address and digest, and a copy once it is registered
    placed = home / tags["bundle_address"]
    assert placed == Path(training["bundle"])
    assert (placed / "manifest.sha256").read_text().split()[0] == tags["bundle_digest"]
    assert [path for path in (home / "mlruns/trained").iterdir() if path.is_dir()] == [placed]


def test_the_same_settings_give_the_same_figures_and_space(home: Path, clicks: Path, training: Any) -> None:
    columns = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]
    again = answer(recsys(home, "train", str(clicks), *columns, *TINY, "--json"))
    assert again["metrics"] == training["metrics"]
    first, second = (
        json.loads(Path(run["bundle"], "manifest.json").read_text()) for run in (training, again)
    )
    assert first["space_id"] == second["space_id"]
    assert (first["lineage"]["run_id"], second["lineage"]["run_id"]) == (training["run_id"], again["run_id"])
    for name in ("item_vectors.npy", "encoder/table.npy", "items.ids", "histories.items.npy"):
        assert first["files"][name] == second["files"][name]


def test_evaluating_the_exported_bundle_gives_the_figures_of_its_run(
    home: Path, root: Path, training: Any
) -> None:
    """The metric measures what is served."""
    judged = answer(recsys(home, "evaluate", str(root), "--json"))
    for metric, interval in training["metrics"]["als"].items():
        assert judged["metrics"][metric]["mean"] == pytest.approx(interval["mean"], abs=1e-9)


def test_recommend_answers_known_users_histories_and_strangers(home: Path, root: Path) -> None:
    known = answer(recsys(home, "recommend", str(root), "--user", "007", "-k", "5", "--json"))
    assert (known["source"], len(known["items"])) == ("known", 5)
    fresh = answer(recsys(home, "recommend", str(root), "--history", "003, 017,nothing", "--json"))
    assert (fresh["source"], fresh["ignored"]) == ("history", ["nothing"])
    assert not {"003", "017"} & {item["item_id"] for item in fresh["items"]}
    assert answer(recsys(home, "recommend", str(root), "--json"))["source"] == "fallback"
    assert "reason" in recsys(home, "recommend", str(root), "--user", "007").stdout


def test_a_second_export_moves_the_pointer_and_keeps_the_first(home: Path, root: Path, training: Any) -> None:
    first = (root / "current").read_text().strip()
    recsys(home, "export", "last", "--to", str(root))
    second = (root / "current").read_text().strip()
    assert first != second
    assert (root / first / "manifest.json").is_file()
    recsys(home, "export", training["run_id"], "--to", str(root))
    assert (root / "current").read_text().strip() == first


def test_the_demo_on_another_world_runs_the_whole_line(home: Path) -> None:
    size = ["world.users=600", "world.items=150", "world.seed=7", "world.events_per_user=20"]
    told = "import json; from recsys.pipelines.console import Steps; from recsys.pipelines.demo import demo; "
    told += "from recsys.pipelines.run.settings import load_settings; settings = load_settings('world', "
    told += f"{[*size, *TINY]}, data='world'); print(json.dumps(demo(settings, Steps())))"
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", told],
        env={**os.environ, "RECSYS_HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )
    result = answer(said)
    _tells_a_story(said.stdout.splitlines()[:-1], result)
    assert {"seconds", "metrics", "comparisons", "attainable", "bundle", "run_id", "recommendations"} <= set(
        result
    )
    truth = result["attainable"]["ndcg_at_10"]
    assert truth["oracle"] > truth["informed"] > truth["popularity"]
    assert truth["informed"] > truth["als"] > truth["popularity"]
    sources = [reply["source"] for reply in result["recommendations"].values()]
    assert sources == ["known", "history", "fallback"]
    titles = json.loads((Path(result["bundle"]) / "manifest.json").read_text())["counts"]["items"]
    assert titles == 150
    for person, reply in result["recommendations"].items():
        assert len(reply["items"]) == 10
        for item in reply["items"]:
            assert item["title"]
            assert item["reason"].startswith("popular now in " if person == "a stranger" else "because of ")


def _tells_a_story(lines: list[str], result: Any) -> None:
    """Two screens of lines that fit: the data, what was compared, the winner's answers, and what is next."""
    assert len(lines) <= 80 - len(result["seconds"])  # a terminal has a line for each step
    paths = ("recsys serve", "mlflow ui", "recsys train")
    assert not [line for line in lines if len(line) > 100 and not any(path in line for path in paths)]
    parts = [line[:2] for line in lines if line[:2] in ("1.", "2.", "3.", "4.")]
    assert parts == ["1.", "2.", "3.", "4."]
    text = " ".join(lines)
    for person, reply in result["recommendations"].items():
        assert f"For {person} ({reply['source']}): {reply['why']}" in text
        assert text.index(reply["items"][0]["title"]) < text.index("4. ")
    rows = [line.replace("|", " ").split() for line in lines if line.startswith("|")]
    assert ["als", f"{result['metrics']['als']['ndcg_at_10']['mean']:.4f}"] in [row[:2] for row in rows]
    assert f"Attainable gain of als: {result['attainable']['gain']['mean']:.3f}" in text
    readme = (Path(__file__).parents[2] / "README.md").read_text().split("1. The data")[1].split("```")[0]
    for line in readme.splitlines()[1:]:
        if line.startswith(("2.", "3.", "4.", "| model")):
            assert line.split() in map(str.split, lines)
    question = shlex.split(next(line for line in lines if line.strip().startswith("-d ")))[1]
    asked = result["recommendations"]["a newcomer with three clicks"]["request"]
    assert json.loads(question) == asked


def test_the_demo_of_domains_answers_in_one_by_a_history_of_the_other(home: Path) -> None:
    """Over HTTP, and as the bundle says it in this process: the same items, to 1e-4 the same scores."""
    size = ["world.users=800", "world.items=120", "model.epochs=3", "model.dim=16", "threads=1"]
    result = answer(recsys(home, "demo", "--domains", *size, "--json"))
    bundle, asked = load(Path(result["bundle"])), 0
    for person, reply in result["recommendations"].items():
        if "asks for" not in person:
            continue
        asked += 1
        domain, clicks = (
            reply["request"]["domain"],
            [event["item_id"] for event in reply["request"]["history"]],
        )
        prefix = domain[:-1] + "-"
        assert not any(click.startswith(prefix) for click in clicks)
        assert reply["source"] == "history"
        assert all(item["item_id"].startswith(prefix) and item["reason"] for item in reply["items"])
        here = respond(bundle, Question(k=5, domain=domain, history=[Event(click) for click in clicks]))
        assert [item.item_id for item in here.items] == [item["item_id"] for item in reply["items"]]
        for one, other in zip(here.items, reply["items"], strict=True):
            assert one.score == pytest.approx(other["score"], abs=1e-4)
    assert asked == 2


def test_two_first_runs_at_once_share_one_database(tmp_path: Path, clicks: Path) -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "recsys.pipelines.cli",
        "train",
        str(clicks),
        "--json",
        *TINY,
    ]
    columns = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]
    environment = {**os.environ, "RECSYS_HOME": str(tmp_path)}
    root = Path(__file__).parents[2]
    both = [
        subprocess.Popen(
            [*command, *columns], env=environment, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
        assert json.loads(out.splitlines()[-1])["run_id"]
    with sqlite3.connect(tmp_path / "mlruns/mlflow.db") as store:
        finished = store.execute("select count(*) from runs where status = 'FINISHED'").fetchone()
    store.close()
    assert finished == (2,)


def test_a_dead_tracking_server_loses_no_model(tmp_path: Path, clicks: Path) -> None:
    columns = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]
    said = recsys(
        tmp_path, "train", str(clicks), *columns, *TINY, "--json", MLFLOW_TRACKING_URI="http://127.0.0.1:9"
    )
    assert "warning: no MLflow run" in said.stderr
    assert answer(said)["run_id"] is None
    exported = answer(recsys(tmp_path, "export", answer(said)["bundle"], "--json"))
    assert (
        answer(recsys(tmp_path, "recommend", exported["root"], "--user", "007", "--json"))["source"]
        == "known"
    )


def test_a_dry_run_checks_and_writes_nothing(tmp_path: Path) -> None:
    settings = answer(recsys(tmp_path, "train", "ml-100k", "--dry-run", "--json", "model.dim=7"))
    assert (settings["model"]["dim"], settings["split"]["kind"]) == (7, "later_half")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    assert len(recsys(tmp_path, command, "--help").stdout.splitlines()) > 3
    assert command in recsys(tmp_path, "--help").stdout


def test_models_are_listed_with_defaults_and_reasons(tmp_path: Path) -> None:
    listed = answer(recsys(tmp_path, "models", "--json"))
    assert set(listed) == set(MODELS)
    for model in listed.values():
        assert all(setting["meaning"] for setting in model["settings"].values())


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_config_parses_and_says_its_purpose_and_command(path: Path) -> None:
    settings = load_settings(str(path), [])
    assert settings.data == path.stem or settings.data == "world"  # a world of its own character
    lines = path.read_text().splitlines()
    assert lines[0].startswith("# Purpose: ")
    assert lines[1].startswith("# Command: recsys ")


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults() -> None:
    assert load_settings("world", []).model_settings["dim"] == 32
    assert load_settings("world", ["model.dim=5"]).model_settings["dim"] == 5
    assert load_settings("world", ["model.dim=5"]).model_settings["unobserved_weight"] == 0.02
    with pytest.raises(SettingError, match=r"columns\.user is unknown"):
        load_settings(None, ["columns.user='x'"])


def test_threads_are_set_where_they_are_asked_for() -> None:
    import numba

    from recsys.pipelines.threads import set_threads

    before = numba.get_num_threads()
    assert set_threads(1) == 1
    assert numba.get_num_threads() == 1
    assert set_threads(0) == len(os.sched_getaffinity(0))
    assert np.isfinite(before)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is of Linux")
def test_what_a_learner_frees_is_kept_for_its_next_step() -> None:
    """Blocks of 64 MB, taken and freed: their pages are given by the system once, and not each time."""
    code = (
        "import resource, numpy as np\n"
        "from recsys.pipelines.threads import set_threads\n"
        "set_threads(1)\n"
        "def faults():\n"
        "    for _ in range(20):\n"
        "        np.ones(16 << 20, np.float32)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "first = faults()\n"
        "print(faults() - first)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(said.stdout) < 1_000  # 20 times 16,384 where each block is mapped anew


@pytest.mark.parametrize("order", ["set_threads(1); import torch", "import torch; set_threads(1)"])
def test_torch_keeps_to_the_threads_of_a_run_whenever_it_is_loaded(order: str) -> None:
    code = f"from recsys.pipelines.threads import set_threads; {order}; print(torch.get_num_threads())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "1"


def test_a_bundle_that_has_seen_the_answers_is_not_judged_on_them(home: Path, root: Path) -> None:
    for leak in (["judge=validation"], ["split.test=0.4"]):
        said = recsys(home, "evaluate", str(root), *leak, rc=2)
        assert "it has seen the answers" in said.stderr
        assert answer(recsys(home, "evaluate", str(root), *leak, "split.allow_leaks=true", "--json"))[
            "metrics"
        ]


def test_a_wrong_split_is_refused_before_any_work(tmp_path: Path) -> None:
    said = recsys(tmp_path, "train", "world", "--dry-run", "split.kind=nonsense", rc=2)
    assert "later_half" in said.stderr
    assert not list(tmp_path.iterdir())
