"""Lists that another system made: a table of user_id, item_id and rank or score, checked before it is
judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from recsys.arrays import F64, I32, Array, Ragged
from recsys.data.check.findings import refuse, rows
from recsys.data.read.columns import id_text
from recsys.data.read.files import read_rows
from recsys.errors import DataError
from recsys.ids import IdMap

_ORDERS = ("rank", "score")


@dataclass(frozen=True, eq=False)
class RankedLists:
    """Each user's list, best first, in the numbering of a data set, and what of the file that set does not
    know.

    lists: a row for each of the data set's users; an item that the data do not know is the number of items:
    it keeps its place in the list. unknown_users, unknown_items: how many distinct ids of the file the data
    do not have.
    """

    lists: Ragged
    n_items: int
    rows: int
    unknown_users: int
    unknown_items: int


def read_ranked(
    path: Path, users: IdMap, items: IdMap, columns: Mapping[str, str] | None = None
) -> RankedLists:
    """The lists of a file by user, in the order of `rank` (lowest first), else of `score` (highest first).

    Equal scores go to the lower index of the item, the rule of this library. columns: the user's own names
    for user_id and item_id. Raises DataError: column, count, first row and next step.
    """
    own = columns or {}
    asked = {role: own.get(role, role) for role in ("user_id", "item_id")}
    table, where = read_rows(path, [*asked.values(), "user_id", "item_id"])
    names = {role: name if name in table.column_names else role for role, name in asked.items()}
    for name in names.values():
        _has(table, [name], where)
    order = _has(table, _ORDERS, where)
    if not len(table):
        raise DataError(f"{where} has no rows; it must hold at least one user's list.")
    user = id_text(table[names["user_id"]], names["user_id"], where)
    item = id_text(table[names["item_id"]], names["item_id"], where)
    key = _numbers(table[order], order, where)
    _refuse_twice(
        user, item, names["item_id"], where, "an item that the user's list has already", "Keep one of them."
    )
    if order == "rank":
        _refuse_twice(
            user, key, order, where, "a rank that the user's list has already", "Give each item its own."
        )
    who, what = (_codes(column, known) for column, known in ((user, users), (item, items)))
    _refuse_strangers(who, user, users, names["user_id"], where)
    _refuse_strangers(what, item, items, names["item_id"], where)
    what = np.where(what < 0, len(items), what)
    known = who >= 0
    best = np.lexsort((what[known], key[known] if order == "rank" else -key[known], who[known]))
    return RankedLists(
        Ragged.from_pairs(who[known][best], what[known][best], len(users)),
        len(items),
        len(table),
        int((users.indices(user.dictionary.to_pylist()) < 0).sum()),
        int((items.indices(item.dictionary.to_pylist()) < 0).sum()),
    )


def _has(table: pa.Table, names: tuple[str, ...] | list[str], where: str) -> str:
    """The first of these columns that the table has."""
    for name in names:
        if name in table.column_names:
            return name
    wanted = " or ".join(repr(name) for name in names)
    raise DataError(
        f"{where} has no column {wanted}; its columns are {', '.join(table.column_names)}. Lists of "
        f"another system are tables of user_id, item_id, and rank (1 = best) or score (highest = best)."
    )


def _numbers(column: pa.ChunkedArray, name: str, where: str) -> F64:
    """float64 (n,): finite numbers; ranks are whole and not negative."""
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_decimal(column.type)
    ):
        raise DataError(
            f"column {name!r} of {where} must hold numbers; it holds {column.type}. Mend or convert it."
        )
    numbers: F64 = np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), np.float64)
    fix = "Drop or mend these rows."
    refuse(rows("error", "not_finite", name, ~np.isfinite(numbers), f"no finite {name}", fix), where)
    if name == "rank":
        odd = (numbers < 0) | (numbers != np.floor(numbers))
        fix = "Count places from 1; if these are scores, call the column 'score'."
        refuse(rows("error", "rank", name, odd, "a rank that is no place in a list", fix), where)
    return numbers


def _refuse_twice(user: pa.Array, other: pa.Array | F64, name: str, where: str, said: str, fix: str) -> None:
    """Raises a DataError about rows that repeat a pair of user and value of an earlier row."""
    values = other.indices.to_numpy() if isinstance(other, pa.Array) else other
    who = user.indices.to_numpy()
    order = np.lexsort((values, who))
    same = (who[order][1:] == who[order][:-1]) & (values[order][1:] == values[order][:-1])
    again = np.zeros(len(who), bool)
    again[order[1:][same]] = True
    refuse(rows("error", "duplicate", name, again, said, fix), where)


def _codes(ids: pa.Array, known: IdMap) -> I32:
    """int32 (n,): the index of each row's id, -1 where it is not known."""
    codes: I32 = known.indices(ids.dictionary.to_pylist())[ids.indices.to_numpy()]
    return codes


def _refuse_strangers(codes: Array, ids: pa.Array, known: IdMap, name: str, where: str) -> None:
    """Raises a DataError where not one id of the file is known: other data, or columns that changed
    places."""
    if (codes < 0).all():
        raise DataError(
            f"column {name!r} of {where}: none of its {len(ids.dictionary):,} ids occurs in the data, "
            f"whose ids look like {known[0]!r} and not like {ids.dictionary[0].as_py()!r}. Are columns "
            "swapped, or is it other data?"
        )
