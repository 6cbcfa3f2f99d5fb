"""A table of exposures or outcomes, read part by part: daily files, so that memory is that of the people."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys.arrays import I32, I64, Array, Bool
from recsys.data.check.findings import Finding
from recsys.data.read.cells.plain import decode_column, plain_table
from recsys.data.read.cells.wanted import Wanted
from recsys.data.read.columns import Codes, parse_ids, parse_times
from recsys.data.read.files import files_of, first_columns
from recsys.data.read.formats import parquet_pieces, read_file
from recsys.data.read.storage.dialect import EmptyFileError
from recsys.data.read.storage.location import path_of
from recsys.errors import DataError
from recsys.ids import U64, hash_texts
from recsys.progress import Progress, Step

MILLISECONDS = "time_ms"  # a column of this name counts milliseconds


class Faults:
    """Rows that were left out because something in them is missing or wrong, counted by what it is."""

    def __init__(self) -> None:
        self._count: dict[tuple[str, str], int] = {}
        self._first: dict[tuple[str, str], Finding] = {}

    def add(self, findings: Sequence[Finding], where: str) -> None:
        """Counts findings about rows; one about a whole column is raised as a DataError."""
        for finding in findings:
            if not finding.count:
                raise DataError(finding.sentence(where))
            key = (finding.column, finding.kind)
            self._count[key] = self._count.get(key, 0) + finding.count
            self._first.setdefault(key, finding.locate(where).about(where))

    def sentences(self) -> list[str]:
        """What was left out, and where it began."""
        return [
            f"{self._count[key]:,} {one.said} in column {one.column!r}, first in row {one.first_row} of "
            f"{one.file or one.table}: left out"
            for key, one in self._first.items()
        ]


class Part(NamedTuple):
    """Some rows of a table, by what a column holds for us and not by its name."""

    columns: Mapping[str, pa.ChunkedArray]
    names: Mapping[str, str]
    where: str
    faults: Faults

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def ids(self, role: str, what: str = "id") -> Codes:
        """Each row's id as a code, -1 where it is missing, which is counted."""
        codes, findings = parse_ids(self.columns[role], self.names[role], what)
        self.faults.add(findings, self.where)
        if codes is None:
            raise DataError(f"column {self.names[role]!r} of {self.where} holds no {what}s.")
        return codes

    def labels(self, role: str) -> Codes:
        """As `ids`, for a column in which nothing may stand: it is not counted."""
        codes, findings = parse_ids(self.columns[role], self.names[role])
        if codes is None:
            raise DataError(findings[0].sentence(self.where))
        return codes

    def seconds(self, role: str) -> tuple[I64, Bool]:
        """Unix seconds (n,), and which rows have a time; the others are counted."""
        name = self.names[role]
        times, findings = parse_times(self.columns[role], f"{name}:ms" if name == MILLISECONDS else name)
        self.faults.add([one for one in findings if one.level == "error"], self.where)
        if times is None:
            raise DataError(f"column {name!r} of {self.where} holds no times.")
        return times.seconds, times.ok

    def numbers(self, role: str) -> Array:
        """float64 (n,); NaN where there is none, or text."""
        try:
            column = decode_column(self.columns[role]).cast(pa.float64())
        except pa.ArrowException as error:
            said = str(error).splitlines()[0]
            raise DataError(
                f"column {self.names[role]!r} of {self.where} is to hold numbers: {said}."
            ) from None
        return np.asarray(column.fill_null(np.nan).to_numpy(), np.float64)

    def flags(self, role: str) -> Bool:
        """bool (n,): true, 1, or any other number than 0."""
        column = decode_column(self.columns[role])
        if pa.types.is_boolean(column.type):
            return np.asarray(column.fill_null(False).to_numpy(), bool)
        return np.asarray(np.nan_to_num(self.numbers(role)) != 0, bool)


