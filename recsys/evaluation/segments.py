"""Parts of the people and of the catalogue that are named by columns: each value of a column is judged by
itself."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I64, Array, Bool
from recsys.data.dataset import Dataset
from recsys.data.read.cells.casts import one_dictionary
from recsys.data.read.cells.plain import decode_column
from recsys.data.split.holdout import Holdout
from recsys.errors import DataError, SettingError
from recsys.evaluation.metrics.columns import item_columns, read_numbers, user_columns, without_gaps
from recsys.text import did_you_mean

MOST_VALUES = (
    8  # of a column: with more, numbers are cut into quarters, and of the others the rest stands together
)


class Segments(NamedTuple):
    """Parts by name, such as `user.gender F`. people: (n,) masks of those asked; items: (n_items,) masks of
    items."""

    people: Mapping[str, Bool]
    items: Mapping[str, Bool]


NO_SEGMENTS = Segments({}, {})


def segments_of(holdout: Holdout, columns: Sequence[str]) -> Segments:
    """The parts of the people asked and of the items, for each value of each of these columns.

    columns: names in the table of users or of items; `user.` or `item.` before a name says which. Numbers of
    more than 8 values are cut at the quartiles of all items or users that have one. Of other columns the 8
    values that most of those asked have (of items: that most targets have) stand by themselves, the others
    together. A list belongs to each of its values. Raises SettingError on a name that is no column, DataError
    on a type that has no values.
    """
    train = holdout.train
    people, items = dict[str, Bool](), dict[str, Bool]()
    for written in columns:
        who, name = resolved_column(train, written)
        if who == "user":
            asked = np.bincount(holdout.user, minlength=train.n_users)
            parts = _parts(user_columns(train)[name], asked, f"user.{name}")
            people |= {value: mask[holdout.user] for value, mask in parts.items()}
        else:
            targets = np.bincount(holdout.targets.values, minlength=train.n_items)
            items |= _parts(item_columns(train)[name], targets, f"item.{name}")
    return Segments(people, items)


def resolved_column(data: Dataset, written: str) -> tuple[str, str]:
    """("user", "gender") of `gender` or `user.gender`; a SettingError names the nearest column that there
    is."""
    names = {"user": user_columns(data).column_names, "item": item_columns(data).column_names}
    matches = [(who, written) for who in names if written in names[who]]
    who, _, name = written.partition(".")
    if not matches and name in names.get(who, ()):
        matches = [(who, name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise SettingError(
            f"segments: {written!r} is a column of the users and of the items; write 'user.{written}' or "
            f"'item.{written}'."
        )
    known = [name for columns in names.values() for name in columns]
    known = (
        known
        if "." not in written
        else [f"{who}.{name}" for who, columns in names.items() for name in columns]
    )
    raise SettingError(
        f"segments: {written!r} is no column of the users or items; {did_you_mean(written, known)}"
    )


def _parts(column: pa.ChunkedArray, weight: I64, what: str) -> dict[str, Bool]:
    """(n,) masks of the rows by value, of those values that rows of a weight have. weight: int64 (n,).

    what: the column as it is called, `user.gender`, which every name begins with.
    """
    row, values = _values(column, what)
    named, code = _code_values(values)
    size = np.bincount(code, weight[row], len(named))
    there = [at for at in range(len(named)) if size[at]]
    largest = sorted(there, key=lambda at: -size[at])[:MOST_VALUES] if len(there) > MOST_VALUES else there

    def mask_of(codes: Sequence[int]) -> Bool:
        mask = np.zeros(len(weight), bool)
        mask[row[np.isin(code, codes)]] = True
        return mask

    parts = {named[at]: mask_of([at]) for at in largest}
    if others := sorted({*there} - {*largest}):
        parts[f"({len(others):,} other {'value' if len(others) == 1 else 'values'})"] = mask_of(others)
    without = np.ones(len(weight), bool)
    without[row] = False
    parts |= {"(no value)": without} if weight[without].any() else {}
    return {f"{what} {value}": mask for value, mask in parts.items()}


def _values(column: pa.ChunkedArray, what: str) -> tuple[Array, pa.ChunkedArray]:
    """The values that there are, and the row of each; a list has several."""
    column = decode_column(column)
    row = np.arange(len(column))
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        whole = column.combine_chunks()
        whole = pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
        row, column = (
            pc.list_parent_indices(whole).to_numpy(),
            decode_column(pa.chunked_array([pc.list_flatten(whole)])),
        )
    if pa.types.is_nested(column.type):
        raise DataError(
            f"segments: column {what!r} holds {column.type}; name one of text, numbers, flags or lists."
        )
    column = without_gaps(column)
    there = column.is_valid()
    return row[np.asarray(there)], column.filter(there)


def _code_values(values: pa.ChunkedArray) -> tuple[list[str], I64]:
    """What each part is called, in the order of the values, and int64 (n,): the part of each value."""
    encoded = one_dictionary(values)
    distinct, numbers = encoded.dictionary.to_pylist(), read_numbers(encoded.dictionary)
    code = encoded.indices.to_numpy()
    if numbers is not None and len(distinct) > MOST_VALUES:
        return _quarters(numbers[code])
    order = np.argsort(distinct if numbers is None else numbers, kind="stable")
    names = [
        str(distinct[at]).lower() if isinstance(distinct[at], bool) else str(distinct[at]) for at in order
    ]
    return names, np.argsort(order)[code]


def _quarters(numbers: Array) -> tuple[list[str], I64]:
    """The parts between the quartiles, fewer where these are equal; a quartile belongs to the part below
    it."""
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75], method="inverted_cdf"))
    text = [f"{edge:.10g}" for edge in edges]
    between = [f"over {low} to {high}" for low, high in pairwise(text)]
    return [f"up to {text[0]}", *between, f"over {text[-1]}"], np.searchsorted(edges, numbers, side="left")
