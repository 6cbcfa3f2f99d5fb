"""What the transfer report says of planted worlds: of domains that share taste, and of domains that share
nothing.

    python -m benchmarks.transfer [--world TEXT] [--seeds 44,45,46] [--quick] [--json]

4,000 people, the last event of each left out, films and books. For each world a model of both domains
(`cross`), with all people joined and with a tenth of them, and a control for each domain. `served` is both by
the weights that validation chooses at that share, 0 where it shows no gain. `twins` are two controls of
different seeds side by side: what two models bring each other without anything from another domain. Worlds of
several seeds are pooled. **Attainable**: (cross - popular) / (informed - popular) of people of whom nothing
is shown but what they did in the other domain; beside it a mapping of vectors (EMCDR) and neighbours in the
other domain. What was measured is kept by world and seed (`transfer.npz`). Settings of the model were chosen
on worlds of other seeds; on those of 41 to 43 it was seen that people without events in a domain get a worse
list where cross answers them for want of proof.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import click
import numpy as np

from benchmarks.other_domain import mapping, neighbours
from benchmarks.results import RESULTS, report
from recsys.arrays import F64
from recsys.data.planted.truth import informed_scores
from recsys.durable import write_whole
from recsys.evaluation.planted import ScoreRanker, attainable_gain
from recsys.evaluation.significance import compare_pairs, p_text
from recsys.evaluation.transfer import CONTROL, CROSS, DomainQuestion, by_domain, split_people, within
from recsys.models.popularity import Popularity
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.search.by_domain import Chosen, learn
from recsys.pipelines.transfer import mix_learned
from recsys.retrieval.embeddings import Embeddings, concat
from recsys.retrieval.recommender import Recommender

METRIC, KEPT = "ndcg_at_10", RESULTS / "transfer.npz"
JOINED = (1.0, 0.1)
SIZE = (
    "world.users=4000",
    "world.items=1000",
    "world.wave=0",
    "world.new_share=0",
    "split.kind=leave_last_out",
    f'metrics=["{METRIC}"]',
    "threads=1",
)
MODEL = (
    "model=sequence",
    "model.dim=32",
    "model.epochs=10",
    "model.layers=1",
    "model.widened=64",
    "model.batch_size=1024",
    "model.learning_rate=3e-3",
    "model.half_life=20",
    "model.initial=spectral",
)
WORLDS = {"shared": ("world.shared_taste=1",), "independent": ("world.shared_taste=0",)}
SMALL = ("world.users=300", "world.items=80", "model.epochs=1")
POPULAR, INFORMED, ELSEWHERE, WEIGHT = "popular", "informed", "elsewhere", "weight"
SERVED, TWINS = "served", "twins"
PEERS = {"mapping": mapping, "neighbours": neighbours}


def measure(world: str, seed: int, changes: tuple[str, ...], steps: Steps) -> dict[str, F64]:
    """Each person's values by the names of a domain and of a row; and the weight of cross in what is
    served."""
    assignments = [*SIZE, *WORLDS[world], *MODEL, f"world.seed={seed}", *changes]
    run = prepare(load_settings("world", assignments), Steps(quiet=True))
    validation = prepare(load_settings("world", [*assignments, "judge=validation"]), Steps(quiet=True))
    train, questions, values = run.holdout.train, by_domain(run.holdout), dict[str, F64]()
    model, alone = dict(run.settings.model), dict[str, Embeddings]()
    for name in questions:
        with steps.step(f"{world}, seed {seed}: {name} alone"):
            alone[name], twin = (learn(model, train.in_domain(name), learning) for learning in (1, 2))
        values |= values_of(
            run, questions[name], {CONTROL: alone[name], TWINS: concat([alone[name], twin], [1.0, 1.0])}
        )
    for joined in JOINED:
        part = split_people(validation.holdout.train, joined, seed)
        with steps.step(f"{world}, seed {seed}: what validation would serve, {joined:.0%} joined"):
            chosen = Chosen.of(replace(validation, holdout=replace(validation.holdout, train=part)), 1)
        with steps.step(f"{world}, seed {seed}: {joined:.0%} joined"):
            cross = learn(model, split_people(train, joined, seed), 1)
        fits = {(CROSS, 1.0, 1): cross} | {(name, 1.0, 1): one for name, one in alone.items()}
        served = mix_learned(replace(run, settings=run.settings.model_copy(update={"seed": 1})), fits, chosen)
        for name, question in questions.items():
            values |= values_of(run, question, {f"{CROSS} {joined:g}": cross, f"{SERVED} {joined:g}": served})
            values[f"{name}, {WEIGHT} {joined:g}"] = np.array([chosen.guards[name].known])
            if joined == 1:
                values |= elsewhere(run, name, question, recommender_for(run, cross))
    return values


def values_of(run: Run, question: DomainQuestion, models: dict[str, Embeddings]) -> dict[str, F64]:
    """Each person's values by the names of the domain and of a model."""
    return {
        f"{question.name}, {label}": question.values(recommender_for(run, one), METRIC)
        for label, one in models.items()
    }


