"""A typed client of the service in one file, of the standard library alone: copy it where recsys is not
installed.

    with Client("https://recsys.example", key=key) as client:
        answer = client.recommend(user_id="42", history=[{"item_id": "50"}], k=10)
        for page in client.pages(user_id="42", k=20):
            ...

One client is one connection, for one thread at a time. What the service refuses is a `ServiceError` with its
`code`.
"""

import http.client
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

_AGAIN = (429, 503)


class ServiceError(Exception):
    """A refusal. code: stable, as the service documents it; request_id: what to name when asking about it."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str | None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        super().__init__(f"{code} ({status}): {detail}")
        self.status, self.code, self.detail, self.request_id, self.errors = (
            status,
            code,
            detail,
            request_id,
            errors,
        )


@dataclass(frozen=True)
class Item:
    """An item to show, as the service documents it."""

    item_id: str
    score: float
    title: str | None
    reason: str | None = None
    reason_code: str | None = None
    because: str | None = None
    like: str | None = None


@dataclass(frozen=True)
class Recommendations:
    """The best items, best first. cursor: of the next page, where one was asked for and there is one."""

    request_id: str
    bundle_id: str
    source: str
    why: str
    items: list[Item]
    ignored: list[str] = field(default_factory=list)
    ignored_features: list[str] = field(default_factory=list)
    cursor: str | None = None


@dataclass(frozen=True)
class Activation:
    """What is served from now on, and how many workers say so already."""

    bundle_id: str
    etag: str
    reported: int
    workers: int
    errors: list[str]

    @property
    def done(self) -> bool:
        return self.reported >= self.workers


class Client:
    """A connection to a service.

    url: where it answers, with the path below which a proxy shows it. key: as `recsys keys make` printed it.
    timeout_s: how long an answer may take; the service is told, so that it drops what nobody waits for.
    retries: how often a request is asked again that was refused for load, or whose connection was closed
    before it was answered.
    """

    def __init__(
        self, url: str, *, key: str | None = None, timeout_s: float = 10.0, retries: int = 2
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of a service begins with http:// or https://, got {url!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._path, self._retries = parts.path.rstrip("/"), retries
        self._headers = {"Accept": "application/json", "X-Request-Timeout-Ms": str(round(timeout_s * 1000))}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def recommend(
        self,
        *,
        user_id: str | None = None,
        history: Sequence[Mapping[str, Any]] | None = None,
        k: int = 10,
        domain: str | None = None,
        deny: Sequence[str] | None = None,
        allow: Sequence[str] | None = None,
        features: Mapping[str, Any] | None = None,
        reasons: int | None = None,
        placement: str | None = None,
        experiment: str | None = None,
        arm: str | None = None,
        unit_id: str | None = None,
        cursor: str | None = None,
        shadow: bool = False,
    ) -> Recommendations:
        """The k best items for a person. cursor: "" begins pages that never repeat. shadow: leaves no
        exposure."""
        asked = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "shadow") and value is not None
        }
        return _recommendations(
            self.ask("POST", "/v1/recommend", asked, {"X-Recsys-Shadow": "1"} if shadow else {})
        )

    def recommend_batch(self, requests: Sequence[Mapping[str, Any]]) -> list[Recommendations]:
        """Several lists at once, all or none; each request holds what `recommend` takes."""
        answers = self.ask("POST", "/v1/recommend:batch", {"requests": list(requests)})["answers"]
        return [_recommendations(answer) for answer in answers]

    def pages(self, **asked: Any) -> Iterator[Recommendations]:
        """Pages of one list, of k items each, until nothing is left. Takes what `recommend` takes."""
        cursor: str | None = ""
        while cursor is not None:
            page = self.recommend(**{**asked, "cursor": cursor})
            cursor = page.cursor
            yield page

    def similar(self, item_id: str, *, k: int = 10, domain: str | None = None) -> list[Item]:
        """The items whose vectors point most nearly the same way."""
        within = "" if domain is None else f"&domain={quote(domain, safe='')}"
        answer = self.ask("GET", f"/v1/items/{quote(item_id, safe='')}/similar?k={k}{within}")
        return [_item(item) for item in answer["items"]]

    def model(self) -> dict[str, Any]:
        """What is served, and where it comes from."""
        return self.ask("GET", "/v1/model")

    def status(self, name: str = "recommender") -> list[dict[str, Any]]:
        """The bundles that are deployed, with their states."""
        return list(self.ask("GET", f"/v1/models/{quote(name, safe='')}")["model_version_status"])

    def activate(
        self, bundle_id: str, *, if_match: str | None = None, name: str = "recommender"
    ) -> Activation:
        """Makes a bundle the champion. Not `done` until all workers serve it: ask again. if_match: an
        etag."""
        return self._change(name, "activate", {"bundle_id": bundle_id}, if_match)

    def roll_back(self, *, if_match: str | None = None, name: str = "recommender") -> Activation:
        """Makes the champion before this one the champion. Ask once: a second time leads forward again."""
        return self._change(name, "rollback", {}, if_match)

    def _change(self, name: str, verb: str, body: Mapping[str, Any], etag: str | None) -> Activation:
        headers = {} if etag is None else {"If-Match": f'"{etag}"'}
        answer = self.ask("POST", f"/v1/models/{quote(name, safe='')}:{verb}", body, headers)
        return Activation(**{name: answer[name] for name in Activation.__dataclass_fields__})

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON of any route. Raises ServiceError on a refusal, OSError where nobody answers."""
        sent = None if body is None else json.dumps(body).encode()
        given = {**self._headers, **(headers or {})} | (
            {} if body is None else {"Content-Type": "application/json"}
        )
        changes = path.endswith((":activate", ":rollback"))
        for left in reversed(range(1 if changes else self._retries + 1)):
            try:
                self._connection.request(method, self._path + path, sent, given)
                response = self._connection.getresponse()
                content = response.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self._connection.close()
                if not left:
                    raise
                continue
            except BaseException:  # what is left of the answer belongs to nobody
                self._connection.close()
                raise
            if response.status < 400:
                return dict(json.loads(content))
            if response.status in _AGAIN and left:
                time.sleep(min(float(response.headers.get("Retry-After", 1)), 5.0))
                continue
            raise _refusal(response, content)
        raise AssertionError("unreachable")


def _recommendations(answer: Mapping[str, Any]) -> Recommendations:
    """Fields that a later service adds are left out."""
    known = {name: answer[name] for name in Recommendations.__dataclass_fields__ if name in answer}
    return Recommendations(**{**known, "items": [_item(item) for item in answer["items"]]})


def _item(row: Mapping[str, Any]) -> Item:
    return Item(**{name: row[name] for name in Item.__dataclass_fields__ if name in row})


def _refusal(response: http.client.HTTPResponse, content: bytes) -> ServiceError:
    """What a refusal says; of one that does not come from the service, its status."""
    try:
        said = dict(json.loads(content))
        code, detail, errors = str(said["code"]), str(said["detail"]), said.get("errors") or ()
    except (ValueError, KeyError, TypeError):
        code, detail, errors = "no_problem_document", content[:200].decode(errors="replace"), ()
    return ServiceError(response.status, code, detail, response.headers.get("X-Request-Id"), errors)
