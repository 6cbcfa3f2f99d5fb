"""What `recsys best` finds in a stated time, beside the settings that were tuned by hand on the same data.

    RECSYS_DATA=... python -m benchmarks.best [--data NAME] ... [--minutes 30] [--seeds 1,2,3] [--regret]
    [--json]

Default options; the test part is read once a run. `hand` is the best row of the tables of results that an
index can serve, on the same split; sets that no config of ours names have none. What was measured is kept by
data, minutes and seed, the values of the people in `best.npz`, so that a run that was stopped goes on.
Searches lie below RECSYS_HOME, and go on, too, where they were stopped.
"""

from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.results import RESULTS, cores, read_rows, report
from recsys.arrays import F32, F64
from recsys.durable import write_whole
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.models.base import fit_with
from recsys.pipelines.best.best import best
from recsys.pipelines.best.ledger import Tried
from recsys.pipelines.best.result import Asked, Best
from recsys.pipelines.commands.stage import config_for
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import judge, recommender_for
from recsys.pipelines.run.question import ask, read
from recsys.pipelines.run.settings import RunSettings, load_settings
from recsys.progress import silent

FINALISTS, VALUES = 3, RESULTS / "best.npz"
_WORLDS = {
    "world, few events": ("world.users=8000", "world.items=4000", "world.seed=11"),
    "world, many events": ("world.users=4000", "world.items=600", "world.seed=12"),
    "world, drift": ("world.users=6000", "world.items=1500", "world.drift=0.7", "world.seed=13"),
}


class Set(NamedTuple):
    """Data to search on. metric: of the search, and judged on test. hand: the figure of the settings tuned by
    hand, the mean over the seeds that were measured, and the file of results that it stands in; None for data
    that no config names."""

    metric: str
    assignments: tuple[str, ...] = ()
    hand: tuple[float, str] | None = None


SETS: dict[str, Set] = {
    "gowalla": Set("ndcg_at_20", (), (0.1649, "quality.md")),
    "ml-1m-ncf": Set("ndcg_at_10", (), (0.4593, "quality.md")),
    "ml-100k": Set("ndcg_at_10", (), (0.3612, "quality.md")),
    "poi-gowalla": Set("ndcg_at_10", (), (0.0681, "visitors.md")),
    "s3rec-beauty": Set("ndcg_at_10", ("split.learn_validation=false",), (0.0627, "sequences.md")),
    "s3rec-sports-outdoors": Set("ndcg_at_10", ("split.learn_validation=false",), (0.0365, "sequences.md")),
    "lastfm-hetrec": Set("ndcg_at_20"),
    "anime-5k": Set("ndcg_at_20"),
    "amazon-book-kgat": Set("ndcg_at_20"),
    "s3rec-lastfm": Set("ndcg_at_10", ("split.learn_validation=false",)),
    **{name: Set("ndcg_at_10") for name in _WORLDS},
}


def question_settings(name: str, seed: int) -> RunSettings:
    """The settings of a search on a set, by default options."""
    wanted = SETS[name]
    data, world = ("world", _WORLDS[name]) if name in _WORLDS else (name, ())
    own = (f'metrics=["{wanted.metric}"]', f"seed={seed}", "baselines_days=[]")
    return load_settings(config_for(data), [*own, *wanted.assignments, *world], data=data)


def values_of(name: str, minutes: float, seed: int) -> F64 | None:
    """(n,) the metric of each person of the test part, as a search left it; None where there was none."""
    values = _values().get(f"{name}, {minutes:g} minutes, seed {seed}")
    return None if values is None else values.astype(np.float64)


def keep_values(name: str, minutes: float, seed: int, values: F64) -> None:
    """Writes them, in single precision, beside those of other searches."""
    arrays: dict[str, Any] = _values()
    arrays[f"{name}, {minutes:g} minutes, seed {seed}"] = values.astype(np.float32)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)

    write_whole(VALUES, write)


