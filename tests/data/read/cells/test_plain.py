"""Every Arrow type ends in ids, times and weights, or in one sentence that names the column."""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyarrow import parquet

from recsys.data.check.check import check
from recsys.data.dataset import Dataset
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError

N, START = 6, 1_700_000_000
NAMES = [uuid.uuid5(uuid.NAMESPACE_DNS, str(row)) for row in range(N)]
FLAT = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
PLAIN = {str(row): pa.array(range(1, N + 1), getattr(pa, row)()) for row in FLAT}
TEXTS = (pa.string(), pa.large_string(), pa.string_view())
BYTES = (pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2))
DECIMALS = (pa.decimal32(5, 0), pa.decimal64(9, 2), pa.decimal128(38, 9), pa.decimal256(50, 0))
WIDE_DECIMALS = (pa.decimal128(38, 0), pa.decimal128(38, 9), pa.decimal64(12, 0))
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
PAIRS = pa.array([[1, 2]] * N, pa.list_(pa.int64(), 2))
UUIDS = {
    "uuid": pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([name.bytes for name in NAMES], pa.binary(16))
    ),
    "sixteen bytes": pa.array([name.bytes for name in NAMES], pa.binary(16)),
}
IDS: dict[str, pa.Array] = {
    **PLAIN,
    **{str(kind): pa.array([f"x{row}" for row in range(N)], kind) for kind in TEXTS},
    **{str(kind): pa.array([b"x%d" % row for row in range(N)], kind) for kind in BYTES},
    **{str(kind): pa.array([Decimal(row) for row in range(N)], kind) for kind in DECIMALS},
    **{
        f"codes of {kind}": pa.array(range(N), kind).dictionary_encode()
        for kind in (pa.int64(), pa.decimal128(9, 0))
    },
    "codes of views": pa.DictionaryArray.from_arrays(
        pa.array(range(N)), pa.array(list("abcdef"), pa.string_view())
    ),
    "runs": pc.run_end_encode(pa.array(list("aabbcc"))),
    "runs of numbers": pc.run_end_encode(pa.array([1, 1, 2, 2, 3, 3])),
    "dates": pa.array([dt.date(2026, 1, row + 1) for row in range(N)]),
    "truths": pa.array([True, False] * 3),
    "json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(list("abcdef"))),
}
NO_IDS: dict[str, pa.Array] = {
    "lists": pa.array([[1]] * N),
    "large lists": pa.array([["a"]] * N, pa.large_list(pa.string())),
    "list views": pa.array([[1]] * N, pa.list_view(pa.int64())),
    "lists of two": PAIRS,
    "structs": pa.array([{"id": row} for row in range(N)]),
    "empty structs": pa.array([{}] * N, pa.struct([])),
    "maps": pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
    "unions": pa.UnionArray.from_sparse(pa.array([0] * N, pa.int8()), [pa.array(range(N))]),
    "intervals": pa.array([pa.MonthDayNano([1, 1, row]) for row in range(N)]),
    "tensors": pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.int64(), [2]), PAIRS),
    "floats": pa.array([1.0] * N),
    "halves": pa.array([1.0] * N).cast(pa.float16()),
}


def table(**columns: Any) -> pa.Table:
    rest = {
        "user_id": list("uvwuvw"),
        "item_id": list("abcdef"),
        "timestamp": [START + row for row in range(N)],
    }
    return pa.table(rest | columns)


def users(data: Dataset) -> list[str]:
    return [data.user_ids[user] for user in data.interactions.user]


def errors(source: Any) -> list[str]:
    return [finding.sentence("events") for finding in check(source).findings if finding.level == "error"]


