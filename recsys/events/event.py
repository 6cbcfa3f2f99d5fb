"""What somebody was shown or did, as another system tells it: its fields, its rules, and what is wrong with
one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from recsys.history import DAY_S
from recsys.ids import MAX_ID_CHARACTERS

MAX_EVENTS = 500  # told at once
LABEL = r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}$"  # a placement that stands by its name in metrics
EARLY_S, LATE_S = 7 * DAY_S, 300  # how far before and after its receipt a time is believed
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]
Word = Annotated[str, Field(min_length=1, max_length=100)]


class ToldEvent(BaseModel):
    """One event as a client sends it.

    event_id: chosen by who tells it; the same id again is the same event. kind: `impression`, an item was on
    a screen, or `outcome`, a person did something with it. event: the type of an outcome, as `click`.
    user_id, unit_id: who; one of both must be there, and unit_id alone (a cookie, a household) enters no
    history. timestamp: unix seconds.
    request_id, position: of the answer and the place in it, 1 = top, that it belongs to. value: what it was
    worth.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    event_id: Id
    kind: Literal["impression", "outcome"]
    item_id: Id
    event: Word | None = None
    user_id: Id | None = None
    unit_id: Id | None = None
    timestamp: Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)] | None = None
    request_id: Id | None = None
    position: Annotated[int, Field(ge=1, le=100_000)] | None = None
    placement: Word | None = None
    value: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _is_of_somebody(self) -> "ToldEvent":
        if self.user_id is None and self.unit_id is None:
            raise ValueError("give a user_id or a unit_id: an event is of somebody")
        return self


class StoredEvent(NamedTuple):
    """An event as it is kept. timestamp: unix seconds; where none was told, or none to believe, that of its
    receipt."""

    event_id: str
    kind: str
    item_id: str
    event: str | None
    user_id: str | None
    unit_id: str | None
    timestamp: int
    request_id: str | None
    position: int | None
    placement: str | None
    value: float | None


@dataclass(frozen=True)
class Rejected:
    """What was not taken. index: its place among those told at once, from 0; code: stable, for machines."""

    index: int
    code: str
    message: str


class ReadEvents(NamedTuple):
    """Events that keep the rules, those that do not, and how many of the former have the time of their
    receipt since what they said was more than a week before it or five minutes after."""

    events: list[StoredEvent]
    rejected: list[Rejected]
    redated: int


def read_events(told: Sequence[Any], received_ms: int, *, trusted: bool = False) -> ReadEvents:
    """The events in a list of JSON values. received_ms: when they came, unix milliseconds. trusted: their
    times count as they are, as in the files of an import."""
    events, rejected, redated = list[StoredEvent](), list[Rejected](), 0
    received = received_ms // 1000
    for index, value in enumerate(told):
        try:
            one = ToldEvent.model_validate(value)
        except ValidationError as error:
            rejected.append(_reject(index, error))
            continue
        moment = received if one.timestamp is None else int(one.timestamp)
        if not trusted and not received - EARLY_S <= moment <= received + LATE_S:
            moment, redated = received, redated + 1
        events.append(StoredEvent(**one.model_dump(exclude={"timestamp"}), timestamp=moment))
    return ReadEvents(events, rejected, redated)


_CODES = {"missing": "missing_field", "extra_forbidden": "unknown_field", "string_too_long": "too_long"}


def _reject(index: int, error: ValidationError) -> Rejected:
    """A rejected event with the first rule that it breaks."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return Rejected(
        index, _CODES.get(first["type"], "invalid_value"), f"{place}: {message}" if place else message
    )
