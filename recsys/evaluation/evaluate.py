"""Full-ranking evaluation through the very `Recommender` that serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.arrays import F64, I8, Bool, Ragged
from recsys.errors import DataError, SettingError
from recsys.evaluation.metrics import hits_of, parse
from recsys.evaluation.significance import Interval, bootstrap
from recsys.progress import Progress, Step, silent
from recsys.retrieval.ranker import SOURCES
from recsys.retrieval.recommender import Recommender
from recsys.retrieval.users import Users

DEFAULT_METRICS = tuple(f"{name}_at_{k}" for k in (10, 20, 100) for name in ("ndcg", "recall", "mrr", "hit_rate"))
_BLOCK = 4_096


@dataclass(frozen=True, eq=False)
class Report:
    """values: float64 (n,) per metric, a value per user. source: int8 (n,), where each answer came from."""

    values: Mapping[str, F64]
    source: I8

    def interval(self, metric: str, where: Bool | None = None) -> Interval:
        """Mean and 95 % interval of a metric, over all users or those of a mask (n,)."""
        values = self.values[metric]
        return bootstrap(values if where is None else values[where])

    def sources(self) -> dict[str, int]:
        """How many users each source answered."""
        return {
            name: int((self.source == code).sum()) for code, name in enumerate(SOURCES) if (self.source == code).any()
        }


def evaluate(
    recommender: Recommender,
    users: Users,
    targets: Ragged,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    among: Ragged | None = None,
    progress: Progress = silent,
) -> Report:
    """One value per user and metric, over all items that the recommender may answer.

    targets: rows of distinct items, one for each user and none empty; an item that cannot be recommended stays in the
    denominator. among: rows of published candidates, if only these are to be ranked.
    """
    if targets.rows != len(users) or (targets.lengths == 0).any():
        raise DataError(f"evaluation needs a target for each of {len(users)} users; drop users without any.")
    parsed = {name: parse(name) for name in metrics}
    if not parsed:
        raise SettingError("evaluation needs at least one metric, as in ndcg_at_10.")
    k = min(max(cut for _, cut in parsed.values()), recommender.n_items)
    values = {name: np.zeros(len(users)) for name in metrics}
    source = np.zeros(len(users), np.int8)
    for start in range(0, len(users), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(users)))
        answer = recommender.recommend(users.take(rows), k, among=None if among is None else among.take(rows))
        wanted = targets.take(rows)
        hits = hits_of(answer.ids, wanted)
        for name, (metric, cut) in parsed.items():
            values[name][rows] = metric(hits[:, :cut], wanted.lengths)
        source[rows] = answer.source
        progress(Step("evaluating", int(rows[-1]) + 1, len(users)))
    return Report(values, source)
