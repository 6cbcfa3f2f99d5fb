"""What is wrong with data: one finding for each fault, in the same words whether it is reported or raised."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from recsys.arrays import Array
from recsys.errors import DataError

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One fault of one column, or of the whole table.

    kind: a stable name, for machines. column: the user's own name, empty for the table. count of `of`: what is
    affected (rows, unless `said` names something else), 0 where the fault is that of the whole column. first_row: the
    first affected row, from 1 and without the header, None where no row shows it.
    """

    level: Level
    kind: str
    column: str
    count: int
    of: int
    first_row: int | None
    said: str
    fix: str

    def sentence(self, where: str) -> str:
        """Owner, rule, count, first row, and what to do."""
        owner = f"column {self.column!r} of {where}" if self.column else where
        if not self.count:
            return f"{owner} {self.said}. {self.fix}"
        first = "" if self.first_row is None else f", first row {self.first_row}"
        return f"{owner}: {self.count:,} of {self.of:,} {self.said}{first}. {self.fix}"

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def rows(level: Level, kind: str, column: str, wrong: Array, said: str, fix: str) -> list[Finding]:
    """A finding that counts the true values of `wrong` (n,) and names the first; none where there are none."""
    count = int(np.count_nonzero(wrong))
    if not count:
        return []
    return [Finding(level, kind, column, count, len(wrong), int(np.argmax(wrong)) + 1, f"rows have {said}", fix)]


def whole(level: Level, kind: str, column: str, said: str, fix: str) -> Finding:
    """A finding about a whole column or table."""
    return Finding(level, kind, column, 0, 0, None, said, fix)


def refuse(findings: Iterable[Finding], where: str) -> None:
    """Raises the first error among the findings as a DataError."""
    for finding in findings:
        if finding.level == "error":
            raise DataError(finding.sentence(where))


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are errors."""
    return [finding for finding in findings if finding.level == "error"]
