"""What an answer costs beside the search in it, and a whole batch beside the matrix product in it.

    python -m benchmarks.answer [--items 10000 --items 40981 --items 100000] [--quick] [--json]

One thread, CPU-milliseconds a question, in turn, medians of five: FAISS's flat index with a selector
(`search`), the same people through `recommend`, `respond` with ids, titles and ten reasons, the same as
bytes, and what one would
write in 25 lines: FAISS, a list of titles, a set of seen items, pydantic, without reasons. 50 events a
person, dim 64, k = 100. The batch: 30,000 people x 40,000 items, k = 500, item rows, beside numpy's product
and partition.
"""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import faiss
import numpy as np
import pyarrow as pa
from pydantic import BaseModel

from benchmarks.results import report
from recsys.answers.person import person_of, stored_users
from recsys.answers.question import Question
from recsys.answers.respond import answer, respond
from recsys.arrays import F32, I32, Array, Ragged, offsets_of
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.catalogue import Catalogue
from recsys.bundle.content import Content
from recsys.bundle.write import write
from recsys.encoders.solve import Solve
from recsys.history import Histories
from recsys.ids import IdMap
from recsys.pipelines.threads import set_threads
from recsys.retrieval.embeddings import Embeddings

DIM, EVENTS, K, BATCH_K = 64, 50, 100, 500
ASKED, ROUNDS = 500, 5
NOBODY: I32 = np.empty(0, np.int32)


class Item(BaseModel):
    """An item of the plain answer."""

    item_id: str
    title: str
    score: float


class Plain(BaseModel):
    """The plain answer."""

    items: list[Item]


def make_bundle(
    n_items: int,
    n_users: int,
    folder: Path,
    *,
    clustered: bool = False,
    events: int = EVENTS,
    domains: int = 0,
) -> Bundle:
    """A bundle of random vectors, with titles and histories; clustered: as those of `clusters`. domains: into
    how many the items are dealt out in turn, `d0`, `d1` ..., 0 = none."""
    random = np.random.default_rng(0)
    items = random.standard_normal((n_items, DIM), np.float32)
    table = random.standard_normal((n_users, DIM), np.float32)
    had = random.integers(n_items, size=n_users * events).astype(np.int32)
    if clustered:
        items, table, had = clusters(n_items, n_users)
    histories = Histories(Ragged(offsets_of(np.full(n_users, events)), had), time=np.arange(len(had)))
    weights: dict[str, Any] = {"regularization": 0.01, "unobserved_weight": 0.1, "exponent": 1.0}
    columns: dict[str, Any] = {"title": [f"A title of item {item}" for item in range(n_items)]}
    if domains:
        columns["domain"] = [f"d{item % domains}" for item in range(n_items)]
    content = Content(
        name="als",
        embeddings=Embeddings(items, Solve(items, items.T @ items, table, **weights)),
        user_ids=IdMap.of([f"u{user}" for user in range(n_users)]),
        item_ids=IdMap.of([f"i{item}" for item in range(n_items)]),
        catalogue=Catalogue.of(pa.table(columns)),
        histories=histories,
        fallback=np.arange(n_items, dtype=np.int32),
        fallback_days=None,
        seen="exclude",
        lineage={},
    )
    return load(write(folder, content))


class Clusters(NamedTuple):
    """Items in clusters, people near the same centres, and what they had: `EVENTS` items each of their own
    cluster."""

    items: F32
    people: F32
    had: I32


def clusters(n_items: int, n_users: int) -> Clusters:
    """A thousand clusters, half as wide as they are apart, in which the lengths of items are lognormal."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((1_000, DIM), np.float32)
    of_item, of_user = np.sort(random.integers(1_000, size=n_items)), random.integers(1_000, size=n_users)
    items = centres[of_item] + 0.5 * random.standard_normal((n_items, DIM), np.float32)
    items *= random.lognormal(0, 0.5, (n_items, 1)).astype(np.float32)
    people = centres[of_user] + 0.5 * random.standard_normal((n_users, DIM), np.float32)
    start, stop = (np.searchsorted(of_item, of_user, side)[:, None] for side in ("left", "right"))
    had = (start + random.random((n_users, EVENTS)) * np.maximum(stop - start, 1)).astype(np.int32)
    order = random.permutation(n_items)  # items of a cluster lie anywhere
    place = np.empty(n_items, np.int32)
    place[order] = np.arange(n_items)
    return Clusters(items[order], people, place[np.minimum(had, n_items - 1)].ravel())


def in_turn(ways: dict[str, Callable[[int], object]]) -> dict[str, float]:
    """CPU-milliseconds a question of each way, the median of the rounds."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            for one in range(ASKED):
                way(one)
            spent[name].append((time.process_time() - start) / ASKED * 1e3)
    return {name: float(np.median(seconds)) for name, seconds in spent.items()}


