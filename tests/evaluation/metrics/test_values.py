"""What hits are worth, typed by hand: sums, shares and discounts of a column of the items, and columns
refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.arrays import F64, Ragged
from recsys.errors import DataError, SettingError
from recsys.evaluation.metrics.by_name import PerUser, refuse_worthless, resolve
from recsys.evaluation.metrics.hits import ndcg
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.metrics.lists import Lists
from recsys.testing.toys import dataset

PRICE = [10.0, 1.0, None, 4.0, 0.0]
IDS = [[0, 1, 2], [3, 4, -1], [2, 4, 7], [1, 3, 0]]  # 7: an item that the data do not know
TARGETS = [[0, 2, 3], [0, 1, 3], [2], [1, 3]]


def lists(price: list[Any] = PRICE, ids: list[list[int]] = IDS, targets: list[list[int]] = TARGETS) -> Lists:
    data = dataset(np.array([0, 1]), np.array([0, 1]), 2, 5)
    data = replace(data, item_features=pa.table({"price": price, "brand": ["a", "b", "a", None, "b"]}))
    shown = np.array(ids, np.int64)
    hits = np.array([np.isin(row, wanted) for row, wanted in zip(ids, targets, strict=True)])
    nothing = Ragged.of([[] for _ in ids])
    return Lists(shown, hits, Ragged.of(targets), nothing, facts_of(data))


def value(name: str, given: Lists | None = None) -> F64:
    metric = resolve(name)
    assert isinstance(metric, PerUser)
    return metric.function((given or lists()).at(metric.cut))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sum_of_price_at_3", [10.0, 4.0, 0.0, 5.0]),  # a hit without a price adds nothing
        ("sum_of_price_at_1", [10.0, 4.0, 0.0, 1.0]),
        ("share_of_price_at_3", [10 / 14, 4 / 15, np.nan, 1.0]),  # user 2 wants nothing of any worth
        ("share_of_price_at_1", [1.0, 4 / 10, np.nan, 1 / 4]),  # one place holds the dearest target at best
        ("ndcg_of_price_at_1", [1.0, 4 / 10, np.nan, 1 / 4]),
        ("mean_of_price_at_3", [5.5, 2.0, 0.0, 5.0]),  # of those shown that have a price
        ("mean_of_price_at_1", [10.0, 4.0, np.nan, 1.0]),
    ],
)
def test_values_typed_by_hand(name: str, expected: list[float]) -> None:
    np.testing.assert_allclose(value(name), expected)


def test_discounted_worth_prefers_the_dear_target_on_top() -> None:
    second = 1 / np.log2(3)
    values = value("ndcg_of_price_at_2", lists(ids=[[1, 3], [3, 1]], targets=[[1, 3], [1, 3]]))
    np.testing.assert_allclose(values, [(1 + 4 * second) / (4 + second), 1.0])


def test_where_each_item_is_worth_1_they_are_the_metrics_of_hits() -> None:
    rng = np.random.default_rng(3)
    ids = [rng.permutation(5)[:4].tolist() for _ in range(200)]
    targets = [rng.permutation(5)[: 1 + at % 4].tolist() for at in range(200)]
    given = lists([1.0] * 5, ids, targets)
    np.testing.assert_allclose(
        value("ndcg_of_price_at_3", given), ndcg(given.hits[:, :3], given.targets.lengths)
    )
    np.testing.assert_array_equal(value("sum_of_price_at_3", given), given.hits[:, :3].sum(axis=1))
    most = np.minimum(given.targets.lengths, 3)
    np.testing.assert_allclose(value("share_of_price_at_3", given), given.hits[:, :3].sum(axis=1) / most)


def test_numbers_written_as_text_are_numbers() -> None:
    np.testing.assert_allclose(
        value("sum_of_price_at_3", lists(["10", "1", "", "4.0", None])), [10.0, 4.0, 0.0, 5.0]
    )


@pytest.mark.parametrize(
    ("name", "price", "error", "words"),
    [
        (
            "sum_of_prise_at_10",
            PRICE,
            SettingError,
            "'prise' is no column of the items; did you mean 'price'",
        ),
        (
            "sum_of_brand_at_10",
            PRICE,
            DataError,
            "column 'brand' of the items holds values that are no numbers",
        ),
        ("mean_of_price_at_10", [np.inf, 1, 1, 1, 1], DataError, "holds values that are no numbers"),
        (
            "share_of_price_at_10",
            [-1, -2, 1, 1, 1],
            DataError,
            r"2 items have a price below 0.*Ask for sum_of_price",
        ),
    ],
)
def test_a_column_that_cannot_be_counted_is_refused(
    name: str, price: list[Any], error: type[Exception], words: str
) -> None:
    facts = lists(price).facts
    assert facts is not None
    with pytest.raises(error, match=words):
        refuse_worthless([resolve(name)], facts.table)
    refuse_worthless(
        [resolve("sum_of_price_at_10"), resolve("ndcg_at_10")], lists([-1, 0, 1, 2, 3]).facts.table
    )  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("revenue_at_10", r"did you mean sum_of_price_at_10, where price is the column of the items"),
        ("sum_of_price", "metrics are written like .*sum_of_price_at_10"),
        ("sum_of_Price (EUR)_at_10", r"column 'Price \(EUR\)' is not\. Rename the column"),
    ],
)
def test_a_name_that_says_no_metric_of_value_is_refused_with_the_way_to_write_one(
    name: str, words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        resolve(name)


def test_columns_of_items_lie_beside_the_places_of_a_list() -> None:
    given = lists()
    assert given.facts is not None
    price = given.facts.numbers("price")
    np.testing.assert_array_equal(price, [10, 1, np.nan, 4, 0])
    assert given.facts.numbers("price") is price
    expected = [[10, 1, np.nan], [4, 0, np.nan], [np.nan, 0, np.nan], [1, 4, 10]]
    np.testing.assert_array_equal(given.of_places(price), expected)
    acme = np.array([name == "a" for name in given.facts.column("brand").to_pylist()])
    assert given.of_places(acme).tolist() == [[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert given.facts.column("domain").to_pylist()[:2] == ["books", "films"]
    with pytest.raises(
        SettingError, match=r"a metric of your own: 'prise' is no column of the items; did you mean"
    ):
        given.facts.numbers("prise")
