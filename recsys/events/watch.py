"""Counts by day, placement and arm of what was served and what followed: for click rates and shares that
join.

They are brought up to date by and by, and lie in a file beside the store with the numbers up to which they
count, so that nothing counts twice, whoever goes on.
"""

import re
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from recsys import durable
from recsys.errors import BundleError
from recsys.events.event import LABEL

if TYPE_CHECKING:  # a parent of workers reads the file, and loads no database
    from recsys.events.store import EventStore, Followed

FILE = "watched.json"
COLUMNS = (
    "day",
    "placement",
    "arm",
    "lists",
    "impressions",
    "outcomes",
    "joined_impressions",
    "joined_outcomes",
)
# days that are kept; placements and arms, which others name, and the name of more
DAYS, MOST, OTHER = 31, 50, "_other"
_SETTLED_MS = 2_000  # after which a list that an event follows is in the store
_AT_A_TIME = 2_000
_COUNTED = {"list": "lists", "impression": "impressions", "outcome": "outcomes"}
_LABEL = re.compile(LABEL)
Key = tuple[str, str, str]  # day, placement, arm


class Watch:
    """The counts of one store, by whoever keeps them; others read the file."""

    def __init__(self, store: "EventStore") -> None:
        """Goes on where the file ends; a file of another store, or none that can be read, is begun anew."""
        self._store, self._path = store, store.path.with_name(FILE)
        self._at, self._counts = {"events": 0, "lists": 0}, dict[Key, Counter[str]]()
        said = read(store.path.parent)
        if said.get("store") == store.store_id:
            self._at = {name: int(said["at"][name]) for name in self._at}
            for row in said["rows"]:
                self._counts[row[0], row[1], row[2]] = Counter(dict(zip(COLUMNS[3:], row[3:], strict=True)))
        self._placements, self._arms = ({key[at] for key in self._counts} for at in (1, 2))

    def look(self) -> Counter[tuple[str, str, str, bool]]:
        """Counts what came since the last look, and writes the file; how many by kind, placement, arm and
        whether they join. Where the disk refuses, the file stays behind, and whoever goes on from it counts
        again."""
        new, until = Counter[tuple[str, str, str, bool]](), time.time_ns() // 1_000_000 - _SETTLED_MS
        while True:
            told, shown = self._store.read_followed(self._at["events"], self._at["lists"], until, _AT_A_TIME)
            for one in (*told, *shown):
                placement, arm = self._labels(one)
                day = time.strftime("%Y-%m-%d", time.gmtime(one.timestamp))
                count = self._counts.setdefault((day, placement, arm), Counter())
                count[_COUNTED[one.kind]] += 1
                if one.kind != "list" and one.joined:
                    count[f"joined_{_COUNTED[one.kind]}"] += 1
                new[one.kind, placement, arm, bool(one.joined)] += 1
            self._at["events"] = told[-1].seq if told else self._at["events"]
            self._at["lists"] = shown[-1].seq if shown else self._at["lists"]
            if max(len(told), len(shown)) < _AT_A_TIME:
                break
        if new:
            self._save()
        return new

    def _labels(self, one: "Followed") -> tuple[str, str]:
        """Placement and arm, of which so many are told apart and no more."""
        placement, arm = one.placement or "", f"{one.experiment}/{one.arm}" if one.experiment else ""
        if placement and not _LABEL.fullmatch(placement):
            placement = (
                OTHER  # told by others, in whatever words: no person and no markup shall stand in metrics
            )
        for name, known in ((placement, self._placements), (arm, self._arms)):
            if len(known) < MOST:
                known.add(name)
        return placement if placement in self._placements else OTHER, arm if arm in self._arms else OTHER

    def _save(self) -> None:
        today = datetime.now(UTC).date()
        first, last = ((today + timedelta(days)).isoformat() for days in (1 - DAYS, 1))
        self._counts = {key: count for key, count in self._counts.items() if first <= key[0] <= last}
        rows = [[*key, *(count[name] for name in COLUMNS[3:])] for key, count in sorted(self._counts.items())]
        said = orjson.dumps({"store": self._store.store_id, "at": self._at, "rows": rows})
        try:
            durable.write_whole(self._path, partial(Path.write_bytes, data=said))
        except BundleError:
            return


def read(folder: Path | None) -> Mapping[str, Any]:
    """The counts beside a store: `rows`, of COLUMNS; none where nobody has counted."""
    try:
        said: Mapping[str, Any] = {} if folder is None else orjson.loads((folder / FILE).read_bytes())
    except (OSError, ValueError):
        said = {}
    return said if isinstance(said, dict) and {"store", "at", "rows"} <= said.keys() else {"rows": []}
