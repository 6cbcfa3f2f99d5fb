"""Writes a draft of a data folder to disk, in its layout, format and types: for `benchmarks.data_folders`."""

import csv
import datetime as dt
import gzip
import io
import json
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from benchmarks.folder_faults import Draft, Rows

_TIMES = {"naive": pa.timestamp("us"), "zoned": pa.timestamp("ms", "Europe/Berlin"), "date": pa.date32()}


def write_draft(draft: Draft, root: Path) -> Path:
    """Writes the files of a draft below an empty folder, notes in which the fault is; the path that a person
    names."""
    shop = root / "shop"
    shop.mkdir()
    for table, rows in draft.tables.items():
        for file, kept in _files(draft, table, rows, shop):
            file.parent.mkdir(exist_ok=True)
            _write(
                draft, table, {name: [column[at] for at in kept] for name, column in rows.items()}, file, kept
            )
            fault, at = draft.place
            if fault == table and (
                at in kept or (table in (*draft.raw, *draft.header) and not draft.file_of_fault)
            ):
                draft.file_of_fault = file.name
    return shop / f"clicks.{draft.format}" if draft.layout == "file" else shop


def _files(draft: Draft, table: str, rows: Rows, shop: Path) -> list[tuple[Path, Sequence[int]]]:
    """The files of a table, and which rows are in each."""
    ending, everything = draft.format, range(len(next(iter(rows.values()))))
    if table != "events":
        return [(shop / f"{table}.{ending}", everything)]
    if draft.layout == "file":
        return [(shop / f"clicks.{ending}", everything)]
    if draft.layout == "train_test":
        return [
            (shop / f"{part}.{ending}", [at for at in everything if draft.part[at] == part])
            for part in ("train", "test")
        ]
    stem = "interactions" if draft.layout == "interactions" else "events"
    if draft.parts == 1 and draft.layout != "parts":
        return [(shop / f"{stem}.{ending}", everything)]
    size = -(-len(everything) // draft.parts) or 1
    cuts = [everything[start : start + size] for start in range(0, len(everything), size)] or [everything]
    folder = shop if draft.layout == "parts" else shop / stem
    return [(folder / f"part-{number}.{ending}", cut) for number, cut in enumerate(cuts)]


def _write(draft: Draft, table: str, rows: Rows, file: Path, kept: Sequence[int]) -> None:
    if table in draft.raw:
        file.write_bytes(draft.raw[table])
        return
    names = {name: draft.columns.get(name, name) for name in rows}
    own = {names[name]: _column(draft, table, name, column) for name, column in rows.items()}
    if draft.format == "parquet":
        arrays = list(own.values())
        if table in draft.header:
            written = pa.Table.from_arrays([*arrays, arrays[0]], names=[*own, next(iter(own))])
        else:
            written = pa.Table.from_arrays(arrays, names=list(own))
        parquet.write_table(written, file)
        return
    text = _lines(own) if draft.format.startswith("jsonl") else _csv(draft, table, own, kept)
    raw = text.encode("utf-8", "surrogateescape")
    file.write_bytes(gzip.compress(raw) if draft.format.endswith("gz") else raw)


def _csv(draft: Draft, table: str, own: dict[str, pa.Array], kept: Sequence[int]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    values = [[_as_text(value) for value in column.to_pylist()] for column in own.values()]
    header, values = (
        (list(own), values) if table not in draft.header else ([*own, next(iter(own))], [*values, values[0]])
    )
    writer.writerow(header)
    more, line = draft.lines.get(table, (None, ""))
    for at, row in zip(kept, zip(*values, strict=True), strict=True):
        if at == more:
            stream.write(line + "\n")
        writer.writerow(row)
    return stream.getvalue()


def _lines(own: dict[str, pa.Array]) -> str:
    columns = [column.to_pylist() for column in own.values()]
    rows = [dict(zip(own, row, strict=True)) for row in zip(*columns, strict=True)]
    return "".join(json.dumps(row, default=_as_text) + "\n" for row in rows)


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, dt.datetime):
        return (
            value.isoformat()
            if value.tzinfo is None
            else value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        )
    if isinstance(value, list):
        return "|".join(value)
    return "" if value is None else str(value) if not isinstance(value, int | float) else value


def _column(draft: Draft, table: str, name: str, values: list[Any]) -> Any:
    """The values of a column as the draft types it; a value of another type makes it text."""
    kind = draft.kinds.get((table, name), "plain")
    if kind in _WILD:
        return _WILD[kind](len(values))
    if name in ("user_id", "item_id"):
        return _ids(values, kind, name[0])
    if name == "timestamp":
        return _times(values, kind)
    if kind == "text":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    return pa.array(values)


def _ids(values: list[Any], kind: str, letter: str) -> Any:
    if kind == "floats":
        return pa.array([float(value) for value in values], pa.float64())
    if kind == "number" and all(value is None or isinstance(value, int) for value in values):
        return pa.array(values, pa.int64())
    pattern = "{:03}" if kind == "zeros" else "{}" if kind == "number" else letter + "{}"
    texts = [pattern.format(value) if isinstance(value, int) else value for value in values]
    if kind == "binary" or any(text is not None and "\udce9" in text for text in texts):
        return pa.array(
            [text if text is None else text.encode("utf-8", "surrogateescape") for text in texts], pa.binary()
        )
    array = pa.array(texts, pa.large_string() if kind == "large" else pa.string())
    return array.dictionary_encode() if kind == "dictionary" else array


def _times(values: list[Any], kind: str) -> Any:
    if kind in ("text", "as text"):
        texts = [
            value
            if value is None or isinstance(value, str)
            else _moment(value).strftime("%Y-%m-%dT%H:%M:%SZ")
            for value in values
        ]
        return pa.array(texts, pa.string())
    if kind == "text seconds":
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    if kind in _TIMES:
        moments = [None if value is None else _moment(value) for value in values]
        if kind == "date":
            return pa.array([None if one is None else one.date() for one in moments], pa.date32())
        naive = [
            None if one is None else one.replace(tzinfo=None) if kind == "naive" else one for one in moments
        ]
        return pa.array(naive, _TIMES[kind])
    return pa.array(values, pa.float64() if kind == "float" else pa.int64())


def _moment(second: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(second, dt.UTC)


def _uuids(n: int) -> Any:
    raw = [uuid.uuid5(uuid.NAMESPACE_DNS, str(k % 9)).bytes for k in range(n)]
    return pa.ExtensionArray.from_storage(pa.uuid(), pa.array(raw, pa.binary(16)))


_WILD: dict[str, Any] = {
    "null": pa.nulls,
    "bool": lambda n: pa.array([k % 2 == 0 for k in range(n)]),
    "list": lambda n: pa.array([[f"a{k % 7}"] for k in range(n)]),
    "struct": lambda n: pa.array([{"id": k % 7} for k in range(n)]),
    "duration": lambda n: pa.array([k % 7 for k in range(n)], pa.duration("s")),
    "time32": lambda n: pa.array([k % 7 for k in range(n)], pa.time32("s")),
    "decimal": lambda n: pa.array([Decimal(k % 7) for k in range(n)], pa.decimal128(9, 2)),
    "float16": lambda n: pa.array([float(k % 7) for k in range(n)], pa.float32()).cast(pa.float16()),
    "uuid": _uuids,
    "binary16": lambda n: pa.array([bytes([k % 7, 255] * 8) for k in range(n)], pa.binary(16)),
    "map": lambda n: pa.array([[("a", k)] for k in range(n)], pa.map_(pa.string(), pa.int64())),
    "month": lambda n: pa.array([dt.date(2020, 1 + k % 7, 1) for k in range(n)], pa.date64()),
}
