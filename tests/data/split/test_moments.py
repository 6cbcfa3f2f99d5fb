"""Moments that are named: the events before them are learned from, those after are asked for, and nothing
else."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import SettingError
from recsys.history import DAY_S
from tests.helpers.splits import check, random_data, refusal, rows_of, slowly

FIRST = 1_767_225_600  # 2026-01-01 00:00 UTC
DAYS = dataset_of(
    pd.DataFrame(
        {
            "user_id": [f"u{at % 7}" for at in range(300)],
            "item_id": [f"i{at * at % 97}-{at % 3}" for at in range(300)],
            "timestamp": FIRST + DAY_S // 10 * np.arange(300),  # thirty days of ten events
        }
    )
)


def day(number: float) -> int:
    return FIRST + round(number * DAY_S)


@pytest.mark.parametrize(
    "word", ["2026-01-21", "2026-01-21T00:00:00Z", date(2026, 1, 21), day(20), "2026-01-21T02:00+02:00"]
)
def test_a_moment_in_any_spelling_is_the_same_moment(word: object) -> None:
    cut = split(DAYS, SplitSettings.build({"test_from": word}, where="test"), seed=1)
    assert cut.test.now == day(20)
    rows = rows_of(DAYS.interactions)
    past, future = ([row for row in rows if (row[2] < day(20)) == early] for early in (True, False))
    check(cut.test, slowly(past, future, False), None)
    assert cut.test.train.interactions.time is not None
    assert cut.test.train.interactions.time.max() == day(20) - DAY_S // 10
    assert len(cut.validation.train.interactions) == 180  # nine tenths of what is before


@pytest.mark.parametrize("days", [1, 2.5, 7])
def test_the_last_days_are_judged(days: float) -> None:
    cut = split(DAYS, SplitSettings(test_days=days), seed=1)
    last = int(DAYS.interactions.time.max())  # type: ignore[union-attr]
    assert cut.test.now == last + 1 - round(days * DAY_S)
    assert len(cut.test.train.interactions) == 300 - round(days * 10)


def test_days_from_a_moment_on_leave_out_what_follows() -> None:
    settings = SplitSettings(
        test_from=datetime(2026, 1, 11, tzinfo=UTC),
        test_days=3,
        validation_from=datetime(2026, 1, 6),
    )
    cut = split(DAYS, settings, seed=1)
    rows = rows_of(DAYS.interactions)
    check(cut.test, slowly(rows[:100], rows[100:130], False), None)
    check(cut.validation, slowly(rows[:50], rows[50:100], False), None)


def test_shares_of_events_are_cut_as_ever() -> None:
    for seed in range(3):
        data = random_data(seed)
        plain, late = split(data, SplitSettings(), seed=1), split(data, SplitSettings(), seed=1)
        assert plain.test.now is not None
        named = split(
            data,
            SplitSettings.build(
                {"test_from": plain.test.now, "validation_from": plain.validation.now}, where="test"
            ),
            seed=1,
        )
        for part in ("test", "validation"):
            assert getattr(named, part).targets.values.tolist() == getattr(late, part).targets.values.tolist()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"test_from": "2025-12-31"},
            r"events from 2026-01-01T00:00:00Z to 2026-01-30T21:36:00Z; tuning from",
        ),
        ({"test_from": "2026-02-01"}, "judging from 2026-02-01T00:00:00Z leaves a part empty"),
        ({"test_days": 40}, "fewer split.test_days"),
        (
            {"test_from": "2026-01-11", "validation_from": "2026-01-12"},
            "split.validation_from < split.test_from",
        ),
        (
            {"test_from": "2026-01-11", "kind": "leave_last_out"},
            "are of split.kind=global_time; this split of events",
        ),
    ],
)
def test_what_leaves_a_part_empty_is_refused(settings: dict[str, object], said: str) -> None:
    assert said in refusal(DAYS, **settings)


def test_a_moment_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(SettingError, match="test_from"):
        SplitSettings.build({"test_from": "next tuesday"}, where="test")
