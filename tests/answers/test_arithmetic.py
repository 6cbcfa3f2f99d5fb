"""Sums of vectors: analogies on a grid of categories, against the sum written out; and the files of the
projector."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys.answers.projector import write_projector
from recsys.answers.similar import combine_items
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.write import write
from recsys.encoders.solve import Solve
from recsys.errors import RequestError
from recsys.retrieval.embeddings import Embeddings
from tests.helpers import bundles
from tests.helpers.command_line import answer, recsys

KINDS, PLACES, EACH = ("drama", "comedy", "crime", "nature"), ("town", "sea", "desert", "moon", "wood"), 5


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Each item is of a kind and of a place, and its vector is the sum of both and of a little of its own."""
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(16, 16)))[0].astype(np.float32)
    places = [(kind, place) for kind in range(4) for place in range(5) for _ in range(EACH)]
    items = np.array([axes[kind] + axes[4 + place] for kind, place in places])
    items += 0.1 * rng.normal(size=items.shape).astype(np.float32)
    plain = bundles.content(n_items=len(items), dim=16)
    titles = [f"{KINDS[kind]}\tat {PLACES[place]} {at}" for at, (kind, place) in enumerate(places)]
    columns = {"title": titles, "categories": [[KINDS[kind], PLACES[place]] for kind, place in places]}
    weights = {"regularization": 0.01, "unobserved_weight": 0.1, "exponent": 1.0}
    vectors = Embeddings(items.astype(np.float32), Solve(items, items.T @ items, None, **weights))
    made = replace(plain, embeddings=vectors, catalogue=Catalogue.of(pa.table(columns)))
    return load(write(tmp_path_factory.mktemp("grid"), made))


def item_of(kind: int, place: int, at: int = 0) -> str:
    return f"i{(kind * 5 + place) * EACH + at}"


def test_a_to_b_is_as_c_to_what_stands_in_its_corner(grid: Bundle) -> None:
    right = 0
    for kind, place in np.ndindex(3, 4):
        plus = [item_of(kind, place + 1), item_of(kind + 1, place)]
        nearest = combine_items(grid, plus, [item_of(kind, place)], 5)
        right += {one.item_id for one in nearest} <= {item_of(kind + 1, place + 1, at) for at in range(EACH)}
        assert not {one.item_id for one in nearest} & {*plus, item_of(kind, place)}
    assert right >= 11


def test_a_category_is_the_mean_of_its_items(grid: Bundle) -> None:
    nearest = combine_items(grid, ["category:comedy", "category:sea"], ["category:drama"], EACH)
    assert {one.item_id for one in nearest} == {item_of(1, 1, at) for at in range(EACH)}
    units = grid.item_vectors / grid.norms[:, None]

    def mean(word: str) -> np.ndarray:
        rows = [item for item in range(len(units)) if word in grid.catalogue.categories(item)]
        vector = units[rows].mean(axis=0)
        return vector / np.linalg.norm(vector)

    total = mean("comedy") + mean("sea") - mean("drama")
    cosines = np.sort(units @ total / np.linalg.norm(total))[::-1]
    np.testing.assert_allclose([one.score for one in nearest], cosines[:EACH], atol=1e-5)


def test_what_has_no_vector_or_comes_to_nothing_is_refused(grid: Bundle) -> None:
    for plus, minus, reason in (
        (["i0", "no such"], [], "'no such' has no vector"),
        (["category:opera"], [], "'category:opera' has no vector"),
        (["i0"], ["i0"], "comes to nothing"),
        ([], ["i0"], "at least one"),
    ):
        with pytest.raises(RequestError, match=reason):
            combine_items(grid, plus, minus, 3)
    with pytest.raises(RequestError, match="k must be between"):
        combine_items(grid, ["i0"], [], 0)


def test_the_projector_gets_the_vectors_and_a_line_for_each(grid: Bundle, tmp_path: Path) -> None:
    assert write_projector(grid, tmp_path / "all", 10_000) == 100
    vectors = np.loadtxt(tmp_path / "all/vectors.tsv", delimiter="\t")
    names = [line.split("\t") for line in (tmp_path / "all/metadata.tsv").read_text().splitlines()]
    assert names[0] == ["item_id", "title", "domain", "categories"]
    assert {len(line) for line in names} == {4}  # the tab of a title is a blank
    rows = [grid.item_ids.index(line[0]) for line in names[1:]]
    np.testing.assert_allclose(vectors, grid.item_vectors[rows], rtol=1e-5, atol=1e-6)
    assert write_projector(grid, tmp_path / "few", 7) == 7
    few = (tmp_path / "few/metadata.tsv").read_text().splitlines()[1:]
    assert [line.split("\t")[0] for line in few] == [
        grid.item_ids[int(row)] for row in grid.recommender.fallback[:7]
    ]


@pytest.mark.slow
def test_both_are_commands(grid: Bundle, tmp_path: Path) -> None:
    said = recsys(
        tmp_path, "arithmetic", str(grid.path), "i0", "category:sea", "--minus", "category:town", "--json"
    )
    assert (
        answer(said)["items"][0]["item_id"]
        == combine_items(grid, ["i0", "category:sea"], ["category:town"], 1)[0].item_id
    )
    assert (
        answer(recsys(tmp_path, "projector", str(grid.path), str(tmp_path / "p"), "--json"))["items"] == 100
    )
    assert "has no vector" in recsys(tmp_path, "arithmetic", str(grid.path), "nobody", rc=2).stderr
