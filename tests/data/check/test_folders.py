"""Folders of all layouts and types, most with a fault: the short form of `python -m
benchmarks.data_folders`."""

from pathlib import Path

import pytest

from benchmarks.data_folders import outcome_of

FOLDERS = 40


@pytest.mark.filterwarnings("ignore:.* has no time zone")
@pytest.mark.parametrize("seed", range(1, FOLDERS + 1))
def test_a_fault_is_named_with_its_file_and_a_run_takes_what_check_lets_pass(
    seed: int, tmp_path: Path
) -> None:
    outcome = outcome_of(seed, tmp_path)
    assert outcome.verdict == "right", outcome
