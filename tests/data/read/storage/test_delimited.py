"""Text with separators: line breaks in quotes at any size, files that are not sound, and the dialects of
databases."""

import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.data.check.check import check
from recsys.data.read.cells.wanted import Wanted
from recsys.data.read.event_table import event_table
from recsys.data.read.load import load_dataset
from recsys.data.read.storage import delimited, dialect
from recsys.data.read.tables import dataset_of
from recsys.errors import DataError

HEADER = ["user_id", "item_id", "timestamp", "title"]
START = 1_700_000_000
POOLS: list[pa.MemoryPool] = []  # they outlive the threads of the parser, which free their memory last


def rows(n: int) -> list[list[Any]]:
    return [
        [f"u{k % 7}", f"i{k % 11}", START + k, "\n".join(f'word {j}, "x"' for j in range(k % 5))]
        for k in range(n)
    ]


def write(path: Path, n: int, **form: Any) -> Path:
    with open(path, "w", newline="") as file:
        csv.writer(file, **form).writerows([HEADER, *rows(n)])
    return path


def errors(source: Any, columns: dict[str, str] | None = None) -> list[str]:
    return [
        finding.kind
        for finding in check(source, columns, split=False, now=START + 10**6).findings
        if finding.level == "error"
    ]


def events(source: Any, columns: dict[str, str] | None = None) -> list[tuple[str, str]]:
    data = dataset_of(source, columns=columns)
    pairs = zip(data.interactions.user, data.interactions.item, strict=True)
    return [(data.user_ids[user], data.item_ids[item]) for user, item in pairs]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("packed", [False, True])
def test_line_breaks_in_quotes_are_read_across_blocks(
    end: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 300)
    path = write(tmp_path / "events.csv", 500, lineterminator=end)
    if packed:
        path = path.with_name("events.csv.gz")
        path.write_bytes(gzip.compress((tmp_path / "events.csv").read_bytes()))
    assert errors(path) == []
    assert events(path) == [(row[0], row[1]) for row in rows(500)]
    assert dataset_of(path, path_of_items(tmp_path)).items["title"].to_pylist()[:11] == [
        row[3] for row in rows(11)
    ]


def path_of_items(folder: Path) -> Path:
    path = folder / "items.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["item_id", "title"], *([row[1], row[3]] for row in rows(11))])
    return path


