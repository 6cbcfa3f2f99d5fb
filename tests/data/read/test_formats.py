"""Formats and layouts of event tables: many files, only the wanted columns, JSON lines, and rows in their
order."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from recsys.data.dataset import Dataset
from recsys.data.read import formats
from recsys.data.read.files import column_names, read_table
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError

OWN = {"user_id": "visitor", "item_id": "article", "timestamp": "at"}


def rows_of(data: Dataset) -> list[tuple[str, str, int]]:
    events = data.interactions
    assert events.time is not None
    columns = (events.user.tolist(), events.item.tolist(), events.time.tolist())
    return [(data.user_ids[u], data.item_ids[i], t) for u, i, t in zip(*columns, strict=True)]


def log(n: int, seed: int = 1) -> dict[str, list[object]]:
    random = np.random.default_rng(seed)
    return {
        "visitor": [f"v{k}" for k in random.integers(0, 50, n)],
        "article": [f"a{k}" for k in random.integers(0, 90, n)],
        "at": (1_700_000_000 + np.arange(n)).tolist(),
    }


def expected_rows(columns: dict[str, list[object]]) -> list[tuple[object, ...]]:
    return list(zip(columns["visitor"], columns["article"], columns["at"], strict=True))


@pytest.mark.parametrize("where", ["folder", "pattern", "events folder", "spark", "named"])
def test_many_parquet_files_are_one_table(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = log(1_000)
    folder = tmp_path / "shop"
    inner = {"events folder": folder / "events", "spark": folder / "events.parquet"}.get(where, folder)
    inner.mkdir(parents=True)
    for number, start in enumerate(range(0, 1_000, 300)):
        part = {name: values[start : start + 300] for name, values in columns.items()}
        parquet.write_table(pa.table(part), inner / f"part-{number:04}.parquet", row_group_size=70)
    (inner / "_SUCCESS").touch()
    (inner / ".hidden.parquet").write_bytes(b"junk")
    monkeypatch.setattr(formats, "_ROWS", 64)
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    source = {"pattern": f"{folder}/part-*.parquet", "named": "shop"}.get(where, str(folder))
    assert rows_of(load_dataset(source, OWN)) == expected_rows(columns)


def test_numbers_as_ids_are_the_same_in_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    user, item = random.integers(0, 40, 900), random.integers(0, 9, 900)
    parquet.write_table(pa.table({"user_id": user, "item_id": item}), tmp_path / "events.parquet")
    monkeypatch.setattr(formats, "_ROWS", 100)
    data = dataset_of(tmp_path / "events.parquet")
    assert [int(data.user_ids[at]) for at in data.interactions.user] == user.tolist()
    assert [int(data.item_ids[at]) for at in data.interactions.item] == item.tolist()
    assert list(data.user_ids) == [str(id_) for id_ in dict.fromkeys(user.tolist())]


def test_columns_that_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    parquet.write_table(pa.table({"user_id": ["u"], "item_id": ["i"], "junk": ["x"]}), path)
    (tmp_path / "events.csv").write_text("user_id,junk,item_id\nu,x,i\n")
    for source in (path, tmp_path / "events.csv"):
        assert set(read_table(source, only=["user_id", "item_id", "absent"]).column_names) == {
            "user_id",
            "item_id",
        }
        assert set(column_names(source)) == {"user_id", "item_id", "junk"}
    with pytest.raises(
        DataError, match="no column 'who' for the user_id; its columns are user_id, item_id, junk"
    ):
        dataset_of(path, columns={"user_id": "who"})


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines(packed: bool, tmp_path: Path) -> None:
    lines = [
        {"user_id": "2026-01-31", "item_id": 7, "timestamp": 30, "extra": {"deep": [1]}},
        {"user_id": "007", "item_id": 12, "timestamp": 10},
        {"item_id": 7, "timestamp": 20, "user_id": "NA"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path = tmp_path / ("events.jsonl.gz" if packed else "events.jsonl")
    path.write_bytes(gzip.compress(text) if packed else text)
    assert rows_of(load_dataset(str(path))) == [("007", "12", 10), ("NA", "7", 20), ("2026-01-31", "7", 30)]


def test_json_ids_that_all_look_like_dates_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"user_id": "2026-01-31", "item_id": "2026-01-31T00:00:00"}\n')
    data = dataset_of(path)
    assert (data.user_ids[0], data.item_ids[0]) == ("2026-01-31", "2026-01-31T00:00:00")


@pytest.mark.parametrize("text", ['{"user_id": "a"', '{"user_id": "a"}\n{"user_id": 1}\n', "[1, 2]\n", ""])
def test_json_that_is_none_is_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"events\.jsonl"):
        dataset_of(tmp_path / "events.jsonl")


def test_files_with_other_columns_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id\nu,i\n")
    (tmp_path / "b.csv").write_text("user_id,item_id,timestamp\nu,i,5\n")
    with pytest.raises(DataError, match=r"a\.csv has no column 'timestamp', and .*b\.csv has one"):
        load_dataset(str(tmp_path))


def test_a_pattern_that_finds_nothing_and_a_cut_gz_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\*\.parquet is not there"):
        load_dataset(f"{tmp_path}/*.parquet")
    whole = gzip.compress(b"user_id,item_id\n" + b"u,i\n" * 10_000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.csv\.gz cannot be read"):
        load_dataset(str(tmp_path / "cut.csv.gz"))


def test_unused_categories_of_a_frame_are_no_users() -> None:
    frame = pd.DataFrame(
        {
            "user_id": pd.Categorical(["b", "a", "b"], categories=["never", "a", "b"]),
            "item_id": ["x", "y", "z"],
        }
    )
    assert list(dataset_of(frame).user_ids) == ["b", "a"]


def test_every_format_reads_the_same_data_set(tmp_path: Path) -> None:
    columns = log(500)
    frame = pd.DataFrame(columns)
    frame.to_csv(tmp_path / "e.csv", index=False)
    frame.to_csv(tmp_path / "e.csv.gz", index=False)
    frame.to_json(tmp_path / "e.jsonl", orient="records", lines=True)
    parquet.write_table(pa.table(columns), tmp_path / "e.parquet")
    sources = [frame, *(tmp_path / f"e.{form}" for form in ("csv", "csv.gz", "jsonl", "parquet"))]
    assert len({dataset_of(source, columns=OWN).digest for source in sources}) == 1


def test_a_header_with_a_byte_order_mark_quotes_and_line_breaks_is_read(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes('﻿user_id,"item_id","two\nlines"\r\nu,i,x\r\n'.encode())
    data = dataset_of(tmp_path / "e.csv")
    assert (list(data.user_ids), list(data.item_ids)) == (["u"], ["i"])


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_are_refused_in_one_printable_sentence(seed: int, tmp_path: Path) -> None:
    junk = np.random.default_rng(seed).bytes(3_000)
    for name in ("e.csv", "e.csv.gz", "e.parquet", "e.jsonl", "e.jsonl.gz"):
        (tmp_path / name).write_bytes(junk)
        with pytest.raises(DataError, match="cannot be read") as caught:
            dataset_of(tmp_path / name)
        assert str(caught.value).isprintable()
