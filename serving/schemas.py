"""Requests and answers: requests are checked against these models, answers are only described by them
(OpenAPI)."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.answers.question import MAX_K, Event, Question
from recsys.events.event import LABEL
from recsys.ids import MAX_ID_CHARACTERS

MAX_HISTORY = 1_000
MAX_BATCH = 100
MAX_BODY_BYTES = 1 << 20
MAX_CURSOR = 6_000  # characters
_LAST_SECOND = 253_402_300_799  # of the year 9999; a timestamp in milliseconds lies beyond

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]


class _Asked(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HistoryEvent(_Asked):
    """Something the person did that the bundle does not know of yet."""

    item_id: Id
    timestamp: int | None = Field(None, ge=0, le=_LAST_SECOND, description="unix seconds; absent = just now")
    event: str | None = Field(
        None,
        max_length=100,
        description="its type (view, click ...): it weighs by this, and a seen policy may ask",
    )


class RecommendRequest(_Asked):
    """Who asks, and for what. Nothing is required: a stranger gets what is popular."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user_id": "42", "history": [{"item_id": "50", "timestamp": 893286638}], "k": 3}]
        }
    )

    user_id: Id | None = Field(None, description="any text; a user whom the bundle does not know is no error")
    history: list[HistoryEvent] | None = Field(
        None, max_length=MAX_HISTORY, description="merged with what is stored"
    )
    k: int = Field(10, ge=1, le=MAX_K, description="items wanted; fewer come only where fewer are allowed")
    domain: str | None = Field(None, description="answer with items of this domain only")
    deny: list[Id] | None = Field(None, description="items to leave out")
    allow: list[Id] | None = Field(None, description="the only items to consider; an empty list allows none")
    reasons: int = Field(
        10, ge=0, le=MAX_K, description="how many of the items, from the best on, get a reason"
    )
    features: dict[str, Any] | None = Field(
        None,
        description=(
            "of the person, in place of what is stored: {column: value}; only a two-tower model uses them"
        ),
    )
    placement: str | None = Field(
        None, pattern=LABEL, description="where the list is shown, as in home or cart"
    )
    experiment: str | None = Field(
        None,
        pattern=LABEL,
        description="with `arm`: assigned elsewhere; without, the service assigns by itself",
    )
    arm: str | None = Field(
        None, pattern=LABEL, description="of an experiment that was started, or of deployment.toml"
    )
    unit_id: Id | None = Field(
        None, description="what is assigned to an arm, where it is not the user; kept in the log"
    )
    profile: bool = Field(
        True, description="false: answered as a stranger; no id and no history is looked at or kept"
    )
    min_state_seq: int | None = Field(
        None, ge=0, le=(1 << 63) - 1, description="state_seq of an answer whose events must be in the history"
    )
    cursor: str | None = Field(
        None,
        max_length=MAX_CURSOR,
        description="empty = the first page; else that of the page before, which never repeats",
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.experiment is None) != (self.arm is None):
            raise ValueError("experiment and arm come together")
        return self

    def question(self, now: int) -> Question:
        """The same for `recsys.answers.respond`. now: unix seconds."""
        rules: dict[str, Any] = {"domain": self.domain, "deny": self.deny or (), "allow": self.allow}
        told: dict[str, Any] = {"now": now, "reasons": self.reasons}
        if not self.profile:
            return Question(k=self.k, **rules, **told)
        history = [Event(event.item_id, event.timestamp, event.event) for event in self.history or ()]
        return Question(self.user_id, history, self.k, features=self.features, **rules, **told)


class BatchRequest(_Asked):
    """Several requests at once, answered from one bundle, all or none."""

    requests: list[RecommendRequest] = Field(min_length=1, max_length=MAX_BATCH)


class NewItem(_Asked):
    """An item that the bundle does not know, by what is known of it."""

    item_id: Id | None = Field(None, description="sent back with the answer; not looked up")
    features: dict[str, Any] = Field(description="{column: value}; an absent column is missing")


class EncodeRequest(_Asked):
    """New items to place among the known ones, all or none."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"items": [{"item_id": "new", "features": {"colour": "even"}}], "k": 2}]
        }
    )

    items: list[NewItem] = Field(min_length=1, max_length=MAX_BATCH)
    k: int = Field(0, ge=0, le=MAX_K, description="the nearest known items of each, so many; 0 = none")


class SimilarItem(BaseModel):
    """score: cosine of the two items' vectors."""

    item_id: str
    score: float
    title: str | None


class RecommendedItem(BaseModel):
    """score: higher is better; comparable within one answer only."""

    item_id: str
    score: float
    title: str | None
    reason: str | None = Field(
        description="a true sentence, or null where there is none or none was asked for"
    )
    reason_code: str | None = Field(
        description="which kind of sentence: because, like, popular or popular_now"
    )
    because: str | None = Field(description="the item of the history that adds most to this score")
    like: str | None = Field(
        description=(
            "the item of the history that is most like this one, where the model has no exact shares; no "
            "cause"
        )
    )


class RecommendAnswer(BaseModel):
    """The best items, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "019ab6c1-3f14-7c2e-9d0b-4f7a1c55e2b8",
                    "bundle_id": "20260101T120000000000Z-1a2b3c4d",
                    "source": "known",
                    "why": "user '42' has 31 stored events: answered from the vector learned for this user",
                    "items": [
                        {
                            "item_id": "181",
                            "score": 0.91,
                            "title": "Return of the Jedi (1983)",
                            "reason": "because of Star Wars (1977)",
                            "reason_code": "because",
                            "because": "50",
                            "like": None,
                        }
                    ],
                    "ignored": [],
                    "ignored_features": [],
                    "cursor": None,
                    "state_seq": 1204,
                }
            ]
        }
    )

    request_id: str
    bundle_id: str
    source: str = Field(description="known (learned vector), history, features or fallback (popularity)")
    why: str
    items: list[RecommendedItem]
    ignored: list[str] = Field(
        description="ids in history and allow that the bundle does not know or never learned"
    )
    ignored_features: list[str] = Field(
        description="names of features that the model did not learn from, or of values that it never saw"
    )
    cursor: str | None = Field(description="of the next page, where a page was asked for and there is one")
    state_seq: int | None = Field(
        description="up to which number of the event store what the person did was known"
    )


class BatchAnswer(BaseModel):
    """One answer for each request, in their order."""

    answers: list[RecommendAnswer]


class SimilarAnswer(BaseModel):
    """The items whose vectors point most nearly the same way, best first."""

    bundle_id: str
    item_id: str
    items: list[SimilarItem]


class EncodedItem(BaseModel):
    """vector: in the space of the bundle's item vectors; similar: the nearest known items, best first."""

    item_id: str | None
    vector: list[float]
    similar: list[SimilarItem]


class EncodeAnswer(BaseModel):
    """The new items, in their order. Vectors of one space_id may be compared; others may not."""

    bundle_id: str
    space_id: str
    items: list[EncodedItem]


class FieldError(BaseModel):
    """Which field breaks which rule."""

    field: str
    message: str


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457). `code` is stable; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldError] | None = None
