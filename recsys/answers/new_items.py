"""Items that came after training: their vectors from their features, and a bundle in which they are
retrieved."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsys.answers.person import table_of
from recsys.answers.question import MAX_K, Suggestion
from recsys.answers.similar import nearest
from recsys.arrays import F32
from recsys.bundle.bundle import Bundle
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.encoders.cells import WrongValueError
from recsys.errors import DataError, RequestError
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 14  # items encoded at a time


def encoded_items(bundle: Bundle, described: "pa.Table", progress: Progress = silent) -> F32:
    """float32 (n, dim), in the space of the bundle's item vectors, for items with these columns
    (docs/features.md).

    Raises RequestError where the model has no item encoder or learned from none of the columns,
    WrongValueError on a value that is not of its declared kind.
    """
    encoder = bundle.item_encoder
    if encoder is None:
        raise RequestError(
            f"bundle {bundle.bundle_id} ({bundle.manifest['name']}) has no item encoder and cannot place "
            "new items. Serve a two_tower or fasttext model with item_features, alone or as a part of a "
            "mixture.",
            code="no_item_encoder",
        )
    if not set(encoder.columns) & set(described.column_names):
        raise RequestError(
            f"new items need at least one of the columns that the model learned from "
            f"({', '.join(encoder.columns)}); there are {', '.join(described.column_names) or 'none'}."
        )
    n = described.num_rows
    vectors = np.zeros((n, bundle.item_vectors.shape[1]), np.float32)
    for start in range(0, n, _BLOCK):
        block = described.slice(start, _BLOCK)
        try:
            vectors[start : start + len(block)] = encoder.encode(block)
        except WrongValueError as error:
            row = start + error.row
            raise error.at(f"row {row + 1}", row) from None
        progress(Step("encoding items", start + len(block), n))
    return vectors


class Placed(NamedTuple):
    """A new item's vector, float32 (dim,), and the known items nearest to it."""

    vector: F32
    similar: list[Suggestion]


def place_items(bundle: Bundle, rows: Sequence[Mapping[str, Any]], k: int = 0) -> list[Placed]:
    """The vectors of items with these features, each {column: value}, and the k known items nearest to each.

    Raises RequestError as `encoded_items`, on values that cannot be read, and on a k out of range.
    """
    if not 0 <= k <= MAX_K:
        raise RequestError(f"k must be between 0 and {MAX_K}, got {k}.")
    try:
        vectors = encoded_items(bundle, table_of(rows))
    except DataError as error:
        raise RequestError(str(error)) from None
    return [Placed(vector, nearest(bundle, vector, k) if k else []) for vector in vectors]


class Extended(NamedTuple):
    """content: of the bundle with more items. added: how many are new; kept: how many it had and keeps as
    they are."""

    content: Content
    added: int
    kept: int


def with_items(
    bundle: Bundle,
    ids: Sequence[str],
    catalogue: "pa.Table",
    described: "pa.Table",
    progress: Progress = silent,
) -> Extended:
    """The content of `bundle` with further items, each at the place that its features give it.

    ids: n distinct. catalogue: n rows to show and filter by (title, domain, categories). described: n rows to
    encode. The space, its users and their encoder stay the same: a click on a new item counts by its own
    vector where the encoder solves for the person, else as one on the learned item most like it. In the
    popularity fallback the new ones stand last. Raises as `encoded_items`.
    """
    fresh = np.flatnonzero(bundle.item_ids.indices(ids) < 0)
    try:
        vectors = encoded_items(bundle, described.take(fresh), progress)
    except WrongValueError as error:
        row = int(fresh[error.row])
        raise error.at(f"row {row + 1}", row) from None
    items = np.concatenate([bundle.item_vectors, vectors])
    new = np.arange(len(bundle.item_vectors), len(items), dtype=np.int32)
    lineage = dict(bundle.manifest["lineage"])
    lineage["added_items"] = [*lineage.get("added_items", []), {"to": bundle.bundle_id, "count": len(new)}]
    content = replace(
        bundle.content(),
        embeddings=Embeddings(items, bundle.encoder, bundle.item_encoder),
        item_ids=bundle.item_ids.with_ids([ids[int(row)] for row in fresh]),
        catalogue=bundle.catalogue.followed_by(Catalogue.of(catalogue.take(fresh))),
        fallback=np.concatenate([bundle.recommender.fallback, new]),
        lineage=lineage,
    )
    return Extended(content, len(new), len(ids) - len(new))
