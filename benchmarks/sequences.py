"""Sequences of behaviours, the last event left out: hit rate and NDCG at 10 of all items, those of the
history out.

    RECSYS_DATA=... python -m benchmarks.sequences [--data ml-1m-seq] [--row TEXT] [--seeds 1,2,3]
    [--work FOLDER] [--again] [--quick]

Each row of ROWS is learned once a seed. What was measured is kept, per-user places included
(`sequences.npz`), after every seed, so a run that was stopped goes on where it was; a row whose settings
changed is measured anew. Settings were chosen on the validation part; the test part is read here. Unless a
row says so, the model has learned from train alone and the validation event stands in the history, as in
published tables (`split.learn_validation=false`). A mixture puts the spaces of other rows side by side, by
the weights that are best on the validation part; 0 is one of them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any

import click
import numpy as np

from benchmarks.results import RESULTS, report
from recsys.arrays import F64, I8, blocks_of
from recsys.data.split.holdout import Holdout
from recsys.durable import hold_lock, write_whole
from recsys.encoders.encoder import load_encoder
from recsys.evaluation.evaluate import users_of
from recsys.evaluation.metrics.hits import hits_of
from recsys.evaluation.significance import bootstrap, compare_pairs
from recsys.models.base import fit_with
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.embeddings import Embeddings, concat
from recsys.retrieval.recommender import recommender_of

K = 10
ML, BEAUTY, SPORTS = "ml-1m-seq", "s3rec-beauty", "s3rec-sports-outdoors"
BASE = "co-occurrence"  # what a row is compared with, where it names nothing else
PLACES = RESULTS / "sequences.npz"
_BESIDE = "seconds and settings"  # what the file of places holds beside them
_USERS = 1 << 10  # people who are asked about at a time
_TUNED = 6_000  # people of the validation part by whom weights are chosen
_GRID = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Row:
    """A model on a data set. label: what the table calls it. model: its settings, `name` among them. against:
    the label of the row that it is compared with. learns_validation: whether it learned from the validation
    part, too. parts: of a mixture, the labels of the rows that it is made of, of the same seed."""

    data: str
    label: str
    model: Mapping[str, Any]
    seeds: tuple[int, ...] = (1,)
    against: str = BASE
    learns_validation: bool = False
    parts: tuple[str, ...] = ()

    def key(self, seed: int) -> str:
        """What names a measurement."""
        return f"{self.data}, {self.label}, seed {seed}"

    def settings(self) -> str:
        """All that its figures depend on, as JSON."""
        rows = {row.label: row for row in ROWS if row.data == self.data} if self.parts else {}
        parts = {"parts": {label: rows[label].settings() for label in self.parts}} if self.parts else {}
        said = {"model": dict(self.model), "learns_validation": self.learns_validation, **parts}
        return json.dumps(said, sort_keys=True)


# Chosen by ndcg_at_10 on the validation parts: back 0, .25, .5, 1; from_exponent .5, .7; to_exponent .3, .5,
# .7; half_life 1.5, 2.5, 4.
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
        *(
            Row(data, f"{BASE}, rank {dim}", {"name": "cooccurrence_svd", "dim": dim} | pairs)
            for dim in (64, 256, 512)
        ),
        Row(
            data,
            f"{BASE}, learned from validation too",
            {"name": "cooccurrence"} | pairs,
            learns_validation=True,
        ),
    ]


# Chosen by ndcg_at_10 on the validation parts. ml-1m-seq: dropout .15, .2; beauty: batches of 512, 1,024 and
# 2,048, dims 64 and 128, dot and cosine, one and five next events, events left out 0 and .2, dropout .5 and
# .6; sports: batches of 256 and 512, dropout .5 and .6, one and two layers, dot and cosine; both: half_life
# 0, 2, 5; sports: 20.
_SPARSE = {
    "dim": 128,
    "heads": 4,
    "epochs": 20,
    "batch_size": 512,
    "longest_history": 50,
    "event_dropout": 0.2,
    "initial": "spectral",
}
_SEQUENCE: dict[str, dict[str, Any]] = {
    ML: {"epochs": 30, "batch_size": 4096, "dropout": 0.2, "averaged": 0.2},
    BEAUTY: _SPARSE | {"dropout": 0.5, "averaged": 0.3},
    SPORTS: _SPARSE | {"dropout": 0.5, "averaged": 0.3, "half_life": 2.0},
}
_ALS: dict[str, dict[str, Any]] = {
    ML: {"dim": 128, "unobserved_weight": 0.1, "regularization": 0.003, "half_life": 10.0},
    BEAUTY: {"dim": 128, "unobserved_weight": 0.01, "regularization": 0.01},
    SPORTS: {"dim": 128, "unobserved_weight": 0.01, "regularization": 0.01},
}
_COLUMNS = {"item_features": [{"column": "attribute_ids", "kind": "categories"}]}  # of items, in both files
# Chosen on validation with attributes: sports by 8, 10 and 20 epochs, dropout .5, .6 and .7.
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    BEAUTY: _COLUMNS,
    SPORTS: _COLUMNS | {"epochs": 10, "dropout": 0.6},
}
SEQUENCE, SEEDS = "sequence", (1, 2, 3)
WITH_ATTRIBUTES = f"{SEQUENCE}, with attributes"
_OTHERWISE: dict[
    str, dict[str, Any]
] = {  # one setting changed, all others as the row was tuned for its own net
    "gru": {"net": "gru"},
    "hstu": {"net": "hstu"},
    "masked": {"net": "masked"},
    "gbce": {"loss": "gbce", "negatives": 256},
}


def _learned_rows(data: str) -> list[Row]:
    """Trained, and side by side with what is counted and factorized."""
    model, dim = {"name": "sequence"} | _SEQUENCE[data], {ML: 512, BEAUTY: 256, SPORTS: 64}[data]
    counted = f"{BASE}, rank {dim}"
    rows = [
        Row(data, SEQUENCE, model, seeds=SEEDS),
        Row(data, f"{SEQUENCE}, learned from validation too", model, learns_validation=True),
        Row(data, "als", {"name": "als"} | _ALS[data]),
        _side_by_side(data, SEQUENCE, counted),
    ]
    if data == BEAUTY:
        rows += [
            Row(data, f"{SEQUENCE}, {name}", model | own, against=SEQUENCE)
            for name, own in _OTHERWISE.items()
        ]
    if data != ML:
        rows.append(Row(data, WITH_ATTRIBUTES, model | _ATTRIBUTES[data], SEEDS, SEQUENCE))
        rows.append(_side_by_side(data, WITH_ATTRIBUTES, counted))
    return rows


def _side_by_side(data: str, sequence: str, counted: str) -> Row:
    """A sequence, a counted and a factorized space in one index."""
    label = f"{sequence} + {BASE} + als"
    return Row(data, label, {}, SEEDS, sequence, parts=(sequence, counted, "als"))


ROWS: tuple[Row, ...] = tuple(
    row for data in (ML, BEAUTY, SPORTS) for rows in (_cooccurrence, _learned_rows) for row in rows(data)
)


@dataclass
class Measured:
    """What is known so far, by `Row.key`. places: int8 (n,) the place of each user's target among the first
    K, -1 = not there. seconds: of learning. settings: those of the row when it was measured. weights: of the
    parts of mixtures."""

    places: dict[str, I8] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    weights: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def load(cls) -> "Measured":
        """What earlier runs left."""
        if not PLACES.exists():
            return cls()
        with np.load(PLACES, allow_pickle=False) as arrays:
            beside = json.loads(str(arrays[_BESIDE]))
            return cls({key: arrays[key] for key in arrays.files if key != _BESIDE}, **beside)

    def save(self) -> None:
        """Writes all of it beside what others have measured meanwhile, or leaves what was there."""
        with hold_lock(PLACES.with_suffix(".lock")):
            whole = Measured.load()
            for name, own in vars(self).items():
                getattr(whole, name).update(own)
            beside = {"seconds": whole.seconds, "settings": whole.settings, "weights": whole.weights}
            arrays: dict[str, Any] = {**whole.places, _BESIDE: np.array(json.dumps(beside))}

            def write(path: Path) -> None:
                with path.open("wb") as file:
                    np.savez_compressed(file, **arrays)

            write_whole(PLACES, write)

    def has(self, row: Row, seed: int) -> bool:
        """Whether it was measured by the settings that it has now."""
        return self.settings.get(row.key(seed)) == row.settings()

    def values(self, row: Row) -> dict[str, F64]:
        """Each metric of each user (n,), the mean over the seeds that were measured."""
        places = np.stack([self.places[row.key(seed)] for seed in row.seeds if self.has(row, seed)]).astype(
            np.float64
        )
        hit = places >= 0
        gains = np.where(hit, 1 / np.log2(np.where(hit, places, 0) + 2), 0)
        return {"hit_rate_at_10": hit.mean(axis=0), "ndcg_at_10": gains.mean(axis=0)}


@cache
def _question(data: str, learns_validation: bool, judge: str = "test") -> Holdout:
    """The test part of a published sequence set, which asks everybody for one item; or that to tune on."""
    learns = str(learns_validation).lower()
    assignments = [
        f"data={data}",
        "split.kind=published",
        f"split.learn_validation={learns}",
        f"judge={judge}",
    ]
    holdout = prepare(load_settings(None, assignments), Steps(quiet=True)).holdout
    assert (holdout.targets.lengths == 1).all(), f"{data} asks for several items of one person"
    return holdout


def learn(row: Row, seed: int, steps: Steps, work: Path | None) -> tuple[Any, float]:
    """What a row learns, and in how many seconds. work: where vectors are kept for the mixtures of other
    rows."""
    kept = None if work is None else work / sha256((row.key(seed) + row.settings()).encode()).hexdigest()[:16]
    if kept is not None and (kept / "seconds.json").exists():
        items = np.load(kept / "items.npy")
        return Embeddings(items, load_encoder(kept, items)), float((kept / "seconds.json").read_text())
    holdout = _question(row.data, row.learns_validation)
    own, started = {key: value for key, value in row.model.items() if key != "name"}, monotonic()
    with steps.step(row.key(seed)) as progress:
        learned = fit_with(make_model(row.model["name"], own), holdout.train, seed=seed, progress=progress)
    seconds = monotonic() - started
    if kept is not None and isinstance(learned, Embeddings):
        kept.mkdir(parents=True, exist_ok=True)
        np.save(kept / "items.npy", learned.items)
        learned.encoder.save(kept)
        (kept / "seconds.json").write_text(str(seconds))
    return learned, seconds


def mix(row: Row, seed: int, steps: Steps, work: Path | None) -> tuple[Any, float, list[float]]:
    """The parts of a row in one space, the seconds of learning them, and their weights, chosen on the
    validation part."""
    rows = {one.label: one for one in ROWS if one.data == row.data}
    parts, seconds = zip(*(learn(rows[label], seed, steps, work) for label in row.parts), strict=True)
    weights = best_weights(parts, _question(row.data, False, "validation"))
    return concat(parts, weights), sum(seconds), weights


def best_weights(parts: Sequence[Embeddings], question: Holdout) -> list[float]:
    """The weights of the others beside 1 of the first by which ndcg at 10 is highest, each in turn, twice.

    Spaces are brought to one size first: by the deviation of the scores of a person.
    """
    rows = np.arange(len(question.user))
    if len(rows) > _TUNED:
        rows = np.sort(np.random.default_rng(0).choice(rows, _TUNED, replace=False))
    some = question.take(rows)
    users = users_of(some)
    trained = np.any([part.trained for part in parts], axis=0)
    scores = [part.encoder.encode(users).vectors @ part.items.T for part in parts]
    sizes = [float(one[:, trained].std(axis=1).mean()) for one in scores]
    had, target = some.had, some.targets.values
    for one in scores:
        one[:, ~trained] = -np.inf
        one[had.row_of_value(), had.values] = -np.inf

    def gain(weights: list[float]) -> float:
        total = np.zeros_like(scores[0])
        for weight, size, one in zip(weights, sizes, scores, strict=True):
            if weight:
                total += np.float32(weight / size) * one
        place = (total > total[np.arange(len(rows)), target][:, None]).sum(axis=1)
        return float(np.where(place < K, 1 / np.log2(place + 2), 0).mean())

    weights = [1.0] + [0.0] * (len(parts) - 1)
    for part in (*range(1, len(parts)), *range(1, len(parts))):
        tried = {grid: gain([*weights[:part], grid, *weights[part + 1 :]]) for grid in _GRID}
        weights[part] = max(tried, key=tried.__getitem__)
    return [weight / size for weight, size in zip(weights, sizes, strict=True)]


def measure(row: Row, seed: int, steps: Steps, work: Path | None = None) -> tuple[I8, float, list[float]]:
    """int8 (n,) the place of each user's target among the first K, -1 = not there; the seconds of learning;
    and the weights of a mixture."""
    holdout = _question(row.data, row.learns_validation)
    if row.parts:
        learned, seconds, weights = mix(row, seed, steps, work)
    else:
        (learned, seconds), weights = learn(row, seed, steps, work), []
    engine = recommender_of(learned, fallback_order(holdout.train.interactions, None), "exclude")
    users, places = users_of(holdout), np.full(len(holdout.user), -1, np.int8)
    for block in blocks_of(np.ones(len(users), np.int64), _USERS):
        rows = np.arange(block.start, block.stop)
        hits = hits_of(engine.recommend(users.take(rows), K).ids, holdout.targets.take(rows))
        places[block] = np.where(hits.any(axis=1), hits.argmax(axis=1), -1)
    return places, seconds, weights


def table(measured: Measured) -> list[dict[str, Any]]:
    """A row for each that was measured, with the paired test of its ndcg against that of another, Holm over a
    set."""
    done = {(row.data, row.label): row for row in ROWS if any(measured.has(row, seed) for seed in row.seeds)}
    values = {key: measured.values(row) for key, row in done.items()}
    rows = []
    for data in dict.fromkeys(row.data for row in ROWS):
        pairs = [((data, row.label), (data, row.against)) for row in done.values() if row.data == data]
        pairs = [(one, other) for one, other in pairs if one != other and other in done]
        gains = {key: value["ndcg_at_10"] for key, value in values.items() if key[0] == data}
        compared = compare_pairs(gains, pairs, warm={pair: len(gains[pair[0]]) for pair in pairs})
        against = {one: (other[1], compared[one, other]) for one, other in pairs}
        rows += [
            _describe(row, measured, values[key], against.get(key))
            for key, row in done.items()
            if key[0] == data
        ]
    return rows


def _describe(row: Row, measured: Measured, values: dict[str, F64], against: Any) -> dict[str, Any]:
    seconds = {seed: measured.seconds[row.key(seed)] for seed in row.seeds if measured.has(row, seed)}
    facts = {"data": row.data, "label": row.label, "users": len(values["ndcg_at_10"]), "seeds": len(seconds)}
    for name, each in values.items():
        interval = bootstrap(each)
        facts |= {name: interval.mean, f"{name}_95": f"{interval.low:.4f} to {interval.high:.4f}"}
    if against is not None:
        other, comparison = against
        facts |= {
            "against": other,
            "difference": comparison.difference.text("+.4f"),
            "p_holm": comparison.p_holm,
        }
    return facts | {
        "minutes": float(np.mean(list(seconds.values()))) / 60,
        "seconds": seconds,
        "settings": json.loads(row.settings()),
        "weights": [measured.weights.get(row.key(seed), []) for seed in row.seeds],
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
    "Published sets, the last event of each person asked for among all items that they have not had. "
    "Unless the row says so, the model learned from train alone, and the validation event stands in the "
    "history. Minutes of learning, wall. Intervals: bootstrap over people; differences: paired, the mean "
    "over seeds of each person."
)


@click.command()
@click.option("--data", multiple=True, help="Only this data set. Repeatable.")
@click.option("--row", "text", default="", help="Only rows whose label holds this text.")
@click.option("--seeds", default="1,2,3", show_default=True, help="Of learning, where a row has them.")
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    help="Where vectors are kept, so that mixtures learn no part twice.",
)
@click.option("--again", is_flag=True, help="Measure the chosen rows anew.")
@click.option("--quick", is_flag=True, help="One small row; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(
    data: tuple[str, ...], text: str, seeds: str, work: Path | None, again: bool, quick: bool, as_json: bool
) -> None:
    """Measure models of sequences, row by row; what is measured already is not measured again."""
    steps, measured = Steps(quiet=as_json), Measured() if quick else Measured.load()
    chosen = [row for row in ROWS if (not data or row.data in data) and text in row.label]
    if not chosen:
        raise click.UsageError(f"no row is of {' or '.join(data) or 'any data'} with {text!r} in its label")
    for row in [ROWS[0]] if quick else chosen:
        for seed in sorted(set(row.seeds) & {int(word) for word in seeds.split(",")}):
            if measured.has(row, seed) and not again:
                continue
            key = row.key(seed)
            measured.places[key], measured.seconds[key], weights = measure(row, seed, steps, work)
            measured.settings[key] = row.settings()
            if weights:
                measured.weights[key] = weights
            if not quick:
                measured.save()
    report(
        "sequences",
        table(measured if quick else Measured.load()),
        title="Sequences, the last event left out",
        columns=COLUMNS,
        note=NOTE,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
