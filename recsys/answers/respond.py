"""One question of one person, in outside terms, to one answer with titles and reasons.

The service, `recsys recommend` and the demo all answer through `respond`: ids are translated here and nowhere else.
"""

from recsys.answers.person import indices_of, items_to_consider, person_of, unlearned_items, usable_items
from recsys.answers.question import MAX_K, Question, Reply, Suggestion
from recsys.answers.reasons import reasons_of
from recsys.arrays import Ragged
from recsys.bundle.bundle import Bundle
from recsys.encoders.encoder import FALLBACK, FEATURES, SOURCES, USER_ROW
from recsys.errors import DataError, RequestError


def respond(bundle: Bundle, question: Question) -> Reply:
    """The answer to a question. Nobody is unknown. Raises RequestError on an unknown domain, a k out of range, or a
    feature that is not what the model learned from."""
    if not 1 <= question.k <= MAX_K:
        raise RequestError(f"k must be between 1 and {MAX_K}, got {question.k}.")
    ignored: list[str] = []
    brought = usable_items(bundle, question.history, ignored)
    users, stored = person_of(bundle, question, brought)
    ignored += [item for item in unlearned_items(bundle, users, brought) if item not in ignored]
    deny = Ragged.of([[item for item in indices_of(bundle, question.deny, []) if item >= 0]])
    try:
        among = items_to_consider(bundle, question, ignored)
        answer = bundle.recommender.recommend(users, question.k, deny=deny, among=among)
    except DataError as error:  # of the features: all else is checked
        raise RequestError(str(error)) from None
    used = int(bundle.encoder.usable(users.history).sum())
    ids, source = answer.ids[0][answer.ids[0] >= 0], int(answer.source[0])
    items = [
        Suggestion(bundle.item_ids[item], float(score), bundle.catalogue.title(int(item)), *reason)
        for item, score, reason in zip(ids, answer.scores[0], reasons_of(bundle, users, ids, source), strict=False)
    ]
    why = _why(bundle, question, stored, used, source) + ("" if items else _nothing_left(question))
    unread = [] if users.features is None else bundle.encoder.unread(users.features)
    return Reply(SOURCES[source], why, items, ignored, unread)


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
    if not bundle.encoder.personal:
        return f"{person}: this bundle holds popularity, the same list for everyone."
    if source == FEATURES:
        return f"{person}: answered from what is known of the person."
    brought = ", those of the request among them" if question.history else ""
    if source == USER_ROW and not (brought and used > stored):
        return f"{person}: answered from the vector learned for this user."
    if source == USER_ROW:
        return f"{person}: answered from the vector learned for this user and a history of {used} events{brought}."
    return f"{person}: answered from a history of {used} events{brought}."


def _nothing_left(question: Question) -> str:
    """Why a list is empty."""
    if question.allow is not None and not question.allow:
        return " Nothing is answered, for the list of allowed items is empty."
    among = " of this domain" if question.domain is not None else ""
    allowed = "allowed " if question.allow is not None else ""
    return (
        f" Nothing is left to answer: every {allowed}item{among} was had before, is denied or hidden, or has no vector."
    )
