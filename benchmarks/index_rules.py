"""Ten thousand random rules and questions for each kind of index: never short, never forbidden, as good as
measured.

    python -m benchmarks.index_rules [--questions 10000] [--quick] [--json]

1 to 100,000 items, any share of them allowed, by a mask or by a list, some forbidden, k from 1 to 100. The
indexes are tuned as `recsys index tune` tunes them, and taken however fast they are. Each answer is compared
with brute force: its length and what it holds for certain, the scan's and the few's answers item by item, an
index's by mean recall.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import click
import numpy as np

from benchmarks.results import read_rows, report
from recsys.arrays import F32, I64, Bool, Ragged
from recsys.encoders.bag import Bag
from recsys.encoders.users import Users
from recsys.history import Histories
from recsys.pipelines.threads import set_threads
from recsys.retrieval import tuner
from recsys.retrieval.approximate import FLAT, IndexSettings, factories
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import order_of
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.tuner import make_index, tune_index
from recsys.retrieval.vector_ranker import VectorRanker

SIZES = (1, 2, 50, 1_000, 10_000, 100_000)
DIM, PEOPLE, TARGET = 32, 400, 0.99
FEW, INDEX, SCAN = "over few items", "by index", "by scan"


class Watched(VectorRanker):
    """A ranker that notes which way each answer took."""

    way = ""

    def _scan_few(self, *arguments: Any) -> tuple[I64, F32]:
        self.way = FEW
        return super()._scan_few(*arguments)

    def _search_index(self, *arguments: Any) -> tuple[F32, I64] | None:
        answer = super()._search_index(*arguments)
        self.way = SCAN if answer is None else INDEX
        return answer


def space(n: int, seed: int) -> Embeddings:
    """Items in clusters and people near them, whose histories are of their cluster."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((50, DIM), np.float32)
    items = centres[random.integers(50, size=n)] + 0.5 * random.standard_normal((n, DIM), np.float32)
    table = centres[random.integers(50, size=PEOPLE)] + 0.5 * random.standard_normal(
        (PEOPLE, DIM), np.float32
    )
    return Embeddings(items, Bag(items, table, unit=False))


def tune(space: Embeddings, name: str) -> tuple[Recommender, IndexSettings]:
    """The exact recommender, and how the tuner would ask this index."""
    n, random = len(space.items), np.random.default_rng(0)
    exact = Recommender(VectorRanker(space), order_of(np.arange(n)))
    history = Histories(Ragged.of([random.integers(n, size=5) for _ in range(PEOPLE)]))
    if name == FLAT:
        return exact, IndexSettings()
    with patch.object(tuner, "_FASTER", np.inf):
        return exact, tune_index(exact, history, people=60, names=[name]).chosen


def ask(
    exact: Recommender, settings: IndexSettings, questions: int, seed: int
) -> tuple[Counter[str], float, int]:
    """How many answers took each way, the summed recall of the index's, and how many answers were wrong."""
    ranker = exact.ranker
    assert isinstance(ranker, VectorRanker)
    random, n = np.random.default_rng(seed), exact.n_items
    watched = Watched(ranker.embeddings, make_index(ranker, settings))
    masks = [random.random(n) < 10 ** -random.uniform(0, np.log10(n) + 0.5) for _ in range(20)]
    masks += [np.ones(n, bool)] * 12
    ways, recall, wrong = Counter[str](), 0.0, 0
    for at in range(questions):
        mask: Bool = masks[at % len(masks)]
        k, user = int(random.integers(1, 101)), int(random.integers(PEOPLE))
        forbidden = random.integers(n, size=int(random.integers(0, 30)))
        rules: dict[str, Any] = (
            {"available": mask} if at % 2 else {"among": Ragged.of([np.flatnonzero(mask)])}
        )
        person = Users.of_rows(np.array([user]), Ragged.empty(1))
        watched.way = SCAN
        answer = watched.top(person, k, forbid=Ragged.of([forbidden]), **rules)
        ways[watched.way] += 1
        left = mask.copy()
        left[forbidden] = False
        vector = ranker.encoder.table[user]  # type: ignore[attr-defined]
        scores = np.where(left, ranker.items @ vector, -np.inf)
        wanted = min(k, int(left.sum()))
        ids = answer.ids[0][answer.ids[0] >= 0]
        sound = len(ids) == len(np.unique(ids)) == wanted and bool(left[ids].all())
        if not wanted:
            recall += watched.way == INDEX
        elif watched.way == INDEX:
            best = np.argpartition(-scores, wanted - 1)[:wanted]
            recall += len(np.intersect1d(ids, best)) / wanted
        else:
            truth = np.sort(scores[left])[::-1][:wanted]
            sound = sound and np.allclose(scores[ids], truth, rtol=1e-5, atol=1e-5)
        wrong += not sound
    return ways, recall, wrong


@click.command()
@click.option("--questions", default=10_000, show_default=True, help="For each kind, over all sizes.")
@click.option("--index", "only", multiple=True, help="FAISS's name of a kind; all by default.")
@click.option("--quick", is_flag=True, help="A twentieth of the questions; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(questions: int, only: Sequence[str], quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/index_rules.md after each kind, where others keep their rows; exit status 1
    where an answer was wrong."""
    set_threads(1)
    each = questions // (20 if quick else 1) // len(SIZES) + 1
    rows: list[dict[str, Any]] = []
    for name in only or sorted({name for size in SIZES for name in factories(size, DIM)}):
        ways, recall, wrong, start = Counter[str](), 0.0, 0, time.perf_counter()
        for seed, size in enumerate(SIZES):
            if name not in factories(size, DIM):
                continue
            exact, settings = tune(space(size, seed), name)
            counts = ask(
                exact, settings, each * len(SIZES) // sum(name in factories(one, DIM) for one in SIZES), seed
            )
            ways, recall, wrong = ways + counts[0], recall + counts[1], wrong + counts[2]
        mean = recall / ways[INDEX] if ways[INDEX] else None
        row = {"index": name, "questions": ways.total(), **ways, "recall": mean, "wrong": wrong}
        print(row, f"{time.perf_counter() - start:.0f} s", flush=True)
        rows = [
            row,
            *(other for other in (rows if quick else read_rows("index_rules")) if other["index"] != name),
        ]
        rows.sort(key=lambda row: row["index"])
        total = {way: sum(row.get(way, 0) for row in rows) for way in (FEW, INDEX, SCAN)}
        note = f"By the way that answers took: {total}. Target {TARGET}, at k = 100."
        keys = ("index", "questions", FEW, INDEX, SCAN, "recall", "wrong")
        columns = dict(zip(keys, keys, strict=True))
        report(
            "index_rules",
            rows,
            title="Random rules",
            columns=columns,
            note=note,
            quick=quick,
            as_json=as_json,
        )
    raise SystemExit(any(row["wrong"] for row in rows))


if __name__ == "__main__":
    main()
