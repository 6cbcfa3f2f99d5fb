"""The file of an event store: its tables, its schema by version, and one transaction at a time."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from threading import Lock
from typing import Any
from weakref import finalize

import apsw

from recsys.errors import DataError

FILE, LOCK, VERSION = "events.db", "events.lock", 2
_BUSY_MS = 10_000
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, received_ms INTEGER NOT NULL, event_id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL, item_id TEXT NOT NULL, event TEXT, user_id TEXT, unit_id TEXT,
    timestamp INTEGER NOT NULL, request_id TEXT, position INTEGER, placement TEXT, value REAL);
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
_STEPS = {  # from the schema before each to it
    2: "ALTER TABLE forgotten ADD COLUMN person BLOB; UPDATE forgotten SET person = digest;",
}


class Database:
    """An open file. It may be used by several threads, one at a time; others who write are waited for, ten
    seconds."""

    def __init__(self, folder: Path) -> None:
        """Opens the file in a folder, made where there is none.

        Raises DataError where the folder cannot be written, the file is no database, or a newer version wrote
        it.
        """
        self.path = folder / FILE
        self._lock = Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._turn = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            self._leave = finalize(self, os.close, self._turn)
            # SQLite's own mode would have it read by everybody, and it holds people
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640))
            self._database = apsw.Connection(str(self.path))
            self._database.set_busy_timeout(_BUSY_MS)
            # who changes the journal of a new file waits for nobody, whatever the timeout
            with self._take_turn():
                for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                    self._database.execute(f"PRAGMA {pragma}").fetchall()
            self._make()
        except (apsw.Error, OSError) as error:
            raise DataError(
                f"the event store {self.path} cannot be opened: {error}. Name a folder on a writable disk, "
                f"or put back what was there."
            ) from None

    def _make(self) -> None:
        """Brings the file to the schema of this version."""
        with self._writing():
            (version,) = self._one("PRAGMA user_version")
            if version > VERSION:
                raise DataError(
                    f"the event store {self.path} has schema {version}, and this version of recsys knows "
                    f"{VERSION}: a newer one wrote it. Install that, or name another folder."
                )
            if version == 0:
                self._database.execute(_SCHEMA)
                facts = {"store_id": secrets.token_hex(8), "key": secrets.token_hex(32)}
                self._database.executemany("INSERT INTO facts VALUES (?, ?)", list(facts.items()))
            for step in range(max(version, 1) + 1, VERSION + 1):
                self._database.execute(_STEPS[step])
            if version < VERSION:
                self._database.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, which either is on the disk at its end or has changed nothing."""
        with self._take_turn():
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield
                self._database.execute("COMMIT")
            except BaseException:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _take_turn(self) -> Iterator[None]:
        """Waits for other writing processes at a lock file: there the kernel wakes the next one, while SQLite
        polls."""
        flock(self._turn, LOCK_EX)
        try:
            yield
        finally:
            flock(self._turn, LOCK_UN)

    def _one(self, sql: str, bindings: tuple[Any, ...] = ()) -> Any:
        """The first row of an answer; None where there is none."""
        return next(iter(self._database.execute(sql, bindings)), None)

    def _fact(self, name: str) -> str | None:
        row = self._one("SELECT value FROM facts WHERE name = ?", (name,))
        return None if row is None else str(row[0])

    def _overwrite(self) -> None:
        """Overwrites deleted rows on the disk, in the write-ahead log, too."""
        self._database.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    def close(self) -> None:
        """Closes the file; all that was written is on the disk already."""
        with self._lock:
            self._database.close()
            self._leave()
