"""How much a random split invents, on the planted world, where it is known that nothing but the split
differs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from recsys.arrays import Array
from recsys.data.dataset import TEST, TRAIN, Dataset, Published
from recsys.data.planted.world import make_world
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.evaluation.significance import Interval, bootstrap
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import Measured, measure
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.threads import set_threads
from recsys.seeding import generator
from recsys.text import text_table

METRIC = "ndcg_at_10"
ROWS = (
    "global time split",
    "random split",
    "same targets, the past alone",
    "same targets, the future around them too",
)


def audit_world(settings: RunSettings, steps: Steps) -> Mapping[str, Any]:
    """Measures the model of the settings and all-time popularity on four questions about one world.

    The first two are the two protocols as they are used: cut at a moment, or the same share of events drawn
    at random. They ask different users for different items, so the last two isolate the leak: half of what
    happened after the cut is asked for in both, and the other half is hidden or, as in a random split,
    learned from.
    """
    threads = set_threads(settings.threads)
    settings = settings.model_copy(update={"metrics": (METRIC,), "baselines_days": ()})
    with steps.step("world") as progress:
        data = make_world(settings.world, progress).dataset
    measured = {
        name: measure(Run(settings, steps, data, holdout, name, threads))
        for name, holdout in _questions(data, settings).items()
    }
    model = settings.model_name
    result: dict[str, Any] = {"world": data.name, "metric": METRIC, "model": model, "questions": {}}
    for name, one in measured.items():
        result["questions"][name] = {
            row: one.reports[row].interval(METRIC)._asdict() | {"users": len(one.warm)}
            for row in (model, "popularity")
        }
    honest, leaking = (measured[name].reports[model].values[METRIC] for name in ROWS[2:])
    invented = bootstrap(leaking - honest)._asdict()
    share = float(leaking.mean() / honest.mean() - 1)
    means = {
        name: {row: one["mean"] for row, one in rows.items()} for name, rows in result["questions"].items()
    }
    result["lead"] = [means[name][model] / means[name]["popularity"] - 1 for name in ROWS[:2]]
    result |= {
        "headline_gain": means[ROWS[1]][model] / means[ROWS[0]][model] - 1,
        "leak_gain": share,
        "leak_difference": invented,
    }
    steps.say(_words(result, measured, model))
    return result


def _questions(data: Dataset, settings: RunSettings) -> dict[str, Holdout]:
    events, by_time = data.interactions, SplitSettings()
    honest = split(data, by_time, seed=settings.seed).test
    random = generator(settings.seed, "random split")
    drawn = random.random(len(events)) < by_time.test
    assert events.time is not None
    assert honest.now is not None
    later = events.time >= honest.now
    asked = later & (random.random(len(events)) < 0.5)
    return {
        ROWS[0]: honest,
        ROWS[1]: _judged_on(data, drawn, np.ones(len(events), bool), settings.seed),
        ROWS[2]: _judged_on(data, asked, ~later | asked, settings.seed),
        ROWS[3]: _judged_on(data, asked, np.ones(len(events), bool), settings.seed),
    }


def _judged_on(data: Dataset, test: Array, kept: Array, seed: int) -> Holdout:
    """The question about the events of `test`, by a learner who sees the others among those that are
    `kept`."""
    part = np.where(test, TEST, TRAIN).astype(np.int8)[kept]
    chosen = replace(
        data, interactions=data.interactions.where(kept), whole=None, published=Published(part, "drawn")
    )
    return split(chosen, SplitSettings(kind="published"), seed=seed).test


def _words(result: Mapping[str, Any], measured: Mapping[str, Measured], model: str) -> str:
    rows = [
        [
            name,
            f"{len(one.warm):,}",
            *(one.reports[row].interval(METRIC).text() for row in (model, "popularity")),
        ]
        for name, one in measured.items()
    ]
    gap = Interval(**result["leak_difference"])
    return "\n".join(
        [
            f"{result['world']}, {METRIC}",
            "",
            text_table(["question", "users", model, "popularity"], rows),
            "",
            f"As the two protocols are used, the random split shows {result['headline_gain']:+.0%} for "
            f"{model}, and a lead over popularity of {result['lead'][1]:+.0%} instead of "
            f"{result['lead'][0]:+.0%}.",
            f"On the same users and targets, seeing the future around them adds "
            f"{gap.text('+.4f')} ({result['leak_gain']:+.0%}): none of it can be had in service.",
        ]
    )
