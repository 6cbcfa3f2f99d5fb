"""The family that embeddings grew from, beside what others have: walks, friends, steps over a graph, unknown
ids.

    python -m benchmarks.family --work FOLDER --set-up                      makes the peers' environment, once
    RECSYS_DATA=... python -m benchmarks.family --work FOLDER [--part friends] [--quick] [--json]

Parts: walks (node2vec's, a CPU-second, beside packages), friends (AUC of held-out friendships of
lastfm-hetrec beside common neighbours), unknown (a tenth of the items of s3rec-beauty taken out, beside
content kNN), lightgcn (gowalla), item2vec (beside gensim, on a log and on a world of 10 M events), youtube
(its choices, one changed at a time). A part that was measured is kept (`results/family.json`); to measure it
again name it; lightgcn and item2vec go on where they were cut off. CPU seconds are compared, so that other
work on the machine tells little. Settings were chosen on other draws (11) and on validation parts.
"""

import subprocess
import time
import venv
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from zlib import crc32

import click
import numpy as np
from scipy import sparse

from benchmarks.cold_items import COLUMN, METRIC, content_knn, judge, parts_of
from benchmarks.family_item2vec import item2vec
from benchmarks.family_peers import Row, asked_of_a_peer, difference_row
from benchmarks.results import read_rows, report
from recsys.arrays import F64, I64, Array
from recsys.data.dataset import Dataset
from recsys.data.interactions import Interactions
from recsys.data.read.load import find, load_dataset
from recsys.encoders.users import Users
from recsys.evaluation.significance import compare
from recsys.models.graph.walks import Graph
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import measure
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.embeddings import embeddings_of
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.training.checkpoint import Checkpoint
from recsys.training.loop import Aids

PEERS = ["fastnode2vec==0.0.7", "nodevectors==0.1.23", "gensim==4.4.0", "setuptools<81"]
LENGTH, DRAWS, STRANGERS = 40, (1, 2, 3), 50_000
NODE2VEC = {"shared_ids": True, "negative_exponent": 0.25, "epochs": 20}
YOUTUBE = {
    "all of it": "",
    "no example age": ", example_age=false",
    "no layer": ", hidden=0",
    "no correction of the sample": ', sampler="uniform", log_q=false',
    "uniform negatives": ', sampler="uniform"',
    "with rows of people": ", user_ids=true",
    "no history, rows of people": ', history="none", user_ids=true',
    "cosine, temperature .1": ', similarity="cosine", temperature=0.1',
    "from the spectrum": ', initial="spectral"',
}
METRICS = ("recall_at_20", "ndcg_at_20")
LIGHTGCN = {"lightgcn, softmax, 40 epochs": 'name="lightgcn", dim=64, epochs=40, layers=2, temperature=0.1'}
NOTE = (
    "CPU seconds of one thread; of item2vec and gensim, with two. `of the fastest peer`: how many times its "
    "figure. `difference`: this row less the one named, paired, 95 % interval. `load`: of the machine of two "
    "cores then; seconds by the clock say little above 2."
)


def graphs(quick: bool) -> dict[str, sparse.csr_array]:
    """The friends of lastfm-hetrec, and the people and films of ml-1m-seq, as symmetric matrices without
    weights."""
    (one, other), n = pairs_of(friends())
    joined = sparse.csr_array((np.ones(len(one)), (one, other)), shape=(n, n))
    matrices = {"lastfm-hetrec, friends": joined + joined.T}
    if not quick:
        matrix = load_dataset("ml-1m-seq").interactions.matrix()
        matrix.data[:] = 1
        matrices["ml-1m-seq, people and films"] = sparse.block_array(
            [[None, matrix], [matrix.T, None]], format="csr"
        )
    return matrices


def walks(work: Path, quick: bool, steps: Steps) -> list[Row]:
    """Walks a CPU-second."""
    rows = []
    for name, edges in graphs(quick).items():
        graph = Graph.of(edges.tocsr())
        starts = np.repeat(np.arange(len(graph.offsets) - 1), 2 if quick else 10)
        for p, q in ((1.0, 1.0), (0.5, 2.0)):
            speeds = {"recsys": _walk_speed(graph, starts, p, q)}
            for library in () if quick else ("fastnode2vec", "csrgraph"):
                few = starts[:: 1 if p == 1 or library == "fastnode2vec" else 100]
                asked = {"library": library, "length": LENGTH, "p": p, "q": q}
                arrays: dict[str, Array] = {
                    "offsets": graph.offsets,
                    "neighbours": graph.neighbours,
                    "starts": few,
                }
                speeds[library] = asked_of_a_peer(work, asked, arrays)["walks"]
                steps.say(f"{name}, p {p}, q {q}, {library}: {speeds[library]:,.0f} walks a CPU-second")
            peer = max((speed for what, speed in speeds.items() if what != "recsys"), default=None)
            for what, speed in speeds.items():
                row = {"data": name, "what": f"{what}, p {p}, q {q}", "figure": "walks of 40 a CPU-second"}
                ratio = speeds["recsys"] / peer if peer and what == "recsys" else None
                rows.append(row | {"value": speed, "of the fastest peer": ratio})
    return rows


