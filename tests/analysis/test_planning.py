"""What a plan needs, from a log of the time before."""

import tomllib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.analysis.effects.bounds import group_inflation
from recsys.analysis.effects.power import people_for
from recsys.analysis.plan import Plan
from recsys.analysis.planning import Needs, plan_power
from recsys.analysis.planted import PLAN, START, plant
from recsys.errors import DataError

LOG = plant(3_000, 0.0, seed=5)


def needs(since: int | None = START, **changes: Any) -> Needs:
    values = tomllib.loads(PLAN.format(people=2_000, window=7, past=28, mde=0.05)) | changes
    return plan_power(LOG.outcomes, Plan.build(values, where="a test"), exposures=LOG.exposures, since=since)


def test_people_follow_from_what_the_log_says_of_people() -> None:
    """Held against the window's plays counted by hand, without CUPED."""
    report = needs(past_days=0)
    first = dict(
        zip(*(LOG.exposures[name].to_pylist()[::-1] for name in ("unit_id", "timestamp")), strict=True)
    )
    plays = dict.fromkeys(first, 0)
    columns = (LOG.outcomes[name].to_pylist() for name in ("unit_id", "timestamp", "event"))
    for unit, second, event in zip(*columns, strict=True):
        plays[unit] += event == "play" and 0 <= second - first[unit] < 7 * 86_400
    values = np.array(list(plays.values()))
    one = report.needs[0]
    assert one.mean == pytest.approx(values.mean())
    assert one.deviation == pytest.approx(values.std(ddof=1))
    assert one.left == pytest.approx(1)
    expected = people_for(0.05 * values.mean(), values.var(ddof=1)) * group_inflation(14)
    assert one.people == pytest.approx(expected)
    assert needs().needs[0].people < 0.9 * expected


def test_people_who_return_are_counted_once_and_time_is_in_whole_weeks() -> None:
    report = needs()
    assert report.new_by_day.sum() == len(pc.unique(LOG.exposures["unit_id"]))
    assert len(report.new_by_day) == 14
    assert report.days is not None
    assert report.days % 7 == 0
    sizes = list(report.needs[0].by_week.values())
    assert sizes == sorted(sizes, reverse=True)
    assert report.needs[0].beyond
    assert (
        not needs(metrics=[{"name": "plays", "event": "play", "role": "primary", "mde": 0.5}]).needs[0].beyond
    )


def test_more_arms_and_more_metrics_need_more_people() -> None:
    one = needs().needs[0].people
    two = needs(weights={"control": 0.5, "wide": 0.25, "other": 0.25})
    assert two.alpha == 0.025
    assert two.needs[0].people > 1.5 * one


def test_a_log_that_says_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="no rows from 2030"):
        needs(since=1_893_456_000)
    metrics = [{"name": "worth", "event": "play", "value": "sum", "role": "primary"}]
    outcomes = LOG.outcomes.append_column("value", pa.array([0.0] * len(LOG.outcomes)))
    plan = Plan.build({"control": "a", "weights": {"a": 0.5, "b": 0.5}, "metrics": metrics}, where="a test")
    with pytest.raises(DataError, match="the same for everybody"):
        plan_power(outcomes, plan, exposures=LOG.exposures, since=START)
