"""The event store as Parquet by day: outcomes and impressions, a row each, and exposures, a row for each item
shown."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.durable import write_whole
from recsys.errors import DataError
from recsys.events.event import StoredEvent
from recsys.events.store import EventStore
from recsys.progress import Progress, Step, silent

MARK = "exported.json"  # how far an export has come
_AT_A_TIME = 100_000  # rows of the store in one go
_WORDS = ("event_id", "user_id", "item_id", "event", "unit_id", "request_id", "placement")
_EVENTS = pa.schema(
    [(name, pa.string()) for name in _WORDS]
    + [
        ("timestamp", pa.int64()),
        ("position", pa.int64()),
        ("value", pa.float64()),
        ("received_ms", pa.int64()),
    ]
)
_ASKED = (
    "request_id",
    "user_id",
    "unit_id",
    "placement",
    "experiment",
    "phase",
    "arm",
    "bundle_id",
    "source",
)
_SHOWN = pa.schema(
    [(name, pa.string()) for name in (*_ASKED, "item_id", "origin", "team")]
    + [
        ("timestamp", pa.int64()),
        ("position", pa.int64()),
        ("score", pa.float64()),
        ("propensity", pa.float64()),
    ]
)
_EACH = ("propensity", "origin", "team")  # of an exposure, a value for each item


def export(store: EventStore, folder: Path, progress: Progress = silent) -> dict[str, int]:
    """Writes what came since the last export into `folder`, as `outcomes/dt=2026-01-31/...parquet`, and so
    on; how many rows of each. The day is that of the event, UTC; everybody has one id. An export that was cut
    off is done again where it was, and replaces what it had written.

    Raises DataError where the folder holds the export of another store.
    """
    mark, name = folder / MARK, store.store_id
    done: dict[str, Any] = {"store": name, "events": 0, "exposures": 0}
    if mark.exists():
        done = json.loads(mark.read_text("utf-8"))
    if done["store"] != name:
        raise DataError(
            f"{folder} holds the export of another event store, {done['store']}. Name another folder."
        )
    called, counts, last = store.people(), {"outcomes": 0, "impressions": 0, "exposures": 0}, store.last_seq()
    told = store.events(done["events"], last)
    while some := list(islice(told, _AT_A_TIME)):
        for kind in ("outcome", "impression"):
            rows = [_event_row(event, ms, called) for _, ms, event in some if event.kind == kind]
            counts[f"{kind}s"] += _write(folder / f"{kind}s", rows, _EVENTS, done["events"])
        done["events"] = some[-1][0]
        _save(mark, done)
        progress(Step("export events", done["events"], last))
    shown = store.exposures(done["exposures"])
    while lines := list(islice(shown, _AT_A_TIME)):
        rows = [row for _, line in lines for row in _shown_rows(orjson.loads(line), called)]
        counts["exposures"] += _write(folder / "exposures", rows, _SHOWN, done["exposures"])
        done["exposures"] = lines[-1][0]
        _save(mark, done)
        progress(Step("export exposures", done["exposures"], done["exposures"]))
    return counts


def _event_row(event: StoredEvent, received_ms: int, called: Mapping[str, str]) -> dict[str, Any]:
    user = event.user_id and called.get(event.user_id, event.user_id)
    return event._asdict() | {"user_id": user, "received_ms": received_ms}


def _shown_rows(line: Mapping[str, Any], called: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """A row for each item of a list that was served."""
    whole = {name: line[name] for name in _ASKED}
    if whole["user_id"] is not None:
        whole["user_id"] = called.get(whole["user_id"], whole["user_id"])
    each = {name: line[name] or [None] * len(line["items"]) for name in _EACH}
    for at, (item, score) in enumerate(zip(line["items"], line["scores"], strict=True)):
        beside = {name: values[at] for name, values in each.items()}
        yield (
            whole
            | beside
            | {"item_id": item, "score": score, "position": at + 1, "timestamp": line["time_ms"] // 1000}
        )


def _write(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema, after: int) -> int:
    """Writes rows by day into files named after the number that this go begins behind; how many. What an
    earlier go from there left, which was cut off, is replaced: some of its days may have no rows any more."""
    for left in folder.glob(f"dt=*/{after:012d}.parquet"):
        left.unlink()
    days = dict[str, list[dict[str, Any]]]()
    for row in rows:
        day = datetime.fromtimestamp(row["timestamp"], UTC).strftime("%Y-%m-%d")
        days.setdefault(day, []).append(row)
    for day, some in days.items():
        place = folder / f"dt={day}"
        place.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(some, schema)
        write_whole(place / f"{after:012d}.parquet", partial(pq.write_table, table))
    return len(rows)


def _save(mark: Path, done: Mapping[str, Any]) -> None:
    mark.parent.mkdir(parents=True, exist_ok=True)
    write_whole(mark, lambda path: path.write_text(json.dumps(done), "utf-8"))
