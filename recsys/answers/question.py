"""What may be asked and what is answered, in outside terms: ids, titles, reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_K = 1_000


class Event(NamedTuple):
    """Something the person did: an item, when (unix seconds), and of what type (view, buy ...), as far as
    known."""

    item_id: str
    timestamp: int | None = None
    event: str | None = None


@dataclass(frozen=True)
class Question:
    """Who asks, and for what. since: what they did that the bundle does not know, as the service was told;
    history: what the request brings. deny, allow: item ids to leave out, or the only ones to consider.
    domain: likewise.

    reasons: how many of the answered items, from the best on, get a reason. features: what is known of the
    person now, by the names of the columns that the model learned from, in place of what is stored; other
    names, and models without such columns, ignore it. now: unix seconds at which a seen policy that counts
    days looks; None = the clock.
    """

    user_id: str | None = None
    history: Sequence[Event] = ()
    k: int = 10
    domain: str | None = None
    deny: Sequence[str] = ()
    allow: Sequence[str] | None = None
    now: int | None = None
    features: Mapping[str, Any] | None = None
    reasons: int = 10
    since: Sequence[Event] = ()

    @property
    def events(self) -> Sequence[Event]:
        """All that is known beside what is stored."""
        return [*self.since, *self.history] if self.since else self.history


class Suggestion(NamedTuple):
    """An item to show.

    reason: a sentence, or None where there is no true one or none was asked for. reason_code: what kind of
    sentence: `because`, `like`, `popular` or `popular_now`. because: the item of the history that adds most
    to the score, where shares are exact. like: the item of the history that is most like this one, where they
    are not; it is not a cause.
    """

    item_id: str
    score: float
    title: str | None
    reason: str | None = None
    reason_code: str | None = None
    because: str | None = None
    like: str | None = None


@dataclass(frozen=True)
class Reply:
    """source: known, history, features or fallback; why: the same in a sentence.

    ignored: ids that the bundle lacks or never learned, and those of brought events of a type that training
    left out. ignored_features: names of what was said of the person that the model makes nothing of: it did
    not learn from such a column, or never saw such a value.
    """

    source: str
    why: str
    items: list[Suggestion]
    ignored: list[str] = field(default_factory=list)
    ignored_features: list[str] = field(default_factory=list)
