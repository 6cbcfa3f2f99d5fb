"""Sequences of behaviours, the last event left out: hit rate and NDCG at 10 of all items, those of the history out.

    RECSYS_DATA=... python -m benchmarks.sequences [--data ml-1m-seq] [--row TEXT] [--again] [--quick] [--json]

Each row of ROWS is learned once a seed. What was measured is kept, per-user places included (`sequences.npz`), after
every seed, so a run that was stopped goes on where it was; a row whose settings changed is measured anew. Settings were
chosen on the validation part; the test part is read here. Unless a row says so, the model has learned from train alone
and the validation event stands in the history, as in published tables (`split.learn_validation=false`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

import click
import numpy as np

from benchmarks.results import RESULTS, report
from recsys.arrays import F64, I8, blocks_of
from recsys.data.split.holdout import Holdout
from recsys.durable import write_whole
from recsys.evaluation.evaluate import users_of
from recsys.evaluation.metrics.hits import hits_of
from recsys.evaluation.significance import bootstrap, compare_pairs
from recsys.models.base import fit_with
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.recommender import recommender_of

K = 10
ML, BEAUTY, SPORTS = "ml-1m-seq", "s3rec-beauty", "s3rec-sports-outdoors"
BASE = "co-occurrence"  # what a row is compared with, where it names nothing else
PLACES = RESULTS / "sequences.npz"
_BESIDE = "seconds and settings"  # what the file of places holds beside them
_USERS = 1 << 10  # people who are asked about at a time


@dataclass(frozen=True)
class Row:
    """A model on a data set. label: what the table calls it. model: its settings, `name` among them. against: the label
    of the row that it is compared with. learns_validation: whether it learned from the validation part, too."""

    data: str
    label: str
    model: Mapping[str, Any]
    seeds: tuple[int, ...] = (1,)
    against: str = BASE
    learns_validation: bool = False

    def key(self, seed: int) -> str:
        """What names a measurement."""
        return f"{self.data}, {self.label}, seed {seed}"

    def settings(self) -> str:
        """All that its figures depend on, as JSON."""
        return json.dumps({"model": dict(self.model), "learns_validation": self.learns_validation}, sort_keys=True)


# Chosen by ndcg_at_10 on the validation parts: back 0, .25, .5, 1; from_exponent .5, .7; to_exponent .3, .5, .7;
# half_life 1.5, 2.5, 4.
_PAIRS: dict[str, dict[str, float]] = {
    ML: {"back": 0.0, "from_exponent": 0.7, "to_exponent": 0.3, "half_life": 2.5},
    BEAUTY: {"back": 0.25, "from_exponent": 0.5, "to_exponent": 0.3, "half_life": 1.5},
    SPORTS: {"back": 0.5, "from_exponent": 0.5, "to_exponent": 0.3, "half_life": 4.0},
}
_ALIKE = {"from_exponent": 0.5, "to_exponent": 0.5}
_PAIRS_ALIKE: dict[str, dict[str, float]] = {
    ML: _ALIKE | {"back": 0.0, "half_life": 2.5},
    BEAUTY: _ALIKE | {"back": 0.5, "half_life": 1.5},
    SPORTS: _ALIKE | {"back": 0.5, "half_life": 1.5},
}


def _cooccurrence(data: str) -> list[Row]:
    """Counted, not trained: the rows that every trained one has to beat."""
    pairs = _PAIRS[data]
    return [
        Row(data, BASE, {"name": "cooccurrence"} | pairs),
        Row(data, f"{BASE}, both degrees ^ .5", {"name": "cooccurrence"} | _PAIRS_ALIKE[data]),
        Row(data, f"{BASE}, bare defaults", {"name": "cooccurrence"}),
        *(Row(data, f"{BASE}, rank {dim}", {"name": "cooccurrence_svd", "dim": dim} | pairs) for dim in (64, 256, 512)),
        Row(data, f"{BASE}, learned from validation too", {"name": "cooccurrence"} | pairs, learns_validation=True),
    ]


ROWS: tuple[Row, ...] = tuple(row for data in (ML, BEAUTY, SPORTS) for row in _cooccurrence(data))


@dataclass
class Measured:
    """What is known so far, by `Row.key`. places: int8 (n,) the place of each user's target among the first K, -1 = not
    there. seconds: of learning. settings: those of the row when it was measured."""

    places: dict[str, I8] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls) -> "Measured":
        """What earlier runs left."""
        if not PLACES.exists():
            return cls()
        with np.load(PLACES, allow_pickle=False) as arrays:
            beside = json.loads(str(arrays[_BESIDE]))
            return cls({key: arrays[key] for key in arrays.files if key != _BESIDE}, **beside)

    def save(self) -> None:
        """Writes all of it, or leaves what was there."""
        beside = np.array(json.dumps({"seconds": self.seconds, "settings": self.settings}))
        arrays: dict[str, Any] = {**self.places, _BESIDE: beside}

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays)

        write_whole(PLACES, write)

    def has(self, row: Row, seed: int) -> bool:
        """Whether it was measured by the settings that it has now."""
        return self.settings.get(row.key(seed)) == row.settings()

    def values(self, row: Row) -> dict[str, F64]:
        """Each metric of each user (n,), the mean over the seeds that were measured."""
        places = np.stack([self.places[row.key(seed)] for seed in row.seeds if self.has(row, seed)]).astype(np.float64)
        hit = places >= 0
        gains = np.where(hit, 1 / np.log2(np.where(hit, places, 0) + 2), 0)
        return {"hit_rate_at_10": hit.mean(axis=0), "ndcg_at_10": gains.mean(axis=0)}


@cache
def _question(data: str, learns_validation: bool) -> Holdout:
    """The test part of a published sequence set, which asks everybody for one item."""
    learns = str(learns_validation).lower()
    assignments = [f"data={data}", "split.kind=published", f"split.learn_validation={learns}"]
    holdout = prepare(load_settings(None, assignments), Steps(quiet=True)).holdout
    assert (holdout.targets.lengths == 1).all(), f"{data} asks for several items of one person"
    return holdout


def measure(row: Row, seed: int, steps: Steps) -> tuple[I8, float]:
    """int8 (n,) the place of each user's target among the first K, -1 = not there; and the seconds of learning."""
    holdout = _question(row.data, row.learns_validation)
    own = {key: value for key, value in row.model.items() if key != "name"}
    started = monotonic()
    with steps.step(row.key(seed)) as progress:
        learned = fit_with(make_model(row.model["name"], own), holdout.train, seed=seed, progress=progress)
    seconds = monotonic() - started
    engine = recommender_of(learned, fallback_order(holdout.train.interactions, None), "exclude")
    users, places = users_of(holdout), np.full(len(holdout.user), -1, np.int8)
    for block in blocks_of(np.ones(len(users), np.int64), _USERS):
        rows = np.arange(block.start, block.stop)
        hits = hits_of(engine.recommend(users.take(rows), K).ids, holdout.targets.take(rows))
        places[block] = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
    return places, seconds


