"""The walk from one-hot to sequences: its cells give on ml-100k what the notebook shows, and run without
it."""

import os

import pytest

from tests.helpers.notebooks import ROOT, assert_alike, printed, shown

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
    run = printed(NOTEBOOK, RECSYS_DATA=os.environ["RECSYS_DATA"])
    assert_alike(run, shown(NOTEBOOK), atol=0.02, exact=False)


@pytest.mark.slow
def test_the_walk_goes_through_a_planted_world_where_the_log_is_not_there() -> None:
    run = "\n".join(printed(NOTEBOOK))
    assert "ml-100k" not in run
    assert all(f"| {step} " in run for step in STEPS)


def test_the_walk_shows_its_steps_in_the_order_of_history() -> None:
    [table] = [text for text in shown(NOTEBOOK) if "| model" in text]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.count("|") == 4][2:]
    assert rows == ["popularity", *STEPS]
