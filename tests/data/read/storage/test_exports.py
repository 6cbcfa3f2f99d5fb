"""What BigQuery, Snowflake, Postgres and Spark write, by the rules of their own formats: read by one command,
as it is.

The digest of each is that of the flat CSV with the same rows in the same order.
"""

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from recsys.data.read.load import load_dataset
from recsys.pipelines.cli import main

START, DAY_S = 1_700_000_000, 86_400
PARTS = 4
WORDS = [
    "plain",
    'said "so", twice',
    "back\\slash",
    "tab\there",
    "two\nlines",
    "\\Not nothing",
    "NULL",
    "ä ö 東",
]


class Event(NamedTuple):
    user: str
    item: str
    time: int
    event: str


def part(number: int) -> list[Event]:
    """The events of a day; ids hold what formats quote or escape, and are longer than a day."""
    return [
        Event(
            f"{WORDS[(k + number) % len(WORDS)]} {k % 13}",
            WORDS[k * 7 % len(WORDS)] if k % 3 else f"{k % 11:03}",
            START // DAY_S * DAY_S + number * DAY_S + k * 60 + k % 60,
            "buy" if k % 4 == 0 else "view",
        )
        for k in range(150)
    ]


def all_events() -> list[Event]:
    return [event for number in range(PARTS) for event in part(number)]


def day(number: int) -> str:
    return datetime.fromtimestamp(START + number * DAY_S, UTC).strftime("%Y%m%d")


def ga4_rows(number: int) -> Iterator[dict[str, Any]]:
    """A row for each event of GA4: some with two items, those of a page view with none."""
    events = part(number)
    yield {
        "event_date": day(number),
        "event_timestamp": events[0].time * 1_000_000,
        "event_name": "page_view",
        "user_pseudo_id": "nobody",
        "user_id": None,
        "items": [],
    }
    at = 0
    while at < len(events):
        first = events[at]
        together = [one for one in events[at : at + 2] if one.user == first.user and one.event == first.event]
        yield {
            "event_date": day(number),
            "event_timestamp": first.time * 1_000_000 + 999_999,
            "event_name": first.event,
            "user_pseudo_id": first.user,
            "user_id": None,
            "items": [
                {"item_id": one.item, "item_name": f"Item {one.item}", "price": 1.5} for one in together
            ],
        }
        at += len(together)


GA4 = {
    "user_id": "user_id or user_pseudo_id",
    "item_id": "items[].item_id",
    "timestamp": "event_timestamp:us",
    "event": "event_name",
}
_GA4_ITEM = pa.struct([("item_id", pa.string()), ("item_name", pa.string()), ("price", pa.float64())])
_GA4_SCHEMA = pa.schema(
    [
        ("event_date", pa.string()),
        ("event_timestamp", pa.int64()),
        ("event_name", pa.string()),
        ("user_pseudo_id", pa.string()),
        ("user_id", pa.string()),
        ("items", pa.list_(_GA4_ITEM)),
    ]
)


def ga4_parquet(folder: Path) -> dict[str, str]:
    for number in range(PARTS):
        table = pa.Table.from_pylist(list(ga4_rows(number)), _GA4_SCHEMA)
        parquet.write_table(table, folder / f"events_{day(number)}.parquet", compression="snappy")
    return GA4


def ga4_json(folder: Path) -> dict[str, str]:
    """BigQuery writes 64-bit numbers as text, and leaves out what is null."""
    for number in range(PARTS):
        lines = []
        for row in ga4_rows(number):
            said = {name: value for name, value in row.items() if value is not None}
            lines.append(
                json.dumps(said | {"event_timestamp": str(row["event_timestamp"])}, ensure_ascii=False)
            )
        (folder / f"events_{day(number)}.json").write_text("\n".join(lines) + "\n")
    return GA4 | {"user_id": "user_pseudo_id"}


