"""The columns of an event table, and the checks that every table passes before its rows become arrays."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import F32, I8, I64, Array
from recsys.errors import DataError

EVENT_COLUMNS = ("user_id", "item_id", "timestamp", "event", "weight")
REQUIRED = ("user_id", "item_id")

_LATEST_SECOND = 10**11  # the year 5138: beyond it a number counts milliseconds or less
_LOOKS_LIKE_TIME = r"^\s*(-?\d+(\.\d*)?|\d{4}-\d\d-\d\d.*)\s*$"
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def named_columns(present: list[str], names: Mapping[str, str], where: str) -> dict[str, str]:
    """Which column of a table holds which part of an event: `names` of the user's own, else the standard ones."""
    unknown = sorted(set(names) - set(EVENT_COLUMNS))
    if unknown:
        raise DataError(f"column role {unknown[0]!r} is unknown; roles are {', '.join(EVENT_COLUMNS)}.")
    chosen = {role: names.get(role, role) for role in EVENT_COLUMNS}
    for role, column in chosen.items():
        if column not in present and (role in REQUIRED or role in names):
            raise DataError(
                f"{where} has no column {column!r} for the {role}; its columns are {', '.join(present)}. "
                f"Name the right one ({role}=...)."
            )
    return {role: column for role, column in chosen.items() if column in present}


def id_text(column: pa.ChunkedArray, name: str, where: str, what: str = "id") -> pa.Array:
    """Ids as a dictionary-encoded string array without nulls or empty strings. Whole numbers become their digits.

    what: the thing that the column holds, for errors.
    """
    column = _plain(column)
    if pa.types.is_floating(column.type):
        raise DataError(
            f"column {name!r} of {where} holds {what}s as floating-point numbers (missing ones make pandas do that); "
            f"drop the rows without {what} and convert the column to integers or text."
        )
    text = _cast(column, pa.string(), name, where, f"{what}s")
    missing = pc.fill_null(pc.equal(text, ""), True)
    _refuse(missing, name, where, f"an empty {what}", "Drop or fill these rows.")
    return text.combine_chunks().dictionary_encode()


def unix_seconds(column: pa.ChunkedArray, name: str, where: str) -> I64:
    """int64 (n,) unix seconds UTC. Dates with a time zone are converted, naive ones read as UTC with a warning."""
    column = _plain(column)
    kind = column.type
    _refuse(column.is_null(), name, where, "no time", "Drop these rows, or leave the whole column out.")
    if _is_text(kind):
        _refuse_text_times(column, name, where)
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s", "UTC")
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            warnings.warn(f"column {name!r} of {where} has no time zone; its times are read as UTC.", stacklevel=2)
        seconds: Array = column.cast(pa.int64()).to_numpy() // _UNITS[kind.unit]
    else:
        seconds = column.to_numpy()
        if not np.issubdtype(seconds.dtype, np.number):
            raise DataError(f"column {name!r} of {where} must hold unix seconds or dates; it holds {kind}. Convert it.")
        _refuse(np.isnan(seconds), name, where, "no time", "Drop these rows, or leave the whole column out.")
    _refuse(seconds < 0, name, where, "a time before 1970", "Times are unix seconds; mend these rows.")
    late = seconds > _LATEST_SECOND
    _refuse(late, name, where, "a time after the year 5000", "Times are unix seconds; divide milliseconds by 1000.")
    return np.floor(seconds).astype(np.int64)


def _refuse_text_times(column: pa.ChunkedArray, name: str, where: str) -> None:
    """Raises a DataError about the rows that made the column text: one such row is enough to do that to a CSV."""
    text = column.cast(pa.string())
    odd = pc.invert(pc.fill_null(pc.match_substring_regex(text, _LOOKS_LIKE_TIME), False)).to_numpy()
    wrong = odd if odd.any() else np.ones(len(text), bool)
    found = text[int(np.argmax(wrong))].as_py()
    fix = (
        "Write unix seconds or dates like 2026-01-31T12:00:00Z; convert the text of a DataFrame by pandas.to_datetime."
    )
    _refuse(wrong, name, where, f"text such as {found!r} for a time", fix)


def positive_weights(column: pa.ChunkedArray, name: str, where: str) -> F32:
    """float32 (n,) event weights, finite and above 0."""
    numbers = _cast(_plain(column), pa.float64(), name, where, "weights", safe=False).to_numpy()
    with np.errstate(over="ignore"):
        weights: F32 = numbers.astype(np.float32)
    wrong = ~(np.isfinite(weights) & (weights > 0))
    _refuse(wrong, name, where, "a weight that is not above 0", "Drop these rows or mend their weights.")
    return weights


def event_codes(column: pa.ChunkedArray, name: str, where: str) -> tuple[I8, tuple[str, ...]]:
    """int8 (n,) codes and the event types that they stand for, in alphabetical order."""
    encoded = id_text(column, name, where, "event type")
    names = encoded.dictionary.to_pylist()
    if len(names) > 100:
        raise DataError(
            f"column {name!r} of {where} has {len(names)} event types; 100 are possible. Is it the right one?"
        )
    order = sorted(range(len(names)), key=names.__getitem__)
    codes = np.empty(len(names), np.int8)
    codes[order] = np.arange(len(names))
    return codes[encoded.indices.to_numpy()], tuple(names[at] for at in order)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary encoding."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_text(kind: Any) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _cast(column: pa.ChunkedArray, kind: Any, name: str, where: str, what: str, safe: bool = True) -> pa.ChunkedArray:
    """The column as another type, or a DataError with the first row that cannot be read so."""
    try:
        return column.cast(kind, safe=safe)
    except pa.ArrowException:
        wrong = np.array([not _casts(column[at : at + 1], kind, safe) for at in range(len(column))], bool)
    _refuse(wrong, name, where, f"{column.type} that cannot be read as {what}", "Mend or drop these rows.")
    raise AssertionError("a cast failed for the whole column, but for none of its rows")


def _casts(column: pa.ChunkedArray, kind: Any, safe: bool) -> bool:
    try:
        column.cast(kind, safe=safe)
    except pa.ArrowException:
        return False
    return True


def _refuse(wrong: Any, name: str, where: str, fault: str, fix: str) -> None:
    """Raises a DataError that counts the true values of `wrong` and names the first row, if there are any."""
    flags = np.asarray(wrong if isinstance(wrong, np.ndarray) else wrong.to_numpy())
    count = int(np.count_nonzero(flags))
    if count:
        first = int(np.argmax(flags)) + 1
        raise DataError(
            f"column {name!r} of {where}: {count:,} of {len(flags):,} rows have {fault}, first row {first}. {fix}"
        )
