"""Short lists to rank instead of the whole catalogue: drawn at random, or published with the data.

They exist to stand beside published tables of the same protocol. A figure among sampled items says little
about the order over all items (Krichene and Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020).
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.arrays import I32, Array, Ragged, beside, distinct
from recsys.data.dataset import Dataset
from recsys.data.read.files import read_table
from recsys.errors import DataError
from recsys.seeding import generator

_AT_A_TIME = 4 << 20  # random numbers: 16 MiB


def drawn_candidates(data: Dataset, history: Ragged, targets: Ragged, count: int, seed: int) -> Ragged:
    """Rows of each user's targets and of `count` random items that they never had, without repetition.

    Where items have domains, only items of the domains of their targets are drawn; fewer than `count` where
    there are no more. Costs a random number for each user and item.
    """
    domain = _domains(data)
    rng = generator(seed, "drawn candidates")
    n_items = data.n_items
    size = max(1, _AT_A_TIME // n_items)
    parts = []
    for start in range(0, targets.rows, size):
        rows = np.arange(start, min(start + size, targets.rows))
        wanted, had = targets.take(rows), history.take(rows)
        asked = np.zeros((len(rows), int(domain.max()) + 1), bool)
        asked[wanted.row_of_value(), domain[wanted.values]] = True
        lot = rng.random((len(rows), n_items), np.float32)
        lot[~asked[:, domain]] = 2.0
        for gone in (wanted, had):
            lot[gone.row_of_value(), gone.values] = 2.0
        some = min(count, n_items)
        last = np.minimum(np.partition(lot, some - 1, axis=1)[:, some - 1], 1.0)
        row, item = np.nonzero(lot <= last[:, None])
        drawn = Ragged.from_pairs(row, item, len(rows))
        parts.append(
            drawn.keep(np.arange(len(row)) - drawn.offsets[row] < count)
        )  # the lot may draw equal numbers
    lengths = np.concatenate([part.lengths for part in parts])
    values = np.concatenate([part.values for part in parts])
    unseen = Ragged.from_pairs(np.repeat(np.arange(targets.rows), lengths), values, targets.rows)
    return distinct(beside(targets, unseen), n_items)


def _domains(data: Dataset) -> I32:
    """int32 (n_items,): a code for the domain of each item; items without one share a code of their own."""
    if "domain" not in data.items.column_names:
        return np.zeros(data.n_items, np.int32)
    encoded = data.items["domain"].combine_chunks().dictionary_encode(null_encoding="encode")
    codes: I32 = encoded.indices.to_numpy().astype(np.int32)
    return codes


def published_candidates(data: Dataset, user: I32, targets: Ragged) -> Ragged:
    """Rows of each user's targets and of the items published for them: columns user_id and negatives, a list
    of ids."""
    path = None if data.published is None else data.published.negatives
    if path is None:
        raise DataError(
            f"{data.name} has no published candidates. Put `test_negatives.parquet` (user_id, negatives) "
            f"in its folder, or draw some: split.candidates=99."
        )
    row, item = _negatives(data, path)
    listed = Ragged.from_pairs(row, item, data.n_users).take(user)
    if without := int((listed.lengths == 0).sum()):
        first = data.user_ids[int(user[np.argmax(listed.lengths == 0)])]
        raise DataError(
            f"{path}: {without:,} of {len(user):,} users to judge have no row, the first is {first!r}. "
            "Add them."
        )
    return distinct(beside(targets, listed), data.n_items)


def _negatives(data: Dataset, path: Path) -> tuple[Array, Array]:
    """User and item of each published candidate."""
    table = read_table(path, ["user_id"])
    for name in ("user_id", "negatives"):
        if name not in table.column_names:
            raise DataError(
                f"{path} has no column {name!r}; its columns are {', '.join(table.column_names)}."
            )
    lists = table["negatives"].combine_chunks()
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        raise DataError(
            f"column 'negatives' of {path} must hold lists of item ids; it holds {lists.type}. Convert it."
        )
    user = _indices(table["user_id"].cast(pa.string()).combine_chunks(), data.user_ids.indices)
    item = _indices(pc.list_flatten(lists).cast(pa.string()), data.item_ids.indices)
    row = user[pc.list_parent_indices(lists).to_numpy()]
    for name, index in (("user_id", row), ("negatives", item)):
        if unknown := int((index < 0).sum()):
            raise DataError(
                f"column {name!r} of {path}: {unknown:,} ids are not in {data.name}. Mend or drop them."
            )
    return row, item


def _indices(text: pa.Array, known: object) -> I32:
    encoded = text.dictionary_encode()
    assert callable(known)
    codes: I32 = known(encoded.dictionary.to_pylist())[encoded.indices.to_numpy()]
    return codes
