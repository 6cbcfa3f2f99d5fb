"""From a plan to the winner, as the page says it: registered, tracked, promoted, remembered, and traced to
the data."""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from recsys.analysis.planted import plant, plant_lists, write_log
from recsys.bundle.manifest import read_manifest
from recsys.data.read.load import load_dataset
from recsys.pipelines.cli import main
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.tracking import ab_tests, address, client, registry
from recsys.pipelines.tracking.compare_runs import best_of, read_judged, relative_difference
from recsys.testing.toys import random_log

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")]
DOCS = Path(__file__).parents[3] / "docs"
PEOPLE = 4_000
TABLES = ["--exposures", "shop/exposures", "--outcomes", "shop/outcomes", "--plan", "shop/plan.toml"]


def run(*words: str, rc: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == rc, result.output + repr(result.exception)
    return result


def answer(*words: str, rc: int = 0) -> Any:
    return json.loads(run(*words, "--json", rc=rc).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with two trained models and the log of a test in which each served an arm."""
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECSYS_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        events = random_log(5, n_users=60, n_items=40, n=3000).interactions
        rows = zip(events.user, events.item, events.time, strict=True)
        text = "".join(f"{user:03},{item:03},{time}\n" for user, item, time in rows)
        Path("clicks.csv").write_text(f"user_id,item_id,timestamp\n{text}")
        for more in ("model.regularization=5.0", "model.regularization=0.1"):
            run("train", "clicks.csv", "model.dim=4", "model.epochs=2", more)
        log = plant(PEOPLE, 0.3, seed=1)
        write_log(Path("shop"), log, PEOPLE, 0.1, plant_lists(300, seed=1))
        bundles = [one["bundle_id"] for one in reversed(answer("runs")["runs"])]
        for path in Path("shop/exposures").glob("*.parquet"):
            table = pq.read_table(path)
            wide = np.asarray(pc.equal(table["arm"].cast(pa.string()), "wide"))
            pq.write_table(
                table.append_column("bundle_id", pa.array(np.where(wide, bundles[1], bundles[0]))), path
            )
        yield folder


@pytest.fixture(scope="module")
def run_ids(home: Path) -> list[str]:
    """The ids of both runs, control and wide."""
    return [one["run_id"] for one in reversed(answer("runs")["runs"])]


def test_the_page_from_plan_to_winner_runs_line_by_line(home: Path, run_ids: list[str]) -> None:
    said = {}
    for page in ("ab-run.md", "ab-report.md"):
        for line in (DOCS / page).read_text().splitlines():
            if line.startswith("    recsys "):
                words = shlex.split(line.strip())[1:]
                if words[:2] != ["ab", "demo"]:
                    said[" ".join(words[:2])] = run(*words).output
    assert set(said) == {
        "ab plan",
        "ab register",
        "ab analyse",
        "ab list",
        "promote --verdict",
        "export champion",
        "ab ledger",
        "ab explain",
    }
    assert "Ship wide: plays +" in said["ab list"]
    assert f"Run {run_ids[1]} is the champion of recsys" in said["promote --verdict"]
    assert "wide-towers | wide" in said["ab ledger"]
    assert "the window begins here" in said["ab explain"]
    assert Path("report.html").read_text().count("Towers of twice the width bring more plays.") == 1
    tags = registry.tags_named("champion", "recsys")
    assert (tags["verdict"], tags["verdict.test"]) == ("ship", "wide-towers")
    assert tags["verdict.sentence"].startswith("Ship wide")
    assert "verdict.forced" not in tags


def test_every_link_from_an_exposure_to_the_training_data_holds(home: Path, run_ids: list[str]) -> None:
    """Exposure -> bundle -> run -> data: each is followed by what the one before names, and by nothing
    else."""
    run("ab", "analyse", *TABLES, "--track", "linked", "--report", "linked.html")
    exposure = (
        pq.read_table(next(iter(sorted(Path("shop/exposures").glob("*.parquet"))))).slice(0, 1).to_pylist()[0]
    )
    report = json.loads(Path("linked.json").read_text())
    served = next(one for one in report["models"] if one["arm"] == exposure["arm"])
    assert served["bundle_id"] == exposure["bundle_id"]
    assert exposure["bundle_id"] in (page := Path("linked.html").read_text())
    trained = client.run_of(served["run_id"])
    assert trained.tags["bundle_id"] == exposure["bundle_id"]
    bundle = address.bundle_of(served["run_id"])
    lineage = read_manifest(bundle)["lineage"]
    assert lineage["run_id"] == served["run_id"]
    assert lineage["data_digest"] == served["data_digest"] == trained.tags["data_digest"]
    stated = json.loads(address.artifact_of(served["run_id"], "settings.json").read_text())
    settings = RunSettings.build(stated, where="the run's settings")
    data = load_dataset(settings.data)
    assert data.digest == served["data_digest"]
    assert served["data_digest"] in page
    assert served["run_id"] in page
    arms = ab_tests.known_test("linked").arms
    assert {arm: one.tags["model_run"] for arm, one in arms.items()} == dict(
        zip(("control", "wide"), run_ids, strict=True)
    )


def test_the_arms_have_their_figures_by_day_and_the_whole_its_report(home: Path) -> None:
    run("ab", "register", "daily", "--plan", "shop/plan.toml")
    until = ["--until", "2026-12-13T00:00:00Z"]
    run("ab", "analyse", *TABLES, "--track", "daily", *until, rc=1)
    early = ab_tests.known_test("daily")
    assert (early.word, early.run.status) == ("cannot tell yet", "RUNNING")
    run("ab", "analyse", *TABLES, "--track", "daily", "--report", "daily.html")
    test = ab_tests.known_test("daily")
    assert (test.word, test.run.status) == ("ship", "FINISHED")
    report = json.loads(Path("daily.json").read_text())
    looks = report["views"][0]["by_look"]
    with client.connection() as store:
        points = store.get_metric_history(test.arms["wide"].run_id, "plays.effect_low")
    days = {one.step: one.value for one in points}
    assert len(looks) - 1 <= len(days) <= len(looks)  # the first may have no bounded interval
    assert len(days) >= 12
    assert days[max(days)] == pytest.approx(looks[-1]["share"]["low"])
    assert test.arms["control"].metrics["plays"] == pytest.approx(looks[-1]["control"])
    assert test.arms["control"].metrics["people"] == looks[-1]["people"][0]
    for name, path in ((ab_tests.REPORT, "daily.json"), (ab_tests.PAGE, "daily.html")):
        assert address.artifact_of(test.run.run_id, name).read_bytes() == Path(path).read_bytes()
    plots = {one.name for one in address.artifact_of(test.run.run_id, "plots").iterdir()}
    assert {"plays_wide_by_day.svg", "plays_wide_other_ways.svg"} <= plots
    assert test.run.params["people"] == str(PEOPLE)
    assert test.run.params["metrics.0.name"] == "plays"


def test_a_plan_that_is_changed_is_named_and_may_not_be_registered_again(home: Path) -> None:
    run("ab", "register", "changed", "--plan", "shop/plan.toml")
    first = answer("ab", "register", "changed", "--plan", "shop/plan.toml")
    assert first["changes"] == []
    plan = Path("shop/plan.toml").read_text()
    Path("other.toml").write_text(
        plan.replace("mde = 0.1", "mde = 0.05").replace("margin = 0.1", "margin = 0.2")
    )
    assert "with another plan" in run("ab", "register", "changed", "--plan", "other.toml", rc=2).output
    words = [
        "ab",
        "analyse",
        *TABLES[:4],
        "--plan",
        "other.toml",
        "--track",
        "changed",
        "--report",
        "changed.html",
    ]
    run(*words)
    run(*words)
    known = json.loads(Path("changed.json").read_text())["registration"]
    changes = [(one["what"], one["before"], one["after"]) for one in known["changes"]]
    assert changes == [("metrics.plays.mde", "0.1", "0.05"), ("metrics.skips a list.margin", "0.1", "0.2")]
    assert (known["late"], known["digest"]) == (False, first["digest"])
    assert "metrics.plays.mde" in Path("changed.html").read_text()
    row = next(one for one in answer("ab", "list")["tests"] if one["name"] == "changed")
    assert row["changed"] == 2
    run("ab", "analyse", *TABLES, "--track", "late")
    assert "(late)" in run("ab", "list").output


def test_an_alias_moves_on_a_verdict_to_ship_alone(home: Path, run_ids: list[str]) -> None:
    run("promote", run_ids[0], "--as", "champion")
    run("ab", "analyse", *TABLES, "--track", "early", "--until", "2026-12-13T00:00:00Z", rc=1)
    refused = answer("promote", "--verdict", "early", rc=1)
    assert (refused["promoted"], refused["verdict"]) == (False, "cannot tell yet")
    assert "the verdict of test 'early' is 'cannot tell yet'" in refused["refusal"]
    run("ab", "analyse", *TABLES, "--track", "won")
    assert f"is won by run {run_ids[1]}" in answer("promote", run_ids[0], "--verdict", "won", rc=1)["refusal"]
    run("ab", "register", "waits", "--plan", "shop/plan.toml")
    assert "was not analysed yet" in answer("promote", "--verdict", "waits", rc=1)["refusal"]
    assert registry.run_named("champion", "recsys") == run_ids[0]
    forced = answer("promote", run_ids[0], "--verdict", "early", "--force")
    assert "cannot tell yet" in forced["verdict.forced"]
    assert registry.tags_named("champion", "recsys")["verdict"] == "cannot tell yet"
    moved = answer("promote", "--verdict", "won")
    assert (moved["run_id"], registry.run_named("champion", "recsys")) == (run_ids[1], run_ids[1])
    assert "did you mean 'won'" in run("promote", "--verdict", "wonn", rc=2).output
    assert "name the run" in run("promote", rc=2).output


def test_another_machine_reads_tests_and_ledger_from_the_store_alone(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("ab", "analyse", *TABLES, "--track", "moved")
    run("ab", "interleaving", "--exposures", "shop/merged.parquet", "--outcomes", "shop/clicks.parquet",
        "--track", "moved", rc=0)  # fmt: skip
    here = answer("ab", "list"), answer("ab", "ledger")
    line = next(one for one in here[1]["tests"] if one["test"] == "moved")
    assert line["interleaving_low"] < line["interleaving"] < line["interleaving_high"]
    assert line["preferred"] == "wide"
    shutil.copytree(home / "mlruns", tmp_path / "mlruns")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    assert (answer("ab", "list"), answer("ab", "ledger")) == here
    assert not [one for one in client.runs() if one.experiment.startswith("ab/")]


def test_the_ledger_forecasts_for_a_challenger(
    home: Path, run_ids: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(home / "mlruns", tmp_path / "mlruns")
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    with client.connection() as store:
        for one in store.search_experiments():
            if one.name.startswith(client.TESTS):
                store.delete_experiment(one.experiment_id)
    assert "forecast" not in answer("runs", run_ids[1], run_ids[0])
    metric = next(iter(read_judged(run_ids[0], None).values))
    plan = {"control": "control", "weights": {"control": 0.5, "wide": 0.5}, "metrics": []}
    rng = np.random.default_rng(1)
    for at in range(8):
        test = ab_tests.register(f"past-{at}", plan, f"digest {at}")
        offline = float(rng.normal(0.02, 0.03))
        figures = {
            "finished": True,
            "metric": "plays",
            "offline_metric": metric,
            "offline": offline,
            "offline_error": 0.005,
            "online": 0.3 * offline,
            "online_error": 0.004,
            "candidates": 1,
        }
        ab_tests.write_figures(test, "wide", figures)
    ledger = answer("ab", "ledger", "--offline", "0.03")
    assert ledger["slope"]["low"] < 0.3 < ledger["slope"]["high"]
    meant = ledger["forecast"]["meant"]
    assert meant["low"] < 0.009 < meant["high"]
    assert "an offline +3 % has meant +" in run("ab", "ledger").output
    told = answer("runs", run_ids[1], run_ids[0])["forecast"]
    _, difference, _ = relative_difference(read_judged(run_ids[0], None), read_judged(run_ids[1], None))
    assert told["asked"] == pytest.approx(difference.mean)
    run("promote", run_ids[0], "--as", "champion")
    run("promote", run_ids[1], "--as", "challenger")
    listed = run("runs").output
    assert f"The ledger: {metric} " in listed
    assert re.search(r"has meant [+-][\d.]+ % \[[+-][\d.]+, [+-][\d.]+\] online here", listed)


def test_the_offline_difference_is_that_of_the_bootstrap(home: Path, run_ids: list[str]) -> None:
    base, other = (read_judged(one, None) for one in run_ids)
    metric, difference, error = relative_difference(base, other)
    one, two = base.values[metric], other.values[metric]
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(one), len(one)) for _ in range(2_000)]
    ratios = [two[rows].mean() / one[rows].mean() - 1 for rows in draws]
    assert difference.mean == pytest.approx(two.mean() / one.mean() - 1)
    assert error == pytest.approx(float(np.std(ratios)), rel=0.25)
    control, treated = (client.run_of(one) for one in run_ids)
    assert best_of(treated, control, metric) == 1  # the control is no candidate, and there is no third run
    higher = replace(treated, run_id="none")
    assert best_of(max(control, treated, key=lambda one: one.metrics[metric]), higher, metric) == 2
    assert best_of(min(control, treated, key=lambda one: one.metrics[metric]), higher, metric) == 1


def test_an_arm_serves_what_an_alias_of_the_registry_means_at_the_start(
    home: Path, run_ids: list[str]
) -> None:
    run("export", run_ids[0])
    run("promote", run_ids[1], "--as", "challenger")
    Path("experiments").mkdir()
    plain = """control = "control"
[arms.next]
bundle = "%s"
[[phases]]
salt = "next-1"
starts = 2100-01-05T00:00:00Z
weights = { control = 0.5, next = 0.5 }
"""
    definition = Path("experiments/next.toml")
    definition.write_text(plain % "@nobody")
    assert "@champion or @challenger" in run("ab", "start", "next", rc=2).output
    definition.write_text(plain % "@challenger")
    bundle = client.run_of(run_ids[1]).tags["bundle_id"]
    assert answer("ab", "start", "next")["arms"]["next"]["bundle"] == bundle
    assert read_manifest(Path("mlruns/bundles") / bundle)["bundle_id"] == bundle
    run("promote", run_ids[0], "--as", "challenger")
    assert answer("ab", "start", "next")["arms"]["next"]["bundle"] == bundle
    definition.write_text(plain.replace("next", "later") % "recsys@challenger")
    definition.rename("experiments/later.toml")
    assert "would both decide" in run("ab", "start", "later", rc=2).output
    run("ab", "stop", "next")
    other = client.run_of(run_ids[0]).tags["bundle_id"]
    assert answer("ab", "start", "later")["arms"]["later"]["bundle"] == other
