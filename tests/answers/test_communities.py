"""What sets communities of items and people apart, and the command."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.answers.communities import items_apart, people_apart, people_of
from recsys.arrays import Ragged
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.write import write
from recsys.errors import RequestError
from recsys.history import Histories
from recsys.matrix.communities import find_communities
from recsys.models.registry import make_model
from recsys.testing.toys import dataset
from tests.helpers import bundles
from tests.helpers.command_line import answer, recsys

KINDS, EACH, PEOPLE = ("drama", "comedy", "crime"), 15, 120
NEAR = ("--neighbours", "30")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """People have items of one kind, and the most popular item of all."""
    rng, n_items = np.random.default_rng(1), len(KINDS) * EACH + 1
    rows = [[*rng.choice(EACH, 6, replace=False) + EACH * (who % 3), n_items - 1] for who in range(PEOPLE)]
    items = Ragged.of(rows)
    learned = make_model("als", {"dim": 4}).fit(
        dataset(items.row_of_value(), items.values, PEOPLE, n_items), seed=1
    )
    kinds = [[KINDS[item // EACH]] if item < n_items - 1 else [] for item in range(n_items)]
    plain = bundles.content(PEOPLE, n_items, embeddings=learned)
    columns = {
        "title": [f"T{item}" for item in range(n_items)],
        "categories": pa.array(kinds, pa.list_(pa.string())),
    }
    made = replace(
        plain, histories=Histories(items), fallback_days=None, catalogue=Catalogue.of(pa.table(columns))
    )
    return load(write(tmp_path_factory.mktemp("grouped"), made))


def test_items_are_told_by_their_middle_and_categories(bundle: Bundle) -> None:
    labels = np.append(np.repeat(np.arange(3, dtype=np.int32), EACH), np.int32(-1))
    groups = items_apart(bundle, labels, 4)
    assert [(one.label, one.size, one.categories[0]) for one in groups] == [
        (at, EACH, kind) for at, kind in enumerate(KINDS)
    ]
    for one in groups:
        assert len(one.items) == 4
        assert all(labels[int(name[1:])] == one.label for name in one.items)


def test_people_are_told_by_what_they_had_more_than_others(bundle: Bundle) -> None:
    vectors = people_of(bundle)
    communities = find_communities(vectors, neighbours=30)
    for label in range(3):
        assert len(set(communities.labels[label::3])) == 1
    groups = people_apart(bundle, (np.arange(PEOPLE) % 3).astype(np.int32), 5)
    for at, one in enumerate(groups):
        assert (one.size, one.categories) == (PEOPLE // 3, (KINDS[at],))
        assert all(int(name[1:]) // EACH == at for name in one.items)  # and not what everybody had


def test_where_all_are_alike_nobody_is_grouped(tmp_path: Path) -> None:
    plain = bundles.content(solved=False, embeddings=bundles.popularity(np.arange(40, dtype=np.float32)))
    with pytest.raises(RequestError, match="the same vector for everybody"):
        people_of(load(write(tmp_path, plain)))


@pytest.mark.slow
def test_it_is_a_command(bundle: Bundle, tmp_path: Path) -> None:
    said = answer(
        recsys(
            tmp_path,
            "communities",
            str(bundle.path),
            "--people",
            *NEAR,
            "--out",
            str(tmp_path / "groups.parquet"),
            "--json",
        )
    )
    assert said["of"] == "people"
    assert [one["size"] for one in said["communities"]] == [40, 40, 40]
    assert said["stability"] == 1
    written = pq.read_table(tmp_path / "groups.parquet")
    assert written.column_names == ["user_id", "community"]
    assert written.num_rows == PEOPLE
    whole = recsys(tmp_path, "communities", str(bundle.path), *NEAR, "--resolution", "0.001").stdout
    assert "All items are one community" in whole
