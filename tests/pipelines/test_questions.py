"""`recsys split`: another system gets the past, the people and the moment, and what it answers is judged
fairly."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.testing.toys import random_log

PAGE = Path(__file__).parents[2] / "docs/judge-your-system.md"
(EXAMPLE,) = re.findall(r"```python\n(import pandas.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    events = random_log(3, n_users=300, n_items=40, n=4_000).interactions
    frame = pd.DataFrame({"visitor": [f"{user:03}" for user in events.user], "item_id": events.item})
    frame.assign(timestamp=events.time, event=["view", "buy"] * 2_000).to_parquet(tmp_path / "log.parquet")
    return tmp_path / "log.parquet"


@pytest.mark.parametrize(
    "own",
    [
        [],
        ["split.test_days=20"],
        ["split.kind=leave_last_out"],
        ["split.kind=later_half"],
        ["judge=validation"],
    ],
)
def test_what_is_written_is_the_question_of_the_split(log: Path, tmp_path: Path, own: list[str]) -> None:
    words = ["--user-col", "visitor", *own]
    said = CliRunner().invoke(main, ["split", str(log), "--out", str(tmp_path / "q"), *words, "--json"])
    assert said.exit_code == 0, said.output
    stated = json.loads((tmp_path / "q/split.json").read_text())
    assert stated == json.loads(said.stdout.splitlines()[-1])
    settings = load_settings(None, ["columns.user_id=visitor", *own], data=str(log))
    holdout = prepare(settings, Steps(quiet=True)).holdout
    train = pd.read_parquet(tmp_path / "q/train.parquet")
    events = holdout.train.interactions
    assert train["user_id"].tolist() == [holdout.train.user_ids[int(user)] for user in events.user]
    assert train["item_id"].tolist() == [holdout.train.item_ids[int(item)] for item in events.item]
    assert set(train["event"]) == {"view", "buy"}
    asked = pd.read_parquet(tmp_path / "q/questions.parquet")
    assert asked["user_id"].tolist() == [holdout.train.user_ids[int(user)] for user in holdout.user]
    for row in (0, len(asked) - 1):
        had = [holdout.train.item_ids[int(item)] for item in holdout.history.items.row(row)]
        assert asked["history"][row].tolist() == had
    assert stated["moment_s"] == holdout.now
    assert stated["settings"]["seen"]["policy"] == "exclude"
    if holdout.now is not None:
        assert train["timestamp"].max() < pd.Timestamp(stated["moment"])


def test_lists_made_as_the_page_makes_them_are_judged_and_are_not_impossible(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    CliRunner().invoke(main, ["split", str(log), "--out", str(tmp_path / "q"), "--user-col", "visitor"])
    monkeypatch.chdir(tmp_path)
    exec(EXAMPLE, {})
    arguments = ["evaluate", f"data={log}", "--user-col", "visitor", 'metrics=["hit_rate_at_10"]', "--json"]
    said = CliRunner().invoke(main, [*arguments, "--candidates", str(tmp_path / "ours.parquet")])
    assert said.exit_code == 0, said.output
    report = json.loads(said.stdout.splitlines()[-1])
    assert report["files"]["ours"]["without_list"] == report["files"]["ours"]["seen"] == 0
    assert report["rows"]["ours"]["metrics"]["hit_rate_at_10"]["mean"] > 0.1


def test_a_folder_with_something_in_it_is_left_alone(log: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(main, ["split", str(log), "--out", str(tmp_path), "--user-col", "visitor"])
    assert said.exit_code == 2
    assert "is there and not empty. Name a folder that is empty or not there." in said.stderr
