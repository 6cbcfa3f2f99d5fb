"""How long until a peer's final quality: NDCG at 20 on gowalla's validation part, every library tuned on one
grid."""

import itertools
import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.mf_measured import Measured
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.models.popularity import fallback_order
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.recommender import recommender_of

DIM, EPOCHS, METRIC = 64, 15, "ndcg_at_20"
UNOBSERVED = (0.003, 0.01, 0.03)
RIDGE = {1.0: (0.001, 0.003, 0.01), 0.0: (0.3, 1.0, 3.0)}  # by exponent; implicit has no other than 0

Row = dict[str, Any]


def seconds_to_ndcg(rows: Measured, repeats: int) -> Iterator[Row]:
    """A row for each peer: its best point of the grid, its NDCG and seconds; and our first fit that is as
    good.

    Seconds are those of the whole fit, preparation included and compilation not; medians of `repeats` in
    turn.
    """
    judge = _Judge(rows)
    best = {library: judge.best(library) for library in rows.libraries}
    for peer in rows.libraries[1:]:
        goal, point = best[peer]
        ours = best["recsys"][1]
        epochs = next((n for n in range(1, 2 * EPOCHS + 1) if judge.ndcg("recsys", ours, n) >= goal), None)
        taken: dict[str, list[float]] = {"recsys": [], peer: []}
        for repeat in range(1, repeats + 1):
            if epochs:
                taken["recsys"].append(judge.fit("recsys", ours, epochs, repeat)["total_s"])
            taken[peer].append(judge.fit(peer, point, EPOCHS, repeat)["total_s"])
        theirs = statistics.median(taken[peer])
        seconds = statistics.median(taken["recsys"]) if epochs else None
        yield {
            "peer": peer,
            "peer_settings": _text(point),
            "peer_ndcg": goal,
            "peer_s": theirs,
            "settings": _text(ours),
            "epochs": epochs,
            "ndcg": judge.ndcg("recsys", ours, epochs or 2 * EPOCHS),
            "s": seconds,
            "share": seconds / theirs if seconds else None,
        }


def _text(point: Row) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in point.items())


class _Judge:
    """Fits on the part that validation trains on, and judges by the validation rows, never by the test
    rows."""

    def __init__(self, rows: Measured) -> None:
        self._rows = rows
        self._holdout = split(load_dataset("gowalla"), SplitSettings(), seed=1).validation
        assert self._holdout is not None
        self._fallback = fallback_order(self._holdout.train.interactions, None)

    def best(self, library: str) -> tuple[float, Row]:
        """The highest NDCG on the grid, and the point where it is."""
        exponent = 0.0 if library == "implicit" else 1.0
        grid = itertools.product(UNOBSERVED, RIDGE[exponent])
        points = [
            {"unobserved_weight": a, "regularization": ridge, "exponent": exponent} for a, ridge in grid
        ]
        return max(((self.ndcg(library, point, EPOCHS), point) for point in points), key=lambda pair: pair[0])

    def fit(self, library: str, point: Row, epochs: int, repeat: int, *, kept: bool = False) -> Row:
        kind = "quality-fit"
        return self._rows.fit(kind, library, "gowalla", DIM, "cg", epochs, repeat, kept=kept, settings=point)

    def ndcg(self, library: str, point: Row, epochs: int) -> float:
        wanted = {"kind": "ndcg", "library": library, "epochs": epochs, **point}
        if earlier := next(self._rows.having(**wanted), None):
            return float(earlier["ndcg"])
        self.fit(library, point, epochs, 0, kept=True)
        folder = self._rows.work
        users, items = (np.load(folder / f"factors-{side}.npy") for side in ("users", "items"))
        assert self._holdout is not None
        encoder = Solve(items, items.T @ items, users, regularization=1, unobserved_weight=1, exponent=0)
        engine = recommender_of(Embeddings(items, encoder), self._fallback, "exclude")
        asked = Users.of_rows(self._holdout.user, self._holdout.history)
        report = evaluate(engine, asked, self._holdout.targets, metrics=(METRIC,))
        ndcg = float(report.interval(METRIC).mean)
        self._rows.add({**wanted, "ndcg": ndcg})
        return ndcg
