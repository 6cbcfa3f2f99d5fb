"""Times as text are read alike from every format, as the slow way of Python reads them."""

import datetime as dt
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from recsys.data.read.columns import parse_times
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.data.read.times import times_of_text
from recsys.errors import DataError

MOMENT = dt.datetime(2026, 1, 31, 12, 30, 15, 250_000, dt.UTC)


def stamps(form: str, n: int = 50) -> list[str]:
    """Moments some hours and milliseconds apart, written in one form."""
    step = dt.timedelta(hours=7, minutes=3, milliseconds=1)
    moments = [MOMENT + row * step for row in range(n)]
    if form == "seconds":
        return [str(int(moment.timestamp())) for moment in moments]
    if form == "day":
        return [moment.date().isoformat() for moment in moments]
    if form == "zulu":
        return [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in moments]
    if form == "fractions":
        return [moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") for moment in moments]
    if form == "offsets":
        zones = [dt.timezone(dt.timedelta(minutes=minutes)) for minutes in (60, -330, 0, 845)]
        return [moment.astimezone(zones[row % 4]).isoformat() for row, moment in enumerate(moments)]
    assert form == "naive"
    return [moment.strftime("%Y-%m-%d %H:%M:%S") for moment in moments]


def slow(text: str) -> int:
    if text.isdigit():
        return int(text)
    moment = dt.datetime.fromisoformat(text)
    return int(np.floor((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()))


def write_log(text: list[str], how: str, folder: Path) -> Path:
    ids = [str(row) for row in range(len(text))]
    path = folder / f"log.{how.split()[0]}"
    if how == "csv":
        path.write_text(
            "user_id,item_id,timestamp\n" + "".join(f"{row},{row},{one}\n" for row, one in enumerate(text))
        )
    elif how == "jsonl":
        lines = (
            f'{{"user_id": "{row}", "item_id": "{row}", "timestamp": "{one}"}}\n'
            for row, one in enumerate(text)
        )
        path.write_text("".join(lines))
    else:
        column = pa.array(text, pa.large_string() if "large" in how else pa.string())
        column = column.dictionary_encode() if "coded" in how else column
        parquet.write_table(pa.table({"user_id": ids, "item_id": ids, "timestamp": column}), path)
    return path


@pytest.mark.parametrize("how", ["csv", "jsonl", "parquet", "parquet large", "parquet coded"])
@pytest.mark.parametrize("form", ["seconds", "day", "zulu", "fractions", "offsets", "naive"])
def test_every_format_reads_the_same_seconds(form: str, how: str, tmp_path: Path) -> None:
    text = stamps(form)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        events = load_dataset(str(write_log(text, how, tmp_path))).interactions
    assert events.time is not None
    order = np.argsort(events.user)  # users in the order of the rows
    assert events.time[order].tolist() == [slow(one) for one in text]
    assert [str(one.message).split(" of ")[0] for one in said] == (
        ["column 'timestamp'"] if form == "naive" else []
    )


@pytest.mark.parametrize(
    "kind",
    [
        pa.date32(),
        *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in ("UTC", "Asia/Tokyo")),
    ],
    ids=str,
)
def test_parquet_times_of_every_type_are_the_same_moments(kind: pa.DataType, tmp_path: Path) -> None:
    day = MOMENT.replace(hour=0, minute=0, second=0, microsecond=0)
    column = pa.array([day.date()] if pa.types.is_date(kind) else [day], kind)
    parquet.write_table(
        pa.table({"user_id": ["u"], "item_id": ["i"], "timestamp": column}), tmp_path / "log.parquet"
    )
    events = load_dataset(str(tmp_path / "log.parquet")).interactions
    assert events.time is not None
    assert events.time.tolist() == [int(day.timestamp())]


def test_files_of_several_zones_and_units_go_together(tmp_path: Path) -> None:
    for name, unit, zone in (("a", "us", "UTC"), ("b", "ms", "Asia/Tokyo"), ("c", "ns", "America/New_York")):
        table = pa.table(
            {"user_id": [name], "item_id": ["i"], "timestamp": pa.array([MOMENT], pa.timestamp(unit, zone))}
        )
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    events = load_dataset(str(tmp_path)).interactions
    assert events.time is not None
    assert set(events.time.tolist()) == {int(MOMENT.timestamp())}


def test_days_that_do_not_exist_are_found_among_many_and_the_rest_is_read() -> None:
    text = stamps("zulu", 3_000)
    for row in (17, 1_200, 2_999):
        text[row] = "2026-02-30T00:00:00Z"
    times, findings = parse_times(pa.chunked_array([text[:1_000], text[1_000:]]), "at")
    assert [(one.kind, one.count, one.first_row) for one in findings] == [("text_time", 3, 18)]
    assert times is not None
    assert np.flatnonzero(~times.ok).tolist() == [17, 1_200, 2_999]
    good = [row for row in range(3_000) if row not in (17, 1_200, 2_999)]
    assert times.seconds[good].tolist() == [slow(text[row]) for row in good]


def test_the_form_of_most_rows_is_that_of_the_column() -> None:
    text = [*stamps("zulu", 5), *stamps("naive", 2), "", *stamps("seconds", 1), "soon"]
    converted, empty, findings = times_of_text(pa.chunked_array([text]), "at")
    assert np.flatnonzero(empty).tolist() == [7]
    assert [(one.kind, one.count, one.first_row) for one in findings] == [
        ("text_time", 1, 10),
        ("mixed_times", 3, 6),
    ]
    assert converted.null_count == 5
    ids = [str(row) for row in range(len(text))]
    with pytest.raises(DataError, match="1 of 10 rows have no time, first row 8"):
        dataset_of(pa.table({"user_id": ids, "item_id": ids, "timestamp": text}))


def test_a_title_that_looks_like_a_date_stays_a_title_in_json(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"user_id": "u", "item_id": "i"}\n')
    (tmp_path / "items.jsonl").write_text('{"item_id": "i", "title": "2001-01-01"}\n')
    assert load_dataset(str(tmp_path)).items["title"].to_pylist() == ["2001-01-01"]
