"""Judges a finished bundle on a data set, through the recommender that the service builds from it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipelines.console import Steps, text_table
from pipelines.measure import judge
from pipelines.prepared import prepare
from pipelines.reports import segments_table
from pipelines.settings import RunSettings
from recsys.arrays import I32, Histories, Ragged
from recsys.data.dataset import Dataset
from recsys.data.sources.folder import located
from recsys.data.split import Holdout
from recsys.errors import DataError
from recsys.evaluation.evaluate import Report
from recsys.evaluation.facts import facts_of
from recsys.ids import IdMap
from recsys.retrieval.bundle import Bundle
from recsys.retrieval.ranker import Answer
from recsys.retrieval.users import Users


def settings_of(bundle: Bundle) -> dict[str, Any]:
    """The settings of the run that made a bundle, as it states them; none where it was written without a run."""
    settings: dict[str, Any] = bundle.manifest["lineage"].get("settings", {})
    return settings


def evaluate_bundle(bundle: Bundle, settings: RunSettings, steps: Steps) -> tuple[str, Report]:
    """A title and the report of a bundle on the judged part of the settings' data and split.

    Raises DataError where the bundle was trained on the answers, unless the settings allow leaks.
    """
    prepared = prepare(settings, steps)
    holdout = prepared.holdout
    if not settings.split.allow_leaks:
        refuse_known_answers(bundle, settings, holdout)
    with steps.step("evaluate") as progress:
        served = Translated(bundle, holdout.train)
        report = judge(served, holdout, settings, facts_of(holdout.train), progress)
    return f"bundle {bundle.bundle_id} on {prepared.title}", report


def refuse_known_answers(bundle: Bundle, settings: RunSettings, holdout: Holdout) -> None:
    """Raises DataError where what is asked may have been trained on: by time, else by the settings of the split."""
    lineage = bundle.manifest["lineage"]
    last = lineage.get("train", {}).get("last")
    if lineage.get("refit") and (holdout.now is None or last is None or last >= holdout.now):
        raise DataError(
            f"bundle {bundle.bundle_id} learned again from all events of its run (refit=true), the judged ones among "
            "them: it has seen the answers. Its run has the figures of the same model without them. Judge a bundle of "
            "refit=false, or this one on events after its last (split.kind=global_time), or set split.allow_leaks=true "
            "to see by how much it flatters."
        )
    advice = "Judge it on the split of its own run, or set split.allow_leaks=true to see by how much it flatters."
    if holdout.now is not None and last is not None:
        if last >= holdout.now:
            raise DataError(
                f"bundle {bundle.bundle_id} was trained on events up to second {last}, and is asked about what "
                f"followed second {holdout.now}: it has seen the answers. {advice}"
            )
        return
    own, asked = settings_of(bundle), settings.model_dump(mode="json")
    if not own:
        raise DataError(
            f"bundle {bundle.bundle_id} was written without a run: it does not say how its data were split, nor can a "
            "split that is not by time tell which answers it has seen. Judge it on a split by time, or set "
            "split.allow_leaks=true."
        )
    own = {**own, "data": located(own["data"])}  # bundles of old say a path as it was typed
    for name in ("data", "prepare", "split", "judge", "seed"):
        if own[name] != asked[name]:
            raise DataError(
                f"bundle {bundle.bundle_id} was judged with {name} = {own[name]!r}, not {asked[name]!r}, and a split "
                f"that is not by time cannot tell which answers it has seen. {advice}"
            )


@dataclass(frozen=True, eq=False)
class Translated:
    """A bundle that is asked and answers in the numbering of a data set.

    What of a user's history the bundle does not know is left out of the question; an item of its answer that the data
    do not know becomes the number of the data's items: it keeps its place and is never a hit.
    """

    bundle: Bundle
    data: Dataset

    @property
    def n_items(self) -> int:
        return self.bundle.recommender.n_items

    @cached_property
    def item(self) -> I32:
        """int32 (n_items of the data,): the bundle's index of each item, -1 where it has none."""
        return _mapping(self.data.item_ids, self.bundle.item_ids)

    @cached_property
    def back(self) -> I32:
        """int32 (n_items of the bundle + 1,): the data's index of each item; the last place is for the pad, -1."""
        back = np.full(len(self.bundle.item_ids) + 1, self.data.n_items, np.int32)
        known = np.flatnonzero(self.item >= 0)
        back[self.item[known]] = known
        back[-1] = -1
        return back

    @cached_property
    def person(self) -> I32:
        """int32 (n_users of the data,): the bundle's index of each user, -1 where it has none."""
        return _mapping(self.data.user_ids, self.bundle.user_ids)

    @cached_property
    def event(self) -> I32:
        """int32: the bundle's code of each event type of the data, -1 for one that it does not know; the last = -1."""
        names = self.bundle.event_names
        own = self.data.interactions.event_names
        return np.array([*(names.index(name) if name in names else -1 for name in own), -1], np.int32)

    def recommend(self, users: Users, k: int, *, among: Ragged | None = None) -> Answer:
        answer = self.bundle.recommender.recommend(
            self.translated(users), k, among=None if among is None else self._items(among)
        )
        return Answer(self.back[answer.ids].astype(np.int64), answer.scores, answer.source)

    def translated(self, users: Users) -> Users:
        """The users in the bundle's numbering, with weights only where it serves by weights."""
        items = Ragged(users.history.offsets, self.item[users.history.values])
        event = None if users.event is None else self.event[users.event].astype(np.int8)
        weight = users.weight if self.bundle.weighted else None
        past = Histories(items, users.time, weight, event).keep(items.values >= 0)
        return Users.of(np.where(users.index >= 0, self.person[users.index], -1), past, users.now)

    def _items(self, rows: Ragged) -> Ragged:
        items = self.item[rows.values]
        return Ragged(rows.offsets, items).keep(items >= 0)


def _mapping(source: IdMap, target: IdMap) -> I32:
    """int32 (n,): the target's index of each id of the source, -1 where it has none."""
    return target.indices(list(source))


def report_table(title: str, report: Report) -> str:
    """Each metric with its interval, those of the whole system without, and the segments."""
    rows = []
    for metric in report.values:
        interval = report.interval(metric)
        rows.append([metric, f"{interval.mean:.4f}", f"{interval.low:.4f}", f"{interval.high:.4f}"])
    rows += [[metric, f"{value:.4f}", "-", "-"] for metric, value in report.system.items()]
    sources = ", ".join(f"{count:,} {name}" for name, count in report.sources().items())
    table = text_table(["metric", "mean", "low", "high"], rows)
    return f"{title}. Answered from: {sources}.\n\n{table}\n\n{segments_table({'bundle': report})}"
