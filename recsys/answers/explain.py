"""Why a user gets an item, or does not: its rank, its score, and what of the history spoke for it."""

import time
from dataclasses import dataclass, field

import numpy as np

from recsys.answers.person import stored_users
from recsys.answers.reasons import most_like
from recsys.arrays import F32
from recsys.bundle.bundle import Bundle
from recsys.encoders.encoder import FALLBACK, SOURCES
from recsys.encoders.users import Users


@dataclass(frozen=True)
class Share:
    """An item of the history and what it adds to the score. times: how often the history holds it."""

    item_id: str
    title: str | None
    share: float
    times: int


@dataclass(frozen=True)
class Explanation:
    """Why a user gets an item, or why not.

    rank: from 1, among `ranked` items that the rules allow this user, or None with `not_because` in a word
    (`unknown`, `no vector`, `unavailable`, `disliked`, `seen`, `rules`) and `why` in a sentence. score: None
    where the model gives none. shares: biggest first, empty where the model cannot say. exact: whether they
    sum to the score; else they come from the parts of a mixture that can say. like: where shares are not
    exact, the item of the history that is most like this one, which is not a cause.
    """

    user_id: str
    item_id: str
    title: str | None
    source: str
    rank: int | None
    ranked: int
    score: float | None
    not_because: str | None
    why: str
    shares: list[Share] = field(default_factory=list)
    exact: bool = False
    like: str | None = None


def explain(bundle: Bundle, user_id: str, item_id: str, *, now: int | None = None) -> Explanation:
    """Why this user gets this item. A user or an item that the bundle lacks is an answer, not an error.

    The rank is the place in the whole list that `recommend` gives, so it costs one sort of the catalogue.
    """
    row, item = bundle.user_ids.index(user_id), bundle.item_ids.index(item_id)
    users = (
        stored_users(bundle, np.array([row]), now)
        if row >= 0
        else Users.unknown(
            bundle.histories.empty(1), np.array([int(time.time()) if now is None else now], np.int64)
        )
    )
    answer = bundle.recommender.exactly().recommend(users, bundle.recommender.n_items)
    source, ranked = int(answer.source[0]), int((answer.ids[0] >= 0).sum())
    places = np.flatnonzero(answer.ids[0] == item) if item >= 0 else np.empty(0, np.int64)
    rank = int(places[0]) + 1 if len(places) else None
    told = item >= 0 and source != FALLBACK and len(users.history) > 0 and bundle.norms[item] > 0
    shares = _shares(bundle, users, item) if told else []
    exact = bool(shares) and bundle.encoder.explains
    score = sum(share.share for share in shares) if exact else None
    if rank is not None:
        score = float(answer.scores[0, rank - 1])
    inexact = told and bundle.encoder.personal and not bundle.encoder.explains
    like = int(most_like(bundle, users, np.array([item]))[0]) if inexact else -1
    word, why = _explain_rank(bundle, users, user_id, item_id, item, rank, ranked, source)
    title = bundle.catalogue.title(item) if item >= 0 else None
    said = (SOURCES[source], rank, ranked, score, word, why, shares, exact)
    return Explanation(user_id, item_id, title, *said, bundle.item_ids[like] if like >= 0 else None)


def _shares(bundle: Bundle, users: Users, item: int) -> list[Share]:
    """What each distinct item of the history adds to the score, the largest first; empty where the model
    cannot say."""
    parts: F32 | None = bundle.recommender.ranker.contributions(users, np.array([item]))
    if parts is None:
        return []
    used = bundle.encoder.usable(users.history)
    history = users.history.items.values[used]
    distinct, place, times = np.unique(history, return_inverse=True, return_counts=True)
    summed = np.bincount(place.ravel(), parts[0][used], minlength=len(distinct))
    order = np.argsort(-summed, kind="stable")
    return [
        Share(bundle.item_ids[int(one)], bundle.catalogue.title(int(one)), float(share), int(count))
        for one, share, count in zip(distinct[order], summed[order], times[order], strict=True)
    ]


def _explain_rank(
    bundle: Bundle,
    users: Users,
    user_id: str,
    item_id: str,
    item: int,
    rank: int | None,
    ranked: int,
    source: int,
) -> tuple[str | None, str]:
    """A code for what keeps the item out, None where nothing does, and a sentence."""
    if item < 0:
        return (
            "unknown",
            f"Item {item_id!r} is not in this bundle: train on data that hold it, and export again.",
        )
    name = bundle.name_of(item)
    available = bundle.recommender.available
    if rank is None and available is not None and not available[item]:
        return "no vector", f"{name} has no vector: nobody had it in the training data, so nobody gets it."
    assert users.now is not None
    allowed = bundle.recommender.available_at(int(users.now[0]))
    if rank is None and allowed is not None and not allowed[item]:
        return "unavailable", f"{name} is hidden, or not to be had now: nobody gets it."
    past = users.history
    if rank is None and past.weight is not None and item in past.items.values[past.weight < 0]:
        return "disliked", f"User {user_id!r} said that {name} is not for them: it never comes again."
    if rank is None and item in users.history.items.values:
        return "seen", f"{name} is in the history of user {user_id!r}, and the seen policy keeps it out."
    if rank is None:
        return "rules", f"{name} is kept out by the rules of this bundle."
    place = f"{name} is number {rank:,} of the {ranked:,} items that user {user_id!r} may get"
    if source == FALLBACK:
        cause = "is not in this bundle" if users.index[0] < 0 else "has no usable history"
        return None, f"{place}, by popularity: the user {cause}."
    if not bundle.encoder.personal:
        return None, f"{place}, by popularity: this bundle holds the same list for everyone."
    return None, f"{place}."
