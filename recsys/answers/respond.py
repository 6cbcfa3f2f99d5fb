"""One question of one person, in outside terms, to one answer with titles and reasons.

The service, `recsys recommend` and the demo all answer through `respond`: ids are translated here and nowhere
else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import orjson

from recsys.answers.person import indices_of, items_to_consider, person_of, unlearned_items, usable_items
from recsys.answers.question import MAX_K, Question, Reply, Suggestion
from recsys.answers.reasons import (
    NOTHING_JSON,
    Reason,
    Sentence,
    ids_json,
    reasons_of,
    sentences,
    sentences_json,
)
from recsys.arrays import F32, I32, I64, Ragged
from recsys.bundle.bundle import Bundle
from recsys.encoders.encoder import FALLBACK, FEATURES, SOURCES, USER_ROW
from recsys.encoders.users import Users
from recsys.errors import DataError, RequestError


class Picked(NamedTuple):
    """What is shown of the best items. places: among them, from 0; propensity: how probably each was picked,
    given those above it."""

    places: list[int]
    propensity: list[float]


Pick = Callable[[list[str], list[float]], Picked]  # from the ids and scores of the best items


@dataclass(frozen=True, eq=False)
class Answered:
    """An answer before it is put into words or bytes. items: int64 (k,), best first; scores: float32 (k,);
    reasons: of the first of them; propensity: as in `Picked`, None where nothing was left to chance; the
    others as in `Reply`."""

    bundle: Bundle
    items: I64
    scores: F32
    reasons: list[Reason]
    source: str
    why: str
    ignored: list[str]
    ignored_features: list[str]
    propensity: list[float] | None = None
    team: None = None

    @cached_property
    def item_ids(self) -> list[str]:
        return self.bundle.item_ids.take(self.items)

    def reply(self) -> Reply:
        """The answer as objects."""
        titles = self.bundle.catalogue.titles_of(self.items)
        told = sentences(self.bundle, self.reasons) + [Sentence()] * (len(self.items) - len(self.reasons))
        rows = zip(self.item_ids, self.scores.tolist(), titles, told, strict=True)
        items = [Suggestion(item_id, score, title, *sentence) for item_id, score, title, sentence in rows]
        return Reply(self.source, self.why, items, self.ignored, self.ignored_features)

    @cached_property
    def scores_json(self) -> bytes:
        """The scores as a JSON array, each by the shortest decimal that stands for the float32."""
        return orjson.dumps(self.scores, option=orjson.OPT_SERIALIZE_NUMPY)

    @cached_property
    def ids_json(self) -> bytes:
        """The ids of the items as a JSON array."""
        return ids_json(self._shown)

    def items_json(self) -> bytes:
        """The items of `reply`, as a JSON array: ids and titles are encoded in the bundle."""
        return b"[" + b",".join(self._parts()) + b"]"

    def each_json(self) -> list[bytes]:
        """The items of `reply`, each as a JSON object of its own."""
        parts = self._parts()
        return [b",".join(parts[at : at + 3]) for at in range(0, len(parts), 3)]

    def _parts(self) -> list[bytes]:
        """Three pieces of each item's object: what it is, its score, its reason."""
        n = len(self.items)
        if not n:
            return []
        parts = [NOTHING_JSON] * (3 * n)
        parts[0::3] = self._shown
        parts[1::3] = (b'"score":' + self.scores_json[1:-1].replace(b",", b',"score":')).split(b",")
        parts[2 : 3 * len(self.reasons) : 3] = sentences_json(self.reasons, self._named)
        return parts

    @property
    def _shown(self) -> list[bytes]:
        """The items as the bundle shows them."""
        return self._texts[: len(self.items)]

    @property
    def _named(self) -> list[bytes]:
        """The items that the reasons name, likewise; an empty text for none."""
        return self._texts[len(self.items) :]

    @cached_property
    def _texts(self) -> list[bytes]:
        named = [reason.item for reason in self.reasons]
        return self.bundle.shown.take_bytes(np.concatenate([self.items, np.array(named, np.int64)]))


