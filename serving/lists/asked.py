"""A request for a list as it may be answered: its question, its arm, its bundle, and the page that it asks
for."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from recsys.answers.exposure import uuid7
from recsys.answers.question import Question
from recsys.arrays import I32
from recsys.bundle.bundle import Bundle
from recsys.serving.access.call import Call
from recsys.serving.access.cursor import MAX_SHOWN, make_cursor, read_cursor
from recsys.serving.events import Events
from recsys.serving.lists.arms import Choice
from recsys.serving.problems import Problem
from recsys.serving.schemas import RecommendRequest
from recsys.serving.state import Live

SHADOW = (
    b"x-recsys-shadow"  # the header of a request that shall leave no trace; it may name a bundle that is open
)
_NOTHING: I32 = np.empty(0, np.int32)


class Asked(NamedTuple):
    """A question with its bundle and its moment. choice: the arm that it is in; None = the bundle answers as
    it is.
    champion: answers where an arm fails. history: the brought events as they came. shown: the items of the
    pages before, where a page was asked for. state_seq: of what was told since. began: of
    `time.perf_counter`. where: what a refusal begins with."""

    bundle: Bundle
    champion: Bundle
    choice: Choice | None
    question: Question
    history: Sequence[Mapping[str, Any]] | None
    read: RecommendRequest
    shown: I32 | None
    state_seq: int | None
    request_id: str
    time_ms: int
    began: float
    where: str


def bundle_of(live: Live, call: Call, experiment: str | None = None, arm: str | None = None) -> Bundle:
    """The bundle of a request of no experiment that was started: the champion's, a shadow's, or that of an
    arm that the deployment names. Raises a Problem where there is none."""
    if (shadow := call.headers.get(SHADOW)) is not None:
        return live.loaded.get(shadow.decode("latin-1"), live.shadow)
    if experiment is None or arm is None:
        return live.champion
    if (bundle := live.arm(experiment, arm)) is not None:
        return bundle
    arms = live.deployment.arms
    if arm in arms.get(experiment, {}):
        detail = f"The bundle of {experiment}/{arm} does not serve; nothing else is answered in its place."
        raise Problem("not_ready", detail, headers={"Retry-After": "1"})
    known = [f"{one}/{other}" for one, held in arms.items() for other in held]
    known += [f"{one}/{other}" for one, other in live.arms.recipes]
    raise Problem("unknown_arm", f"The deployment has these arms: {', '.join(known[:20]) or 'none'}.")


def choose(live: Live, call: Call, read: RecommendRequest, now: int) -> Choice | None:
    """The arm of an experiment that was started; None where none decides this list."""
    if SHADOW in call.headers:
        return None
    if read.experiment is not None and read.arm is not None:
        return live.arms.assigned_arm(read.experiment, read.arm, now)
    if not read.profile:
        return None
    beside = {name: value for name in ("placement", "domain") if (value := getattr(read, name)) is not None}
    return live.arms.choose(read.unit_id or read.user_id, read.features, beside, now)


def check_request(
    live: Live,
    events: Events,
    secret: bytes,
    patience_s: float,
    call: Call,
    read: RecommendRequest,
    raw: Mapping[str, Any],
    now_ms: int,
    began: float,
    where: str,
) -> Asked:
    """What a request asks, from which bundle and in which arm. Raises a Problem where it may not be answered.

    secret: signs cursors. patience_s: seconds that the event store gets to reach `min_state_seq`.
    """
    now = now_ms // 1_000
    choice = choose(live, call, read, now)
    if choice is None:
        bundle = bundle_of(live, call, read.experiment, read.arm)
    else:
        bundle = live.champion if choice.recipe is None else choice.recipe.bundle
    question, shown = read.question(now), None
    question, seq = events.read_since(bundle, question, read.min_state_seq, patience_s)
    if read.cursor is not None:
        shown = (
            read_cursor(secret, bundle.bundle_id, person_of(read), read.cursor) if read.cursor else _NOTHING
        )
        gone = bundle.item_ids.take(shown)
        question = replace(
            question, deny=[*question.deny, *gone], k=max(1, min(question.k, MAX_SHOWN - len(shown)))
        )
    told = (question, raw.get("history"), read, shown, seq, uuid7(now_ms), now_ms, began, where)
    return Asked(bundle, live.champion, choice, *told)


def next_cursor(secret: bytes, one: Asked, bundle: Bundle, item_ids: Sequence[str]) -> str | None:
    """The cursor of the page after this one; None where there is none, or where another bundle had to answer
    or the list has items that its bundle does not know, for then nobody could leave them out."""
    assert one.shown is not None
    items = one.bundle.item_ids.indices(item_ids).astype(np.int32)
    shown = np.concatenate([one.shown, items])
    full = len(items) < one.question.k or len(shown) >= MAX_SHOWN
    if full or bundle.bundle_id != one.bundle.bundle_id or (items < 0).any():
        return None
    return make_cursor(secret, one.bundle.bundle_id, person_of(one.read), shown)


def person_of(read: RecommendRequest) -> str:
    """Whom a cursor is bound to."""
    return f"user {read.user_id}" if read.user_id is not None else f"unit {read.unit_id or ''}"
