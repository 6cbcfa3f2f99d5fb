"""Features of users and items: from raw columns to rows of a table and to numbers, the same in training and
service.

A tower's vector is the sum of the table rows that an entity's features name, each times its weight, and of
its numbers times a matrix (Kula, "Metadata Embeddings for User and Item Cold-start Recommendations", CBRecSys
2015). Here is what the columns name; the table and the matrix are learned elsewhere.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
from pydantic import Field

from recsys import durable
from recsys.arrays import F32, I32, Array, Bool, Ragged, offsets_of
from recsys.config import Settings
from recsys.encoders.cells import hash_words, is_missing, numbers_of, values_of
from recsys.errors import DataError, SettingError
from recsys.ids import IdMap

MISSING, UNKNOWN = 0, 1  # the first two rows of a feature with values

_SPREAD = 5.0  # standard deviations beyond which a number counts no further


class FeatureSettings(Settings):
    """A column to learn from.

    category: one value, text or whole number. categories: several (a list, or text with | or , between).
    number: as it is, standardised. text: words and their parts of 3 to 5 characters, hashed, so that an
    unknown word has a vector too (Bojanowski et al., "Enriching Word Vectors with Subword Information", TACL
    2017). vector: numbers computed elsewhere, all of one width.
    """

    column: str = Field(description="name of the column in the table of items or of users")
    kind: Literal["category", "categories", "number", "text", "vector"] = Field(
        "category", description="how to read it"
    )
    least: int = Field(2, ge=1, description="values of fewer training rows share the row of the unknown")
    buckets: int = Field(1 << 14, ge=2, description="rows that the words of a text are hashed into")


class FeatureRows(NamedTuple):
    """n entities as a tower takes them. rows: of a table, row by row; weight: float32 (nnz,) beside them;
    dense: float32 (n, numbers)."""

    rows: Ragged
    weight: F32
    dense: F32

    def take(self, which: Array) -> "FeatureRows":
        return FeatureRows(self.rows.take(which), self.weight[self.rows.positions(which)], self.dense[which])


class Features:
    """Declared columns with what training saw of them: vocabularies, means and widths.

    A value that is missing (None, NaN, an empty text or list, or no such column) has a row of its own, one
    that training saw less than `least` times another; a missing number or vector is zeros and a flag. All are
    trained where the training data has such rows; else they add nothing.
    """

    def __init__(
        self,
        columns: Sequence[FeatureSettings],
        vocabularies: Mapping[str, IdMap],
        scales: Mapping[str, Array],
    ) -> None:
        self.columns, self.vocabularies, self.scales = tuple(columns), vocabularies, scales
        sizes = [self._size(column) for column in self.columns]
        self.starts: I32 = np.concatenate([[0], np.cumsum([rows for rows, _ in sizes])]).astype(np.int32)
        self.n_rows, self.n_dense = int(self.starts[-1]), sum(numbers for _, numbers in sizes)

    def _size(self, column: FeatureSettings) -> tuple[int, int]:
        """Table rows and numbers that it takes."""
        if column.kind == "text":
            return 2 + column.buckets, 0
        if column.kind in ("category", "categories"):
            return 2 + len(self.vocabularies[column.column]), 0
        return 0, 1 + self.scales[column.column].shape[1]

    @classmethod
    def fit(cls, columns: Sequence[FeatureSettings], table: pa.Table, what: str) -> Self:
        """What a table says of the declared columns. what: "item" or "user", for errors.

        Raises SettingError on a column that the table lacks, WrongValueError on one that is not of the
        declared kind.
        """
        names = [column.column for column in columns]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise SettingError(f"{what} feature {twice!r} is declared twice; declare it once.")
        vocabularies, scales = dict[str, IdMap](), dict[str, Array]()
        for column in columns:
            if column.column not in table.column_names:
                raise SettingError(
                    f"{what} feature {column.column!r} is no column of the {what} table; its columns are "
                    f"{', '.join(table.column_names) or 'none'}."
                )
            values = table[column.column].to_pylist()
            if column.kind in ("number", "vector"):
                numbers, missing = numbers_of(values, column.kind, column.column, None)
                seen = numbers[~missing].astype(np.float64)
                if not len(seen):
                    raise DataError(f"{what} feature {column.column!r} has no value at all; leave it out.")
                spread = (
                    seen.std(axis=0)
                    if column.kind == "number"
                    else np.sqrt((seen**2).sum(axis=1).mean() + 1e-24)
                )
                centre = seen.mean(axis=0) if column.kind == "number" else np.zeros(seen.shape[1])
                scale = np.where(spread > 0, spread, 1.0) * np.ones(seen.shape[1])
                scales[column.column] = np.stack([centre, scale]).astype(np.float32)
            elif column.kind != "text":
                counts = Counter(
                    value
                    for at, row in enumerate(values)
                    for value in values_of(row, column.kind, column.column, at)
                )
                vocabularies[column.column] = IdMap.of(
                    sorted(v for v, n in counts.items() if n >= column.least)
                )
        return cls(columns, vocabularies, scales)

    def encode(self, table: pa.Table, n: int) -> FeatureRows:
        """n rows of raw columns; columns that the table lacks are missing in every row.

        Raises WrongValueError, naming the column and the first row, where a value is not of the declared
        kind.
        """
        rows, values, weights, dense = [], [], [], []
        for column, start in zip(self.columns, self.starts.tolist(), strict=False):
            raw = table[column.column].to_pylist() if column.column in table.column_names else [None] * n
            if column.kind in ("number", "vector"):
                dense.append(self._scale(raw, column))
                continue
            row, value, weight = self._name_rows(raw, column)
            rows.append(row)
            values.append(value + start)
            weights.append(weight)
        blocks = np.hstack(dense) if dense else np.zeros((n, 0), np.float32)
        if not rows:
            return FeatureRows(Ragged.empty(n), np.zeros(0, np.float32), blocks)
        row = np.concatenate(rows)
        order = np.argsort(row, kind="stable")
        ragged = Ragged(
            offsets_of(np.bincount(row, minlength=n)), np.concatenate(values)[order].astype(np.int32)
        )
        return FeatureRows(ragged, np.concatenate(weights)[order].astype(np.float32), blocks)

    def known_values(self, table: pa.Table) -> dict[str, Bool]:
        """(n,) for each column of the table: which rows have a value of which training learned something:
        none in other columns, and no category that it never saw."""
        known_by = {name: np.zeros(len(table), bool) for name in table.column_names}
        for column in self.columns:
            if column.column not in known_by:
                continue
            raw, known = table[column.column].to_pylist(), self.vocabularies.get(column.column)
            if known is None:
                said = [not is_missing(value) and value not in ("", [], ()) for value in raw]
            else:
                said = [
                    any(known.index(one) >= 0 for one in values_of(row, column.kind, column.column, at))
                    for at, row in enumerate(raw)
                ]
            known_by[column.column] = np.array(said, bool)
        return known_by

    def _name_rows(self, raw: list[Any], column: FeatureSettings) -> tuple[Array, Array, Array]:
        """Parallel (nnz,): row, table row within the feature, weight; the weights of a row have length 1."""
        if column.kind == "text":
            texts = [None if is_missing(cell) else str(cell) for cell in raw]
            known = {text: hash_words(text, column.buckets) for text in set(texts)}
            places = [known[text] for text in texts]
            lengths = np.array([len(place) for place in places], np.int64)
            value = np.fromiter((at for place in places for at in place), np.int64, int(lengths.sum()))
        else:
            lists = [list(values_of(row, column.kind, column.column, at)) for at, row in enumerate(raw)]
            lengths = np.array([max(1, len(row)) for row in lists], np.int64)
            flat = [value for row in lists for value in (row or ("",))]
            value = (
                self.vocabularies[column.column].indices(flat).astype(np.int64) + 2
            )  # and -1, none, is UNKNOWN
            value[np.fromiter((text == "" for text in flat), bool, len(flat))] = MISSING
        row = np.repeat(np.arange(len(raw)), lengths)
        return row, value, np.repeat(lengths**-0.5, lengths)

    def _scale(self, raw: list[Any], column: FeatureSettings) -> F32:
        """float32 (n, 1 + width): whether it is missing, and the standardised numbers."""
        centre, scale = self.scales[column.column]
        numbers, missing = numbers_of(raw, column.kind, column.column, len(centre))
        scaled = (numbers - centre) / scale
        if column.kind == "number":
            scaled = np.clip(scaled, -_SPREAD, _SPREAD)
        scaled[missing] = 0
        return np.hstack([missing[:, None], scaled]).astype(np.float32)

    def digest(self) -> str:
        """Names what determines `encode`."""
        parts = [column.model_dump() for column in self.columns]
        words = {name: ids.digest().hex() for name, ids in self.vocabularies.items()}
        return json.dumps(
            [parts, words, {name: scale.tolist() for name, scale in self.scales.items()}], sort_keys=True
        )

    def save(self, folder: Path, stem: str) -> None:
        """Writes `<stem>.json` and one file for each vocabulary into an existing folder."""
        described = {
            "columns": [column.model_dump() for column in self.columns],
            "scales": {name: scale.tolist() for name, scale in self.scales.items()},
        }
        text = json.dumps(described, indent=1) + "\n"
        durable.write(folder / f"{stem}.json", lambda path: path.write_text(text, encoding="utf-8"))
        for number, column in enumerate(self.columns):
            if column.column in self.vocabularies:
                durable.write(
                    folder / f"{stem}.{number}.ids", partial(IdMap.save, self.vocabularies[column.column])
                )

    @classmethod
    def load(cls, folder: Path, stem: str) -> Self:
        described = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        columns = [FeatureSettings(**column) for column in described["columns"]]
        words = {
            column.column: IdMap.load(path)
            for number, column in enumerate(columns)
            if (path := folder / f"{stem}.{number}.ids").exists()
        }
        return cls(columns, words, {name: np.array(s, np.float32) for name, s in described["scales"].items()})
