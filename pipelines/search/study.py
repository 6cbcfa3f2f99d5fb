"""The trials of a search on disk: an Optuna study in SQLite, which a kill at any moment leaves fit to go on.

A trial is settled once it is done, pruned or failed. One that was under way when its process died is marked
so, counts for nothing, and its place is tried again. What a trial tries follows from the seed, its place and
the trials settled before it alone, so a study that was killed and went on has the same trials as one that
never stopped.
"""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from recsys.durable import hold_lock
from recsys.errors import SettingError, TrackingError
from recsys.models.search import Space
from recsys.pipelines.search.space import distributions, shorten
from recsys.pipelines.tracking.store import sqlite_uri, store
from recsys.seeding import generator

State = Literal["done", "pruned", "failed"]
_SETTLED = "settled"
_STARTUP = 8  # trials drawn at random before their figures lead the search
_COMPARED = 4  # trials that must be done before one is pruned


class Trial(NamedTuple):
    """A settled trial. place: counted from 1. values: what was searched. facts: figures and names, as plain
    data."""

    place: int
    state: State
    values: Mapping[str, Any]
    facts: Mapping[str, Any]

    @property
    def mean(self) -> float:
        return float(self.facts["mean"])


class Study:
    """The settled trials of one search, and the way to the next. Made by `open_study`."""

    def __init__(self, study: Any, space: Space, seed: int) -> None:
        self._study, self._space, self._seed = study, space, seed

    @property
    def trials(self) -> list[Trial]:
        """The settled trials by place."""
        trials = [
            Trial(**one.user_attrs[_SETTLED])
            for one in self._study.get_trials(deepcopy=False)
            if one.state.is_finished() and _SETTLED in one.user_attrs
        ]
        return sorted(trials, key=lambda trial: trial.place)

    def note(self, key: str, value: Any = None) -> Any:
        """Stores a plain value under a key, if one is given, and returns the stored value."""
        if value is not None:
            self._study.set_user_attr(key, value)
        return self._study.user_attrs.get(key)

    def mark_interrupted(self) -> int:
        """Marks the trials that a dead process left under way, and returns their number."""
        from optuna.trial import TrialState

        running = [one for one in self._study.get_trials(deepcopy=False) if one.state == TrialState.RUNNING]
        for one in running:
            self._study.tell(one.number, state=TrialState.FAIL)
        return len(running)

    def begin(self, start: Mapping[str, Any] | None) -> "Begun":
        """The next trial: `start` in the first place, where it is given."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        place = len(self.trials) + 1
        seed = int(generator(self._seed, f"trial {place}").integers(2**31))
        self._study.sampler = TPESampler(seed=seed, n_startup_trials=_STARTUP, constant_liar=False)
        if place == 1 and start and not self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            self._study.enqueue_trial(dict(start))
        trial = self._study.ask(distributions(self._space))
        values = dict(start) if start and trial.params == start else shorten(self._space, trial.params)
        return Begun(self._study, trial, place, values)


class Begun:
    """A trial under way: to be settled once, by `done`, `prune` or `fail`. values: what to try."""

    def __init__(self, study: Any, trial: Any, place: int, values: dict[str, Any]) -> None:
        self._study, self._trial, self.place, self.values = study, trial, place, values

    def hopeless(self, step: int, value: float) -> bool:
        """Stores the figure after an epoch, and says whether it lies below the median of the other trials
        there."""
        self._trial.report(value, step)
        return bool(self._trial.should_prune())

    def done(self, mean: float, **facts: Any) -> Trial:
        return self._settle("done", {"mean": mean, **facts})

    def prune(self, **facts: Any) -> Trial:
        return self._settle("pruned", facts)

    def fail(self, reason: str, **facts: Any) -> Trial:
        return self._settle("failed", {"reason": reason, **facts})

    def _settle(self, state: State, facts: Mapping[str, Any]) -> Trial:
        from optuna.trial import TrialState

        trial = Trial(self.place, state, self.values, json.loads(json.dumps(facts)))
        self._trial.set_user_attr(_SETTLED, trial._asdict())
        if state == "done":
            self._study.tell(self._trial, trial.mean)
        else:
            self._study.tell(self._trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)
        return trial


@contextmanager
def open_study(name: str, space: Space, *, seed: int, prune: bool, anew: bool = False) -> Iterator[Study]:
    """The study of this name, made where there is none; `anew` forgets its trials first.

    Raises SettingError where another process is at it, TrackingError where the database refuses.
    """
    folder = store() / "tuned"
    with _errors(), _alone(folder, name):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a range that was widened between two calls is meant
            with hold_lock(folder / ".lock"):
                storage = optuna.storages.RDBStorage(
                    sqlite_uri(store() / "tune.db"), engine_kwargs={"connect_args": {"timeout": 60}}
                )
            if anew and name in [one.study_name for one in optuna.get_all_study_summaries(storage)]:
                optuna.delete_study(study_name=name, storage=storage)
            pruner = optuna.pruners.MedianPruner(n_startup_trials=_COMPARED)
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=pruner if prune else optuna.pruners.NopPruner(),
            )
            try:
                yield Study(study, space, seed)
            finally:
                storage.remove_session()
                storage.engine.dispose()


@contextmanager
def _errors() -> Iterator[None]:
    """Turns errors of the database into errors with a next step."""
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OptunaError, SQLAlchemyError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise TrackingError(
            f"{store() / 'tune.db'}, which keeps the trials, refused: {reason}. It needs space and access "
            f"to its folder; what was settled before is kept."
        ) from error


@contextmanager
def _alone(folder: Path, name: str) -> Iterator[None]:
    """Locks the name of a study against other processes."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with hold_lock(folder / f".{name}.lock", wait=False):
            yield
    except BlockingIOError:
        raise SettingError(
            f"another process is at the search {name}. Wait for it, or search other settings."
        ) from None
