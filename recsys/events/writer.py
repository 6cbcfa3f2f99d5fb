"""A thread that writes what many tell: one transaction for all that wait, so that the disk syncs once for
all."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Thread

import apsw

from recsys.errors import RecsysError
from recsys.events.clock import now_ms
from recsys.events.event import StoredEvent
from recsys.events.store import Appended, EventStore, Exposure

_GATHER_S = 0.1  # in which exposures come together


class FullError(RecsysError):
    """More events wait to be written than may. They were not taken; ask again."""


@dataclass
class _Waiting:
    """What is to be written next. told: batches of events, each with who waits for them."""

    told: list[tuple[Sequence[StoredEvent], "Future[Appended]"]] = field(default_factory=list)
    events: int = 0
    exposures: list[Exposure] = field(default_factory=list)


class EventWriter:
    """Events are acknowledged once they are on the disk; exposures are written within a tenth of a second,
    and counted where they are not."""

    def __init__(
        self, store: EventStore, most: int = 20_000, lost: Callable[[int], None] = lambda count: None
    ) -> None:
        """most: events, and exposures, that may wait. lost: told how many exposures are lost, whenever some
        are."""
        self.store, self.most, self._lost = store, most, lost
        self.written_exposures = self.lost_exposures = 0
        self.error: str | None = None  # what the disk said last, until it takes something again
        self._waiting, self._closing, self._news = _Waiting(), False, Condition()
        self._thread = Thread(target=self._write_until_closed, name="events", daemon=True)
        self._thread.start()

    def tell(self, events: Sequence[StoredEvent]) -> "Future[Appended]":
        """What becomes of events, known once they are on the disk; it raises what the disk said where it
        refused.

        Raises FullError, and takes nothing, where too many wait already.
        """
        done: Future[Appended] = Future()
        with self._news:
            if self._closing or self._waiting.events + len(events) > self.most:
                raise FullError(
                    f"{self._waiting.events:,} events wait to be written; tell these again in a second."
                )
            self._waiting.told.append((events, done))
            self._waiting.events += len(events)
            self._news.notify()
        return done

    def expose(self, exposure: Exposure) -> None:
        """Has a list that was served written soon; where too many wait, it is lost."""
        with self._news:
            if len(self._waiting.exposures) < self.most:
                self._waiting.exposures.append(exposure)
                if len(self._waiting.exposures) == 1:
                    self._news.notify()
                return
        self._lose(1)

    def _lose(self, exposures: int) -> None:
        self.lost_exposures += exposures
        self._lost(exposures)

    def _write_until_closed(self) -> None:
        while True:
            with self._news:
                while not (self._waiting.told or self._waiting.exposures or self._closing):
                    self._news.wait()
                # nobody waits for exposures, and one transaction for many costs far less
                if not self._waiting.told:
                    self._news.wait_for(lambda: self._waiting.told or self._closing, _GATHER_S)
                if self._closing and not (self._waiting.told or self._waiting.exposures):
                    return
                now, self._waiting = self._waiting, _Waiting()
            self._write(now)

    def _write(self, now: _Waiting) -> None:
        try:
            if now.told:
                received_ms = now_ms()
                appended = self.store.append([events for events, _ in now.told], received_ms)
                for (_, done), one in zip(now.told, appended, strict=True):
                    done.set_result(one)
                self.error = None
        except apsw.Error as error:
            self.error = str(error)
            for _, done in now.told:
                done.set_exception(error)
        try:
            if now.exposures:
                self.store.expose(now.exposures)
                self.written_exposures += len(now.exposures)
                self.error = None
        except apsw.Error as error:
            self.error = str(error)
            self._lose(len(now.exposures))

    def close(self) -> None:
        """Writes all that waits, and takes nothing more."""
        with self._news:
            self._closing = True
            self._news.notify()
        self._thread.join()
