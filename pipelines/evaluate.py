"""Judges a finished bundle on a data set, through the recommender that the service builds from it."""

from typing import Any

import numpy as np

from pipelines.console import Steps, text_table
from pipelines.measure import users_of
from pipelines.settings import RunSettings
from pipelines.train import prepare
from recsys.arrays import I32, Ragged
from recsys.data.split import Holdout
from recsys.evaluation.evaluate import Report, evaluate
from recsys.ids import IdMap
from recsys.retrieval.bundle import Bundle
from recsys.retrieval.users import Users


def settings_of(bundle: Bundle) -> dict[str, Any]:
    """The settings of the run that made a bundle, as it states them."""
    settings: dict[str, Any] = bundle.manifest["lineage"]["settings"]
    return settings


def evaluate_bundle(bundle: Bundle, settings: RunSettings, steps: Steps) -> tuple[str, Report]:
    """A title and the report of a bundle on the judged part of the settings' data and split."""
    prepared = prepare(settings, steps)
    users, targets = translated(prepared.holdout, bundle)
    with steps.step("evaluate") as progress:
        report = evaluate(bundle.recommender, users, targets, metrics=settings.metrics, progress=progress)
    return f"bundle {bundle.bundle_id} on {prepared.title}", report


def translated(holdout: Holdout, bundle: Bundle) -> tuple[Users, Ragged]:
    """A holdout in the bundle's numbering. Targets that it lacks get numbers beyond its items: they stay misses."""
    data, users = holdout.train, users_of(holdout)
    item = _mapping(data.item_ids, bundle.item_ids)
    absent = np.flatnonzero(item < 0)
    beyond = item.copy()
    beyond[absent] = len(bundle.item_ids) + np.arange(len(absent), dtype=np.int32)
    known = item[users.history.values] >= 0
    history = users.history.keep(known)
    person = _mapping(data.user_ids, bundle.user_ids)
    index = np.where(users.index >= 0, person[users.index], -1).astype(np.int32)
    time = None if users.time is None else users.time[known]
    mapped = Users(index, Ragged(history.offsets, item[history.values]), time=time)
    return mapped, Ragged(holdout.targets.offsets, beyond[holdout.targets.values])


def _mapping(source: IdMap, target: IdMap) -> I32:
    """int32 (n,): the target's index of each id of the source, -1 where it has none."""
    return target.indices(list(source))


def report_table(title: str, report: Report) -> str:
    """Each metric with its interval."""
    rows = []
    for metric in report.values:
        interval = report.interval(metric)
        rows.append([metric, f"{interval.mean:.4f}", f"{interval.low:.4f}", f"{interval.high:.4f}"])
    sources = ", ".join(f"{count:,} {name}" for name, count in report.sources().items())
    return f"{title}. Answered from: {sources}.\n\n" + text_table(["metric", "mean", "low", "high"], rows)
