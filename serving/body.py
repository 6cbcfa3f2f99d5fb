"""Request bodies: read within limits, then parsed as strictly as JSON is defined."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from recsys.answers.question import MAX_K
from recsys.ids import MAX_ID_CHARACTERS
from recsys.serving.problems import Problem
from recsys.serving.schemas import MAX_BODY_BYTES, RecommendRequest

Model = TypeVar("Model", bound=BaseModel)

_MAX_DIGITS = 1_000
_LONG = re.compile(rb"\d{19}")
_NESTED = (dict, list)
_LEAST = {"k": 1, "reasons": 0}  # of the numbers in a short request
_NOBODY = RecommendRequest()  # has the defaults of all others
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


JSON_LINES = "application/x-ndjson"


async def read(request: Request, seconds: float, *, lines: bool = False) -> bytes:
    """The whole body; a Problem where it is not declared as JSON, too large (chunked or not), or too slow.
    lines: JSON lines are taken, too."""
    headers = dict(request.headers.raw)
    if not (lines and is_json_lines(headers)):
        refuse_other_media(headers)
    too_large = Problem(
        "body_too_large", f"The body may have {MAX_BODY_BYTES} bytes; send fewer requests at once."
    )
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except (TimeoutError, ClientDisconnect):
        raise Problem(
            "body_timeout", f"The body must arrive within {seconds:g} s.", headers={"Connection": "close"}
        ) from None
    return bytes(body)


def is_json_lines(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the headers, names in lower case, declare a JSON value a line."""
    media = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    return media == JSON_LINES and b"content-encoding" not in headers


def refuse_other_media(headers: Mapping[bytes, bytes]) -> None:
    """Raises a Problem where the headers, names in lower case, do not declare plain JSON in UTF-8."""
    if headers.get(b"content-type") == b"application/json" and b"content-encoding" not in headers:
        return
    media, _, parameters = headers.get(b"content-type", b"").decode("latin-1").partition(";")
    charset = parameters.strip().lower().removeprefix("charset=").strip('"')
    encoding = headers.get(b"content-encoding", b"identity")
    if (
        media.strip().lower() != "application/json"
        or charset not in ("", "utf-8", "utf8")
        or encoding != b"identity"
    ):
        detail = "Send uncompressed UTF-8 with the header `Content-Type: application/json`."
        raise Problem("unsupported_media_type", detail)


def request_in(body: bytes) -> tuple[RecommendRequest, dict[str, Any]]:
    """The request for a list in the body, and the JSON value that it was read from.

    What names a person and two numbers at most, as most do, is checked by hand, at a third of the cost.
    Raises Problem.
    """
    value = _object(body)
    user_id, numbers = value.get("user_id"), {name: value[name] for name in _LEAST if name in value}
    if (
        len(value) == len(numbers) + 1
        and type(user_id) is str
        and 0 < len(user_id) <= MAX_ID_CHARACTERS
        and all(type(number) is int and _LEAST[name] <= number <= MAX_K for name, number in numbers.items())
    ):
        return _NOBODY.model_copy(update=value), value
    return _check(value, RecommendRequest), value


def parse_body(body: bytes, model: type[Model]) -> tuple[Model, dict[str, Any]]:
    """The request in the body, and the JSON value that it was read from; a Problem says what is wrong with
    it."""
    value = _object(body)
    return _check(value, model), value


def _object(body: bytes) -> dict[str, Any]:
    """The JSON object that the body is."""
    value = any_json(body)
    if not isinstance(value, dict):
        raise Problem("invalid_request", f"The body must be a JSON object, got {type(value).__name__}.")
    return value


def any_json(body: bytes) -> Any:
    """The JSON value that a body is; a Problem where it is none."""
    try:
        value = orjson.loads(body)
        plain = body.count(b":") == _count_keys(value) and not _may_lose_digits(body)
    except (ValueError, RecursionError):
        plain = False
    if not plain:
        value = _read_strictly(body)  # which also says what is wrong
    return value


def _check(value: dict[str, Any], model: type[Model]) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Problem.invalid(error.errors(include_url=False, include_context=False)) from None


def _count_keys(value: Any) -> int:
    """How many keys the objects of a JSON value have. A key that came twice left one colon over in its
    text."""
    if type(value) is dict:
        return len(value) + sum([_count_keys(one) for one in value.values() if type(one) in _NESTED])
    if type(value) is list:
        return sum([_count_keys(one) for one in value if type(one) in _NESTED])
    return 0


def _may_lose_digits(body: bytes) -> bool:
    """Whether orjson may have made a float of an integer that 64 bits do not hold, where that is not refused
    anyway."""
    return (b"features" in body or b"\\u" in body) and _LONG.search(body) is not None


def _read_strictly(body: bytes) -> Any:
    """The JSON value, read slowly: it knows of keys that come twice and of numbers of many digits."""
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_distinct, parse_int=_integer, parse_constant=_no_constant
        )
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise Problem("too_deep", "The body nests arrays or objects hundreds of levels deep.") from None
    except UnicodeEncodeError:
        raise Problem(
            "invalid_text", "The body holds a lone surrogate (\\ud800 ... \\udfff), which is no text."
        ) from None
    except UnicodeDecodeError as error:
        raise Problem("invalid_json", f"The body is not UTF-8: byte {error.start} {error.reason}.") from None
    except ValueError as error:
        raise Problem("invalid_json", f"The body is not JSON: {error}.") from None
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise Problem(
            "duplicate_key", f"The key {twice!r} occurs twice in one object; which one counts is unclear."
        )
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits is too long")
    return int(text)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
