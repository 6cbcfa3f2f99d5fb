"""What is known of items: from the items' table to files and back, with more items, and as answers show
it."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.bundle.catalogue import Catalogue, shown_of
from recsys.ids import IdMap

COLUMNS: dict[str, Any] = {
    "title": pa.array(["Heat", None, 'Ça "va"\n', "", "Ālien"]),
    "domain": pa.array(["film", None, "book", "film", "film"]),
    "categories": pa.array([["crime", "drama"], None, [], ["drama"], ["sf", "crime"]]),
    "available": pa.array([True, None, False, True, True]),
    "available_from": pa.array([None, 5, 6, None, 8]),
    "available_to": pa.array([10, None, None, 40, 50]),
}


def rows_of(one: Catalogue) -> list[Any]:
    """All that a catalogue says of each item."""
    limits = {} if one.availability is None else one.availability.columns()
    return [
        (
            one.title(row),
            one.domain(row),
            one.categories(row),
            {name: limits[name][row].item() for name in limits},
        )
        for row in range(len(one))
    ]


def save_and_load(one: Catalogue, folder: Path) -> Catalogue:
    """The same through files."""
    folder.mkdir(exist_ok=True)
    for name, array in one.arrays().items():
        np.save(folder / f"{name}.npy", array)
    return Catalogue.load(folder, len(one), one.domain_names)


def test_it_says_of_each_item_what_the_table_says(tmp_path: Path) -> None:
    for one in (
        Catalogue.of(pa.table(COLUMNS)),
        save_and_load(Catalogue.of(pa.table(COLUMNS)), tmp_path / "columns"),
    ):
        ever, never = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        assert rows_of(one) == [
            (
                "Heat",
                "film",
                ["crime", "drama"],
                {"available": True, "available_from": ever, "available_to": 10},
            ),
            (None, None, [], {"available": True, "available_from": 5, "available_to": never}),
            ('Ça "va"\n', "book", [], {"available": False, "available_from": 6, "available_to": never}),
            (None, "film", ["drama"], {"available": True, "available_from": ever, "available_to": 40}),
            ("Ālien", "film", ["sf", "crime"], {"available": True, "available_from": 8, "available_to": 50}),
        ]
        assert {name: items.tolist() for name, items in one.domains.items()} == {
            "film": [0, 3, 4],
            "book": [2],
        }
        assert one.titles_of([4, 1]) == ["Ālien", None]


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_which_nothing_is_known_is_none(name: str, tmp_path: Path) -> None:
    without = pa.table({one: column for one, column in COLUMNS.items() if one != name})
    unknown = pa.table(COLUMNS | {name: pa.nulls(5, COLUMNS[name].type)})
    assert (
        rows_of(Catalogue.of(unknown))
        == rows_of(Catalogue.of(without))
        == rows_of(save_and_load(Catalogue.of(without), tmp_path))
    )


@pytest.mark.parametrize(("first", "second"), [*product([None, *COLUMNS], repeat=2)])
def test_further_items_are_as_if_they_had_been_there_at_once(first: str | None, second: str | None) -> None:
    """Whatever column either of the two lacks."""
    parts = [
        pa.table({name: column for name, column in COLUMNS.items() if name != lacking}).slice(start, length)
        for lacking, start, length in ((first, 0, 2), (second, 2, 3))
    ]
    whole = Catalogue.of(pa.concat_tables(parts, promote_options="default"))
    joined = Catalogue.of(parts[0]).followed_by(Catalogue.of(parts[1]))
    assert rows_of(joined) == rows_of(whole)
    assert {name: items.tolist() for name, items in joined.domains.items()} == {
        name: items.tolist() for name, items in whole.domains.items()
    }


def test_what_an_answer_shows_of_an_item_begins_a_json_object() -> None:
    ids = ["007", 'a"b', "ü\\", "\U0001f600", "x" * 300]
    shown = shown_of(IdMap.of(ids), Catalogue.of(pa.table(COLUMNS)))
    assert [json.loads(text + "}") for text in shown.take(range(5))] == [
        {"item_id": id_, "title": title or None}
        for id_, title in zip(ids, COLUMNS["title"].to_pylist(), strict=True)
    ]


def test_hiding_items_leaves_the_rest_as_it_was() -> None:
    plain = Catalogue.of(pa.table({"title": COLUMNS["title"]}))
    hidden = plain.showing(np.array([1, 3]), False)
    assert hidden.availability is not None
    assert hidden.availability.at(None) is not None
    assert hidden.availability.columns()["available"].tolist() == [True, False, True, False, True]
    assert plain.availability is None
    again = hidden.showing(np.array([3]), True).availability
    assert again is not None
    assert again.columns()["available"].tolist() == [True, False, True, True, True]
