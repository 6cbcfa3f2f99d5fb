"""The person behind a question as a row of users: stored and brought events as one history, rules as rows of
items."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.answers.question import Event, Question
from recsys.arrays import F32, I32, I64, Array, Bool, Ragged
from recsys.bundle.bundle import Bundle
from recsys.encoders.users import Users
from recsys.errors import RequestError
from recsys.history import Histories, merged
from recsys.retrieval.seen import SeenPolicy

if TYPE_CHECKING:
    import pyarrow as pa


def stored_users(bundle: Bundle, rows: Array, now: int | None = None) -> Users:
    """The known users of these rows (n,) as a request with nothing but their id would see them.

    now: unix seconds for a seen policy that counts days; None = the clock.
    """
    moment = int(time.time()) if now is None else now
    return Users.of_rows(rows, bundle.histories.take(rows), np.full(len(rows), moment, np.int64))


def indices_of(bundle: Bundle, ids: Sequence[str], ignored: list[str]) -> I32:
    """int32 (n,) indices; the ids without one are added to `ignored`."""
    indices = bundle.item_ids.indices(ids)
    ignored.extend(id_ for id_, index in zip(ids, indices, strict=True) if index < 0)
    return indices


def usable_items(bundle: Bundle, events: Sequence[Event], ignored: list[str]) -> I32:
    """int32 (n,) the items of the events, -1 for those without index or vector.

    The ids of what no encoder can use are added to `ignored`: of those, and of events of a type that training
    left out, which were had all the same.
    """
    if not events:
        return np.empty(0, np.int32)
    items = indices_of(bundle, [event.item_id for event in events], ignored)
    idle, nowhere = ~_find_telling(bundle, events), np.zeros(len(events), bool)
    if bundle.recommender.available is not None:
        nowhere = ~bundle.recommender.available[items]
    ignored.extend(events[int(row)].item_id for row in np.flatnonzero((idle | nowhere) & (items >= 0)))
    items[nowhere] = -1
    return items


def _find_telling(bundle: Bundle, events: Sequence[Event]) -> Bool:
    """bool (n,): the events of a request that say something of the taste, by the weights of their types."""
    weights = _weights(bundle, events)
    return weights != 0 if "dislikes" in bundle.encoder.needs else weights > 0


def _weights(bundle: Bundle, events: Sequence[Event]) -> F32:
    """float32 (n,): the weights of the events of a request, by their types."""
    return np.array([bundle.event_weights.get(event.event or "", 1.0) for event in events], np.float32)


def person_of(bundle: Bundle, question: Question, brought: I32) -> tuple[Users, int]:
    """The person as one row of Users, and how many stored events they have.

    Stored and brought events are merged by time; a brought event that is stored already does not count again.
    Whoever brings events to learn from is marked as fresh, so that they count.
    """
    index = bundle.user_ids.index(question.user_id) if question.user_id is not None else -1
    past = bundle.histories.row(index) if index >= 0 else bundle.histories.empty(1)
    stored = len(past)
    now = int(time.time()) if question.now is None else question.now
    fresh = None
    if len(brought) and len(usable := np.flatnonzero(brought >= 0)):
        past = merged(past, _read_brought(bundle, question, brought, usable, past, now), bundle.duplicates)
        fresh = np.array([_find_telling(bundle, [question.events[int(at)] for at in usable]).any()])
    person = Users(
        np.array([index], np.int32),
        past,
        np.array([now], np.int64),
        _features(question),
        domain_of(bundle, question),
        fresh=fresh,
    )
    return person, stored


def unlearned_items(bundle: Bundle, users: Users, brought: I32) -> list[str]:
    """The ids of brought items (n,) that the encoder does not look at, such as those that were added after
    training."""
    if not len(brought):
        return []
    items, usable = users.history.items.values, bundle.encoder.usable(users.history)
    return [
        bundle.item_ids[int(item)] for item in np.intersect1d(brought, np.setdiff1d(items, items[usable]))
    ]


def _read_brought(
    bundle: Bundle, question: Question, items: I32, usable: I64, past: Histories, now: int
) -> Histories:
    """One row of the events of the question that are `usable`; items: int32 (n,), the item of each of its
    events.

    Those without a time happened after all that have one; under a seen policy that counts days not before
    now.
    """
    dated = [event.timestamp for event in question.events if event.timestamp is not None]
    last = max([0 if past.time is None else int(past.time.max(initial=0)), *dated, 0])
    undated = max(last, now) if isinstance(bundle.recommender.seen, SeenPolicy) else last
    types = {name: code for code, name in enumerate(bundle.event_names)}
    events = [question.events[int(at)] for at in usable]
    return Histories(
        Ragged.of([items[usable]]),
        time=np.array(
            [undated if event.timestamp is None else event.timestamp for event in events], np.int64
        ),
        weight=_weights(bundle, events) if bundle.weighted else None,
        event=np.array([types.get(event.event or "", -1) for event in events], np.int8),
    )


def _features(question: Question) -> "pa.Table | None":
    """One row of features, from those that the question brings."""
    return table_of([question.features]) if question.features else None


def domain_of(bundle: Bundle, question: Question) -> I32 | None:
    """int32 (1,): the code of the domain asked for. Raises RequestError where the bundle does not have it."""
    if question.domain is None:
        return None
    items_of_domain(bundle, question.domain)
    return np.array([bundle.domains.index(question.domain)], np.int32)


def items_of_domain(bundle: Bundle, domain: str) -> I32:
    """int32, ascending: the items of a domain. Raises RequestError where the bundle does not have it."""
    if domain not in bundle.domains:
        known = ", ".join(sorted(bundle.domains)) or "none"
        raise RequestError(
            f"domain {domain!r} is not in this bundle; its domains are: {known}.", code="unknown_domain"
        )
    return bundle.catalogue.domains[domain]


def items_to_consider(bundle: Bundle, question: Question, ignored: list[str]) -> Ragged | None:
    """The item indices that the question restricts the answer to, as one row; None = all items."""
    allowed: Array | None = None
    if question.allow is not None:
        items = indices_of(bundle, question.allow, ignored)
        allowed = np.unique(items[items >= 0])
    if question.domain is not None:
        inside = items_of_domain(bundle, question.domain)
        allowed = inside if allowed is None else np.intersect1d(allowed, inside)
    if allowed is None:
        return None
    # no copy: a rule over many items is known by its array
    return Ragged(np.array([0, len(allowed)]), allowed)


def table_of(rows: Sequence[Mapping[str, Any]]) -> "pa.Table":
    """Raw columns from rows of a request, each {column: value}. Raises RequestError on values of mixed
    kinds."""
    import pyarrow as pa  # heavy, and most questions have no features

    names = dict.fromkeys(name for row in rows for name in row)
    try:
        return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    except (pa.ArrowException, OverflowError) as error:
        raise RequestError(
            f"features cannot be read: {error}. Send numbers, texts, or lists of one of them."
        ) from None
