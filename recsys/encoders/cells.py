"""Cells of a declared column: text as values or words, lists as values, numbers as vectors; and which are
missing."""

import math
import re
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import numpy as np

from recsys.arrays import F32, Array
from recsys.errors import DataError

_WORD = re.compile(r"\w+")


class WrongValueError(DataError):
    """A value that is not of its column's declared kind. row: its number in the table, from 0."""

    def __init__(self, column: str, rule: str, row: int, value: Any, place: str = "") -> None:
        self.column, self.rule, self.row, self.value = column, rule, row, value
        super().__init__(
            f"feature {column!r} {rule}; {place or f'row {row + 1}'} holds {repr(value)[:60]}. "
            "Mend it, or leave it empty where it is not known."
        )

    def at(self, place: str, row: int | None = None) -> "WrongValueError":
        """The same, said of a place that a person finds, as a row of a file; `row`: its number in another
        table."""
        return WrongValueError(self.column, self.rule, self.row if row is None else row, self.value, place)


def is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def values_of(value: Any, kind: str, column: str, row: int) -> Iterator[str]:
    """The distinct values of a cell as text, in order; none where it is missing."""
    if is_missing(value):
        return
    if kind == "categories":
        cells = value if isinstance(value, list | tuple) else re.split(r"[|,]", str(value))
    elif isinstance(value, list | tuple | dict):
        raise WrongValueError(
            column, "must hold one value in every row (a list is of kind 'categories')", row, value
        )
    else:
        cells = [value]
    seen = set()
    for cell in cells:
        if is_missing(cell):
            continue
        if isinstance(cell, float) and cell.is_integer():  # pandas has 3.0 for 3 where others are missing
            cell = int(cell)
        text = str(cell).strip()
        if text and text not in seen:
            seen.add(text)
            yield text


def hash_words(text: str | None, buckets: int) -> list[int]:
    """Rows within the feature of the words of a text and of their parts, each once."""
    parts = dict.fromkeys(part for word in _WORD.findall((text or "").lower()) for part in _parts(word))
    return [2 + crc32(part.encode()) % buckets for part in parts] or [0]


def _parts(word: str) -> Iterator[str]:
    """The word between marks, and its parts of 3 to 5 characters."""
    marked = f"<{word}>"
    yield marked
    for size in (3, 4, 5):
        for start in range(len(marked) - size + 1):
            yield marked[start : start + size]


def numbers_of(raw: list[Any], kind: str, column: str, width: int | None) -> tuple[F32, Array]:
    """float32 (n, width) with zeros where missing, and (n,) whether it is. width None: that of the first
    value."""
    missing = np.array([is_missing(value) for value in raw], bool)
    present = [value for value in raw if not is_missing(value)]
    if kind == "number":
        present = [[value] for value in present]
        width = 1
    elif present and width is None:
        width = len(present[0]) if isinstance(present[0], list | tuple) else 0
    numbers = np.zeros((len(raw), width or 0), np.float32)
    if present:
        try:
            numbers[~missing] = np.array(present, np.float32).reshape(len(present), width or -1)
        except (ValueError, TypeError):
            at = next(
                i for i, value in enumerate(raw) if not is_missing(value) and not _fits(value, kind, width)
            )
            wanted = "a number" if kind == "number" else f"a list of {width} numbers"
            raise WrongValueError(column, f"must hold {wanted} in every row", at, raw[at]) from None
        if not np.isfinite(numbers).all():
            at = int(np.argmax(~np.isfinite(numbers).all(axis=1)))
            raise WrongValueError(column, "must be finite", at, raw[at])
    return numbers, missing


def _fits(value: Any, kind: str, width: int | None) -> bool:
    try:
        return np.array([value] if kind == "number" else value, np.float32).shape == (width,)
    except (ValueError, TypeError):
        return False
