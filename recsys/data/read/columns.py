"""The columns of an event table, and the rules that every row obeys before it becomes part of an array.

Each `parse_*` function returns arrays and findings and raises nothing, so that a check can report every bad row; the
functions that readers call raise the first of these findings.
"""

import time
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import F32, I8, I32, I64, Array, Bool
from recsys.data.check.findings import Finding, refuse, rows, whole
from recsys.data.read.times import times_of_text
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.ids import MAX_ID_CHARACTERS

EVENT_COLUMNS = ("user_id", "item_id", "timestamp", "event", "weight")
REQUIRED = ("user_id", "item_id")
OPTIONS = dict(
    zip(EVENT_COLUMNS, ("--user-col", "--item-col", "--time-col", "--event-col", "--weight-col"), strict=True)
)
MAX_EVENT_TYPES = 100
LATEST_SECOND = 10**11  # the year 5138: beyond it a number counts milliseconds or less

_LOOKS_LIKE_NUMBER = r"(?i)^\s*[-+]?((\d+\.?\d*|\.\d+)(e[-+]?\d+)?|inf(inity)?|nan)\s*$"
_LONG = f"of more than {MAX_ID_CHARACTERS:,} characters"
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


class Codes(NamedTuple):
    """A column of text: row i is `names[code[i]]`; names in the order in which they first occur, code -1 = missing."""

    code: I32
    names: pa.Array


class Times(NamedTuple):
    """seconds: int64 (n,) unix seconds UTC, 0 where not `ok`. naive: the column had dates without a time zone."""

    seconds: I64
    ok: Bool
    naive: bool = False


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
                f"Name yours: {OPTIONS[role]} NAME, or columns.{role}=NAME as a setting."
            )
    return {role: column for role, column in chosen.items() if column in present}


def id_text(column: pa.ChunkedArray, name: str, where: str, what: str = "id") -> pa.DictionaryArray:
    """Ids as a dictionary-encoded string array without nulls or empty strings. Whole numbers become their digits.

    what: the thing that the column holds, for errors.
    """
    codes, findings = parse_ids(column, name, what)
    refuse(findings, where)
    assert codes is not None
    return pa.DictionaryArray.from_arrays(codes.code, codes.names)


def parse_ids(column: pa.ChunkedArray, name: str, what: str = "id") -> tuple[Codes | None, list[Finding]]:
    """Each row's id as a code, and what is wrong; None where the column holds nothing that can be an id."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    kind_of = what.replace(" ", "_")
    if pa.types.is_null(kind):
        empty = np.ones(len(column), bool)
        return None, rows("error", f"missing_{kind_of}", name, empty, f"an empty {what}", "Is it the right column?")
    if pa.types.is_floating(kind):
        said = f"holds {what}s as floating-point numbers (missing ones make pandas do that)"
        fix = f"Drop the rows without {what} and convert the column to integers or text."
        return None, [whole("error", f"float_{kind_of}", name, said, fix)]
    try:
        encoded = one_dictionary(column)
        text = encoded.dictionary.cast(pa.large_string())
    except pa.ArrowException:
        wrong = _uncastable(column, pa.large_string())
        said = f"{kind} that cannot be read as {what}s"
        return None, rows("error", f"unreadable_{kind_of}", name, wrong, said, "Mend or drop these rows.")
    code = encoded.indices.fill_null(-1).to_numpy().astype(np.int32)
    found, refused = list[Finding](), np.zeros(len(text), bool)
    for fault, flags, said, fix in (
        ("missing", pc.equal(text, ""), f"an empty {what}", "Drop or fill these rows."),
        ("long", pc.greater(pc.utf8_length(text), MAX_ID_CHARACTERS), f"an {what} {_LONG}", "Is it the right column?"),
        ("binary", pc.match_substring(text, "\0"), f"an {what} with NUL bytes", "Strip them, or save it as text."),
    ):
        wrong = flags.to_numpy(zero_copy_only=False)
        at = np.append(wrong, fault == "missing")[code]
        found += rows("error", f"{fault}_{kind_of}", name, at, said, fix)
        refused |= wrong
    code[np.append(refused, False)[code]] = -1
    return Codes(code, text), found


def one_dictionary(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The column with one dictionary of the values that occur, in the order in which they first do.

    Text has 64-bit offsets in it: distinct ids may be more than 2 GiB together.
    """
    if not pa.types.is_dictionary(column.type):
        return _joined((column.cast(pa.large_string()) if _is_text(column.type) else column).dictionary_encode())
    if _is_text(column.type.value_type):
        kind = pa.dictionary(column.type.index_type, pa.large_string())
        wide = [
            pa.DictionaryArray.from_arrays(chunk.indices, chunk.dictionary.cast(pa.large_string()))
            for chunk in column.chunks
        ]
        column = pa.chunked_array(wide, kind)
    merged = _joined(column.unify_dictionaries())
    again = merged.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(again.indices, merged.dictionary.take(again.dictionary))


