"""Tables of events: ids as text, times in seconds, weights and event types; and what is refused, in which
words."""

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from recsys.data.dataset import Dataset
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError

OWN = {"user_id": "visitor", "item_id": "product", "timestamp": "at", "event": "what", "weight": "stars"}
ROWS: dict[str, list[Any]] = {
    "visitor": ["007", "NA", "7", "007"],
    "product": ["null", "0", "00", "nan"],
    "at": [30, 10, 20, 10],
    "what": ["view", "buy", "view", "NA"],
    "stars": [1.5, 2.0, 0.5, 3.0],
    "ignored": [1, 2, 3, 4],
}
FORMATS = ("csv", "csv.gz", "parquet", "frame", "arrow")


def table_as(form: str, columns: dict[str, Any], folder: Path, stem: str = "events") -> Any:
    """The same table as a file of some format, a DataFrame or an Arrow table."""
    frame, path = pd.DataFrame(columns), folder / f"{stem}.{form}"
    if form == "frame":
        return frame
    if form == "arrow":
        return pa.table(columns)
    if form == "parquet":
        parquet.write_table(pa.table(columns), path)
    else:
        text = frame.to_csv(index=False).encode()
        path.write_bytes(gzip.compress(text) if form == "csv.gz" else text)
    return path


def events_of(data: Dataset) -> list[tuple[str, str]]:
    events = data.interactions
    return [(data.user_ids[u], data.item_ids[i]) for u, i in zip(events.user, events.item, strict=True)]


def times_of(values: Any, n: int = 1) -> list[int]:
    """The seconds that a column of times becomes."""
    ids = [str(number) for number in range(n)]
    table = pa.table({"user_id": ids, "item_id": ids, "timestamp": values})
    times = dataset_of(table).interactions.time
    assert times is not None
    assert times.dtype == np.int64
    return times.tolist()


