"""Runs that are done: compared on one holdout only, promoted, and finished later where the store was not
there."""

import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import TrackingError
from recsys.pipelines.tracking import address, client
from recsys.pipelines.tracking.compare_runs import Judged, compare_judged
from recsys.pipelines.tracking.lineage import LoggedRun, git_commit
from recsys.pipelines.tracking.record import holdout_digest
from recsys.testing.toys import random_log
from tests.helpers.command_line import TINY, answer, recsys

ROOT = Path(__file__).parents[3]
COLUMNS = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]


def make_judged(run_id: str, values: dict[str, Any], warm: int = 300, **tags: str) -> Judged:
    named = {"holdout": "h", "data": "toy", "data_digest": "d", "split": "by time", **tags}
    run = LoggedRun(run_id * 32, "recsys", f"model {run_id}", "FINISHED", 0.0, named, {}, {}, ())
    n = len(next(iter(values.values())))
    return Judged(run, values, np.arange(n) < warm)


def test_the_comparison_is_a_paired_test_with_holms_correction() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(400)
    first = make_judged("a", {"ndcg_at_10": base, "mrr_at_10": base})
    near = make_judged("b", {"ndcg_at_10": base + rng.normal(0, 0.1, 400)})
    far = make_judged("c", {"ndcg_at_10": base - 0.05 + rng.normal(0, 0.1, 400)})
    text, report = compare_judged([first, near, far])
    p = [float(stats.ttest_rel(base, other.values["ndcg_at_10"]).pvalue) for other in (near, far)]
    assert [row["p"] for row in report["comparisons"]] == pytest.approx(p, rel=1e-6)
    assert p[1] < p[0]
    assert [row["p_holm"] for row in report["comparisons"]] == pytest.approx(
        [p[0], min(1, 2 * p[1])], rel=1e-6
    )
    assert report["comparisons"][1]["verdict"] == "better"
    assert report["comparisons"][1]["mean"] == pytest.approx(float((base - far.values["ndcg_at_10"]).mean()))
    assert report["metrics"]["c" * 32]["ndcg_at_10"]["mean"] == pytest.approx(
        float(far.values["ndcg_at_10"].mean())
    )
    assert "mrr_at_10" not in text
    assert "400 users (300 warm)" in text


def test_another_metric_may_be_asked_for_and_a_missing_one_is_named() -> None:
    values = {"ndcg_at_10": np.linspace(0, 1, 300), "mrr_at_10": np.linspace(1, 0, 300)}
    _, report = compare_judged([make_judged("a", values), make_judged("b", values)], "mrr_at_10")
    assert report["comparisons"][0]["metric"] == "mrr_at_10"
    with pytest.raises(TrackingError, match="they share ndcg_at_10, mrr_at_10"):
        compare_judged([make_judged("a", values), make_judged("b", values)], "map_at_10")


def test_users_to_whom_a_metric_does_not_apply_are_left_out() -> None:
    values = np.linspace(0, 1, 400)
    other = values - 0.1
    holes = values.copy()
    holes[::2] = np.nan
    _, report = compare_judged(
        [make_judged("a", {"map_at_10": holes}), make_judged("b", {"map_at_10": other})]
    )
    assert report["metrics"]["a" * 32]["map_at_10"]["mean"] == pytest.approx(values[1::2].mean())
    assert report["comparisons"][0]["mean"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"holdout": "x", "data_digest": "e", "data": "shop"}, r"different data \('toy' and 'shop'\)"),
        ({"holdout": "x", "split": "published"}, r"different splits \('by time' and 'published'\)"),
        ({"holdout": "x"}, r"different holdouts \(other users or targets\)"),
    ],
)
def test_different_holdouts_are_not_compared(tags: dict[str, str], said: str) -> None:
    values = {"ndcg_at_10": np.linspace(0, 1, 300)}
    with pytest.raises(TrackingError, match=said):
        compare_judged([make_judged("a", values), make_judged("b", values), make_judged("c", values, **tags)])


def test_few_users_conclude_nothing() -> None:
    first, second = ({"ndcg_at_10": np.linspace(start, 1, 300)} for start in (0.5, 0))
    text, report = compare_judged([make_judged("a", first, warm=199), make_judged("b", second, warm=199)])
    assert report["comparisons"][0]["verdict"] == "too few to compare"
    assert "too few to compare" in text


