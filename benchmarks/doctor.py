"""Does the doctor find what is planted, and is it silent where nothing is?

    python -m benchmarks.doctor            every ailment at three strengths on five sets, and healthy runs
    python -m benchmarks.doctor --quick    one world, a few healthy runs

Every case is a bundle, written and loaded. A detection is the planted ailment among the findings; a false
alarm is any finding on a healthy bundle, served within two weeks of its last event. The thresholds were set
while looking at worlds of seed 1 to 3 and at ml-100k, poi-gowalla and ml-latest-small; the worlds here and
gowalla were not looked at then.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.results import report
from recsys.arrays import F32, Ragged
from recsys.bundle import bundle
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.bundle.write import write
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.evaluation.doctor import Diagnosis, examine
from recsys.history import DAY_S, Histories
from recsys.ids import IdMap
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator

DAYS = 30.0
_SEEN = (
    "The thresholds were set on worlds of seed 1 to 3, ml-100k, poi-gowalla and ml-latest-small; the "
    "worlds of this table and gowalla were not looked at then."
)
Settings = dict[str, Any]
Case = tuple[str, str, Callable[[], Diagnosis]]

WORLDS = (
    ["world.users=1500", "world.items=400", "world.seed=11"],
    ["world.users=6000", "world.items=1500", "world.seed=12"],
)
SETS: list[tuple[str, list[str]]] = [
    *(("world", world) for world in WORLDS),
    ("ml-100k", []),
    ("poi-gowalla", []),
    ("ml-latest-small", []),
]


def learn(name: str, settings: Settings, train: Dataset) -> Embeddings:
    """What a model of the registry ends in."""
    space: Any = make_model(name, settings).fit(train, seed=1)
    assert isinstance(space, Embeddings)
    return space


def diagnose(
    train: Dataset, space: Embeddings, *, stored: Dataset | None = None, age_days: float = 3.0
) -> Diagnosis:
    """The doctor's word on a bundle of these vectors. stored: whose histories it holds, where not the
    training's."""
    histories = (stored or train).interactions.histories()
    days = None if histories.time is None else DAYS
    fallback = fallback_order((stored or train).interactions, DAYS)
    items = Catalogue.of(train.items)
    content = Content(
        name="als",
        embeddings=space,
        user_ids=train.user_ids,
        item_ids=train.item_ids,
        catalogue=items,
        histories=Histories(histories.items, time=histories.time),
        fallback=fallback,
        fallback_days=days,
        seen="exclude",
        lineage={},
    )
    now = None if histories.time is None else int(histories.time.max() + age_days * DAY_S)
    with tempfile.TemporaryDirectory() as root:
        return examine(bundle.load(write(Path(root), content)), now=now)


def solver(space: Embeddings) -> Solve:
    """The encoder of what ALS learned."""
    assert isinstance(space.encoder, Solve)
    return space.encoder


def solving(space: Embeddings, items: F32, table: F32 | None) -> Embeddings:
    """An encoder with the same weights around other item vectors and user rows; no rows: solved from item
    vectors."""
    old = solver(space)
    weights: Any = {
        "regularization": old.regularization,
        "unobserved_weight": old.unobserved_weight,
        "exponent": old.exponent,
    }
    items = np.ascontiguousarray(items, np.float32)
    return Embeddings(items, Solve(items, items.T @ items, table, **weights))


def same_list(space: Embeddings, share: float) -> Embeddings:
    """Every user's row moved by `share` of the way to the mean row."""
    table = solver(space).table
    assert table is not None
    return solving(space, space.items, ((1 - share) * table + share * table.mean(axis=0)).astype(np.float32))


def collapse(space: Embeddings, left: float, histories: Ragged) -> Embeddings:
    """All but the strongest direction of the item vectors shrunk to `left`."""
    _, axes = np.linalg.eigh((space.items.T @ space.items).astype(np.float64))
    main = axes[:, -1:].astype(np.float32)
    along = (space.items @ main @ main.T).astype(np.float32)
    changed = solving(space, (along + left * (space.items - along)).astype(np.float32), None)
    table, _ = changed.encoder.encode(Users.unknown(histories))
    return solving(space, changed.items, table)


