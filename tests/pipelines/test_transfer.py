"""`recsys transfer`: what is told and tracked, and that the config it writes trains, exports and answers."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.pipelines.cli import main
from recsys.pipelines.search.by_domain import candidates
from recsys.pipelines.search.space import searched
from recsys.pipelines.tracking import client

WORLD = ["world.users=600", "world.items=80", "world.shared_taste=1", "world.events_per_user=12", "threads=1"]
SMALL = ["model=als", "model.dim=4", "model.epochs=2", "split.kind=leave_last_out"]


def invoke(*arguments: str) -> str:
    found = CliRunner().invoke(main, list(arguments))
    assert found.exit_code == 0, found.output
    return found.stdout


def test_the_report_is_told_and_tracked_and_its_mixture_can_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    told = invoke("transfer", "world", *WORLD, *SMALL, "--joined", "0.1", "--trials", "2", "--json")
    found = json.loads(told.splitlines()[-1])
    assert {(row["domain"], row["joined"]) for row in found["rows"]} == {
        (domain, share) for domain in ("films", "books") for share in (1.0, 0.1)
    }
    for row in found["rows"]:
        means = row["means"]
        assert row["transfer"]["mean"] == pytest.approx(means["cross"] - means["control"], abs=1e-9)
        parts = row["history"]["mean"] + row["training"]["mean"]
        assert row["transfer"]["mean"] == pytest.approx(parts, abs=1e-9)
    run = client.runs("transfer")[0]
    assert run.run_id == found["run_id"]
    films = next(row for row in found["rows"] if row["domain"] == "films" and row["segment"] == "all")
    assert run.metrics["transfer_films_1_all"] == pytest.approx(films["transfer"]["mean"])
    assert json.loads(client.artifact_of(run.run_id, "transfer.json").read_text())["rows"] == found["rows"]
    assert client.artifact_of(run.run_id, "transfer.png").stat().st_size > 5_000
    assert "Served in films" in client.artifact_of(run.run_id, "table.md").read_text()
    trained = json.loads(invoke("train", "world", "-c", found["config"], *WORLD, "--json").splitlines()[-1])
    assert trained["run_id"]
    config = Path(found["config"]).read_text()
    assert 'domain = "films"' in config
    assert "[model.by_domain.films]" in config


def test_settings_to_try_are_those_given_and_others_of_the_space() -> None:
    found = searched("als", {"dim": 8})
    tried = candidates(found, 4, seed=1)
    assert tried[0] == found.settings({})
    assert len({json.dumps(one, sort_keys=True) for one in tried}) == 4
    assert tried == candidates(found, 4, seed=1)
    assert all(one["dim"] == tried[0]["dim"] for one in tried if "dim" not in found.space)


def test_data_without_domains_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    log = tmp_path / "log.csv"
    rows = [f"u{user},i{item},{1_700_000_000 + 60 * item}" for user in range(20) for item in range(user % 3, 9)]
    log.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    found = CliRunner().invoke(main, ["transfer", str(log), *SMALL])
    assert found.exit_code != 0
    assert "column `domain`" in found.output
    assert "Traceback" not in found.output
