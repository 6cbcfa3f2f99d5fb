"""Lists, from the bytes of a request to what is answered, counted and written down."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from recsys.answers.exposure import Served, exposure_line
from recsys.answers.recipe import Merged
from recsys.answers.respond import Answered, answer
from recsys.errors import RequestError
from recsys.events.clock import now_ms
from recsys.serving.access.call import Call
from recsys.serving.body import parse_body, request_in
from recsys.serving.events import Events
from recsys.serving.exposure import Exposures, Shown
from recsys.serving.lists.asked import SHADOW, Asked, check_request, next_cursor
from recsys.serving.problems import Problem
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.schemas import BatchRequest, RecommendRequest
from recsys.serving.state import Live

_log = logging.getLogger("serving")


class Lists:
    """live: what is served at a moment. secret: signs cursors. patience_s: for which a state that was asked
    for is waited. exposures: where lists go, once it is open."""

    def __init__(
        self,
        live: Callable[[], Live],
        events: Events,
        metrics: Metrics,
        secret: Callable[[], bytes],
        patience_s: float,
    ) -> None:
        self._live, self._events, self._metrics, self._secret = live, events, metrics, secret
        self._patience_s = patience_s
        self.exposures: Exposures | None = None

    def recommend(self, body: bytes, call: Call) -> dict[str, Any]:
        began = time.perf_counter()
        read, raw = request_in(body)
        one = self._check(call, read, raw, now_ms(), began)
        return self._log_answer(one, self._answer_arm(one), call)

    def recommend_batch(self, body: bytes, call: Call) -> dict[str, Any]:
        began, now = time.perf_counter(), now_ms()
        read, raw = parse_body(body, BatchRequest)
        pairs = enumerate(zip(read.requests, raw["requests"], strict=True))
        every = [self._check(call, one, told, now, began, f"requests[{at}]: ") for at, (one, told) in pairs]
        answers = [self._answer_arm(one) for one in every]
        return {
            "answers": [
                self._log_answer(one, answered, call) for one, answered in zip(every, answers, strict=True)
            ]
        }

    def _check(
        self,
        call: Call,
        read: RecommendRequest,
        raw: Mapping[str, Any],
        now: int,
        began: float,
        where: str = "",
    ) -> Asked:
        try:
            live = self._live()
            return check_request(
                live, self._events, self._secret(), self._patience_s, call, read, raw, now, began, where
            )
        except Problem as problem:
            if where:
                problem.detail = where + problem.detail
            raise

    def _answer_arm(self, one: Asked) -> Answered | Merged:
        """The answer of the arm, or of the champion where an arm cannot: that is counted, and the arm
        stays."""
        if (choice := one.choice) is not None:
            reason = "not_loaded"
            if choice.recipe is not None:
                try:
                    return choice.recipe.make(one.question, one.request_id)
                except RequestError:
                    reason = "refused"  # where the champion refuses it, too, so does the service
                except Exception as error:  # a damaged bundle can fail anywhere; the person gets a list
                    reason = "failed"
                    _log.error("arm %s/%s failed: %s", choice.experiment, choice.arm, type(error).__name__)
            try:
                answer_of = answer(one.champion, one.question)
            except RequestError as error:
                raise Problem.of(error, one.where) from None
            self._metrics.count_arm_fallback(choice.experiment, choice.arm, reason)
            return answer_of
        try:
            return answer(one.bundle, one.question)
        except RequestError as error:
            raise Problem.of(error, one.where) from None

    def _log_answer(self, one: Asked, answered: Answered | Merged, call: Call) -> dict[str, Any]:
        """The answer, after its line is in the exposure log."""
        if call.request_id is None:
            call.request_id = one.request_id
        read, choice = one.read, one.choice
        experiment, arm = (read.experiment, read.arm) if choice is None else (choice.experiment, choice.arm)
        assert self.exposures is not None
        if SHADOW not in call.headers and self.exposures.open:
            ms = round((time.perf_counter() - one.began) * 1e3, 3)
            unit = read.unit_id if read.profile else None
            told: list[Any] = [experiment, arm, read.placement, unit, one.state_seq]
            if choice is not None:
                made = choice.recipe is not None and answered.bundle is choice.recipe.bundle
                told += [choice.phase, choice.recipe.stated if made and choice.recipe is not None else None]
            self.exposures.append(
                lambda seq: exposure_line(
                    Served(seq, one.request_id, one.time_ms, ms, *told),
                    one.question,
                    one.history if read.profile else None,
                    answered,
                ),
                Shown(one.request_id, one.time_ms, one.question.user_id, unit),
            )
        k = len(answered.scores)
        self._metrics.count_list(
            answered.source, read.placement, experiment, arm, k, short=k < one.question.k
        )
        paged = one.shown is not None
        return {
            "request_id": one.request_id,
            "bundle_id": answered.bundle.bundle_id,
            "source": answered.source,
            "why": answered.why,
            "items": orjson.Fragment(answered.items_json()),
            "ignored": answered.ignored,
            "ignored_features": answered.ignored_features,
            "cursor": next_cursor(self._secret(), one, answered.bundle, answered.item_ids) if paged else None,
            "state_seq": one.state_seq,
        }