def popular_norms(space: Embeddings, power: float, counts: Any) -> Embeddings:
    """Item vectors of length count ** power, in their directions, scaled after training: the users stay as
    they are."""
    norms = np.linalg.norm(space.items, axis=1)
    lengths = np.median(norms[norms > 0]) * (np.maximum(counts, 1) / np.median(counts[counts > 0])) ** power
    scale = np.divide(lengths, norms, out=np.zeros(len(norms)), where=norms > 0)
    return solving(space, (space.items * scale[:, None]).astype(np.float32), solver(space).table)


def swap_columns(train: Dataset, share: float) -> Dataset:
    """A log in which this share of the rows has user and item id exchanged."""
    events, rng = train.interactions, generator(1, "swapped rows")
    users, items = np.array(list(train.user_ids), object), np.array(list(train.item_ids), object)
    turned = rng.random(len(events)) < share
    names = np.stack([users[events.user], items[events.item]])
    names[:, turned] = names[::-1, turned]
    (people, person), (things, thing) = (np.unique(row.astype(str), return_inverse=True) for row in names)
    log = Interactions.in_order(person, thing, n_users=len(people), n_items=len(things), time=events.time)
    import pyarrow as pa

    table = pa.table({"title": pa.nulls(len(things), pa.string())})
    return Dataset(train.name, log, IdMap.of(people.tolist()), IdMap.of(things.tolist()), table)


def vary_weights(train: Dataset, spread: float) -> Dataset:
    """The same log with weights between 1 - spread and 1 + spread."""
    weight = 1 + spread * generator(1, "weights").uniform(-1, 1, len(train.interactions))
    return train.having(replace(train.interactions, weight=weight.astype(np.float32)))


