"""From a table of events (files, DataFrame or Arrow, by named columns) and a table of items to a `Dataset`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I32, I64, Array
from recsys.data import schema
from recsys.data.dataset import ITEM_COLUMNS, Dataset, Published
from recsys.data.interactions import Interactions
from recsys.data.sources.events import PLACE, EventTable, event_table
from recsys.data.sources.files import column_names, read_rows
from recsys.errors import DataError
from recsys.ids import IdMap

_ALIASES = {"domain": "domain_name", "categories": "genres"}  # how published item tables call what we call so


def dataset_of(
    events: Any,
    items: Any = None,
    *,
    columns: Mapping[str, str] | None = None,
    name: str = "events",
    part: Array | None = None,
    part_name: str = "",
) -> Dataset:
    """A data set from a table of events and, optionally, one of items.

    events, items: path, DataFrame or Arrow table; events may also be an `EventTable`. columns: the user's own names, as
    in {"user_id": "visitor"}; the one for item_id holds in the item table too, where that has such a column.
    part: int8 (n,) of a published split, parallel to the rows; without it, a column `split` says it.
    Raises DataError: column, count, first row, next step.
    """
    read = events if isinstance(events, EventTable) else event_table(events, columns or {}, name=name)
    table, found, where = read.table, read.roles, read.where
    if not len(table):
        raise DataError(f"{where} has no rows; a data set needs at least one event.")
    described, item_ids = _items(items, (columns or {}).get("item_id", "item_id"))
    user, user_ids = _indexed(schema.id_text(table[found["user_id"]], found["user_id"], where), None)
    item, item_ids = _indexed(schema.id_text(table[found["item_id"]], found["item_id"], where), item_ids)
    time = schema.unix_seconds(table[found["timestamp"]], found["timestamp"], where) if "timestamp" in found else None
    weight = schema.positive_weights(table[found["weight"]], found["weight"], where) if "weight" in found else None
    event, event_names = (
        schema.event_codes(table[found["event"]], found["event"], where) if "event" in found else (None, ())
    )
    if part is None:
        part, part_name = read.published()
    place = time
    if time is None and PLACE in table.column_names:
        place = _whole_numbers(table[PLACE], PLACE, where)
    if place is None or (np.diff(place) >= 0).all():  # in order already: no copies
        order: Array | slice = slice(None)
    else:
        order = np.argsort(place, kind="stable")

    def ordered(array: Array | None) -> Array | None:
        return None if array is None else array[order]

    interactions = Interactions(
        user[order],
        item[order],
        len(user_ids),
        len(item_ids),
        ordered(time),
        ordered(weight),
        ordered(event),
        event_names,
    )
    published = None if part is None else Published(part[order], part_name)
    return Dataset(name, interactions, user_ids, item_ids, _filled(described, len(item_ids)), published)


def _whole_numbers(column: pa.ChunkedArray, name: str, where: str) -> I64:
    if not pa.types.is_integer(column.type) or column.null_count:
        raise DataError(
            f"column {name!r} of {where} must hold whole numbers; it holds {column.type}. Mend or rename it."
        )
    return np.asarray(column.to_numpy(), np.int64)


def _indexed(ids: pa.DictionaryArray, known: IdMap | None) -> tuple[I32, IdMap]:
    """int32 (n,) of each row, and the map: known ids first, then the new ones as they first occur."""
    distinct = ids.dictionary.to_pylist()
    mapped = IdMap.of(distinct) if known is None else known.extended(distinct)
    codes: I64 = mapped.indices(distinct)[ids.indices.to_numpy()]
    return codes.astype(np.int32), mapped


def _items(source: Any, own_name: str) -> tuple[pa.Table, IdMap | None]:
    """The described items, standard columns only, and the map of their ids; (no columns, None) without a table.

    own_name: what the events call item_id; the item table may call it so or by the standard name.
    """
    if source is None:
        return pa.table({}), None
    text = [own_name, "item_id", *ITEM_COLUMNS, *_ALIASES.values()]
    table, where = read_rows(source, text, text, name="items")
    name = item_id_column(table, own_name)
    if name is None:
        wanted = " or ".join(repr(one) for one in dict.fromkeys((own_name, "item_id")))
        raise DataError(f"{where} has no column {wanted}; its columns are {', '.join(column_names(source))}.")
    ids = schema.id_text(table[name], name, where)
    if len(ids.dictionary) != len(ids):
        counts = np.bincount(ids.indices.to_numpy())
        twice = ids.dictionary[int(counts.argmax())].as_py()
        raise DataError(
            f"{where} must describe each item once; item {twice!r} has {counts.max()} rows. Drop the others."
        )
    columns = {}
    for name in ITEM_COLUMNS:
        present = [own for own in (_ALIASES.get(name, name), name) if own in table.column_names]
        if present:
            columns[name] = _conformed(table[present[0]], name, present[0], where)
    return pa.table(columns), IdMap.of(ids.dictionary.to_pylist())


def item_id_column(table: pa.Table, own_name: str) -> str | None:
    """Which column of an item table holds the ids: the one that the events' own name calls, else `item_id`."""
    return next((name for name in (own_name, "item_id") if name in table.column_names), None)


def _conformed(column: pa.ChunkedArray, name: str, own_name: str, where: str) -> pa.ChunkedArray:
    """A column of the type that ITEM_COLUMNS asks for; text with separators becomes a list of categories."""
    try:
        if name != "categories" or pa.types.is_nested(column.type):
            return column.cast(ITEM_COLUMNS[name])
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    except pa.ArrowException:
        raise DataError(
            f"column {own_name!r} of {where} holds {column.type}, which cannot be read as {name}. Convert it to text."
        ) from None
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)  # no category is not one without a name
    marks = ("|", ",", " ") if own_name == "genres" else ("|", ",")
    mark = next((mark for mark in marks if pc.any(pc.match_substring(text, mark)).as_py()), "|")
    return pc.split_pattern_regex(text, r"\s+" if mark == " " else rf"\s*[{mark}]\s*")


def _filled(items: pa.Table, n: int) -> pa.Table:
    """The table with a null row for each item that was not described, n rows in all, and a title column in any case."""
    if not items.column_names:
        return pa.table({"title": pa.nulls(n, pa.string())})
    absent = pa.table({name: pa.nulls(n - len(items), items[name].type) for name in items.column_names})
    filled = pa.concat_tables([items, absent])
    return filled if "title" in filled.column_names else filled.append_column("title", pa.nulls(n, pa.string()))
