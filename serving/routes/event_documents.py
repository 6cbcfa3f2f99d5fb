"""What is told of people after an answer, and what is said of it (OpenAPI)."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from recsys.events.event import MAX_EVENTS, ToldEvent
from recsys.serving.schemas import Id


class EventsRequest(RootModel[list[ToldEvent | Any]]):
    """Events, 500 at most. One that breaks a rule is rejected, and the others are taken."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                [
                    {
                        "event_id": "7f1c0a52",
                        "kind": "outcome",
                        "event": "click",
                        "user_id": "42",
                        "item_id": "181",
                        "request_id": "019ab6c1-3f14-7c2e-9d0b-4f7a1c55e2b8",
                        "position": 1,
                    }
                ]
            ]
        }
    )

    root: list[ToldEvent | Any] = Field(max_length=MAX_EVENTS)


class RejectedEvent(BaseModel):
    """index: its place among those sent, from 0. code: missing_field, unknown_field, too_long or
    invalid_value."""

    index: int
    code: str
    message: str


class EventsAnswer(BaseModel):
    """What became of events; those that were accepted are on the disk."""

    accepted: int
    duplicates: int = Field(description="events whose event_id was known already")
    redated: int = Field(
        description="events whose time was not to be believed: theirs is that of their receipt"
    )
    rejected: list[RejectedEvent]
    state_seq: int = Field(description="as `min_state_seq` of a request, these events are in the history")


class IdentityRequest(BaseModel):
    """From now on one id is the person of another: a cookie has become a customer."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"from": "cookie-81f", "to": "42"}]},
    )

    old: Id = Field(alias="from")
    new: Id = Field(alias="to")


class IdentityAnswer(BaseModel):
    """How many ids were taken."""

    accepted: int


class Forgotten(BaseModel):
    """How many rows of each kind were deleted."""

    deleted: dict[str, int]
