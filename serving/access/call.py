"""One request as those see it who let it in, answer it and write it down."""

import re
import time
from collections.abc import Mapping

from recsys.answers.exposure import uuid7
from recsys.keys import Key

Headers = Mapping[bytes, bytes]  # names in lower case; of one that comes twice, the last
Head = list[tuple[bytes, bytes]]
_TOKEN = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")
_TRACE = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


class Call:
    """The headers of a request, and what is found out about it on its way.

    key: whose it is, where keys are asked for. request_id: of the list that it was answered with. search_ms:
    what the answer took, without HTTP. head: what the answer says of a quota. limited: whether the quota is
    used up.
    """

    __slots__ = ("head", "headers", "key", "limited", "request_id", "search_ms")

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.key: Key | None = None
        self.request_id: str | None = None
        self.search_ms: float | None = None
        self.head: Head = []
        self.limited = False

    @property
    def shown_id(self) -> bytes:
        """What the request is called: by its sender, where that is a plain token, else by us."""
        given = self.headers.get(b"x-request-id")
        if given is not None and _TOKEN.fullmatch(given):
            return given
        if self.request_id is None:
            self.request_id = uuid7(time.time_ns() // 1_000_000)
        return self.request_id.encode()

    @property
    def traceparent(self) -> bytes | None:
        """W3C's header, where it is one."""
        given = self.headers.get(b"traceparent")
        return given if given is not None and _TRACE.fullmatch(given) else None

    def answer_head(self) -> Head:
        """What every answer says of its request."""
        head = [(b"x-request-id", self.shown_id), (b"cache-control", b"no-store"), *self.head]
        if (trace := self.traceparent) is not None:
            head.append((b"traceparent", trace))
        if self.search_ms is not None:
            head.append((b"server-timing", b"search;dur=%.2f" % self.search_ms))
        return head