def bigquery_csv(folder: Path) -> dict[str, str]:
    """In packed shards with a header each; times name their zone."""
    for number in range(PARTS):
        with gzip.open(folder / f"export-{number:012}.csv.gz", "wt", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["visitor", "article", "at", "what", "note"])
            for event in part(number):
                rows.writerow([event.user, event.item, f"{clock(event.time)} UTC", event.event, ""])
    return {"user_id": "visitor", "item_id": "article", "timestamp": "at", "event": "what"}


def clock(time: int, end: str = "") -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S") + end


_UPPER = {"user_id": "USER_ID", "item_id": "ITEM_ID", "timestamp": "AT", "event": "EVENT"}


def snowflake_quoted(folder: Path) -> dict[str, str]:
    """COPY INTO @stage, FIELD_OPTIONALLY_ENCLOSED_BY = '"', HEADER = TRUE: text is quoted, quotes doubled,
    null \\N."""
    for number in range(PARTS):
        lines = ['"USER_ID","ITEM_ID","AT","EVENT","PRICE","NOTE"']
        for event in part(number):
            user, item, what = (
                '"' + text.replace('"', '""') + '"' for text in (event.user, event.item, event.event)
            )
            lines.append(f'{user},{item},{clock(event.time, ".000 Z")},{what},\\N,"so"')
        packed = gzip.compress(("\n".join(lines) + "\n").encode())
        (folder / f"data_0_{number}_0.csv.gz").write_bytes(packed)
    return _UPPER


def snowflake_bare(folder: Path) -> dict[str, str]:
    """As Snowflake writes without options: nothing is quoted, a backslash escapes, null is \\N; with a
    header."""

    def escape(text: str) -> str:
        return text.replace("\\", "\\\\").replace(",", "\\,").replace("\n", "\\\n")

    for number in range(PARTS):
        lines = ["USER_ID,ITEM_ID,AT,EVENT,PRICE"]
        lines += [
            f"{escape(event.user)},{escape(event.item)},{clock(event.time, '.000')},{event.event},\\N"
            for event in part(number)
        ]
        packed = gzip.compress(("\n".join(lines) + "\n").encode())
        (folder / f"data_0_{number}_0.csv.gz").write_bytes(packed)
    return _UPPER


