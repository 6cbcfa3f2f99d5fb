"""A small bundle made by hand, and a real service process around it, for the tests of the service."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np
import pyarrow as pa

from recsys.arrays import Ragged
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.bundle.write import publish
from recsys.encoders.encoder import Constant
from recsys.encoders.solve import Solve
from recsys.history import Histories
from recsys.ids import IdMap
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import order_of

QUICK = ("--port", "0", "--poll-s", "0.1", "--lame-duck-s", "0.2", "--idle-check-s", "0")
REPOSITORY = Path(__file__).parents[2]
ODD_IDS = ["a/b", "/lead/", "ü é", "100%", "x/similar", "two\nlines", "?q#f", "007", "日本", "%2F"]
ITEMS = ODD_IDS + [f"i{number}" for number in range(len(ODD_IDS), 60)]
UNTRAINED = ITEMS[-1]
USERS = [f"u{number}" for number in range(40)]
DIM = 8


def content(seed: int = 1, *, popular: bool = False) -> Content:
    """60 items in two domains, the last one without a vector; 40 users with six timed events each."""
    rng = np.random.default_rng(seed)
    histories = Ragged.of([rng.permutation(len(ITEMS) - 1)[:6] for _ in USERS])
    counts = np.bincount(histories.values, minlength=len(ITEMS)).astype(np.float32)
    items = rng.normal(size=(len(ITEMS), DIM)).astype(np.float32)
    items[-1] = 0
    encoder = Solve(items, items.T @ items, None, regularization=0.01, unobserved_weight=0.1, exponent=1.0)
    known = rng.normal(size=(len(USERS), DIM)).astype(np.float32)
    encoder.table = known
    popularity = Embeddings(counts[:, None].copy(), Constant(np.ones(1, np.float32)))
    titles = [None if number == 20 else f"Title {number}" for number in range(len(ITEMS))]
    domains = [None if number == 21 else ("film", "book")[number % 2] for number in range(len(ITEMS))]
    return Content(
        name="toy",
        embeddings=popularity if popular else Embeddings(items, encoder),
        user_ids=IdMap.of(USERS),
        item_ids=IdMap.of(ITEMS),
        catalogue=Catalogue.of(pa.table({"title": titles, "domain": domains})),
        histories=Histories(histories, time=np.tile(np.arange(6) * 100, len(USERS)).astype(np.int64)),
        fallback=order_of(counts),
        fallback_days=30.0,
        seen="exclude",
        lineage={"seed": seed},
    )


def publish_toy(root: Path, seed: int = 1) -> str:
    """The id of a toy bundle that is now the root's current one."""
    return publish(root, content(seed)).name


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A service process. Each `ask` is a connection of its own."""

    process: "subprocess.Popen[str]"
    url: str
    bundle_id: str
    pid: int
    exposures: Path
    admin: str | None = None

    def connection(self, timeout: float = 120) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(str(urlsplit(self.url).netloc), timeout=timeout)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """`body` is sent as it is where it is bytes or an iterator of bytes (chunked), else as JSON."""
        connection = self.connection()
        try:
            given = {"content-type": "application/json"} if body is not None else {}
            sent = body if body is None or isinstance(body, bytes | Iterator) else json.dumps(body).encode()
            connection.request(method, path, sent, {**given, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def recommend(self, **body: Any) -> Any:
        answer = self.ask("POST", "/v1/recommend", body)
        assert answer.status == 200, answer.body
        return answer.json

    def similar(self, item_id: str, k: int = 10) -> Answer:
        return self.ask("GET", f"/v1/items/{quote(item_id, safe='')}/similar?k={k}")

    def lines(self) -> list[Any]:
        """The exposure log, read strictly."""
        return [json.loads(line) for line in self.exposures.read_bytes().splitlines()]


def command(path: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "recsys.serving", str(path), *options]


@contextmanager
def running(path: Path, exposures: Path, *options: str, **popen: Any) -> Iterator[Running]:
    """A service of `path` on a free port; killed with the block if it still runs."""
    process = subprocess.Popen(
        command(
            path,
            "--port",
            "0",
            "--poll-s",
            "0.1",
            "--lame-duck-s",
            "0.2",
            "--exposures",
            str(exposures),
            "--state",
            "off",
            *options,
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONWARNINGS": "error,ignore::DeprecationWarning:importlib._bootstrap"},
        **popen,
    )
    assert process.stdout
    assert process.stderr
    try:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        yield Running(process, exposures=exposures, **json.loads(line))
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
