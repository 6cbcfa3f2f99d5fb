"""Where a fault stands: the file and the row in it, whatever the files, parts of a split and rows passed
over."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from recsys.data.check.check import check
from recsys.data.check.findings import Finding, Part, Where
from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.read.load import load_dataset
from recsys.data.read.ranked_lists import read_ranked
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError
from recsys.ids import IdMap
from recsys.pipelines.cli import main

NOW, START = 1_800_000_000, 1_700_000_000


def rows(n: int, **columns: Any) -> dict[str, Any]:
    table: dict[str, Any] = {
        "user_id": [f"u{row % 3}" for row in range(n)],
        "item_id": [f"i{row}" for row in range(n)],
        "timestamp": [START + row for row in range(n)],
    }
    for name, spoilt in columns.items():
        for row, value in spoilt.items():
            table[name][row] = value
    return table


def write(folder: Path, form: str, **tables: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, columns in tables.items():
        path = folder / f"{name}.{form}"
        if form == "parquet":
            parquet.write_table(pa.table(columns), path)
        elif form == "csv":
            pd.DataFrame(columns).to_csv(path, index=False)
        else:
            pd.DataFrame(columns).to_json(path, orient="records", lines=True)
    return folder


def findings_of(source: Any, kind: str, **names: str) -> list[Finding]:
    return [finding for finding in check(source, names, now=NOW).findings if finding.kind == kind]


def test_a_row_is_found_in_its_file_behind_the_rows_that_were_skipped() -> None:
    where = Where("log", [Part("a", 4), Part("b", 0), Part("c", 5, (1, 3, 8))])
    slow = [("a", row) for row in range(1, 5)] + [("c", row) for row in range(1, 9) if row not in (1, 3, 8)]
    assert [where.place(row + 1) for row in range(9)] == slow
    assert Where("a", [Part("a", 4, (2,))]).place(2) == (None, 3)
    assert Where("folder", [Part("folder/a", 4, (2,))]).place(2) == ("folder/a", 3)
    assert Where("a table").place(7) == (None, 7)


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_fault_in_the_third_file_names_it_and_its_row(form: str, tmp_path: Path) -> None:
    write(tmp_path / "log", form, a=rows(5), b=rows(7), c=rows(6, user_id={4: ""}, timestamp={2: -5}))
    third = str(tmp_path / "log" / f"c.{form}")
    for source in (tmp_path / "log", tmp_path / "log" / f"*.{form}"):
        (missing,) = findings_of(source, "missing_id")
        assert (missing.count, missing.of, missing.file, missing.first_row) == (1, 18, third, 5)
        (early,) = findings_of(source, "negative_time")
        assert (early.file, early.first_row) == (third, 3)
        with pytest.raises(DataError, match=f"1 of 18 rows have an empty id, first row 5 of {third}\\."):
            load_dataset(str(source))
        with pytest.raises(DataError, match=f"first row 5 of {third}\\."):
            dataset_of(source)


def test_patterns_name_the_file_too_and_one_file_is_not_named(tmp_path: Path) -> None:
    write(tmp_path / "log", "parquet", a=rows(5), b={name: values[1:3] for name, values in rows(5).items()})
    (again,) = findings_of(tmp_path / "log", "duplicate")
    assert (again.count, again.file, again.first_row) == (2, str(tmp_path / "log" / "b.parquet"), 1)
    (alone,) = findings_of(pa.table(rows(3, user_id={1: ""})), "missing_id")
    assert (alone.file, alone.first_row) == (None, 2)


def test_rows_of_a_csv_that_do_not_fit_count_in_the_numbers_of_the_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.mkdir()
    (log / "a.csv").write_text("user_id,item_id\nu,i\n")
    (log / "b.csv").write_text("user_id,item_id\nu,a,b,c\nu,i\nu\n,i\n")
    (ragged,) = findings_of(log, "ragged_row")
    assert (ragged.count, ragged.of, ragged.file, ragged.first_row) == (2, 5, str(log / "b.csv"), 1)
    (missing,) = findings_of(log, "missing_id")
    assert (missing.file, missing.first_row) == (str(log / "b.csv"), 4)
    (alone,) = findings_of(log / "b.csv", "missing_id")
    assert (alone.file, alone.first_row) == (None, 4)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_the_parts_of_a_split_are_checked_one_by_one_and_together(form: str, tmp_path: Path) -> None:
    train, test = rows(40, item_id={3: ""}), rows(40, user_id={6: "", 9: ""})
    test["timestamp"] = [second + 1_000 for second in test["timestamp"]]
    folder = write(tmp_path / "cut", form, train=train, test=test, items={"item_id": ["i0"], "title": ["T"]})
    checked = check(folder, now=NOW)
    assert {name: checked.facts[name] for name in ("rows", "train", "test")} == {
        "rows": 80,
        "train": 40,
        "test": 40,
    }
    missing = {finding.part: finding for finding in checked.findings if finding.kind == "missing_id"}
    assert {part: (one.column, one.count, one.of, one.first_row) for part, one in missing.items()} == {
        "train": ("item_id", 1, 40, 4),
        "test": ("user_id", 2, 40, 7),
    }
    assert missing["test"].file == str(folder / f"test.{form}")
    assert "one_event_items" not in {
        finding.kind for finding in checked.findings
    }  # each item: once in either part
    said = CliRunner().invoke(main, ["data", "check", str(folder)])
    assert said.exit_code == 1
    assert f"column 'user_id' of {folder}, part test: 2 of 40 rows" in said.stdout
    assert f"first row 7 of {folder}/test.{form}." in said.stdout
    as_json = json.loads(CliRunner().invoke(main, ["data", "check", str(folder), "--json"]).stdout)
    assert {(one["part"], one["file"]) for one in as_json["findings"] if one["kind"] == "missing_id"} == {
        (part, str(folder / f"{part}.{form}")) for part in ("train", "test")
    }


def test_what_is_wrong_with_a_whole_column_is_said_once(tmp_path: Path) -> None:
    naive = pa.array([START * 10**6 + row for row in range(9)], pa.timestamp("us"))
    folder = write(
        tmp_path / "cut", "parquet", **{part: {**rows(9), "timestamp": naive} for part in ("train", "test")}
    )
    (finding,) = findings_of(folder, "naive_time")
    assert (finding.level, finding.part) == ("warning", None)
    with pytest.warns(UserWarning, match="no time zone") as warned:
        load_dataset(str(folder))
    assert len(warned) == 1


def test_items_in_many_files_are_no_events(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", "parquet", a=rows(5), b=rows(4))
    write(
        folder / "items",
        "parquet",
        c={"item_id": ["i0"], "title": ["T"]},
        d={"item_id": ["i1"], "title": ["U"]},
    )
    data = load_dataset(str(folder))
    assert (len(data.interactions), data.items["title"].to_pylist()[:3]) == (9, ["T", "U", None])


def test_a_fault_in_lists_of_many_files_is_placed_too(tmp_path: Path) -> None:
    good = {"user_id": ["u", "u"], "item_id": ["a", "b"], "rank": [1, 2]}
    write(
        tmp_path / "lists",
        "parquet",
        a=good,
        b={"user_id": ["v", "v"], "item_id": ["a", "a"], "rank": [1, 2]},
    )
    with pytest.raises(
        DataError, match=rf"1 of 4 rows have an item .* first row 2 of {tmp_path}/lists/b.parquet\."
    ):
        read_ranked(tmp_path / "lists", IdMap.of(["u", "v"]), IdMap.of(["a", "b"]))


SPLIT = {
    "user_id": list("uuuuvvvv"),
    "item_id": list("abcdabce"),
    "split": ["test", "train", "valid", "train", "train", "val", "train", "test"],
}


def parts(data: Dataset) -> list[int]:
    assert data.published is not None
    return data.published.part.tolist()


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "frame", "folder"])
def test_a_split_column_is_a_published_split_wherever_it_stands(form: str, tmp_path: Path) -> None:
    if form == "frame":
        data = dataset_of(pd.DataFrame(SPLIT))
    else:
        kind = "csv" if form == "folder" else form
        folder = write(tmp_path / "seq", kind, events=SPLIT)
        data = load_dataset(str(folder if form == "folder" else folder / f"events.{kind}"))
    assert parts(data) == [TEST, TRAIN, VALIDATION, TRAIN, TRAIN, VALIDATION, TRAIN, TEST]
    cut = split(data, SplitSettings(), seed=1)
    assert cut.title == "published split (column split), not by time: it leaks the future of other users"
    assert [cut.test.targets.row(row).tolist() for row in range(2)] == [[0], [4]]


def test_a_split_column_of_another_meaning_is_refused_or_named_as_what_it_is() -> None:
    table = pa.table({**SPLIT, "split": ["1/2"] * 8})
    with pytest.raises(
        DataError, match=r"column 'split' of events: 8 of 8 rows have none of .* rename the column"
    ):
        dataset_of(table)
    (finding,) = findings_of(table, "split_value")
    assert (finding.level, finding.count) == ("error", 8)
    assert dataset_of(table, columns={"event": "split"}).published is None


def test_without_times_and_parts_the_order_of_the_file_is_offered_and_works(tmp_path: Path) -> None:
    table = {name: values for name, values in SPLIT.items() if name != "split"}
    data = load_dataset(str(write(tmp_path / "log", "csv", events=table) / "events.csv"))
    with pytest.raises(
        DataError, match=r"order of the rows is that of the events, use split.kind=leave_last_out"
    ):
        split(data, SplitSettings(), seed=1)
    cut = split(data, SplitSettings(kind="leave_last_out"), seed=1)
    assert [cut.test.targets.row(row).tolist() for row in range(2)] == [[3], [4]]


@pytest.mark.parametrize("own", ["sku", "item_id"])
def test_the_item_table_may_call_its_ids_as_the_events_do_or_by_the_standard_name(
    own: str, tmp_path: Path
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "events.csv").write_text("who,sku\nu,007\nv,7\nu,8\n")
    (folder / "items.csv").write_text(f"{own},title\n007,Bond\n7,Seven\n")
    names = {"user_id": "who", "item_id": "sku"}
    data = load_dataset(str(folder), names)
    assert list(data.item_ids) == ["007", "7", "8"]
    assert data.items["title"].to_pylist() == ["Bond", "Seven", None]
    checked = check(folder, names, items=folder / "items.csv", now=NOW)
    assert {one.kind: one.count for one in checked.findings if one.level == "warning"}[
        "undescribed_item"
    ] == 1
    (folder / "items.csv").write_text("name,title\n007,Bond\n")
    with pytest.raises(
        DataError, match=r"items.csv has no column 'sku' or 'item_id'; its columns are name, title"
    ):
        load_dataset(str(folder), names)
    assert check(folder, names, items=folder / "items.csv", now=NOW).findings[0].kind == "item_table"


def test_the_own_name_wins_where_the_item_table_has_both() -> None:
    events = pa.table({"who": ["u"], "sku": ["x"]})
    items = pa.table({"item_id": ["1"], "sku": ["x"], "title": ["X"]})
    data = dataset_of(events, items, columns={"user_id": "who", "item_id": "sku"})
    assert (list(data.item_ids), data.items["title"].to_pylist()) == (["x"], ["X"])
