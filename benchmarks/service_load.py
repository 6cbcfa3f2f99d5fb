"""Services as processes, and clients that put load on them: closed loops, and arrivals at a given rate."""

import asyncio
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"


@dataclass
class Process:
    """A running service. pid: of the process, or of the parent of several."""

    process: "subprocess.Popen[str]"
    address: tuple[str, int]
    pid: int
    admin: str | None = None

    def cpu_ms(self) -> float:
        """Processor time of the process and its children so far."""
        return sum(_cpu_ms(pid) for pid in (self.pid, *self.children()))

    def children(self) -> list[int]:
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            ]
        except OSError:
            return []

    def memory_kib(self) -> int:
        """What the processes hold for themselves; pages of the bundle, which they share, left out."""
        return sum(_status(pid, "RssAnon") for pid in (self.pid, *self.children()))

    def resident_kib(self) -> int:
        """All that the processes have in memory, with the pages of libraries and of the bundle."""
        return sum(_status(pid, "VmRSS") for pid in (self.pid, *self.children()))

    def files_and_threads(self) -> tuple[int, int]:
        pids = (self.pid, *self.children())
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids), sum(
            _status(pid, "Threads") for pid in pids
        )

    def get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def _status(pid: int, name: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith(f"{name}:")).split()[1])


def _cpu_ms(pid: int) -> float:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


@contextmanager
def serving(root: Path, *options: str) -> Iterator[Process]:
    """A service of `root` on a free port; stopped with the block."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "recsys.serving",
        str(root),
        "--port",
        "0",
        "--lame-duck-s",
        "0",
        *options,
    ]
    with running(command) as process:
        yield process


@contextmanager
def running(command: Sequence[str]) -> Iterator[Process]:
    """A service that says {"url"} in its first line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        said = json.loads(process.stdout.readline())
        where = urlsplit(said["url"])
        yield Process(process, (str(where.hostname), int(where.port or 0)), process.pid, said.get("admin"))
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def request(body: dict[str, Any], path: str = "/v1/recommend") -> bytes:
    text = json.dumps(body)
    return (HEAD.format(path=path, length=len(text)) + text).encode()


class Connection:
    """One connection that is kept; whatever goes wrong is an OSError."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=60)
        self.open = True

    def ask(self, asked: bytes) -> tuple[int, bytes]:
        """(status, body)."""
        self.socket.sendall(asked)
        text = b""
        while (end := text.find(b"\r\n\r\n")) < 0:
            text += self._more()
        head, body = text[:end].lower(), text[end + 4 :]
        length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += self._more()
        self.open = b"connection: close" not in head
        return int(head[9:12]), body

    def _more(self) -> bytes:
        if not (more := self.socket.recv(1 << 18)):
            raise ConnectionResetError("the connection ended before the answer")
        return more

    def reset(self) -> None:
        """Ends it without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@dataclass
class Seen:
    """What clients saw. seconds: of the answers with status 200; answers: (user, bundle id, [(item id,
    score)]) of some."""

    sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    answers: list[tuple[str, str, list[tuple[str, float]]]] = field(default_factory=list)

    @property
    def answered(self) -> int:
        return self.statuses.get(200, 0)

    @property
    def failed(self) -> int:
        """Requests that were neither answered nor told to come back."""
        return len(self.errors) + sum(
            count for status, count in self.statuses.items() if status not in (200, 429)
        )

    def quantile_ms(self, share: float) -> float:
        return float(np.quantile(self.seconds, share) * 1e3) if self.seconds else float("nan")


class Clients:
    """So many clients, each of which asks again as soon as it has its answer, until `end`.

    choose: the address that a client asks next. fresh: a new connection for each request. k, users: what is
    asked.
    rest_s: what each waits after an answer.
    """

    def __init__(
        self,
        choose: Callable[[], tuple[str, int]],
        clients: int,
        users: int,
        *,
        k: int = 100,
        fresh: bool = False,
        keep: int = 0,
        rest_s: float = 0,
    ) -> None:
        self._rest_s = rest_s
        self.seen, self._choose, self._users, self._k = Seen(), choose, users, k
        self._fresh, self._keep, self._stop, self._lock = fresh, keep, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def end(self) -> Seen:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self.seen

    def _ask(self, seed: int) -> None:
        draw, connection = random.Random(seed), None
        while not self._stop.is_set():
            user = f"u{draw.randrange(self._users)}"
            with self._lock:
                self.seen.sent += 1
            start = time.perf_counter()
            try:
                if connection is None or self._fresh or not connection.open:
                    if connection is not None:
                        connection.socket.close()
                    connection = Connection(self._choose())
                status, body = connection.ask(request({"user_id": user, "k": self._k}))
            except OSError as error:
                with self._lock:
                    self.seen.errors.append(repr(error))
                connection = None
                continue
            spent = time.perf_counter() - start
            time.sleep(self._rest_s)
            with self._lock:
                self.seen.statuses[status] = self.seen.statuses.get(status, 0) + 1
                if status == 200:
                    self.seen.seconds.append(spent)
                    if len(self.seen.answers) < self._keep or (self._keep and draw.random() < 0.01):
                        told = json.loads(body)
                        items = [(item["item_id"], item["score"]) for item in told["items"]]
                        self.seen.answers.append((user, told["bundle_id"], items))
        if connection is not None:
            connection.socket.close()


def arrive(
    address: tuple[str, int], rate: float, seconds: float, bodies: Sequence[bytes], connections: int = 64
) -> Seen:
    """Requests that arrive at a rate (a second), whether others are answered or not; timed from when they
    were due."""
    return asyncio.run(_arrive(address, rate, seconds, bodies, connections))


async def _arrive(
    address: tuple[str, int], rate: float, seconds: float, bodies: Sequence[bytes], connections: int
) -> Seen:
    seen, free = Seen(), asyncio.Queue[Any]()
    for _ in range(connections):
        free.put_nowait(await asyncio.open_connection(*address, limit=1 << 20))

    async def one(due: float, body: bytes) -> None:
        reader, writer = await free.get()
        try:
            writer.write(body)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            status = int(head[9:12])
            seen.statuses[status] = seen.statuses.get(status, 0) + 1
            if status == 200:
                seen.seconds.append(time.perf_counter() - due)
        except (OSError, EOFError) as error:
            seen.errors.append(repr(error))
        free.put_nowait((reader, writer))

    start, tasks = time.perf_counter(), set[asyncio.Task[None]]()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        seen.sent += 1
        task = asyncio.create_task(one(due, bodies[number % len(bodies)]))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    return seen
