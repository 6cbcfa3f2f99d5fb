"""What is wrong with a table of items or users: its rows, its ids and columns, and how it meets the
events."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.data.check.events import Events
from recsys.data.check.findings import Finding, errors, ragged_rows, refusal, whole
from recsys.data.check.ids import described_twice, odd_ids, unmet
from recsys.data.dataset import ITEM_COLUMNS
from recsys.data.read.columns import parse_ids
from recsys.data.read.files import read_rows
from recsys.data.read.storage.delimited import Skipped
from recsys.data.read.tables import described_text, id_column, read_items
from recsys.errors import DataError


def check_described(
    source: Any, who: str, events: Events, roles: Mapping[str, str], columns: Mapping[str, str]
) -> list[Finding]:
    """The findings about a table of items or users, whether a reader would refuse it or not; none without a
    table.

    who: "item" or "user". roles: which column of the events holds what; the table may call its ids as the
    events do, or by the standard name. columns: the user's own names, those of titles among them.
    """
    own_titles = [role for role in columns if role in ITEM_COLUMNS]
    if source is None and own_titles and who == "item":
        said, fix = f"has no table of items, which columns.{own_titles[0]} is about", "Name it: items=PATH."
        return [whole("error", "item_table", "", said, fix)]
    if source is None:
        return []
    skipped: list[Skipped] = []
    column, standard = roles[f"{who}_id"], f"{who}_id"
    try:
        table, where = read_rows(
            source, described_text(column, who, columns), name=f"{who}s", skipped=skipped
        )
    except DataError as error:
        return [refusal(error)]
    findings = ragged_rows(skipped, len(table), where)
    own, codes = id_column(table, column, standard), None
    if own is None:
        said = (
            f"is no table of {who}s: it has no column {column!r}; its columns are "
            f"{', '.join(table.column_names)}"
        )
        findings.append(whole("error", f"{who}_table", "", said, f"Name the column of its ids {column!r}."))
    else:
        codes, wrong = parse_ids(table[own], own)
        if codes is not None:
            wrong += described_twice(codes.code, codes.names, own, who) + odd_ids(
                codes.code, codes.names, own, who
            )
        findings += [finding.locate(where) for finding in wrong]
    findings = [finding.about(where) for finding in findings]
    if codes is None:
        return findings
    if who == "item" and not errors(findings):
        try:
            read_items(source if isinstance(source, str | Path) else table, column, columns)
        except DataError as error:
            findings.append(refusal(error))
    if who == "item" and (exchanged := _find_exchanged(events, codes.names, roles)):
        return findings + exchanged
    ids = events.items if who == "item" else events.users
    return findings + unmet(ids, codes.names, column, who, str(where))


def _find_exchanged(events: Events, known: pa.Array, roles: Mapping[str, str]) -> list[Finding]:
    """Whether the ids of the item table, `known`, are those of the users."""
    users, items = (
        float(np.mean(pc.is_in(ids, known).to_numpy(zero_copy_only=False))) if len(ids) else 0.0
        for ids in (events.users, events.items)
    )
    if users <= max(items, 0.5):
        return []
    said = f"holds items: {users:.0%} of its ids are in the item table, {items:.0%} of {roles['item_id']!r}"
    return [whole("error", "swapped_columns", roles["user_id"], said, "Exchange --user-col and --item-col.")]