def _joined(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """The chunks as one array; all have the same dictionary."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if not column.num_chunks:
        return pa.array([], column.type)
    indices = pa.concat_arrays([chunk.indices for chunk in column.chunks])
    return pa.DictionaryArray.from_arrays(indices, column.chunk(0).dictionary)


def unix_seconds(column: pa.ChunkedArray, name: str, where: str) -> I64:
    """int64 (n,) unix seconds UTC. Dates with a time zone are converted, naive ones read as UTC with a warning."""
    times, findings = parse_times(column, name)
    refuse(findings, where)
    assert times is not None
    ahead = times.seconds > time.time() + DAY_S
    refuse(rows("error", "future_time", name, ahead, "a time in the future", "Mend the clock or the unit."), where)
    if times.naive:
        warnings.warn(f"column {name!r} of {where} has no time zone; its times are read as UTC.", stacklevel=2)
    return times.seconds


def parse_times(column: pa.ChunkedArray, name: str) -> tuple[Times | None, list[Finding]]:
    """Each row's time, and what is wrong; None where the column holds nothing that can be a time."""
    column = _plain(column)
    drop = "Drop these rows, or leave the whole column out."
    missing = _mask(column.is_null())
    odd: list[Finding] = []
    if _is_text(column.type):
        column, missing, odd = times_of_text(column, name)
    found = rows("error", "missing_time", name, missing, "no time", drop) + odd
    ok = ~_mask(column.is_null())
    kind = column.type
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s", "UTC")
    if pa.types.is_timestamp(kind):
        seconds: Array = column.cast(pa.int64()).fill_null(0).to_numpy() // _UNITS[kind.unit]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        seconds = column.fill_null(0).to_numpy()
        unknown = np.isnan(seconds) if pa.types.is_floating(kind) else np.zeros(len(seconds), bool)
        found += rows("error", "missing_time", name, unknown, "no time", drop)
        ok &= ~unknown
    else:
        said = f"must hold unix seconds or dates; it holds {kind}"
        return None, [*found, whole("error", "no_time_column", name, said, "Convert it.")]
    early, late = ok & (seconds < 0), ok & (seconds > LATEST_SECOND)
    found += rows(
        "error", "negative_time", name, early, "a time before 1970", "Times are unix seconds; mend these rows."
    )
    fix = "Times are unix seconds; divide milliseconds by 1000, nanoseconds by 10**9."
    found += rows("error", "time_unit", name, late, "a time after the year 5000", fix)
    ok &= ~(early | late)
    whole_seconds = np.where(ok, np.floor(seconds), 0) if seconds.dtype.kind == "f" else np.where(ok, seconds, 0)
    return Times(whole_seconds.astype(np.int64), ok, pa.types.is_timestamp(kind) and kind.tz is None), found


def positive_weights(column: pa.ChunkedArray, name: str, where: str) -> F32:
    """float32 (n,) event weights, finite and above 0."""
    weights, findings = parse_weights(column, name)
    refuse(findings, where)
    assert weights is not None
    return weights


def parse_weights(column: pa.ChunkedArray, name: str) -> tuple[F32 | None, list[Finding]]:
    """float32 (n,) weights, NaN where there is none, and what is wrong; None where the column holds no numbers."""
    column = _plain(column)
    try:
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowException:
        wrong = _uncastable(column, pa.float64(), safe=False)
        said = f"{column.type} that cannot be read as weights"
        return None, rows("error", "unreadable_weight", name, wrong, said, "Mend or drop these rows.")
    with np.errstate(over="ignore"):
        weights: F32 = numbers.astype(np.float32)
    wrong = ~(np.isfinite(weights) & (weights > 0))
    fix = "Drop these rows or mend their weights."
    return weights, rows("error", "weight_not_positive", name, wrong, "a weight that is not above 0", fix)


def event_codes(column: pa.ChunkedArray, name: str, where: str) -> tuple[I8, tuple[str, ...]]:
    """int8 (n,) codes and the event types that they stand for, in alphabetical order."""
    codes, findings = parse_events(column, name)
    refuse(findings, where)
    assert codes is not None
    names = codes.names.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    alphabetical = np.empty(len(names), np.int8)
    alphabetical[order] = np.arange(len(names))
    return alphabetical[codes.code], tuple(names[at] for at in order)


def parse_events(column: pa.ChunkedArray, name: str) -> tuple[Codes | None, list[Finding]]:
    """Each row's event type as a code, and what is wrong."""
    codes, found = parse_ids(column, name, "event type")
    if codes is not None and len(codes.names) > MAX_EVENT_TYPES:
        said = f"has {len(codes.names)} event types; {MAX_EVENT_TYPES} are possible"
        found.append(whole("error", "many_event_types", name, said, "Is it the right one?"))
    return codes, found


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary encoding."""
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _mask(flags: Any) -> Bool:
    return np.asarray(flags.to_numpy() if isinstance(flags, pa.ChunkedArray) else flags.to_numpy(zero_copy_only=False))


def _is_text(kind: Any) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _uncastable(column: pa.ChunkedArray, kind: Any, safe: bool = True) -> Bool:
    """(n,): the rows that cannot be read as another type: only after all together could not."""
    try:
        encoded = one_dictionary(column)
    except pa.ArrowException:  # lists and the like
        return _stubborn(column, kind, safe)
    flags: Bool = np.append(_stubborn(encoded.dictionary, kind, safe), False)[encoded.indices.fill_null(-1).to_numpy()]
    return flags


def _stubborn(values: Any, kind: Any, safe: bool) -> Bool:
    """(n,): the values that do not cast. What is no number or no UTF-8 is seen at once, the rest found by halves: a few
    bad ones among n cost a few times log n casts."""
    wrong = np.zeros(len(values), bool)
    if not _casts(values[:0], kind, safe):  # the type itself does not
        return ~wrong
    if _is_text(values.type):
        wrong = ~_mask(pc.fill_null(pc.match_substring_regex(values, _LOOKS_LIKE_NUMBER), True))
    elif pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        wrong = np.array([value is not None and not _is_utf8(value) for value in values.to_pylist()], bool)
    rest = np.flatnonzero(~wrong)
    values, parts = values.take(pa.array(rest)), [(0, len(rest))]
    while parts:
        start, stop = parts.pop()
        if start < stop and not _casts(values[start:stop], kind, safe):
            middle = (start + stop) // 2
            wrong[rest[start]] = middle == start
            parts += [] if middle == start else [(start, middle), (middle, stop)]
    return wrong


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _casts(column: Any, kind: Any, safe: bool) -> bool:
    try:
        column.cast(kind, safe=safe)
    except pa.ArrowException:
        return False
    return True
