"""One set of settings: learned, watched, and judged on the validation part."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from recsys.arrays import F64
from recsys.data.split.holdout import Holdout
from recsys.errors import SettingError
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.metrics.lists import LIST_METRICS
from recsys.evaluation.metrics.names import PerUser, resolve
from recsys.evaluation.significance import Interval, bootstrap
from recsys.models.base import takes_aids
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.run import measure
from recsys.pipelines.run.settings import RunSettings
from recsys.progress import Progress, Step, silent
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import TrainedRanker
from recsys.seeding import generator
from recsys.training.early_stopping import EarlyStopping
from recsys.training.loop import Aids

LOOKED_AT = 2_000  # users by whom a model is judged while it learns


class Dropped(NamedTuple):
    """Settings that were given up while they learned. looks: (epoch, figure on a sample of users), in order."""

    looks: list[tuple[int, float]]
    seconds: float


class Tried(NamedTuple):
    """What settings gave. values: float64 (n,) per user. epochs: those behind the model that was judged, None where it
    has none. asked: those of the settings. looks: (epoch, figure on a sample of users), in order."""

    learned: Embeddings | TrainedRanker
    values: F64
    epochs: int | None
    asked: int | None
    looks: list[tuple[int, float]]
    curves: Mapping[str, list[Mapping[str, float]]]
    seconds: float

    @property
    def interval(self) -> Interval:
        return bootstrap(self.values[~np.isnan(self.values)])


class Judge:
    """Judges models of one kind on one holdout by one metric, through the recommender that serves. label: its name."""

    def __init__(self, settings: RunSettings, holdout: Holdout, metric: str) -> None:
        self.settings, self.holdout, self.metric, self.label = settings, holdout, metric, checked_metric(metric)
        self.train = holdout.train
        self.facts = facts_of(self.train)
        self.fallback = fallback_order(self.train.interactions, settings.fallback_days)
        n = len(holdout.user)
        drawn = generator(settings.seed, "looked at").choice(n, min(n, LOOKED_AT), replace=False)
        self.sample = holdout.take(np.sort(drawn))

    def values(
        self, learned: Embeddings | TrainedRanker, holdout: Holdout | None = None, progress: Progress = silent
    ) -> F64:
        """float64 (n,): the metric of each user of a holdout, that of the judge where none is named; NaN: not his."""
        recommender = measure.recommender_for(learned, self.fallback, self.settings, self.train)
        question = holdout or self.holdout
        report = measure.judge(recommender, question, self.settings, self.facts, progress, [self.metric])
        return next(iter(report.values.values()))

    def _figure(self, model: Embeddings) -> float:
        """The mean of the metric over the sample of users, 0 where it applies to nobody."""
        values = self.values(model, self.sample)
        return float(np.nanmean(values)) if not np.isnan(values).all() else 0.0

    def tried(
        self,
        model: Mapping[str, Any],
        progress: Progress = silent,
        *,
        watched: bool = True,
        hopeless: Callable[[int, float], bool] = lambda epoch, figure: False,
    ) -> Tried | Dropped:
        """Learns by full settings of the model and judges on all users.

        watched: a learner with epochs is looked at on the way; it ends where it gets no better, and the model of its
        best look is the one that is judged. hopeless: whether to give up after an epoch with such a figure; asked
        from half of the epochs on, for before that who learns slowly looks worse than he is.
        Raises ModelError where the model cannot learn.
        """
        started = time.perf_counter()
        learner = make_model(self.settings.model_name, model)
        epochs: int | None = getattr(learner.settings, "epochs", None)
        curves: dict[str, list[Mapping[str, float]]] = {}

        def report(step: Step) -> None:
            progress(step._replace(values={}))
            if step.values:
                curves.setdefault(step.task, []).append(step.values)

        looks = EarlyStopping(self._figure, epochs or 1, hopeless)
        if watched and epochs and takes_aids(learner):
            aided: Any = learner
            learned = aided.fit(self.train, seed=self.settings.seed, progress=report, aids=Aids(watch=looks))
            if looks.given_up:
                return Dropped(looks.seen, time.perf_counter() - started)
        else:
            learned = learner.fit(self.train, seed=self.settings.seed, progress=report)
        reached = epochs
        if looks.best is not None:
            reached, _, learned = looks.best
        values = self.values(learned, progress=progress)
        seconds = time.perf_counter() - started
        return Tried(learned, values, reached, epochs, looks.seen, curves, seconds)


def checked_metric(metric: str) -> str:
    """The name of a metric of which more is better; else a SettingError with what to ask for instead."""
    found = resolve(metric)
    kind = found.name.rpartition("_at_")[0]
    if not isinstance(found, PerUser) or kind in LIST_METRICS:
        raise SettingError(
            f"metric {metric!r} describes lists and is not to be maximised; search by one of hits, as in ndcg_at_20, "
            "or by your own as module:function."
        )
    return found.name
