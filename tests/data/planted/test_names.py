"""The titles, ids and categories of the planted world are readable and distinct."""

import numpy as np
import pytest

from recsys.data.dataset import ITEM_COLUMNS
from recsys.data.planted.names import _WORDS, CATEGORIES, DOMAINS, titles
from recsys.data.planted.world import World
from recsys.seeding import generator
from tests.helpers.worlds import medium_world, small_world


@pytest.fixture
def small() -> World:
    return small_world()


@pytest.fixture
def medium() -> World:
    return medium_world()


def test_items_and_ids_are_readable(small):
    data = small.dataset
    assert data.items.schema.names == list(ITEM_COLUMNS)
    assert [data.items.schema.field(name).type for name in ITEM_COLUMNS] == list(ITEM_COLUMNS.values())
    assert data.user_ids[42] == "u00042"
    assert (data.item_ids[7], data.item_ids[150], len(data.item_ids)) == ("film-0007", "book-0000", 300)
    rows = data.items.to_pylist()
    assert [row["domain"] for row in rows] == ["films"] * 150 + ["books"] * 150
    assert len({row["title"] for row in rows}) == 300
    for row, category in zip(rows, small.truth.category, strict=True):
        nouns = _WORDS[CATEGORIES[category]][1].split()
        assert any(noun in row["title"].split() for noun in nouns)
        assert row["categories"][0] == CATEGORIES[category]
        assert len(set(row["categories"])) == len(row["categories"]) <= 2


def test_titles_stay_distinct_in_a_large_catalogue():
    random = generator(0, "test")
    domain, category = (
        random.integers(len(DOMAINS), size=150_000),
        random.integers(len(CATEGORIES), size=150_000),
    )
    names = titles(domain.astype(np.int32), category.astype(np.int32), random)
    assert len(set(names)) == 150_000
    assert any(name.endswith(" II") for name in names)
    assert max(map(len, names)) < 60


def test_nouns_belong_to_one_category():
    nouns = [noun for words in _WORDS.values() for noun in words[1].split()]
    assert len(set(nouns)) == len(nouns)
