"""Why an item was answered, in a sentence that is true: by a cause where shares are exact, else by what it is like."""

from typing import NamedTuple

import numpy as np
import orjson

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
_NOBODY: dict[str, str] = {"item_id": "", "title": ""}


def reasons_of(bundle: Bundle, users: Users, ids: I64, source: int) -> list[Reason]:
    """A reason for each of the items (k,) answered to the one user from this source.

    From a history it is the item of it that adds most to the score. Where the encoder cannot share out a score exactly
    and none adds anything, it is the item of the history that is most like the answered one, which is not a cause.
    """
    if source == FALLBACK or not bundle.encoder.personal:
        return [_popular(bundle, int(item), source) for item in ids]
    if not len(users.history) or not len(ids):
        return [NOTHING] * len(ids)
    named = causes = _adding_most(bundle, users, ids)
    if not bundle.encoder.explains:
        named = np.where(causes >= 0, causes, most_like(bundle, users, ids))
    texts = bundle.shown.take_bytes(named)
    shown = [orjson.loads(text + b"}") if text else _NOBODY for text in texts]
    rows = zip(causes.tolist(), named.tolist(), shown, strict=True)
    return [_of_history(cause, like, one["item_id"], one["title"] or one["item_id"]) for cause, like, one in rows]


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
    summed, again = parts[:, order], items[1:] == items[:-1]
    if again.any():  # an item that was had twice speaks with both
        first = np.flatnonzero(np.concatenate([[True], ~again]))
        summed, items = np.add.reduceat(summed, first, axis=1), items[first]
    best = summed.argmax(axis=1)
    return np.where(summed[np.arange(len(best)), best] > 0, items[best], -1)


def _of_history(cause: int, named: int, item_id: str, name: str) -> Reason:
    """cause, named: the item that adds most to the score, and that which is named, -1 = none. item_id, name: its id,
    and what people call it."""
    if cause >= 0:
        return Reason(f"because of {name}", BECAUSE, because=item_id)
    return Reason(f"like {name}", LIKE, like=item_id) if named >= 0 else NOTHING


def _popular(bundle: Bundle, item: int, source: int) -> Reason:
    recent = source == FALLBACK and bool(bundle.popular_now[item])
    domain = bundle.catalogue.domain(item)
    words = ("popular now" if recent else "popular") + (f" in {domain}" if domain else "")
    return Reason(words, POPULAR_NOW if recent else POPULAR)
