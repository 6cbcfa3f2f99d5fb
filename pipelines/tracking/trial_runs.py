"""The MLflow runs of a search: one for the whole, one nested in it for each trial, in an experiment of their
own."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recsys.arrays import F64
from recsys.errors import TrackingError
from recsys.pipelines.run.run import Run
from recsys.pipelines.tracking import address, client
from recsys.pipelines.tracking.lineage import git_commit
from recsys.pipelines.tracking.record import VALUES, holdout_digest

_NEWEST = 1_000  # runs among which those of a dead process are looked for


class Nested:
    """Logs a search. A store that refuses is warned of once, and the search goes on without it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._experiment = run.settings.experiment + client.TRIALS
        self.parent: str | None = None
        self.refused = False
        self._tags = {
            "data": run.data.name,
            "data_digest": run.data.digest,
            "split": run.title,
            "holdout": holdout_digest(run.holdout, run.data.digest),
            "git": git_commit(),
            "threads": run.threads,
        }

    def open(self, name: str, known: str | None = None) -> str | None:
        """Opens the run of the whole, or goes on with the one that is known, and returns its id; None =
        refused.

        Runs of trials that a dead process left open are closed.
        """
        try:
            if known and client.has_run(known):
                self.parent = known
                for one in client.runs(self._experiment, _NEWEST):
                    if one.status == "RUNNING" and one.tags.get("mlflow.parentRunId") == known:
                        self.end(one.run_id, tags={"trial": "interrupted"}, status="KILLED")
            else:
                self.parent = client.start_run(self._experiment, name)
        except TrackingError as error:
            self._refuse(error)
        return self.parent

    def begin(self, name: str) -> str | None:
        """Opens the run of a trial and returns its id; None where the store refuses."""
        if self.parent is None or self.refused:
            return None
        try:
            return client.start_run(self._experiment, name, self.parent)
        except TrackingError as error:
            self._refuse(error)
            return None

    def end(
        self,
        run_id: str | None,
        *,
        settings: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        curves: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
        values: tuple[str, F64] | None = None,
        files: Sequence[Path] = (),
        status: str = "FINISHED",
    ) -> None:
        """Closes a run with what it found. values: the metric's name and its value of each user of the
        holdout."""
        if run_id is None or self.refused:
            return
        holdout = self._run.holdout
        try:
            with tempfile.TemporaryDirectory() as place:
                if values is not None:
                    warm = holdout.warm
                    arrays: dict[str, Any] = {"user": holdout.user, "warm": warm, values[0]: values[1]}
                    np.savez_compressed(Path(place) / VALUES, **arrays)
                for file in files:
                    (Path(place) / file.name).write_bytes(file.read_bytes())
                client.finish_run(
                    run_id,
                    settings=settings or {},
                    tags=self._tags | dict(tags or {}),
                    metrics=metrics or {},
                    curves=curves or {},
                    files=Path(place),
                    status=status,
                )
        except TrackingError as error:
            self._refuse(error)

    def values(self, run_id: str | None, metric: str) -> F64 | None:
        """float64 (n,): what a closed run kept of each user; None where the store cannot say."""
        if run_id is None or self.refused:
            return None
        try:
            with np.load(address.artifact_of(run_id, VALUES), allow_pickle=False) as stored:
                kept: F64 = stored[metric]
                return kept
        except (TrackingError, OSError, KeyError):
            return None

    def _refuse(self, error: TrackingError) -> None:
        self.refused = True
        self._run.steps.warn(f"the trials are not logged from here on: {error}")