def shorten_histories(train: Dataset, share: float) -> Dataset:
    """The log without the older half of the events of this share of the users."""
    events = train.interactions
    chosen = generator(1, "shortened users").random(train.n_users) < share
    seen = np.bincount(events.user, minlength=train.n_users)
    order = np.argsort(events.user, kind="stable")
    rank = np.empty(len(events), np.int64)
    rank[order] = np.arange(len(events)) - np.repeat(np.cumsum(seen) - seen, seen)
    return train.having(events.where(~(chosen[events.user] & (rank < seen[events.user] // 2))))


def cases(train: Dataset, model: Settings) -> Iterator[Case]:
    """Ailment, strength and what gives the doctor's word, strongest first."""
    space = learn("als", model, train)
    histories, counts = train.interactions.histories().items, train.interactions.item_counts()
    for share in (1.0, 0.9, 0.8):
        sick = same_list(space, share)
        yield "same_list", f"rows {share:.0%} of the way to their mean", partial(diagnose, train, sick)
    for left in (0.0, 0.1, 0.2):
        sick = collapse(space, left, histories)
        yield "collapsed_space", f"all but one direction times {left:g}", partial(diagnose, train, sick)
    for power in (3.0, 2.0, 1.0):
        sick = popular_norms(space, power, counts)
        yield "norms_are_popularity", f"lengths = events ** {power:g}", partial(diagnose, train, sick)
    if train.interactions.time is not None:
        for share in (1.0, 0.8, 0.65):
            yield (
                "swapped_columns",
                f"{share:.0%} of the rows",
                partial(_fresh, swap_columns(train, share), model),
            )
        for days in (365.0, 90.0, 45.0):
            yield (
                "stale_data",
                f"last event {days:g} days ago",
                partial(diagnose, train, space, age_days=days),
            )
    for spread in (0.9, 0.5, 0.1):
        sick = learn("als", model, vary_weights(train, spread))
        yield "train_serve_skew", f"weights 1 +- {spread:g} in training only", partial(diagnose, train, sick)
    for share in (0.5, 0.1, 0.03):
        stored = shorten_histories(train, share)
        yield (
            "train_serve_skew",
            f"{share:.0%} of the users stored by half",
            partial(diagnose, train, space, stored=stored),
        )


def _fresh(train: Dataset, model: Settings) -> Diagnosis:
    return diagnose(train, learn("als", model, train))


def healthy(quick: bool, steps: Steps) -> Iterator[tuple[str, Diagnosis]]:
    """Runs with nothing planted: other seeds, sizes, densities, dims and weights."""
    rng = generator(2, "healthy runs")
    for seed in range(101, 104 if quick else 121):
        users, items = int(rng.integers(500, 5000)), int(rng.integers(150, 2500))
        each = int(rng.integers(10, 40))
        size = [
            f"world.users={users}",
            f"world.items={items}",
            f"world.events_per_user={each}",
            f"world.seed={seed}",
        ]
        settings = load_settings("world", size)
        train = prepare(settings, steps).holdout.train
        for dim in ((4, 16, 64)[seed % 3], 32):
            space = learn("als", settings.model_settings | {"dim": dim}, train)
            yield (
                f"world {users} x {items}, als dim {dim}",
                diagnose(train, space, age_days=float(rng.uniform(0, 14))),
            )
        yield f"world {users} x {items}, popularity", diagnose(train, learn("popularity", {}, train))
    for name in () if quick else ("ml-100k", "poi-gowalla", "ml-latest-small", "gowalla"):
        settings = load_settings(name, [])
        train = prepare(settings, steps).holdout.train
        for dim in (8, 32, 100):
            yield (
                f"{name}, als dim {dim}",
                diagnose(train, learn("als", settings.model_settings | {"dim": dim}, train)),
            )
        yield f"{name}, popularity", diagnose(train, learn("popularity", {}, train))


@click.command()
@click.option("--quick", is_flag=True, help="One world and a few healthy runs.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(quick: bool, as_json: bool) -> None:
    """Plant every ailment and count detections; count alarms where nothing is planted."""
    steps = Steps(quiet=True)
    rows: list[dict[str, Any]] = []
    say = Steps(quiet=as_json).say
    for name, assignments in SETS[:1] if quick else SETS:
        settings = load_settings(name, assignments)
        train = prepare(settings, steps).holdout.train
        for ailment, strength, look in cases(train, settings.model_settings):
            diagnosis = look()
            said = [finding.code for finding in diagnosis.findings]
            rows.append(
                {
                    "data": train.name,
                    "planted": ailment,
                    "strength": strength,
                    "measure": diagnosis.measures[ailment],
                    "detected": "yes" if ailment in said else "no",
                    "also said": ", ".join(code for code in said if code != ailment),
                }
            )
            say(f"{train.name} {ailment} ({strength}): {diagnosis.measures[ailment]} {said}")
    alarms: list[str] = []
    runs = 0
    extremes: dict[str, tuple[float, float]] = {}
    for name, diagnosis in healthy(quick, steps):
        runs += 1
        alarms += [f"{name}: {finding.code} {finding.value:.3g}" for finding in diagnosis.findings]
        for code, value in diagnosis.measures.items():
            if value is not None:
                low, high = extremes.get(code, (value, value))
                extremes[code] = (min(low, value), max(high, value))
        say(f"healthy: {name}: {[finding.code for finding in diagnosis.findings]}")
    rows += [
        {
            "data": f"{runs} healthy runs",
            "planted": "nothing",
            "strength": f"{code} from {low:.3g} to {high:.3g}",
        }
        for code, (low, high) in extremes.items()
    ]
    hits, asked = (
        Counter(row["planted"] for row in rows if row.get("detected") == "yes"),
        Counter(row["planted"] for row in rows if "detected" in row),
    )
    summary = ", ".join(f"{code} {hits[code]} of {asked[code]}" for code in asked)
    which = ": " + "; ".join(alarms) if alarms else ""
    note = f"Detected: {summary}. False alarms: {len(alarms)} in {runs} healthy runs{which}.\n\n{_SEEN}"
    say(note)
    report(
        "doctor",
        rows,
        title="The doctor: planted ailments and false alarms",
        note=note,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
