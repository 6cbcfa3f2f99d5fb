"""Telling, identifying, swapping, restarting, forgetting and exporting in any order, over HTTP; 500 steps of
it are `python -m benchmarks.event_faults`."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.helpers.told_service import ToldService


@pytest.mark.slow
def test_a_service_is_a_plain_model_in_any_order() -> None:
    short = settings(
        max_examples=1,
        stateful_step_count=15,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(ToldService, settings=short)
