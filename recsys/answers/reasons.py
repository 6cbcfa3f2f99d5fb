"""Why an item was answered, in a sentence that is true: by a cause where shares are exact, else by what it is
like."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import orjson

from recsys.arrays import F32, I64, Array
from recsys.bundle.bundle import Bundle
from recsys.encoders.encoder import FALLBACK
from recsys.encoders.users import Users

BECAUSE, LIKE, POPULAR, POPULAR_NOW = "because", "like", "popular", "popular_now"


class Reason(NamedTuple):
    """Why an item is answered, not yet in words. code: one of `because`, `like`, `popular` and `popular_now`,
    or None where there is no true sentence. item: that of the history which the sentence names, -1 = none.
    words: the sentence where it names none."""

    code: str | None = None
    item: int = -1
    words: str | None = None


class Sentence(NamedTuple):
    """A reason as it is told: the last four fields of a Suggestion."""

    reason: str | None = None
    reason_code: str | None = None
    because: str | None = None
    like: str | None = None


NOTHING = Reason()
NOTHING_JSON = orjson.dumps(Sentence()._asdict())[1:]
_OPENINGS = {BECAUSE: "because of", LIKE: "like"}
_NAMED = {
    BECAUSE: b'"reason":"because of %b,"reason_code":"because","because":%b,"like":null}',
    LIKE: b'"reason":"like %b,"reason_code":"like","because":null,"like":%b}',
}
# between these stands the id; quotes within an id are escaped
_ID, _TITLE = len(b'{"item_id":'), b',"title":'


def reasons_of(bundle: Bundle, users: Users, ids: I64, source: int) -> list[Reason]:
    """A reason for each of the items (k,) answered to the one user from this source.

    From a history it is the item of it that adds most to the score. Where the encoder cannot share out a
    score exactly and none adds anything, it is the item of the history that is most like the answered one,
    which is not a cause.
    """
    if source == FALLBACK or not bundle.encoder.personal:
        return [_popular(bundle, int(item), source) for item in ids]
    if not len(users.history) or not len(ids):
        return [NOTHING] * len(ids)
    causes = _adding_most(bundle, users, ids)
    alike = causes if bundle.encoder.explains else most_like(bundle, users, ids).tolist()
    return [
        Reason(BECAUSE, cause) if cause >= 0 else Reason(LIKE, like) if like >= 0 else NOTHING
        for cause, like in zip(causes, alike, strict=True)
    ]


def sentences(bundle: Bundle, reasons: Sequence[Reason]) -> list[Sentence]:
    """The reasons as sentences."""
    return [_sentence(bundle, reason) for reason in reasons]


def _sentence(bundle: Bundle, reason: Reason) -> Sentence:
    if reason.item < 0:
        return Sentence(reason.words, reason.code)
    item_id, code = bundle.item_ids[reason.item], str(reason.code)
    told = f"{_OPENINGS[code]} {bundle.name_of(reason.item)}"
    return Sentence(told, code, item_id if code == BECAUSE else None, item_id if code == LIKE else None)


def sentences_json(reasons: Sequence[Reason], named: Sequence[bytes]) -> list[bytes]:
    """Of each, the members of a JSON object that say it, and the object's end. named: the items that they
    name, as the bundle shows them."""
    return [_sentence_json(reason, text) for reason, text in zip(reasons, named, strict=True)]


def _sentence_json(reason: Reason, shown: bytes) -> bytes:
    """shown: of the item that it names, as in the bundle."""
    code, _, words = reason
    if not shown:
        return NOTHING_JSON if code is None else orjson.dumps(Sentence(words, code)._asdict())[1:]
    at = shown.index(_TITLE)
    item_id, title = shown[_ID:at], shown[at + len(_TITLE) :]
    return _NAMED[str(code)] % ((title if title != b"null" else item_id)[1:], item_id)


def ids_json(shown: Sequence[bytes]) -> bytes:
    """The ids, as a JSON array, of items that are shown like this in their bundle."""
    return b"[" + b",".join([text[_ID : text.index(_TITLE)] for text in shown]) + b"]"


def most_like(bundle: Bundle, users: Users, ids: Array) -> I64:
    """int64 (k,): of the history of the one user, the item whose vector points most nearly the way of each of
    `ids`.

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


def _adding_most(bundle: Bundle, users: Users, ids: I64) -> list[int]:
    """Of the history of the one user, the item that adds most to the score of each of `ids` (k,), -1 = none
    does."""
    parts: F32 | None = bundle.recommender.ranker.contributions(users, ids)
    if parts is None:
        return [-1] * len(ids)
    had = users.history.items.values.tolist()
    if len(set(had)) < len(had):  # an item that was had twice speaks with both
        items, place = np.unique(had, return_inverse=True)
        summed = np.zeros((len(ids), len(items)), np.float32)
        np.add.at(summed.T, place.ravel(), parts.T)
        had, parts = items.tolist(), summed
    best, most = parts.argmax(axis=1).tolist(), parts.max(axis=1).tolist()
    return [had[at] if share > 0 else -1 for at, share in zip(best, most, strict=True)]


def _popular(bundle: Bundle, item: int, source: int) -> Reason:
    recent = source == FALLBACK and bool(bundle.popular_now[item])
    domain = bundle.catalogue.domain(item)
    words = ("popular now" if recent else "popular") + (f" in {domain}" if domain else "")
    return Reason(POPULAR_NOW if recent else POPULAR, words=words)
