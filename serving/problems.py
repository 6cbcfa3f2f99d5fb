"""Every refusal is a problem document (RFC 9457) whose `code` is stable; the table below is all of them."""

import json
import logging
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from recsys.errors import RequestError

MEDIA_TYPE = "application/problem+json"
CODES: dict[str, tuple[int, str]] = {
    "invalid_http": (400, "The request is not valid HTTP"),
    "invalid_json": (400, "The body is not valid JSON"),
    "duplicate_key": (400, "A JSON object names a key twice"),
    "too_deep": (400, "The JSON is nested too deeply"),
    "invalid_text": (400, "The JSON holds text that is not Unicode"),
    "unauthorized": (401, "The request shows no key"),
    "missing_scope": (403, "The key may not do this"),
    "unknown_route": (404, "There is nothing at this address"),
    "unknown_item": (404, "The item has no vector"),
    "no_similar_items": (404, "The model knows no similar items"),
    "no_item_encoder": (404, "The model cannot place new items"),
    "unknown_model": (404, "Nothing of this name is served"),
    "unknown_bundle": (404, "There is no such bundle"),
    "unknown_experiment": (404, "No such experiment was started"),
    "no_event_store": (404, "The service keeps no events"),
    "method_not_allowed": (405, "The address does not take this method"),
    "body_timeout": (408, "The body did not arrive in time"),
    "bundle_refused": (409, "The bundle cannot be served"),
    "cursor_expired": (410, "The cursor belongs to another bundle"),
    "precondition_failed": (412, "What is deployed has changed"),
    "body_too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is not declared as plain JSON"),
    "invalid_request": (422, "The request breaks a rule"),
    "unknown_domain": (422, "The bundle has no such domain"),
    "unknown_arm": (422, "The deployment has no such arm"),
    "invalid_cursor": (422, "The cursor is none of this service"),
    "rate_limited": (429, "The key has used up its quota"),
    "overloaded": (429, "The service is busy"),
    "internal_error": (500, "The service has a fault"),
    "audit_failed": (500, "The audit log cannot be written"),
    "event_queue_full": (503, "Too many events wait to be written"),
    "event_store_failed": (503, "The events could not be written"),
    "state_behind": (503, "The state has not come so far"),
    "not_ready": (503, "No bundle is loaded yet"),
    "draining": (503, "The service is about to stop"),
}
_SHOWN = 10
# The fields whose values an error repeats. It ends up in the logs of others, which who asks shall not stand
# in.
_ECHOED = {"k", "reasons", "timestamp", "event", "domain", "placement", "experiment", "arm"}
_log = logging.getLogger("serving")


class Problem(Exception):  # noqa: N818  RFC 9457 calls it so
    """A refusal. errors: which field breaks which rule, where there are such."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors, self.headers = code, detail, errors, headers

    @classmethod
    def of(cls, error: RequestError, where: str = "") -> "Problem":
        """What recsys refuses; a code that is not in the table is an invalid request."""
        return cls(error.code if error.code in CODES else "invalid_request", where + str(error))

    @classmethod
    def invalid(cls, problems: Sequence[Mapping[str, Any]], within: int = 0) -> "Problem":
        """What pydantic refuses, the first few of it in sentences. within: parts of each location to leave
        out."""
        errors = [
            {"field": _path(problem["loc"][within:]), "message": _sentence(problem)}
            for problem in problems[:_SHOWN]
        ]
        detail = "; ".join(f"{error['field']}: {error['message']}" for error in errors)
        rest = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        return cls("invalid_request", f"{detail}{rest}.", errors=errors)

    def response(self) -> Response:
        status, title = CODES[self.code]
        document: dict[str, Any] = {
            "type": f"urn:recsys:problem:{self.code}",
            "title": title,
            "status": status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.errors is not None:
            document["errors"] = self.errors
        return Response(json.dumps(document).encode(), status, self.headers, MEDIA_TYPE)


def fault(method: str, route: str, error: Exception) -> Problem:
    """What is told of an error that nobody foresaw, after the log has it: where, and of what type. What the
    error says is left out, for it may repeat who asked."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("%s %s failed: %s\n%s", method, route, type(error).__name__, frames)
    return Problem("internal_error", "This is a fault of the service, not of the request; its log has it.")


def _path(location: tuple[int | str, ...]) -> str:
    """`history[3].item_id`, the way a client would write it."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _sentence(problem: Mapping[str, Any]) -> str:
    if problem["type"] == "extra_forbidden":
        return "this field is unknown; GET /openapi.json names the known ones"
    if _ECHOED.isdisjoint(problem["loc"][-1:]) or isinstance(problem["input"], dict | list):
        return str(problem["msg"])
    given = repr(problem["input"])
    return f"{problem['msg']}, got {given if len(given) <= 80 else given[:77] + '...'}"


def install(app: FastAPI) -> None:
    """Makes every refusal of the app a problem document."""

    async def answer_problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return error.response()

    async def answer_unrouted(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "method_not_allowed" if error.status_code == 405 else "unknown_route"
        headers = dict(error.headers or {})
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"
        detail = f"{request.method} is not served at this address; GET /openapi.json lists what is."
        return Problem(code, detail, headers=headers).response()

    async def answer_misread(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return Problem.invalid(error.errors(), within=1).response()

    app.add_exception_handler(Problem, answer_problem)
    app.add_exception_handler(HTTPException, answer_unrouted)
    app.add_exception_handler(RequestValidationError, answer_misread)