class Table:
    """A file, a folder or pattern of files (daily Parquet, CSV, JSON lines), or an Arrow table.

    roles: what we look for, each by the names that it may have, the first that is there; of a person, the
    first that the row has. own: names by which the user calls them, which must be there. required: roles
    without which nothing can be said.
    """

    def __init__(
        self,
        source: Any,
        what: str,
        roles: Mapping[str, Sequence[str]],
        required: Sequence[str],
        own: Mapping[str, str | None],
    ) -> None:
        self.what = what
        self.faults = Faults()
        self._table: pa.Table | None = plain_table(source) if isinstance(source, pa.Table) else None
        self._name = f"the table of {what}" if self._table is not None else str(source)
        self._files = [] if self._table is not None else files_of(path_of(source))
        names = {role: [own[role]] if own.get(role) else list(may) for role, may in roles.items()}
        self._wanted = Wanted([str(name) for several in names.values() for name in several])
        present = (
            self._table.column_names if self._table is not None else first_columns(self._files, self._wanted)
        )
        present = self.present = self._wanted.with_made(present)
        self.names: dict[str, str] = {}
        for role, several in names.items():
            there = [str(name) for name in several if name in present]
            if there:
                self.names[role] = " or ".join(there) if role == "unit" else there[0]
            elif role in required or own.get(role):
                raise DataError(
                    f"{self._name} has no column {' or '.join(map(repr, several))} for the "
                    f"{role.replace('_', ' ')} of {what}; its columns are {', '.join(present)}. Name yours "
                    "in the plan, under [columns]."
                )
        wanted = list(self.names.values())
        texts = [name for role, name in self.names.items() if role not in ("time", "value", "received")]
        self._wanted = Wanted(wanted, texts)

    @property
    def files(self) -> int:
        return max(1, len(self._files))

    def __contains__(self, role: str) -> bool:
        return role in self.names

    def parts(self, progress: Progress, *, beginnings: bool = False) -> Iterator[Part]:
        """The rows, a file or a million at a time; progress counts files. beginnings: the first of each file
        alone."""
        if self._table is not None:
            if len(self._table):
                yield self._part(self._wanted.select(self._table, self._name)[0], self._name)
            return
        for done, file in enumerate(self._files):
            progress(Step(f"read {self.what}", done, len(self._files)))
            try:
                pieces = parquet_pieces(file, self._wanted) if file.path.suffix == ".parquet" else None
                for piece in pieces or [read_file(file, self._wanted)]:
                    if len(piece.table):
                        yield self._part(piece.table, str(file))
                    if beginnings:
                        break
            except EmptyFileError:
                continue
        progress(Step(f"read {self.what}", len(self._files), len(self._files)))

    def _part(self, table: pa.Table, where: str) -> Part:
        missing = [name for name in self.names.values() if name not in table.column_names]
        if missing:
            raise DataError(
                f"{where} has no column {missing[0]!r}, which other files of {self._name} have; its "
                f"columns are {', '.join(table.column_names)}. Give all files the same columns."
            )
        columns = {role: table[name] for role, name in self.names.items()}
        return Part(columns, self.names, where, self.faults)


def hashes(codes: Codes) -> U64:
    """A 64-bit hash of each row's text (n,); 0 where it is missing."""
    names = codes.names.cast(pa.large_string()) if len(codes.names) else pa.array([], pa.large_string())
    if not len(names):
        return np.zeros(len(codes.code), np.uint64)
    offsets = np.frombuffer(names.buffers()[1], np.int64)[names.offset : names.offset + len(names) + 1]
    text = np.frombuffer(names.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    return np.append(hash_texts(text, offsets - offsets[0]), np.uint64(0))[codes.code]


class UnitIndex:
    """People in the order in which they first came: id -> number, by a 64-bit hash of the id."""

    def __init__(self) -> None:
        self.ids: pa.Array = pa.array([], pa.large_string())
        self._hashes: U64 = np.empty(0, np.uint64)  # sorted
        self._numbers: I32 = np.empty(0, np.int32)  # of each hash

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, codes: Codes, *, add: bool) -> I32:
        """The number of each row's person, -1 where they are unknown; with `add` they get one."""
        names = one_array(codes.names)
        of_names = hashes(Codes(np.arange(len(names), dtype=np.int32), names))
        numbers = np.full(len(names), -1, np.int32)
        if len(self._hashes):
            at = np.minimum(np.searchsorted(self._hashes, of_names), len(self._hashes) - 1)
            numbers = np.where(self._hashes[at] == of_names, self._numbers[at], np.int32(-1))
        if add:
            used = np.zeros(len(names) + 1, bool)
            used[codes.code] = True
            new = np.flatnonzero((numbers < 0) & used[:-1])
            numbers[new] = len(self.ids) + np.arange(len(new), dtype=np.int32)
            self.ids = pa.concat_arrays([self.ids, names.take(pa.array(new))])
            whole = np.concatenate([self._hashes, of_names[new]])
            order = np.argsort(whole, kind="stable")
            self._hashes, self._numbers = whole[order], np.concatenate([self._numbers, numbers[new]])[order]
        return np.append(numbers, np.int32(-1))[codes.code]


def one_array(names: Any) -> pa.Array:
    """Texts as one array of Arrow."""
    names = names.cast(pa.large_string())
    return names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
