"""Events and exposures in one SQLite database, which several processes write and read at once.

An event that was accepted is on the disk. Its number, `seq`, is given within the transaction that writes it, and one
transaction follows another, so numbers are in the order of commits: whoever has read up to a number has missed nothing
before it. The library is apsw, which brings an SQLite of its own: those of 3.7.0 to 3.51.2, as in the standard library
of Python 3.11, can damage a database in WAL mode that two processes write.
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_UN, flock
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from weakref import finalize

import apsw
import orjson

from recsys.errors import DataError
from recsys.events.event import StoredEvent

FILE, LOCK, VERSION = "events.db", "events.lock", 1
_BUSY_MS = 10_000
_AT_A_TIME = 10_000  # rows read between two looks at the lock
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, received_ms INTEGER NOT NULL, event_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL, item_id TEXT NOT NULL, event TEXT, user_id TEXT, unit_id TEXT, timestamp INTEGER NOT NULL,
    request_id TEXT, position INTEGER, placement TEXT, value REAL);
CREATE INDEX events_of_user ON events (user_id, seq) WHERE user_id IS NOT NULL;
CREATE INDEX events_of_unit ON events (unit_id) WHERE unit_id IS NOT NULL;
CREATE TABLE exposures (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, time_ms INTEGER NOT NULL, user_id TEXT,
    unit_id TEXT, line BLOB NOT NULL);
CREATE INDEX exposures_of_request ON exposures (request_id);
CREATE INDEX exposures_of_user ON exposures (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX exposures_of_unit ON exposures (unit_id) WHERE unit_id IS NOT NULL;
CREATE TABLE identities (old TEXT PRIMARY KEY, new TEXT NOT NULL, received_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX identities_of_new ON identities (new);
CREATE TABLE forgotten (digest BLOB PRIMARY KEY, received_ms INTEGER NOT NULL) WITHOUT ROWID;
"""
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


class EventStore:
    """An open store. It may be used by several threads, one at a time; others who write are waited for, ten seconds."""

    def __init__(self, folder: Path) -> None:
        """Opens the store in a folder, made where there is none.

        Raises DataError where the folder cannot be written, the file is no database, or a newer version wrote it.
        """
        self.path = folder / FILE
        self._lock = Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._turn = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._leave = finalize(self, os.close, self._turn)
            self._database = apsw.Connection(str(self.path))
            self._database.set_busy_timeout(_BUSY_MS)
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._database.execute(f"PRAGMA {pragma}").fetchall()
            self._make()
        except (apsw.Error, OSError) as error:
            raise DataError(
                f"the event store {self.path} cannot be opened: {error}. Name a folder on a writable disk, or put back "
                "what was there."
            ) from None
        self.store_id = str(self._one("SELECT value FROM facts WHERE name = 'store_id'")[0])
        self._key = bytes.fromhex(str(self._one("SELECT value FROM facts WHERE name = 'key'")[0]))

    def _make(self) -> None:
        with self._writing():
            (version,) = self._one("PRAGMA user_version")
            if version > VERSION:
                raise DataError(
                    f"the event store {self.path} has schema {version}, and this version of recsys knows {VERSION}: "
                    "a newer one wrote it. Install that, or name another folder."
                )
            if version == 0:
                self._database.execute(_SCHEMA)
                facts = {"store_id": secrets.token_hex(8), "key": secrets.token_hex(32)}
                self._database.executemany("INSERT INTO facts VALUES (?, ?)", list(facts.items()))
                self._database.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, which either is on the disk at its end or has changed nothing.

        Other processes wait at a lock file, in which the kernel wakes the next: SQLite itself asks again and again."""
        flock(self._turn, LOCK_EX)
        try:
            self._database.execute("BEGIN IMMEDIATE")
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        finally:
            flock(self._turn, LOCK_UN)

    def _one(self, sql: str) -> Any:
        return next(iter(self._database.execute(sql)))

    def append(self, batches: Sequence[Sequence[StoredEvent]], received_ms: int) -> list[Appended]:
        """Writes batches of events, all in one transaction, and says what became of each. All of them are on the disk
        when this returns; where it raises, none is."""
        marks = ", ".join("?" * (len(StoredEvent._fields) + 1))
        sql = f"INSERT INTO events (received_ms, {_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        found = []
        with self._lock, self._writing():
            for events in batches:
                before = self._database.total_changes()
                self._database.executemany(sql, [(received_ms, *event) for event in events])
                new = self._database.total_changes() - before
                found.append((new, len(events) - new))
            seq = self._last_seq()
        return [Appended(*counts, seq) for counts in found]

    def expose(self, exposures: Sequence[Exposure]) -> None:
        """Writes what was served, in one transaction."""
        with self._lock, self._writing():
            self._database.executemany(
                "INSERT INTO exposures (request_id, time_ms, user_id, unit_id, line) VALUES (?, ?, ?, ?, ?)", exposures
            )

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
            rows: list[Any] = self._database.execute(sql, (user_id, after)).fetchall()
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
            for request_id, line in self._database.execute(sql, (user_id, after_ms, until_ms)):
                items = orjson.loads(line)["items"]
                if item_id in items:
                    return str(request_id), items.index(item_id) + 1
        return None

    def identify(self, pairs: Iterable[tuple[str, str]], received_ms: int) -> None:
        """From now on the first id of each pair is the same person as the second."""
        with self._lock, self._writing():
            self._database.executemany(
                "INSERT INTO identities VALUES (?, ?, ?) ON CONFLICT (old) DO UPDATE SET new = excluded.new",
                [(old, new, received_ms) for old, new in pairs if old != new],
            )

    def ids_of(self, user_id: str) -> list[str]:
        """All ids of the person who has this one, sorted."""
        with self._lock:
            rows: list[Any] = self._database.execute(f"{_SAME} SELECT id FROM same", (user_id,)).fetchall()
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
        keyed digest that they are forgotten. How many rows of each table went."""
        ids = self.ids_of(user_id)
        marks = ", ".join("?" * len(ids))
        gone = {}
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
                digests = [(self._digest(one), received_ms) for one in ids]
                self._database.executemany("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", digests)
            self._database.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return gone

    def prune(self, before_ms: int) -> dict[str, int]:
        """Deletes the events that were received, and the lists that were served, before a moment, and overwrites them
        on the disk. How many rows of each table went."""
        gone = {}
        with self._lock:
            with self._writing():
                for table, column in (("events", "received_ms"), ("exposures", "time_ms")):
                    self._database.execute(f"DELETE FROM {table} WHERE {column} < ?", (before_ms,))
                    gone[table] = self._database.changes()
            self._database.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return gone

    def forgotten(self, user_id: str) -> bool:
        """Whether a person was forgotten. Events that came since are those of somebody new."""
        with self._lock:
            sql = "SELECT 1 FROM forgotten WHERE digest = ?"
            return self._database.execute(sql, (self._digest(user_id),)).fetchone() is not None

    def _digest(self, user_id: str) -> bytes:
        return blake2b(user_id.encode(), key=self._key, digest_size=16).digest()

    def close(self) -> None:
        """Nothing waits to be written: what was told is on the disk."""
        with self._lock:
            self._database.close()
            self._leave()
