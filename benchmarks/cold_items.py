"""Do new items find their people by their features? Items taken out of training, attributes known, among all
items.

    RECSYS_DATA=... python -m benchmarks.cold_items [--seeds 4,5,6] [--quick] [--json]

s3rec-beauty: a drawn tenth of the items and each user's last event are taken out of training. cold: the
events on items taken out, for the users who have events left; warm: the last events on the other items.
Beside the two-tower model with
attributes: the same by ids alone, and content kNN, the cosine of attributes weighted by their rarity, summed
over the user's items. All rank the whole catalogue but what the user had; "cold among cold" ranks the items
taken out alone. Settings were tuned on draws 11 to 13; draws 1 to 3 were read with earlier ones.
"""

from collections.abc import Callable
from typing import Any

import click
import numpy as np
from scipy import sparse

from benchmarks.results import report
from recsys.arrays import F32, F64, Array, Bool, Ragged
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.read.load import load_dataset
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.planted import ScoreRanker
from recsys.evaluation.significance import compare
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.seeding import generator

DATA, COLUMN, METRIC, SHARE = "s3rec-beauty", "attribute_ids", "recall_at_20", 0.1
BY_IDS: dict[str, Any] = {"user_ids": False, "epochs": 5, "temperature": 0.13, "learning_rate": 0.03}
BY_FEATURES = BY_IDS | {"id_dropout": 0.05, "item_features": [{"column": COLUMN, "kind": "categories"}]}


def parts_of(data: Dataset, seed: int) -> tuple[Dataset, dict[str, Interactions]]:
    """What to learn from, and the events to ask for."""
    events, cold = data.interactions, np.zeros(data.n_items, bool)
    cold[generator(seed, "cold items").permutation(data.n_items)[: int(SHARE * data.n_items)]] = True
    last = np.zeros(len(events), bool)
    last[np.unique(events.user[::-1], return_index=True)[1]] = True
    last = last[::-1]
    out = cold[events.item]
    return data.having(events.where(~out & ~last)), {
        "cold": events.where(out),
        "warm": events.where(last & ~out),
    }


def content_knn(data: Dataset) -> ScoreRanker:
    """Scores by attributes alone."""
    lists = data.described_items[COLUMN].to_pylist()
    pairs = [(item, attribute) for item, row in enumerate(lists) for attribute in row or ()]
    item, attribute = (np.array(column) for column in zip(*pairs, strict=True))
    has = sparse.csr_array((np.ones(len(item), np.float32), (item, attribute)))
    has.resize((data.n_items, has.shape[1]))
    rarity = np.log(data.n_items / np.maximum(has.sum(axis=0), 1))
    weighted = has @ sparse.diags_array(rarity)
    length = np.sqrt(weighted.multiply(weighted).sum(axis=1))
    unit = (sparse.diags_array(1 / np.maximum(length, 1e-9)) @ weighted).tocsr()

    def score(users: Users) -> F32:
        offsets, items = users.history.items
        had = sparse.csr_array((np.ones(len(items), np.float32), items, offsets), (len(users), data.n_items))
        scores: F32 = ((had @ unit) @ unit.T).toarray().astype(np.float32)
        return scores

    return ScoreRanker(score, data.n_items)


def judge(
    engine: Recommender, train: Dataset, asked: Interactions, has_history: Bool, only: Array | None = None
) -> F64:
    """The metric of each user who is asked for, who are the same for every engine. only: the items to
    rank."""
    users = np.unique(asked.user)
    users = users[has_history[users]]
    targets = Ragged.from_pairs(asked.user, asked.item, train.n_users).take(users)
    people = Users.of_rows(users, train.interactions.histories().take(users))
    among = None if only is None else Ragged.of([only]).take(np.zeros(len(users), np.int64))
    return evaluate(engine, people, targets, metrics=(METRIC,), among=among).values[METRIC]


def rows_of(data: Dataset, seed: int, changes: dict[str, Any], steps: Steps) -> list[dict[str, Any]]:
    train, asked = parts_of(data, seed)
    fallback = fallback_order(train.interactions, None)
    has_history = train.interactions.histories().items.lengths > 0
    engines: dict[str, Callable[[], Recommender]] = {
        "content kNN": lambda: Recommender(content_knn(data), fallback)
    }
    for name, settings in (("ids alone", BY_IDS), ("ids and attributes", BY_FEATURES)):

        def learn(settings: dict[str, Any] = settings, name: str = name) -> Recommender:
            with steps.step(f"seed {seed}, {name}") as progress:
                model = make_model("two_tower", settings | changes)
                return recommender_of(model.fit(train, seed=seed, progress=progress), fallback, "exclude")

        engines[f"two_tower, {name}"] = learn
    figures = {}
    for name, made in engines.items():
        engine = made()
        figures[name] = {part: judge(engine, train, events, has_history) for part, events in asked.items()}
        taken_out = np.unique(asked["cold"].item)
        figures[name]["cold among cold"] = judge(engine, train, asked["cold"], has_history, taken_out)
    rows = []
    for part in (*asked, "cold among cold"):
        ours = figures["two_tower, ids and attributes"][part]
        for name, values in figures.items():
            row = {
                "items drawn by": seed,
                "part": part,
                "what": name,
                "users": len(ours),
                METRIC: values[part].mean(),
            }
            if values[part] is not ours:
                other = compare(ours, {name: values[part]}, warm=len(ours))[name].difference
                row |= {"attributes less this": other.mean, "low": other.low, "high": other.high}
            rows.append(row)
    return rows


@click.command()
@click.option("--seeds", default="4,5,6", show_default=True, help="Draws of the items taken out.")
@click.option("--quick", is_flag=True, help="One epoch, one draw; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(seeds: str, quick: bool, as_json: bool) -> None:
    """Measure what features do for items without a past."""
    steps, data = Steps(quiet=as_json), load_dataset(DATA)
    drawn = [1] if quick else [int(seed) for seed in seeds.split(",")]
    changes = {"epochs": 1} if quick else {}
    rows = [row for seed in drawn for row in rows_of(data, seed, changes, steps)]
    report(
        "cold_items",
        rows,
        title="Items without a past",
        note=f"{DATA}, {METRIC}.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
