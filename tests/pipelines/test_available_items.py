"""Listings that come and go: from a table of items to what is judged, published, answered and batched."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recsys.answers.explain import explain
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.answers.similar import similar
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.bundle.write import publish
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError
from recsys.evaluation.evaluate import users_of
from recsys.history import DAY_S
from recsys.models.export import content_of
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from tests.helpers.command_line import answer, recsys

START, DAYS, LISTED = 1_700_006_400, 60, 120  # a midnight


def week_of(item: int) -> tuple[int, int]:
    """When a listing is there: a week each, later ones later."""
    first = START + (item * (DAYS - 7) // LISTED) * DAY_S
    return first, first + 7 * DAY_S


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of events and listings that live a week; people had them while they were there. Every tenth is
    sold."""
    folder, rng = tmp_path_factory.mktemp("market"), np.random.default_rng(1)
    item = rng.integers(0, LISTED, 3000)
    first = np.array([week_of(one)[0] for one in item])
    events = {
        "user_id": [f"u{one}" for one in rng.integers(0, 80, 3000)],
        "item_id": [f"i{one}" for one in item],
    }
    pd.DataFrame(events | {"timestamp": first + rng.integers(0, 7 * DAY_S, 3000)}).to_parquet(
        folder / "events.parquet"
    )
    listings = {
        "item_id": [f"i{one}" for one in range(LISTED)],
        "available": ["no" if one % 10 == 3 else "yes" for one in range(LISTED)],
        "available_from": pd.to_datetime([week_of(one)[0] for one in range(LISTED)], unit="s", utc=True),
        "available_to": [week_of(one)[1] for one in range(LISTED)],
    }
    pd.DataFrame(listings).to_parquet(folder / "items.parquet")
    return folder


def there(item_id: str, now: int) -> bool:
    first, end = week_of(int(item_id[1:]))
    return first <= now < end and int(item_id[1:]) % 10 != 3


def test_nothing_that_is_sold_or_over_is_judged_or_answered(market: Path, tmp_path: Path) -> None:
    settings = load_settings(None, ['model={name="als",dim=4}'], data=str(market))
    run = prepare(settings, Steps(quiet=True))
    holdout = run.holdout
    assert holdout.now is not None
    learned: Any = run.learner().fit(holdout.train, seed=1)
    judged = recommender_for(run, learned).recommend(users_of(holdout), 10)
    ids = {holdout.train.item_ids[int(item)] for item in judged.ids[judged.ids >= 0]}
    assert ids
    assert all(there(one, holdout.now) for one in ids)
    bundle = load(publish(tmp_path, content_of("als", learned, holdout.train)))
    answered = set()
    for now in range(START, START + DAYS * DAY_S, 5 * DAY_S):
        for question in (Question("u3", k=50, now=now), Question(None, k=50, now=now)):
            items = {item.item_id for item in respond(bundle, question).items}
            assert all(there(one, now) for one in items)
            answered |= items
    assert len(answered) > LISTED // 2
    sold = explain(bundle, "u3", "i13", now=week_of(13)[0])
    assert (sold.rank, sold.not_because) == (None, "unavailable")
    assert similar(bundle, "i5", 10) == []  # all are over by now
    clicked = respond(bundle, Question(None, [Event("i13")], now=START + 10 * DAY_S))
    assert (clicked.source, clicked.ignored) == (
        "history",
        [],
    )  # a click on what is sold says as much of a taste


def test_items_are_hidden_and_shown_again_and_a_list_says_what_there_is(market: Path, tmp_path: Path) -> None:
    events = pd.read_parquet(market / "events.parquet")
    data = dataset_of(events)
    settings = load_settings(None, ['model={name="als",dim=4}'], data=str(market))
    learned: Any = prepare(settings, Steps(quiet=True)).learner().fit(data, seed=1)
    root = tmp_path / "bundles"
    publish(root, content_of("als", learned, data, seen="allow"))

    def ask() -> tuple[Bundle, set[str]]:
        bundle = load(current(root))
        return bundle, {item.item_id for item in respond(bundle, Question("u1", k=200)).items}

    _, everything = ask()
    assert len(everything) == LISTED
    said = answer(recsys(tmp_path, "items", "hide", str(root), "i5", "i7", "nothing", "--json"))
    assert (said["hidden"], said["unknown"]) == (2, 1)
    bundle, left = ask()
    assert left == everything - {"i5", "i7"}
    assert {item.item_id for item in similar(bundle, "i5", 200)} == everything - {"i5", "i7"}
    assert answer(recsys(tmp_path, "items", "show", str(root), "i5", "--json"))["hidden"] == 1
    assert ask()[1] == everything - {"i7"}
    (tmp_path / "now.txt").write_text("i1\ni7\n")
    only = recsys(
        tmp_path, "items", "show", str(root), "--file", str(tmp_path / "now.txt"), "--only", "--json"
    )
    assert answer(only)["hidden"] == LISTED - 2
    assert ask()[1] == {"i1", "i7"}
    out = tmp_path / "lists"
    recsys(tmp_path, "recommend", str(root), "--all-users", "-k", "20", "--out", str(out))
    assert set(pd.concat([pd.read_parquet(file) for file in out.glob("*.parquet")]).item_id) <= {"i1", "i7"}
    assert "none of the 1 ids" in recsys(tmp_path, "items", "hide", str(root), "i999", rc=2).stderr
    assert "name ids of items" in recsys(tmp_path, "items", "hide", str(root), rc=2).stderr


@pytest.mark.parametrize(
    "spelt", [[True, None, False], ["TRUE", "", "f"], [1, None, 0], ["Yes", None, "no"], [1.0, None, 0.0]]
)
def test_yes_and_no_as_they_are_written(spelt: list[Any]) -> None:
    events = pd.DataFrame({"user_id": ["a", "b", "a"], "item_id": ["x", "y", "z"]})
    items = pd.DataFrame({"item_id": ["x", "y", "z"], "in_stock": spelt})
    data = dataset_of(events, items, columns={"available": "in_stock"})
    assert data.items["available"].to_pylist() == [True, None, False]
    assert data.item_features is None


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("available", ["yes", "perhaps"], "neither yes nor no, first row 2"),
        ("available", [[1], [2]], "must hold yes or no"),
        ("available_to", ["2024-01-01", "soon"], "'soon' for a time, first row 2"),
    ],
)
def test_what_is_neither_is_named_by_its_row(column: str, values: list[Any], said: str) -> None:
    events = pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"]})
    with pytest.raises(DataError, match=said) as refused:
        dataset_of(events, pd.DataFrame({"item_id": ["x", "y"], column: values}))
    assert column in str(refused.value)
