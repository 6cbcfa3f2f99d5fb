"""Tests marked `data` read real data sets: skipped only where RECSYS_DATA is unset; where it is set, a gap fails."""

import os

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("data") and not os.environ.get("RECSYS_DATA"):
        pytest.skip("RECSYS_DATA is unset: name the folder that holds the real data sets")
