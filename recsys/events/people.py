"""The people of an event store: by which names they stand in it, under which ids they are one, and who is
forgotten."""

import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from recsys.errors import DataError
from recsys.events.database import Database
from recsys.events.names import PlainNames, hashed_names, make_key
from recsys.history import DAY_S

_SLICE = 2_000  # numbers that are looked through in one transaction of `prune`
SAME = """WITH RECURSIVE same(id) AS (VALUES (?1) UNION SELECT new FROM identities JOIN same ON old = id
    UNION SELECT old FROM identities JOIN same ON new = id)"""


class PeopleStore(Database):
    """The part of an event store on people: their ids, identities, forgetting, and deletion by age."""

    def __init__(self, folder: Path, *, hashed_ids: bool | None = None) -> None:
        """Opens the store in a folder, made where there is none.

        hashed_ids: whether ids of people are kept as hashes by a key, which lies beside the file; None = as
        the store has them, and plain in a new one. Raises DataError where the store has them otherwise, lacks
        its key, or cannot be opened.
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
                f"the event store {self.path} keeps ids {'hashed' if kept == 'hashed' else 'as they are'}, "
                f"and the other way is asked for. Name a new folder for it: an export can be imported there."
            )
        return kept == "hashed"

    def name(self, id_: str) -> str:
        """What stands for an id of a person in this store."""
        return self._names.of(id_)

    def ids_of(self, user_id: str) -> list[str]:
        """All ids of the person who has this one, as they stand in the store, sorted."""
        with self._lock:
            rows: list[Any] = self._database.execute(
                f"{SAME} SELECT id FROM same", (self.name(user_id),)
            ).fetchall()
        return sorted(row[0] for row in rows)

    def forget(self, user_id: str, received_ms: int) -> dict[str, int]:
        """Deletes all that is kept of a person under any of their ids, overwrites it on the disk, and
        remembers by a keyed digest of each that they are forgotten. How many rows of each table went."""
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

    def prune(
        self, before_ms: int, pause_s: float = 0.0, given_up: Callable[[], bool] = lambda: False
    ) -> dict[str, int]:
        """Deletes the events that were received, and the lists that were served, before a moment, and
        overwrites them on the disk. How many rows of each table went.

        It goes by slices, each a transaction of its own, and rests between two, so that whoever tells waits
        for one at most. It ends a day of receipts beyond the moment: clocks may have run backwards by that
        much. given_up: asked between two slices whether it shall end where it is.
        """
        gone = {}
        for table, column in (("events", "received_ms"), ("exposures", "time_ms")):
            gone[table], at = 0, 0
            while not given_up():
                with self._lock:
                    sql = f"SELECT seq, {column} FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?"
                    rows: list[Any] = self._database.execute(sql, (at, _SLICE)).fetchall()
                    if not rows or min(row[1] for row in rows) > before_ms + DAY_S * 1000:
                        break
                    first, at = rows[0][0], rows[-1][0]
                    if any(row[1] < before_ms for row in rows):
                        where = f"seq >= ? AND seq <= ? AND {column} < ?"
                        with self._writing():
                            self._database.execute(
                                f"DELETE FROM {table} WHERE {where}", (first, at, before_ms)
                            )
                            gone[table] += self._database.changes()
                time.sleep(pause_s)
        if any(gone.values()):
            with self._lock:
                self._overwrite()
        return gone

    def is_forgotten(self, user_id: str) -> bool:
        """Whether a person was forgotten. Events that came since are those of somebody new."""
        with self._lock:
            return self._one("SELECT 1 FROM forgotten WHERE digest = ?", (self.digest(user_id),)) is not None

    def forgotten_with(self, user_id: str) -> frozenset[bytes]:
        """The digests of all ids of a forgotten person, whom nobody can name any more."""
        sql = "SELECT digest FROM forgotten WHERE person = (SELECT person FROM forgotten WHERE digest = ?)"
        with self._lock:
            return frozenset(bytes(row[0]) for row in self._database.execute(sql, (self.digest(user_id),)))

    def digest(self, user_id: str) -> bytes:
        """128 bits that stand for an id, by a key of the store: without the key nobody can invert them."""
        name = self.name(user_id).encode(errors="surrogatepass")
        return blake2b(name, key=self._key, digest_size=16).digest()