@pytest.mark.parametrize("late", ['"a\nb"', '"a, ""b"""', "plain"])
@pytest.mark.parametrize("time", [f"{START + 300}.5", "2023-11-14T22:18:20Z", f"{START + 300}"])
@pytest.mark.parametrize("skips", [False, True])
def test_what_the_beginning_of_a_file_promised_may_change_below(
    late: str, time: str, skips: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quotes, and times of another type, that come after all that the reader looked at first."""
    monkeypatch.setattr(dialect, "_SAMPLE_BYTES", 200)
    for name, value in (("_TYPED_BYTES", 400), ("_BLOCK_BYTES", 500)):
        monkeypatch.setattr(delimited, name, value)
    lines = [f"u{k % 7},i{k % 11},{START + k},note\n" for k in range(300)]
    odd = "u1,i1,5\n" if skips else ""
    path = tmp_path / "events.csv"
    path.write_text(",".join(HEADER) + "\n" + odd + "".join(lines) + f"u8,i12,{time},{late}\n")
    skipped: list[delimited.Skipped] | None = [] if skips else None
    table = delimited.read_delimited(path, Wanted([*HEADER], ["user_id", "item_id", "title"]), skipped)
    assert len(table) == 301
    assert table["user_id"][-1].as_py() == "u8"
    assert table["title"][-1].as_py() == next(csv.reader(io.StringIO(late, "")))[0]
    assert str(table["timestamp"][-1].as_py()) == time
    assert [one.row for one in skipped or ()] == ([1] if skips else [])


@pytest.mark.parametrize("skips", [False, True])
def test_quotes_that_come_late_are_read_as_python_reads_them(
    skips: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that end within quotes can be taken for whole rows, without an error."""
    pieces = ["a", "b", "\n", "\n\n", '"', ",", " ", "x,y\nz,w", '","', '\n"']
    path = tmp_path / "late.csv"
    for seed in range(60):
        random = np.random.default_rng(seed)
        names = [f"c{column}" for column in range(1 + seed % 4)]
        cells = [["".join(random.choice(pieces, random.integers(1, 7))) for _ in names] for _ in range(20)]
        with open(path, "w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([names, *cells])
        monkeypatch.setattr(dialect, "_SAMPLE_BYTES", len(",".join(names)) + 1)
        monkeypatch.setattr(delimited, "_BLOCK_BYTES", int(random.integers(40, 400)))
        skipped: list[delimited.Skipped] | None = [] if skips else None
        table = delimited.read_delimited(path, Wanted(names, names), skipped)
        assert [list(row.values()) for row in table.to_pylist()] == cells
        assert not skipped


@pytest.mark.parametrize("mark", [" ", "\n"])
def test_text_that_is_not_asked_for_takes_no_memory(
    mark: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole blocks are read ahead, as many as the machine is busy: the file is large against all of them."""
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 1 << 13)
    monkeypatch.setattr(delimited, "_TYPED_BYTES", 1 << 16)
    path, note = tmp_path / "events.csv", f"many words{mark}" * 600
    path.write_text(
        "user_id,item_id,timestamp,note\n"
        + "".join(f'u{k},i{k},{START + k},"{note}"\n' for k in range(8_000))
    )
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        assert len(event_table(path, {}).table) == 8_000
    finally:
        pa.set_memory_pool(before)
    most = pool.max_memory()
    assert most is not None
    assert most < path.stat().st_size / 3


def test_a_row_larger_than_a_block_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", 300)
    path = write(tmp_path / "events.csv", 100)
    with open(path, "a", newline="") as file:
        csv.writer(file).writerow(["last", "i0", START + 100, "x\n" * 5_000])
    assert errors(path) == []
    assert events(path)[-1] == ("last", "i0")
    monkeypatch.setattr(delimited, "_LARGEST_BLOCK", 3_000)
    with pytest.raises(DataError, match=r"events\.csv has a row of more than"):
        dataset_of(path)


UNSOUND = {
    "never closed": ('a,x,1,"t\nb,y,2,t\n', 2),
    "never closed, and others are": ('a,x,1,"t"\nb,y,2,"t\nc,z,3,"t"\n', 3),
    "goes on behind its end": ('a,x,1,"t"s,4\nb,y,2,"t\n', 2),
    "the first field": ('"a,x,1,t\nb,y,2,t\n', 2),
}


@pytest.mark.parametrize("name", UNSOUND)
@pytest.mark.parametrize("block", [30, 1 << 23])
def test_a_quote_that_is_never_closed_is_a_finding_with_its_line(
    name: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "_BLOCK_BYTES", block)
    text, line = UNSOUND[name]
    path = tmp_path / "events.csv"
    path.write_text(",".join(HEADER) + "\n" + text)
    with pytest.raises(DataError, match=rf"events\.csv has a quote in line {line} that is never closed"):
        dataset_of(path)
    (fault,) = (finding for finding in check(path).findings if finding.kind == "unclosed_quote")
    assert f"in line {line} " in fault.sentence("x")
    assert check(path).facts["rows"] == line - 2


def test_quotes_within_fields_are_letters(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(",".join(HEADER) + '\na,x 19",1700000000,t\nb,y,1700000001,"a ""b"""\n')
    assert errors(path) == []
    assert events(path) == [("a", 'x 19"'), ("b", "y")]


def test_rows_with_other_fields_are_told_in_files_with_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", 20)
    with open(path, "a") as file:
        file.write("a,b\n")
    (fault,) = (finding for finding in check(path).findings if finding.level == "error")
    assert (fault.kind, fault.first_row) == ("ragged_row", 21)


def test_every_dialect_reads_the_same_titles(tmp_path: Path) -> None:
    """Spark and Python escape a quote in their own ways; Postgres and Snowflake escape separators and line
    breaks."""
    titles = {"a": 'say "hi", x', "b": "two\nlines", "c": "tab\tand \\ stroke", "d": None, "e": "plain"}

    def quote_title(title: str | None, quote: str) -> str:
        return "" if title is None else '"' + title.replace('"', quote) + '"'

    def escape_title(title: str | None, mark: str) -> str:
        if title is None:
            return "\\N"
        text = title.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")
        return text if mark == "\t" else text.replace(mark, "\\" + mark)

    def lines(mark: str, field: Callable[[str | None], str]) -> str:
        rows = [("item_id", "title"), *((item, field(title)) for item, title in titles.items())]
        return "".join(f"{item}{mark}{title}\n" for item, title in rows)

    written = {
        "rfc.csv": lines(",", lambda title: quote_title(title, '""')),
        "copy.tsv": lines("\t", lambda title: escape_title(title, "\t")),
        "unload.csv": lines(",", lambda title: escape_title(title, ",")),
        "spark.csv": lines(",", lambda title: quote_title(title and title.replace("\\", "\\\\"), '\\"')),
    }
    (tmp_path / "events.csv").write_text("user_id,item_id\n" + "".join(f"u,{k}\n" for k in titles))
    for name, text in written.items():
        (tmp_path / name).write_text(text)
        read = dataset_of(tmp_path / "events.csv", tmp_path / name).items["title"].to_pylist()
        assert [title or None for title in read] == list(titles.values()), name


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
def test_files_without_a_header_are_read_by_numbers(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    lines = [[f"u{k % 3}", f"i{k % 5}", "5", str(START + k)] for k in range(20)]
    path.write_text("".join(separator.join(line) + "\n" for line in lines))
    named = {"user_id": "1", "item_id": "2", "weight": "3", "timestamp": "4"}
    assert events(path, named) == [(line[0], line[1]) for line in lines]
    assert errors(path, named) == []
    for suffix in ("txt", "data", "dat", "tsv"):
        renamed = path.rename(tmp_path / f"events.{suffix}")
        assert len(dataset_of(renamed, columns=named).interactions) == 20
        renamed.rename(path)
    with pytest.raises(DataError, match=r"has no column '9' for the item_id; its columns are 1, 2, 3, 4"):
        dataset_of(path, columns=named | {"item_id": "9"})


def test_a_header_of_numbers_is_a_header(tmp_path: Path) -> None:
    """As pandas writes a table whose columns have no names, and a row that looks like one."""
    path = tmp_path / "events.csv"
    path.write_text("0,1,2\nu,i,1700000000\nv,j,1700000001\n")
    assert events(path, {"user_id": "0", "item_id": "1"}) == [("u", "i"), ("v", "j")]
    path.write_text("2,1,4,1700000000\n3,1,4,1700000001\n")
    assert events(path, {"user_id": "1", "item_id": "2", "timestamp": "4"}) == [("2", "1"), ("3", "1")]


def test_a_first_row_taken_for_a_header_is_told(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("".join(f"u{k % 3}\ti{k % 5}\t5\t{START + k}\n" for k in range(20)))
    with pytest.raises(DataError, match=r"no column 'user_id'.* is its first line a row\?.*--user-col 1"):
        dataset_of(path)
    for own in (
        {"user_id": "u0", "item_id": "i0"},
        {"user_id": "u0", "item_id": "i0", "timestamp": str(START)},
    ):
        with pytest.raises(DataError, match=r"(?s)first line .*'u0'.*by numbers"):
            dataset_of(path, columns=own)
        with pytest.raises(DataError, match=r"(?s)first line .*'u0'.*by numbers"):
            check(path, own)


def test_marks_for_nothing_are_missing_values(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id,timestamp,weight\nu,i,1700000000,2\n\\N,j,\\N,\\N\n")
    kinds = {finding.kind for finding in check(path).findings if finding.level == "error"}
    assert kinds == {"missing_id", "missing_time", "weight_not_positive"}
    path.write_text("user_id,item_id\nNA,NULL\n")
    assert events(path) == [("NA", "NULL")]
    assert load_dataset(str(path)).n_users == 1
