"""From raw columns to rows and numbers: what is known, what is missing, what is refused."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.encoders.features import MISSING, UNKNOWN, Features, FeatureSettings
from recsys.errors import DataError, SettingError

TABLE = pa.table(
    {
        "colour": ["red", "blue", "red", None, "green", "blue"],
        "genres": ["a|b", "b", "", "a, c", "b", "a"],
        "price": [1.0, 2.0, 3.0, None, 4.0, float("nan")],
        "title": ["Toy Story", "Toys", None, "Heat", "Story of a Toy", "Heat"],
        "picture": [[1.0, 0.0], [0.0, 2.0], None, [1.0, 1.0], [2.0, 0.0], [0.0, 1.0]],
        "year": [1999.0, 2000.0, None, 1999.0, 2000.0, 1999.0],
    }
)


def of(*columns: tuple[str, str], **more: int) -> Features:
    return Features.fit([FeatureSettings(column=c, kind=k, **more) for c, k in columns], TABLE, "item")


def rows(features: Features, table: pa.Table) -> list[list[int]]:
    ragged = features.encode(table, table.num_rows).rows
    return [ragged.row(row).tolist() for row in range(ragged.rows)]


def test_values_have_rows_and_the_rare_unknown_and_missing_have_theirs() -> None:
    features = of(("colour", "category"))
    blue, red = 2, 3
    assert rows(features, TABLE) == [[red], [blue], [red], [MISSING], [UNKNOWN], [blue]]
    assert rows(features, pa.table({"colour": ["pink", "", None]})) == [[UNKNOWN], [MISSING], [MISSING]]
    assert rows(features, pa.table({"x": [1, 2]})) == [[MISSING], [MISSING]]


def test_several_values_share_a_weight_of_length_one_and_repeats_count_once() -> None:
    features = of(("genres", "categories"), least=1)
    encoded = features.encode(pa.table({"genres": ["a|b|a", "c", "", "z"]}), 4)
    assert [encoded.rows.row(row).tolist() for row in range(4)] == [[2, 3], [4], [MISSING], [UNKNOWN]]
    np.testing.assert_allclose(encoded.weight, [0.5**0.5, 0.5**0.5, 1, 1, 1], rtol=1e-6)
    lists = features.encode(pa.table({"genres": [["b", "a"], [], None, ["q"]]}), 4)
    assert [lists.rows.row(row).tolist() for row in range(4)] == [[3, 2], [MISSING], [MISSING], [UNKNOWN]]


def test_numbers_are_standardised_and_missing_ones_flagged() -> None:
    dense = of(("price", "number")).encode(TABLE, 6).dense
    np.testing.assert_array_equal(dense[:, 0], [0, 0, 0, 1, 0, 1])
    known = dense[[0, 1, 2, 4], 1]
    assert (known.mean(), known.std()) == (pytest.approx(0, abs=1e-6), pytest.approx(1, abs=1e-6))
    assert dense[[3, 5], 1].tolist() == [0, 0]
    assert of(("price", "number")).encode(pa.table({"price": [1e9]}), 1).dense[0, 1] == 5


def test_whole_numbers_that_pandas_made_fractions_are_the_same_category() -> None:
    features = of(("year", "category"))
    assert rows(features, pa.table({"year": [1999]})) == rows(features, pa.table({"year": ["1999"]})) == [[2]]


def test_an_unknown_word_shares_rows_with_words_alike() -> None:
    features = of(("title", "text"))
    near, far = (set(rows(features, pa.table({"title": [text]}))[0]) for text in ("toying", "quartz"))
    toy = set(rows(features, pa.table({"title": ["Toy"]}))[0])
    assert len(toy & near) >= 2
    assert not toy & far
    assert rows(features, pa.table({"title": [None, "!?"]})) == [[MISSING], [MISSING]]
    listed, said = (rows(features, pa.table({"title": [cell]})) for cell in (["Toy", "Heat"], "Toy Heat"))
    assert listed == said


def test_features_stand_side_by_side_and_load_as_saved(tmp_path: Path) -> None:
    kinds = (
        ("colour", "category"),
        ("genres", "categories"),
        ("title", "text"),
        ("price", "number"),
        ("picture", "vector"),
    )
    features = of(*kinds)
    encoded = features.encode(TABLE, 6)
    assert features.n_rows == 2 + 2 + 2 + 2 + 2 + (1 << 14)
    assert (features.n_dense, encoded.dense.shape) == (2 + 3, (6, 5))
    alone = [of(kind).encode(TABLE, 6).rows for kind in kinds[:3]]
    for row in range(6):
        starts = features.starts[:3]
        expected = [
            value + start
            for part, start in zip(alone, starts, strict=True)
            for value in part.row(row).tolist()
        ]
        assert encoded.rows.row(row).tolist() == expected
    features.save(tmp_path, "features")
    loaded = Features.load(tmp_path, "features")
    assert loaded.digest() == features.digest()
    for one, other in zip(loaded.encode(TABLE, 6), encoded, strict=True):
        for left, right in zip(one, other, strict=True) if isinstance(one, tuple) else [(one, other)]:
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("column", "kind", "value", "said"),
    [
        ("price", "number", "dear", r"'price' must hold a number in every row; row 1 holds 'dear'"),
        ("price", "number", float("inf"), r"'price' must be finite; row 1 holds inf"),
        (
            "picture",
            "vector",
            [1.0, 2.0, 3.0],
            r"'picture' must hold a list of 2 numbers in every row; row 1",
        ),
        ("picture", "vector", 7.0, r"'picture' must hold a list of 2 numbers"),
        (
            "colour",
            "category",
            ["red"],
            r"'colour' must hold one value .* of kind 'categories'\); row 1 holds \['red'\]",
        ),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name_and_row(
    column: str, kind: str, value: object, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        of((column, kind)).encode(pa.table({column: [value]}), 1)


def test_a_column_of_rare_values_alone_knows_none() -> None:
    features = of(("title", "category"), least=3)
    assert features.n_rows == 2
    assert rows(features, TABLE) == [[UNKNOWN], [UNKNOWN], [MISSING], [UNKNOWN], [UNKNOWN], [UNKNOWN]]
    assert features.encode(TABLE.slice(0, 0), 0).rows.rows == 0


def test_declarations_that_cannot_be_are_refused() -> None:
    with pytest.raises(
        SettingError, match=r"item feature 'size' is no column of the item table; its columns are colour"
    ):
        of(("size", "category"))
    with pytest.raises(SettingError, match="'colour' is declared twice"):
        of(("colour", "category"), ("colour", "text"))
    with pytest.raises(DataError, match="'nothing' has no value at all"):
        Features.fit(
            [FeatureSettings(column="nothing", kind="number")], pa.table({"nothing": [None, None]}), "user"
        )
