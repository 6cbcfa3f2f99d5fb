"""What is known of the items of a bundle, for showing and filtering: memory-mapped Arrow, row i describes item i."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from recsys.arrays import I32, Array, Bool
from recsys.retrieval.availability import Availability

# the columns of availability, in the order of its fields, and what stands for an item of which a column says nothing
_UNLIMITED = {"available": True, "available_from": np.iinfo(np.int64).min, "available_to": np.iinfo(np.int64).max}


class Catalogue:
    """Titles, domains, categories, and when items may be answered. A column that the data did not have answers None or
    nothing."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self.domains: dict[str, I32] = {}  # the items of each domain, ascending
        if "domain" in table.column_names:
            encoded = table["domain"].combine_chunks().dictionary_encode(null_encoding="encode")
            codes = np.from_dlpack(encoded.indices)  # `to_numpy` and `fill_null` import pandas where it is installed
            names = encoded.dictionary.to_pylist()
            self.domains = {
                name: np.flatnonzero(codes == code).astype(np.int32)
                for code, name in enumerate(names)
                if name is not None
            }

    def __len__(self) -> int:
        rows: int = self._table.num_rows
        return rows

    def _cell(self, column: str, item: int) -> Any:
        return self._table[column][item].as_py() if column in self._table.column_names else None

    def title(self, item: int) -> str | None:
        title: str | None = self._cell("title", item)
        return title

    def domain(self, item: int) -> str | None:
        domain: str | None = self._cell("domain", item)
        return domain

    def categories(self, item: int) -> list[str]:
        return self._cell("categories", item) or []

    @cached_property
    def availability(self) -> Availability | None:
        """Which items may be answered, and when; None where the data say nothing of it."""
        found = {name: _filled(self._table[name], unknown) for name, unknown in _UNLIMITED.items() if self._has(name)}
        if not found:
            return None
        return Availability(*(found.get(name) for name in _UNLIMITED))

    def _has(self, column: str) -> bool:
        return column in self._table.column_names and self._table[column].null_count < len(self)

    def showing(self, items: Array, shown: bool) -> "Catalogue":
        """The same with these items (n,) shown or hidden."""
        stated = self.availability
        flags = np.ones(len(self), bool) if stated is None or stated.shown is None else stated.shown.copy()
        flags[items] = shown
        table, column = self._table, pa.array(flags)
        if "available" not in table.column_names:
            return Catalogue(table.append_column("available", column))
        return Catalogue(table.set_column(table.column_names.index("available"), "available", column))

    def followed_by(self, table: pa.Table) -> "Catalogue":
        """With further items at its end; what one of the two does not say of its items is null."""
        return Catalogue(pa.concat_tables([self._table, table], promote_options="default"))

    def save(self, path: Path) -> None:
        with ipc.new_file(str(path), self._table.schema) as writer:
            writer.write_table(self._table)

    @classmethod
    def load(cls, path: Path) -> "Catalogue":
        with pa.memory_map(str(path)) as source:
            return cls(ipc.open_file(source).read_all())


def _filled(column: pa.ChunkedArray, unknown: Any) -> Any:
    """(n,): a column as an array, `unknown` where it is null; by its buffers, since Arrow's own way imports pandas."""
    whole = column.combine_chunks()
    rows = slice(whole.offset, whole.offset + len(whole))
    valid, values = whole.buffers()
    if pa.types.is_boolean(whole.type):
        found: Any = _bits(values)[rows]
    else:
        found = np.frombuffer(values, np.int64)[rows]
    return found if valid is None else np.where(_bits(valid)[rows], found, unknown)


def _bits(buffer: pa.Buffer) -> Bool:
    """The bits of a buffer, one for each value."""
    return np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little").astype(bool)