def table(measured: Measured) -> list[dict[str, Any]]:
    """A row for each that was measured, with the paired test of its ndcg against that of another, Holm over a set."""
    done = {(row.data, row.label): row for row in ROWS if any(measured.has(row, seed) for seed in row.seeds)}
    values = {key: measured.values(row) for key, row in done.items()}
    found = []
    for data in dict.fromkeys(row.data for row in ROWS):
        pairs = [((data, row.label), (data, row.against)) for row in done.values() if row.data == data]
        pairs = [(one, other) for one, other in pairs if one != other and other in done]
        gains = {key: value["ndcg_at_10"] for key, value in values.items() if key[0] == data}
        compared = compare_pairs(gains, pairs, warm={pair: len(gains[pair[0]]) for pair in pairs})
        against = {one: (other[1], compared[one, other]) for one, other in pairs}
        found += [
            _described(row, measured, values[key], against.get(key)) for key, row in done.items() if key[0] == data
        ]
    return found


def _described(row: Row, measured: Measured, values: dict[str, F64], against: Any) -> dict[str, Any]:
    seconds = {seed: measured.seconds[row.key(seed)] for seed in row.seeds if measured.has(row, seed)}
    found = {"data": row.data, "label": row.label, "users": len(values["ndcg_at_10"]), "seeds": len(seconds)}
    for name, each in values.items():
        interval = bootstrap(each)
        found |= {name: interval.mean, f"{name}_95": f"{interval.low:.4f} to {interval.high:.4f}"}
    if against is not None:
        other, comparison = against
        found |= {"against": other, "difference": comparison.difference.text("+.4f"), "p_holm": comparison.p_holm}
    return found | {
        "minutes": float(np.mean(list(seconds.values()))) / 60,
        "seconds": seconds,
        "settings": json.loads(row.settings()),
    }


COLUMNS = {
    "data": "data",
    "label": "model",
    "seeds": "seeds",
    "hit_rate_at_10": "HR@10",
    "hit_rate_at_10_95": "95 %",
    "ndcg_at_10": "N@10",
    "ndcg_at_10_95": "95 %",
    "against": "against",
    "difference": "difference in N@10",
    "p_holm": "p (Holm)",
    "minutes": "minutes",
}
NOTE = (
    "Published sets, the last event of each person asked for among all items that they have not had. Unless the row "
    "says so, the model learned from train alone, and the validation event stands in the history. Minutes of learning, "
    "wall. Intervals: bootstrap over people; differences: paired, the mean over seeds of each person."
)


@click.command()
@click.option("--data", multiple=True, help="Only this data set. Repeatable.")
@click.option("--row", "text", default="", help="Only rows whose label holds this text.")
@click.option("--again", is_flag=True, help="Measure the chosen rows anew.")
@click.option("--quick", is_flag=True, help="One small row; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(data: tuple[str, ...], text: str, again: bool, quick: bool, as_json: bool) -> None:
    """Measure models of sequences, row by row; what is measured already is not measured again."""
    steps, measured = Steps(quiet=as_json), Measured() if quick else Measured.load()
    chosen = [row for row in ROWS if (not data or row.data in data) and text in row.label]
    if not chosen:
        raise click.UsageError(f"no row is of {' or '.join(data) or 'any data'} with {text!r} in its label")
    for row in [ROWS[0]] if quick else chosen:
        for seed in row.seeds:
            if measured.has(row, seed) and not again:
                continue
            key = row.key(seed)
            measured.places[key], measured.seconds[key] = measure(row, seed, steps)
            measured.settings[key] = row.settings()
            if not quick:
                measured.save()
    report(
        "sequences",
        table(measured),
        title="Sequences, the last event left out",
        columns=COLUMNS,
        note=NOTE,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
