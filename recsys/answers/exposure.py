"""What was served, as a line of a log. It holds the question, so that its list can be made again.

The form is fixed: fields may be filled that are null today, none is renamed or given another meaning.
"""

import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from recsys.answers.question import Event, Question
from recsys.answers.recipe import Merged
from recsys.answers.respond import Answered
from recsys.errors import DataError
from recsys.events.address import is_event_store, open_store

SCHEMA = 2


class Served(NamedTuple):
    """The circumstances of one list.

    seq: the number of the line among those of its process, from 1. request_id: a UUID of version 7. time_ms:
    when, in unix milliseconds. ms: milliseconds that it took. experiment, phase, arm: what the person is in,
    whatever answered. placement: where it is shown. unit_id: what was assigned to the arm, where that is not
    the user. state_seq: up to which number of the event store what the person did was known. recipe: how the
    list was made beside its bundle, by `recsys.answers.recipe`.
    """

    seq: int
    request_id: str
    time_ms: int
    ms: float
    experiment: str | None = None
    arm: str | None = None
    placement: str | None = None
    unit_id: str | None = None
    state_seq: int | None = None
    phase: str | None = None
    recipe: Mapping[str, Any] | None = None


def exposure_line(
    served: Served,
    question: Question,
    history: Sequence[Mapping[str, Any]] | None,
    answered: Answered | Merged,
) -> bytes:
    """One line of the log, with its newline. history: the brought events as they came; question.now must be
    set.

    What the service was told of the person since stands before them, so that the line holds all that it takes
    to make the list again.
    """
    since = [event._asdict() for event in question.since]
    return orjson.dumps(
        {
            "schema": SCHEMA,
            "seq": served.seq,
            "request_id": served.request_id,
            "time_ms": served.time_ms,
            "now_s": question.now,
            "unit_id": served.unit_id,
            "user_id": question.user_id,
            "placement": served.placement,
            "experiment": served.experiment,
            "phase": served.phase,
            "arm": served.arm,
            "bundle_id": answered.bundle.bundle_id,
            "state_seq": served.state_seq,
            "source": answered.source,
            "question": {
                "k": question.k,
                "domain": question.domain,
                "filter": None,
                "deny": question.deny or None,
                "allow": question.allow,
                "features": question.features,
                "history": [*since, *(history or ())] or None,
            },
            "items": orjson.Fragment(answered.ids_json),
            "scores": orjson.Fragment(answered.scores_json),
            "propensity": answered.propensity,
            "origin": None,
            "team": answered.team,
            "ms": served.ms,
            **({} if served.recipe is None else {"recipe": served.recipe}),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def question_of(line: Mapping[str, Any], *, reasons: int = 0) -> Question:
    """The question of a line that was read. Raises DataError on a line of another schema."""
    if line.get("schema") != SCHEMA:
        raise DataError(
            f"the line of request {line.get('request_id')!r} has schema {line.get('schema')!r}, and only "
            f"those of schema {SCHEMA} hold the question. Ask for a list that was served since."
        )
    asked = line["question"]
    events = [Event(one["item_id"], one.get("timestamp"), one.get("event")) for one in asked["history"] or ()]
    rules: dict[str, Any] = {"domain": asked["domain"], "deny": asked["deny"] or (), "allow": asked["allow"]}
    return Question(
        line["user_id"],
        events,
        asked["k"],
        **rules,
        now=line["now_s"],
        features=asked["features"],
        reasons=reasons,
    )


def uuid7(time_ms: int) -> str:
    """A new UUID of version 7 (RFC 9562): it begins with the time, so that ids sort by it."""
    value = int.from_bytes(os.urandom(10)) | time_ms << 80
    value = value & ~(0xF << 76 | 0x3 << 62) | 0x7 << 76 | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def find_line(log: Path, request_id: str) -> dict[str, Any]:
    """The line of a request in an event store (`events:`) or an exposure log. Raises DataError where it has
    none."""
    if is_event_store(log):
        if (kept := open_store(log).exposure(request_id)) is None:
            raise DataError(
                f"the event store has no list of request {request_id!r}. Shadow requests leave none."
            )
        return dict(orjson.loads(kept))
    wanted = b'"request_id":"%s"' % request_id.encode()
    try:
        with log.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            at = text.find(wanted)
            if at >= 0:
                start, end = text.rfind(b"\n", 0, at) + 1, text.find(b"\n", at)
                line: dict[str, Any] = orjson.loads(text[start : end if end >= 0 else len(text)])
                return line
    except ValueError:  # an empty file cannot be mapped, and a torn line is none
        pass
    except OSError as error:
        raise DataError(f"{log} cannot be read: {error.strerror}. Name the exposure log by --log.") from None
    raise DataError(
        f"{log} has no line of request {request_id!r}. Shadow requests leave none; logs are rotated."
    )
