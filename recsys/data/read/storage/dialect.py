"""How text with separators is written: what separates and escapes its fields, and whether it has a header."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recsys.data.read.cells.wanted import Wanted, counts_up
from recsys.data.read.storage.location import open_text
from recsys.errors import DataError

_SEPARATORS, _SAMPLE_BYTES = ",;\t|", 1 << 16


class EmptyFileError(DataError):
    """A file without a single row, or header: among other files it is passed over."""


class Dialect(NamedTuple):
    """How a file is written. headless: its first line is a row. quotes: fields may stand in quotes. escapes:
    a backslash takes the next character as it is, within quotes or, where there are none, everywhere. breaks:
    fields may hold line breaks, which costs the parser a second pass: where the beginning has quotes or
    escapes."""

    names: list[str]
    separator: str = ","
    headless: bool = False
    quotes: bool = True
    escapes: bool = False
    breaks: bool = True

    @property
    def translates(self) -> bool:
        """Whether escapes stand for what the parser does not know: they do where nothing stands in quotes."""
        return self.escapes and not self.quotes


def dialect_of(path: Path, wanted: Wanted) -> Dialect:
    """How a file is written, by its first 64 KB.

    Of the separators, the one that makes the most names in the first line. That line is a header, unless
    columns are asked for by numbers that it does not count up itself, and none by a name that it has.
    """
    with open_text(path) as stream:
        start = stream.read(_SAMPLE_BYTES)
    text = start.decode("utf-8-sig", "strict" if len(start) < _SAMPLE_BYTES else "ignore").lstrip("\r\n")
    lines = {mark: next(csv.reader(io.StringIO(text, ""), delimiter=mark), []) for mark in _SEPARATORS}
    separator = max(lines, key=lambda mark: len(lines[mark]))  # ties go to the first, the comma
    first = lines[separator]
    if not first:
        raise EmptyFileError(f"{path} cannot be read: it is empty. Check that it is what its name says.")
    quotes, escapes = _escapes(text, re.escape(separator))
    if escapes:
        form: Any = {"quoting": csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, "escapechar": "\\"}
        first = next(csv.reader(io.StringIO(text, ""), delimiter=separator, **form))
    asked = {*(wanted.names or ()), *wanted.text}
    headless = (
        any(wanted.is_number(name) for name in asked)
        and not counts_up(first)
        and not any(wanted.takes(name) or wanted.is_text(name) for name in first if not name.isdigit())
    )
    names = [str(number) for number in range(1, len(first) + 1)] if headless else first
    return Dialect(names, separator, headless, quotes, escapes, escapes or '"' in text)


def _escapes(text: str, mark: str) -> tuple[bool, bool]:
    """Whether fields stand in quotes, and whether backslashes escape: what the text proves, else as RFC 4180
    says."""
    if re.search(rf'(^|{mark})"', text, re.MULTILINE):
        return True, bool(re.search(rf'\\"[^"{mark}\r\n]', text))  # as Spark writes a quote within quotes
    alone = re.search(rf"(^|{mark})\\N({mark}|\r?$)", text, re.MULTILINE)
    tabbed = mark == "\\\t" and "\\" in text and not re.search(r"\\(?![\\bfnrtvN])", text.replace("\\\\", ""))
    return (False, True) if alone or tabbed else (True, False)


def refuse_twice(names: Sequence[str], where: str) -> None:
    """Raises a DataError where a column name occurs more than once in a table, as `where` calls it."""
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise DataError(
            f"{where} must name each column once; {twice[0]!r} occurs more than once. Rename or drop one."
        )