def respond(bundle: Bundle, question: Question) -> Reply:
    """The answer to a question. Nobody is unknown. Raises RequestError on an unknown domain, a k out of
    range, or a feature that is not what the model learned from."""
    return answer(bundle, question).reply()


def answer(bundle: Bundle, question: Question, *, pick: Pick | None = None, deep: int = 0) -> Answered:
    """What `respond` says, before it is put into objects; for those who send it as bytes. Raises as
    `respond`.

    pick: chooses what is shown among the `deep` best items that the rules allow; None = the best.
    """
    if not 1 <= question.k <= MAX_K:
        raise RequestError(f"k must be between 1 and {MAX_K}, got {question.k}.")
    ignored: list[str] = []
    brought = usable_items(bundle, question.events, ignored)
    users, stored = person_of(bundle, question, brought)
    ignored += [item for item in unlearned_items(bundle, users, brought) if item not in ignored]
    if question.since:  # whoever asks did not send these
        asked = {event.item_id for event in question.history}
        ignored = [item for item in ignored if item in asked]
    deny = Ragged.of([_drop_padding(indices_of(bundle, question.deny, []))]) if question.deny else None
    try:
        among = items_to_consider(bundle, question, ignored)
        best = bundle.recommender.recommend(users, max(question.k, deep), deny=deny, among=among)
    except DataError as error:  # of the features: all else is checked
        raise RequestError(str(error)) from None
    source, there = int(best.source[0]), np.count_nonzero(best.ids[0] >= 0)
    items, scores, propensity = best.ids[0, :there], best.scores[0, :there], None
    if pick is not None:
        places, propensity = pick(bundle.item_ids.take(items), scores.tolist())
        items, scores = items[places], scores[places]
    reasons = reasons_of(bundle, users, items[: max(0, question.reasons)], source)
    why = _why(bundle, question, users, stored, source) + ("" if there else _nothing_left(question))
    unread = [] if users.features is None else bundle.encoder.unread(users.features)
    return Answered(bundle, items, scores, reasons, SOURCES[source], why, ignored, unread, propensity)


def _drop_padding(items: I32) -> I32:
    return items[items >= 0]


def _why(bundle: Bundle, question: Question, users: Users, stored: int, source: int) -> str:
    """A sentence on where the answer comes from: a stored vector, the history, features, or popularity."""
    if question.user_id is None:
        person = "No user id"
    elif users.index[0] < 0:
        person = f"User {question.user_id!r} is not in this bundle"
    else:
        person = f"User {question.user_id!r} has {stored} stored events"
    if source == FALLBACK:
        days = bundle.manifest["fallback"]["days"]
        window = f"in the last {days:g} days of the log" if days is not None else "of all time"
        return f"{person}, and there is no usable history: these are the most popular items {window}."
    if not bundle.encoder.personal:
        return f"{person}: this bundle holds popularity, the same list for everyone."
    if source == FEATURES:
        return f"{person}: answered from what is known of the person."
    told = ["those told since"] * bool(question.since) + ["those of the request"] * bool(question.history)
    brought = f", {' and '.join(told)} among them" if told else ""
    if source == USER_ROW and not brought:
        return f"{person}: answered from the vector learned for this user."
    used = np.count_nonzero(bundle.encoder.usable(users.history))
    if source == USER_ROW and used <= stored:
        return f"{person}: answered from the vector learned for this user."
    if source == USER_ROW:
        return (
            f"{person}: answered from the vector learned for this user and a history of {used} "
            f"events{brought}."
        )
    return f"{person}: answered from a history of {used} events{brought}."


def _nothing_left(question: Question) -> str:
    """A sentence on why the list is empty."""
    if question.allow is not None and not question.allow:
        return " Nothing is answered, for the list of allowed items is empty."
    among = " of this domain" if question.domain is not None else ""
    allowed = "allowed " if question.allow is not None else ""
    return (
        f" Nothing is left to answer: every {allowed}item{among} was had before, is denied or hidden, or "
        "has no vector."
    )
