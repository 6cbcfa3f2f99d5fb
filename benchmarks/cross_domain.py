"""Two domains with everybody in both: Beauty and Electronics of ABXI's files, the last event of each person.

    RECSYS_DATA=... python -m benchmarks.cross_domain [--row TEXT] [--seeds 1,2,3] [--quick] [--json]

`of 999`: the target among 999 drawn items of its domain that the person has not had, as ABXI asks, the mean
of three draws; `all`: among all items of the domain that they have not had. The models have learned from
train alone, the validation event stands in the history. In these files 30 % of the steps share a day with the
one before, inside of which items stand by number, so figures of the people whose last event has a day of its
own stand beside (`untied`). What was measured is kept by row and seed.

Source of files and protocol: Bian et al., "ABXI: Invariant Interest Adaptation for Task-Guided Cross-Domain
Sequential Recommendation", WWW 2025.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import click
import numpy as np

from benchmarks.results import RESULTS, report
from recsys.arrays import F64, Bool
from recsys.data.split.candidates import drawn_candidates
from recsys.durable import hold_lock, write_whole
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.significance import bootstrap, compare_pairs, p_text
from recsys.evaluation.transfer import DomainQuestion, by_domain
from recsys.history import DAY_S
from recsys.models.base import fit_with
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.threads import set_threads
from recsys.retrieval.recommender import Recommender

BASE = "co-occurrence"
KEPT, METRICS, DRAWN = RESULTS / "cross_domain.npz", ("hit_rate_at_10", "ndcg_at_10"), 999
DRAWS = (1, 2, 3)  # seeds of what is drawn
# Those of s3rec-beauty; of `sequence`, by the validation part after 10 epochs: no sum of recent events beside
# the net (half_life 2 found .370 and .256 among 999, none .389 and .265), domain_dropout .1 (among all .123
# and .067, .3 .118 and .060).
MODELS: dict[str, dict[str, Any]] = {
    BASE: {"name": "cooccurrence", "from_exponent": 0.5, "to_exponent": 0.3, "half_life": 1.5},
    "als": {"name": "als", "dim": 128, "unobserved_weight": 0.01, "regularization": 0.01},
    "sequence": {
        "name": "sequence",
        "dim": 128,
        "heads": 4,
        "epochs": 20,
        "batch_size": 512,
        "longest_history": 50,
        "event_dropout": 0.2,
        "dropout": 0.5,
        "initial": "spectral",
        "domain_dropout": 0.1,
        "averaged": 0.3,
    },
}


def question(judge: str, quick: bool) -> Run:
    """The run that asks for the last event of each person."""
    data = ["world", "world.users=300", "world.items=100", "world.shared_taste=1"] if quick else ["abxi-abe"]
    assignments = [*data[1:], "split.kind=leave_last_out", "split.learn_validation=false", f"judge={judge}"]
    return prepare(load_settings(None, assignments, data=data[0]), Steps(quiet=True))


def values(run: Run, engine: Recommender, asked: DomainQuestion) -> dict[str, F64]:
    """Each metric of each person (n,), among all items of the domain and, the mean of DRAWS, among those
    drawn."""
    shown = asked.inside if engine.available is None else engine.available & asked.inside
    users, targets = asked.users(), asked.holdout.targets
    whole = evaluate(replace(engine, available=shown), users, targets, metrics=METRICS).values
    short = []
    for seed in DRAWS:
        drawn = drawn_candidates(run.holdout.train, asked.holdout.had, targets, DRAWN, seed=seed)
        short.append(evaluate(engine, users, targets, metrics=METRICS, among=drawn).values)
    among = {name: np.mean([one[name] for one in short], axis=0) for name in METRICS}
    return {f"all, {name}": one for name, one in whole.items()} | {
        f"of 999, {name}": one for name, one in among.items()
    }


def key_of(label: str, seed: int) -> str:
    """What names a measurement: all that its figures depend on."""
    return f"{label}, seed {seed}, {json.dumps({'draws': DRAWS, **MODELS[label]}, sort_keys=True)}"


def load() -> dict[str, F64]:
    """What earlier runs left."""
    if not KEPT.exists():
        return {}
    with np.load(KEPT, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def has_own_day(run: Run, asked: DomainQuestion) -> F64:
    """(n,): 1 for whom the last event has a day of its own, 0 for others."""
    events = run.data.interactions
    if events.time is None:
        return np.ones(len(asked.holdout.user))
    histories = events.histories().take(asked.holdout.user)
    assert histories.time is not None
    last = histories.items.offsets[1:] - 1
    days = histories.time // DAY_S
    apart: F64 = (days[last] != days[np.maximum(last - 1, 0)]).astype(np.float64)
    return apart


@click.command()
@click.option("--row", "text", default="", help="Only models whose name holds this text.")
@click.option("--seeds", default="1", show_default=True, help="Of learning.")
@click.option("--judge", default="test", show_default=True, type=click.Choice(["test", "validation"]))
@click.option("--quick", is_flag=True, help="Counted and factorized, on a small world; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(text: str, seeds: str, judge: str, quick: bool, as_json: bool) -> None:
    """Measure models of two domains; what is measured already is not measured again."""
    set_threads(0)
    dry = quick or judge == "validation"
    kept = {} if dry else load()
    run, steps = question(judge, quick), Steps(quiet=as_json)
    questions = by_domain(run.holdout)
    for label, model in MODELS.items():
        for seed in (int(word) for word in seeds.split(",")):
            key = key_of(label, seed)
            if text not in label or f"{key}, seconds" in kept or (quick and label == "sequence"):
                continue
            own = {name: one for name, one in model.items() if name != "name"}
            started = monotonic()
            with steps.step(f"{label}, seed {seed}") as progress:
                learned = fit_with(
                    make_model(model["name"], own), run.holdout.train, seed=seed, progress=progress
                )
            figures = {f"{key}, seconds": np.array([monotonic() - started])}
            engine = recommender_for(run, learned)
            for name, asked in questions.items():
                figures |= {
                    f"{key}, {name}, {metric}": one for metric, one in values(run, engine, asked).items()
                }
            kept |= figures
            if not dry:
                save(figures)
    apart = {name: has_own_day(run, asked) > 0 for name, asked in questions.items()}
    report(
        "cross_domain",
        rows_of(kept, apart),
        title="Two domains, everybody in both",
        quick=dry,
        as_json=as_json,
    )


def rows_of(kept: Mapping[str, F64], apart: Mapping[str, Bool]) -> list[dict[str, Any]]:
    """A row for each model and domain, the mean over its seeds, against co-occurrence (Holm over all
    rows)."""
    figures, counts = dict[tuple[str, str], dict[str, F64]](), dict[str, list[str]]()
    for label in MODELS:
        named = f"{key_of(label, 0).removeprefix(f'{label}, seed 0')}, seconds"
        counts[label] = [key for key in kept if key.startswith(f"{label}, seed") and key.endswith(named)]
        keys = [key.removesuffix(", seconds") for key in counts[label]]
        for name in apart if keys else ():
            metrics = [f"{among}, {one}" for among in ("of 999", "all") for one in METRICS]
            figures[label, name] = {
                metric: np.mean([kept[f"{key}, {name}, {metric}"] for key in keys], axis=0)
                for metric in metrics
            }
    first = f"all, {METRICS[0]}"
    pairs = [(key, (BASE, key[1])) for key in figures if key[0] != BASE and (BASE, key[1]) in figures]
    values = {key: of[first] for key, of in figures.items()}
    compared = compare_pairs(values, pairs, warm={pair: len(values[pair[0]]) for pair in pairs})
    rows = []
    for (label, name), of in figures.items():
        row = {"model": label, "domain": name, "people": len(apart[name]), "seeds": len(counts[label])}
        for metric, each in of.items():
            row |= {metric: bootstrap(each).text(".4f"), f"{metric}, untied": float(each[apart[name]].mean())}
        if ((label, name), (BASE, name)) in compared:
            one = compared[(label, name), (BASE, name)]
            row[f"{first}, against {BASE}"] = f"{one.difference.text('+.4f')}, {p_text(one.p_holm)}"
        seconds = [float(kept[key][0]) for key in counts[label]]
        rows.append(row | {"minutes": float(np.mean(seconds)) / 60})
    return rows


def save(measured: Mapping[str, F64]) -> None:
    """Writes it beside what others have measured meanwhile."""

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **whole)  # type: ignore[arg-type]

    with hold_lock(KEPT.with_suffix(".lock")):
        whole = load() | dict(measured)
        write_whole(KEPT, write)


if __name__ == "__main__":
    main()
