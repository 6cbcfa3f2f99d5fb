"""`recsys data check`: every fault is planted and found, with its count and first row; sound logs stay
silent."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from recsys.data.check.check import Checked, check, repeats
from recsys.data.check.findings import Finding
from recsys.data.check.patterns import burstiness
from recsys.errors import DataError
from recsys.pipelines.cli import main

NOW = 1_800_000_000
START = 1_700_000_000
DAY = 86_400


def sound(seed: int = 1, n_users: int = 300) -> dict[str, np.ndarray]:
    """A log like a real one: people come in sittings, items are met now and then; a hundred days, no
    fault."""
    random = np.random.default_rng(seed)
    sittings = random.integers(1, 12, n_users)
    user = np.repeat(np.arange(n_users), sittings)
    start = START + random.integers(0, 100 * DAY, len(user))
    events = random.integers(1, 9, len(user))
    user, start = np.repeat(user, events), np.repeat(start, events)
    time = start + random.integers(0, 900, len(user))
    item = (random.random(len(user)) ** 2 * 200).astype(int)
    order = np.argsort(time, kind="stable")
    return {
        "user_id": np.char.add("u", user[order].astype(str)),
        "item_id": np.char.add("i", item[order].astype(str)),
        "timestamp": time[order] + np.arange(len(user)),
    }


def check_columns(columns: dict[str, Any], **names: str) -> Checked:
    return check(pa.table(columns), names, now=NOW)


def finding_of(columns: dict[str, Any], kind: str, **names: str) -> Finding:
    matches = [finding for finding in check_columns(columns, **names).findings if finding.kind == kind]
    assert len(matches) == 1, [finding.kind for finding in check_columns(columns, **names).findings]
    return matches[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_sound_log_has_no_finding(seed: int) -> None:
    result = check_columns(sound(seed))
    assert result.findings == []
    columns = sound(seed)
    assert result.facts["rows"] == len(columns["user_id"])
    assert result.facts["users"] == len(set(columns["user_id"]))
    assert result.facts["items"] == len(set(columns["item_id"]))


def spoilt(name: str, value: Any, at: list[int]) -> dict[str, Any]:
    columns: dict[str, Any] = {key: values.tolist() for key, values in sound().items()}
    columns.setdefault("weight", [1.0] * len(columns["user_id"]))
    for row in at:
        columns[name][row] = value
    return columns


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("user_id", "", "missing_id"),
        ("user_id", None, "missing_id"),
        ("item_id", "", "missing_id"),
        ("timestamp", None, "missing_time"),
        ("timestamp", -5, "negative_time"),
        ("timestamp", START * 1000, "time_unit"),
        ("timestamp", NOW + 2 * DAY, "future_time"),
        ("weight", 0.0, "weight_not_positive"),
        ("weight", float("nan"), "weight_not_positive"),
    ],
)
def test_bad_rows_are_errors_with_count_and_first_row(name: str, value: Any, kind: str) -> None:
    finding = finding_of(spoilt(name, value, [17, 40, 41]), kind)
    assert (finding.level, finding.column, finding.count, finding.first_row) == ("error", name, 3, 18)
    assert finding.fix


def test_all_faults_are_found_at_once() -> None:
    columns = spoilt("user_id", "", [3])
    columns["item_id"][5] = None
    columns["timestamp"][7] = -1
    columns["timestamp"][9] = NOW * 10
    columns["weight"][2] = -1.0
    columns["event"] = ["view"] * len(columns["user_id"])
    columns["event"][11] = ""
    result = check_columns(columns)
    errors = {(finding.kind, finding.column, finding.first_row) for finding in result.findings}
    assert errors >= {
        ("missing_id", "user_id", 4),
        ("missing_id", "item_id", 6),
        ("negative_time", "timestamp", 8),
        ("future_time", "timestamp", 10),
        ("weight_not_positive", "weight", 3),
        ("missing_event_type", "event", 12),
    }
    assert result.errors == 6
    assert [finding.level for finding in result.findings] == sorted(
        finding.level for finding in result.findings
    )


@pytest.mark.parametrize("divide", [86_400, 3_600, 1_000])
def test_a_wrong_unit_of_all_times_is_an_error(divide: int) -> None:
    columns = sound()
    columns["timestamp"] = columns["timestamp"] // divide
    assert finding_of(columns, "time_unit").level == "error"


def test_milliseconds_in_all_rows_are_an_error_with_their_count() -> None:
    columns = sound()
    columns["timestamp"] = columns["timestamp"] * 1000
    assert finding_of(columns, "time_unit").count == len(columns["timestamp"])


def test_text_among_the_times_of_a_csv_does_not_hide_the_rest(tmp_path: Path) -> None:
    lines = ["user_id,item_id,timestamp"] + [f"u{k % 7},i{k},{START + k}" for k in range(50)]
    lines[10] = "u1,i1,soon"
    lines[20] = f"u1,i1,{NOW * 2}"
    (tmp_path / "e.csv").write_text("\n".join(lines) + "\n")
    kinds = {finding.kind: finding.first_row for finding in check(tmp_path / "e.csv", now=NOW).findings}
    assert kinds["text_time"] == 10
    assert kinds["future_time"] == 20


def test_rows_with_too_many_fields_are_counted_not_raised(tmp_path: Path) -> None:
    text = "user_id,item_id\n" + "u,i\n" * 20 + 'u,"a,b",c\nu\n' + "u,i\n" * 5
    (tmp_path / "e.csv").write_text(text)
    finding = next(one for one in check(tmp_path / "e.csv").findings if one.kind == "ragged_row")
    assert (finding.level, finding.count, finding.of, finding.first_row) == ("error", 2, 27, 21)


@pytest.mark.parametrize("with_times", [True, False])
def test_repeated_rows_are_counted_as_a_slow_second_version_counts_them(with_times: bool) -> None:
    random = np.random.default_rng(3)
    user, item, event = (random.integers(0, n, 2_000) for n in (15, 12, 2))
    time = random.integers(0, 30, 2_000) if with_times else None
    seen, slow = set(), []
    for row in range(2_000):
        key = (user[row], item[row], event[row], None if time is None else time[row])
        slow.append(key in seen)
        seen.add(key)
    assert repeats(user, item, 12, time, event).tolist() == slow
    assert 0 < sum(slow) < 2_000


@pytest.mark.parametrize("seed", range(4))
def test_exchanged_columns_are_seen_by_the_sittings_of_people(seed: int) -> None:
    columns = sound(seed)
    swapped = {"a": columns["item_id"], "b": columns["user_id"], "timestamp": columns["timestamp"]}
    assert finding_of(swapped, "swapped_columns", user_id="a", item_id="b").column == "a"
    straight = {"a": columns["user_id"], "b": columns["item_id"], "timestamp": columns["timestamp"]}
    assert check_columns(straight, user_id="a", item_id="b").findings == []


def test_repeated_rows_say_what_the_setting_would_leave_out_in_all() -> None:
    columns = {name: np.append(values, values[:3]) for name, values in sound().items()}
    pairs = len(set(zip(columns["user_id"], columns["item_id"], strict=True)))
    dropped = len(columns["user_id"]) - pairs
    again = finding_of(columns, "duplicate")
    assert again.count == 3 < dropped
    assert f"whatever its time: it leaves out up to {dropped:,} rows, {dropped - 3:,} of them" in again.fix
    without_times = finding_of({name: columns[name] for name in ("user_id", "item_id")}, "duplicate")
    assert (without_times.count, without_times.fix.count("of them")) == (dropped, 0)


def test_exchanged_columns_are_seen_by_their_names_and_by_the_item_table() -> None:
    columns = {"user_id": ["i1", "i2", "i3"], "item_id": ["u1", "u1", "u2"]}
    by_name = {"product_id": ["1", "2"], "customer": ["3", "4"]}
    assert finding_of(by_name, "swapped_columns", user_id="product_id", item_id="customer").level == "warning"
    items = pa.table({"item_id": ["i1", "i2", "i3", "i4"]})
    swapped = [
        finding for finding in check(pa.table(columns), items=items).findings if finding.level == "error"
    ]
    assert [finding.kind for finding in swapped] == ["swapped_columns"]
    straight = {"user_id": columns["item_id"], "item_id": ["i1", "i2", "i9"]}
    kinds = {finding.kind: finding.count for finding in check(pa.table(straight), items=items).findings}
    assert kinds["undescribed_item"] == 1
    assert "swapped_columns" not in kinds


def test_an_even_stream_has_no_bursts_and_sittings_have() -> None:
    random = np.random.default_rng(5)
    who = random.integers(0, 50, 50_000)
    even = np.sort(random.integers(0, 10**9, 50_000))
    assert burstiness(who, 50, even) == pytest.approx(0.01, abs=0.003)
    sitting = np.repeat(random.permutation(5_000), 10) % 50
    assert burstiness(sitting, 50, even) > 0.3


def test_a_robot_is_named_and_a_busy_person_is_not() -> None:
    columns = sound()
    n = 1_500
    robot = {
        "user_id": np.append(columns["user_id"], ["robot"] * n),
        "item_id": np.append(columns["item_id"], columns["item_id"][:n]),
        "timestamp": np.append(columns["timestamp"], START + 50 * DAY // 3_600 * 3_600 + np.arange(n)),
    }
    finding = finding_of(robot, "bot")
    assert (finding.count, finding.first_row) == (1, len(columns["user_id"]) + 1)
    robot["timestamp"][-n:] = START + np.arange(n) * 5_000
    robot["user_id"][-n:] = np.char.add("u", (np.arange(n) % 3).astype(str))
    assert "bot" not in {finding.kind for finding in check_columns(robot).findings}


def test_users_and_items_of_one_event() -> None:
    n = 400
    columns = {"user_id": np.char.add("u", np.arange(n).astype(str)), "item_id": ["a", "b"] * (n // 2)}
    finding = finding_of(columns, "one_event_users")
    assert (finding.level, finding.count, finding.of) == ("warning", n, n)
    assert "one_event_items" not in {one.kind for one in check_columns(columns).findings}


@pytest.mark.parametrize(("factor", "days"), [(20, 1), (0, 1)])
def test_a_day_that_jumps_is_dated(factor: int, days: int) -> None:
    random = np.random.default_rng(6)
    time = np.sort(START // DAY * DAY + random.integers(0, 60 * DAY, 60 * 300))
    broken = START // DAY + 30
    on_day = time // DAY == broken
    kept = np.concatenate(
        [time[~on_day], np.repeat(time[on_day], factor) + np.arange(on_day.sum() * factor) % 60]
    )
    user = np.char.add("u", random.integers(0, 500, len(kept)).astype(str))
    item = np.char.add("i", random.integers(0, 500, len(kept)).astype(str))
    finding = finding_of({"user_id": user, "item_id": item, "timestamp": kept}, "jump")
    assert finding.count == days
    assert str(np.datetime64(int(broken), "D")) in finding.said


def test_what_is_no_table_of_events_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.parquet").write_bytes(b"\xff" * 99)
    with pytest.raises(DataError, match="cannot be read"):
        check(tmp_path / "junk.parquet")
    with pytest.raises(DataError, match="no column 'who'"):
        check(pa.table({"user_id": ["a"], "item_id": ["b"]}), {"user_id": "who"})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Any]:
    def call(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["data", "check", *arguments])

    return call


def test_the_command_exits_by_its_verdict(run: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "clicks.csv"
    path.write_text("who,what,at\n" + "".join(f"u{k % 5},i{k % 39},{START + k}\n" for k in range(40)))
    names = ["--user-col", "who", "--item-col", "what", "--time-col", "at"]
    good = run(str(path), *names, "--json")
    assert (good.exit_code, json.loads(good.stdout)["errors"]) == (0, 0)
    with open(path, "a") as stream:
        stream.write(f",i1,{START}\n")
    bad = run(str(path), *names)
    assert bad.exit_code == 1
    assert "column 'who'" in bad.stdout
    assert "1 of 41 rows have an empty id, first row 41" in bad.stdout
    assert run(str(path)).exit_code == 2
    assert run(str(tmp_path / "none.csv")).exit_code == 2
