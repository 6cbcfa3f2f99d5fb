"""A data set: interactions, the ids behind their indices, and what is known of the items."""

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from recsys.arrays import I32, Array, Bool, Ragged
from recsys.data.check.findings import Where
from recsys.data.interactions import Interactions
from recsys.data.targets import TargetEvents
from recsys.errors import DataError
from recsys.history import DTYPES, Histories
from recsys.ids import IdMap
from recsys.matrix import on_disk

ITEM_COLUMNS = {"title": pa.string(), "domain": pa.string(), "categories": pa.list_(pa.string())}
AVAILABILITY = {
    "available": pa.bool_(),
    "available_from": pa.int64(),
    "available_to": pa.int64(),
}  # unix seconds


@dataclass(frozen=True, eq=False)
class Published:
    """A split that came with the data: which events are to train on, to tune on and to judge on.

    part: int8 (n,) parallel to `Dataset.had`, one of TRAIN, VALIDATION, TEST. negatives: the table of
    candidates that was published for each user to judge, read only when a split asks for them.
    """

    part: Array
    name: str
    negatives: Path | None = None


TRAIN, VALIDATION, TEST = 0, 1, 2


class TableRows(NamedTuple):
    """Where items or users are described. row: int32 (n,) the row of each in the table, from 0; -1 = none."""

    where: Where
    row: I32


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions with their ids and item table.

    interactions: what is learned from and judged on. whole: these and beside them, in one order, the events
    that were had but are left out of learning, with weight 0 (`recsys.data.prepare`), or below 0 where they
    say "not this"; None where nothing is left out. items: Arrow table, row i describes item i; a title, null
    where none is known, and perhaps the other columns of ITEM_COLUMNS and AVAILABILITY. target_event: the
    only event types that a split asks for, and that count as having had an item; None = all. item_features,
    user_features: whatever other columns the tables of items and users had, row i describing item or user i;
    null where one is not described. warnings: what reading noticed and does not refuse, in sentences: ids
    that a tool has spoilt, tables that share no id. item_rows, user_rows: where they are described, for
    errors. notes: what of the log was not read, in sentences.
    """

    name: str
    interactions: Interactions
    user_ids: IdMap
    item_ids: IdMap
    items: pa.Table
    published: Published | None = None
    target_event: TargetEvents | None = None
    item_features: pa.Table | None = None
    user_features: pa.Table | None = None
    warnings: tuple[str, ...] = ()
    item_rows: TableRows | None = None
    user_rows: TableRows | None = None
    notes: tuple[str, ...] = ()
    whole: Interactions | None = None

    @property
    def had(self) -> Interactions:
        """All events that people had, those left out of learning among them."""
        return self.interactions if self.whole is None else self.whole

    @cached_property
    def disliked(self) -> Interactions:
        """The events that say "not this", with their weights below 0."""
        had = self.had
        return had.where(slice(0) if had.weight is None else np.asarray(had.weight < 0))

    @cached_property
    def learned(self) -> Bool:
        """(n,): which of the events that were had are learned from."""
        if self.whole is None or self.whole.weight is None:
            return np.ones(len(self.had), bool)
        return np.asarray(self.whole.weight > 0)

    def place(self, who: str, index: int) -> str:
        """How a sentence calls an item or a user (who: "item", "user"): by id, and the row that describes
        it."""
        ids, rows = (self.item_ids, self.item_rows) if who == "item" else (self.user_ids, self.user_rows)
        named = f"{who} {ids[index]!r}"
        return (
            named
            if rows is None or rows.row[index] < 0
            else f"{rows.where.row(rows.row[index] + 1)} ({named})"
        )

    @cached_property
    def domains(self) -> tuple[tuple[str, ...], I32]:
        """The domains of the items in the order of their codes, and int32 (n_items,) the code of each, -1 =
        none."""
        if "domain" not in self.items.column_names:
            return (), np.full(self.n_items, -1, np.int32)
        encoded = columns_combined(self.items["domain"]).dictionary_encode()
        codes: I32 = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return tuple(encoded.dictionary.to_pylist()), codes

    def in_domain(self, name: str) -> "Dataset":
        """The same users and items with the events of one domain alone. Raises DataError where the data lack
        it."""
        names, codes = self.domains
        if name not in names:
            known = ", ".join(names) or "none; give `items` a column `domain`"
            raise DataError(f"{self.name} has no domain {name!r}; its domains are: {known}.")
        code, had = names.index(name), self.whole
        whole = None if had is None else had.where(codes[had.item] == code)
        return self.having(self.interactions.where(codes[self.interactions.item] == code), whole)

    @property
    def described_items(self) -> pa.Table:
        """All that is known of the items: ids, titles and the like, and features."""
        return columns_of(self.item_ids, "item_id", self.items, self.item_features)

    @property
    def described_users(self) -> pa.Table:
        """All that is known of the users: ids and features."""
        return columns_of(self.user_ids, "user_id", self.user_features)

    @property
    def n_users(self) -> int:
        return self.interactions.n_users

    @property
    def n_items(self) -> int:
        return self.interactions.n_items

    def having(self, interactions: Interactions, whole: Interactions | None = None) -> "Dataset":
        """The same ids and items with other interactions (a part of them, after a split), and all that were
        had."""
        return replace(self, interactions=interactions, whole=whole, published=None)

    def judged_events(self, events: Interactions) -> Interactions:
        """Those of its events that count as targets, or as having had an item: of the types of
        `target_event`."""
        kinds = events.event
        if self.target_event is None or kinds is None:
            return events
        domain, counts = self._judged_types

        def counts_at(at: slice) -> Array:
            return counts[domain[events.item[at]], kinds[at]]

        return events.where(on_disk.make_array(events.folder, len(events), bool, counts_at))

    def judged_items(self, past: Histories) -> Ragged:
        """The same of histories: the items that count as had."""
        if self.target_event is None or past.event is None:
            return past.items
        domain, counts = self._judged_types
        return past.items.keep(counts[domain[past.items.values], past.event])

    @cached_property
    def _judged_types(self) -> tuple[I32, Bool]:
        """What `TargetEvents.counted` says of these items and types."""
        assert self.target_event is not None
        return self.target_event.types_by_item(self.items, self.interactions.event_names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over ids and events: names the data of a run."""
        events = self.had
        digest = sha256(f"{self.n_users} {self.n_items} {len(events)} {events.event_names}".encode())
        for array in (events.user, events.item, *(getattr(events, name) for name in DTYPES)):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).data)
        for ids in (self.user_ids, self.item_ids):
            digest.update(ids.digest())
        for table in (self.item_features, self.user_features):
            if table is not None:
                digest.update(_bytes(table))
        return digest.hexdigest()


def columns_of(ids: IdMap, name: str, *tables: pa.Table | None) -> pa.Table:
    """The ids, as a column of this name, and beside them the columns of the tables that there are."""
    columns = {name: pa.array(list(ids), pa.large_string())}
    for table in tables:
        if table is not None:
            columns |= {column: table[column] for column in table.column_names}
    return pa.table(columns)


def _bytes(table: pa.Table) -> bytes:
    """The same for equal tables, however they are chunked."""
    sink = pa.BufferOutputStream()
    whole = table.combine_chunks()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    return sha256(sink.getvalue()).digest()


def columns_combined(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece."""
    combined = column.combine_chunks()
    return pa.concat_arrays(combined.chunks) if isinstance(combined, pa.ChunkedArray) else combined
