"""A run: what it learns from, what it is judged on, and where it writes. `prepare` makes it; all pipelines
take it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from recsys.arrays import I32
from recsys.bundle.bundle import Bundle
from recsys.data.dataset import Dataset
from recsys.data.planted.world import World
from recsys.data.split.holdout import Holdout
from recsys.evaluation.segments import Segments, segments_of
from recsys.models.base import Model
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.settings import RunSettings


@dataclass(frozen=True, eq=False)
class Run:
    """What a pipeline works on. A run that differs in one thing, such as a trial, is derived by `replace`.

    data: after the rules of the settings. holdout: what is learned from, and the question to judge by. title:
    data, part and split in words. threads: those in force. world: where the data are planted. start: the
    bundle at whose vectors learning begins, if at any. run_id: its MLflow run; None where none is open.
    """

    settings: RunSettings
    steps: Steps
    data: Dataset
    holdout: Holdout
    title: str
    threads: int
    world: World | None = None
    start: Bundle | None = None
    run_id: str | None = None

    @property
    def name(self) -> str:
        return f"{self.settings.model_name} on {self.data.name}"

    @cached_property
    def fallback(self) -> I32:
        """The fallback order: items by popularity, the most popular first."""
        return fallback_order(self.holdout.train.interactions, self.settings.fallback_days)

    @cached_property
    def segments(self) -> Segments:
        """The parts of the people and items of the question that the settings name by columns."""
        return segments_of(self.holdout, self.settings.segments)

    def learner(self) -> Model:
        """The untrained model of the settings."""
        return make_model(self.settings.model_name, self.settings.model_settings)

    def everything(self) -> Dataset:
        """The data set of all events, the judged ones included, which a refit learns from."""
        return self.data.having(self.data.interactions, self.data.whole)

    def trial(self, model: Mapping[str, Any], run_id: str | None = None) -> "Run":
        """The run by other settings of its model, all of them named, logged under an id of its own."""
        named = {"name": self.settings.model_name, **model}
        return replace(self, settings=self.settings.model_copy(update={"model": named}), run_id=run_id)
