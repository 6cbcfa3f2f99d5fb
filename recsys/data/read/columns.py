"""The columns of an event table, and the rules that every row obeys before it becomes part of an array.

Each `parse_*` function returns arrays and findings and raises nothing, so that a check can report every bad
row; the functions that readers call raise the first of these findings.
"""

import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import F32, I8, I32, I64, Array, Bool
from recsys.data.check.findings import Finding, refuse, rows, whole
from recsys.data.dataset import AVAILABILITY, ITEM_COLUMNS
from recsys.data.read.cells.casts import casts, one_dictionary, uncastable
from recsys.data.read.cells.plain import decode_column, is_text, plain, text_of
from recsys.data.read.cells.wanted import EVENT_COLUMNS, UNITS, counts_up, looks_like_value, unit_of
from recsys.data.read.times import times_of_text
from recsys.errors import DataError, SettingError
from recsys.history import DAY_S
from recsys.ids import MAX_ID_CHARACTERS

REQUIRED = ("user_id", "item_id")
MISSING_FIXES = {
    "user_id": "Drop or fill these rows; prepare.missing_users=drop leaves them out.",
    "item_id": "Drop or fill these rows.",
}
COLUMN_ROLES = (*EVENT_COLUMNS, *ITEM_COLUMNS, *AVAILABILITY)
OPTIONS = dict(
    zip(EVENT_COLUMNS, ("--user-col", "--item-col", "--time-col", "--event-col", "--weight-col"), strict=True)
)
MAX_EVENT_TYPES = 100
LATEST_SECOND = 10**11  # the year 5138: beyond it a number counts milliseconds or less

_LONG = f"of more than {MAX_ID_CHARACTERS:,} characters"


class Codes(NamedTuple):
    """A column of text: row i is `names[code[i]]`; names in the order in which they first occur, code -1 =
    missing."""

    code: I32
    names: pa.Array


class Times(NamedTuple):
    """seconds: int64 (n,) unix seconds UTC, 0 where not `ok`. naive: the column had dates without a time
    zone."""

    seconds: I64
    ok: Bool
    naive: bool = False


def own_names(columns: Any) -> dict[str, str]:
    """The user's own names by role, as settings say them; a number, which TOML takes for none, is a name too.

    Raises SettingError where they are no table of names.
    """
    if not isinstance(columns, Mapping):
        raise SettingError(
            f"columns must be a table of names, as in columns.user_id=visitor, got {columns!r}."
        )
    for role, name in columns.items():
        if type(name) not in (str, int):
            raise SettingError(f"columns.{role} must be the name of a column, in quotes, got {name!r}.")
    return {role: str(name) for role, name in columns.items()}


def named_columns(present: list[str], names: Mapping[str, str], where: str) -> dict[str, str]:
    """Which column of a table holds which part of an event: `names` of the user's own, else the standard
    ones."""
    unknown = sorted(set(names) - {*COLUMN_ROLES})
    if unknown:
        raise DataError(f"column role {unknown[0]!r} is unknown; roles are {', '.join(COLUMN_ROLES)}.")
    chosen = {role: names.get(role, role) for role in EVENT_COLUMNS}
    for role, column in chosen.items():
        if column not in present and (role in REQUIRED or role in names):
            option = OPTIONS[role]
            fix = f"Name yours: {option} NAME, or columns.{role}=NAME as a setting."
            if any(map(looks_like_value, present)) and not counts_up(present):
                fix = (
                    "Or is its first line a row? Without a header, name columns by numbers from 1: "
                    "--user-col 1."
                )
            raise DataError(
                f"{where} has no column {column!r} for the {role}; its columns are "
                f"{', '.join(present)}. {fix}"
            )
    return {role: column for role, column in chosen.items() if column in present}


def id_text(
    column: pa.ChunkedArray, name: str, where: str, what: str = "id", fix: str = MISSING_FIXES["item_id"]
) -> pa.DictionaryArray:
    """Ids as a dictionary-encoded string array without nulls or empty strings. Whole numbers become their
    digits.

    what: the thing that the column holds, for errors. fix: what to do about missing ones.
    """
    codes, findings = parse_ids(column, name, what, fix)
    refuse(findings, where)
    assert codes is not None
    return pa.DictionaryArray.from_arrays(codes.code, codes.names)


