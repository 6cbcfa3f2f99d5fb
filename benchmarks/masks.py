"""A bundle of a million items with a tuned index: is its stated recall true, what do rules cost, what is
shared?

    python -m benchmarks.masks [--items 1000000] [--quick] [--json]

Vectors in 1,000 clusters with lognormal lengths, as in `benchmarks.ann`; the index is the tuner's choice
among three of FAISS's. Stated recall: against brute force on people who neither chose nor measured. Rules:
masks of random items, asked again and again as those of a domain or of availability are; beside each the two
ways that one could take, the exact scan over the allowed rows, gathered, and the index without a rule.
CPU-milliseconds, in turn, medians, one thread. Memory: the proportional share (Pss) of what four processes
hold that have loaded the bundle and answered 200 people, beside one process alone.
"""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.ann import DIM, K
from benchmarks.answer import make_bundle
from benchmarks.results import report
from recsys.arrays import I64, Bool, Ragged
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.manifest import read_manifest
from recsys.bundle.write import exact_recommender, write
from recsys.pipelines.threads import set_threads
from recsys.retrieval.approximate import factories
from recsys.retrieval.tuner import KNOWN, measure_index, people_of, tune_index
from recsys.retrieval.vector_ranker import VectorRanker

SHARES = (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 0.5, 0.8, 1.0)
USERS, ASKED = 4_000, 100
_HOLD = """
import sys, os, numpy as np, faiss
faiss.omp_set_num_threads(1)
from pathlib import Path
from recsys.bundle.bundle import load
from recsys.answers.respond import answer
from recsys.answers.question import Question
bundle = load(Path(sys.argv[1]))
for user in range(200):
    answer(bundle, Question(f"u{user}", k=100)).items_json()
print("ready", flush=True)
sys.stdin.readline()
"""


def tune_bundle(n_items: int, people: int, folder: Path) -> Bundle:
    """A bundle of so many items, with the index that the tuner chooses among inverted files."""
    plain = make_bundle(n_items, USERS, folder / "plain", clustered=True)
    content = plain.content()
    lists = (
        max(int(name[3:].partition(",")[0]) for name in factories(n_items, DIM) if name.startswith("IVF"))
        // 2
    )
    names = [f"IVF1,PQ{DIM}x4fs", f"IVF{lists},PQ{DIM}x4fs", f"IVF{lists},SQfp16"]
    tuned = tune_index(exact_recommender(content), content.histories, people=people, names=names)
    for trial in tuned.trials:
        print(
            trial.settings.factory,
            trial.settings.effort,
            trial.quality["all"],
            f"{trial.p50_ms:.3f} ms",
            flush=True,
        )
    return load(write(folder / "tuned", replace(content, index=tuned.chosen)))


def recall_row(bundle: Bundle, people: int) -> dict[str, Any]:
    """Stated and found recall."""
    exact = bundle.recommender.exactly()
    ranker = bundle.recommender.ranker
    assert isinstance(ranker, VectorRanker)
    assert ranker.index is not None
    stated = read_manifest(bundle.path)["index"]
    others = people_of(bundle.histories, people, 99, "tune")
    measured, _ = measure_index(exact, ranker.index, others, K)
    return {**stated, "found": measured["all"].recall}


def mask_rows(bundle: Bundle) -> list[dict[str, Any]]:
    """What a rule costs at each share of allowed items."""
    random, ranker = np.random.default_rng(5), bundle.recommender.ranker
    assert isinstance(ranker, VectorRanker)
    index: Any = ranker.index
    users = people_of(bundle.histories, ASKED, 3, "measure")[KNOWN]
    vectors = ranker.encoder.encode(users).vectors
    one = [users.take(np.array([row])) for row in range(len(users))]
    none, rows = Ragged.empty(1), []
    for share in SHARES:
        mask = random.random(ranker.n_items) < share
        allowed = np.flatnonzero(mask)

        def ours(row: int, mask: Bool = mask) -> object:
            return ranker.top(one[row], K, forbid=none, available=mask)

        def exact(row: int, allowed: I64 = allowed) -> object:
            scores = ranker.items[allowed] @ vectors[row]
            return allowed[np.argpartition(scores, -min(K, len(allowed)))[-K:]]

        def search_all(row: int) -> object:
            return index.search(vectors[row : row + 1], K)

        ways: dict[str, Callable[[int], object]] = {"ours": ours, "exact": exact, "unfiltered": search_all}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for row in range(len(one)):
            for name, way in ways.items():
                start = time.process_time()
                way(row)
                seconds[name].append(time.process_time() - start)
        spent = {name: float(np.median(each)) * 1e3 for name, each in seconds.items()}
        truth = (
            bundle.recommender.exactly()
            .ranker.top(users, K, forbid=Ragged.empty(len(users)), available=mask)
            .ids
        )
        ids = ranker.top(users, K, forbid=Ragged.empty(len(users)), available=mask).ids
        pairs = [(got[got >= 0], true[true >= 0]) for got, true in zip(ids, truth, strict=True)]
        recall = float(np.mean([len(np.intersect1d(*pair)) / len(pair[1]) for pair in pairs]))
        bound = 2 * min(spent["exact"], spent["unfiltered"]) + 0.2
        rows.append(
            {"share": share, "effort": index.effort_at(share), **spent, "bound": bound, "recall": recall}
        )
    return rows


def shares_of_memory(folder: Path) -> dict[str, float]:
    """MiB of proportional shares that one process holds, and four together."""
    mib = {}
    for count in (1, 4):
        command = [sys.executable, "-c", _HOLD, str(folder)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        gc.collect()
        assert str(folder) not in Path("/proc/self/maps").read_text()
        held = [
            subprocess.Popen(command, **pipes, env={**os.environ, "OMP_NUM_THREADS": "1"})
            for _ in range(count)
        ]
        for process in held:
            assert process.stdout is not None
            process.stdout.readline()
        mib[str(count)] = sum(_pss(process.pid) for process in held)
        for process in held:
            process.communicate(b"\n")
    return {"one_mib": mib["1"], "four_mib": mib["4"], "ratio": mib["4"] / mib["1"]}


def _pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


@click.command()
@click.option("--items", default=1_000_000, show_default=True)
@click.option("--people", default=200, show_default=True, help="Who choose, and as many who measure.")
@click.option("--quick", is_flag=True, help="200,000 items; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(items: int, people: int, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/masks.md."""
    set_threads(1)
    with TemporaryDirectory() as folder:
        bundle = tune_bundle(200_000 if quick else items, people, Path(folder))
        truth, path = recall_row(bundle, people), bundle.path
        rows = mask_rows(bundle)
        del bundle  # what this process maps would be shared with it
        memory = shares_of_memory(path)
    note = (
        f"{truth['factory']} at effort {truth['effort']}: recall@{K} stated {truth['recall']:.4f}, found "
        f"by others {truth['found']:.4f}. Four processes hold {memory['four_mib']:,.0f} MiB, one "
        f"{memory['one_mib']:,.0f}: {memory['ratio']:.2f} times. CPU-milliseconds a question, one thread, "
        f"load {os.getloadavg()[0]:.1f}; the bound is twice the smaller of the two ways and .2 ms."
    )
    columns = {
        "share": "share allowed",
        "effort": "effort",
        "ours": "ours, ms",
        "exact": "exact over the allowed",
        "unfiltered": "index without a rule",
        "bound": "bound",
        "recall": "recall",
    }
    report(
        "masks",
        rows,
        title="A million items under rules",
        columns=columns,
        note=note,
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
