"""The event store as the two tables of an analysis, in Parquet by parts, and what it says of the service
beside."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.analysis.health.served import ServedFacts
from recsys.bundle.manifest import read_manifest
from recsys.errors import BundleError, DataError
from recsys.events.store import EventStore
from recsys.experiments.definition import Experiment
from recsys.experiments.frozen import Frozen
from recsys.experiments.hashing import two_places
from recsys.progress import Progress, Step, silent

AGAIN_S = 10  # the same done with the same item of a list within so many seconds is one event, told twice
_AT_A_TIME = 500_000  # rows of a part
_TEXT = ("unit_id", "arm", "experiment", "phase", "request_id", "bundle_id", "placement", "source")
SHOWN = pa.schema([(name, pa.string()) for name in _TEXT] + [("timestamp", pa.int64())])
TRIGGERED = pa.schema([*SHOWN, ("differs", pa.bool_())])
MERGED = pa.schema([*SHOWN, ("items", pa.list_(pa.string())), ("team", pa.list_(pa.string()))])
_DONE = ("unit_id", "event", "event_id", "request_id", "item_id")
OUTCOMES = pa.schema(
    [(name, pa.string()) for name in _DONE]
    + [("timestamp", pa.int64()), ("value", pa.float64()), ("received_ms", pa.int64())]
)


class Logged(NamedTuple):
    """Folders of Parquet, and what else the log says. merged: lists of arms that interleave, None where none
    does."""

    exposures: Path
    outcomes: Path
    merged: Path | None
    facts: ServedFacts


def read_served(
    store: EventStore,
    frozen: Frozen,
    phase: int,
    root: Path,
    folder: Path,
    *,
    differs: Mapping[str, bool] | None = None,
    progress: Progress = silent,
) -> Logged:
    """Writes the exposures and outcomes of the store into `folder`, for one phase of an experiment.

    People are called by one id, and an outcome belongs to whoever its list was assigned by. What was written
    down twice is in the table once. differs: of each request, whether the arms' lists do. Raises DataError
    where nobody was in the experiment.
    """
    experiment, called = frozen.experiment, store.people()
    facts = _facts(frozen, phase)
    merging = {name for name in experiment.arm_names if experiment.arm(name).interleave is not None}
    lists = _Lists(experiment, str(phase), facts, called)
    shown = _Parts(folder / "exposures", SHOWN if differs is None else TRIGGERED)
    merged = _Parts(folder / "merged", MERGED)
    for line in lines_of(store, progress):
        if (row := lists.row(line)) is None:
            continue
        shown.add(row if differs is None else {**row, "differs": differs.get(row["request_id"], False)})
        if row["experiment"] == experiment.name and row["arm"] in merging and line["team"] is not None:
            merged.add({**row, "items": line["items"], "team": line["team"]})
    if not facts.lists:
        raise DataError(
            f"no list of phase {phase + 1} of experiment {experiment.name!r} is in the event store."
        )
    done = write_outcomes(outcome_rows(store, called, lists.unit_of_request, progress), folder / "outcomes")
    lists.place_everybody()
    facts.known_until = {one: _known_until(root / one) for held in facts.bundles.values() for one in held}
    return Logged(shown.close(), done, merged.close() if merged.rows else None, facts)


def _facts(frozen: Frozen, phase: int) -> ServedFacts:
    experiment = frozen.experiment
    own = {}
    for name in experiment.phases[phase].weights:
        parts = experiment.arm(name).interleave or (name,)
        own[name] = frozenset({experiment.arm(parts[0]).bundle})
    changes = tuple(one.what for one in frozen.history[1:])
    facts = ServedFacts(experiment.phases[phase].starts, own, changes=changes)
    facts.misplaced = 0 if experiment.assigned == "here" else None
    return facts


class _Lists:
    """Rows of exposures from lines of the log, counted on the way."""

    def __init__(
        self, experiment: Experiment, phase: str, facts: ServedFacts, called: Mapping[str, str]
    ) -> None:
        self._experiment, self._phase, self._facts, self._called = experiment, phase, facts, called
        self._seen = set[int]()
        self._arm_of = dict[str, tuple[str, int]]()  # unit -> its first arm, and when
        self.unit_of_request = dict[str, str]()  # where it is not who outcomes name

    def row(self, line: Mapping[str, Any]) -> dict[str, Any] | None:
        """A row; None where the list is of no experiment, of nobody, or written down before."""
        user = line["user_id"]
        user = user if user is None else self._called.get(user, user)
        unit = line["unit_id"] or user
        if line["experiment"] is None or line["arm"] is None or unit is None:
            return None
        ours = line["experiment"] == self._experiment.name and line["phase"] == self._phase
        if ours:
            self._count(line, unit)
            key = hash(line["request_id"])
            if key in self._seen:
                self._facts.again[line["arm"]] = self._facts.again.get(line["arm"], 0) + 1
                return None
            self._seen.add(key)
            if unit != user:
                self.unit_of_request[line["request_id"]] = unit
        kept = {name: line[name] for name in _TEXT if name != "unit_id"}
        return {**kept, "unit_id": unit, "timestamp": line["time_ms"] // 1000}

    def _count(self, line: Mapping[str, Any], unit: str) -> None:
        facts, arm, bundle = self._facts, line["arm"], line["bundle_id"]
        facts.lists[arm] = facts.lists.get(arm, 0) + 1
        held = facts.bundles.setdefault(arm, {})
        held[bundle] = held.get(bundle, 0) + 1
        if unit not in self._arm_of:
            self._arm_of[unit] = (arm, line["time_ms"] // 1000)

    def place_everybody(self) -> None:
        """Counts those who were in another arm than the definition gives them, or not to be in it at all."""
        if self._facts.misplaced is None:
            return
        phase = self._experiment.phases[int(self._phase)]
        arms = sorted(phase.weights)
        tops = list(accumulate(phase.weights[arm] for arm in arms))[:-1]
        for unit, (arm, second) in self._arm_of.items():
            if unit in self._experiment.testers:
                continue
            at, ramp = two_places(phase.salt, unit)
            right = arms[bisect_right(tops, at)] == arm and ramp < phase.share_at(second)
            self._facts.placed += 1
            self._facts.misplaced += not right


def outcome_rows(
    store: EventStore,
    called: Mapping[str, str],
    unit_of_request: Mapping[str, str],
    progress: Progress = silent,
) -> Iterator[dict[str, Any]]:
    """A row for each outcome. One that repeats what was done with an item of a list a few seconds before has
    the id of the first: a double click, told as two."""
    first = dict[tuple[str, str, str | None], tuple[str, int]]()
    last = store.last_seq()
    for seq, received_ms, event in store.events():
        if seq % 10_000 == 0:
            progress(Step("read outcomes", seq, last))
        if event.kind != "outcome":
            continue
        who = event.user_id if event.user_id is None else called.get(event.user_id, event.user_id)
        event_id, request = event.event_id, event.request_id
        unit = (
            unit_of_request.get(request, event.unit_id or who)
            if request is not None
            else event.unit_id or who
        )
        if request is not None:
            key = (request, event.item_id, event.event)
            before = first.get(key)
            if before is not None and abs(event.timestamp - before[1]) <= AGAIN_S:
                event_id = before[0]
            else:
                first[key] = (event_id, event.timestamp)
        yield {
            "unit_id": unit,
            "event": event.event,
            "event_id": event_id,
            "request_id": request,
            "item_id": event.item_id,
            "timestamp": event.timestamp,
            "value": event.value,
            "received_ms": received_ms,
        }


def write_outcomes(rows: Iterable[dict[str, Any]], folder: Path) -> Path:
    """Writes rows of outcomes; the folder."""
    parts = _Parts(folder, OUTCOMES)
    for row in rows:
        parts.add(row)
    return parts.close()


def lines_of(store: EventStore, progress: Progress = silent) -> Iterator[dict[str, Any]]:
    """Each list that was served, as it was written down."""
    for number, (_, text) in enumerate(store.exposures()):
        if number % 10_000 == 0:
            progress(Step("read lists", number, 0))
        yield orjson.loads(text)


class _Parts:
    """Rows that go into files of a folder, so many at a time."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder, self._schema, self._waiting, self.rows = folder, schema, list[dict[str, Any]](), 0
        folder.mkdir(parents=True)

    def add(self, row: dict[str, Any]) -> None:
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == _AT_A_TIME:
            self._write()

    def _write(self) -> None:
        table = pa.Table.from_pylist(self._waiting, self._schema)
        pq.write_table(table, self._folder / f"{self.rows:012d}.parquet")
        self._waiting = []

    def close(self) -> Path:
        """The folder, with everything in it."""
        if self._waiting or not self.rows:
            self._write()
        return self._folder


def _known_until(folder: Path) -> int | None:
    """The last second that a bundle learned from, as its lineage says."""
    try:
        lineage = read_manifest(folder)["lineage"]
    except BundleError:
        return None
    last = (lineage.get("train") or {}).get("last") if isinstance(lineage.get("train"), Mapping) else None
    return int(last) if isinstance(last, int | float) else None
