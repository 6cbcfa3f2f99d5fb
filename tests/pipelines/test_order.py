"""`recsys order`: what order brings on a data set, told in a sentence, and a run in MLflow without a
bundle."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recsys.pipelines.cli import main
from recsys.pipelines.tracking import address, client

WORLD = ["world", "world.users=400", "world.items=80", "world.events_per_user=8", "split.kind=leave_last_out"]
PAIRS = ["model=cooccurrence", "model.back=0", "model.half_life=0.5"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_HOME", str(tmp_path))


def run_order(*words: str) -> Any:
    return CliRunner().invoke(main, ["order", *words])


def test_it_tells_what_order_brings_and_tracks_it() -> None:
    told = run_order(*WORLD, "world.drift=3", *PAIRS, "--seeds", "2", "seed=5")
    assert told.exit_code == 0, told.output
    assert "cooccurrence, world-400x80-seed1-drift3, test part, leave-last-out split" in told.output
    for row in ("| in order ", "| asked shuffled ", "| learned and asked shuffled ", "Order brings +0."):
        assert row in told.output
    run = client.runs("order")[0]
    assert run.run_id in told.output
    assert run.metrics["gain"] > 0
    assert run.metrics["gain_low"] < run.metrics["gain"] < run.metrics["gain_high"]
    difference = run.metrics["ndcg_at_10_in_order"] - run.metrics["ndcg_at_10_asked_shuffled"]
    assert run.metrics["leaning"] == pytest.approx(difference)
    assert run.params["model.name"] == "cooccurrence"
    kept = json.loads(address.artifact_of(run.run_id, "order.json").read_text())
    assert list(kept["gain_by_seed"]) == ["5", "6"]
    assert kept["sentence"] in told.output
    assert "Gain of order" in address.artifact_of(run.run_id, "table.md").read_text()
    assert address.artifact_of(run.run_id, "order.png").stat().st_size > 5_000
    exported = CliRunner().invoke(main, ["export", run.run_id])
    assert exported.exit_code == 2
    assert "is an order report, without a bundle" in exported.output


def test_machines_get_one_object() -> None:
    told = run_order(*WORLD, "model=popularity", "--json")
    assert told.exit_code == 0, told.output
    report = json.loads(told.stdout.splitlines()[-1])
    assert report["gain"]["mean"] == report["leaning"]["mean"] == 0
    assert report["gain"]["verdict"] == "no difference shown"
    assert report["sentence"].startswith("Order brings nothing that was shown")
    assert report["rows"]["in order"] == report["rows"]["asked shuffled"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ((), "sequence"),
        (("--model", "als"), "als"),
        (("model.name=als",), "als"),
        (("-c", "ml-1m-ncf"), "mixture"),
    ],
)
def test_the_model_is_the_sequence_model_unless_another_is_named(words: tuple[str, ...], name: str) -> None:
    told = run_order("world", "--dry-run", "--json", *words)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout.splitlines()[-1])["model"]["name"] == name


def test_a_warm_start_has_learned_in_order() -> None:
    told = run_order(*WORLD, *PAIRS, "warm=some/bundle")
    assert told.exit_code == 2
    assert "what it starts from has learned in order" in told.output
