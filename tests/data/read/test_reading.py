"""Which events are read: those with a user, and those of the newest partitions."""

from pathlib import Path

import pandas as pd
import pytest

from recsys.data.read.event_table import Reading
from recsys.data.read.load import load_dataset
from recsys.data.read.storage.partitions import days_of
from recsys.errors import DataError


def events(path: Path, users: list[str | None], items: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"user_id": users, "item_id": items, "timestamp": range(len(users))}).to_parquet(path)
    return path


@pytest.mark.parametrize("on_disk", [False, True])
def test_events_without_a_user_are_left_out_when_asked_and_counted(on_disk: bool, tmp_path: Path) -> None:
    path = events(tmp_path / "e.parquet", ["u", None, "v", "", "u"], list("abcde"))
    folder = tmp_path if on_disk else None
    data = load_dataset(str(path), reading=Reading(drop_missing_users=True), on_disk=folder)
    log = data.interactions
    assert [(data.user_ids[u], data.item_ids[i]) for u, i in zip(log.user, log.item, strict=True)] == [
        ("u", "a"),
        ("v", "c"),
        ("u", "e"),
    ]
    assert any("2 of 5" in note for note in data.notes)
    with pytest.raises(DataError, match=r"2 of 5 rows have an empty id, first row 2.*missing_users=drop"):
        load_dataset(str(path), on_disk=folder)


@pytest.mark.parametrize("form", ["dt={year}-{month:02}", "{year}/{month:02}", "year={year}/month={month}"])
@pytest.mark.parametrize(("since", "months"), [("1d", 2), ("30d", 2), ("32d", 3), ("1000d", 24)])
def test_only_the_newest_partitions_are_opened(form: str, since: str, months: int, tmp_path: Path) -> None:
    """Those that a time counted back from the first day of the newest one, December, reaches; the others are
    no files that could be read."""
    for month in range(24):
        name = form.format(year=2024 + month // 12, month=month % 12 + 1)
        path = tmp_path / name / "part.parquet"
        if month < 24 - months:
            path.parent.mkdir(parents=True)
            path.write_bytes(b"not to be opened")
        else:
            events(path, [f"u{month}", "v"], ["a", "b"])
    data = load_dataset(str(tmp_path), reading=Reading(since=since))
    assert len(data.interactions) == 2 * months
    assert any(f"{months} of 24 files" in note for note in data.notes)


@pytest.mark.parametrize("text", ["180", "d", "0d", "3 years", ""])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="is no duration; write days or weeks, as in 180d or 26w"):
        days_of(text)
    assert (days_of("26w"), days_of("180d")) == (182, 180)
