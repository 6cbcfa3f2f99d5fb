"""What is known of people beside their log: bots, testers, figures of before, segments."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recsys.analysis.tables.exposures import Exposures
from recsys.analysis.tables.rows import Table
from recsys.arrays import F64, I32, Bool
from recsys.progress import Progress, silent


class Attributes(NamedTuple):
    """What a table of people says of those of the exposures, (n,): bots, testers, numbers (NaN = unknown),
    labels."""

    bot: Bool
    tester: Bool
    numbers: Mapping[str, F64]
    segments: Mapping[str, tuple[I32, list[str]]]
    later: int


def read_people(source: Any, exposures: Exposures, *, progress: Progress = silent) -> Attributes:
    """A row per person: `bot`, `tester`, covariates and segments that the plan names, and perhaps `as_of`,
    when it was read: what was read at or after a person's first exposure may be its effect, and is counted as
    unknown."""
    plan = exposures.plan
    numbers = sorted({one.covariate for one in plan.metrics if one.covariate})
    roles: dict[str, Sequence[str]] = {
        "unit": ("unit_id", "user_id"),
        "bot": ("bot",),
        "tester": ("tester",),
        "time": ("as_of",),
        **{name: (name,) for name in (*numbers, *plan.segments)},
    }
    table = Table(source, "people", roles, ("unit", *numbers), {"unit": plan.columns.unit})
    n = len(exposures.units)
    bot, tester = np.zeros(n, bool), np.zeros(n, bool)
    columns = {name: np.full(n, np.nan) for name in numbers}
    segments: dict[str, tuple[I32, list[str]]] = {
        name: (np.full(n, -1, np.int32), []) for name in plan.segments if name in table
    }
    later = 0
    for part in table.parts(progress):
        person = exposures.units.rows(part.ids("unit", "unit id"), add=False)
        rows = np.flatnonzero(person >= 0)
        person = person[rows]
        for held, role in ((bot, "bot"), (tester, "tester")):
            if role in part.columns:
                held[person] |= part.flags(role)[rows]
        early = np.ones(len(rows), bool)
        if "time" in part.columns:
            second, ok = part.seconds("time")
            early = ok[rows] & (second[rows] < exposures.first[person])
            later += int((~early).sum())
        for name, column in columns.items():
            column[person[early]] = part.numbers(name)[rows][early]
        for name, (held_codes, labels) in segments.items():
            codes = part.labels(name)
            known = {label: at for at, label in enumerate(labels)}
            of_names = np.array(
                [known.setdefault(one, len(known)) for one in codes.names.to_pylist()] + [-1], np.int32
            )
            labels[:] = list(known)
            held_codes[person] = of_names[codes.code[rows]]
    return Attributes(bot, tester, columns, segments, later)
