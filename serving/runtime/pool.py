"""Bounded work, in threads or in the loop: so many requests wait, none longer than its caller waits."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple

import faiss

from recsys.serving.problems import Problem

Done = Callable[[bytes | Exception], None]
OVERLOADED = Problem(
    "overloaded",
    "As many requests as may wait do so already; try again in a second.",
    headers={"Retry-After": "1"},
)
LATE = Problem("overloaded", "The request waited longer than its caller waits.", headers={"Retry-After": "1"})
_SHORT_S, _FORGOTTEN = 0.0012, 1.02  # seconds; what the least of them grows by with each list
_TIMEOUT, _ENVOYS = b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms"


class _Job(NamedTuple):
    """Work of one request, what its outcome is given to in the loop, and the moment of `time.monotonic` by
    which it must begin."""

    loop: asyncio.AbstractEventLoop
    done: Done
    begin_by: float
    work: Callable[..., bytes]
    arguments: tuple[Any, ...]
    one_list: bool


class Pool:
    """Threads that search; `start` and `close` bound their lives.

    A list that takes less than `_SHORT_S` of a processor is made in the loop, one at a time, between two
    looks at the
    connections: a thread would mostly fight with the loop for the interpreter's lock, and the requests of
    eight clients cost half as much again. Longer work goes to the threads, whose searches run side by side.

    threads: requests at a time. waiting: requests that may wait for a thread, or for the loop. deadline_s:
    the longest that one may wait, in seconds.
    """

    def __init__(self, threads: int, waiting: int, deadline_s: float) -> None:
        self.busy = 0  # requests that are being answered or wait
        self._limit, self._deadline_s = threads + waiting, deadline_s
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._here = deque[_Job]()  # for the loop
        self._least_s = 1.0  # processor time of a list; what it takes beside others is no measure
        self._threads = [
            Thread(target=self._work, name=f"search-{number}", daemon=True) for number in range(threads)
        ]

    def start(self) -> None:
        """Starts the threads. Call it in the thread of the event loop."""
        faiss.omp_set_num_threads(1)  # OpenMP keeps its count for each thread
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Running requests end first."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def full(self) -> bool:
        """Whether a further request is refused."""
        return self.busy >= self._limit

    def submit(
        self,
        done: Done,
        work: Callable[..., bytes],
        *arguments: Any,
        wait_s: float | None = None,
        one_list: bool = False,
    ) -> None:
        """Has work done, whose outcome, or the error in its place, is given to `done` in the running loop.

        wait_s: seconds that its caller waits, where it says so. one_list: whether it makes one list, so that
        it may be short. Raises a Problem at once where too many wait.
        """
        if self.full:
            raise OVERLOADED.with_traceback(None)
        self.busy += 1
        begin_by = time.monotonic() + (self._deadline_s if wait_s is None else min(wait_s, self._deadline_s))
        job = _Job(asyncio.get_running_loop(), done, begin_by, work, arguments, one_list)
        if not one_list or self._least_s > _SHORT_S:
            self._jobs.put(job)
            return
        self._here.append(job)
        if len(self._here) == 1:
            job.loop.call_soon(self._next)

    async def run(self, work: Callable[..., bytes], *arguments: Any, wait_s: float | None = None) -> bytes:
        """The outcome of `submit`, awaited."""
        result: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def settle(outcome: bytes | Exception) -> None:
            if result.done():  # given up
                return
            if isinstance(outcome, Exception):
                result.set_exception(outcome)
            else:
                result.set_result(outcome)

        self.submit(settle, work, *arguments, wait_s=wait_s)
        return await result

    def _work(self) -> None:
        faiss.omp_set_num_threads(1)
        while (job := self._jobs.get()) is not None:
            outcome = self._outcome(job)
            job.loop.call_soon_threadsafe(self._settle, job.done, outcome)
            del job, outcome  # what they hold shall not wait for the next request

    def _next(self) -> None:
        """Does the work of one that waits for the loop; the others after it has looked at its connections."""
        job = self._here[0]
        outcome = self._outcome(job)
        self._here.popleft()
        if self._here:
            job.loop.call_soon(self._next)
        self._settle(job.done, outcome)

    def _outcome(self, job: _Job) -> bytes | Exception:
        if time.monotonic() > job.begin_by:
            return LATE
        began = time.thread_time()
        try:
            return job.work(*job.arguments)
        except Exception as error:
            return error
        finally:
            if job.one_list:
                self._least_s = min(time.thread_time() - began, self._least_s * _FORGOTTEN)

    def _settle(self, done: Done, outcome: bytes | Exception) -> None:
        self.busy -= 1
        done(outcome)


def wait_s(headers: Mapping[bytes, bytes]) -> float | None:
    """How long the caller waits, by X-Request-Timeout-Ms or Envoy's header, or None; else a Problem."""
    milliseconds = headers.get(_TIMEOUT)
    if milliseconds is None and (milliseconds := headers.get(_ENVOYS)) is None:
        return None
    if not milliseconds.isdigit() or len(milliseconds) > 9:
        raise Problem(
            "invalid_request", "The header X-Request-Timeout-Ms must be a whole number of milliseconds."
        )
    return int(milliseconds) / 1e3
