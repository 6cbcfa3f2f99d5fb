"""One question of one person, in outside terms, to one answer with titles and reasons.

The service, `recsys recommend` and the demo all answer through `respond`: ids are translated here and nowhere else.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from recsys.arrays import F32, I32, Array, Histories, Ragged
from recsys.errors import DataError, RequestError
from recsys.retrieval.bundle import Bundle
from recsys.retrieval.features import table_of
from recsys.retrieval.merge import merged
from recsys.retrieval.ranker import FALLBACK, FEATURES, SOURCES, USER_ROW, best_allowed
from recsys.retrieval.seen import SeenPolicy
from recsys.retrieval.users import Users

MAX_K = 1_000


Reason = tuple[str | None, str | None]  # the sentence, and the id of the item that it names


class Event(NamedTuple):
    """Something the person did: an item, when (unix seconds), and of what type (view, buy ...), as far as known."""

    item_id: str
    timestamp: int | None = None
    event: str | None = None


@dataclass(frozen=True)
class Question:
    """Who asks, and for what. deny, allow: item ids to leave out, or the only ones to consider. domain: likewise.

    features: what is known of the person now, by the names of the columns that the model learned from, in place of what
    is stored; other names, and models without such columns, ignore it.
    now: unix seconds at which a seen policy that counts days looks; None = the clock.
    """

    user_id: str | None = None
    history: Sequence[Event] = ()
    k: int = 10
    domain: str | None = None
    deny: Sequence[str] = ()
    allow: Sequence[str] | None = None
    now: int | None = None
    features: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Suggestion:
    """An item to show. reason: a sentence, or None where there is no true one; because: the item that it names."""

    item_id: str
    score: float
    title: str | None
    reason: str | None
    because: str | None = None


@dataclass(frozen=True)
class Reply:
    """source: known, history, features or fallback; why: the same in a sentence.

    ignored: ids that the bundle lacks or never learned, and those of brought events of a type that training left out.
    """

    source: str
    why: str
    items: list[Suggestion]
    ignored: list[str] = field(default_factory=list)


def respond(bundle: Bundle, question: Question) -> Reply:
    """The answer to a question. Nobody is unknown. Raises RequestError on an unknown domain, a k out of range, or a
    feature that is not what the model learned from."""
    if not 1 <= question.k <= MAX_K:
        raise RequestError(f"k must be between 1 and {MAX_K}, got {question.k}.")
    ignored: list[str] = []
    brought = _usable(bundle, question.history, ignored)
    users, stored = _person(bundle, question, brought)
    deny = Ragged.of([[item for item in _translated(bundle, question.deny, []) if item >= 0]])
    try:
        answer = bundle.recommender.recommend(users, question.k, deny=deny, among=_among(bundle, question, ignored))
    except DataError as error:  # of the features: all else is checked
        raise RequestError(str(error)) from None
    ids, source = answer.ids[0][answer.ids[0] >= 0], int(answer.source[0])
    popular = source == FALLBACK or bundle.manifest["kind"] == "constant"
    reasons = [_popular(bundle, item, source) for item in ids] if popular else _causes(bundle, users, ids)
    items = [
        Suggestion(bundle.item_ids[item], float(score), bundle.catalogue.title(int(item)), *reason)
        for item, score, reason in zip(ids, answer.scores[0], reasons, strict=False)
    ]
    return Reply(SOURCES[source], _why(bundle, question, stored, len(users.history.values), source), items, ignored)


def similar(bundle: Bundle, item_id: str, k: int) -> list[Suggestion]:
    """The k items whose vectors point most nearly the same way (cosine). Raises RequestError without a vector."""
    if not 1 <= k <= MAX_K:
        raise RequestError(f"k must be between 1 and {MAX_K}, got {k}.")
    item = bundle.item_ids.index(item_id)
    if item < 0 or not bundle.norms[item]:
        raise RequestError(
            f"item {item_id!r} has no vector in bundle {bundle.bundle_id}; ask for one it was trained on.",
            code="unknown_item",
        )
    if bundle.manifest["kind"] == "constant":
        raise RequestError(
            f"bundle {bundle.bundle_id} holds popularity, which has no similar items; serve another model.",
            code="no_similar_items",
        )
    return nearest(bundle, bundle.item_vectors[item], k, [item])


def nearest(bundle: Bundle, vector: F32, k: int, without: Sequence[int] = ()) -> list[Suggestion]:
    """The k items whose vectors point most nearly the way of `vector` float32 (dim,), by cosine."""
    unit = vector / np.float32(max(float(np.linalg.norm(vector)), 1e-12))
    lengths = bundle.norms.copy()
    lengths[lengths == 0] = np.inf
    cosines = np.asarray(bundle.item_vectors @ unit / lengths, np.float32)[None]
    ids, scores = best_allowed(cosines, k, Ragged.of([without]), None, bundle.recommender.available)
    return [
        Suggestion(bundle.item_ids[other], float(score), bundle.catalogue.title(int(other)), None)
        for other, score in zip(ids[0], scores[0], strict=True)
        if other >= 0
    ]


def _translated(bundle: Bundle, ids: Sequence[str], ignored: list[str]) -> I32:
    """int32 (n,) indices; the ids without one are added to `ignored`."""
    found = bundle.item_ids.indices(ids)
    ignored.extend(id_ for id_, index in zip(ids, found, strict=True) if index < 0)
    return found


def _usable(bundle: Bundle, events: Sequence[Event], ignored: list[str]) -> I32:
    """int32 (n,) the items of the events, -1 for what no encoder can use; the ids of those are added to `ignored`.

    That is an item without index or vector, and an event of a type that training left out.
    """
    found = _translated(bundle, [event.item_id for event in events], ignored)
    weights = bundle.event_weights
    idle = np.array([weights.get(event.event or "", 1.0) == 0 for event in events], bool)
    if bundle.recommender.available is not None:
        idle |= ~bundle.recommender.available[found]
    idle &= found >= 0
    ignored.extend(events[int(row)].item_id for row in np.flatnonzero(idle))
    found[idle] = -1
    return found


def _person(bundle: Bundle, question: Question, brought: I32) -> tuple[Users, int]:
    """The person as one row of Users, and how many stored events he has.

    Stored and brought events are merged by time; a brought event that is stored already does not count again. Whoever
    brings events is marked as fresh, so that they count.
    """
    index = bundle.user_ids.index(question.user_id) if question.user_id is not None else -1
    past = _stored(bundle, index)
    stored = len(past.items.values)
    now = int(time.time()) if question.now is None else question.now
    fresh = np.flatnonzero(brought >= 0)
    if len(fresh):
        assert past.time is not None
        asked = [question.history[int(at)] for at in fresh]
        dated = [event.timestamp for event in question.history if event.timestamp is not None]
        last = max([int(past.time.max(initial=0)), *dated])  # events without a time happened after all that have one
        undated = max(last, now) if isinstance(bundle.recommender.seen, SeenPolicy) else last
        types, weights = {name: code for code, name in enumerate(bundle.event_names)}, bundle.event_weights
        new = Histories(
            Ragged.of([brought[fresh]]),
            np.array([undated if event.timestamp is None else event.timestamp for event in asked], np.int64),
            np.array([weights.get(event.event or "", 1.0) for event in asked], np.float32),
            np.array([types.get(event.event or "", -1) for event in asked], np.int8),
        )
        past = merged(past, new, bundle.duplicates)
    person = Users(
        np.array([index], np.int32),
        past.items,
        time=None if bundle.history_time is None else past.time,
        weight=past.weight if bundle.weighted else None,
        event=None if bundle.history_event is None else past.event,
        now=np.array([now], np.int64),
        features=_features(question),
        fresh=np.array([len(fresh) > 0]),
    )
    return person, stored


def _features(question: Question) -> pa.Table | None:
    """One row of what the question says of the person."""
    return table_of([question.features]) if question.features else None


def _stored(bundle: Bundle, index: int) -> Histories:
    """What the bundle has of a user, one row with every column: time -1, weight 1 and type -1 where it has none."""
    past = bundle.past.take(np.array([index])) if index >= 0 else Histories(Ragged.empty(1))
    n = len(past.items.values)
    return Histories(
        past.items,
        np.full(n, -1, np.int64) if past.time is None else past.time,
        np.ones(n, np.float32) if past.weight is None else past.weight,
        np.full(n, -1, np.int8) if past.event is None else past.event,
    )


def _among(bundle: Bundle, question: Question, ignored: list[str]) -> Ragged | None:
    """The only items to consider, or None for all."""
    allowed: Array | None = None
    if question.allow is not None:
        found = _translated(bundle, question.allow, ignored)
        allowed = np.unique(found[found >= 0])
    if question.domain is not None:
        domains = bundle.catalogue.domains
        if question.domain not in domains:
            known = ", ".join(sorted(domains)) or "none"
            raise RequestError(
                f"domain {question.domain!r} is not in this bundle; its domains are: {known}.", code="unknown_domain"
            )
        inside = domains[question.domain]
        allowed = inside if allowed is None else np.intersect1d(allowed, inside)
    return None if allowed is None else Ragged.of([allowed])


def _causes(bundle: Bundle, users: Users, ids: Array) -> list[Reason]:
    """For each answered item the one of the history that adds most to its score; nothing where none adds anything."""
    nothing: list[Reason] = [(None, None)] * len(ids)
    if not len(users.history.values) or not len(ids):
        return nothing
    parts: F32 | None = bundle.recommender.ranker.contributions(users, ids)
    if parts is None:
        return nothing
    items, event = np.unique(users.history.values, return_inverse=True)
    summed = np.zeros((len(items), len(ids)), np.float32)
    np.add.at(summed, event, parts.T)  # an item that was had twice speaks with both
    best = summed.argmax(axis=0)
    return [_because(bundle, int(items[at])) if summed[at, row] > 0 else (None, None) for row, at in enumerate(best)]


def _because(bundle: Bundle, item: int) -> Reason:
    return f"because of {bundle.catalogue.title(item) or bundle.item_ids[item]}", bundle.item_ids[item]


def _popular(bundle: Bundle, item: int, source: int) -> Reason:
    recent = source == FALLBACK and bool(bundle.popular_now[item])
    domain = bundle.catalogue.domain(int(item))
    return ("popular now" if recent else "popular") + (f" in {domain}" if domain else ""), None


def _why(bundle: Bundle, question: Question, stored: int, used: int, source: int) -> str:
    """One sentence on where the answer comes from."""
    if question.user_id is None:
        person = "No user id"
    elif bundle.user_ids.index(question.user_id) < 0:
        person = f"User {question.user_id!r} is not in this bundle"
    else:
        person = f"User {question.user_id!r} has {stored} stored events"
    if source == FALLBACK:
        days = bundle.manifest["fallback"]["days"]
        window = f"in the last {days:g} days" if days is not None else "of all time"
        return f"{person}, and there is no usable history: these are the most popular items {window}."
    if bundle.manifest["kind"] == "constant":
        return f"{person}: this bundle holds popularity, the same list for everyone."
    if source == FEATURES:
        return f"{person}: answered from what is known of the person."
    brought = ", those of the request among them" if question.history else ""
    if source == USER_ROW and not (brought and used > stored):
        return f"{person}: answered from the vector learned for this user."
    if source == USER_ROW:
        return f"{person}: answered from the vector learned for this user and a history of {used} events{brought}."
    return f"{person}: answered from a history of {used} events{brought}."
