"""The items nearest to an item, or to a vector, of a bundle."""

import time
from collections.abc import Sequence

import numpy as np

from recsys.answers.person import items_of_domain
from recsys.answers.question import MAX_K, Suggestion
from recsys.arrays import F32, I32, Ragged
from recsys.bundle.bundle import Bundle
from recsys.errors import RequestError
from recsys.retrieval.ranker import best_allowed


def similar(bundle: Bundle, item_id: str, k: int, domain: str | None = None) -> list[Suggestion]:
    """The k items, of a domain if one is named, whose vectors point most nearly the same way (cosine).

    Raises RequestError without a vector, and on a domain that the bundle does not have.
    """
    if not 1 <= k <= MAX_K:
        raise RequestError(f"k must be between 1 and {MAX_K}, got {k}.")
    item = bundle.item_ids.index(item_id)
    if item < 0 or not bundle.norms[item]:
        raise RequestError(
            f"item {item_id!r} has no vector in bundle {bundle.bundle_id}; ask for one it was trained on.",
            code="unknown_item",
        )
    if not bundle.encoder.personal:
        raise RequestError(
            f"bundle {bundle.bundle_id} holds popularity, which has no similar items; serve another model.",
            code="no_similar_items",
        )
    inside = None if domain is None else items_of_domain(bundle, domain)
    return nearest(bundle, bundle.item_vectors[item], k, [item], inside)


def nearest(
    bundle: Bundle, vector: F32, k: int, without: Sequence[int] = (), among: I32 | None = None
) -> list[Suggestion]:
    """The k items whose vectors point most nearly the way of `vector` float32 (dim,), by cosine.

    among: int32, the only items to consider; None = all.
    """
    unit = vector / np.float32(max(float(np.linalg.norm(vector)), 1e-12))
    lengths = bundle.norms.copy()
    lengths[lengths == 0] = np.inf
    cosines = np.asarray(bundle.item_vectors @ unit / lengths, np.float32)[None]
    ids, scores = best_allowed(
        cosines,
        k,
        Ragged.of([without]),
        None if among is None else Ragged.of([among]),
        bundle.recommender.available_at(int(time.time())),
    )
    return [
        Suggestion(bundle.item_ids[other], float(score), bundle.catalogue.title(int(other)))
        for other, score in zip(ids[0], scores[0], strict=True)
        if other >= 0
    ]
