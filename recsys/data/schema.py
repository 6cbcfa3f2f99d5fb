"""The columns of an event table, and the checks that every table passes before its rows become arrays."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import F32, I8, I64
from recsys.errors import DataError

EVENT_COLUMNS = ("user_id", "item_id", "timestamp", "event", "weight")
REQUIRED = ("user_id", "item_id")

_LATEST_SECOND = 10**11  # the year 5138: beyond it a number counts milliseconds or less
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


def id_text(column: pa.ChunkedArray, name: str, where: str) -> pa.Array:
    """Ids as a dictionary-encoded string array without nulls or empty strings. Whole numbers become their digits."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        raise DataError(
            f"column {name!r} of {where} holds ids as floating-point numbers (missing ids make pandas do that); "
            "drop the rows without id and convert the column to integers or text."
        )
    text = column.cast(pa.string())
    missing = pc.fill_null(pc.equal(text, ""), True)
    _refuse(missing, name, where, "an empty id", "Drop or fill these rows.")
    return text.combine_chunks().dictionary_encode()


def unix_seconds(column: pa.ChunkedArray, name: str, where: str) -> I64:
    """int64 (n,) unix seconds UTC. Dates with a time zone are converted, naive ones read as UTC with a warning."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raise DataError(
            f"column {name!r} of {where} holds times as text such as {column.drop_null()[:1].to_pylist()}; "
            "write unix seconds, or dates like 2026-01-31T12:00:00Z."
        )
    _refuse(column.is_null(), name, where, "no time", "Drop these rows, or leave the whole column out.")
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s", "UTC")
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            warnings.warn(f"column {name!r} of {where} has no time zone; its times are read as UTC.", stacklevel=2)
        seconds: I64 = column.cast(pa.int64()).to_numpy() // _UNITS[kind.unit]
    else:
        numbers = column.to_numpy()
        if not np.issubdtype(numbers.dtype, np.number) or not np.isfinite(numbers).all():
            raise DataError(f"column {name!r} of {where} must hold unix seconds; it holds {kind} with gaps. Mend it.")
        seconds = np.floor(numbers).astype(np.int64)
    _refuse(pa.array(seconds < 0), name, where, "a time before 1970", "Times are unix seconds; mend these rows.")
    late = pa.array(seconds > _LATEST_SECOND)
    _refuse(late, name, where, "a time after the year 5000", "Times are unix seconds; divide milliseconds by 1000.")
    return seconds


def positive_weights(column: pa.ChunkedArray, name: str, where: str) -> F32:
    """float32 (n,) event weights, finite and above 0."""
    numbers = column.cast(pa.float64())
    wrong = pc.invert(pc.fill_null(pc.and_(pc.is_finite(numbers), pc.greater(numbers, 0.0)), False))
    _refuse(wrong, name, where, "a weight that is not above 0", "Drop these rows or mend their weights.")
    weights: F32 = numbers.to_numpy().astype(np.float32)
    return weights


def event_codes(column: pa.ChunkedArray, name: str, where: str) -> tuple[I8, tuple[str, ...]]:
    """int8 (n,) codes and the event types that they stand for, in alphabetical order."""
    encoded = id_text(column, name, where)
    names = encoded.dictionary.to_pylist()
    if len(names) > 100:
        raise DataError(
            f"column {name!r} of {where} has {len(names)} event types; 100 are possible. Is it the right one?"
        )
    order = sorted(range(len(names)), key=names.__getitem__)
    codes = np.empty(len(names), np.int8)
    codes[order] = np.arange(len(names))
    return codes[encoded.indices.to_numpy()], tuple(names[at] for at in order)


def _refuse(wrong: Any, name: str, where: str, fault: str, fix: str) -> None:
    """Raises a DataError that counts the true values of `wrong` and names the first row, if there are any."""
    flags = np.asarray(wrong.to_numpy(zero_copy_only=False) if isinstance(wrong, pa.Array) else wrong.to_numpy())
    count = int(np.count_nonzero(flags))
    if count:
        first = int(np.argmax(flags)) + 1
        raise DataError(
            f"column {name!r} of {where}: {count:,} of {len(flags):,} rows have {fault}, first row {first}. {fix}"
        )
