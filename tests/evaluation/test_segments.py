"""Segments by columns: who and what belongs to each, and the figures there, typed by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout
from recsys.errors import DataError, SettingError
from recsys.evaluation.evaluate import Report, evaluate_on
from recsys.evaluation.outside_lists import ListRanker
from recsys.evaluation.segments import Segments, segments_of
from recsys.evaluation.tables import own_table, report_data, segments_table
from recsys.history import Histories
from recsys.retrieval.recommender import Recommender
from recsys.testing.toys import dataset

LISTS = [[0, 1, 2], [3, 0], [2, 3, 1], [1, 0, 2]]
TARGETS = [[0, 3], [0], [1, 2], [3]]


def make_data(items: dict[str, list[Any]], users: dict[str, list[Any]] | None = None, n: int = 4) -> Dataset:
    """n users, each with an event of item 0, and items and users with such columns."""
    n_items = max(4, *map(len, items.values())) if items else 4
    plain = dataset(np.arange(n), np.zeros(n, int), n, n_items)
    features = pa.table(items) if items else None
    return replace(plain, item_features=features, user_features=None if users is None else pa.table(users))


def question(data: Dataset, targets: list[list[int]], users: list[int] | None = None) -> Holdout:
    user = np.arange(len(targets), dtype=np.int32) if users is None else np.array(users, np.int32)
    nothing = Histories(Ragged.of([[] for _ in targets]))
    return Holdout(data, user, nothing, np.ones(len(user), bool), Ragged.of(targets), None)


def judge(holdout: Holdout, names: list[str], **options: Any) -> Report:
    engine = Recommender(ListRanker(Ragged.of(LISTS), 4), np.arange(4, dtype=np.int32), "allow")
    return evaluate_on(engine, holdout, segments=segments_of(holdout, names), **options)


def rows_of(parts: dict[str, Any]) -> dict[str, list[int]]:
    return {name: np.flatnonzero(mask).tolist() for name, mask in parts.items()}


def test_people_of_a_value_have_their_metrics_and_items_of_a_value_their_targets() -> None:
    data = make_data({"brand": ["a", "b", "a", None]}, {"gender": ["F", "M", None, "F"]})
    holdout = question(data, TARGETS)
    report = judge(holdout, ["gender", "item.brand"], metrics=("recall_at_2", "novelty_at_2"))
    nan = np.nan
    expected = {
        "user.gender F": [0.5, nan, nan, 0.0],
        "user.gender M": [nan, 1.0, nan, nan],
        "user.gender (no value)": [nan, nan, 0.5, nan],
        "item.brand a": [1.0, 1.0, 1.0, nan],  # items 0 and 2
        "item.brand b": [nan, nan, 0.0, nan],  # item 1, third in the list of the one who wants it
        "item.brand (no value)": [0.0, nan, nan, 0.0],  # item 3
    }
    assert report.own == tuple(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(report.segments[name]["recall_at_2"], values, err_msg=name)
    assert "novelty_at_2" not in report.segments["item.brand a"]
    np.testing.assert_array_equal(
        report.segments["user.gender F"]["novelty_at_2"],
        np.where([1, 0, 0, 1], report.values["novelty_at_2"], nan),
    )
    segments = report_data(report)["segments"]
    assert (segments["user.gender F"]["users"], segments["item.brand a"]["users"]) == (2, 3)
    assert set(segments["user.gender F"]) == {"users", "recall_at_2", "novelty_at_2"}
    assert segments["item.brand a"]["recall_at_2"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_the_table_has_each_metric_of_each_value_for_each_system() -> None:
    holdout = question(make_data({}, {"gender": ["F", "M", "M", "F"]}), TARGETS)
    report = judge(holdout, ["gender"], metrics=("recall_at_2", "mrr_at_2"))
    lines = own_table({"mine": report, "theirs": report}).splitlines()
    assert [word.strip() for word in lines[0].strip("| ").split("|")] == [
        "segment",
        "model",
        "recall_at_2",
        "mrr_at_2",
    ]
    assert len(lines) == 2 + 2 * 2
    assert "user.gender F (2 users)" in lines[2]
    assert "user.gender" not in segments_table({"mine": judge(holdout, [], metrics=("recall_at_2",))})
    assert "warm" not in lines[2]
    assert own_table({"mine": report}) in segments_table({"mine": report})


def test_the_values_that_most_have_stand_alone_and_the_rest_together() -> None:
    n = 11
    towns = ["big", "big", *[f"town{number}" for number in range(n - 2)]]
    holdout = question(make_data({}, {"town": towns}, n), [[0]] * n)
    parts = rows_of(dict(segments_of(holdout, ["town"]).people))
    assert parts.pop("user.town big") == [0, 1]
    assert parts.pop("user.town (2 other values)") == [9, 10]
    assert parts == {f"user.town town{number}": [number + 2] for number in range(7)}
    alone = question(make_data({}, {"town": towns}, n), [[0], [0]], users=[10, 3])
    assert rows_of(dict(segments_of(alone, ["town"]).people)) == {
        "user.town town1": [1],
        "user.town town8": [0],
    }


def test_items_are_counted_by_targets() -> None:
    brands = ["rare", *[f"b{number}" for number in range(10)]]
    holdout = question(make_data({"brand": brands}, n=2), [[*range(1, 11)], [*range(2, 11), 0]])
    parts = segments_of(holdout, ["brand"]).items
    assert list(parts) == [
        *[f"item.brand b{number}" for number in range(1, 9)],
        "item.brand (3 other values)",
    ]
    assert np.flatnonzero(parts["item.brand (3 other values)"]).tolist() == [0, 1, 10]


@pytest.mark.parametrize("kind", [int, float, str])
def test_numbers_of_many_values_are_cut_at_their_quartiles(kind: type) -> None:
    """Numbers written as text are numbers; a missing one stands apart, and a quartile belongs to the part
    below it."""
    prices: list[Any] = [kind(number) for number in range(1, 13)]
    holdout = question(make_data({"price": [*prices, None]}, n=1), [list(range(13))])
    text = [f"{float(one):g}" for one in (3, 6, 9)]
    assert rows_of(dict(segments_of(holdout, ["price"]).items)) == {
        f"item.price up to {text[0]}": [0, 1, 2],
        f"item.price over {text[0]} to {text[1]}": [3, 4, 5],
        f"item.price over {text[1]} to {text[2]}": [6, 7, 8],
        f"item.price over {text[2]}": [9, 10, 11],
        "item.price (no value)": [12],
    }


def test_few_numbers_and_flags_stand_by_value_in_their_order() -> None:
    data = make_data({"size": ["10", "9", "", "9"], "new": [True, False, True, True]})
    parts = segments_of(question(data, [[0, 1, 2, 3]]), ["size", "new"]).items
    assert rows_of(dict(parts)) == {
        "item.size 9": [1, 3], "item.size 10": [0], "item.size (no value)": [2],
        "item.new false": [1], "item.new true": [0, 2, 3],
    }  # fmt: skip


def test_quartiles_that_are_equal_make_fewer_parts() -> None:
    prices = [0.0] * 30 + [float(number) for number in range(1, 9)]
    parts = segments_of(question(make_data({"price": prices}, n=1), [list(range(38))]), ["price"]).items
    assert {name: int(mask.sum()) for name, mask in parts.items()} == {
        "item.price up to 0": 30, "item.price over 0": 8,
    }  # fmt: skip


def test_a_list_belongs_to_each_of_its_values() -> None:
    data = make_data({"tags": [["a", "b"], ["b", "b"], [], None]})
    parts = segments_of(question(data, [[0, 1, 2, 3]]), ["tags"]).items
    assert rows_of(dict(parts)) == {"item.tags a": [0], "item.tags b": [0, 1], "item.tags (no value)": [2, 3]}


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (
            "gendr",
            SettingError,
            r"segments: 'gendr' is no column of the users or items; did you mean 'gender'",
        ),
        ("user.gendr", SettingError, "did you mean 'user.gender'"),
        ("item.gender", SettingError, "is no column of the users or items"),
        ("age", SettingError, "a column of the users and of the items; write 'user.age' or 'item.age'"),
        ("boxes", DataError, "'item.boxes' holds struct.*name one of text, numbers, flags or lists"),
    ],
)
def test_a_column_that_is_not_there_or_has_no_values_is_refused(
    name: str, error: type[Exception], words: str
) -> None:
    items = {"age": [1, 2, 3, 4], "boxes": [{"a": 1}] * 4}
    data = make_data(items, {"gender": ["F", "M", "M", "F"], "age": [1, 2, 3, 4]})
    with pytest.raises(error, match=words):
        segments_of(question(data, TARGETS), [name])


def test_without_a_table_no_column_is_known_but_those_of_the_items() -> None:
    with pytest.raises(
        SettingError, match=r"'gender' is no column of the users or items; known ones are domain, title"
    ):
        segments_of(question(make_data({}), TARGETS), ["gender"])
    assert segments_of(question(make_data({}), TARGETS), []) == Segments({}, {})
