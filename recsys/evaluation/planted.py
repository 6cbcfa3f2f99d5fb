"""How much of what can be learned a model has learned: rankers that know the truth of a planted world.

The oracle ranks by the world's true next-event probabilities; no learner can know as much. The informed
ranker knows the items' true vectors and appeal, and fits each user to the same history by the world's exact
likelihood: the best that a learner with endless data on the items could do. **Attainable gain** = (model -
popularity) / (informed - popularity).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from recsys.arrays import F32, F64, I64, Bool, Ragged
from recsys.data.planted.truth import informed_scores, oracle_scores, without_drift
from recsys.data.planted.world import World
from recsys.data.split.holdout import Holdout
from recsys.encoders.encoder import HISTORY
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import Report, evaluate, users_of
from recsys.evaluation.significance import Interval, resamples
from recsys.progress import Progress, silent
from recsys.retrieval.ranker import Answer, best_allowed
from recsys.retrieval.recommender import Recommender
from recsys.seeding import generator

SAMPLE = 1_000


@dataclass(frozen=True, eq=False)
class ScoreRanker:
    """A ranker around a function from users to scores float32 (n, n_items); for truths, not for service."""

    score: Callable[[Users], F32]
    n_items: int
    folds_in: bool = True
    explains: bool = False

    def top(
        self,
        users: Users,
        k: int,
        *,
        forbid: Ragged,
        among: Ragged | None = None,
        available: Bool | None = None,
    ) -> Answer:
        ids, scores = best_allowed(self.score(users), k, forbid, among, available)
        return Answer(ids, scores, np.full(len(users), HISTORY, np.int8))

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        return None


def sample_rows(holdout: Holdout, seed: int) -> I64:
    """Rows of the fixed sample: SAMPLE of the users who bring a history, or all of them, ascending."""
    warm = np.flatnonzero(holdout.warm)
    chosen = generator(seed, "attainable sample").permutation(warm)[:SAMPLE]
    return np.sort(chosen)


def truths(
    world: World, holdout: Holdout, rows: I64, metrics: tuple[str, ...], progress: Progress = silent
) -> dict[str, Report]:
    """Reports of the oracle and of the informed ranker for these rows of a holdout, who all bring a history.

    In a world with a drift also of `unordered`: the informed ranker that knows all but the drift.
    """
    part = holdout.take(rows)
    people = Users(part.user, part.history, users_of(part).now)

    def score_oracle(users: Users) -> F32:
        return oracle_scores(world, users.index, _moments(users), users.history.items)

    def score_informed(users: Users) -> F32:
        return informed_scores(world, users.history, _moments(users), progress)

    def score_unordered(users: Users) -> F32:
        return informed_scores(without_drift(world), users.history, _moments(users), progress)

    reports = {}
    scorers = {"oracle": score_oracle, "informed": score_informed}
    if world.truth.leads is not None:
        scorers["unordered"] = score_unordered
    for name, score in scorers.items():
        ranker = ScoreRanker(score, world.dataset.n_items)
        fallback = np.arange(ranker.n_items, dtype=np.int32)
        reports[name] = evaluate(Recommender(ranker, fallback), people, part.targets, metrics=metrics)
    return reports


def _moments(users: Users) -> I64:
    """int64 (n,): when each is asked."""
    if users.now is None:
        raise ValueError("the truth of a world is asked at a moment; its events need their times")
    return users.now


def attainable_gain(model: F64, popularity: F64, informed: F64, *, seed: int = 0) -> Interval:
    """(model - popularity) / (informed - popularity) of means over the same users (n,), with a bootstrap
    interval.

    NaN where the informed ranker is not above popularity, by a 95 % interval: then there is nothing to have a
    share of.
    """
    gained, room = model - popularity, informed - popularity
    draws = np.array([(gained[rows].mean(), room[rows].mean()) for rows in resamples(len(model), seed)])
    if not len(model) or np.percentile(draws[:, 1], 2.5) <= 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    with np.errstate(divide="ignore", invalid="ignore"):  # fewer than 25 draws may still be without room
        low, high = np.percentile(draws[:, 0] / draws[:, 1], [2.5, 97.5])
    return Interval(float(gained.mean() / room.mean()), float(low), float(high))
