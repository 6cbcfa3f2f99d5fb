"""Events and exposures in one SQLite database, which several processes write and read at once.

An event that was accepted is on the disk. Its number, `seq`, is given within the transaction that writes it, and one
transaction follows another, so numbers are in the order of commits: whoever has read up to a number has missed nothing
before it. The library is apsw, which brings an SQLite of its own: those of 3.7.0 to 3.51.2, as in the standard library
of Python 3.11, can damage a database in WAL mode that two processes write.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from recsys.errors import DataError
from recsys.events.database import Database
from recsys.events.event import StoredEvent
from recsys.events.names import PlainNames, hashed_names, make_key
from recsys.history import DAY_S

_AT_A_TIME = 10_000  # rows read between two looks at the lock
_SLICE = 2_000  # numbers that are looked through in one transaction of `prune`
_SAME = """WITH RECURSIVE same(id) AS (VALUES (?1) UNION SELECT new FROM identities JOIN same ON old = id
    UNION SELECT old FROM identities JOIN same ON new = id)"""
_COLUMNS = ", ".join(StoredEvent._fields)


class Appended(NamedTuple):
    """What became of events that were written at once: how many were new, how many were known by their id already, and
    the number up to which the store holds all that was told."""

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


class EventStore(Database):
    """An open store. Whoever is named to it by an id is found by what stands for that id in it."""

    def __init__(self, folder: Path, *, hashed_ids: bool | None = None) -> None:
        """Opens the store in a folder, made where there is none.

        hashed_ids: whether ids of people are kept as hashes by a key, which lies beside the file; None = as the store
        has them, and plain in a new one. Raises DataError where the store has them otherwise, lacks its key, or cannot
        be opened.
        """
        super().__init__(folder)
        self.store_id = str(self._fact("store_id"))
        self._key = bytes.fromhex(str(self._fact("key")))
        self.hashed_ids = self._hashes(folder, hashed_ids)
        self._names = hashed_names(folder) if self.hashed_ids else PlainNames()

    def _hashes(self, folder: Path, asked: bool | None) -> bool:
        """Whether ids are kept as hashes: settled once, before the first event."""
        with self._writing():
            kept = self._fact("ids")
            if kept is None and asked:
                used = self._one("SELECT 1 FROM events UNION ALL SELECT 1 FROM exposures LIMIT 1") is not None
                kept = "plain" if used or self._one("SELECT 1 FROM identities") is not None else "hashed"
                if kept == "hashed":
                    make_key(folder)
                    self._database.execute("INSERT INTO facts VALUES ('ids', 'hashed')")
        if asked is not None and asked != (kept == "hashed"):
            raise DataError(
                f"the event store {self.path} keeps ids {'hashed' if kept == 'hashed' else 'as they are'}, and the "
                "other way is asked for. Name a new folder for it: an export can be imported there."
            )
        return kept == "hashed"

    def name(self, id_: str) -> str:
        """What stands for an id of a person in this store."""
        return self._names.of(id_)

    def append(self, batches: Sequence[Sequence[StoredEvent]], received_ms: int) -> list[Appended]:
        """Writes batches of events, all in one transaction, and says what became of each. All of them are on the disk
        when this returns; where it raises, none is."""
        marks = ", ".join("?" * (len(StoredEvent._fields) + 1))
        sql = f"INSERT INTO events (received_ms, {_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        found = []
        with self._lock, self._writing():
            for told in batches:
                events = [self._named(event) for event in told] if self.hashed_ids else told
                before = self._database.total_changes()
                self._database.executemany(sql, [(received_ms, *event) for event in events])
                new = self._database.total_changes() - before
                found.append((new, len(events) - new))
            seq = self._last_seq()
        return [Appended(*counts, seq) for counts in found]

    def expose(self, exposures: Sequence[Exposure]) -> None:
        """Writes what was served, in one transaction."""
        if self.hashed_ids:
            exposures = [self._unnamed(exposure) for exposure in exposures]
        with self._lock, self._writing():
            self._database.executemany(
                "INSERT INTO exposures (request_id, time_ms, user_id, unit_id, line) VALUES (?, ?, ?, ?, ?)", exposures
            )

    def _named(self, event: StoredEvent) -> StoredEvent:
        user, unit = (one and self.name(one) for one in (event.user_id, event.unit_id))
        return event._replace(user_id=user, unit_id=unit)

    def _unnamed(self, exposure: Exposure) -> Exposure:
        line = orjson.loads(exposure.line)
        who = {name: line[name] and self.name(line[name]) for name in ("user_id", "unit_id")}
        return exposure._replace(line=orjson.dumps(line | who) + b"\n", **who)

    def last_seq(self) -> int:
        """The number up to which the store holds all that was told, 0 where nothing was; some numbers have no event."""
        with self._lock:
            return self._last_seq()

    def _last_seq(self) -> int:
        return int(self._one("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'")[0])

    def outcomes(self, user_id: str, after: int = 0) -> list[Outcome]:
        """What somebody did, under any of their ids, in the order of numbers; those above `after`."""
        sql = f"""{_SAME} SELECT seq, item_id, timestamp, event FROM same CROSS JOIN events ON user_id = id
            WHERE seq > ?2 AND kind = 'outcome' ORDER BY seq"""
        with self._lock:
            rows: list[Any] = self._database.execute(sql, (self.name(user_id), after)).fetchall()
        return [Outcome(*row) for row in rows]

    def events(self, after: int = 0, until: int | None = None) -> Iterator[tuple[int, int, StoredEvent]]:
        """The number, time of receipt in unix milliseconds, and content of each event above `after`, up to `until`."""
        sql = f"SELECT seq, received_ms, {_COLUMNS} FROM events WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
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

    def exposure(self, request_id: str) -> bytes | None:
        """The line of the list that was served to a request; None where there is none."""
        with self._lock:
            row: Any = self._database.execute(
                "SELECT line FROM exposures WHERE request_id = ?", (request_id,)
            ).fetchone()
        return None if row is None else bytes(row[0])

    def shown(self, user_id: str, item_id: str, after_ms: int, until_ms: int) -> tuple[str, int] | None:
        """The request and place, 1 = top, at which somebody was last served an item between two times; None = never."""
        sql = f"""{_SAME} SELECT request_id, line FROM same CROSS JOIN exposures ON user_id = id
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

    def ids_of(self, user_id: str) -> list[str]:
        """All ids of the person who has this one, as they stand in the store, sorted."""
        with self._lock:
            rows: list[Any] = self._database.execute(f"{_SAME} SELECT id FROM same", (self.name(user_id),)).fetchall()
        return sorted(row[0] for row in rows)

    def people(self) -> dict[str, str]:
        """The id by which each person of several ids is called: the one that the others became in the end, or the first
        of them where they go round."""
        with self._lock:
            rows: list[Any] = self._database.execute("SELECT old, new FROM identities ORDER BY old").fetchall()
        became = dict[str, str](rows)

        def end(id_: str) -> str:
            way: dict[str, None] = {}
            while id_ in became and id_ not in way:
                way[id_] = None
                id_ = became[id_]
            return min(list(way)[list(way).index(id_) :]) if id_ in way else id_

        return {id_: last for id_ in became if (last := end(id_)) != id_}

    def forget(self, user_id: str, received_ms: int) -> dict[str, int]:
        """Deletes all that is kept of a person under any of their ids, overwrites it on the disk, and remembers by a
        keyed digest of each that they are forgotten. How many rows of each table went."""
        ids = self.ids_of(user_id)
        marks, gone = ", ".join("?" * len(ids)), {}
        with self._lock:
            with self._writing():
                for table in ("events", "exposures"):
                    where = f"user_id IN ({marks}) OR unit_id IN ({marks})"
                    self._database.execute(f"DELETE FROM {table} WHERE {where}", (*ids, *ids))
                    gone[table] = self._database.changes()
                self._database.execute(
                    f"DELETE FROM identities WHERE old IN ({marks}) OR new IN ({marks})", (*ids, *ids)
                )
                gone["identities"] = self._database.changes()
                digests = [self.digest(one) for one in ids]
                earlier = self._one(f"SELECT person FROM forgotten WHERE digest IN ({marks})", tuple(digests))
                person = digests[0] if earlier is None else earlier[0]
                rows = [(one, received_ms, person) for one in digests]
                self._database.executemany("INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?)", rows)
            self._overwrite()
        return gone

    def prune(self, before_ms: int, pause_s: float = 0.0) -> dict[str, int]:
        """Deletes the events that were received, and the lists that were served, before a moment, and overwrites them
        on the disk. How many rows of each table went.

        It goes by slices, each a transaction of its own, and rests between two, so that whoever tells waits for one at
        most. It ends a day of receipts beyond the moment: clocks may have run backwards by that much.
        """
        gone = {}
        for table, column in (("events", "received_ms"), ("exposures", "time_ms")):
            gone[table], at = 0, 0
            while True:
                with self._lock:
                    sql = f"SELECT seq, {column} FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?"
                    rows: list[Any] = self._database.execute(sql, (at, _SLICE)).fetchall()
                    if not rows or min(row[1] for row in rows) > before_ms + DAY_S * 1000:
                        break
                    first, at = rows[0][0], rows[-1][0]
                    if any(row[1] < before_ms for row in rows):
                        where = f"seq >= ? AND seq <= ? AND {column} < ?"
                        with self._writing():
                            self._database.execute(f"DELETE FROM {table} WHERE {where}", (first, at, before_ms))
                            gone[table] += self._database.changes()
                time.sleep(pause_s)
        if any(gone.values()):
            with self._lock:
                self._overwrite()
        return gone

    def forgotten(self, user_id: str) -> bool:
        """Whether a person was forgotten. Events that came since are those of somebody new."""
        with self._lock:
            return self._one("SELECT 1 FROM forgotten WHERE digest = ?", (self.digest(user_id),)) is not None

    def forgotten_with(self, user_id: str) -> frozenset[bytes]:
        """The digests of all ids of a forgotten person, whom nobody can name any more."""
        sql = "SELECT digest FROM forgotten WHERE person = (SELECT person FROM forgotten WHERE digest = ?)"
        with self._lock:
            return frozenset(bytes(row[0]) for row in self._database.execute(sql, (self.digest(user_id),)))

    def digest(self, user_id: str) -> bytes:
        """128 bits that stand for an id, and that nobody turns back who has not the store."""
        name = self.name(user_id).encode(errors="surrogatepass")
        return blake2b(name, key=self._key, digest_size=16).digest()