_COPY = {"\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def postgres_text(folder: Path) -> dict[str, str]:
    """COPY ... TO: no header, tabs, escapes with a backslash, null is \\N."""
    for number in range(PARTS):
        lines = []
        for event in part(number):
            user, item = (re.sub(r"[\\\b\f\n\r\t\v]", lambda hit: _COPY[hit[0]], text) for text in event[:2])
            lines.append("\t".join([user, item, clock(event.time, "+00"), event.event, "\\N", "t"]))
        (folder / f"events_{number}.tsv").write_text("\n".join(lines) + "\n")
    return {"user_id": "1", "item_id": "2", "timestamp": "3", "event": "4"}


def postgres_csv(folder: Path) -> dict[str, str]:
    """COPY ... TO WITH (FORMAT csv, HEADER): null is an empty field."""
    for number in range(PARTS):
        with open(folder / f"events_{number}.csv", "w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["user_id", "item_id", "at", "event", "note"])
            rows.writerows(
                [event.user, event.item, clock(event.time, "+00"), event.event, None]
                for event in part(number)
            )
    return {"timestamp": "at"}


_SPARK = "part-{:05}-3f1c2b7e-6d0a-4a51-9f0e-0c7c1a5c1c11.c000.snappy.parquet"


def spark_partitions(folder: Path) -> dict[str, str]:
    """partitionBy("dt", "event"), and a country that nobody knows; times of 96 bits, as Spark writes them."""
    for number in range(PARTS):
        for what in ("buy", "view"):
            below = folder / f"dt={number + 14}" / f"event={what}" / "country=__HIVE_DEFAULT_PARTITION__"
            below.mkdir(parents=True)
            events = [event for event in part(number) if event.event == what]
            table = pa.table(
                {
                    "user_id": [event.user for event in events],
                    "item_id": [event.item for event in events],
                    "timestamp": pa.array(
                        [event.time * 10**6 for event in events], pa.timestamp("us", "UTC")
                    ),
                }
            )
            name = _SPARK.format(number)
            parquet.write_table(
                table, below / name, compression="snappy", use_deprecated_int96_timestamps=True
            )
            (below / f".{name}.crc").write_bytes(b"crc\0\0\0\2\0")
    (folder / "_SUCCESS").touch()
    (folder / "._SUCCESS.crc").write_bytes(b"crc\0")
    return {}


def spark_csv(folder: Path) -> dict[str, str]:
    """option("header", true): an empty part among them, quotes and backslashes within quotes escaped by a
    backslash."""

    def quote(text: str) -> str:
        bare = not re.search(r'[",\n\\]', text)
        return text if bare else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    for number in range(PARTS):
        lines = ["user_id,item_id,timestamp,event"]
        for event in part(number):
            at = datetime.fromtimestamp(event.time, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            lines.append(f"{quote(event.user)},{quote(event.item)},{at},{event.event}")
        name = f"part-{number:05}-3f1c2b7e-6d0a-4a51-9f0e-0c7c1a5c1c11-c000.csv"
        (folder / name).write_text("\n".join(lines) + "\n")
        (folder / f".{name}.crc").write_bytes(b"crc\0\0\0\2\0")
    (folder / f"part-{PARTS:05}-3f1c2b7e-6d0a-4a51-9f0e-0c7c1a5c1c11-c000.csv").touch()
    (folder / "_SUCCESS").touch()
    return {}


EXPORTS: list[Callable[[Path], dict[str, str]]] = [
    ga4_parquet,
    ga4_json,
    bigquery_csv,
    snowflake_quoted,
    snowflake_bare,
    postgres_text,
    postgres_csv,
    spark_partitions,
    spark_csv,
]


def write_flat(path: Path, events: list[Event]) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("user_id", "item_id", "timestamp", "event"), *events])
    return path


def in_order_of(export: Callable[[Path], dict[str, str]]) -> list[Event]:
    """The events as they stand in an export: GA4 times are those of the first item, Spark's folders sort by
    type."""
    if export in (ga4_parquet, ga4_json):
        rows = (row for number in range(PARTS) for row in ga4_rows(number))
        return [
            Event(row["user_pseudo_id"], item["item_id"], row["event_timestamp"] // 10**6, row["event_name"])
            for row in rows
            for item in row["items"]
        ]
    if export is spark_partitions:
        return [
            event for number in range(PARTS) for event in sorted(part(number), key=lambda event: event.event)
        ]
    return all_events()


@pytest.mark.filterwarnings("ignore:column .* has no time zone")  # as of Spark's 96 bits, and TIMESTAMP_NTZ
@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_an_export_is_the_flat_table(export: Callable[[Path], dict[str, str]], tmp_path: Path) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    columns = export(folder)
    flat = load_dataset(str(write_flat(tmp_path / "flat.csv", in_order_of(export))))
    read = load_dataset(str(folder), columns)
    assert list(read.user_ids) == list(flat.user_ids)
    assert list(read.item_ids) == list(flat.item_ids)
    assert read.digest == flat.digest
    said = [f"columns.{role}={name}" for role, name in columns.items()]
    result = CliRunner().invoke(main, ["data", "check", str(folder), *said])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", [["data", "check"], ["train", "--dry-run"]])
@pytest.mark.parametrize(
    ("said", "why"), [("columns=5", "a table of names"), ("columns.user_id=true", "got True")]
)
def test_columns_that_are_no_names_are_one_sentence(
    command: list[str], said: str, why: str, tmp_path: Path
) -> None:
    path = str(write_flat(tmp_path / "flat.csv", part(0)))
    result = CliRunner().invoke(main, [command[0], *command[1:], path, said])
    assert (result.exit_code, why in result.output) == (2, True), result.output
    result = CliRunner().invoke(main, ["train", "--dry-run", path, "columns.user_id=1"])
    assert result.exit_code == 0, result.output
