"""Who was shown which arm, from when on: exposures folded into people, day by day."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.analysis.plan import EXPOSURES, Plan
from recsys.analysis.tables.requests import ROLES, Requests
from recsys.analysis.tables.rows import Part, Table, UnitIndex
from recsys.arrays import I32, I64, Array, Bool
from recsys.data.read.columns import Codes
from recsys.errors import DataError
from recsys.history import DAY_S
from recsys.progress import Progress, silent

NEVER = np.iinfo(np.int64).max
MOST_OTHERS = 30  # experiments beside ours that are held against it


class Exposures:
    """What exposures say of each person (n,): first and last second, arms seen as bits, how many lists.

    by_item: the table has a row for each item of a list. first: of the exposures that count, which are those
    whose lists differ where the table says so; NEVER without one. by_day: day -> exposures of each arm.
    others: experiment -> code of a person's arm there, -1 = not in it. when: person and second of each
    exposure that counts, where a metric is per exposure: 12 bytes each.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.units = UnitIndex()
        self.first: I64 = np.empty(0, np.int64)
        self.last: I64 = np.empty(0, np.int64)
        self.arms: Array = np.empty(0, np.uint64)
        self.lists: I64 = np.empty(0, np.int64)
        self.segments: dict[str, Array] = {}
        self.labels: dict[str, list[str]] = {}
        self.by_day: dict[int, I64] = {}
        self.unknown_arms: dict[str, int] = {}
        self.rows = self.others_rows = 0
        self.others: dict[str, dict[str, Any]] = {}
        self.triggered = self.by_item = False
        self.requests: Requests | None = None
        self.faults: list[str] = []
        self.when: list[tuple[I32, I64]] = []

    @property
    def mixed(self) -> Bool:
        """Who saw more than one arm."""
        return (self.arms & (self.arms - np.uint64(1))) != 0  # type: ignore[no-any-return]

    @property
    def arm(self) -> I32:
        """The code of a person's only arm; -1 of those who saw several or none."""
        bit = np.frexp(self.arms.astype(np.float64))[1] - 1
        return np.where(self.mixed | (self.arms == 0), -1, bit).astype(np.int32)

    def grow(self) -> None:
        """Makes room for people who have just come."""
        new = len(self.units) - len(self.first)
        if new <= 0:
            return
        self.first = np.append(self.first, np.full(new, NEVER))
        self.last = np.append(self.last, np.zeros(new, np.int64))
        self.arms = np.append(self.arms, np.zeros(new, np.uint64))
        self.lists = np.append(self.lists, np.zeros(new, np.int64))
        for name, codes in self.segments.items():
            self.segments[name] = np.append(codes, np.full(new, -1, np.int32))
        for other in self.others.values():
            other["arm"] = np.append(other["arm"], np.full(new, -1, np.int32))

    def add(self, codes: Codes, second: I64) -> None:
        """People of a log without arms: all are in the first."""
        person = self.units.rows(codes, add=True)
        self.grow()
        self.rows += len(person)
        self.arms[person] = 1
        np.maximum.at(self.last, person, second)
        np.minimum.at(self.first, person, second)
        if any(one.per == EXPOSURES for one in self.plan.metrics):
            self.when.append((person, second))


def read_exposures(
    source: Any, plan: Plan, *, requests: Requests | None = None, progress: Progress = silent
) -> Exposures:
    """All exposures of a table, folded. requests: sampled outcomes, to be found among them.

    Raises DataError where a column is missing, several experiments or phases are there and the plan names
    none, or nothing is left.
    """
    own = plan.columns
    roles: dict[str, Sequence[str]] = {
        "unit": ("unit_id", "user_id"),
        "time": ("timestamp", "time_ms"),
        "arm": ("arm", "variation_id"),
        "experiment": ("experiment", "experiment_id"),
        "phase": ("phase",),
        "differs": ("differs",),
        "position": ("position",),
        **(ROLES if requests is not None else {}),
        **{f"segment {name}": (name,) for name in plan.segments},
    }
    named = {
        "unit": own.unit,
        "time": own.time,
        "arm": own.arm,
        "experiment": own.experiment,
        "differs": own.differs,
    }
    table = Table(source, "exposures", roles, ("unit", "time", "arm"), named)
    exposures = Exposures(plan)
    exposures.triggered = "differs" in table
    exposures.by_item = {"position", "item_id"} <= set(table.present)
    exposures.requests = requests if "request" in table else None
    keep_times = any(one.per == EXPOSURES for one in plan.metrics)
    exposures.segments = {name: np.empty(0, np.int32) for name in plan.segments if f"segment {name}" in table}
    exposures.labels = {name: [] for name in exposures.segments}
    experiments: dict[str, int] = {}
    phases: dict[str, int] = {}
    for part in table.parts(progress):
        _fold(exposures, part, keep_times, experiments, phases)
    if exposures.requests is not None:
        exposures.requests.spread()
    _refuse_several(experiments, plan.experiment, "experiment", table)
    _refuse_several(phases, plan.phase, "phase", table)
    if not exposures.rows:
        arms = ", ".join(sorted(exposures.unknown_arms))
        raise DataError(
            f"the exposures hold none of {_describe_plan(plan)}"
            + (f"; arms there are {arms}" if arms else "")
            + (f"; experiments there are {', '.join(sorted(experiments))}" if experiments else "")
            + ". Mend the plan, or name the table of this experiment."
        )
    exposures.faults = table.faults.sentences()
    return exposures


