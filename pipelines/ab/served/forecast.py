"""How long a test of this very pair would take: whose lists differ, by making those that were served
again."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from scipy import stats

from recsys.analysis.effects.power import days_for
from recsys.analysis.plan import Metric, Plan
from recsys.analysis.planning import POWER, Needs, plan_power
from recsys.bundle.trials import verified_experiment
from recsys.errors import DataError, SettingError
from recsys.events.address import open_store
from recsys.experiments.definition import Experiment
from recsys.experiments.draft import merge_by_draft
from recsys.experiments.folder import read_experiments
from recsys.pipelines.ab.served.plans import plan_of
from recsys.pipelines.ab.served.registered import with_registered
from recsys.pipelines.ab.served.replayed import Arms, Replayed
from recsys.pipelines.ab.served.store import lines_of, outcome_rows, write_outcomes
from recsys.pipelines.console import Steps
from recsys.text import did_you_mean


@dataclass(frozen=True)
class Interleaved:
    """What interleaving would need. people: with a merged list and a whole window; days: until they have
    come, None = the log is too short. share: of the clicks on one list's own items that the merged list
    keeps."""

    people: float
    days: int | None
    share: float


@dataclass(frozen=True)
class Forecast:
    """lists, people: that were made again; lists_differ, people_differ: of these. carried: of all that the
    first primary metric counts, the share of people whose lists differ, from their first such list on. whole,
    triggered: what a test of all needs, and one of these people alone for the same effect on all. metric: the
    first primary one."""

    metric: Metric
    lists: int
    people: int
    lists_differ: int
    people_differ: int
    carried: float
    whole: Needs
    triggered: Needs | None
    interleaved: Interleaved | None

    @property
    def share(self) -> float:
        return self.people_differ / self.people


class _Counts:
    """What is kept of each list that was made again."""

    def __init__(self, experiment: Experiment) -> None:
        self.control = experiment.control
        self.treated = [arm for arm in experiment.phases[0].weights if arm != self.control]
        self.unit = list[str]()
        self.second = list[int]()
        self.differs = list[bool]()
        self.credited = dict[
            str, frozenset[str]
        ]()  # request -> what the control would show of its own in a merged list
        self.own = dict[str, frozenset[str]]()  # and all of its own

    def add(self, one: Replayed, unit: str) -> None:
        self.unit.append(unit)
        self.second.append(one.line["time_ms"] // 1000)
        self.differs.append(one.differs)
        request, control = one.line["request_id"], one.lists[self.control]
        if one.line["items"] != control or len(self.treated) != 1:
            return  # clicks are known on what was shown
        draft = merge_by_draft({"0": control, "1": one.lists[self.treated[0]]}, len(control), request)
        common = {item for item, team in zip(draft.items, draft.team, strict=True) if team is None}
        self.own[request] = frozenset(control) - common
        self.credited[request] = frozenset(
            item for item, team in zip(draft.items, draft.team, strict=True) if team == "0"
        )


def forecast_experiment(
    steps: Steps,
    name: str,
    folder: Path,
    root: Path,
    store: str | Path | None,
    *,
    plan_path: Path | None = None,
    since: int | None = None,
    limit: int | None = None,
) -> Forecast:
    """The forecast from lists that were served before. Raises SettingError where there is no such definition,
    DataError where the log is too short."""
    known = read_experiments(folder)
    if name not in known.by_name:
        raise SettingError(f"{folder} has no {name}.toml; {did_you_mean(name, known.by_name)}")
    with steps.step("verify the bundles"):
        experiment = verified_experiment(root, with_registered(root, known.by_name[name]))
    plan, opened = plan_of(experiment, 0, plan_path), open_store(store)
    called, counts = opened.people(), _Counts(experiment)
    with steps.step("make lists again") as progress:
        arms = Arms(experiment, 0, root)
        for one in arms.replay(_pick_lines(lines_of(opened), experiment, limit), progress):
            user = one.line["user_id"]
            unit = one.line["unit_id"] or (None if user is None else called.get(user, user))
            if unit is not None and not one.refused:
                counts.add(one, unit)
    if not counts.unit:
        raise DataError("no list in the event store can be made again: none holds its question and a person.")
    with TemporaryDirectory() as place, steps.step("plan") as progress:
        outcomes = write_outcomes(outcome_rows(opened, called, {}), Path(place) / "outcomes")
        start = counts.second[0] + plan.past_s if since is None else since
        return _forecast(counts, plan, str(outcomes), start, progress)


def _pick_lines(
    lines: Iterable[dict[str, Any]], experiment: Experiment, limit: int | None
) -> Iterable[dict[str, Any]]:
    """The first `limit` lists of the placement that the experiment is for."""
    number = 0
    for line in lines:
        if experiment.placement in (None, line["placement"]):
            if number == limit:
                return
            number += 1
            yield line


def _forecast(counts: _Counts, plan: Plan, outcomes: str, since: int, progress: Any) -> Forecast:
    metric = plan.metrics_of("primary")[0]
    differs = np.array(counts.differs)
    table = pa.table({"unit_id": counts.unit, "timestamp": counts.second})
    whole = plan_power(outcomes, plan, exposures=table, since=since, progress=progress)
    own = next(one for one in whole.needs if one.metric == metric)
    triggered, carried = None, 0.0
    if differs.any():
        # of an effect on all people, all is of those whose lists differ: on them it is as much larger as they
        # are fewer
        first = plan_power(
            outcomes, plan, exposures=table.filter(pa.array(differs)), since=since, progress=progress
        )
        theirs = next(one for one in first.needs if one.metric == metric)
        carried = min(1.0, theirs.mean * first.people / (own.mean * whole.people)) if own.mean else 0.0
        if carried > 0:
            larger = [_scale(one, 1 / carried) for one in plan.metrics]
            again = plan.model_copy(update={"metrics": tuple(larger)})
            triggered = plan_power(
                outcomes, again, exposures=table.filter(pa.array(differs)), since=since, progress=progress
            )
    people = len(set(counts.unit))
    return Forecast(
        metric=metric,
        lists=len(differs),
        people=people,
        lists_differ=int(differs.sum()),
        people_differ=len({unit for unit, differ in zip(counts.unit, counts.differs, strict=True) if differ}),
        carried=carried,
        whole=whole,
        triggered=triggered,
        interleaved=_interleave(counts, metric, plan, outcomes, whole),
    )


def _scale(metric: Metric, times: float) -> Metric:
    return metric.model_copy(update={"mde": metric.mde * times, "margin": min(metric.margin * times, 0.99)})


def _interleave(
    counts: _Counts, metric: Metric, plan: Plan, outcomes: str, whole: Needs
) -> Interleaved | None:
    """By the clicks on what the control showed: the part of its own items that a merged list keeps carries
    the same part of an effect, and clicks on the two teams are as many as on twice that part, each for
    itself."""
    done = parquet.read_table(outcomes, columns=["request_id", "item_id", "event"]).to_pylist()
    clicks = [one for one in done if metric.event in (None, one["event"]) and one["request_id"] in counts.own]
    own = sum(one["item_id"] in counts.own[one["request_id"]] for one in clicks)
    kept = sum(one["item_id"] in counts.credited[one["request_id"]] for one in clicks)
    need = next(one for one in whole.needs if one.metric == metric)
    if not kept or not own or not need.mean:
        return None
    share = kept / own
    credited = need.mean * kept / len(clicks)  # a person's clicks on the control's team, in a window
    bound = stats.norm.isf(plan.alpha / 2) + stats.norm.isf(1 - POWER)
    people = float((bound**2) * 2 * credited / (share * metric.mde * need.mean) ** 2)
    come = days_for(people, whole.new_by_day.astype(np.float64))
    return Interleaved(people, None if come is None else math.ceil(come + plan.window_days), share)


def told_forecast(forecast: Forecast) -> str:
    """The forecast as a sentence, and what it rests on."""
    needs, effect = forecast.whole, f"{100 * forecast.metric.mde:.3g} %"
    days = "no number of days" if needs.days is None else f"{needs.days} days"
    sentence = (
        f"Lists differ for {forecast.share:.0%} of people: an effect of {effect} on {forecast.metric.name} "
        f"needs {days}"
    )
    if forecast.triggered is not None and forecast.triggered.days is not None:
        sentence += f", {forecast.triggered.days} days where only these people are analysed"
    if forecast.interleaved is not None:
        days = (
            "more days than the log has"
            if forecast.interleaved.days is None
            else f"{forecast.interleaved.days} days"
        )
        sentence += f"; interleaving {days}"
    lines = [
        f"{sentence}.",
        f"{forecast.lists:,} lists of {forecast.people:,} people were made again, "
        f"{forecast.lists_differ:,} differ. Of what {forecast.metric.name} counts, {forecast.carried:.0%} is "
        "of people whose lists differ.",
        f"People with whole windows: {needs.planned:,.0f} of all"
        + (f", {forecast.triggered.planned:,.0f} whose lists differ" if forecast.triggered else "")
        + (f", {forecast.interleaved.people:,.0f} with merged lists" if forecast.interleaved else "")
        + f"; power {POWER:.2f}.",
    ]
    return "\n".join(lines)


def plain_forecast(forecast: Forecast) -> dict[str, Any]:
    """The forecast as plain data, for JSON."""
    return {
        "metric": forecast.metric.name,
        "effect": forecast.metric.mde,
        "lists": forecast.lists,
        "lists_differ": forecast.lists_differ,
        "people": forecast.people,
        "people_differ": forecast.people_differ,
        "carried": forecast.carried,
        "whole": _plain(forecast.whole),
        "triggered": None if forecast.triggered is None else _plain(forecast.triggered),
        "interleaving": None if forecast.interleaved is None else vars(forecast.interleaved),
    }


def _plain(needs: Needs) -> Mapping[str, Any]:
    """The people and days that a test needs, for JSON; None where no number of people suffices."""
    people = needs.planned
    return {"people": math.ceil(people) if math.isfinite(people) else None, "days": needs.days}