def parse_ids(
    column: pa.ChunkedArray, name: str, what: str = "id", missing_fix: str = MISSING_FIXES["item_id"]
) -> tuple[Codes | None, list[Finding]]:
    """Each row's id as a code, and what is wrong; None where the column holds nothing that can be an id."""
    column = plain(column)
    if pa.types.is_null(column.type):
        column = column.cast(pa.large_string())
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    kind_of = what.replace(" ", "_")
    if (fix := _way_in(kind, name)) is not None:
        return None, [whole("error", f"unreadable_{kind_of}", name, f"holds {kind}, and no {what}s", fix)]
    if pa.types.is_floating(kind):
        said = f"holds {what}s as floating-point numbers (missing ones make pandas do that)"
        fix = f"Drop the rows without {what} and convert the column to integers or text."
        return None, [whole("error", f"float_{kind_of}", name, said, fix)]
    try:
        encoded = one_dictionary(column)
        text = text_of(encoded.dictionary)
    except pa.ArrowException:
        if not casts(decode_column(column[:0]), pa.large_string(), True):
            said, fix = f"holds {kind}, which cannot be read as {what}s", "Write it as text or whole numbers."
            return None, [whole("error", f"unreadable_{kind_of}", name, said, fix)]
        wrong = uncastable(column, pa.large_string())
        said = f"{kind} that cannot be read as {what}s"
        return None, rows("error", f"unreadable_{kind_of}", name, wrong, said, "Mend or drop these rows.")
    code = encoded.indices.fill_null(-1).to_numpy().astype(np.int32)
    findings, refused = list[Finding](), np.zeros(len(text), bool)
    empty, long = pc.equal(pc.fill_null(text, ""), ""), pc.greater(pc.utf8_length(text), MAX_ID_CHARACTERS)
    binary = pc.match_substring(text, "\0")
    for fault, flags, said, fix in (
        ("missing", empty, f"an empty {what}", missing_fix),
        ("long", long, f"an {what} {_LONG}", "Is it the right column?"),
        ("binary", binary, f"an {what} with NUL bytes", "Strip them, or save it as text."),
    ):
        wrong = pc.fill_null(flags, False).to_numpy(zero_copy_only=False)
        at = np.append(wrong, fault == "missing")[code]
        findings += rows("error", f"{fault}_{kind_of}", name, at, said, fix)
        refused |= wrong
    code[np.append(refused, False)[code]] = -1
    return Codes(code, text), findings


def _way_in(kind: pa.DataType, name: str) -> str | None:
    """How to name the values in nested cells; None where a type has none."""
    if not pa.types.is_nested(kind):
        return None
    if pa.types.is_struct(kind) and kind.num_fields:
        return f"Name one of its fields, as in {name}.{kind.field(0).name}."
    if pa.types.is_map(kind) or not hasattr(kind, "value_type"):
        return "Write it as text or whole numbers, a column each."
    inner = f".{kind.value_type.field(0).name}" if pa.types.is_struct(kind.value_type) else ""
    return f"For a row of each element, name the column {name}[]{inner}."


def unix_seconds(column: pa.ChunkedArray, name: str, where: str) -> I64:
    """int64 (n,) unix seconds UTC. Dates with a time zone are converted, naive ones read as UTC with a
    warning."""
    times, findings = parse_times(column, name)
    refuse(findings, where)
    assert times is not None
    ahead = times.seconds > time.time() + DAY_S
    fix = "Mend the clock or the unit."
    refuse(rows("error", "future_time", name, ahead, "a time in the future", fix), where)
    if times.naive:
        warnings.warn(
            f"column {name!r} of {where} has no time zone; its times are read as UTC.", stacklevel=2
        )
    return times.seconds


