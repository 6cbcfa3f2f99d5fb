"""How many questions a second an index answers at recall@100 of .99: every FAISS kind of ours, and the peers.

    pip install hnswlib usearch voyager scann
    RECSYS_DATA=... python -m benchmarks.ann [--data gowalla] ... [--skip NAME] [--questions 300] [--quick]

One thread, one question of a person at a time, recall against brute force, each kind with rising effort until
it reaches the target; the figure is the median of three passes at that effort. `gowalla` and `ml-1m-seq` are
vectors that ALS learns there, `world` those of 300,000 planted items, `skewed` a million random ones in 1,000
clusters whose lengths are lognormal. Peers that know no inner product with selectors are asked without any,
and so is FAISS.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import faiss
import numpy as np

from benchmarks.answer import clusters
from benchmarks.results import read_rows, report
from recsys.arrays import F32, I64
from recsys.encoders.encoder import Constant
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.threads import set_threads
from recsys.retrieval.approximate import IndexSettings, factories
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.tuner import efforts_of, fetches_of, make_index, replace_settings
from recsys.retrieval.vector_ranker import VectorRanker

K, TARGET, QUESTIONS, PASSES, DIM = 100, 0.99, 1_000, 3, 64
DATA = ("gowalla", "ml-1m-seq", "world", "skewed")


class Built(NamedTuple):
    """An index under trial: what searches at an effort, and bytes beside the vectors."""

    search: Callable[[F32, int], I64]
    nbytes: int
    efforts: Sequence[int]


def vectors_of(name: str) -> tuple[F32, F32]:
    """Item vectors, and those of people who ask."""
    random = np.random.default_rng(0)
    if name == "skewed":
        return clusters(1_000_000, QUESTIONS)[:2]
    world = ["world.users=60000", "world.items=300000"] if name == "world" else []
    run = prepare(load_settings(None, world, data=name), Steps(quiet=True))
    learned: Any = make_model("als", {"dim": DIM, "epochs": 5}).fit(run.holdout.train, seed=1)
    table = learned.encoder.table
    people = table[random.permutation(np.flatnonzero(table.any(axis=1)))[:QUESTIONS]]
    return learned.items[learned.trained], people


def ours(name: str, items: F32) -> Built:
    """A FAISS index as a bundle has it: so many candidates an item, scored anew by the vectors."""
    name, _, stated = name.partition(" x")
    settings = replace_settings(IndexSettings(), factory=name, fetch=float(stated or 1))
    index: Any = make_index(VectorRanker(Embeddings(items, Constant(np.ones(DIM, np.float32)))), settings)
    if settings.exact:
        return Built(lambda one, _: index.search(one, K)[1][0], 0, [0])
    return Built(
        lambda one, effort: index.search(one, K, None, effort)[1][0], index.nbytes, efforts_of(name, K)
    )


def hnswlib(items: F32) -> Built:
    import hnswlib as library

    index = library.Index("ip", DIM)
    index.init_index(len(items), ef_construction=200, M=16)
    index.add_items(items, num_threads=2)
    index.set_num_threads(1)

    def search(one: F32, effort: int) -> I64:
        index.set_ef(effort)
        ids: I64 = index.knn_query(one, K)[0][0].astype(np.int64)
        return ids

    return Built(search, _size(index.save_index), _rising())


def usearch(items: F32) -> Built:
    from usearch.index import Index

    index = Index(ndim=DIM, metric="ip", dtype="f16", connectivity=16, expansion_add=200)
    index.add(np.arange(len(items)), items, threads=2)

    def search(one: F32, effort: int) -> I64:
        setattr(index, "expansion_search", effort)  # noqa: B010
        ids: I64 = index.search(one[0], K, threads=1).keys.astype(np.int64)
        return ids

    return Built(search, int(index.serialized_length), _rising())


def voyager(items: F32) -> Built:
    import voyager as library

    index = library.Index(library.Space.InnerProduct, DIM, M=16, ef_construction=200)
    index.add_items(items, num_threads=2)
    return Built(
        lambda one, effort: index.query(one[0], K, num_threads=1, query_ef=effort)[0].astype(np.int64),
        len(index.as_bytes()),
        _rising(),
    )


def scann(items: F32) -> Built:
    import scann as library

    leaves = int(np.sqrt(len(items)))
    builder = library.scann_ops_pybind.builder(items, K, "dot_product")
    builder = builder.tree(leaves, leaves, training_sample_size=min(len(items), 250_000))
    index = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(4 * K).build()
    with TemporaryDirectory() as folder:
        index.serialize(folder)
        size = sum(os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder))
    efforts = [max(1, leaves // part) for part in (64, 32, 16, 12, 8, 6, 4, 3, 2, 1)]
    return Built(
        lambda one, effort: index.search(one[0], leaves_to_search=effort)[0].astype(np.int64), size, efforts
    )


PEERS: dict[str, Callable[[F32], Built]] = {
    "hnswlib": hnswlib,
    "usearch": usearch,
    "voyager": voyager,
    "scann": scann,
}


def _rising() -> list[int]:
    return [K * step >> 1 for power in range(6) for step in (2 << power, 3 << power)]


def _size(save: Callable[[str], None]) -> int:
    with TemporaryDirectory() as folder:
        save(f"{folder}/index")
        return os.path.getsize(f"{folder}/index")


def measure(name: str, built: Built, build_s: float, people: F32, truth: I64) -> dict[str, Any]:
    """The first effort that reaches the target, or the last, with its questions a second."""
    asked = [people[row : row + 1] for row in range(len(people))]
    recall, effort = 0.0, 0
    for effort in built.efforts:
        ids = [built.search(one, effort) for one in asked]
        recall = float(np.mean([len(np.intersect1d(*pair)) / K for pair in zip(ids, truth, strict=True)]))
        if recall >= TARGET:
            break
    seconds = []
    for _ in range(PASSES):
        start = time.process_time()
        for one in asked:
            built.search(one, effort)
        seconds.append(time.process_time() - start)
    qps = len(asked) / float(np.median(seconds))
    row = {"index": name, "effort": effort, "recall": recall, "qps": qps}
    return row | {"build_s": build_s, "mib": built.nbytes / 2**20}


def rows_of(data: str, items: F32, people: F32, skip: Sequence[str]) -> Iterator[dict[str, Any]]:
    """A row for each index and each peer that is installed."""
    scan = faiss.IndexFlatIP(items.shape[1])
    scan.add(items)
    truth = scan.search(people, K)[1]
    ways: dict[str, Callable[[F32], Built]] = {
        named: partial(ours, named)
        for name in factories(*items.shape)
        for named in (f"{name} x{fetch:g}" if fetch > 1 else name for fetch in fetches_of(name))
    }
    for name, way in (ways | PEERS).items():
        if name in skip:
            continue
        set_threads(2)
        start = time.perf_counter()
        try:
            built = way(items)
        except ImportError:
            print(f"{name} is not installed")
            continue
        build_s = time.perf_counter() - start
        set_threads(1)
        figures = measure(name, built, build_s, people, truth)
        row = {"data": data, "items": len(items), **figures, "load": os.getloadavg()[0]}
        print(row, flush=True)
        yield row


@click.command()
@click.option("--data", "names", multiple=True, default=DATA, show_default=True, type=click.Choice(DATA))
@click.option("--skip", multiple=True, help="An index or a peer to leave out.")
@click.option("--questions", default=QUESTIONS, show_default=True)
@click.option("--quick", is_flag=True, help="A tenth of the questions; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(names: Sequence[str], skip: Sequence[str], questions: int, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/ann.md; data that are not named, and what is left out, keep their rows."""
    rows: list[dict[str, Any]] = []
    for name in names:
        items, people = vectors_of(name)
        items, people = map(np.ascontiguousarray, (items, people[: questions // 10 if quick else questions]))
        rows += rows_of(name, items, people, skip)
    rows += [row for row in read_rows("ann") if row["data"] not in names or row["index"] in skip]
    rows.sort(key=lambda row: (DATA.index(row["data"]), -row["qps"]))
    note = (
        "Questions a CPU-second, one thread, one at a time, at the first effort that reaches recall@100 of "
        ".99, or at the most; MiB beside the vectors."
    )
    columns = ("data", "items", "index", "effort", "recall", "qps", "build_s", "mib", "load")
    titles = {name: name for name in columns} | {"qps": "questions/s", "build_s": "build, s", "mib": "MiB"}
    report(
        "ann", rows, title="Indexes at recall .99", columns=titles, note=note, quick=quick, as_json=as_json
    )


if __name__ == "__main__":
    main()
