"""What is left of a person below the home, taken out; and the receipt, which says of each place what was
done.

Each step is done whole or not at all, and what it takes out it finds by the id or its digest: killed at any
moment and run again, it ends in the same state.
"""

import json
import mmap
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import durable
from recsys.bundle.forget import forget_rows
from recsys.bundle.manifest import MANIFEST
from recsys.bundle.trials import note_edition
from recsys.errors import RecsysError
from recsys.events.clock import now_s
from recsys.pipelines.batch import STATE
from recsys.pipelines.events.export import MARK
from recsys.pipelines.events.places import OURS, Person, Place, columns_of_people, lines_in, places_of
from recsys.pipelines.tracking import registry
from recsys.progress import Progress, silent

_IDLE_S = 3600  # after which nobody writes on at an unfinished file
RECEIPTS = "forgotten"  # the folder of receipts, beside the event store
NOT_REACHED = (
    "backups and snapshots of disks",
    (
        "copies on other machines, and what was sent there: bundles that were deployed, exports, logs that "
        "were shipped"
    ),
    "archives and packed files (.zip, .gz, .npz), and databases other than the event store",
    "blocks of files that were replaced, until the file system writes over them",
    "hidden folders of the home, and plain texts where the id is a number or has fewer than eight characters",
    "figures, item vectors and counts learned from many people, of whom they were one",
)


@dataclass
class Done:
    """What became of each place. left: whether any still holds an id."""

    places: list[dict[str, str]] = field(default_factory=list)
    left: bool = False

    def note(self, kind: str, path: str, done: str, *, left: bool = False) -> None:
        self.places.append({"kind": kind, "path": path, "done": done})
        self.left |= left


def finish(person: Person, home: Path, progress: Progress = silent) -> Done:
    """Takes a person out of all that recsys wrote below a home, and says what became of each place.

    What others wrote is named and left. Whoever has a bundle open keeps the old edition until they let it go:
    a running service does so by itself.
    """
    done = Done()
    _settle(home / OURS)
    gone, held = _left_by_runs(home)
    for folder in gone:
        done.note("checkpoint", _hide_id(folder, home, person), "deleted: who is in it, nobody can tell")
    for folder in held:
        done.note("checkpoint", _hide_id(folder, home, person), "left: a run is writing it", left=True)
    for place in list(places_of(person, home, progress)):
        path = _hide_id(place.path, home, person)
        if place.unread is not None:
            done.note(place.kind, path, f"could not be looked into: {place.unread}", left=True)
        elif not _is_ours(place, home):
            done.note(place.kind, path, "left: recsys did not write it", left=True)
        else:
            try:
                done.note(place.kind, path, _TAKE[place.kind](place.path, person))
            except (RecsysError, OSError, pa.ArrowException) as error:
                done.note(place.kind, path, f"left: {error}", left=True)
    _take_from_registry(person, done)
    return done


def _settle(folder: Path) -> None:
    """Completes what a killed process left: exchanges of two editions of a bundle, and unfinished files."""
    for before in sorted(folder.rglob(f"*{durable.BEFORE}")):
        durable.settle(before.with_name(before.name.removesuffix(durable.BEFORE)))
    for aside in sorted(folder.rglob(f"*{durable.PARTIAL}")):
        written = aside.with_name(aside.name.removesuffix(durable.PARTIAL))
        # the next edition of a bundle, and nobody else's
        if aside.is_dir() and (written / MANIFEST).is_file():
            shutil.rmtree(aside)
        elif aside.is_file() and aside.stat().st_mtime < time.time() - _IDLE_S:
            aside.unlink()


def _is_ours(place: Place, home: Path) -> bool:
    """Whether recsys wrote it: whatever lies below `mlruns/`, bundles anywhere, and exports of events and
    lists."""
    if place.path.is_relative_to(home / OURS) or place.kind == "bundle":
        return True
    return any((folder / name).is_file() for folder in place.path.parents for name in (MARK, STATE))


def _take_from_bundle(folder: Path, person: Person) -> str:
    rows = person.rows(folder)
    if (folder.parent / ".lock").exists():  # a root of bundles: nobody publishes or prunes meanwhile
        with durable.publishing(folder.parent):
            forget_rows(folder, rows)
        tests = note_edition(folder.parent, folder.name, now_s())
    else:
        forget_rows(folder, rows)
        tests = []
    said = "written anew under its id, without their ids, history, rows and golden queries"
    return said + (f"; it is an arm of {', '.join(tests)}, whose history says so" if tests else "")


