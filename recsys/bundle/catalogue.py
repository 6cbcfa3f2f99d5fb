"""What is known of the items of a bundle, for showing and filtering: flat arrays in files, row i describes
item i."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import orjson

from recsys.arrays import I32, Array, Ragged, offsets_of
from recsys.ids import IdMap
from recsys.retrieval.availability import Availability
from recsys.texts import Texts

if TYPE_CHECKING:
    import pyarrow as pa

# the columns of availability, in the order of its fields, and what stands for an item of which a column says
# nothing
_UNLIMITED: dict[str, Any] = {
    "available": True,
    "available_from": np.iinfo(np.int64).min,
    "available_to": np.iinfo(np.int64).max,
}
_NAMES, _CODES = "categories.names", "categories"
SHOWN = "shown"  # the name of the files of `shown_of`


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Titles, domains, categories, and when items may be answered. A column that the data did not have is
    None and answers None or nothing.

    domain_names: in the order of their codes. domain_codes: int32 (n_items,), -1 = none. category_codes: a
    row of codes into `category_names` for each item. availability: which items may be answered, and when.
    """

    n_items: int
    titles: Texts | None = None
    domain_names: tuple[str, ...] = ()
    domain_codes: I32 | None = None
    category_names: Texts | None = None
    category_codes: Ragged | None = None
    availability: Availability | None = None

    @classmethod
    def of(cls, table: "pa.Table") -> Self:
        """From the items' table of a data set: columns `title`, `domain`, `categories`, `available`,
        `available_from` and `available_to`, as far as there are any; null where nothing is known."""
        columns: dict[str, Any] = {name: table[name] for name in table.column_names}
        parts: dict[str, Any] = {}
        if "title" in columns and columns["title"].null_count < table.num_rows:
            parts["titles"] = Texts.of(columns["title"].to_pylist())
        if "domain" in columns:
            names, codes = _code_values(columns["domain"].to_pylist())
            parts |= {"domain_names": names, "domain_codes": codes}
        if "categories" in columns:
            lists = [one or [] for one in columns["categories"].to_pylist()]
            names, codes = _code_values([one for each in lists for one in each])
            parts |= {"category_names": Texts.of(names)}
            parts |= {"category_codes": Ragged(offsets_of(np.array(list(map(len, lists)), np.int64)), codes)}
        stated = {name: columns[name] for name in _UNLIMITED if name in columns}
        limits = {
            name: np.array([_UNLIMITED[name] if cell is None else cell for cell in column.to_pylist()])
            for name, column in stated.items()
            if column.null_count < table.num_rows
        }
        return cls(table.num_rows, **parts, availability=_availability(limits))

    def __len__(self) -> int:
        return self.n_items

    def title(self, item: int) -> str | None:
        return None if self.titles is None else self.titles[item] or None

    def titles_of(self, items: Array | Sequence[int]) -> list[str | None]:
        """The titles of these items (k,)."""
        return (
            [None] * len(items)
            if self.titles is None
            else [title or None for title in self.titles.take(items)]
        )

    def domain(self, item: int) -> str | None:
        code = -1 if self.domain_codes is None else int(self.domain_codes[item])
        return self.domain_names[code] if code >= 0 else None

    def categories(self, item: int) -> list[str]:
        if self.category_codes is None or self.category_names is None:
            return []
        return self.category_names.take(self.category_codes.row(item))

    @cached_property
    def domains(self) -> dict[str, I32]:
        """The items of each domain, int32, ascending."""
        if self.domain_codes is None:
            return {}
        order = np.argsort(self.domain_codes, kind="stable").astype(np.int32)
        edges = np.searchsorted(self.domain_codes[order], np.arange(len(self.domain_names) + 1))
        return {name: order[edges[code] : edges[code + 1]] for code, name in enumerate(self.domain_names)}

    def showing(self, items: Array, shown: bool) -> "Catalogue":
        """A copy in which these items (n,) are shown, or hidden."""
        stated = self.availability or Availability()
        flags = np.ones(len(self), bool) if stated.shown is None else np.array(stated.shown)
        flags[items] = shown
        return replace(self, availability=replace(stated, shown=flags))

    def followed_by(self, more: "Catalogue") -> "Catalogue":
        """With further items at its end; what one of the two does not say of its items is not known of
        them."""
        first, second = self._add_columns(more), more._add_columns(self)
        names = tuple(dict.fromkeys([*first.domain_names, *second.domain_names]))
        parts: dict[str, Any] = {}
        if first.titles is not None and second.titles is not None:
            parts["titles"] = first.titles.followed_by(second.titles)
        if first.domain_codes is not None and second.domain_codes is not None:
            place = np.array([*(names.index(name) for name in second.domain_names), -1], np.int32)
            codes = np.concatenate([first.domain_codes, place[second.domain_codes]])
            parts |= {"domain_names": names, "domain_codes": codes}
        if first.category_codes is not None and second.category_codes is not None:
            assert first.category_names is not None
            assert second.category_names is not None
            own, theirs = first.category_codes, second.category_codes
            offsets = np.concatenate([own.offsets, own.offsets[-1] + theirs.offsets[1:]])
            values = np.concatenate([own.values, theirs.values + np.int32(len(first.category_names))])
            parts |= {"category_codes": Ragged(offsets, values)}
            parts |= {"category_names": first.category_names.followed_by(second.category_names)}
        if first.availability is not None and second.availability is not None:
            one, other = first.availability.columns(), second.availability.columns()
            limits = {name: np.concatenate([one[name], other[name]]) for name in one}
            parts["availability"] = _availability(limits)
        return Catalogue(len(self) + len(more), **parts)

    def _add_columns(self, other: "Catalogue") -> "Catalogue":
        """A copy with all columns of the other catalogue, empty where this one has none."""
        n = len(self)
        limits = {} if self.availability is None else self.availability.columns()
        asked = {} if other.availability is None else other.availability.columns()
        limits |= {
            name: np.full(n, _UNLIMITED[name], column.dtype)
            for name, column in asked.items()
            if name not in limits
        }
        nothing = Texts.of([])
        return replace(
            self,
            titles=self.titles or (other.titles and Texts.of([None] * n)),
            domain_codes=_either(self.domain_codes, other.domain_codes, np.full(n, -1, np.int32)),
            category_codes=_either(self.category_codes, other.category_codes, Ragged.empty(n)),
            category_names=_either(self.category_names, other.category_names, nothing),
            availability=_availability({name: limits[name] for name in _UNLIMITED if name in limits}),
        )

    def arrays(self) -> dict[str, Array]:
        """The columns that there are, by the names of their files without the ending; the names of domains
        are the manifest's."""
        arrays: dict[str, Array] = {} if self.titles is None else self.titles.arrays("title")
        if self.domain_codes is not None:
            arrays["domain"] = self.domain_codes
        if self.category_codes is not None and self.category_names is not None:
            arrays |= {
                f"{_CODES}.offsets": self.category_codes.offsets,
                f"{_CODES}.codes": self.category_codes.values,
            }
            arrays |= self.category_names.arrays(_NAMES)
        return arrays | ({} if self.availability is None else self.availability.columns())

    @classmethod
    def load(cls, folder: Path, n_items: int, domain_names: Sequence[str] = ()) -> Self:
        """The catalogue in a folder; its arrays are memory-mapped."""
        there = {path.name.removesuffix(".npy") for path in folder.glob("*.npy")}

        def column(name: str) -> Any:
            return np.load(folder / f"{name}.npy", mmap_mode="r") if name in there else None

        categories = f"{_CODES}.codes" in there
        return cls(
            n_items,
            Texts.load(folder, "title") if "title.utf8" in there else None,
            tuple(domain_names),
            column("domain"),
            Texts.load(folder, _NAMES) if categories else None,
            Ragged(column(f"{_CODES}.offsets"), column(f"{_CODES}.codes")) if categories else None,
            _availability({name: column(name) for name in _UNLIMITED if name in there}),
        )


def shown_of(item_ids: IdMap, catalogue: Catalogue) -> Texts:
    """Of each item, its id and title as the beginning of a JSON object: what an answer says of it, encoded
    once."""
    rows = range(len(item_ids))
    titles = catalogue.titles_of(rows)
    shown = [
        orjson.dumps({"item_id": id_, "title": title})[:-1]
        for id_, title in zip(item_ids, titles, strict=True)
    ]
    return Texts.of_bytes(shown)


def _either(own: Any, other: Any, nothing: Any) -> Any:
    """A column of one's own; `nothing` where only the other has it, None where neither has."""
    return own if own is not None or other is None else nothing


def _code_values(values: Sequence[str | None]) -> tuple[tuple[str, ...], I32]:
    """The distinct values in the order in which they come, and int32 (n,) the place of each, -1 where it is
    None."""
    names = tuple(dict.fromkeys(value for value in values if value is not None))
    place = {None: -1} | {name: code for code, name in enumerate(names)}
    return names, np.array([place[value] for value in values], np.int32)


def _availability(limits: dict[str, Array]) -> Availability | None:
    return Availability(*(limits.get(name) for name in _UNLIMITED)) if limits else None
