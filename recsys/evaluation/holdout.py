"""From a holdout to a report: its people as the recommender sees them, asked and judged."""

from collections.abc import Sequence

import numpy as np

from recsys.data.split import Holdout
from recsys.evaluation.evaluate import RUN_METRICS, Recommends, Report, evaluate
from recsys.evaluation.facts import ItemFacts, facts_of
from recsys.evaluation.names import Named
from recsys.progress import Progress, silent
from recsys.retrieval.users import Users


def users_of(holdout: Holdout) -> Users:
    """The people of a holdout as the recommender sees them: those whom the learner saw by their row.

    They ask at the moment of the split, or, where it has none, right after their last event.
    """
    index = np.where(holdout.known, holdout.user, -1).astype(np.int32)
    time, now = holdout.history_time, None
    if holdout.now is not None:
        now = np.full(len(index), holdout.now, np.int64)
    elif time is not None and len(time):
        last = holdout.history.offsets[1:] - 1
        now = np.where(holdout.history.lengths > 0, time[last], 0)
    return Users.of(index, holdout.past, now)


def evaluate_on(
    recommender: Recommends,
    holdout: Holdout,
    *,
    metrics: Sequence[Named] = RUN_METRICS,
    facts: ItemFacts | None = None,
    progress: Progress = silent,
) -> Report:
    """The report of anything that recommends on the question of a holdout: its users, targets and candidates.

    facts: of the items; None = those of the events to learn from, counted here. Whoever judges several systems on one
    holdout counts them once, with `facts_of(holdout.train)`.
    """
    return evaluate(
        recommender,
        users_of(holdout),
        holdout.targets,
        metrics=metrics,
        among=holdout.among,
        facts=facts or facts_of(holdout.train),
        progress=progress,
    )
