"""What words and paths stand for: `last` over all experiments or one, and data that are found from any
folder."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.bundle.write import write
from recsys.data.read.load import load_dataset
from recsys.errors import DataError, TrackingError
from recsys.pipelines.cli import main
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.tracking import client
from recsys.pipelines.tracking.address import address_of
from recsys.pipelines.tracking.record import track_report
from recsys.pipelines.tracking.registry import resolve
from recsys.testing.toys import random_log
from tests.helpers.bundles import content

pytestmark = pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")
CLICKS = "user_id,item_id,timestamp\nu,x,1700000000\nv,y,1700000001\n"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Runs by name in a store of their own, each with its bundle; the last one of `shop` never finished, and
    the last of all is a report."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        by_name = {"home": str(home)}
        for at, (name, experiment) in enumerate(
            (("first", "recsys"), ("middle", "shop"), ("later", "recsys"))
        ):
            by_name[name] = client.start_run(experiment, name)
            folder = write(home / "made", content(seed=at))
            nothing: dict[str, float] = {}
            client.finish_run(
                by_name[name], settings={}, tags=address_of(folder), metrics=nothing, curves={}, files=None
            )
        said: dict[str, dict[str, str]] = {"texts": {"table.md": "nothing"}, "pictures": {}}
        track_report("order", "a report", "an order report", settings={}, tags={}, metrics=nothing, **said)
        by_name["running"] = client.start_run("shop", "never finished")
    return by_name


@pytest.fixture
def home(runs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_HOME", runs["home"])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Path(runs["home"])


@pytest.mark.slow
def test_last_is_that_of_any_experiment_unless_one_is_named(runs: dict[str, str], home: Path) -> None:
    assert resolve("last") == runs["later"]
    assert resolve("last", "shop") == resolve("shop/last") == runs["middle"]
    assert resolve("shop/last", "recsys") == runs["middle"]
    assert resolve(runs["middle"][:6]) == runs["middle"]
    with pytest.raises(TrackingError, match="experiment 'order' has no finished run"):
        resolve("order/last")
    with pytest.raises(TrackingError, match="experiment 'none' has no finished run"):
        resolve("last", "none")


@pytest.mark.slow
def test_export_says_which_run_of_which_experiment_it_took(runs: dict[str, str], home: Path) -> None:
    said = CliRunner().invoke(main, ["export", "last"])
    assert said.exit_code == 0, said.output
    assert f"(later, run {runs['later']} of experiment recsys) is the current bundle" in said.output
    named = CliRunner().invoke(main, ["export", "last", "--experiment", "shop", "--json"])
    assert json.loads(named.output)["run"] == runs["middle"]
    assert json.loads(named.output)["experiment"] == "shop"
    again = CliRunner().invoke(
        main, ["export", json.loads(named.output)["bundle"], "--to", str(home / "other")]
    )
    assert again.exit_code == 0, again.output
    promoted = CliRunner().invoke(main, ["promote", "last", "--experiment", "shop"])
    assert promoted.exit_code == 0, promoted.output
    assert "is the champion of shop, version 1. Next: recsys export shop/champion" in promoted.output
    exported = CliRunner().invoke(main, ["export", "shop/champion", "--json"])
    assert json.loads(exported.output)["run"] == runs["middle"]
    assert "has no champion" in CliRunner().invoke(main, ["export", "champion"]).output


def test_a_path_is_absolute_in_the_settings_and_a_name_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere, sets = (tmp_path / name for name in ("here", "elsewhere", "sets"))
    for folder in (here / "parts", elsewhere, sets / "films"):
        folder.mkdir(parents=True)
    for path in (here / "clicks.csv", here / "parts/a.csv", sets / "films/events.csv"):
        path.write_text(CLICKS)
    monkeypatch.setenv("RECSYS_DATA", str(sets))
    monkeypatch.chdir(here)
    stated = {
        data: load_settings(None, [f"data={data}"]).data for data in ("clicks.csv", "parts", "parts/*.csv")
    }
    assert stated == {data: str(here / data) for data in stated}
    assert load_settings(None, [], data="clicks.csv").data == str(here / "clicks.csv")
    assert load_settings(None, ["data=films"]).data == "films"
    assert load_settings(None, ["data=nowhere"]).data == "nowhere"
    assert load_settings(None, []).data == "world"
    monkeypatch.chdir(elsewhere)
    for data in (*stated.values(), "films"):
        assert len(load_dataset(data).interactions) == 2
    with pytest.raises(DataError, match=f"'clicks.csv' is neither a path nor in {sets}, .*{elsewhere}"):
        load_dataset("clicks.csv")


@pytest.mark.slow
def test_a_bundle_of_a_relative_path_is_judged_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = random_log(5, n_users=60, n_items=40, n=2_000).interactions
    rows = zip(events.user, events.item, events.time, strict=True)
    lines = "".join(f"u{user},i{item},{time}\n" for user, item, time in rows)
    (tmp_path / "clicks.csv").write_text("user_id,item_id,timestamp\n" + lines)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    tiny = ["model.dim=8", "model.epochs=2", "split.kind=leave_last_out", "--json"]
    trained = CliRunner().invoke(main, ["train", "clicks.csv", *tiny])
    assert trained.exit_code == 0, trained.output
    folder = json.loads(trained.stdout.splitlines()[-1])["bundle"]
    here = CliRunner().invoke(main, ["evaluate", folder, "data=clicks.csv", "--json"])
    assert here.exit_code == 0, here.output
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = CliRunner().invoke(main, ["evaluate", folder, "--json"])
    assert there.exit_code == 0, there.output
    assert json.loads(there.stdout.splitlines()[-1]) == json.loads(here.stdout.splitlines()[-1])
    refused = CliRunner().invoke(main, ["evaluate", folder, f"data={os.path.relpath(tmp_path)}/other.csv"])
    assert refused.exit_code == 2