@pytest.mark.parametrize("name", IDS)
def test_a_type_that_names_things_gives_ids(name: str) -> None:
    values = [str(value).lower() if isinstance(value, bool) else value for value in IDS[name].to_pylist()]
    expected = [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    expected = [text.rstrip("0").rstrip(".") if "." in text else text for text in expected]
    assert errors(table(user_id=IDS[name])) == []
    assert users(dataset_of(table(user_id=IDS[name]))) == expected


@pytest.mark.parametrize("name", UUIDS)
def test_uuids_are_their_text(name: str) -> None:
    assert errors(table(user_id=UUIDS[name])) == []
    assert users(dataset_of(table(user_id=UUIDS[name]))) == [str(name) for name in NAMES]


def test_small_uuids_and_missing_ones_are_uuids_too() -> None:
    raw = pa.array([uuid.UUID(int=5).bytes, None, uuid.UUID(int=6).bytes] * 2, pa.binary(16))
    with pytest.raises(DataError, match="2 of 6 rows have an empty id, first row 2"):
        dataset_of(table(user_id=pa.ExtensionArray.from_storage(pa.uuid(), raw)))
    whole = raw.fill_null(uuid.UUID(int=7).bytes)
    names = users(dataset_of(table(user_id=pa.ExtensionArray.from_storage(pa.uuid(), whole))))
    assert names == [str(uuid.UUID(int=value)) for value in (5, 7, 6)] * 2


def test_bytes_of_another_width_are_hexadecimal_digits() -> None:
    raw = pa.array([bytes([200 + row] * 12) for row in range(N)], pa.binary(12))
    assert users(dataset_of(table(user_id=raw))) == [f"{200 + row:02x}" * 12 for row in range(N)]


@pytest.mark.parametrize("name", NO_IDS)
@pytest.mark.parametrize("role", ["user_id", "event"])
def test_a_type_that_names_nothing_is_one_sentence(name: str, role: str) -> None:
    with pytest.raises(DataError) as caught:
        dataset_of(table(**{role: NO_IDS[name]}))
    assert str(caught.value).startswith(f"column {role!r} of events holds ")
    assert errors(table(**{role: NO_IDS[name]})) == [str(caught.value)]


def test_the_sentence_about_nested_cells_says_how_to_name_what_is_in_them() -> None:
    items = pa.array([[{"item_id": "a"}]] * N)
    for column, name in (
        (items, "item_id[].item_id"),
        (NO_IDS["lists"], "item_id[]"),
        (NO_IDS["structs"], "item_id.id"),
    ):
        with pytest.raises(DataError) as caught:
            dataset_of(table(item_id=column))
        assert name in str(caught.value)
        assert dataset_of(table(item_id=column), columns={"item_id": name}).n_items > 0


TIMES: dict[str, tuple[pa.Array, list[int]]] = {
    **{unit: (pa.array([START * per] * N, pa.timestamp(unit)), [START] * N) for unit, per in UNITS.items()},
    **{
        str(kind): (pa.array([Decimal(START)] * N, kind), [START] * N)
        for kind in (pa.decimal128(38, 9), pa.decimal64(12, 0))
    },
    **{str(kind): (pa.array(["2026-01-31"] * N, kind), [1_769_817_600] * N) for kind in TEXTS},
    "bytes": (pa.array([b"2026-01-31"] * N), [1_769_817_600] * N),
    "runs": (pc.run_end_encode(pa.array([START] * N)), [START] * N),
    "zoned codes": (pa.array([START] * N, pa.timestamp("s", "Asia/Tokyo")).dictionary_encode(), [START] * N),
}


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.filterwarnings("ignore:column 'timestamp' of events has no time zone")
def test_a_type_that_counts_time_gives_seconds(name: str) -> None:
    column, seconds = TIMES[name]
    time = dataset_of(table(timestamp=column)).interactions.time
    assert time is not None
    assert time.tolist() == seconds


@pytest.mark.parametrize("role", ["user_id", "item_id", "timestamp", "event", "weight"])
def test_a_column_of_nothing_is_a_finding_and_a_sentence(role: str) -> None:
    for column in (pa.nulls(N), pa.nulls(N, pa.string()), pa.nulls(N).dictionary_encode()):
        with pytest.raises(DataError, match=f"column '{role}' of events: 6 of 6 rows have"):
            dataset_of(table(**{role: column}))
        assert len(errors(table(**{role: column}))) == 1


@pytest.mark.parametrize("name", ["lists", "structs", "maps", "unions", "intervals"])
@pytest.mark.parametrize("role", ["timestamp", "weight"])
def test_other_types_are_no_numbers_in_one_sentence(name: str, role: str) -> None:
    with pytest.raises(DataError, match=f"^column '{role}' of events (holds|must hold)"):
        dataset_of(table(**{role: NO_IDS[name]}))
    assert len(errors(table(**{role: NO_IDS[name]}))) == 1


def test_polars_and_duckdb_give_tables() -> None:
    plain = table(event=["view", "buy"] * 3)
    expected = dataset_of(plain).digest
    frame = pl.DataFrame({name: plain[name].to_pylist() for name in plain.column_names})
    coded = frame.with_columns(pl.col("user_id").cast(pl.Categorical))
    relation = duckdb.from_arrow(plain)
    for source in (
        frame,
        coded,
        relation,
        plain.to_batches()[0],
        pa.RecordBatchReader.from_batches(plain.schema, plain.to_batches()),
    ):
        assert dataset_of(source).digest == expected
    items = pl.DataFrame({"item_id": ["a"], "title": ["A"], "categories": [["x", "y"]]})
    assert dataset_of(frame, items).items["categories"].to_pylist()[:2] == [["x", "y"], None]
    assert check(frame).errors == 0
    with pytest.raises(DataError, match="got LazyFrame"):
        dataset_of(frame.lazy())


def test_uuids_as_duckdb_writes_them_are_read_from_parquet(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    duckdb.sql(
        "copy (select uuid() as user_id, uuid() as item_id, 1700000000 + i as timestamp from range(50) t(i)) "
        f"to '{path}'"
    )
    asked = duckdb.sql(f"select user_id::varchar from '{path}'").fetchall()
    assert errors(path) == []
    assert users(load_dataset(str(path))) == [name for (name,) in asked]


def test_a_named_index_is_a_column_and_an_unnamed_one_is_not() -> None:
    frame = table().to_pandas()
    expected = dataset_of(frame).digest
    assert dataset_of(frame.set_index("user_id")).digest == expected
    assert dataset_of(frame.set_index(["user_id", "item_id"])).digest == expected
    assert dataset_of(frame.set_index("user_id", drop=False)).digest == expected
    items = pd.DataFrame({"title": ["A"]}, index=pd.Index(["a"], name="item_id"))
    assert dataset_of(frame, items).item_ids[0] == "a"
    shifted = frame.set_index(pd.Index(range(5, 5 + N)))
    assert dataset_of(shifted).digest == expected


def test_an_empty_part_is_no_part(tmp_path: Path) -> None:
    frame = table().to_pandas()
    frame[:3].to_parquet(tmp_path / "a.parquet")
    frame[:0].astype(float).to_parquet(tmp_path / "b.parquet")
    frame[3:].to_parquet(tmp_path / "c.parquet")
    expected = dataset_of(frame).digest
    assert errors(tmp_path) == []
    assert load_dataset(str(tmp_path)).digest == expected
    assert load_dataset(str(tmp_path), on_disk=tmp_path).digest == expected
    parquet.write_table(pa.table({"other": pa.nulls(0)}), tmp_path / "0.parquet")
    assert load_dataset(str(tmp_path)).digest == expected
    assert load_dataset(str(tmp_path), on_disk=tmp_path).digest == expected


def test_an_empty_text_file_among_others_is_no_part(tmp_path: Path) -> None:
    frame = table().to_pandas()
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.csv").write_text("user_id,item_id,timestamp\n")
    frame.to_csv(tmp_path / "c.csv", index=False)
    (tmp_path / "d.jsonl").touch()
    assert errors(tmp_path) == []
    assert load_dataset(str(tmp_path)).digest == dataset_of(frame).digest
    (tmp_path / "c.csv").unlink()
    with pytest.raises(DataError, match="has no rows"):
        load_dataset(str(tmp_path))


def test_ids_of_two_types_meet_as_text(tmp_path: Path) -> None:
    frame = table(user_id=[1, 2, 3, 1, 2, 3]).to_pandas()
    frame[:2].to_parquet(tmp_path / "a.parquet")
    frame[2:4].astype({"user_id": str}).to_parquet(tmp_path / "b.parquet")
    frame[4:].astype({"user_id": "category"}).to_parquet(tmp_path / "c.parquet")
    assert errors(tmp_path) == []
    assert load_dataset(str(tmp_path)).digest == dataset_of(frame).digest
    assert load_dataset(str(tmp_path), on_disk=tmp_path).digest == dataset_of(frame).digest


@pytest.mark.parametrize(
    ("role", "values"),
    [
        ("user_id", [1.0, 2.0]),
        ("timestamp", [True, False]),
        ("weight", [["a"], ["b"]]),
        ("item_id", [["a"], ["b"]]),
    ],
)
def test_parts_whose_types_do_not_go_together_are_named(role: str, values: list[Any], tmp_path: Path) -> None:
    rows = table(weight=[1.0] * N)
    parquet.write_table(rows[:4], tmp_path / "a.parquet")
    rest = rows[4:].to_pydict() | {role: values}
    parquet.write_table(pa.table(rest), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=rf"column '{role}' holds .* in .*a\.parquet, and .* in .*b\.parquet"):
        load_dataset(str(tmp_path))


@pytest.mark.filterwarnings("ignore:column 'timestamp' of .* has no time zone")
def test_times_of_two_units_and_zones_meet(tmp_path: Path) -> None:
    kinds = (pa.timestamp("s", "UTC"), pa.timestamp("ns", "Asia/Tokyo"), pa.timestamp("us", "Etc/UTC"))
    for row, kind in enumerate(kinds):
        part = table()[2 * row : 2 * row + 2]
        times = part["timestamp"].cast(pa.timestamp("s", "UTC")).cast(kind)
        parquet.write_table(part.set_column(2, "timestamp", times), tmp_path / f"{row}.parquet")
    assert load_dataset(str(tmp_path)).digest == dataset_of(table()).digest