def _walk_speed(graph: Graph, starts: I64, p: float, q: float) -> float:
    graph.walks(starts[:10], LENGTH, p, q, 1)  # compiled
    began = time.process_time()
    graph.walks(starts, LENGTH, p, q, 2)
    return len(starts) / (time.process_time() - began)


def friends() -> Dataset:
    """The friendships of lastfm-hetrec as a log, each in both directions."""
    return load_dataset(str(find("lastfm-hetrec") / "friends.parquet"), {"item_id": "friend_id"})


def pairs_of(data: Dataset) -> tuple[tuple[I64, I64], int]:
    """Each friendship once, as the two items that are its people, the smaller first; and how many items there
    are."""
    n, node = data.n_items, data.item_ids.indices(list(data.user_ids)).astype(np.int64)
    one, other = node[data.interactions.user], data.interactions.item.astype(np.int64)
    keys = np.unique(np.minimum(one, other) * n + np.maximum(one, other))
    return (keys // n, keys % n), n


def held_out(one: I64, other: I64, n: int, seed: int) -> tuple[Array, Array, Array]:
    """Which friendships (m,) are learned from and which asked for, a fifth; and pairs of strangers (2,
    STRANGERS). All who are asked about have a friend that is learned from."""
    rng, learned = np.random.default_rng(seed), np.ones(len(one), bool)
    learned[rng.permutation(len(one))[: len(one) // 5]] = False
    known = np.zeros(n, bool)
    known[one[learned]] = known[other[learned]] = True
    drawn = np.sort(rng.integers(n, size=(8 * STRANGERS, 2)), axis=1)
    apart = (drawn[:, 0] < drawn[:, 1]) & ~np.isin(drawn[:, 0] * n + drawn[:, 1], one * n + other)
    strangers = drawn[apart & known[drawn].all(axis=1)][:STRANGERS].T
    return learned, ~learned & known[one] & known[other], strangers


def friendships(work: Path, quick: bool, steps: Steps) -> list[Row]:
    """The share of strangers that a held-out friendship scores above, ties half: its mean is the AUC."""
    data, rows = friends(), []
    (one, other), n = pairs_of(data)
    for seed in DRAWS[:1] if quick else DRAWS:
        learned, asked, strangers = held_out(one, other, n, seed)
        ends = one[asked], other[asked]
        joined = sparse.csr_array((np.ones(learned.sum()), (one[learned], other[learned])), shape=(n, n))
        joined = (joined + joined.T).tocsr()
        degrees = np.asarray(joined.sum(axis=1))
        rarity = sparse.diags_array(1 / np.log(np.maximum(degrees, 2)))
        log = Interactions.in_order(one[learned], other[learned], n_users=n, n_items=n)
        train = replace(data, interactions=log, user_ids=data.item_ids)
        scores: dict[str, Callable[[Array, Array], F64]] = {
            "common neighbours": _cells((joined @ joined).tocsr()),
            "Adamic-Adar": _cells((joined @ rarity @ joined).tocsr()),
            "degrees alone": partial(_products, degrees[:, None], degrees[:, None]),
        }
        for label, bias in {"DeepWalk": {}, "node2vec, p .5, q 2": {"p": 0.5, "q": 2.0}}.items():
            settings = NODE2VEC | bias | ({"epochs": 2} if quick else {})
            space = embeddings_of("node2vec", make_model("node2vec", settings).fit(train, seed=seed))
            people = space.encoder.encode(Users.of_rows(np.arange(n), log.histories().items)).vectors
            scores[label] = partial(_products, people, space.items)
        values = {name: _above(score(*ends), score(*strangers)) for name, score in scores.items()}
        for name, mine in values.items():
            row = {"data": f"lastfm-hetrec, draw {seed}", "what": name, "figure": "AUC of held-out friends"}
            against = compare(mine, {"": values["common neighbours"]}, warm=len(mine))[""]
            rows.append(
                row
                | {"value": mine.mean(), "n": len(mine)}
                | difference_row(against, "common neighbours", name)
            )
            steps.say(f"draw {seed}, {name}: {mine.mean():.4f}")
    return rows


def _cells(matrix: sparse.csr_array) -> Callable[[Array, Array], F64]:
    return lambda one, other: np.asarray(matrix[one, other]).ravel()


def _products(people: Array, items: Array, one: Array, other: Array) -> F64:
    """What each of two people scores for the other, added up."""
    total: F64 = np.einsum("nd,nd->n", people[one], items[other]).astype(np.float64)
    total += np.einsum("nd,nd->n", people[other], items[one])
    return total


def _above(friends: F64, strangers: F64) -> F64:
    ranked = np.sort(strangers)
    below, upto = (np.searchsorted(ranked, friends, side) for side in ("left", "right"))
    return np.asarray((below + upto) / 2 / len(ranked))


def unknown(work: Path, quick: bool, steps: Steps) -> list[Row]:
    """Items without events, by their attributes, among all items."""
    data, rows = load_dataset("s3rec-beauty"), []
    features = [{"column": COLUMN, "kind": "categories"}]
    for seed in DRAWS[:1] if quick else (4, 5, 6):
        train, asked = parts_of(data, seed)
        fallback = fallback_order(train.interactions, None)
        has_history = train.interactions.histories().items.lengths > 0
        engines = {"content kNN": Recommender(content_knn(data), fallback)}
        for share in (0.5, 1.0):
            settings = {"item_features": features, "id_dropout": share} | ({"epochs": 1} if quick else {})
            with steps.step(f"draw {seed}, id_dropout {share}") as progress:
                learned = make_model("fasttext", settings).fit(train, seed=seed, progress=progress)
            engines[f"fasttext, id_dropout {share}"] = recommender_of(learned, fallback, "exclude")
        for part, events in asked.items():
            values = {name: judge(engine, train, events, has_history) for name, engine in engines.items()}
            for name, mine in values.items():
                row = {"data": f"s3rec-beauty, draw {seed}, {part}", "what": name, "figure": METRIC}
                against = compare(mine, {"": values["content kNN"]}, warm=len(mine))[""]
                rows.append(
                    row
                    | {"value": mine.mean(), "n": len(mine)}
                    | difference_row(against, "content kNN", name)
                )
    return rows


def lightgcn(work: Path, quick: bool, steps: Steps) -> list[Row]:
    """The published split of gowalla. A run that was cut off goes on, and its CPU time is then not known."""
    rows = []
    for label, text in LIGHTGCN.items():
        words = f"{text}, epochs=1" if quick else text
        state = Checkpoint(work / "lightgcn" / str(crc32(words.encode())), words)
        whole, began = not state.folder.exists(), time.process_time()
        run = prepare(load_settings("gowalla", [f"model={{{words}}}", f"metrics={list(METRICS)}"]), steps)
        measured = measure(run, Aids(checkpoint=state))
        cpu = (time.process_time() - began) / 60 if whole else None
        for metric in METRICS:
            row = {"data": "gowalla", "what": label, "figure": metric}
            interval = measured.reports[measured.name].interval(metric)
            rows.append(
                row | {"value": interval.mean, "low": interval.low, "high": interval.high, "cpu_minutes": cpu}
            )
        state.remove()
    return rows


def youtube(work: Path, quick: bool, steps: Steps) -> list[Row]:
    """The choices of YouTube's network, one changed at a time, on ml-100k: the later half of people."""
    rows, full = [], None
    for label, change in list(YOUTUBE.items())[: 2 if quick else None]:
        words = f'name="youtube_dnn", dim=32{change}' + (", epochs=1" if quick else "")
        measured = measure(prepare(load_settings("ml-100k", [f"model={{{words}}}"]), steps))
        mine = measured.reports[measured.name].values["ndcg_at_10"]
        full = mine if full is None else full
        row = {"data": "ml-100k, later half", "what": f"youtube_dnn, {label}", "figure": "ndcg_at_10"}
        less = compare(mine, {"": full}, warm=len(mine))[""]
        rows.append(row | {"value": mine.mean(), "n": len(mine)} | (difference_row(less, "all of it", label)))
    return rows


PARTS = {
    "walks": walks,
    "friends": friendships,
    "unknown": unknown,
    "lightgcn": lightgcn,
    "item2vec": item2vec,
    "youtube": youtube,
}


@click.command()
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder of the peers' environment."
)
@click.option("--set-up", is_flag=True, help="Makes that environment with pip, and nothing else.")
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(list(PARTS)), help="Measure again; repeatable."
)
@click.option("--quick", is_flag=True, help="A little of each part, no peers; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(work: Path, set_up: bool, parts: tuple[str, ...], quick: bool, as_json: bool) -> None:
    """Measure the family of word2vec beside what others have."""
    work.mkdir(parents=True, exist_ok=True)
    if set_up:
        venv.create(work / "peers", with_pip=True)
        subprocess.run([str(work / "peers" / "bin" / "pip"), "install", "--quiet", *PEERS], check=True)
        return
    steps, rows = (
        Steps(quiet=as_json),
        [] if quick else [row for row in read_rows("family") if row["part"] not in parts],
    )
    there = {row["part"] for row in rows}
    for part in parts or [name for name in PARTS if name not in there]:
        rows += [{"part": part, **row} for row in PARTS[part](work, quick, steps)]
        rows.sort(key=lambda row: list(PARTS).index(row["part"]))
        report(
            "family",
            rows,
            title="The family that embeddings grew from",
            note=NOTE,
            quick=quick,
            as_json=as_json,
        )


if __name__ == "__main__":
    main()
