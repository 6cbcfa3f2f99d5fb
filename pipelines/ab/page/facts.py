"""All that a report says, as plain data: the JSON beside the page, of which the page is made and of nothing
else."""

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np

from recsys import __version__
from recsys.analysis.compare import Effect
from recsys.analysis.plan import Plan
from recsys.analysis.study import Study
from recsys.analysis.tables.lists import Lists
from recsys.analysis.tables.outcomes import MOST_DAYS
from recsys.analysis.verdict import Verdict
from recsys.analysis.views import by_look, by_step, other_ways, smallest_shown
from recsys.evaluation.significance import Interval
from recsys.history import DAY_S
from recsys.pipelines.ab.report import plain
from recsys.text import utc_text

SCHEMA = 1


def plan_digest(plan: Plan) -> str:
    """SHA-256 of all that a plan says: equal plans have equal digests, however their files are written."""
    text = json.dumps(plan.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()


def log_digest(study: Study) -> str:
    """SHA-256 of what was read: each person with arm, times and figures. The same tables give the same
    digest."""
    digest = sha256()
    for text in study.exposures.units.ids.to_pylist():
        digest.update(text.encode() + b"\0")
    shown = study.exposures
    for array in (shown.first, shown.last, shown.arms, shown.lists, study.why, study.looks):
        digest.update(np.ascontiguousarray(array).data)
    for name in sorted(study.outcomes.sums):
        for column in study.outcomes.sums[name]:
            if column is not None:
                digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


def facts_of(
    verdict: Verdict,
    name: str,
    *,
    tables: Mapping[str, str],
    lists: Lists | None = None,
    registered: Mapping[str, Any] | None = None,
    models: Sequence[Mapping[str, Any]] = (),
    show_sick: bool = False,
) -> dict[str, Any]:
    """name: of the test. tables: role -> where it was read. registered: what is known of the plan's
    registration (`registered`, `hypothesis`, `digest`, `changes`); models: the bundle of each arm and the run
    it comes from."""
    study = verdict.study
    shown = verdict.trusted or show_sick
    effects = [one for one in verdict.effects if one.metric.role != "exploratory"]
    return {
        "schema": SCHEMA,
        "name": name,
        **plain(verdict, show_sick=show_sick),
        "counted": int(study.people.sum()),
        "waiting": len(study.waiting),
        "views": [_views(study, one) for one in effects] if shown else None,
        "lists": None if lists is None else _lists(lists),
        "registration": None if registered is None else dict(registered),
        "models": [dict(one) for one in models],
        "provenance": {
            "tables": dict(tables),
            "exposures": study.exposures.rows,
            "outcomes": study.outcomes.rows,
            "people": len(study.exposures.units),
            "from": utc_text(min(study.exposures.by_day) * DAY_S)[:10],
            "until": utc_text(study.until),
            "log_digest": log_digest(study),
            "plan_digest": plan_digest(study.plan),
            "recsys": __version__,
            "seed": None,
        },
    }


def _views(study: Study, effect: Effect) -> dict[str, Any]:
    code = study.plan.arms.index(effect.arm)
    known = math.isfinite(effect.critical)
    primary = effect.metric.role == "primary" and known
    return {
        "metric": effect.metric.name,
        "arm": effect.arm,
        "smallest_shown": _number(smallest_shown(effect)),
        "step": "day" if study.plan.window_days <= MOST_DAYS else "week",
        "by_step": [
            {
                "days": [one.first_day, one.last_day],
                "control": _number(one.control),
                "treated": _number(one.treated),
                "share": _interval(one.share),
            }
            for one in (by_step(study, effect.metric, code) if primary else ())
        ],
        "by_look": [
            {
                "at": utc_text(one.second),
                "people": list(one.people),
                "control": _number(one.control),
                "treated": _number(one.treated),
                "share": _interval(one.share),
            }
            for one in (by_look(study, effect.metric, code) if known else ())
        ],
        "ways": [
            {"name": one.name, "people": one.people, "share": _interval(one.share)}
            for one in other_ways(study, effect)
        ],
    }


def _lists(lists: Lists) -> dict[str, Any]:
    plain_lists = {
        key: {
            arm: dict(sorted(value.items())) if isinstance(value, Mapping) else value
            for arm, value in each.items()
        }
        for key, each in lists._asdict().items()
        if key not in ("overlap", "differs")
    }
    overlap = {arm: _number(value) for arm, value in lists.overlap.items()}
    return {**plain_lists, "overlap": overlap, "differs": _number(lists.differs)}


def _interval(interval: Interval) -> dict[str, float] | None:
    return interval._asdict() if all(map(math.isfinite, interval)) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
