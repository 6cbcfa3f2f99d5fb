"""What is wrong with data: one finding for each fault, in the same words whether it is reported or raised."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from recsys.arrays import Array
from recsys.errors import DataError

Level = Literal["error", "warning"]
UNCLOSED_FIX = 'Close it there; a quote within quotes is written twice: "".'
REFUSED = "refused"  # the kind of what a reader, a split or a rule refuses in a sentence of its own


class Part(NamedTuple):
    """A file of a table. rows: how many of its rows the table has. skipped: the others, by their numbers in
    the file, from 1, ascending.
    """

    file: str
    rows: int
    skipped: Sequence[int] = ()


class SkippedRow(Protocol):
    """A row that does not fit the header of its file. row: from 1, without the header. unclosed: instead,
    `text` says which quote of the file is never closed."""

    @property
    def row(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def file(self) -> str: ...
    @property
    def unclosed(self) -> bool: ...


class Where(str):
    """What a table is called in sentences, and which file each of its rows stands in, where it was read from
    files.

    before: how many rows of the files come before the first of the table, where it is read by and by. origin:
    int64 (n,), where lists in the files became rows of the table, the row of the files, from 0, that each
    comes from.
    """

    parts: tuple[Part, ...]
    before: int
    origin: Array | None

    def __new__(
        cls, name: str, parts: Sequence[Part] = (), before: int = 0, origin: Array | None = None
    ) -> "Where":
        where = super().__new__(cls, name)
        where.parts, where.before, where.origin = tuple(parts), before, origin
        return where

    def place(self, row: int) -> tuple[str | None, int]:
        """The file of a row (from 1; None where the table is called by it) and its number in it."""
        row = self.before + (row if self.origin is None else int(self.origin[row - 1]) + 1)
        for part in self.parts:
            if row <= part.rows:
                for skipped in part.skipped:
                    row += skipped <= row
                return part.file if part.file != self else None, row
            row -= part.rows
        return None, row

    def row(self, row: int) -> str:
        """A row (from 1) as a sentence calls it, with its file."""
        file, row = self.place(row)
        return f"row {row} of {file or self}"


@dataclass(frozen=True)
class Finding:
    """One fault of one column, or of the whole table.

    kind: a stable name, for machines. column: the user's own name, empty for the table. count of `of`: what
    is affected (rows, unless `said` names something else), 0 where the fault is that of the whole column.
    first_row: the first affected row, from 1 and without the header, None where no row shows it. file: that
    row's file, where the table has several, and first_row counts in it. part: the part of a published split
    that was counted alone. table: the table that it is about where that is not the one that was checked: the
    item table, say.
    """

    level: Level
    kind: str
    column: str
    count: int
    of: int
    first_row: int | None
    said: str
    fix: str
    file: str | None = None
    part: str | None = None
    table: str | None = None

    def locate(self, where: str) -> "Finding":
        """The same, its first row counted in the file that it stands in, as `where` knows it."""
        if self.first_row is None or self.table is not None or not isinstance(where, Where):
            return self
        file, row = where.place(self.first_row)
        return replace(self, file=file, first_row=row)

    def about(self, table: str) -> "Finding":
        """The same, said of another table than the one that is checked."""
        return replace(self, table=str(table))

    def sentence(self, where: str) -> str:
        """Owner, rule, count, first row, and what to do; of a refusal, what it says."""
        if self.kind == REFUSED:
            return self.said
        table = self.table or where
        owner = f"column {self.column!r} of {table}" if self.column else table
        owner += f", part {self.part}" if self.part else ""
        if not self.count:
            return f"{owner} {self.said}. {self.fix}"
        first = "" if self.first_row is None else f", first row {self.first_row}"
        first += f" of {self.file}" if self.file else ""
        return f"{owner}: {self.count:,} of {self.of:,} {self.said}{first}. {self.fix}"

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def rows(level: Level, kind: str, column: str, wrong: Array, said: str, fix: str) -> list[Finding]:
    """A finding that counts the true values of `wrong` (n,) and names the first; none where there are
    none."""
    count = int(np.count_nonzero(wrong))
    if not count:
        return []
    return [
        Finding(level, kind, column, count, len(wrong), int(np.argmax(wrong)) + 1, f"rows have {said}", fix)
    ]


def whole(level: Level, kind: str, column: str, said: str, fix: str) -> Finding:
    """A finding about a whole column or table."""
    return Finding(level, kind, column, 0, 0, None, said, fix)


def ragged_rows(skipped: Sequence["SkippedRow"], read: int, where: str) -> list[Finding]:
    """Findings about the rows of a CSV that do not fit its header, and quotes that are never closed; their
    rows count in the file already.

    read: how many rows do fit. where: what the table is called.
    """
    findings = [
        whole("error", "unclosed_quote", "", one.text, UNCLOSED_FIX) for one in skipped if one.unclosed
    ]
    ragged = [one for one in skipped if not one.unclosed]
    if ragged:
        said = f"rows have another number of fields than the header, as in {ragged[0].text[:80]!r}"
        fix, file = (
            "Quote the fields that hold the separator.",
            ragged[0].file if ragged[0].file != where else None,
        )
        count, of = len(ragged), read + len(ragged)
        findings.append(Finding("error", "ragged_row", "", count, of, ragged[0].row, said, fix, file))
    return findings


def refusal(error: DataError) -> Finding:
    """What is raised about data, as a finding."""
    return whole("error", REFUSED, "", str(error), "")


def refuse(findings: Iterable[Finding], where: str) -> None:
    """Raises the first error among the findings as a DataError."""
    for finding in findings:
        if finding.level == "error":
            raise DataError(finding.locate(where).sentence(where))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are errors."""
    return [finding for finding in findings if finding.level == "error"]
