"""What is told of people after an answer: taken in once it is on the disk, and in their history from then
on."""

import logging
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import apsw
import orjson

from recsys.answers.question import Event, Question
from recsys.bundle.bundle import Bundle
from recsys.events.clock import now_ms
from recsys.events.event import MAX_EVENTS, ReadEvents, read_events
from recsys.events.store import Appended, EventStore, Exposure
from recsys.events.writer import EventWriter, FullError
from recsys.serving.body import any_json
from recsys.serving.problems import Problem
from recsys.serving.runtime.keeper import Keeper
from recsys.serving.runtime.metrics import Metrics
from recsys.serving.settings import ServingSettings


@dataclass
class Tally:
    """Exposures written and lost since the start, and what is wrong with the disk now."""

    written: int = 0
    lost: int = 0
    error: str | None = None


_LOOK_S = 0.002  # between two looks at what others have written
_AGAIN = {"Retry-After": "1"}
_log = logging.getLogger("serving")


class Events:
    """An event store for reading, beside its writer: a slow disk holds up who tells, and nobody who asks.

    Without a folder of state there is no store, nothing can be told, and histories are those of bundles.
    """

    def __init__(self, settings: ServingSettings, metrics: Metrics) -> None:
        self._settings, self._folder, self._metrics = settings, settings.state_folder, metrics
        self._keeper: Keeper | None = None
        self._store: EventStore | None = None
        self._writer: EventWriter | None = None

    def start(self) -> None:
        """Raises DataError where the store cannot be opened."""
        if self._folder is not None:
            self._store = EventStore(self._folder, hashed_ids=self._settings.hashed_ids or None)
            self._keeper = Keeper(
                self._folder, self._metrics, self._settings.keep_days, self._settings.watch_s
            )
            self._writer = EventWriter(EventStore(self._folder), lost=self._metrics.count_lost_lines)

    def close(self) -> None:
        """What waits to be written is written."""
        if self._keeper is not None:
            self._keeper.close()
        if self._store is not None and self._writer is not None:
            self._writer.close()
            self._writer.store.close()
            self._store.close()

    def _open(self) -> tuple[EventStore, EventWriter]:
        if self._store is None or self._writer is None:
            raise Problem("no_event_store", "The service keeps no state: it was started with --state off.")
        return self._store, self._writer

    @property
    def there(self) -> bool:
        """Whether there is a store."""
        return self._folder is not None

    @property
    def exposed(self) -> Tally:
        """How the exposures fare."""
        if self._writer is None:
            return Tally()
        return Tally(self._writer.written_exposures, self._writer.lost_exposures, self._writer.error)

    def expose(self, exposure: Exposure) -> None:
        """Has a list that was served written soon."""
        if self._writer is not None:
            self._writer.expose(exposure)

    def tell(self, body: bytes, lines: bool) -> tuple[ReadEvents, "Future[Appended]"]:
        """The events in a body, an array or, where `lines`, one in each line, and what will have become of
        those that keep the rules. Raises a Problem where none is taken."""
        _, writer = self._open()
        told = _parse_told(body, lines)
        if len(told) > MAX_EVENTS:
            raise Problem(
                "invalid_request", f"The body holds {len(told):,} events; send {MAX_EVENTS} at once at most."
            )
        read = read_events(told, now_ms())
        try:
            return read, writer.tell(read.events)
        except FullError as error:
            raise Problem("event_queue_full", str(error), headers=_AGAIN) from None

    def acknowledge(self, read: ReadEvents, appended: Appended) -> bytes:
        """Counts the events, and answers their sender: how many were accepted, and which were not and why."""
        counts = {
            "accepted": appended.accepted,
            "duplicate": appended.duplicates,
            "rejected": len(read.rejected),
        }
        self._metrics.count_events(counts | {"redated": read.redated})
        rejected = [{"index": one.index, "code": one.code, "message": one.message} for one in read.rejected]
        said = {"accepted": appended.accepted, "duplicates": appended.duplicates, "redated": read.redated}
        return orjson.dumps({**said, "rejected": rejected, "state_seq": appended.seq})

    @staticmethod
    def failure_of(error: apsw.Error) -> Problem:
        """Logs an error of the store, and returns the problem that its sender is answered with."""
        _log.error("event store: %s", error)
        return Problem(
            "event_store_failed", "The events could not be written; none of them was taken.", headers=_AGAIN
        )

    def identify(self, pairs: Sequence[tuple[str, str]]) -> bytes:
        """From now on the first id of each pair is the person of the second."""
        _, writer = self._open()
        try:
            writer.store.identify(pairs, now_ms())
        except apsw.Error as error:
            raise self.failure_of(error) from None
        return orjson.dumps({"accepted": len(pairs)})

    def forget(self, user_id: str) -> bytes:
        """Deletes what is kept of a person; from now on they are a stranger to bundles, too."""
        _, writer = self._open()
        try:
            return orjson.dumps({"deleted": writer.store.forget(user_id, now_ms())})
        except apsw.Error as error:
            raise self.failure_of(error) from None

    def read_since(
        self, bundle: Bundle, question: Question, at_least: int | None, wait_s: float
    ) -> tuple[Question, int | None]:
        """The question with the events that its person did since the training, and the `seq` up to which the
        store was read; None without a store.

        at_least: a `seq` that the store must have reached; it is given `wait_s` seconds. Raises a Problem
        where it has not.
        """
        if self._store is None:
            if at_least is not None:
                self._open()
            return question, None
        if at_least is not None:
            self._wait_for(self._store, at_least, wait_s)
        if (person := question.user_id) is None:
            return question, self._store.last_seq()
        if self._store.hashed_ids and person not in bundle.user_ids:  # it may have been learned from a store
            person = self._store.name(person)
        seq, outcomes, forgotten = self._store.person(person)
        if (known := None if forgotten else person) != question.user_id:
            question = replace(question, user_id=known)
        types = bundle.event_names
        since = [
            Event(one.item_id, one.timestamp, one.event)
            for one in outcomes
            if not types or one.event in types
        ]
        return (replace(question, since=since) if since else question), seq

    @staticmethod
    def _wait_for(store: EventStore, at_least: int, wait_s: float) -> None:
        """Returns when the store has reached a `seq`. Raises a Problem after `wait_s` seconds without it."""
        until = time.monotonic() + wait_s
        while (seq := store.last_seq()) < at_least:
            if time.monotonic() > until:
                detail = f"The state has come to {seq}, and min_state_seq asks for {at_least}."
                raise Problem("state_behind", detail, headers=_AGAIN)
            time.sleep(_LOOK_S)


def _parse_told(body: bytes, lines: bool) -> list[Any]:
    """The JSON values in a body: of an array, or one per line. A line that is no JSON is replaced by the
    error's text, so that it is rejected in its place as any other wrong event."""
    if not lines:
        value = any_json(body)
        if not isinstance(value, list):
            raise Problem(
                "invalid_request", f"The body must be an array of events, got {type(value).__name__}."
            )
        return value
    values = []
    for line in body.splitlines():
        if line.strip():
            try:
                values.append(any_json(line))
            except Problem as problem:
                values.append(problem.detail)
    return values