def answer_row(bundle: Bundle) -> dict[str, Any]:
    """The ways for one person at a time."""
    items: F32 = np.array(bundle.item_vectors)
    index = faiss.IndexFlatIP(DIM)
    index.add(items)
    n, questions = len(items), [Question(f"u{user}", k=K) for user in range(ASKED)]
    people = [person_of(bundle, question, NOBODY)[0] for question in questions]
    vectors = [bundle.encoder.encode(one).vectors for one in people]
    had = [one.history.items.values for one in people]
    titles, ids, seen = (
        [bundle.name_of(item) for item in range(n)],
        list(bundle.item_ids),
        [set(one.tolist()) for one in had],
    )

    def selector(items: Array) -> Any:
        allowed = np.ones(n, bool)
        allowed[items] = False
        return faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))

    rules = [faiss.SearchParameters(sel=selector(one)) for one in had]

    def plain(one: int) -> str:
        scores, best = index.search(vectors[one], K + EVENTS)
        pairs = zip(best[0].tolist(), scores[0].tolist(), strict=True)
        kept = [(item, score) for item, score in pairs if item not in seen[one]][:K]
        return Plain(
            items=[Item(item_id=ids[i], title=titles[i], score=score) for i, score in kept]
        ).model_dump_json()

    times = in_turn(
        {
            "search": lambda one: index.search(vectors[one], K, params=rules[one]),
            "recommend": lambda one: bundle.recommender.recommend(people[one], K),
            "respond": lambda one: respond(bundle, questions[one]),
            "bytes": lambda one: answer(bundle, questions[one]).items_json(),
            "plain": plain,
        }
    )
    return {
        "items": n,
        **times,
        "recommend_over_search_us": 1e3 * (times["recommend"] - times["search"]),
        "respond_over_recommend_ms": times["respond"] - times["recommend"],
        "bytes_over_recommend_ms": times["bytes"] - times["recommend"],
        "load": os.getloadavg()[0],
    }


def batch_row(bundle: Bundle) -> dict[str, Any]:
    """Item rows of everybody, beside the product and the partition of the same matrices, in turn."""
    table, items = np.array(bundle.encoder.table), np.array(bundle.item_vectors)  # type: ignore[attr-defined]
    n, spent = len(bundle.user_ids), {"batch": list[float](), "bare": list[float]()}

    def batch(rows: Array) -> None:
        bundle.recommender.recommend(stored_users(bundle, rows, 0), BATCH_K)

    def bare(rows: Array) -> None:
        scores = table[rows] @ items.T
        best = np.argpartition(scores, -BATCH_K, axis=1)[:, -BATCH_K:]
        np.take_along_axis(scores, best, 1)

    for _ in range(ROUNDS):
        for name, way in (("batch", batch), ("bare", bare)):
            start = time.process_time()
            for at in range(0, n, 1_024):
                way(np.arange(at, min(n, at + 1_024)))
            spent[name].append(time.process_time() - start)
    return {"users": n, "items": len(items)} | {name: float(np.median(one)) for name, one in spent.items()}


@click.command()
@click.option(
    "--items", "sizes", multiple=True, type=int, default=(10_000, 40_981, 100_000), show_default=True
)
@click.option("--quick", is_flag=True, help="Fewer rounds and no batch; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(sizes: Sequence[int], quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/answer.md."""
    set_threads(1)
    global ROUNDS
    ROUNDS = 3 if quick else ROUNDS
    rows = []
    with TemporaryDirectory() as folder:
        rows = [answer_row(make_bundle(size, 2_000, Path(folder, str(size)))) for size in sizes]
        batch = {} if quick else batch_row(make_bundle(40_000, 30_000, Path(folder, "batch")))
    columns = {
        "items": "items",
        "search": "search",
        "recommend": "recommend",
        "respond": "respond",
        "bytes": "as bytes",
        "plain": "25 plain lines",
        "recommend_over_search_us": "recommend over search, us",
        "respond_over_recommend_ms": "respond over recommend, ms",
        "bytes_over_recommend_ms": "bytes over recommend, ms",
        "load": "load",
    }
    note = (
        "CPU-milliseconds a question, one thread, medians of five in turn; k = 100, 50 seen items, dim 64, "
        "10 reasons."
    )
    if batch:
        note += (
            f" A batch of {batch['users']:,} people x {batch['items']:,} items at k = {BATCH_K}: "
            f"{batch['batch']:.1f} CPU-seconds for item rows, {batch['bare']:.1f} for numpy's product and "
            f"partition of the same matrices, {batch['batch'] / batch['bare']:.2f} times."
        )
    report(
        "answer", rows, title="What an answer costs", columns=columns, note=note, quick=quick, as_json=as_json
    )


if __name__ == "__main__":
    main()