def _fold(
    exposures: Exposures, part: Part, keep_times: bool, experiments: dict[str, int], phases: dict[str, int]
) -> None:
    plan = exposures.plan
    codes = part.ids("unit", "unit id")
    second, kept = part.seconds("time")
    kept = kept & (codes.code >= 0)
    ours = _is(part, "experiment", plan.experiment, experiments, kept)
    _fold_others(exposures, part, codes, kept & ~ours)
    kept &= ours
    kept &= _is(part, "phase", plan.phase, phases, kept)
    if exposures.by_item:  # the top item stands for the list
        kept &= part.numbers("position") == 1
    arms = part.labels("arm") if "experiment" in part.columns else part.ids("arm", "arm")
    names = [plan.arms.index(name) if name in plan.arms else -1 for name in arms.names.to_pylist()]
    arm = np.append(np.array(names, np.int64), -1)[arms.code]
    for name, code in zip(arms.names.to_pylist(), range(len(names)), strict=True):
        if name not in plan.arms and (count := int((kept & (arms.code == code)).sum())):
            exposures.unknown_arms[name] = exposures.unknown_arms.get(name, 0) + count
    kept &= arm >= 0
    if exposures.requests is not None:
        exposures.requests.look_in(part, second, kept)
    rows = np.flatnonzero(kept)
    if not len(rows):
        return
    if len(rows) < len(kept):
        codes = codes._replace(code=codes.code[rows])
        second, arm = second[rows], arm[rows]
    person = exposures.units.rows(codes, add=True)
    exposures.grow()
    exposures.rows += len(rows)
    np.bitwise_or.at(exposures.arms, person, np.uint64(1) << arm.astype(np.uint64))
    np.maximum.at(exposures.last, person, second)
    exposures.lists += np.bincount(person, minlength=len(exposures.units))
    counts = np.zeros((1, len(plan.arms)), np.int64)
    days, at = np.unique(second // DAY_S, return_inverse=True)
    counts = np.bincount(at * len(plan.arms) + arm, minlength=len(days) * len(plan.arms)).reshape(
        len(days), -1
    )
    for day, row in zip(days.tolist(), counts, strict=True):
        exposures.by_day[day] = exposures.by_day.get(day, 0) + row
    counted = part.flags("differs")[rows] if exposures.triggered else np.ones(len(rows), bool)
    if exposures.segments:
        earlier = np.flatnonzero(counted & (second < exposures.first[person]))
        earlier = earlier[np.argsort(-second[earlier], kind="stable")]  # the earliest is written last
        for name, held in exposures.segments.items():
            labels = part.labels(f"segment {name}")
            held[person[earlier]] = _code_names(exposures.labels[name], labels.names)[
                labels.code[rows][earlier]
            ]
    np.minimum.at(exposures.first, person[counted], second[counted])
    if keep_times:
        exposures.when.append((person[counted], second[counted]))


def _fold_others(exposures: Exposures, part: Part, codes: Codes, rows: Bool) -> None:
    """Arms of the same people in other experiments, for whoever is known so far or comes later."""
    at = np.flatnonzero(rows)
    if not len(at):
        return
    exposures.others_rows += len(at)
    experiment, arms = part.labels("experiment"), part.labels("arm")
    person = exposures.units.rows(codes._replace(code=codes.code[at]), add=True)
    exposures.grow()
    for code in np.unique(experiment.code[at]).tolist():
        name = experiment.names[code].as_py() if code >= 0 else None
        if name is None or (name not in exposures.others and len(exposures.others) >= MOST_OTHERS):
            continue
        other = exposures.others.setdefault(
            name, {"arm": np.full(len(exposures.units), -1, np.int32), "labels": []}
        )
        here = experiment.code[at] == code
        other["arm"][person[here]] = _code_names(other["labels"], arms.names)[arms.code[at][here]]


def _code_names(labels: list[str], names: pa.Array) -> I32:
    """Codes of names in a list of labels that grows, and -1 for a missing one."""
    known = {label: at for at, label in enumerate(labels)}
    codes = [known.setdefault(name, len(known)) for name in names.to_pylist()]
    labels[:] = list(known)
    return np.array([*codes, -1], np.int32)


def _is(part: Part, role: str, wanted: str | None, seen: dict[str, int], kept: Bool) -> Bool:
    """Which rows are of the wanted experiment or phase; all where the table has no such column or none is
    wanted."""
    if role not in part.columns:
        return np.ones(len(kept), bool)
    codes = part.labels(role)
    counts = np.bincount(codes.code[kept] + 1, minlength=len(codes.names) + 1)[1:]
    for name, count in zip(codes.names.to_pylist(), counts.tolist(), strict=True):
        if count:
            seen[name] = seen.get(name, 0) + count
    if wanted is None:
        return np.ones(len(kept), bool)
    same = np.append(np.asarray(pc.equal(codes.names, wanted).to_numpy(zero_copy_only=False), bool), False)
    return same[codes.code]


def _refuse_several(seen: dict[str, int], wanted: str | None, what: str, table: Table) -> None:
    if wanted is None and len(seen) > 1:
        raise DataError(
            f"the exposures are of several {what}s: {', '.join(sorted(seen)[:5])}. Name the one to analyse "
            "in the "
            f'plan: {what} = "{sorted(seen)[0]}".'
        )


def _describe_plan(plan: Plan) -> str:
    of = f" in experiment {plan.experiment!r}" if plan.experiment else ""
    return f"the arms {', '.join(plan.arms)}{of}" + (f", phase {plan.phase}" if plan.phase else "")
