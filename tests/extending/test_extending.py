"""Somebody else's learners, metric and encoder keep the contracts and go the whole line, the package
untouched."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import load
from recsys.bundle.write import write
from recsys.encoders.users import Users
from recsys.errors import BundleError
from recsys.models.export import content_of
from recsys.pipelines.service import ask, running
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.encoders import EncoderCase, EncoderContract
from recsys.testing.epochs import EpochContract
from recsys.testing.learners import Case, LearnerContract, ReasonContract, TasteContract, VectorContract
from recsys.testing.toys import random_log
from tests.extending.lastclick import LastClick
from tests.helpers.command_line import answer

THEIRS = Path(__file__).parent
COLUMNS = ["--user-col", "visitor", "--item-col", "article", "--time-col", "at"]


class TestCoVisits(LearnerContract, TasteContract, VectorContract, ReasonContract):
    case = Case("tests.extending.covisits:CoVisits", {"dim": 4})


class TestDenoised(LearnerContract, TasteContract, VectorContract, ReasonContract, EpochContract):
    case = Case("tests.extending.denoised:Denoised", {"dim": 6, "epochs": 20, "batch_size": 4})


def recsys(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The installed command, started in the folder of their file."""
    command = [str(Path(sys.executable).with_name("recsys")), *arguments]
    environment = os.environ | {"RECSYS_HOME": str(home)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=THEIRS)


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """Their learner on a log of clicks, judged by their metric beside ours, from the command line."""
    home = tmp_path_factory.mktemp("home")
    events = random_log(5, n_users=60, n_items=40, n=3_000).interactions
    rows = (
        f"{user},{item},{at}" for user, item, at in zip(events.user, events.item, events.time, strict=True)
    )
    (home / "clicks.csv").write_text("\n".join(["visitor,article,at", *rows]) + "\n")
    years = "\n".join(f"{item},{2000 + item}" for item in range(40))
    (home / "articles.csv").write_text(f"article,year\n{years}\n")
    model = 'model={name="covisits:CoVisits", dim=6, scale="log"}'
    metrics = (
        'metrics=["ndcg_at_10", "covisits:early_hit_at_10", "covisits:novel_share_at_10", '
        '"mean_of_year_at_10"]'
    )
    items = f"items={home / 'articles.csv'}"
    done = recsys(home, "train", str(home / "clicks.csv"), *COLUMNS, items, model, metrics, "--json")
    assert done.returncode == 0, done.stderr
    return home, answer(done)


@pytest.mark.slow
def test_it_is_trained_judged_by_its_own_metric_exported_and_served(training: tuple[Path, Any]) -> None:
    home, run = training
    judged = run["metrics"]["covisits:CoVisits"]
    assert set(judged) == {"ndcg_at_10", "early_hit_at_10", "novel_share_at_10", "mean_of_year_at_10"}
    assert 0 <= judged["early_hit_at_10"]["low"] <= judged["early_hit_at_10"]["high"] <= 1
    novel, year = judged["novel_share_at_10"]["mean"], judged["mean_of_year_at_10"]["mean"]
    assert 0 < novel < 1
    assert (
        (1 - novel) * 2000 + novel * 2020 <= year <= (1 - novel) * 2019 + novel * 2039
    )  # they read the same column
    assert recsys(home, "export", "last").returncode == 0
    with running(home / "mlruns/bundles") as url:
        reply = ask(url, {"user_id": "3", "k": 5})
        stranger = ask(url, {"history": [{"item_id": "7"}], "k": 5})
    assert (len(reply["items"]), stranger["source"]) == (5, "history")
    assert {item["because"] for item in stranger["items"]} <= {"7", None}


@pytest.mark.slow
def test_what_is_misspelt_is_said_with_the_way_out(training: tuple[Path, Any]) -> None:
    home, _ = training
    for model, words in (
        ("covisits:CoVisit", "module 'covisits' has no 'CoVisit' to call"),
        ("covisit:CoVisits", "module 'covisit' cannot be imported"),
    ):
        done = recsys(home, "train", str(home / "clicks.csv"), *COLUMNS, f'model={{name="{model}"}}')
        assert done.returncode == 2
        assert words in done.stderr
    done = recsys(
        home, "train", str(home / "clicks.csv"), *COLUMNS, 'model={name="covisits:CoVisits", dims=3}'
    )
    assert "did you mean 'dim'?" in done.stderr


def theirs() -> Embeddings:
    items = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    return Embeddings(items, LastClick(items))


class TestLastClick(EncoderContract):
    def make_case(self) -> EncoderCase:
        data = random_log(5, n_users=60, n_items=40, n=3_000)
        return EncoderCase(theirs().encoder, theirs().items, Users.unknown(data.interactions.histories()))


def test_an_encoder_of_theirs_is_loaded_by_the_entry_point_of_its_package_and_by_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle says `lastclick`, never where its code is; an installed package says what that is."""
    data = random_log(5, n_users=60, n_items=40, n=3_000)
    content = content_of("last click", theirs(), data)
    with pytest.raises(
        BundleError, match=r"kind 'lastclick'.*no installed package.*'recsys\.encoders'.*Install"
    ):
        write(tmp_path / "bundles", content)
    installed = tmp_path / "site" / "lastclick-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: lastclick\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[recsys.encoders]\nlastclick = tests.extending.lastclick:LastClick\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    bundle = load(write(tmp_path / "bundles", content))
    assert isinstance(bundle.encoder, LastClick)
    assert bundle.manifest["kind"] == "lastclick"
    assert "tests.extending" not in (bundle.path / "encoder" / "encoder.json").read_text()
    reply = respond(bundle, Question(None, [Event(data.item_ids[7]), Event(data.item_ids[3])], k=5))
    assert (reply.source, {one.because for one in reply.items} <= {data.item_ids[3], None}) == (
        "history",
        True,
    )
