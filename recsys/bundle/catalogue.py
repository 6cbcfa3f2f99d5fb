"""What is known of the items of a bundle, for showing and filtering: memory-mapped Arrow, row i describes item i."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from recsys.arrays import I32


class Catalogue:
    """Titles, domains and categories. A column that the data did not have answers None or nothing."""

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
