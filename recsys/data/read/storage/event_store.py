"""The outcomes of an event store as a table of events: `events:` is that of the home, `events:FOLDER` another."""

from itertools import islice
from pathlib import Path

import pyarrow as pa

from recsys.config import home
from recsys.errors import DataError
from recsys.events.store import FILE, EventStore

ADDRESS = "events:"
STATE = Path("mlruns") / "state"  # below the home
_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64()), ("event", pa.string())]
)
_AT_A_TIME = 100_000


def is_event_store(name: str) -> bool:
    """Whether a name of data stands for an event store."""
    return name.startswith(ADDRESS)


def open_store(folder: Path) -> EventStore:
    """The store in a folder. Raises DataError where there is none."""
    if not (folder / FILE).is_file():
        raise DataError(f"{folder} holds no event store ({FILE}): a service writes one, and `recsys events import`.")
    return EventStore(folder)


def outcome_table(name: str) -> pa.Table:
    """What people did, a row each in the order in which it was told, everybody by one id, whatever they came by.

    Outcomes without a person (a unit alone) are left out. Raises DataError where the store is not there, or empty.
    """
    folder = Path(name.removeprefix(ADDRESS)) if name != ADDRESS else home() / STATE
    store = open_store(folder)
    called, parts, told = store.people(), list[pa.RecordBatch](), store.events()
    while some := [event for _, _, event in islice(told, _AT_A_TIME)]:
        kept = [one for one in some if one.kind == "outcome" and one.user_id is not None]
        rows = [
            [called.get(one.user_id or "", one.user_id) for one in kept],
            [one.item_id for one in kept],
            [one.timestamp for one in kept],
            [one.event for one in kept],
        ]
        parts.append(pa.record_batch([pa.array(row, kind) for row, kind in zip(rows, _SCHEMA.types, strict=True)],
                                     schema=_SCHEMA))  # fmt: skip
    store.close()
    table = pa.Table.from_batches(parts, _SCHEMA)
    if not len(table):
        raise DataError(
            f"the event store in {folder} holds no outcome of a person: there is nothing to learn from yet."
        )
    return table if table["event"].null_count < len(table) else table.drop_columns("event")
