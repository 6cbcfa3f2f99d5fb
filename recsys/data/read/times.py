"""Times written as text: all as unix seconds, all as dates with a zone, or all as dates without one."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import Bool
from recsys.data.check.findings import Finding, rows

_DATE = r"^\d{4}-\d\d-\d\d"
_ZONE = r"(Z|[+-]\d\d(:?\d\d)?)"
_FORMS = (r"^-?\d+(\.\d*)?$", _DATE + r"([T ][\d:.]+)?$", _DATE + rf"[T ][\d:.]+ ?({_ZONE}|UTC)$")
_NUMBER, _NAIVE, _ZONED = range(len(_FORMS))
_FIX = "Write unix seconds or dates like 2026-01-31T12:00:00Z, in all rows alike."


def times_of_text(column: pa.ChunkedArray, name: str) -> tuple[pa.ChunkedArray, Bool, list[Finding]]:
    """Numbers, days or timestamps in place of text, null where a row has none; (n,) which rows are empty; and
    findings.

    The form that most rows have is that of the column; rows of another form, or of none, are findings.
    """
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    empty = _flags(pc.is_null(text))
    forms = np.stack([_flags(pc.fill_null(pc.match_substring_regex(text, form), False)) for form in _FORMS])
    common = int(np.argmax(forms.sum(axis=1)))
    odd, kept = ~(forms.any(axis=0) | empty), forms[common]
    mixed = ~(odd | kept | empty)
    converted = _convert(pc.if_else(pa.array(kept), text, pa.scalar(None, pa.string())), common)
    odd |= kept & _flags(pc.is_null(converted))
    findings = []
    if odd.any():
        said = f"text such as {column[int(np.argmax(odd))].as_py()!r} for a time"
        findings += rows("error", "text_time", name, odd, said, _FIX)
    if mixed.any():
        one, usual = (column[int(np.argmax(mask))].as_py() for mask in (mixed, kept))
        said = f"times in another form than most rows, such as {one!r} beside {usual!r}"
        findings += rows("error", "mixed_times", name, mixed, said, _FIX)
    return converted, empty, findings


def _convert(text: pa.ChunkedArray, form: int) -> pa.ChunkedArray:
    """Text of one form, cast by the coarsest type that holds it; null where a row is no such time (a 30
    February)."""
    zone = "UTC" if form == _ZONED else None
    if form == _ZONED:  # Snowflake puts a blank before the zone, BigQuery writes its name
        text = pc.replace_substring_regex(text, " ?UTC$", "Z")
        text = pc.replace_substring_regex(text, rf" {_ZONE}$", r"\1")
    kinds = {
        _NUMBER: [pa.int64(), pa.float64()],
        _NAIVE: [pa.date32(), *(pa.timestamp(unit) for unit in ("s", "us", "ns"))],
        _ZONED: [pa.timestamp(unit, zone) for unit in ("s", "us", "ns")],
    }[form]
    for kind in kinds:
        try:
            return text.cast(kind)
        except pa.ArrowException:
            continue
    finest = "ns" if pc.any(pc.match_substring_regex(text, r"\.\d{7}")).as_py() else "us"
    kind = pa.float64() if form == _NUMBER else pa.timestamp(finest, zone)
    return pa.chunked_array(_cast_halves(text, kind), kind)


def _cast_halves(text: pa.ChunkedArray, kind: pa.DataType) -> list[pa.Array]:
    """Casts halves of what cannot be cast in one piece, down to single rows, which become null."""
    try:
        return list(text.cast(kind).chunks)
    except pa.ArrowException:
        if len(text) == 1:
            return [pa.nulls(1, kind)]
        middle = len(text) // 2
        return _cast_halves(text[:middle], kind) + _cast_halves(text[middle:], kind)


def _flags(mask: pa.ChunkedArray) -> Bool:
    return np.asarray(mask.to_numpy(), bool)
