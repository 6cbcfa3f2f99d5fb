"""The items nearest to an item, to a sum of items and categories, or to a vector, of a bundle."""

import time
from collections.abc import Sequence

import numpy as np

from recsys.answers.person import items_of_domain
from recsys.answers.question import MAX_K, Suggestion
from recsys.arrays import F32, I32, Ragged
from recsys.bundle.bundle import Bundle
from recsys.errors import RequestError
from recsys.retrieval.ranker import best_allowed

CATEGORY = "category:"
_NOTHING = 1e-4  # a length below which a sum of unit vectors points nowhere


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


def combine_items(
    bundle: Bundle, plus: Sequence[str], minus: Sequence[str], k: int, domain: str | None = None
) -> list[Suggestion]:
    """The k items nearest to a sum of vectors: what is like `plus` and unlike `minus`, by cosine.

    Each is the id of an item, or `category:NAME`, which is the mean of the items of that category; all are
    brought to length 1 first. `["king", "woman"], ["man"]` is the analogy of the literature. The items that
    are named do not come. Raises RequestError where one has no vector, or the sum is none. Source: Mikolov,
    Yih, Zweig, "Linguistic Regularities in Continuous Space Word Representations", NAACL 2013.
    """
    if not 1 <= k <= MAX_K:
        raise RequestError(f"k must be between 1 and {MAX_K}, got {k}.")
    if not plus:
        raise RequestError("name at least one item or category to begin with.")
    total, named = np.zeros(bundle.item_vectors.shape[1], np.float32), list[int]()
    for sign, names in ((1, plus), (-1, minus)):
        for name in names:
            rows = _rows_of(bundle, name)
            mean = (bundle.item_vectors[rows] / bundle.norms[rows, None]).mean(axis=0)
            total += np.float32(sign / max(float(np.linalg.norm(mean)), 1e-12)) * mean
            named += rows.tolist() if not name.startswith(CATEGORY) else []
    if float(np.linalg.norm(total)) < _NOTHING:
        raise RequestError(
            "what is added and taken away comes to nothing, so nothing is near it. Name other items."
        )
    return nearest(bundle, total, k, named, None if domain is None else items_of_domain(bundle, domain))


def _rows_of(bundle: Bundle, name: str) -> I32:
    """int32 (n,): the item of an id, or the items of a category, as far as they have vectors. Raises
    RequestError where there is none."""
    if not name.startswith(CATEGORY):
        item = bundle.item_ids.index(name)
        rows = np.array([item] if item >= 0 else [], np.int32)
    else:
        word, catalogue = name.removeprefix(CATEGORY), bundle.catalogue
        rows = np.array(
            [item for item in range(len(catalogue)) if word in catalogue.categories(item)], np.int32
        )
    rows = rows[bundle.norms[rows] > 0]
    if not len(rows):
        raise RequestError(
            f"{name!r} has no vector in bundle {bundle.bundle_id}; name an item or `{CATEGORY}NAME`."
        )
    return rows


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
