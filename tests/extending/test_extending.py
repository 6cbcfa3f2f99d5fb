"""Somebody else's learner and metric keep the contracts and go the whole line, the package untouched."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys.pipelines.service import ask, running
from recsys.testing.learners import Case, LearnerContract, ReasonContract, TasteContract, VectorContract
from recsys.testing.toys import random_log
from tests.helpers.command_line import answer

THEIRS = Path(__file__).parent
COLUMNS = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]


class TestCoVisits(LearnerContract, TasteContract, VectorContract, ReasonContract):
    case = Case("tests.extending.covisits:CoVisits", {"dim": 4})


def recsys(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The installed command, started in the folder of their file."""
    command = [str(Path(sys.executable).with_name("recsys")), *arguments]
    environment = os.environ | {"RECSYS_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=THEIRS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Their learner on a log of clicks, judged by their metric beside ours, from the command line."""
    home = tmp_path_factory.mktemp("home")
    events = random_log(5, n_users=60, n_items=40, n=3_000).interactions
    rows = (f"{user},{item},{at}" for user, item, at in zip(events.user, events.item, events.time, strict=True))
    (home / "clicks.csv").write_text("\n".join(["visitor,article,at", *rows]) + "\n")
    model = 'model={name="covisits:CoVisits", dim=6, scale="log"}'
    metrics = 'metrics=["ndcg_at_10", "covisits:early_hit_at_10"]'
    done = recsys(home, "train", str(home / "clicks.csv"), *COLUMNS, model, metrics, "--json")
    assert done.returncode == 0, done.stderr
    return home, answer(done)


@pytest.mark.slow
def test_it_is_trained_judged_by_its_own_metric_exported_and_served(trained: tuple[Path, Any]) -> None:
    home, run = trained
    judged = run["metrics"]["covisits:CoVisits"]
    assert set(judged) == {"ndcg_at_10", "early_hit_at_10"}
    assert 0 <= judged["early_hit_at_10"]["low"] <= judged["early_hit_at_10"]["high"] <= 1
    assert recsys(home, "export", "last").returncode == 0
    with running(home / "mlruns/bundles") as url:
        reply = ask(url, {"user_id": "3", "k": 5})
        stranger = ask(url, {"history": [{"item_id": "7"}], "k": 5})
    assert (len(reply["items"]), stranger["source"]) == (5, "history")
    assert {item["because"] for item in stranger["items"]} <= {"7", None}


@pytest.mark.slow
def test_what_is_misspelt_is_said_with_the_way_out(trained: tuple[Path, Any]) -> None:
    home, _ = trained
    for model, words in (
        ("covisits:CoVisit", "module 'covisits' has no 'CoVisit' to call"),
        ("covisit:CoVisits", "module 'covisit' cannot be imported"),
    ):
        done = recsys(home, "train", str(home / "clicks.csv"), *COLUMNS, f'model={{name="{model}"}}')
        assert done.returncode == 2
        assert words in done.stderr
    done = recsys(home, "train", str(home / "clicks.csv"), *COLUMNS, 'model={name="covisits:CoVisits", dims=3}')
    assert "did you mean 'dim'?" in done.stderr
