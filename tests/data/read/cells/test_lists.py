"""Lists that a file holds as text."""

from pathlib import Path

import pyarrow as pa
import pytest

from recsys.data.read.cells.lists import lists_of_text
from recsys.data.read.tables import dataset_of


@pytest.mark.parametrize(
    ("text", "lists"),
    [
        (["['Film', 'Comedy']", None, ""], [["Film", "Comedy"], None, None]),
        (['["Rock \'n\' Roll", "Pop"]'], [["Rock 'n' Roll", "Pop"]]),
        (["[\"Rock 'n' Roll\", 'Pop']"], [["Rock 'n' Roll", "Pop"]]),
        (["['Film' 'Comedy'\n 'War']"], [["Film", "Comedy", "War"]]),
        (['{Film,"Sci Fi",NULL}', "{}"], [["Film", "Sci Fi"], []]),
        (["[Film, Science Fiction]"], [["Film", "Science Fiction"]]),
        (["{'a', 'b'}"], [["a", "b"]]),
        (['["caf\\u00e9", "a\\"b", "c\\/d"]'], [["café", 'a"b', "c/d"]]),
        (["['a', None, nan]"], [["a"]]),
        (["[1, 2]", "[]"], [[1, 2], []]),
        (["[0.5 1e-3]", "[2, .5]"], [[0.5, 0.001], [2.0, 0.5]]),
        (["['007', '7']"], [["007", "7"]]),
    ],
)
def test_lists_in_brackets_are_lists(text: list[str], lists: list[object]) -> None:
    for column in (
        pa.chunked_array([pa.array(text, pa.string())]),
        pa.chunked_array([text]).dictionary_encode(),
    ):
        read = lists_of_text(column)
        assert read is not None
        assert read.to_pylist() == lists


@pytest.mark.parametrize(
    "text",
    [
        ["[REC]", "Alien"],
        ['{"a": 1}'],
        ["{a: 1}"],
        ["[[1, 2], [3]]"],
        ["[1", "2]"],
        [None, ""],
        ["a, b"],
        ["['a' b]"],
    ],
)
def test_other_text_stays_text(text: list[str]) -> None:
    assert lists_of_text(pa.chunked_array([pa.array(text, pa.string())])) is None


def test_an_item_table_that_went_through_a_csv_has_its_lists(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(
        "item_id,title,categories,tags,place\n"
        "a,[REC],\"['Film', 'War']\",\"['x', 'y']\",\"[0.5, 1.0]\"\n"
        'b,[SIC],Drama,"[\'x\']","[1.0, 2.0]"\n'
    )
    items = tmp_path / "items.csv"
    data = dataset_of(pa.table({"user_id": ["u", "v"], "item_id": ["a", "b"]}), items)
    assert data.items["title"].to_pylist() == ["[REC]", "[SIC]"]
    assert data.items["categories"].to_pylist() == [["Film", "War"], ["Drama"]]
    assert data.item_features is not None
    assert data.item_features["tags"].to_pylist() == [["x", "y"], ["x"]]
    assert data.item_features["place"].to_pylist() == [[0.5, 1.0], [1.0, 2.0]]
