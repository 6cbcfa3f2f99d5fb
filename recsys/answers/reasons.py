"""Why an item was answered, in a sentence that is true: by a cause where shares are exact, else by what it is like."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from recsys.arrays import F32, I32, I64, Array
from recsys.bundle.bundle import Bundle
from recsys.encoders.encoder import FALLBACK
from recsys.encoders.users import Users

BECAUSE, LIKE, POPULAR, POPULAR_NOW = "because", "like", "popular", "popular_now"


class Reason(NamedTuple):
    """reason: a sentence, or None where there is no true one. reason_code: one of `because`, `like`, `popular` and
    `popular_now`, or None. because, like: the id of the item that the sentence names."""

    reason: str | None = None
    reason_code: str | None = None
    because: str | None = None
    like: str | None = None


NOTHING = Reason()


def reasons_of(bundle: Bundle, users: Users, ids: I64, source: int) -> list[Reason]:
    """A reason for each of the items (k,) answered to the one user from this source.

    From a history it is the item of it that adds most to the score. Where the encoder cannot share out a score exactly
    and none adds anything, it is the item of the history that is most like the answered one, which is not a cause.
    """
    if source == FALLBACK or not bundle.encoder.personal:
        return [_popular(bundle, int(item), source) for item in ids]
    if not len(users.history) or not len(ids):
        return [NOTHING] * len(ids)
    causes: list[int] = _adding_most(bundle, users, ids).tolist()
    likes = [-1] * len(ids) if bundle.encoder.explains else most_like(bundle, users, ids).tolist()
    pairs = [(cause, -1 if cause >= 0 else like) for cause, like in zip(causes, likes, strict=True)]
    named = [item for item in {item for pair in pairs for item in pair} if item >= 0]  # many name the same
    item_ids, titles = bundle.item_ids.take(named), bundle.catalogue.titles_of(named)
    names = {item: (id_, title or id_) for item, id_, title in zip(named, item_ids, titles, strict=True)}
    found = {pair: _of_history(names, *pair) for pair in {*pairs}}
    return [found[pair] for pair in pairs]


def most_like(bundle: Bundle, users: Users, ids: Array) -> I64:
    """int64 (k,): of the history of the one user, the item whose vector points most nearly the way of each of `ids`.

    By cosine; -1 where none has one above 0. Only what the encoder looks at counts, and was no "not this".
    """
    past = users.history.counting()
    items = np.unique(past.items.values[bundle.encoder.usable(past)])
    items = items[bundle.norms[items] > 0]
    if not len(items):
        return np.full(len(ids), -1)
    cosines = bundle.item_vectors[ids] @ (bundle.item_vectors[items] / bundle.norms[items, None]).T
    best = cosines.argmax(axis=1)
    return np.where(cosines[np.arange(len(ids)), best] > 0, items[best], -1).astype(np.int64)


def _adding_most(bundle: Bundle, users: Users, ids: I64) -> I64 | I32:
    """int (k,): of the history of the one user, the item that adds most to the score of each; -1 where none adds."""
    parts: F32 | None = bundle.recommender.ranker.contributions(users, ids)
    if parts is None:
        return np.full(len(ids), -1)
    order = users.history.items.values.argsort(kind="stable")
    items = users.history.items.values[order]
    first = np.concatenate([[True], items[1:] != items[:-1]]).nonzero()[0]
    summed = np.add.reduceat(parts[:, order], first, axis=1)  # an item that was had twice speaks with both
    best = summed.argmax(axis=1)
    return np.where(summed[np.arange(len(ids)), best] > 0, items[first[best]], -1)


def _of_history(names: Mapping[int, tuple[str, str]], cause: int, like: int) -> Reason:
    """names: the id of each item that may be named, and what people call it."""
    if cause >= 0:
        item_id, name = names[cause]
        return Reason(f"because of {name}", BECAUSE, because=item_id)
    if like >= 0:
        item_id, name = names[like]
        return Reason(f"like {name}", LIKE, like=item_id)
    return NOTHING


def _popular(bundle: Bundle, item: int, source: int) -> Reason:
    recent = source == FALLBACK and bool(bundle.popular_now[item])
    domain = bundle.catalogue.domain(item)
    words = ("popular now" if recent else "popular") + (f" in {domain}" if domain else "")
    return Reason(words, POPULAR_NOW if recent else POPULAR)
