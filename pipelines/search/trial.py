"""One set of settings: learned, watched, and judged on the validation part."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from recsys.arrays import F64
from recsys.errors import SettingError
from recsys.evaluation.metrics.by_name import PerUser, refuse_worthless, resolve
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.significance import Interval, bootstrap
from recsys.models.base import takes_aids
from recsys.pipelines.run import measure
from recsys.pipelines.run.run import Run
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import TrainedRanker
from recsys.seeding import generator
from recsys.training.early_stopping import Deadline, EarlyStopping, TooLongError
from recsys.training.loop import Aids

VALIDATION_ONLY = "a search reads the validation part only, else nothing is left to judge it on."
LOOKED_AT = 2_000  # users by whom a model is judged while it learns


class Dropped(NamedTuple):
    """Settings that were given up while they learned. looks: (epoch, figure on a sample of users), in order.
    expected_s: what learning would have taken, where that was too long; fitting: how many epochs, begun anew,
    would end in what was left."""

    looks: list[tuple[int, float]]
    seconds: float
    expected_s: float | None = None
    fitting: int = 0


class Tried(NamedTuple):
    """What settings gave. values: float64 (n,) per user. epochs: those behind the model that was judged, None
    where it has none. asked: those of the settings. looks: (epoch, figure on a sample of users), in order.
    seconds: of learning and judging; judging_s: of judging alone."""

    learned: Embeddings | TrainedRanker
    values: F64
    epochs: int | None
    asked: int | None
    looks: list[tuple[int, float]]
    curves: Mapping[str, list[Mapping[str, float]]]
    seconds: float
    judging_s: float

    @property
    def interval(self) -> Interval:
        return bootstrap(self.values[~np.isnan(self.values)])


class Judge:
    """Judges the trials of a run by one metric, through the recommender that serves. label: its name.

    Raises SettingError where the run asks another part than validation: nothing would be left to judge the
    best on.
    """

    def __init__(self, run: Run, metric: str) -> None:
        if run.settings.judge != "validation":
            raise SettingError(f"judge={run.settings.judge}: {VALIDATION_ONLY}")
        self.run, self.metric, self.label = run, metric, checked_metric(metric)
        self.facts, n = facts_of(run.holdout.train), len(run.holdout.user)
        refuse_worthless([resolve(metric)], self.facts.table)
        drawn = generator(run.settings.seed, "looked at").choice(n, min(n, LOOKED_AT), replace=False)
        self._sample = replace(run, holdout=run.holdout.take(np.sort(drawn)))

    def values(self, learned: Embeddings | TrainedRanker) -> F64:
        """float64 (n,): the metric of each user of the question; NaN where it does not apply."""
        return self._values(self.run, learned)

    def _values(self, run: Run, learned: Embeddings | TrainedRanker, progress: Progress = silent) -> F64:
        """float64 (n,): the metric of each user of the run's question; NaN where it does not apply."""
        report = measure.judge(
            run, measure.recommender_for(run, learned), self.facts, progress, [self.metric]
        )
        return next(iter(report.values.values()))

    def _figure(self, model: Embeddings) -> float:
        """The mean of the metric over a sample of users; 0 where it applies to nobody."""
        values = self._values(self._sample, model)
        return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0

    def try_settings(
        self,
        trial: Run,
        progress: Progress = silent,
        *,
        watched: bool = True,
        hopeless: Callable[[int, float], bool] = lambda epoch, figure: False,
        within_s: float | None = None,
    ) -> Tried | Dropped:
        """Learns by the settings of a trial, a run derived from that of the judge, and judges on all users.

        watched: a learner with epochs is looked at on the way; it ends where it gets no better, and the model
        of its best look is the one that is judged. hopeless: whether to give up after an epoch with such a
        figure; asked from half of the epochs on, for before that a slow learner looks worse than it is.
        within_s: seconds that a learner with epochs may take where it is not watched; one that would take
        longer is given up, and `expected_s` of what comes back says how long. Raises ModelError where the
        model cannot learn.
        """
        started = time.perf_counter()
        learner, train, seed = trial.learner(), trial.holdout.train, trial.settings.seed
        epochs: int | None = getattr(learner.settings, "epochs", None)
        curves: dict[str, list[Mapping[str, float]]] = {}

        def report(step: Step) -> None:
            progress(step._replace(values={}))
            if step.values:
                curves.setdefault(step.task, []).append(step.values)

        looks = EarlyStopping(self._figure, epochs or 1, hopeless)
        if watched and epochs and takes_aids(learner):
            aided: Any = learner
            learned = aided.fit(train, seed=seed, progress=report, aids=Aids(watch=looks))
            if looks.given_up:
                return Dropped(looks.seen, time.perf_counter() - started)
        elif within_s is not None and epochs and takes_aids(learner):
            deadline, aided = Deadline(epochs, within_s), learner
            aids = Aids(watch=deadline, within=deadline.within)
            with suppress(TooLongError):
                learned = aided.fit(train, seed=seed, progress=report, aids=aids)
            if deadline.expected is not None:
                return Dropped([], time.perf_counter() - started, deadline.expected, deadline.fitting)
        else:
            learned = learner.fit(train, seed=seed, progress=report)
        reached = epochs
        if looks.best is not None:
            reached, _, learned = looks.best
        judging = time.perf_counter()
        values = self._values(self.run, learned, progress)
        ended = time.perf_counter()
        return Tried(learned, values, reached, epochs, looks.seen, curves, ended - started, ended - judging)


def checked_metric(metric: str) -> str:
    """The name of a metric, if higher is better. Raises SettingError, with metrics to use instead, if not."""
    resolved = resolve(metric)
    if not isinstance(resolved, PerUser) or resolved.describes:
        raise SettingError(
            f"metric {metric!r} describes lists and is not to be maximised; search by one of hits, as in "
            f"ndcg_at_20, or by your own as module:function."
        )
    return resolved.name
