"""`recsys transfer`: what is told and tracked, and that the config it writes trains, exports and answers."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from recsys.models.als.als import ALS
from recsys.pipelines.cli import main
from recsys.pipelines.search.by_domain import candidates, choose_new
from recsys.pipelines.search.space import search_space
from recsys.pipelines.tracking import address, client

WORLD = ["world.users=600", "world.items=80", "world.shared_taste=1", "world.events_per_user=12", "threads=1"]
SMALL = ["model=als", "model.dim=4", "model.epochs=2", "split.kind=leave_last_out"]


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_report_is_told_and_tracked_and_its_mixture_can_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    told = invoke("transfer", "world", *WORLD, *SMALL, "--joined", "0.1", "--trials", "2", "--json")
    report = json.loads(told.splitlines()[-1])
    assert {(row["domain"], row["joined"]) for row in report["rows"]} == {
        (domain, share) for domain in ("films", "books") for share in (1.0, 0.1)
    }
    for row in report["rows"]:
        means = row["means"]
        assert row["transfer"]["mean"] == pytest.approx(means["cross"] - means["control"], abs=1e-9)
        parts = row["history"]["mean"] + row["training"]["mean"]
        assert row["transfer"]["mean"] == pytest.approx(parts, abs=1e-9)
    run = client.runs("transfer")[0]
    assert run.run_id == report["run_id"]
    films = next(row for row in report["rows"] if row["domain"] == "films" and row["segment"] == "all")
    assert run.metrics["transfer_films_1_all"] == pytest.approx(films["transfer"]["mean"])
    assert json.loads(address.artifact_of(run.run_id, "transfer.json").read_text())["rows"] == report["rows"]
    assert address.artifact_of(run.run_id, "transfer.png").stat().st_size > 5_000
    assert "Served in films" in address.artifact_of(run.run_id, "table.md").read_text()
    trained = json.loads(invoke("train", "world", "-c", report["config"], *WORLD, "--json").splitlines()[-1])
    assert trained["run_id"]
    config = Path(report["config"]).read_text()
    assert 'domain = "films"' in config
    assert "[model.by_domain.films]" in config


@pytest.mark.parametrize("command", ["train", "tune", "dims", "best", "order", "transfer"])
def test_a_home_that_is_not_there_is_said_before_anything_is_learned(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr(ALS, "fit", lambda *arguments, **named: pytest.fail("it learned"))
    result = CliRunner().invoke(main, [command, "world", *WORLD, *(SMALL if command != "best" else [])])
    assert result.exit_code == 2, result.output
    assert "which is no folder" in result.output


def test_settings_to_try_are_those_given_and_others_of_the_space() -> None:
    space = search_space("als", {"dim": 8})
    tried = candidates(space, 4, seed=1)
    assert tried[0] == space.settings({})
    assert len({json.dumps(one, sort_keys=True) for one in tried}) == 4
    assert tried == candidates(space, 4, seed=1)
    assert all(one["dim"] == tried[0]["dim"] for one in tried if "dim" not in space.space)


def test_the_few_people_without_events_get_what_is_better_on_validation_proof_or_none() -> None:
    popular = np.linspace(0, 1, 30)
    for shift in (0.01, -0.01):
        crosses, comparison = choose_new(popular + shift * np.tile([0, 2], 15), popular)
        assert crosses == (shift > 0)
        assert comparison.verdict not in ("better", "worse")  # too few for a proof


def test_data_without_domains_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    log = tmp_path / "log.csv"
    rows = [
        f"u{user},i{item},{1_700_000_000 + 60 * item}" for user in range(20) for item in range(user % 3, 9)
    ]
    log.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    result = CliRunner().invoke(main, ["transfer", str(log), *SMALL])
    assert result.exit_code != 0
    assert "column `domain`" in result.output
    assert "Traceback" not in result.output


def test_a_domain_with_one_item_and_one_that_nobody_is_asked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gift card is all there is of one domain, so what is popular is its control."""
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))
    folder, rng = tmp_path / "shop", np.random.default_rng(1)
    folder.mkdir()
    item = np.stack([rng.permutation(20)[:8] for _ in range(60)])
    item[::3, 7], item[1::3, 4], item[2::3, 0] = (
        20,
        20,
        21,
    )  # the gift card last, in between; 21 is early and never last
    rows = [f"u{user},i{item[user, at]},{1_700_000_000 + 60 * at}" for user in range(60) for at in range(8)]
    (folder / "interactions.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    domain = ["films & series"] * 10 + ["books"] * 10 + ["cards", "toys"]
    items = [f"i{number},{name}" for number, name in enumerate(domain)]
    (folder / "items.csv").write_text("item_id,domain\n" + "\n".join(items) + "\n")
    settings = ["model.dim=4", "model.epochs=1", "split.kind=leave_last_out", "threads=1"]
    report = json.loads(
        invoke("transfer", str(folder), *settings, "--joined", "1", "--json").splitlines()[-1]
    )
    assert report["controls"]["cards"] == {"name": "popularity"}
    assert report["controls"]["toys"] == {"name": "popularity"}
    assert report["controls"]["films & series"]["name"] == "sequence"
    assert {"films & series", "books", "cards"} == {row["domain"] for row in report["rows"]}
    assert "transfer_films___series_1_all" in client.runs("transfer")[0].metrics
    trained = json.loads(invoke("train", str(folder), "-c", report["config"], "--json").splitlines()[-1])
    assert trained["run_id"]
