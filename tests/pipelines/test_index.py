"""`recsys index tune`: a table to choose by, a run in MLflow, and a bundle that answers by what was
chosen."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.bundle.manifest import read_manifest
from recsys.bundle.root import current
from recsys.bundle.write import publish
from recsys.errors import BundleError, SettingError
from recsys.pipelines.cli import main
from recsys.pipelines.index import Wanted, tune_bundle
from recsys.pipelines.tracking import address
from recsys.retrieval import tuner
from tests.helpers.bundles import content

MADE = content(n_users=200, n_items=2_000, dim=16, events=12)
ASKED = Wanted(k=20, target=0.95, target_p5=0.5, people=40, seed=0, only=("IVF32,SQ8",), dry_run=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    publish(tmp_path / "bundles", MADE)
    return tmp_path / "bundles"


def test_it_publishes_what_it_chose_and_tells_how_it_chose(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuner, "_FASTER", float("inf"))
    monkeypatch.setattr(tuner, "_HOPELESS", float("inf"))
    before = current(root)
    report = tune_bundle(root, ASKED, quiet=False)
    after = current(root)
    assert str(after) == report["bundle"] != str(before)
    stated = read_manifest(after)["index"]
    assert (stated["factory"], stated["k"], stated["target"]) == ("IVF32,SQ8", 20, 0.95)
    assert stated["recall"] >= 0.95
    said = capsys.readouterr().out
    assert "| Flat" in said
    assert f"Chosen: IVF32,SQ8 at effort {stated['effort']}, the soonest that finds enough." in said
    assert f"{after} answers by IVF32,SQ8 and is the current bundle" in said
    files = address.artifact_of(report["run_id"], "trials.json")
    trials = json.loads(files.read_text())
    assert [trial["settings"]["factory"] for trial in trials] == [
        trial["settings"]["factory"] for trial in report["trials"]
    ]
    assert "recall@20" in address.artifact_of(report["run_id"], "table.md").read_text()
    assert address.artifact_of(report["run_id"], "recall_by_time.png").stat().st_size > 5_000
    tune_bundle(root, ASKED, quiet=False)
    assert current(root) == after
    assert "answers so already" in capsys.readouterr().out


def test_it_leaves_the_scan_where_nothing_is_faster(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tuner, "_FASTER", 0.0)
    monkeypatch.setattr(tuner, "_HOPELESS", float("inf"))
    before = current(root)
    tune_bundle(root, ASKED, quiet=False)
    assert current(root) == before
    assert "Chosen: Flat, for no other finds enough in four fifths of its time." in capsys.readouterr().out


def test_what_cannot_be_asked_is_said(root: Path) -> None:
    with pytest.raises(BundleError, match="name the folder it lies in"):
        tune_bundle(current(root), ASKED, quiet=True)
    with pytest.raises(SettingError, match="no index is called 'PQ4' here"):
        tune_bundle(root, replace(ASKED, only=("PQ4",)), quiet=True)


def test_the_command_measures_and_with_dry_run_publishes_nothing(root: Path) -> None:
    before = current(root)
    options = ["--dry-run", "--people", "20", "-k", "10", "--only", "SQfp16", "--json"]
    said = CliRunner().invoke(main, ["index", "tune", str(before), *options])
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout.splitlines()[-1])
    assert current(root) == before
    assert report["bundle"] == str(before)
    assert [trial["settings"]["factory"] for trial in report["trials"]] == ["Flat", "SQfp16"]
    assert report["trials"][0]["quality"]["all"]["recall"] == 1