def parse_times(column: pa.ChunkedArray, name: str) -> tuple[Times | None, list[Finding]]:
    """Each row's time, and what is wrong; None where the column holds nothing that can be a time."""
    column = decode_column(plain(column))
    if pa.types.is_null(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        with suppress(pa.ArrowException):
            column = column.cast(pa.large_string())
    drop = "Drop these rows, or leave the whole column out."
    missing = _mask(column.is_null())
    odd: list[Finding] = []
    if is_text(column.type):
        column, missing, odd = times_of_text(column, name)
    findings = rows("error", "missing_time", name, missing, "no time", drop) + odd
    ok = ~_mask(column.is_null())
    kind, unit = column.type, unit_of(name)
    if pa.types.is_decimal(kind):
        column = column.cast(pa.int64() if casts(column, pa.int64(), False) else pa.float64(), safe=False)
        kind = column.type
    if pa.types.is_date(kind):
        column, kind = column.cast(pa.timestamp("s")), pa.timestamp("s", "UTC")
    if pa.types.is_timestamp(kind):
        seconds: Array = column.cast(pa.int64()).fill_null(0).to_numpy() // UNITS[kind.unit]
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        seconds = column.fill_null(0).to_numpy()
        if unit is not None:
            seconds = seconds // UNITS[unit]
        if pa.types.is_floating(kind):
            unknown = np.isnan(seconds)
            findings += rows("error", "missing_time", name, unknown, "no time", drop)
            ok &= ~unknown
    else:
        said, fix = f"must hold unix seconds or dates; it holds {kind}", _way_in(kind, name) or "Convert it."
        return None, [*findings, whole("error", "no_time_column", name, said, fix)]
    early, late = ok & (seconds < 0), ok & (seconds > LATEST_SECOND)
    fix = "Times are unix seconds; mend these rows."
    findings += rows("error", "negative_time", name, early, "a time before 1970", fix)
    stem = name if unit is None else name.rpartition(":")[0]
    fix = f"Times are unix seconds; name the column {stem}:ms, {stem}:us or {stem}:ns where they are not."
    findings += rows("error", "time_unit", name, late, "a time after the year 5000", fix)
    ok &= ~(early | late)
    seconds = np.floor(seconds) if seconds.dtype.kind == "f" else seconds
    seconds = seconds if ok.all() else np.where(ok, seconds, 0)
    naive = pa.types.is_timestamp(kind) and kind.tz is None
    return Times(seconds.astype(np.int64, copy=False), ok, naive), findings


def event_weights(column: pa.ChunkedArray, name: str, where: str, *, ratings: bool = False) -> F32:
    """float32 (n,) event weights, finite and above 0; ratings may be 0 or less."""
    weights, findings = parse_weights(column, name, ratings=ratings)
    refuse(findings, where)
    assert weights is not None
    return weights


def parse_weights(
    column: pa.ChunkedArray, name: str, *, ratings: bool = False
) -> tuple[F32 | None, list[Finding]]:
    """float32 (n,) weights, NaN where a row has none, and the findings; no array where the column holds no
    numbers.

    ratings: whether the numbers are ratings, of which 0 and less are no fault.
    """
    column = decode_column(plain(column))
    if (fix := _way_in(column.type, name)) is not None:
        return None, [whole("error", "unreadable_weight", name, f"holds {column.type}, and no weights", fix)]
    try:
        numbers = column.cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowException:
        if not casts(column[:0], pa.float64(), False):
            said, fix = f"holds {column.type}, which cannot be read as weights", "Write it as numbers."
            return None, [whole("error", "unreadable_weight", name, said, fix)]
        wrong = uncastable(column, pa.float64(), safe=False)
        said = f"{column.type} that cannot be read as weights"
        return None, rows("error", "unreadable_weight", name, wrong, said, "Mend or drop these rows.")
    with np.errstate(over="ignore"):
        weights: F32 = numbers.astype(np.float32)
    finite = np.isfinite(weights)
    if ratings:
        return weights, rows(
            "error", "no_weight", name, ~finite, "no rating", "Drop these rows or mend their ratings."
        )
    fix = (
        "Drop these rows or mend their weights; of ratings, prepare.min_rating=R takes those of R and "
        "more, each as 1."
    )
    return weights, rows(
        "error", "weight_not_positive", name, ~(finite & (weights > 0)), "a weight that is not above 0", fix
    )


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
    codes, findings = parse_ids(column, name, "event type")
    if codes is not None and len(codes.names) > MAX_EVENT_TYPES:
        said = f"has {len(codes.names)} event types; {MAX_EVENT_TYPES} are possible"
        findings.append(whole("error", "many_event_types", name, said, "Is it the right one?"))
    return codes, findings


def _mask(flags: Any) -> Bool:
    return np.asarray(
        flags.to_numpy() if isinstance(flags, pa.ChunkedArray) else flags.to_numpy(zero_copy_only=False)
    )
