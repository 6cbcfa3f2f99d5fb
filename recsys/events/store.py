"""Events and exposures in one SQLite database, which several processes write and read at once.

An event that was accepted is on the disk. Its number, `seq`, is given within the transaction that writes it,
and one
transaction follows another, so numbers are in the order of commits: whoever has read up to a number has
missed nothing before it. The library is apsw, which brings an SQLite of its own: those of 3.7.0 to 3.51.2, as
in the standard library of Python 3.11, can damage a database in WAL mode that two processes write.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from recsys.events.event import StoredEvent
from recsys.events.people import SAME, PeopleStore

_AT_A_TIME = 10_000  # rows read between two looks at the lock
_COLUMNS = ", ".join(StoredEvent._fields)


class Appended(NamedTuple):
    """What became of events that were written at once: how many were new, how many were known by their id
    already, and the number up to which the store holds all that was told."""

    accepted: int
    duplicates: int
    seq: int


class Exposure(NamedTuple):
    """A list that was served. line: its JSON, of the schema of `recsys.answers.exposure`."""

    request_id: str
    time_ms: int
    user_id: str | None
    unit_id: str | None
    line: bytes


class Outcome(NamedTuple):
    """What somebody did, as their history needs it, and its number."""

    seq: int
    item_id: str
    timestamp: int
    event: str | None


class PersonState(NamedTuple):
    """What is known of a person at one moment. seq: the number up to which it was read; outcomes: what they
    did, in the order of numbers; forgotten: whether they were, under the id that was asked for."""

    seq: int
    outcomes: list[Outcome]
    forgotten: bool


class Followed(NamedTuple):
    """An event, or a list that was served, as it is counted: what it is, when in unix seconds, and where and
    by which arm it was shown. joined: whether the list that an event follows is in the store."""

    seq: int
    kind: str
    timestamp: int
    placement: str | None
    experiment: str | None
    arm: str | None
    joined: bool


_STATE = """(SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'),
    EXISTS (SELECT 1 FROM forgotten WHERE digest = ?2)"""
_ANYTHING = f"""SELECT {_STATE}, EXISTS (SELECT 1 FROM events WHERE user_id = ?1)
    OR EXISTS (SELECT 1 FROM identities WHERE old = ?1) OR EXISTS (SELECT 1 FROM identities WHERE new = ?1)"""
_EVERYTHING = f"""{SAME} SELECT {_STATE}, done.* FROM (SELECT 1) LEFT JOIN (
    SELECT {", ".join(Outcome._fields)} FROM same CROSS JOIN events ON user_id = id WHERE kind = 'outcome'
    ) AS done ON 1 ORDER BY done.seq"""
_OF_LINE = ", ".join(
    f"json_extract(CAST(line AS TEXT), '$.{name}') AS {name}" for name in ("placement", "experiment", "arm")
)


class EventStore(PeopleStore):
    """An open store. Whoever is named to it by an id is found by what stands for that id in it."""

    def append(self, batches: Sequence[Sequence[StoredEvent]], received_ms: int) -> list[Appended]:
        """Writes batches of events, all in one transaction, and says what became of each. All of them are on
        the disk when this returns; where it raises, none is."""
        marks = ", ".join("?" * (len(StoredEvent._fields) + 1))
        sql = f"INSERT INTO events (received_ms, {_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        counts = []
        with self._lock, self._writing():
            for told in batches:
                events = [self._name_event(event) for event in told] if self.hashed_ids else told
                before = self._database.total_changes()
                self._database.executemany(sql, [(received_ms, *event) for event in events])
                new = self._database.total_changes() - before
                counts.append((new, len(events) - new))
            seq = self._last_seq()
        return [Appended(*counts, seq) for counts in counts]

    def expose(self, exposures: Sequence[Exposure]) -> None:
        """Writes served lists, in one transaction."""
        if self.hashed_ids:
            exposures = [self._name_exposure(exposure) for exposure in exposures]
        with self._lock, self._writing():
            self._database.executemany(
                "INSERT INTO exposures (request_id, time_ms, user_id, unit_id, line) VALUES (?, ?, ?, ?, ?)",
                exposures,
            )

    def _name_event(self, event: StoredEvent) -> StoredEvent:
        user, unit = (one and self.name(one) for one in (event.user_id, event.unit_id))
        return event._replace(user_id=user, unit_id=unit)

    def _name_exposure(self, exposure: Exposure) -> Exposure:
        line = orjson.loads(exposure.line)
        user, unit = (line[name] and self.name(line[name]) for name in ("user_id", "unit_id"))
        line |= {"user_id": user, "unit_id": unit}
        return exposure._replace(line=orjson.dumps(line) + b"\n", user_id=user, unit_id=unit)

    def last_seq(self) -> int:
        """The largest `seq` in the store, 0 where it is empty; some numbers below it have no event."""
        with self._lock:
            return self._last_seq()

    def _last_seq(self) -> int:
        return int(self._one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")[0])

    def person(self, user_id: str) -> PersonState:
        """The events and the state of a person, read at one moment. For people without events it takes a
        third of the time."""
        name, digest = self.name(user_id), self.digest(user_id)
        with self._lock:
            seq, forgotten, told = self._one(_ANYTHING, (name, digest))
            if told:
                rows: list[Any] = self._database.execute(_EVERYTHING, (name, digest)).fetchall()
                seq, forgotten = rows[0][:2]
        outcomes = [Outcome(*row[2:]) for row in rows if row[2] is not None] if told else []
        return PersonState(seq or 0, outcomes, bool(forgotten))

    def outcomes(self, user_id: str, after: int = 0) -> list[Outcome]:
        """What a person did, under any of their ids, by rising `seq`; only events above `after`."""
        sql = f"""{SAME} SELECT seq, item_id, timestamp, event FROM same CROSS JOIN events ON user_id = id
            WHERE seq > ?2 AND kind = 'outcome' ORDER BY seq"""
        with self._lock:
            rows: list[Any] = self._database.execute(sql, (self.name(user_id), after)).fetchall()
        return [Outcome(*row) for row in rows]

    def events(self, after: int = 0, until: int | None = None) -> Iterator[tuple[int, int, StoredEvent]]:
        """The number, time of receipt in unix milliseconds, and content of each event above `after`, up to
        `until`."""
        sql = (
            f"SELECT seq, received_ms, {_COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        )
        last = self.last_seq() if until is None else until
        while True:
            with self._lock:
                rows: list[Any] = self._database.execute(sql, (after, last, _AT_A_TIME)).fetchall()
            for row in rows:
                yield row[0], row[1], StoredEvent(*row[2:])
            if len(rows) < _AT_A_TIME:
                return
            after = rows[-1][0]

    def exposures(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """The number and line of each list that was served, above a number."""
        sql = "SELECT seq, line FROM exposures WHERE seq > ? ORDER BY seq LIMIT ?"
        while True:
            with self._lock:
                rows: list[Any] = self._database.execute(sql, (after, _AT_A_TIME)).fetchall()
            yield from rows
            if len(rows) < _AT_A_TIME:
                return
            after = rows[-1][0]

    def read_followed(
        self, events: int, lists: int, until_ms: int, most: int
    ) -> tuple[list[Followed], list[Followed]]:
        """The next events above a number, each beside the list that it follows, and the next lists above
        another one: `most` of each, of those that came up to a moment in unix milliseconds."""
        told_sql = f"""SELECT seq, kind, timestamp, coalesce(own, placement), experiment, arm, joined FROM (
            SELECT e.seq AS seq, kind, timestamp, e.placement AS own, {_OF_LINE}, x.seq IS NOT NULL AS joined
            FROM (SELECT * FROM events WHERE seq > ? AND received_ms <= ? ORDER BY seq LIMIT ?) AS e
            LEFT JOIN exposures AS x ON x.request_id = e.request_id) GROUP BY seq ORDER BY seq"""
        served = f"""SELECT seq, 'list', time_ms / 1000, {_OF_LINE}, 1 FROM exposures
            WHERE seq > ? AND time_ms <= ? ORDER BY seq LIMIT ?"""
        with self._lock:
            told: list[Any] = self._database.execute(told_sql, (events, until_ms, most)).fetchall()
            shown: list[Any] = self._database.execute(served, (lists, until_ms, most)).fetchall()
        return [Followed(*row) for row in told], [Followed(*row) for row in shown]

    def exposure(self, request_id: str) -> bytes | None:
        """The line of the list that was served to a request; None where there is none."""
        with self._lock:
            row: Any = self._database.execute(
                "SELECT line FROM exposures WHERE request_id = ?", (request_id,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def find_shown(self, user_id: str, item_id: str, after_ms: int, until_ms: int) -> tuple[str, int] | None:
        """The request and place, 1 = top, at which somebody was last served an item between two times; None =
        never."""
        sql = f"""{SAME} SELECT request_id, line FROM same CROSS JOIN exposures ON user_id = id
            WHERE time_ms >= ?2 AND time_ms <= ?3 ORDER BY time_ms DESC, seq DESC"""
        with self._lock:
            for request_id, line in self._database.execute(sql, (self.name(user_id), after_ms, until_ms)):
                items = orjson.loads(line)["items"]
                if item_id in items:
                    return str(request_id), items.index(item_id) + 1
        return None

    def identify(self, pairs: Iterable[tuple[str, str]], received_ms: int) -> None:
        """From now on the first id of each pair is the same person as the second."""
        with self._lock, self._writing():
            self._database.executemany(
                "INSERT INTO identities VALUES (?, ?, ?) ON CONFLICT (old) DO UPDATE SET new = excluded.new",
                [(self.name(old), self.name(new), received_ms) for old, new in pairs if old != new],
            )

    def people(self) -> dict[str, str]:
        """The id by which each person of several ids is called: the one that the others became in the end, or
        the first of them where they go round."""
        with self._lock:
            rows: list[Any] = self._database.execute(
                "SELECT old, new FROM identities ORDER BY old"
            ).fetchall()
        became = dict[str, str](rows)

        def end(id_: str) -> str:
            way: dict[str, None] = {}
            while id_ in became and id_ not in way:
                way[id_] = None
                id_ = became[id_]
            return min(list(way)[list(way).index(id_) :]) if id_ in way else id_

        return {id_: last for id_ in became if (last := end(id_)) != id_}