def _values() -> dict[str, F32]:
    if not VALUES.exists():
        return {}
    with np.load(VALUES, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def measure(name: str, minutes: float, seed: int, regret: bool) -> dict[str, Any]:
    """One search, and its figure on the test part. regret: whether the other finalists are judged there, too:
    not to choose by, but to say what the choice by validation cost."""
    wanted, began, steps = SETS[name], monotonic(), Steps()
    settings = question_settings(name, seed)
    planted, read_data = read(settings, steps)
    search = best(settings, steps, Asked(minutes, wanted.metric), planted, read_data, began)
    took, judged = (monotonic() - began) / 60, search.trained.measured.report
    keep_values(name, minutes, seed, judged.values[wanted.metric])
    interval = judged.interval(wanted.metric)
    hand = None if wanted.hand is None else wanted.hand[0]
    finalists = _on_test(search, settings, planted, read_data, wanted.metric) if regret else {}
    return {
        "data": name,
        "minutes": minutes,
        "cores": cores(),
        "seed": seed,
        "metric": wanted.metric,
        "figure": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "hand": hand,
        "share": None if hand is None else interval.mean / hand,
        "took": took,
        "models": len(search.tried),
        "chosen": search.choice.winner.label,
        "regret": 1 - interval.mean / max([interval.mean, *finalists.values()]) if regret else None,
        "finalists": finalists,
    }


def _on_test(search: Best, settings: RunSettings, world: Any, data: Any, metric: str) -> dict[str, float]:
    """The figure of each other finalist on the test part, by its label."""
    firsts: dict[str, Tried] = {}
    for one in sorted(search.tried, key=lambda one: -one.mean):
        if one.vectors and one.share == 1.0 and not one.part and one.label != search.choice.winner.label:
            firsts.setdefault(one.family, one)
    figures = {}
    for one in list(firsts.values())[:FINALISTS]:
        split = settings.split.model_copy(
            update={"kind": "random" if "random" in search.title else settings.split.kind}
        )
        run = ask(
            settings.model_copy(update={"model": dict(one.model), "split": split}), Steps(), world, data
        )
        learned = fit_with(run.learner(), run.holdout.train, seed=settings.seed)
        report = judge(run, recommender_for(run, learned), facts_of(run.holdout.train), silent, [metric])
        figures[one.label] = report.interval(metric).mean
    return figures


COLUMNS = {
    "data": "data",
    "minutes": "minutes",
    "cores": "cores",
    "seed": "seed",
    "metric": "metric",
    "figure": "test",
    "low": "low",
    "high": "high",
    "hand": "by hand",
    "share": "share",
    "took": "took, minutes",
    "models": "models",
    "regret": "regret",
    "chosen": "chosen",
}


@click.command()
@click.option("--data", "names", multiple=True, type=click.Choice(list(SETS)), help="Only these; repeatable.")
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--seeds", default="1", show_default=True, help="Numbers with commas between them.")
@click.option("--regret", is_flag=True, help="Judge the other finalists on the test part as well.")
@click.option("--quick", is_flag=True, help="Half a minute on a small world; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(names: Sequence[str], minutes: float, seeds: str, regret: bool, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/best.md."""
    kept = {(row["data"], row["minutes"], row["seed"]): row for row in read_rows("best")}
    if quick:
        names, minutes, seeds, kept = ("world, many events",), 0.5, "1", {}
    for name in names or SETS:
        for seed in map(int, seeds.split(",")):
            if (name, minutes, seed) not in kept:
                kept[name, minutes, seed] = measure(name, minutes, seed, regret)
                _report(list(kept.values()), quick, as_json)
    _report(list(kept.values()), quick, as_json)


def _report(rows: list[dict[str, Any]], quick: bool, as_json: bool) -> None:
    report(
        "best",
        rows,
        title="The best in a stated time",
        columns=COLUMNS,
        note="`recsys best` with default options; share: of the row tuned by hand, the mean of its seeds.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
