"""Columns of one's own in the judgement of a run: named in settings, seen in table and JSON, refused if
unknown."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.testing.toys import random_log

PEOPLE, ITEMS = 300, 30


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop at random: people with a gender, items with a brand and a price, and lists of another system."""
    folder = tmp_path_factory.mktemp("shop")
    events = random_log(5, n_users=PEOPLE, n_items=ITEMS, n=6_000).interactions
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"user_id": events.user, "item_id": events.item, "timestamp": events.time})
    frame.to_parquet(folder / "interactions.parquet")
    items = {
        "item_id": np.arange(ITEMS),
        "brand": rng.choice(["acme", "other"], ITEMS),
        "price": np.arange(ITEMS) + 1,
    }
    pd.DataFrame(items).to_parquet(folder / "items.parquet")
    pd.DataFrame({"user_id": np.arange(PEOPLE), "gender": rng.choice(["F", "M"], PEOPLE)}).to_parquet(
        folder / "users.parquet"
    )
    lists = {
        "user_id": np.repeat(np.arange(PEOPLE), ITEMS),
        "item_id": np.tile(np.arange(ITEMS)[::-1], PEOPLE),
    }
    pd.DataFrame(lists | {"rank": np.tile(np.arange(ITEMS) + 1, PEOPLE)}).to_parquet(
        folder / "dear_first.parquet"
    )
    return folder


def recsys(*words: str) -> Result:
    return CliRunner().invoke(main, [*words, "threads=1"])


def test_segments_stand_beside_the_lists_of_another_system(shop: Path) -> None:
    asked = [
        "evaluate",
        "--candidates",
        str(shop / "dear_first.parquet"),
        f"data={shop}",
        'segments=["gender","brand"]',
    ]
    report = json.loads(recsys(*asked, "--json").stdout)
    theirs = report["rows"]["dear_first"]
    parts = {name: of for name, of in theirs["segments"].items() if name.startswith(("user.", "item."))}
    assert list(parts) == ["user.gender F", "user.gender M", "item.brand acme", "item.brand other"]
    women, men = parts["user.gender F"], parts["user.gender M"]
    whole = theirs["metrics"]["ndcg_at_10"]["mean"]
    both = women["users"] + men["users"]
    mean = (women["users"] * women["ndcg_at_10"]["mean"] + men["users"] * men["ndcg_at_10"]["mean"]) / both
    assert mean == pytest.approx(whole)
    shown = recsys(*asked).output
    assert f"user.gender F ({women['users']} users)" in shown
    assert shown.count("| item.brand acme (") == 2  # their lists, and popularity


def test_what_is_sold_is_in_the_unit_of_the_column(shop: Path) -> None:
    """Lists of the dearest items that a person has not had: each figure counted by hand from the question."""
    metrics = 'metrics=["sum_of_price_at_10", "share_of_price_at_10", "mean_of_price_at_10"]'
    asked = ["evaluate", "--candidates", str(shop / "dear_first.parquet"), f"data={shop}", metrics]
    rows = json.loads(recsys(*asked, 'segments=["brand"]', "--json").stdout)["rows"]
    theirs, popularity = rows["dear_first"]["metrics"], rows["popularity"]["metrics"]
    holdout = prepare(load_settings(None, [], data=str(shop)), Steps(quiet=True)).holdout
    price = [int(name) + 1 for name in holdout.train.item_ids]
    sold, shown = [], []
    for row in range(len(holdout.user)):
        allowed = np.setdiff1d(np.arange(ITEMS), holdout.history.items.row(row))
        dearest = sorted(allowed.tolist(), key=lambda item: -price[item])[:10]
        shown.append(np.mean([price[item] for item in dearest]))
        sold.append(sum(price[item] for item in dearest if item in holdout.targets.row(row)))
    assert theirs["sum_of_price_at_10"]["mean"] == pytest.approx(np.mean(sold))
    assert theirs["mean_of_price_at_10"]["mean"] == pytest.approx(np.mean(shown))
    assert theirs["mean_of_price_at_10"]["mean"] > popularity["mean_of_price_at_10"]["mean"]
    assert 0 < theirs["share_of_price_at_10"]["mean"] < 1
    assert set(rows["dear_first"]["segments"]["item.brand acme"]) == {
        "users", "sum_of_price_at_10", "share_of_price_at_10",
    }  # fmt: skip


@pytest.mark.parametrize(
    "command", [["train"], ["evaluate", "--candidates", "dear_first.parquet"], ["data", "check"]]
)
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ('segments=["brnad"]', "segments: 'brnad' is no column of the users or items; did you mean 'brand'?"),
        (
            'metrics=["sum_of_prise_at_10"]',
            "'sum_of_prise_at_10': 'prise' is no column of the items; did you mean",
        ),
    ],
)
def test_a_misspelt_column_is_refused_before_anything_is_learned(
    shop: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], setting: str, words: str
) -> None:
    monkeypatch.chdir(shop)
    done = recsys(*command, *([f"data={shop}"] if "--candidates" in command else [str(shop)]), setting)
    assert done.exit_code == 2
    assert words in done.output + done.stderr
    assert "learn" not in done.stderr
