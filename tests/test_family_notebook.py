"""The walk from one-hot to sequences: its cells give on ml-100k what the notebook shows, and run without
it."""

import os
import re

import pytest

from tests.helpers.notebooks import ROOT, assert_alike, read_outputs, run_notebook

NOTEBOOK = ROOT / "docs/family.ipynb"
STEPS = (
    "one-hot",
    "co-occurrence",
    "svd of co-occurrence",
    "word2vec, skip-gram",
    "word2vec, CBOW",
    "GloVe",
    "FastText",
    "matrix factorization",
    "two towers",
    "sequence",
)


@pytest.mark.slow
@pytest.mark.data
def test_the_walk_prints_what_it_shows() -> None:
    run, stored = run_notebook(NOTEBOOK, RECSYS_DATA=os.environ["RECSYS_DATA"]), read_outputs(NOTEBOOK)
    ours, theirs = (_take_communities(cells) for cells in (run, stored))
    assert_alike(run, stored, atol=0.02, exact=False)
    for cell in (ours, theirs):  # a group may fall in two by the last bit of a vector
        assert 3 <= len(re.findall(r"^\| +\d+ \|", cell, re.MULTILINE)) <= 8
        modularity, agreement = map(float, re.findall(r"0\.\d+", cell.splitlines()[-1]))
        assert modularity > 0.5
        assert agreement > 0.6


def _take_communities(cells: list[str]) -> str:
    """The one cell that shows communities of people, taken out of the others."""
    [cell] = [cell for cell in cells if "| community |" in cell]
    cells.remove(cell)
    return cell


@pytest.mark.slow
def test_the_walk_goes_through_a_planted_world_where_the_log_is_not_there() -> None:
    run = "\n".join(run_notebook(NOTEBOOK))
    assert "ml-100k" not in run
    assert all(f"| {step} " in run for step in STEPS)


def test_the_walk_shows_its_steps_in_the_order_of_history() -> None:
    [table] = [text for text in read_outputs(NOTEBOOK) if "| model" in text]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.count("|") == 4][2:]
    assert rows == ["popularity", *STEPS]
