"""What the two-tower model costs: a request, a step by the size of the catalogue, a million items encoded.

    RECSYS_DATA=... python -m benchmarks.tower_speed [--quick] [--json]

One thread, but for learning. A request is a question with 200 events by their ids, to the user vector: to the
bundles of the towers of the quality rows, learned here (gowalla by ids; s3rec-beauty, whose items count with
their attributes; ml-1m-ncf, by who the user is), and to random tables of 100,000 items, all events counting,
with two features and a layer of 128.
A step is 8,192 events with histories of 30, 1,024 uniform negatives over the whole table, dim 64, both towers
moved and their Adam state updated, in CPU-seconds, and the bundle has 1M items, 1M events of 100,000 users:
on random tables too, since no learning is needed to time them.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import pyarrow as pa

from benchmarks import cold_items, rare_items
from benchmarks.quality_jobs import TOWERS
from benchmarks.results import report
from recsys.answers.person import person_of, usable_items
from recsys.answers.question import Event, Question
from recsys.arrays import Ragged
from recsys.bundle.bundle import load
from recsys.bundle.write import write
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.read.load import load_dataset
from recsys.encoders.features import Features, FeatureSettings
from recsys.encoders.towers.inputs import Inputs, Windows
from recsys.encoders.towers.layout import ItemLayout, UserLayout
from recsys.encoders.user_tower import UserTower
from recsys.encoders.users import Users
from recsys.history import Histories
from recsys.ids import IdMap
from recsys.models.export import content_of
from recsys.models.towers.two_tower import TwoTower, TwoTowerSettings
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.threads import set_threads
from recsys.retrieval.embeddings import Embeddings
from recsys.training.losses import Positives, Sample, softmax
from recsys.training.sampling import Sampler
from recsys.training.towers.bag_net import LearnedBagNet

DIM, BATCH, NEGATIVES, HISTORY, USERS = 64, 8_192, 1_024, 30, 100_000
rng = np.random.default_rng(1)


def draw_table(rows: int) -> Any:
    return rng.standard_normal((rows, DIM), dtype=np.float32)


def median(act: Callable[[], object], times: int, clock: Callable[[], float]) -> float:
    seconds = []
    for _ in range(times):
        started = clock()
        act()
        seconds.append(clock() - started)
    return float(np.median(seconds[times // 5 :]))


def quality_towers() -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    """By name: the data, the settings, and what a request says of the person."""
    by_ids = load_settings("gowalla", (f"model={{{TOWERS}}}",)).model
    person = {"gender": "F", "age": 25, "occupation": 4}
    return {
        "gowalla, ids": ("gowalla", by_ids, {}),
        "s3rec-beauty, attributes": ("s3rec-beauty", cold_items.BY_FEATURES, {}),
        "ml-1m-ncf, genres and people": ("ml-1m-ncf", rare_items.TOWERS, person),
    }


def learned_request_row(name: str, times: int, epochs: int | None) -> dict[str, Any]:
    """A request to a bundle of the tower that has a row in the tables of quality."""
    source, stated, features = quality_towers()[name]
    settings = {key: value for key, value in stated.items() if key != "name"}
    data = load_dataset(source)
    set_threads(0)
    learned = TwoTower(TwoTowerSettings(**settings | ({} if epochs is None else {"epochs": epochs}))).fit(
        data, seed=1
    )
    set_threads(1)
    with TemporaryDirectory() as folder:
        bundle = load(write(Path(folder), content_of("two_tower", learned, data)))
        known, questions = np.flatnonzero(learned.trained), []
        for _ in range(times):
            clicks = [Event(data.item_ids[int(item)]) for item in rng.choice(known, 200, replace=False)]
            questions.append(Question(history=clicks, features=features))

        def encode_question() -> None:
            question = questions.pop()
            users, _ = person_of(bundle, question, usable_items(bundle, question.history, []))
            bundle.encoder.encode(users)

        row = {"what": f"request of 200 events to the tower of {name}, ms"}
        return row | {"median": 1e3 * median(encode_question, times, time.perf_counter)}


def request_row(times: int) -> dict[str, Any]:
    items, columns = (
        100_000,
        [FeatureSettings(column="country"), FeatureSettings(column="age", kind="number")],
    )
    people = pa.table({"country": ["NO", "DE"] * 500, "age": [float(age) for age in range(1_000)]})
    features = Features.fit(columns, people, "user")
    layout = UserLayout(1_000, items, True, 200)
    net = LearnedBagNet(
        layout, draw_table(layout.features_at + features.n_rows), features.n_dense, 128, rng
    ).export()
    nobody = features.encode(pa.table({"country": [None], "age": [None]}), 1)
    encoder = UserTower(net, layout, np.ones(items, bool), np.ones(1_000, bool), features, nobody)

    def encode_request() -> None:
        request = {
            "history": rng.integers(items, size=200).tolist(),
            "features": {"country": "NO", "age": 44},
        }
        said = pa.table({name: [value] for name, value in request["features"].items()})
        users = Users(np.array([-1], np.int32), Histories(Ragged.of([request["history"]])), features=said)
        encoder.encode(users)

    return {
        "what": "request of 200 events and 2 features to random tables, ms",
        "median": 1e3 * median(encode_request, times, time.perf_counter),
    }


def step_seconds(n_items: int, times: int) -> float:
    layout = UserLayout(USERS, 100_000, True, HISTORY)
    users = LearnedBagNet(layout, draw_table(layout.features_at), 0, 0, rng)
    items = LearnedBagNet(ItemLayout(n_items), draw_table(n_items + 1), 0, 0, rng)
    sampler = Sampler("uniform", NEGATIVES, np.ones(n_items), BATCH)

    def step() -> None:
        import torch

        item = rng.integers(n_items, size=BATCH)
        history = Ragged(
            np.arange(BATCH + 1) * HISTORY, rng.integers(100_000, size=BATCH * HISTORY, dtype=np.int32)
        )
        person = rng.integers(USERS, size=BATCH).astype(np.int32)
        negatives = sampler.draw(item, rng)
        pool = np.union1d(item, negatives.items)
        ours = users.forward(Inputs(person, Windows.of(Histories(history), HISTORY)))
        theirs = items.forward(Inputs(pool.astype(np.int32)))
        at = torch.from_numpy(np.searchsorted(pool, item))
        positives = Positives(torch.arange(BATCH), at, torch.ones(BATCH))
        counts = torch.from_numpy((1 / negatives.chance).astype(np.float32))
        sample = Sample(torch.from_numpy(np.searchsorted(pool, negatives.items)), counts)
        moved = softmax(ours, theirs, positives, torch.ones(BATCH), 0.1, sample=sample, bound=1.0)
        users.step(moved.users, 0.01)
        items.step(moved.items, 0.01)

    return median(step, times, time.process_time)


def export_seconds(n_items: int) -> tuple[float, float]:
    """Until all items are encoded, and until a bundle with as many events is written, verified and loaded."""
    n_users = n_items // 10
    events = Interactions.in_order(
        rng.integers(n_users, size=n_items), rng.permutation(n_items), n_users=n_users, n_items=n_items
    )
    users, items = (
        IdMap.of([f"{kind}{row}" for row in range(n)]) for kind, n in (("u", n_users), ("i", n_items))
    )
    data = Dataset("random", events, users, items, pa.table({"title": pa.nulls(n_items, pa.string())}))
    layout = UserLayout(n_users, n_items, True, 100)
    of_users = LearnedBagNet(layout, draw_table(layout.features_at), 0, 128, rng).export()
    encoder = UserTower(of_users, layout, np.ones(n_items, bool), np.ones(n_users, bool))
    net = LearnedBagNet(ItemLayout(n_items), draw_table(n_items + 1), 0, 128, rng).export()
    started = time.perf_counter()
    starts = range(0, n_items, 1 << 14)
    blocks = (np.arange(start, min(start + (1 << 14), n_items), dtype=np.int32) for start in starts)
    vectors = np.concatenate([net.vectors(Inputs(block)) for block in blocks])
    encoded = time.perf_counter() - started
    with TemporaryDirectory() as folder:
        write(Path(folder), content_of("two_tower", Embeddings(vectors, encoder), data))
    return encoded, time.perf_counter() - started


@click.command()
@click.option("--quick", is_flag=True, help="Small tables, few repeats; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(quick: bool, as_json: bool) -> None:
    """Time the two-tower model."""
    set_threads(1)
    rows, seconds = [request_row(20 if quick else 1_000)], list[float]()
    rows += [learned_request_row(name, *((20, 1) if quick else (1_000, None))) for name in quality_towers()]
    sizes = (1_000, 10_000) if quick else (100_000, 1_000_000, 10_000_000)
    for size in sizes:
        seconds.append(step_seconds(size, 2 if quick else 15))
        rows.append({"what": f"step over {size:,} items, CPU-seconds", "median": seconds[-1]})
        rows[-1] |= {"against the smallest": seconds[-1] / seconds[0]}
    count = 10_000 if quick else 1_000_000
    encoded, exported = export_seconds(count)
    rows.append({"what": f"encode {count:,} items through a layer of 128, seconds", "median": encoded})
    rows.append({"what": "the same, and export them in a bundle", "median": exported})
    report("tower_speed", rows, title="What the two-tower model costs", quick=quick, as_json=as_json)


if __name__ == "__main__":
    main()
