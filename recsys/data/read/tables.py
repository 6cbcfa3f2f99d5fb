"""From a table of events (files, DataFrame or Arrow, by named columns) and a table of items to a
`Dataset`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I32, Array
from recsys.data.check.findings import Finding, Where, refuse
from recsys.data.check.ids import described_twice, odd_ids, unmet, unmet_parts
from recsys.data.dataset import AVAILABILITY, ITEM_COLUMNS, Dataset, Published, TableRows, columns_of
from recsys.data.read.cells.flags import parse_flags
from recsys.data.read.cells.lists import in_brackets, lists_of_text
from recsys.data.read.cells.plain import decode_column, is_text
from recsys.data.read.columns import id_text, parse_times
from recsys.data.read.event_log import Log, log_of
from recsys.data.read.event_table import EventTable, event_table
from recsys.data.read.files import column_names, read_rows
from recsys.errors import DataError
from recsys.ids import IdMap

ALIASES = {"domain": "domain_name", "categories": "genres"}  # how published item tables call what we call so


def dataset_of(
    events: Any,
    items: Any = None,
    users: Any = None,
    *,
    columns: Mapping[str, str] | None = None,
    name: str = "events",
    part: Array | None = None,
    part_name: str = "",
) -> Dataset:
    """A data set from a table of events and, optionally, one of items and one of users.

    events, items, users: path, DataFrame or Arrow table; events may also be an `EventTable` or a `Log`.
    columns: the user's own names, as in {"user_id": "visitor"}; those for item_id and user_id hold in the
    other tables too, where these have such columns. What else these tables hold can be learned from as
    features; users without events follow those with. part: int8 (n,) of a published split, parallel to the
    rows; without it, a column `split` says it. Raises DataError: column, count, first row, next step.
    """
    read = None if isinstance(events, Log) else _read(events, columns or {}, name)
    log = events if read is None else log_of(read)
    if part is not None:
        log = replace(log, part=part, part_name=part_name)
    known = _describe(items, "item", columns or {})
    described, item_ids, item_features = _items(known, columns or {})
    user_ids = IdMap.of(log.users)
    item_ids = IdMap.of(log.items) if item_ids is None else item_ids.with_ids(log.items)
    people = _describe(users, "user", columns or {})
    user_ids, user_features, user_row = _users(people, user_ids)
    doubts = _doubts(log, known, people, columns or {}, Where(name) if read is None else read.where)
    interactions, part = log.number_events(user_ids, item_ids)
    published = None if part is None else Published(part, log.part_name)
    return Dataset(
        name,
        interactions,
        user_ids,
        item_ids,
        _fill_items(described, len(item_ids)),
        published,
        item_features=None if item_features is None else _lengthen(item_features, len(item_ids)),
        user_features=user_features,
        warnings=doubts,
        item_rows=None if known is None else TableRows(known.where, _item_row(len(known.ids), len(item_ids))),
        user_rows=None if people is None or user_row is None else TableRows(people.where, user_row),
        notes=log.left_out(),
    )


def _doubts(
    log: Log, items: "_Known | None", users: "_Known | None", columns: Mapping[str, str], where: Where
) -> tuple[str, ...]:
    """What is odd about the ids of the events, by themselves and held against the other tables, in
    sentences."""
    findings: list[Finding] = []
    for who, code, names, known in (
        ("user", log.user, log.users, users),
        ("item", log.item, log.items, items),
    ):
        ids, column = pa.array(names, pa.large_string()), columns.get(f"{who}_id", f"{who}_id")
        findings += odd_ids(code, ids, column, who)
        if known is not None:
            findings += unmet(ids, pa.array(known.ids, pa.large_string()), column, who, str(known.where))
        if log.part is not None:
            findings += unmet_parts(code, ids, log.part, column, who)
    return tuple(finding.locate(where).sentence(where) for finding in findings)


def _read(events: Any, columns: Mapping[str, str], name: str) -> EventTable:
    return events if isinstance(events, EventTable) else event_table(events, columns, name=name)


class ItemTable(NamedTuple):
    """A table of items by itself. shown: those columns of ITEM_COLUMNS and AVAILABILITY that it has;
    described: all columns. where: what it is called, and which file a row stands in."""

    ids: list[str]
    shown: pa.Table
    described: pa.Table
    where: Where


def read_items(source: Any, own_name: str = "item_id", columns: Mapping[str, str] | None = None) -> ItemTable:
    """A table of items, read as that of a data set is. Raises DataError as `dataset_of`."""
    columns = {"item_id": own_name, **(columns or {})}
    known = _describe(source, "item", columns)
    assert known is not None
    shown, ids, features = _items(known, columns)
    assert ids is not None
    shown = _fill_items(shown, len(ids))
    return ItemTable(known.ids, shown, columns_of(ids, "item_id", shown, features), known.where)


class _Known(NamedTuple):
    """A table of items or users without its ids, and these. where: its name, for errors."""

    table: pa.Table
    ids: list[str]
    where: Where


def described_text(own_name: str, what: str, columns: Mapping[str, str]) -> list[str]:
    """The columns of a table of items or users that stay text: ids, as the events or as we call them, and
    titles."""
    own = [name for role, name in columns.items() if role in ITEM_COLUMNS]
    return [own_name, f"{what}_id", *own, *ITEM_COLUMNS, *ALIASES.values()]


def _describe(source: Any, what: str, columns: Mapping[str, str]) -> _Known | None:
    """What a table says of each item or user; None without a table.

    columns: the user's own names. What the events call the id, the table may call so or by the standard name.
    """
    if source is None:
        return None
    standard = f"{what}_id"
    own_name = columns.get(standard, standard)
    table, where = read_rows(source, described_text(own_name, what, columns), name=f"{what}s")
    name = id_column(table, own_name, standard)
    if name is None:
        wanted = " or ".join(repr(one) for one in dict.fromkeys((own_name, standard)))
        raise DataError(f"{where} has no column {wanted}; its columns are {', '.join(column_names(source))}.")
    ids = id_text(table[name], name, where)
    refuse(described_twice(ids.indices.to_numpy(), ids.dictionary, name, what), where)
    return _Known(table.drop_columns([name]), ids.dictionary.to_pylist(), where)


def _items(known: _Known | None, names: Mapping[str, str]) -> tuple[pa.Table, IdMap | None, pa.Table | None]:
    """The standard columns, the map of the ids, and the other columns, if there are any. names: the user's
    own."""
    asked = {name: own for name, own in names.items() if name in ITEM_COLUMNS or name in AVAILABILITY}
    if known is None:
        if asked:
            name, own = next(iter(asked.items()))
            raise DataError(
                f"columns.{name} = {own!r} is about a table of items, and there is none. Name it: items=PATH."
            )
        return pa.table({}), None, None
    columns, taken = {}, list[str]()
    for name in (*ITEM_COLUMNS, *AVAILABILITY):
        if name in asked and asked[name] not in known.table.column_names:
            raise DataError(
                f"{known.where} has no column {asked[name]!r} for the {name}; its columns are "
                f"{', '.join(known.table.column_names)}. Mend columns.{name}."
            )
        wanted = [asked[name]] if name in asked else [ALIASES.get(name, name), name]
        present = [own for own in wanted if own in known.table.column_names]
        if present:
            conformed = _conform if name in ITEM_COLUMNS else _limits
            columns[name] = conformed(known.table[present[0]], name, present[0], known.where)
            taken.append(present[0])
    others = _with_lists(known.table.drop_columns(taken))
    return pa.table(columns), IdMap.of(known.ids), others if others.num_columns else None


def _with_lists(table: pa.Table) -> pa.Table:
    """The table with lists for the columns of text that hold nothing but lists in brackets."""
    for at, column in enumerate(table.columns):
        if is_text(decode_column(column[:0]).type) and (lists := lists_of_text(column)) is not None:
            table = table.set_column(at, table.column_names[at], lists)
    return table


def _item_row(described: int, n: int) -> I32:
    """int32 (n,): the row of each item in the table of the described ones, which come first."""
    row = np.arange(n, dtype=np.int32)
    row[described:] = -1
    return row


def _users(known: _Known | None, ids: IdMap) -> tuple[IdMap, pa.Table | None, I32 | None]:
    """The map with the described users that had no events at its end, the columns in its order, and their
    rows."""
    if known is None or not known.table.num_columns:
        return ids, None, None
    ids = ids.with_ids(known.ids)
    row = np.full(len(ids), -1, np.int32)
    row[ids.indices(known.ids)] = np.arange(len(known.ids))
    return ids, _with_lists(known.table).take(pa.array(row, mask=row < 0)), row


def id_column(table: pa.Table, own_name: str, standard: str) -> str | None:
    """Which column of a table of items or users holds the ids: the one that the events' own name calls, else
    the standard one."""
    return next((name for name in (own_name, standard) if name in table.column_names), None)


def _conform(column: pa.ChunkedArray, name: str, own_name: str, where: str) -> pa.ChunkedArray:
    """A column of the type that ITEM_COLUMNS asks for; text with separators becomes a list of categories."""
    try:
        if name != "categories" or pa.types.is_nested(column.type):
            return column.cast(ITEM_COLUMNS[name])
        text = pc.utf8_trim_whitespace(decode_column(column).cast(pa.string()))
    except pa.ArrowException:
        raise DataError(
            f"column {own_name!r} of {where} holds {column.type}, which cannot be read as {name}. "
            "Convert it to text."
        ) from None
    text = pc.if_else(pc.equal(text, ""), None, text)  # no category is not one without a name
    within = in_brackets(text)
    marks = ("|", ",", " ") if own_name == "genres" else ("|", ",")
    plain_text = pc.if_else(within, None, text)
    mark = next((mark for mark in marks if pc.any(pc.match_substring(plain_text, mark)).as_py()), "|")
    split = pc.split_pattern_regex(text, r"\s+" if mark == " " else rf"\s*[{mark}]\s*")
    lists = lists_of_text(pc.if_else(within, text, None))
    return split if lists is None else pc.if_else(within, lists.cast(split.type), split)


def _limits(column: pa.ChunkedArray, name: str, own_name: str, where: Where) -> pa.ChunkedArray:
    """A column of AVAILABILITY: yes or no, or unix seconds; null where a row says nothing."""
    if name == "available":
        flags, findings = parse_flags(column, own_name)
    else:
        times, findings = parse_times(column, own_name)
        findings = [finding for finding in findings if finding.kind != "missing_time"]
        flags = None if times is None else pa.array(times.seconds, pa.int64(), mask=~times.ok)
    refuse([finding.locate(where) for finding in findings], where)
    assert flags is not None
    return pa.chunked_array([flags], AVAILABILITY[name])


def _fill_items(items: pa.Table, n: int) -> pa.Table:
    """The table with a null row for each item that was not described, n rows in all, and a title column in
    any case."""
    if not items.column_names:
        return pa.table({"title": pa.nulls(n, pa.string())})
    filled = _lengthen(items, n)
    return (
        filled if "title" in filled.column_names else filled.append_column("title", pa.nulls(n, pa.string()))
    )


def _lengthen(table: pa.Table, n: int) -> pa.Table:
    """n rows: nulls after those that are there."""
    absent = {name: pa.nulls(n - len(table), table[name].type) for name in table.column_names}
    return pa.concat_tables([table, pa.table(absent, schema=table.schema)])