def _take_from_table(path: Path, person: Person) -> str:
    """Writes a table anew without the rows of a person, a group of rows at a time."""
    file, gone = pq.ParquetFile(path), 0
    names = columns_of_people(file.schema_arrow)
    packed = file.metadata.row_group(0).column(0).compression.lower() if file.num_row_groups else "snappy"

    def write(aside: Path) -> None:
        nonlocal gone
        with pq.ParquetWriter(
            aside, file.schema_arrow, compression="none" if packed == "uncompressed" else packed
        ) as to:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                theirs = [False] * len(table)
                for name in names:
                    column = table[name].cast(pa.large_string())
                    wanted = set(person.among(column.unique().to_pylist()))
                    if wanted:
                        theirs = [a or b in wanted for a, b in zip(theirs, column.to_pylist(), strict=True)]
                gone += sum(theirs)
                to.write_table(table.filter(pa.array([not one for one in theirs])) if any(theirs) else table)

    durable.write_whole(path, write)
    return f"{gone:,} rows deleted"


def _take_from_lines(path: Path, person: Person) -> str:
    """Writes blanks over the lines of a person, where they stand: who appends to the file meanwhile loses
    nothing."""
    spans = list(lines_in(path, person))
    with path.open("r+b") as file:
        for start, end in spans:
            file.seek(start)
            file.write(b" " * (end - start))
    durable.fsync(path)
    return f"{len(spans):,} lines overwritten with blanks"


def _take_from_text(path: Path, person: Person) -> str:
    """Writes as many letters x over each of their ids."""
    count = 0
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as text:
        for start, end in list(person.spans(text, words=True)):
            text[start:end] = b"x" * (end - start)
            count += 1
        text.flush()
    durable.fsync(path)
    return f"overwritten with x at {count:,} places"


def _leave_file(path: Path, person: Person) -> str:
    raise OSError("it is no text, and nobody knows what would break; delete it yourself")


_TAKE = {
    "bundle": _take_from_bundle,
    "table": _take_from_table,
    "lines": _take_from_lines,
    "text": _take_from_text,
    "file": _leave_file,
}


def _left_by_runs(home: Path) -> tuple[list[Path], list[Path]]:
    """Which checkpoints of killed runs were removed, and which stay since a run writes them."""
    if not (home / "mlruns" / "checkpoints").is_dir():
        return [], []  # as where nothing is learned: what learns need not be installed there
    from recsys.pipelines.run.checkpoints import remove_left

    return remove_left(home)


def _take_from_registry(person: Person, done: Done) -> None:
    """Writes the copies of registered bundles anew in a store elsewhere, file by file."""
    for run_id, (artifacts, within) in registry.registered_copies().items():
        path = f"run {run_id}, artefact {within}"
        with TemporaryDirectory() as place:
            try:
                copy = Path(artifacts.download_artifacts(within, place))
                if not (copy / MANIFEST).is_file() or not len(person.rows(copy)):
                    continue
                said = _take_from_bundle(copy, person)
                artifacts.log_artifacts(str(copy), within)
                done.note("registered bundle", path, said)
            except (
                Exception
            ) as error:  # another system's store may refuse in any way, and the rest must be told
                done.note("registered bundle", path, f"left: {error}", left=True)


def _hide_id(path: Path, home: Path, person: Person) -> str:
    """A path below the home, without an id in it."""
    text = path.relative_to(home).as_posix()
    for one in sorted(person.ids, key=len, reverse=True):
        text = text.replace(one, "x" * len(one)) if len(one) >= 8 else text
    return text


def write_receipt(
    folder: Path, digest: bytes, ids: int, deleted: Mapping[str, int], done: Done, began: float
) -> Path:
    """Writes what was done, without the id itself, beside the event store; where it lies.

    digest: of the id, by the key of the store. ids: how many a person had. began: unix seconds.
    """
    moment = datetime.now(UTC)
    said: dict[str, Any] = {
        "receipt": 1,
        "person": digest.hex(),
        "ids": ids,
        "began": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        "finished": moment.isoformat(timespec="seconds"),
        "event_store": dict(deleted),
        "places": done.places,
        "complete": not done.left,
        "not_reached": list(NOT_REACHED),
    }
    (folder / RECEIPTS).mkdir(parents=True, exist_ok=True)
    path = folder / RECEIPTS / f"{moment.strftime('%Y%m%dT%H%M%S%fZ')}-{digest.hex()[:8]}.json"
    durable.write_whole(
        path, partial(Path.write_text, data=json.dumps(said, indent=1) + "\n", encoding="utf-8")
    )
    return path


def table_of(places: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """The places as rows of a table."""
    return [[one["kind"], one["path"], one["done"]] for one in places]
