"""Do new items of a planted world find their people, where a column says what they are like?

    python -m benchmarks.cold_world [--seeds 1,2,3] [--judge validation] [--quick] [--json]

The frozen world by global time. A drawn tenth of the items, of those born by the moment of the question, is
taken out of training and of all histories; what they are like is known by `content`, 16 numbers computed from
their true vectors, with noise of a tenth of their spread. Asked for: the later events on them, in the order
of the items taken out among themselves and of all items. Two rankers to hold ndcg@10 against, over
popularity, which knows nothing of new items: the informed one, which also knows how popular each of them will
be, and the same without that (each as popular as their mean), which is what can be attained from content and
history. Beside the two-tower model, the content of a user's items
alone: their mean, by inner product.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import click
import numpy as np
import pyarrow as pa

from benchmarks.results import report
from recsys.arrays import F32, F64, I64, Ragged
from recsys.data.dataset import Dataset
from recsys.data.planted.truth import fitted_tastes
from recsys.data.planted.world import World
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.planted import ScoreRanker, attainable_gain
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.seeding import generator

METRIC, SHARE, NUMBERS, NOISE, MOST = "ndcg_at_10", 0.1, 16, 0.1, 3_000
SETTINGS: dict[str, Any] = {
    "dim": 16,
    "epochs": 5,
    "user_ids": False,
    "similarity": "dot",
    "temperature": 1.0,
    "id_dropout": 0.5,
    "item_features": [{"column": "content", "kind": "vector"}],
}


class Asked:
    """A world with items taken out, and who is asked for them. train: what to learn from."""

    def __init__(self, run: Run, seed: int) -> None:
        assert run.world is not None
        self.world: World = run.world
        holdout, truth, n = run.holdout, run.world.truth, run.data.n_items
        assert holdout.now is not None
        assert holdout.history.time is not None
        self.now = holdout.now
        drawn = generator(seed, "cold items").permutation(np.flatnonzero(truth.born <= self.now))
        self.cold = np.zeros(n, bool)
        self.cold[drawn[: int(SHARE * n)]] = True
        events = holdout.train.interactions
        self.train: Dataset = dataclasses.replace(
            holdout.train.having(events.where(~self.cold[events.item])),
            item_features=pa.table({"content": list(self._content(seed))}),
        )
        history = holdout.history.keep(~self.cold[holdout.history.items.values])
        targets = holdout.targets.keep(self.cold[holdout.targets.values])
        rows = np.flatnonzero((targets.lengths > 0) & (history.lengths > 0))[:MOST]
        self.users = Users(holdout.user[rows], history.take(rows))
        self.targets = targets.take(rows)

    def _content(self, seed: int) -> F32:
        rng, vectors = generator(seed, "content"), self.world.truth.item_vectors
        content = vectors @ rng.standard_normal((vectors.shape[1], NUMBERS)).astype(np.float32)
        noise = rng.standard_normal(content.shape, dtype=np.float32)
        noisy: F32 = content + np.float32(NOISE * content.std()) * noise
        return noisy

    def judge(self, engine: Recommender, among_cold: bool) -> F64:
        among = (
            Ragged.of([np.flatnonzero(self.cold)]).take(np.zeros(len(self.users), np.int64))
            if among_cold
            else None
        )
        return evaluate(engine, self.users, self.targets, metrics=(METRIC,), among=among).values[METRIC]

    def truths(self) -> dict[str, Recommender]:
        """The rankers that know the truth, by what they know of the items taken out."""
        truth = self.world.truth
        row = {int(user): at for at, user in enumerate(self.users.index)}
        tastes = np.float32(truth.taste) * fitted_tastes(self.world, self.users.history).astype(np.float32)
        appeal = truth.log_appeal[truth.week(np.array([self.now]))[0]]
        alike = appeal.copy()
        alike[self.cold] = np.log(np.exp(appeal[self.cold]).mean())

        def ranker(appeal: F32) -> Recommender:
            def score(users: Users) -> F32:
                of_users: F32 = tastes[[row[int(user)] for user in users.index]]
                return of_users @ truth.item_vectors.T + appeal

            return self.engine(score)

        return {"informed": ranker(appeal), "informed but for how popular they will be": ranker(alike)}

    def engine(self, score: Callable[[Users], F32]) -> Recommender:
        n = self.train.n_items
        return Recommender(ScoreRanker(score, n), np.arange(n, dtype=np.int32))

    def by_content(self, users: Users) -> F32:
        """Inner products with the mean content of each user's items."""
        content = np.stack(self.train.described_items["content"].to_numpy())
        content = content - content.mean(axis=0)
        offsets: I64 = users.history.items.offsets
        means = (
            np.add.reduceat(content[users.history.items.values], offsets[:-1])
            / users.history.lengths[:, None]
        )
        scores: F32 = (means @ content.T).astype(np.float32)
        return scores


def rows_of(seed: int, judge: str, changes: dict[str, Any], steps: Steps) -> list[dict[str, Any]]:
    small = ["world.users=1000", "world.items=300"] if changes else []
    run = prepare(load_settings("world", [f"world.seed={seed}", f"judge={judge}", *small]), steps)
    asked = Asked(run, seed)
    with steps.step(f"seed {seed}, two towers") as progress:
        learned = make_model("two_tower", SETTINGS | changes).fit(asked.train, seed=seed, progress=progress)
    with steps.step(f"seed {seed}, the truth"):
        engines = asked.truths()
    engines["content of the user's items"] = asked.engine(asked.by_content)
    engines["two_tower"] = recommender_of(learned, fallback_order(asked.train.interactions, 30), "exclude")
    rows = []
    for part, among_cold in (("new items", True), ("all items", False)):
        values = {name: asked.judge(engine, among_cold) for name, engine in engines.items()}
        nothing = np.zeros(len(asked.users))  # of popularity: nobody ever had them
        for name, ours in values.items():
            row = {"world": seed, "ranked": part, "what": name, "users": len(ours), METRIC: ours.mean()}
            for known, label in zip(list(engines)[:2], ("of informed", "of attainable"), strict=True):
                gain = attainable_gain(ours, nothing, values[known])
                row |= {label: gain.mean, f"{label}, low": gain.low, f"{label}, high": gain.high}
            rows.append(row)
    return rows


@click.command()
@click.option("--seeds", default="1,2,3", show_default=True, help="Seeds of worlds, draws and learning.")
@click.option("--judge", default="test", show_default=True, help="The part to judge on; tune on validation.")
@click.option("--quick", is_flag=True, help="A small world, one epoch; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(seeds: str, judge: str, quick: bool, as_json: bool) -> None:
    """Measure what a column that tells the taste does for new items of a planted world."""
    steps = Steps(quiet=as_json)
    changes = {"epochs": 1} if quick else {}
    rows = [
        row
        for seed in ([1] if quick else map(int, seeds.split(",")))
        for row in rows_of(seed, judge, changes, steps)
    ]
    quick = quick or judge != "test"
    report(
        "cold_world", rows, title="New items of a planted world", note=METRIC, quick=quick, as_json=as_json
    )


if __name__ == "__main__":
    main()