def refusal(events: Any, items: Any = None, columns: dict[str, str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        dataset_of(events, items, columns=columns)
    return str(caught.value)


def pairs(n: int, **columns: Any) -> pa.Table:
    """A table of n events with further columns."""
    ids = [str(number) for number in range(n)]
    return pa.table({"user_id": ids, "item_id": ids, **columns})


@pytest.mark.parametrize("form", FORMATS)
def test_own_column_names_and_awkward_ids_survive_every_format(form: str, tmp_path: Path) -> None:
    data = dataset_of(table_as(form, ROWS, tmp_path), columns=OWN)
    assert events_of(data) == [("NA", "0"), ("007", "nan"), ("7", "00"), ("007", "null")]
    assert list(data.user_ids) == ["007", "NA", "7"]
    events = data.interactions
    assert events.time is not None
    assert events.time.tolist() == [10, 10, 20, 30]
    assert events.weights.tolist() == [2.0, 3.0, 0.5, 1.5]
    assert events.event is not None
    assert [events.event_names[code] for code in events.event] == ["buy", "NA", "view", "view"]
    assert events.event_names == ("NA", "buy", "view")
    assert (events.user.dtype, events.item.dtype, events.weights.dtype) == (np.int32, np.int32, np.float32)


@pytest.mark.parametrize("form", FORMATS)
def test_standard_names_need_no_naming_and_file_order_stands_for_time(form: str, tmp_path: Path) -> None:
    data = dataset_of(table_as(form, {"item_id": ["b", "a", "b"], "user_id": ["1", "2", "01"]}, tmp_path))
    assert events_of(data) == [("1", "b"), ("2", "a"), ("01", "b")]
    assert data.interactions.time is None
    assert data.interactions.weights.tolist() == [1, 1, 1]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("role", ["user_id", "item_id"])
def test_an_empty_id_is_refused_with_column_count_and_row(form: str, role: str, tmp_path: Path) -> None:
    columns = {"user_id": ["a", "b", "c", "d"], "item_id": ["a", "b", "c", "d"]}
    columns[role] = ["a", "", "c", ""]
    message = refusal(table_as(form, columns, tmp_path))
    assert f"column {role!r}" in message
    assert "2 of 4 rows have an empty id, first row 2. Drop or fill these rows" in message


@pytest.mark.parametrize("form", ["parquet", "frame", "arrow"])
def test_a_null_id_is_refused_like_an_empty_one(form: str, tmp_path: Path) -> None:
    message = refusal(table_as(form, {"user_id": ["a", "b", None], "item_id": ["a", "b", "c"]}, tmp_path))
    assert "column 'user_id'" in message
    assert "1 of 3 rows have an empty id, first row 3." in message


@pytest.mark.parametrize("form", ["parquet", "frame", "arrow"])
def test_ids_as_floating_point_numbers_are_refused(form: str, tmp_path: Path) -> None:
    message = refusal(table_as(form, {"user_id": [1.0, 2.0], "item_id": ["a", "b"]}, tmp_path))
    assert "column 'user_id'" in message
    assert "floating-point" in message
    assert "convert the column to integers or text" in message


def test_whole_numbers_and_categories_become_their_digits_and_names() -> None:
    frame = pd.DataFrame({"user_id": [7, 2**53 + 1], "item_id": pd.Categorical(["NA", "007"])})
    assert events_of(dataset_of(frame)) == [("7", "NA"), ("9007199254740993", "007")]
    nullable = pd.DataFrame({"user_id": pd.array([1, None], "Int64"), "item_id": ["a", "b"]})
    assert "first row 2" in refusal(nullable)
    assert "floating-point" in refusal(pd.DataFrame({"user_id": pd.Categorical([1.0]), "item_id": ["a"]}))


def test_ids_that_are_no_text_are_refused_by_column() -> None:
    message = refusal(pa.table({"user_id": [b"a", b"\xff"], "item_id": ["a", "b"]}))
    assert "column 'user_id' of events" in message
    assert "cannot be read as ids, first row" in message


@pytest.mark.parametrize("bad", [[1, "a"], ["\ud800", "a"]])
def test_a_frame_that_arrow_cannot_hold_is_refused_in_printable_words(bad: list[Any]) -> None:
    message = refusal(pd.DataFrame({"user_id": pd.Series(bad, dtype=object), "item_id": ["a", "b"]}))
    assert "Give each column one type" in message
    assert message.encode()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_datetimes_are_converted_by_their_unit(unit: str) -> None:
    moment = np.array(["2026-01-31T12:00:00"], f"datetime64[{unit}]")
    with pytest.warns(UserWarning, match="'timestamp' of events has no time zone; its times are read as UTC"):
        assert times_of(moment) == [1_769_860_800]
    frame = pd.DataFrame({"user_id": ["a"], "item_id": ["b"], "timestamp": moment})
    with pytest.warns(UserWarning, match="no time zone"):
        assert dataset_of(frame).interactions.time.tolist() == [1_769_860_800]
    frame["timestamp"] = frame["timestamp"].dt.tz_localize("Asia/Tokyo")
    assert dataset_of(frame).interactions.time.tolist() == [1_769_860_800 - 9 * 3600]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (pa.array([0], pa.int8()), 0),
        (pa.array([1_700_000_000], pa.uint32()), 1_700_000_000),
        (pa.array([1_700_000_000.9]), 1_700_000_000),
        (pa.array([dt.date(2026, 1, 31)], pa.date32()), 1_769_817_600),
        (pa.array([dt.date(2026, 1, 31)], pa.date64()), 1_769_817_600),
        (pa.array([1_700_000_000_999], pa.timestamp("ms", "UTC")), 1_700_000_000),
        (pa.array([1_700_000_000_999], pa.timestamp("ms", "+03:00")), 1_700_000_000),
    ],
)
def test_times_become_whole_unix_seconds(values: pa.Array, seconds: int) -> None:
    assert times_of(values) == [seconds]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-31T12:00:00Z", 1_769_860_800),
        ("2026-01-31T12:00:00.750Z", 1_769_860_800),
        ("2026-01-31T12:00:00+01:00", 1_769_857_200),
        ("2026-01-31", 1_769_817_600),
        ("1700000000.9", 1_700_000_000),
    ],
)
def test_times_of_a_csv_are_parsed(text: str, seconds: int, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(f"user_id,item_id,timestamp\na,b,{text}\n")
    time = dataset_of(path).interactions.time
    assert time is not None
    assert time.tolist() == [seconds]


@pytest.mark.parametrize(
    ("values", "fault", "step"),
    [
        ([5, -1, -2], "2 of 3 rows have a time before 1970, first row 2", "mend these rows"),
        ([5.0, 5.0, -0.5], "1 of 3 rows have a time before 1970, first row 3", "mend these rows"),
        (
            [5, 6, 1_700_000_000_000],
            "1 of 3 rows have a time after the year 5000, first row 3",
            "timestamp:ms",
        ),
        (
            [1e300, 5.0, float("inf")],
            "2 of 3 rows have a time after the year 5000, first row 1",
            "timestamp:ms",
        ),
        ([5.0, float("nan"), 5.0], "1 of 3 rows have no time, first row 2", "Drop these rows"),
        ([5, 6, None], "1 of 3 rows have no time, first row 3", "Drop these rows"),
        (["5", "6", ""], "1 of 3 rows have no time, first row 3", "Drop these rows"),
        (
            ["5", "2026-01-31", "7"],
            "another form than most rows, such as '2026-01-31' beside '5', first row 2",
            "alike",
        ),
        (
            ["2026-02-28", "2026-02-30", "2026-03-01"],
            "1 of 3 rows have text such as '2026-02-30' for a time",
            "alike",
        ),
        (
            ["5", "noon", "?"],
            "2 of 3 rows have text such as 'noon' for a time, first row 2",
            "Write unix seconds",
        ),
        ([True, False, True], "must hold unix seconds or dates; it holds bool", "Convert it"),
    ],
)
def test_wrong_times_are_refused_with_count_row_and_next_step(
    values: list[Any], fault: str, step: str
) -> None:
    message = refusal(pairs(3, timestamp=values))
    assert "column 'timestamp' of events" in message
    assert fault in message
    assert step in message


def test_one_bad_time_in_a_csv_is_found(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id,timestamp\na,b,2026-01-31T12:00:00Z\na,b,1700000000\na,b,soon\n")
    assert "1 of 3 rows have text such as 'soon' for a time, first row 3" in refusal(path)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([1.0, 0.0, -1.0], "2 of 3 rows have a weight that is not above 0, first row 2"),
        ([1.0, None, 2.0], "1 of 3 rows have a weight that is not above 0, first row 2"),
        ([1.0, 2.0, float("inf")], "1 of 3 rows have a weight that is not above 0, first row 3"),
        ([float("nan"), 2.0, 1.0], "1 of 3 rows have a weight that is not above 0, first row 1"),
        ([1e-60, 1.0, 1e60], "2 of 3 rows have a weight that is not above 0, first row 1"),
        (["1", "much", "2"], "1 of 3 rows have string that cannot be read as weights, first row 2"),
    ],
)
def test_wrong_weights_are_refused_with_count_and_row(values: list[Any], fault: str) -> None:
    message = refusal(pairs(3, weight=values))
    assert "column 'weight' of events" in message
    assert fault in message
    assert "these rows" in message


