"""Candidates that came with a published split: `test_negatives`, one row per user with the items to rank beside his."""

from dataclasses import replace
from pathlib import Path

from recsys.data.dataset import Dataset


def with_negatives(data: Dataset, folder: Path) -> Dataset:
    """The data set of a folder, knowing where its published candidates are, if it has a split and such a table."""
    path = folder / "test_negatives.parquet"
    if data.published is None or not path.is_file():
        return data
    return replace(data, published=replace(data.published, negatives=path))
