"""What a search for the best has tried, on disk line by line, so that a killed one goes on; and its clock."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import F32, F64
from recsys.durable import hold_lock, write_whole
from recsys.encoders.encoder import load_encoder
from recsys.errors import SettingError
from recsys.retrieval.embeddings import Embeddings

LINES, FINISHED = "tried.jsonl", "finished"


@dataclass(frozen=True)
class Tried:
    """A model that was learned and judged, or that failed.

    share: of the people that it learned from. part: which validation part it was judged on, where it is not
    the first. changed: in a step, the setting that was changed, behind the sign of the step. mean: of the
    metric over the users who were asked about; error: its standard error. seconds: of learning and judging;
    judging_s: of judging alone; at: of the whole search when it ended. vectors: whether an index can serve
    it. reason: why it failed, else None.
    """

    key: str
    label: str
    model: Mapping[str, Any]
    share: float
    stage: str
    mean: float
    error: float
    seconds: float
    at: float
    vectors: bool
    reason: str | None = None
    part: str = ""
    changed: str = ""
    judging_s: float = 0.0

    @property
    def family(self) -> str:
        return str(self.model["name"])


def key_of(model: Mapping[str, Any], share: float = 1.0, part: str = "") -> str:
    """What names a measurement: settings of a model, learned from such a share of the people of a part."""
    return sha256(json.dumps([model, share, part], sort_keys=True).encode()).hexdigest()[:16]


class Ledger:
    """All that was tried in a search, and the clock of it, which stands still while no process is at it.

    folder: of this search. seconds: of its budget, none where a search of as many `minutes` has finished: it
    is answered by what it has tried. Threads do not share one.
    """

    def __init__(self, folder: Path, seconds: float, minutes: float = float("inf")) -> None:
        self.folder, self.minutes = folder, minutes
        folder.mkdir(parents=True, exist_ok=True)
        self.finished = minutes <= self._finished_minutes()
        self.seconds = 0.0 if self.finished else seconds
        self.tried = {one.key: one for one in self._lines()}
        self._before = max((one.at for one in self.tried.values()), default=0.0)
        self._since = time.monotonic()

    def _lines(self) -> Iterator[Tried]:
        path = self.folder / LINES
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                yield Tried(**json.loads(line))
            except (ValueError, TypeError):
                continue  # torn by a kill: it is measured again

    def _finished_minutes(self) -> float:
        """The minutes of the longest search that was finished."""
        path = self.folder / FINISHED
        return float(path.read_text()) if path.exists() else -1.0

    def finish(self) -> None:
        """Marks the search as finished: it ended before or at the last of its minutes."""
        longest = max(self.minutes, self._finished_minutes())
        write_whole(self.folder / FINISHED, lambda path: path.write_text(str(longest)))

    @property
    def spent(self) -> float:
        """Seconds of this search so far, those of earlier calls included."""
        return self._before + time.monotonic() - self._since

    @property
    def left(self) -> float:
        return self.seconds - self.spent

    def whole(self, part: str = "") -> list[Tried]:
        """What was learned from everybody of a part and did not fail, the best first; of equals the first."""
        done = [
            one for one in self.tried.values() if one.share == 1.0 and one.reason is None and one.part == part
        ]
        return sorted(done, key=lambda one: -one.mean)

    def values(self, one: Tried) -> F64:
        """float64 (n,): the metric of each user who was asked about; NaN where it does not apply."""
        kept: F64 = np.load(self.folder / f"{one.key}.npy").astype(np.float64)
        return kept

    def load_learned(self, one: Tried) -> Embeddings | None:
        """The space that a model learned; None where it was not kept."""
        place = self.folder / one.key
        if not (place / "items.npy").exists():
            return None
        items: F32 = np.load(place / "items.npy", mmap_mode="r")
        return Embeddings(items, load_encoder(place, items))

    def add(self, one: Tried, values: F64 | None = None, learned: Any = None) -> Tried:
        """Adds a result: vectors and values are written first, then the line that refers to them."""
        if isinstance(learned, Embeddings):
            place = self.folder / one.key
            place.mkdir(exist_ok=True)
            learned.encoder.save(place)
            write_whole(place / "items.npy", lambda path: _save(path, learned.items))
        if values is not None:
            write_whole(self.folder / f"{one.key}.npy", lambda path: _save(path, values.astype(np.float32)))
        with (self.folder / LINES).open("a", encoding="utf-8") as file:
            file.write("\n" * _torn(file) + json.dumps(asdict(one)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.tried[one.key] = one
        return one

    def forget_vectors(self, kept: set[str]) -> None:
        """Deletes the vectors of all but these keys."""
        for one in self.tried.values():
            place = self.folder / one.key
            if one.key not in kept and place.is_dir():
                for path in sorted(place.rglob("*"), reverse=True):
                    path.rmdir() if path.is_dir() else path.unlink()
                place.rmdir()


@contextmanager
def open_ledger(
    folder: Path, seconds: float, minutes: float = float("inf"), *, anew: bool = False
) -> Iterator[Ledger]:
    """The ledger of a folder; `anew` forgets what is in it. Raises SettingError where another process is at
    it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold_lock(folder / ".lock", wait=False):
            if anew:
                for name in (LINES, FINISHED):
                    (folder / name).unlink(missing_ok=True)
            yield Ledger(folder, seconds, minutes)
    except BlockingIOError:
        raise SettingError(
            f"another process is at the search in {folder}. Wait for it, or search other data."
        ) from None


def _save(path: Path, array: Any) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _torn(file: Any) -> bool:
    """Whether the file ends within a line, which a kill may leave."""
    size = os.fstat(file.fileno()).st_size
    if not size:
        return False
    with open(file.name, "rb") as read:
        read.seek(size - 1)
        return read.read(1) != b"\n"