def test_event_types_are_few_and_never_empty() -> None:
    message = refusal(pairs(3, event=["view", "", None]))
    assert "column 'event' of events: 2 of 3 rows have an empty event type, first row 2" in message
    message = refusal(pairs(101, event=[f"type {number}" for number in range(101)]))
    assert "column 'event' of events has 101 event types; 100 are possible" in message
    hundred = dataset_of(pairs(100, event=[f"{number:02}" for number in range(99, -1, -1)])).interactions
    assert hundred.event is not None
    assert hundred.event.tolist() == list(range(99, -1, -1))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": "visitor"}, "role 'user' is unknown; roles are user_id, item_id, timestamp, event, weight"),
        (
            {"user_id": "vistor", "item_id": "product"},
            "no column 'vistor' for the user_id; its columns are visitor",
        ),
        ({"user_id": "visitor"}, r"no column 'item_id' for the item_id; .* --item-col NAME"),
        ({**OWN, "weight": "rating"}, "no column 'rating' for the weight"),
    ],
)
def test_a_column_that_is_not_there_is_named_beside_those_that_are(
    columns: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        dataset_of(pd.DataFrame(ROWS), columns=columns)


def test_a_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id,item_id\na,b,c\n")
    assert "'item_id' occurs more than once" in refusal(path)
    assert "Duplicate column names" in refusal(
        pd.DataFrame([["a", "b", "c"]], columns=["user_id", "item_id", "item_id"])
    )


@pytest.mark.parametrize("name", ["events.csv", "events.csv.gz", "events.parquet"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00\x81" * 30], ids=["empty", "junk"])
def test_a_file_that_is_not_what_its_name_says_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for read in (dataset_of, lambda path: load_dataset(str(path))):
        with pytest.raises(DataError, match=f"{name} cannot be read: .*Check that it is what its name says"):
            read(path)


def test_files_that_cannot_be_tables_are_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "header.csv").write_text("user_id,item_id\n")
    (tmp_path / "events.xml").write_text("user_id,item_id\na,b\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "latin.csv").write_bytes(b"user_id,item_id\n\xe9a,b\n")
    (tmp_path / "ragged.csv").write_text("user_id,item_id\na,b\na,b,c\n")
    assert "has no rows; a data set needs at least one event" in refusal(tmp_path / "header.csv")
    message = refusal(tmp_path / "events.xml")
    assert (
        "must end in .parquet, .csv, .tsv, .jsonl, .json or a packed one such as .csv.gz; rename or "
        "convert it"
    ) in message
    assert "is a folder without tables; name a .parquet" in refusal(tmp_path / "folder.csv")
    assert "is not there; name a .parquet" in refusal(tmp_path / "none.csv")
    assert "invalid UTF8 data, first in line 2" in refusal(tmp_path / "latin.csv")
    assert "Expected 2 columns, got 3" in refusal(tmp_path / "ragged.csv")
    assert "a DataFrame of pandas or polars, or an Arrow table, got list" in refusal([("a", "b")])
