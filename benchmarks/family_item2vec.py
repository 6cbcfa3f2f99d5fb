"""item2vec beside gensim's Word2Vec, for `benchmarks.family`: the same sequences, windows, dim, negatives,
rates, epochs and way to a person's vector.

gensim gets its tokens as text. With integers for tokens its table of negatives counts other items' events,
for it looks a position up as if it were a token (`KeyedVectors.get_index`); so it was measured at first.
"""

import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.cold_items import METRIC
from benchmarks.family_peers import Row, asked_of_a_peer, difference_row
from recsys.arrays import F32, F64, Array
from recsys.data.planted.world import WorldSettings, make_world
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.encoders.bag import Bag
from recsys.evaluation.evaluate import evaluate_on
from recsys.evaluation.significance import compare
from recsys.matrix.spectrum import unit
from recsys.models.neighbours.item2vec import Item2VecFit, Item2VecSettings
from recsys.models.popularity import fallback_order
from recsys.pipelines.console import Steps
from recsys.progress import silent
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.recommender import recommender_of
from recsys.training.loop import ALONE

_THREADS, _ASKED = 2, 10_000  # people who are asked about at most
_SAME = {"dim": 64, "window": 5, "negatives": 10, "negative_exponent": 0.5, "learning_rate": 0.05}
_WORDS = {"dim": 64, "window": 5, "negatives": 5, "negative_exponent": 0.75, "learning_rate": 0.025}
_SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "recsys": ("recsys", _SAME),
    "gensim": ("gensim", _SAME),
    "gensim, its own defaults": ("gensim", _WORDS | {"subsample": 1e-3}),
    "gensim, exponent .5, rate .025": ("gensim", _SAME | {"learning_rate": 0.025}),
}


class Log(NamedTuple):
    """What is learned from, how long, by which systems, and after how many events one of a history counts
    half."""

    name: str
    epochs: int
    half_life: float | None
    systems: tuple[str, ...]


_LOGS = (
    Log("ml-1m-seq", 5, 2.0, tuple(_SYSTEMS)),
    Log("planted world, 10 M events", 1, None, ("recsys", "gensim")),
)


class Learned(NamedTuple):
    """Both tables, and what they took: CPU seconds, seconds by the clock, the load of the machine then."""

    inputs: F32
    outputs: F32
    cpu_s: float
    wall_s: float
    load: float


def item2vec(work: Path, quick: bool, steps: Steps) -> list[Row]:
    """Events a second and recall; what lies in the folder is not learned again."""
    rows = []
    for log in _LOGS[:1] if quick else _LOGS:
        holdout = _holdout(log.name)
        events, values = len(holdout.train.interactions), dict[str, F64]()
        for name in log.systems[: 1 if quick else None]:
            library, settings = _SYSTEMS[name]
            asked = settings | {"epochs": 1 if quick else log.epochs}
            with steps.step(f"{log.name}, {name}"):
                learned = _learn(work, f"{log.name}, {name}", library, asked, holdout)
            row = {"data": log.name, "what": f"item2vec, {name}", "load": learned.load}
            for figure, seconds in (
                ("CPU-second", learned.cpu_s),
                (f"second, {_THREADS} threads", learned.wall_s),
            ):
                value = asked["epochs"] * events / seconds
                rows.append(row | {"figure": f"events a {figure}", "value": value})
            for served, judged in _spaces(learned, log.half_life).items():
                engine = recommender_of(judged, fallback_order(holdout.train.interactions, None), "exclude")
                mine = evaluate_on(engine, holdout, metrics=(METRIC,)).values[METRIC]
                what = f"{name}, {served}"
                values[what] = mine
                first = next(iter(values))
                against = difference_row(compare(mine, {"": values[first]}, warm=len(mine))[""], first, what)
                row = {"data": log.name, "what": f"item2vec, {what}", "figure": METRIC}
                rows.append(row | {"value": mine.mean(), "n": len(mine)} | against)
    return rows


def _holdout(name: str) -> Holdout:
    """The test part; of the world, some of the people's last events."""
    if name == "ml-1m-seq":
        return split(load_dataset(name), SplitSettings(kind="published"), seed=1).test
    world = make_world(WorldSettings(users=100_000, items=5_000, events_per_user=100)).dataset
    test = split(world, SplitSettings(kind="leave_last_out"), seed=1).test
    return test.take(np.arange(0, len(test.user), -(-len(test.user) // _ASKED)))


def _learn(work: Path, label: str, library: str, asked: dict[str, Any], holdout: Holdout) -> Learned:
    file = work / f"item2vec-{label}-{asked['epochs']}.npz".replace(" ", "-")
    if not file.exists():
        learn = _ours if library == "recsys" else _gensim
        np.savez(file, **learn(work, asked, holdout)._asdict())
    with np.load(file) as arrays:
        cpu_s, wall_s, load = (float(arrays[name]) for name in ("cpu_s", "wall_s", "load"))
        return Learned(arrays["inputs"], arrays["outputs"], cpu_s, wall_s, load)


def _ours(work: Path, asked: dict[str, Any], holdout: Holdout) -> Learned:
    fit = Item2VecFit(Item2VecSettings(**asked), holdout.train, seed=1)
    fit.step(np.empty(0, np.int64), 0.0, np.random.default_rng(1))  # compiled
    cpu, wall = time.process_time(), time.perf_counter()
    fit.run(silent, ALONE)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    return Learned(fit.inputs, fit.outputs, cpu_s, wall_s, os.getloadavg()[0])


def _gensim(work: Path, asked: dict[str, Any], holdout: Holdout) -> Learned:
    histories = holdout.train.interactions.histories().items
    arrays: dict[str, Array] = {"offsets": histories.offsets, "items": histories.values}
    question = {"library": "gensim", "workers": _THREADS, "n_items": holdout.train.n_items, **asked}
    seconds = asked_of_a_peer(work, question, arrays, _THREADS)
    inputs, outputs = (np.load(work / f"{name}.npy") for name in ("inputs", "outputs"))
    return Learned(inputs, outputs, seconds["cpu_s"], seconds["wall_s"], os.getloadavg()[0])


def _spaces(learned: Learned, half_life: float | None) -> dict[str, Embeddings]:
    """A person as the mean of the inputs of their history, against outputs or, by cosine, against inputs."""
    directions = unit(learned.inputs)
    return {
        "outputs": Embeddings(
            learned.outputs, Bag(learned.inputs, None, unit=False, mean=True, half_life=half_life)
        ),
        "inputs by cosine": Embeddings(directions, Bag(directions, None, unit=True, half_life=half_life)),
    }
