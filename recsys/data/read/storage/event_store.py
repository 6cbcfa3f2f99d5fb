"""The outcomes of an event store as a table of events: `events:` is that of the home, `events:FOLDER`
another."""

from itertools import islice

import pyarrow as pa

from recsys.errors import DataError
from recsys.events.address import open_store

_SCHEMA = pa.schema(
    [("user_id", pa.string()), ("item_id", pa.string()), ("timestamp", pa.int64()), ("event", pa.string())]
)
_AT_A_TIME = 100_000


def outcome_table(name: str) -> pa.Table:
    """What people did, a row each in the order in which it was told, everybody by one id, whatever they came
    by.

    Outcomes without a person (a unit alone) are left out. Raises DataError where the store is not there, or
    empty.
    """
    store = open_store(name)
    called, parts, told = store.people(), list[pa.RecordBatch](), store.events()
    while some := [event for _, _, event in islice(told, _AT_A_TIME)]:
        kept = [one for one in some if one.kind == "outcome" and one.user_id is not None]
        rows = [
            [called.get(one.user_id or "", one.user_id) for one in kept],
            [one.item_id for one in kept],
            [one.timestamp for one in kept],
            [one.event for one in kept],
        ]
        parts.append(
            pa.record_batch(
                [pa.array(row, kind) for row, kind in zip(rows, _SCHEMA.types, strict=True)], schema=_SCHEMA
            )
        )
    store.close()
    table = pa.Table.from_batches(parts, _SCHEMA)
    if not len(table):
        raise DataError(
            f"the event store {store.path} holds no outcome of a person: there is nothing to learn from yet."
        )
    return table if table["event"].null_count < len(table) else table.drop_columns("event")
