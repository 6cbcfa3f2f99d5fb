"""From vectors that another library learned, and the events of the people, to the content of a bundle.

A model of `implicit` folds in by its own equation; of others, the plain inner product with or without biases
of items, anybody without a row is the mean of their history.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recsys.arrays import F32, Array
from recsys.bundle.content import Content
from recsys.data.dataset import Dataset
from recsys.data.read.columns import id_text
from recsys.data.read.files import read_table
from recsys.encoders.bag import Bag
from recsys.encoders.encoder import Encoder
from recsys.encoders.solve import Solve
from recsys.errors import DataError
from recsys.ids import IdMap
from recsys.models.export import content_of, lineage_of
from recsys.pipelines.run.settings import RunSettings
from recsys.retrieval.embeddings import Embeddings


@dataclass(frozen=True, eq=False)
class Rows:
    """Vectors by id. ids: n distinct ones. vectors: float32 (n, dim). bias: float32 (n,), what is added to
    the score of an item for everybody, or None. name: where they come from, for errors.

    Raises DataError where the numbers do not fit each other or are not finite.
    """

    ids: Sequence[str]
    vectors: F32
    bias: F32 | None = None
    name: str = "the vectors"

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.ids):
            raise DataError(
                f"{self.name} must hold one vector for each of {len(self.ids):,} ids, got an array of shape "
                f"{self.vectors.shape}. Give the ids in the order of the rows."
            )
        for column in (self.vectors, self.bias):
            finite = (
                np.ones(1, bool)
                if column is None
                else np.isfinite(column.reshape(len(column), -1)).all(axis=1)
            )
            wrong = np.flatnonzero(~finite)
            if len(wrong):
                row = int(wrong[0])
                raise DataError(
                    f"{self.name}: {len(wrong):,} vectors are not finite, the first is that of "
                    f"{self.ids[row]!r} (row {row + 1}). Leave them out, or learn again with a larger "
                    "regularization."
                )


@dataclass(frozen=True)
class ImplicitRule:
    """How `implicit` solves for a user: its `regularization`, and `alpha`, by which it multiplies the
    weights."""

    regularization: float
    alpha: float = 1.0


def read_rows(path: Path, ids: Path | None, what: str, own_name: str | None = None) -> Rows:
    """The vectors in a file: an array (`.npy`), whose ids stand in another file, or a table.

    A table has a column of ids (`item_id` or `user_id`, or `own_name`), one of lists of numbers, `vector`,
    and perhaps one of numbers, `bias`. what: "item" or "user".
    """
    if path.suffix == ".npy":
        if ids is None:
            raise DataError(
                f"{path} holds numbers alone. Name the file of its ids, in their order: --{what}-ids FILE."
            )
        return Rows(read_ids(ids, what, own_name), _float32(_array(path), str(path)), None, str(path))
    table = read_table(path, [own_name or f"{what}_id", f"{what}_id"])
    if "vector" not in table.column_names:
        raise DataError(f"{path} has no column 'vector'; its columns are {', '.join(table.column_names)}.")
    column = table["vector"].combine_chunks()
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_kind(column.type) for is_kind in kinds) or column.null_count:
        raise DataError(
            f"column 'vector' of {path} must hold a list of numbers in each row; it holds {column.type}."
        )
    lengths = set(pa.compute.list_value_length(column).unique().to_pylist())
    if len(lengths) != 1:
        raise DataError(
            f"the lists in column 'vector' of {path} are of {len(lengths)} lengths; they must be of one."
        )
    vectors = _float32(column.flatten().to_numpy(zero_copy_only=False), str(path)).reshape(
        len(column), lengths.pop()
    )
    bias = _float32(table["bias"].to_numpy(), str(path)) if "bias" in table.column_names else None
    return Rows(_ids_of(table, str(path), what, own_name), vectors, bias, str(path))


def read_ids(path: Path, what: str, own_name: str | None = None) -> list[str]:
    """The ids of rows, in their order: a text file (`.txt`, `.ids`) with one a line, an array (`.npy`), or a
    table."""
    if path.suffix == ".npy":
        return [str(one) for one in _array(path).tolist()]
    if path.suffix in (".txt", ".ids"):
        return path.read_text(encoding="utf-8").splitlines()
    try:
        return _ids_of(read_table(path, [own_name or f"{what}_id", f"{what}_id"]), str(path), what, own_name)
    except DataError as error:
        raise DataError(f"{error} A file with one id a line is called .txt or .ids.") from None


def _ids_of(table: pa.Table, name: str, what: str, own_name: str | None) -> list[str]:
    for column in (own_name, f"{what}_id"):
        if column in table.column_names:
            ids = id_text(table[column], str(column), name)
            return [str(one) for one in ids.to_pylist()]
    raise DataError(f"{name} has no column '{what}_id'; its columns are {', '.join(table.column_names)}.")


def read_implicit(
    path: Path, item_ids: Sequence[str], user_ids: Sequence[str]
) -> tuple[Rows, Rows, ImplicitRule]:
    """Items, users and rule of a model of alternating least squares, as `implicit` writes it by
    `model.save(path)`."""
    try:
        saved = dict(np.load(path, allow_pickle=False))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} is no file that implicit's model.save wrote ({error}).") from None
    missing = [name for name in ("item_factors", "user_factors", "regularization") if name not in saved]
    if missing:
        raise DataError(
            f"{path} has no {missing[0]!r}; it holds {', '.join(sorted(saved))}. Save an "
            "AlternatingLeastSquares by model.save, or give other models as tables of vectors: --items "
            "and --users."
        )
    rule = ImplicitRule(float(saved["regularization"]), float(saved.get("alpha", 1.0)))
    items, users = (_float32(saved[f"{what}_factors"], str(path)) for what in ("item", "user"))
    return (
        Rows(item_ids, items, None, f"{path}, item_factors"),
        Rows(user_ids, users, None, f"{path}, user_factors"),
        rule,
    )


def _array(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as an array ({error}). Write it by numpy.save.") from None


def _float32(column: Array, name: str) -> F32:
    """Numbers of any shape as float32. Raises DataError with the name of what holds something else."""
    if column.dtype.kind not in "fiu":
        raise DataError(f"{name} must hold numbers, got {column.dtype}.")
    return np.ascontiguousarray(column, np.float32)


def make_content(
    data: Dataset,
    items: Rows,
    users: Rows | None,
    settings: RunSettings,
    *,
    rule: ImplicitRule | None = None,
    name: str = "imported",
) -> Content:
    """What `publish` writes of these vectors. data: the events by which people have histories, and all that
    is known of the items; ids that the vectors alone have are added. rule: of a model of implicit; None = the
    mean of a history.
    """
    if users is not None and users.vectors.shape[1] != items.vectors.shape[1]:
        raise DataError(
            f"{items.name} has vectors of {items.vectors.shape[1]} numbers and {users.name} of "
            f"{users.vectors.shape[1]}; a score is their inner product, so give those of one model."
        )
    data = _with_ids(data, () if users is None else users.ids, items.ids)
    placed = _place_rows(items.vectors, items.ids, data.item_ids)
    table = None if users is None else _place_rows(users.vectors, users.ids, data.user_ids)
    vectors, encoder = placed, _encoder(placed, table, rule, items.bias is not None)
    if items.bias is not None:
        vectors = np.hstack([placed, _place_rows(items.bias[:, None], items.ids, data.item_ids)])
    lineage = lineage_of(data) | {"imported": {"items": items.name, "users": users and users.name}}
    return content_of(
        name,
        Embeddings(np.ascontiguousarray(vectors), encoder),
        data,
        seen=settings.seen,
        fallback_days=settings.fallback_days,
        lineage=lineage,
        prepare=settings.prepare,
    )


def _encoder(items: F32, table: F32 | None, rule: ImplicitRule | None, biased: bool) -> Encoder:
    if rule is None:
        return Bag(items, table, unit=False, mean=True, level=1.0 if biased else None)
    gram = (items.astype(np.float64).T @ items).astype(np.float32)
    ridge: dict[str, Any] = {"regularization": rule.regularization, "unobserved_weight": 1.0, "exponent": 0.0}
    return Solve(items, gram, table, **ridge, confidence=rule.alpha)


def _place_rows(rows: F32, ids: Sequence[str], known: IdMap) -> F32:
    """float32 (len(known), dim): each row at the place of its id, zeros elsewhere."""
    IdMap.of(ids)  # refuses an id twice
    placed = np.zeros((len(known), rows.shape[1]), np.float32)
    placed[known.indices(list(ids))] = rows
    return placed


def _with_ids(data: Dataset, users: Sequence[str], items: Sequence[str]) -> Dataset:
    """The same data with users and items beside its own, of whom nothing is known."""
    new_users, new_items = (
        [one for one in ids if known.index(one) < 0]
        for ids, known in ((users, data.user_ids), (items, data.item_ids))
    )
    n_users, n_items = data.n_users + len(new_users), data.n_items + len(new_items)
    unknown = pa.table({column.name: pa.nulls(len(new_items), column.type) for column in data.items.schema})
    return replace(
        data,
        interactions=replace(data.interactions, n_users=n_users, n_items=n_items),
        whole=None if data.whole is None else replace(data.whole, n_users=n_users, n_items=n_items),
        user_ids=IdMap.of([*data.user_ids, *new_users]),
        item_ids=IdMap.of([*data.item_ids, *new_items]),
        items=pa.concat_tables([data.items, unknown]) if data.items.num_columns else data.items,
        item_features=None,
        user_features=None,
        item_rows=None,
        user_rows=None,
    )