def elsewhere(run: Any, name: str, question: Any, engine: Recommender) -> dict[str, F64]:
    """Of people of whom nothing is shown but what they did in the other domain: the model, what is popular,
    what others do, and the informed ranker."""
    past = within(question.holdout.history, ~question.inside)
    some = np.flatnonzero(past.lengths)[:1_000]
    asked = replace(
        question, holdout=replace(question.holdout, history=past).take(some), events=question.events[some]
    )
    world, n_items = run.world, run.holdout.train.n_items
    truth = ScoreRanker(lambda users: informed_scores(world, users.history, np.asarray(users.now)), n_items)
    informed = Recommender(truth, engine.fallback)
    popular = recommender_for(run, Popularity().fit(run.holdout.train.in_domain(name), seed=1))
    rows = {ELSEWHERE: engine, INFORMED: informed, POPULAR: popular}
    (other,) = (one for one in run.holdout.train.domains[0] if one != name)
    for label, way in PEERS.items():
        rows[label] = Recommender(ScoreRanker(way(run.holdout.train, other, name), n_items), engine.fallback)
    return {f"{name}, {label}": asked.values(one, METRIC) for label, one in rows.items()}


def rows_of(world: str, kept: dict[str, F64], seeds: list[int]) -> list[dict[str, Any]]:
    """The rows of a world, its seeds pooled."""

    def pool(names: tuple[str, ...], label: str) -> F64:
        return np.concatenate([kept[f"{world} {seed}, {name}, {label}"] for seed in seeds for name in names])

    rows = []
    for names in (("films",), ("books",), ("films", "books")):
        control, twins = pool(names, CONTROL), pool(names, TWINS)
        for joined in JOINED:
            cross, served = (pool(names, f"{label} {joined:g}") for label in (CROSS, SERVED))
            values = {CROSS: cross, SERVED: served, CONTROL: control, TWINS: twins}
            pairs = [(CROSS, CONTROL), (SERVED, CONTROL), (TWINS, CONTROL)]
            compared = compare_pairs(values, pairs, warm=dict.fromkeys(pairs, len(cross)))
            row: dict[str, Any] = {"world": world, "seeds": len(seeds), "domain": " and ".join(names)}
            row |= {"joined": f"{joined:.0%}", "people": len(cross), CONTROL: float(control.mean())}
            for pair in pairs:
                one = compared[pair]
                row[" - ".join(pair)] = f"{one.difference.text('+.4f')}, {p_text(one.p_holm)}"
            low, high = compared[pairs[0]].difference.low, compared[pairs[0]].difference.high
            row[f"{CROSS}, half-width"] = (high - low) / 2
            row["weights"] = ", ".join(f"{one:g}" for one in pool(names, f"{WEIGHT} {joined:g}"))
            if joined == 1:
                for label in (ELSEWHERE, *PEERS):
                    gain = attainable_gain(*(pool(names, one) for one in (label, POPULAR, INFORMED)))
                    told = "attainable, by the other's history" + ("" if label == ELSEWHERE else f": {label}")
                    row[told] = "" if np.isnan(gain.mean) else gain.text(".2f")
            rows.append(row)
    return rows


@click.command()
@click.option("--world", "text", default="", help="Only worlds whose name holds this text.")
@click.option("--seeds", default="44,45,46", show_default=True, help="Seeds of worlds, which are pooled.")
@click.option("--quick", is_flag=True, help="A small world and one epoch; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(text: str, seeds: str, quick: bool, as_json: bool) -> None:
    """Measure what the transfer report says of planted worlds; what is measured already is not measured
    again."""
    kept = dict[str, F64]()
    if not quick and KEPT.exists():
        with np.load(KEPT, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
    numbers, rows = [44] if quick else [int(word) for word in seeds.split(",")], []
    for seed in numbers:
        for world in [one for one in WORLDS if text in one]:
            if f"{world} {seed}, seconds" in kept:
                continue
            started = process_time()
            new = measure(world, seed, SMALL if quick else (), Steps(quiet=as_json))
            kept |= {f"{world} {seed}, {name}": values for name, values in new.items()}
            kept[f"{world} {seed}, seconds"] = np.array([process_time() - started])
            if not quick:
                write_whole(KEPT, partial(_save, kept))
    for world in WORLDS:
        done = [seed for seed in range(1, 100) if f"{world} {seed}, seconds" in kept]
        rows += rows_of(world, kept, done) if done else []
    report(
        "transfer",
        rows,
        title="What domains bring to each other",
        note=f"Planted worlds of 4,000 people, {METRIC} of lists within the domain, last event left out, "
        f"settings as given for all models: "
        + json.dumps(MODEL)
        + ". Intervals over the people of all seeds. served: cross beside "
        "control by the weights that validation chose, by seed. twins: two controls side by side. One "
        "thread.",
        quick=quick,
        as_json=as_json,
    )


def _save(kept: dict[str, F64], path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **kept)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