def test_the_digest_of_a_holdout_changes_with_what_is_asked() -> None:
    data = random_log(3)
    parts = [split(data, SplitSettings(test=share), seed=1).test for share in (0.1, 0.1, 0.2)]
    first, again, other = (holdout_digest(part, data.digest) for part in parts)
    assert first == again
    assert (
        len({first, other, holdout_digest(parts[0], "other data"), holdout_digest(parts[0].take([0]), "")})
        == 4
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def clicks(home: Path) -> Path:
    events = random_log(5, n_users=60, n_items=40, n=3000).interactions
    rows = zip(events.user, events.item, events.time, strict=True)
    path = home / "clicks.csv"
    path.write_text(
        "visitor,article,at\n" + "".join(f"{user:03},{item:03},{time}\n" for user, item, time in rows)
    )
    return path


@pytest.fixture(scope="module")
def runs(home: Path, clicks: Path) -> list[str]:
    """Two runs on one holdout and a third on another."""
    other: list[list[str]] = [[], ["model.regularization=5.0"], ["split.test=0.2"]]
    return [
        answer(recsys(home, "train", str(clicks), *COLUMNS, *TINY, *more, "--json"))["run_id"]
        for more in other
    ]


@pytest.mark.slow
def test_runs_are_listed_compared_promoted_and_exported(home: Path, runs: list[str]) -> None:
    listed = answer(recsys(home, "runs", "--json"))["runs"]
    assert [run["run_id"] for run in listed] == runs[::-1]
    assert listed[2]["holdout"] == listed[1]["holdout"] != listed[0]["holdout"]
    report = answer(recsys(home, "runs", runs[0], runs[1][:8], "--json"))
    for run in listed[1:]:
        mean = report["metrics"][run["run_id"]]["ndcg_at_10"]["mean"]
        assert mean == pytest.approx(run["metrics"]["ndcg_at_10"])
    assert report["comparisons"][0]["mean"] == pytest.approx(
        listed[2]["metrics"]["ndcg_at_10"] - listed[1]["metrics"]["ndcg_at_10"]
    )
    assert "different splits" in recsys(home, "runs", runs[0], "last", rc=2).stderr  # of another moment
    for run_id, alias in ((runs[0], "champion"), (runs[1], "challenger"), (runs[2], "champion")):
        recsys(home, "promote", run_id, "--as", alias)
    aliases = {run["run_id"]: run["aliases"] for run in answer(recsys(home, "runs", "--json"))["runs"]}
    assert aliases == {runs[0]: [], runs[1]: ["challenger"], runs[2]: ["champion"]}
    assert answer(recsys(home, "promote", runs[0], "--json"))["version"] == "1"
    with sqlite3.connect(home / "mlruns/mlflow.db") as store:
        told = store.execute("select description from model_versions where run_id = ?", (runs[0],)).fetchall()
    store.close()
    assert "| als " in told[0][0]  # the tables of its run
    exported = answer(recsys(home, "export", "champion", "--json"))
    assert exported["run"] == runs[0]
    manifest = json.loads((Path(exported["bundle"]) / "manifest.json").read_text())
    assert manifest["lineage"]["run_id"] == runs[0]
    assert "has no champion" in recsys(home, "export", "shop/champion", rc=2).stderr
    assert "`recsys runs` lists those that are" in recsys(home, "promote", "0" * 32, rc=2).stderr


@pytest.mark.slow
def test_a_run_keeps_its_pictures_and_values(home: Path, runs: list[str]) -> None:
    files = home / "mlruns/artifacts" / runs[0] / "artifacts"
    for name in ("metrics_by_k.png", "by_history.png", "popularity_against_score.png", "curves.png"):
        assert (files / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with np.load(files / "record/values.npz") as stored:
        assert len(stored["user"]) == len(stored["warm"]) == len(stored["ndcg_at_10"])


@pytest.mark.slow
def test_a_store_that_fails_in_the_middle_is_finished_later(tmp_path: Path, clicks: Path) -> None:
    """The run is opened and its figures are taken, then the artefacts' place turns out to be a file."""
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns/artifacts").write_text("in the way")
    said = recsys(tmp_path, "train", str(clicks), *COLUMNS, *TINY, "system_metrics=true", "--json")
    trained = answer(said)
    assert "the bundle is safe in" in said.stderr
    assert f"recsys track {trained['bundle']}" in said.stderr
    assert Path(trained["bundle"], "manifest.json").is_file()
    (tmp_path / "mlruns/artifacts").unlink()
    tracked = answer(recsys(tmp_path, "track", trained["bundle"], "--json"))
    assert tracked["run_id"] == trained["run_id"]
    assert _is_complete(tmp_path, tracked["run_id"], trained)["system/process_memory_usage_megabytes"] > 0


@pytest.mark.slow
def test_a_full_disk_loses_no_model(tmp_path: Path, clicks: Path) -> None:
    """No file may pass 600 kB: the bundle of this log fits; the tracking database does not."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "recsys.pipelines.cli",
        "train",
        str(clicks),
        *COLUMNS,
        *TINY,
        "--json",
    ]
    environment = {**os.environ, "RECSYS_HOME": str(tmp_path)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    limit = (600_000, 600_000)
    said = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "warning" in said.stderr
    trained = json.loads(said.stdout.splitlines()[-1])
    assert Path(trained["bundle"]).parent == tmp_path / "mlruns/trained"
    assert not (tmp_path / "mlruns/mlflow.db").exists()  # half a database would refuse what comes
    tracked = answer(recsys(tmp_path, "track", trained["bundle"], "--json"))
    _is_complete(tmp_path, tracked["run_id"], trained)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")
@pytest.mark.parametrize("name", ["what? #1, 50%20off ü日"])
def test_a_home_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, kept = tmp_path / name, tmp_path / "kept"
    for folder in (home, kept):
        folder.mkdir()
    (kept / "table.md").write_text("figures")
    monkeypatch.setenv("RECSYS_HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_id = client.start_run("shop", "als on clicks")
    facts: dict[str, Any] = {"settings": {"dim": 8}, "tags": {}, "metrics": {"ndcg_at_10": 0.5}, "curves": {}}
    client.finish_run(run_id, **facts, files=kept)
    assert address.artifact_of(run_id, "table.md").read_text() == "figures"
    assert [run.metrics for run in client.runs("shop")] == [{"ndcg_at_10": 0.5}]
    assert (home / "mlruns/mlflow.db").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["kept", name])


def test_the_commit_is_a_commit_though_the_repository_has_tags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_commit() == "none"

    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *who, *words], check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "clicks.csv").write_text("1\n")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    git("tag", "-a", "v1", "-m", "a release")
    assert git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "clicks.csv").write_text("2\n")
    assert git_commit() == git("rev-parse", "HEAD") + "-dirty"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")
def test_mlflow_shows_data_source_commit_duration_and_the_view_of_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run_id = client.start_run("shop", "als on clicks", began=time.time() - 90)
    tags = {"data": "clicks", "data_digest": "d" * 64, "holdout": "h" * 64, "users": 7, "train.events": 11}
    facts: dict[str, Any] = {"settings": {"data": "clicks.csv", "judge": "test"}, "metrics": {}, "curves": {}}
    for _ in range(2):  # logged once more, as `recsys track` may, it is the same
        client.finish_run(run_id, tags=tags, **facts, files=None)
    with client.connection() as store:
        run = store.get_run(run_id)
        kind = store.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"]
    inputs = {one.tags[0].value: one.dataset for one in run.inputs.dataset_inputs}
    assert {context: (one.name, one.digest, one.source) for context, one in inputs.items()} == {
        "training": ("clicks", "d" * 36, "clicks.csv"),
        "test": ("clicks", "h" * 36, "clicks.csv"),
    }
    assert json.loads(inputs["training"].profile) == {"events": 11}
    assert json.loads(inputs["test"].profile) == {"users": 7}
    assert run.data.tags["mlflow.source.name"] == "recsys"
    assert re.fullmatch("[0-9a-f]{40}", run.data.tags["mlflow.source.git.commit"])
    assert 90_000 <= run.info.end_time - run.info.start_time < 300_000
    assert kind == "custom_model_development"


def _is_complete(home: Path, run_id: str, trained: Any) -> dict[str, float]:
    """The metrics of a run that has all that an undisturbed one has, with nothing left over."""
    with sqlite3.connect(home / "mlruns/mlflow.db") as store:
        assert store.execute("select status from runs where run_uuid = ?", (run_id,)).fetchall() == [
            ("FINISHED",)
        ]
        metrics = dict(store.execute("select key, value from latest_metrics where run_uuid = ?", (run_id,)))
        tags = dict(store.execute("select key, value from tags where run_uuid = ?", (run_id,)))
    store.close()
    assert metrics["ndcg_at_10"] == pytest.approx(trained["metrics"]["als"]["ndcg_at_10"]["mean"])
    assert len(tags["holdout"]) == 64
    folder = home / "mlruns/artifacts" / run_id / "artifacts"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"record/values.npz", "table.md", "record/settings.json", "curves.png", "model/MLmodel"} <= files
    assert [path for path in (home / "mlruns/trained").iterdir() if path.is_dir()] == [
        home / tags["bundle_address"]
    ]
    exported = answer(recsys(home, "export", run_id, "--json"))
    assert answer(recsys(home, "recommend", exported["root"], "--user", "007", "--json"))["source"] == "known"
    return metrics


@pytest.mark.parametrize("command", ["runs", "promote", "track", "why", "similar", "doctor"])
@pytest.mark.slow
def test_every_command_has_help(tmp_path: Path, command: str) -> None:
    assert len(recsys(tmp_path, command, "--help").stdout.splitlines()) > 3
