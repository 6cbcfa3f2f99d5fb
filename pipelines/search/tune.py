"""The search for a model's settings, on the validation part alone: resumable, pruned, logged, and ended in a
config."""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from numpy.linalg import LinAlgError

from recsys import __version__
from recsys.errors import ModelError, SettingError
from recsys.models.search import Choices
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import RunSettings
from recsys.pipelines.search.config_file import config_text, write_config
from recsys.pipelines.search.report import (
    against_start,
    band,
    config_head,
    report_text,
    short,
    write_artefacts,
)
from recsys.pipelines.search.space import Searched, edges
from recsys.pipelines.search.study import Begun, Study, Trial, open_study
from recsys.pipelines.search.trial import VALIDATION_ONLY, Dropped, Judge, Tried
from recsys.pipelines.tracking.record import holdout_digest
from recsys.pipelines.tracking.store import store
from recsys.pipelines.tracking.trial_runs import Nested

_STATED = {"experiment", "prepare", "split", "seen", "fallback_days", "seed"}  # what figures depend on
# what a trial may end in
_OF_SETTINGS = (ModelError, SettingError, MemoryError, ArithmeticError, LinAlgError)
_NORMAL = 3.92  # standard errors that a 95 % interval is wide


class Asked(NamedTuple):
    """How to search. trials: settled ones, those of earlier calls among them. timeout: seconds of this call,
    after which no trial is begun. command: what was typed, for the config."""

    trials: int = 30
    timeout: float | None = None
    metric: str = "ndcg_at_20"
    prune: bool = True
    anew: bool = False
    command: str = "recsys tune"


@dataclass(frozen=True, eq=False)
class Tuned:
    """A finished search: its settled trials, the best of them, and the model's settings as they are written.

    figures: mean, low, high and epochs of a model learned by exactly these settings. text: the table in
    words.
    """

    name: str
    trials: Sequence[Trial]
    best: Trial
    model: Mapping[str, Any]
    figures: Mapping[str, Any]
    edges: Sequence[str]
    config: Path
    run_id: str | None
    text: str


def validation_of(settings: RunSettings, assignments: Sequence[str] = ()) -> RunSettings:
    """The settings on the validation part. Raises SettingError where another part, or a warm start, was asked
    for."""
    for text in assignments:
        key, _, value = text.partition("=")
        if key == "judge" and value.strip("'\"") != "validation":
            raise SettingError(f"{text}: {VALIDATION_ONLY}")
    if settings.warm is not None:
        raise SettingError(
            f"warm={settings.warm}: a search learns every trial anew. Leave `warm` to the training run."
        )
    return settings.model_copy(update={"judge": "validation"})


def tune(run: Run, searched: Searched, asked: Asked) -> Tuned:
    """Goes on with the search for the settings of a run on the validation part, or begins it, until so many
    trials are settled.

    Raises ModelError where every trial failed, with the reason of the last.
    """
    settings, judge = run.settings, Judge(run, asked.metric)
    metric, key = judge.label, _key(run, searched, asked.metric)
    name = name_of(run, asked.metric, key)
    with open_study(name, searched.space, seed=settings.seed, prune=asked.prune, anew=asked.anew) as study:
        nested = Nested(run)
        run_id = nested.open(f"search of {run.name}", study.note("run_id"))
        study.note("run_id", run_id)
        search = _Search(searched, asked, judge, study, nested)
        search.go_on()
        best = search.best()
        model, figures, remark = search.confirm(best)
        trials = study.trials
        beyond = edges(searched, best.values)
        title = f"{run.title}. {len(run.holdout.user):,} users"
        remarks = [
            against_start(trials, best, lambda trial: nested.values(trial.facts["run_id"], metric)),
            remark,
        ]
        text = report_text(title, searched, metric, trials, best, [*remarks, *beyond], bool(beyond))
        config = store() / "tuned" / f"{name}.toml"
        called = (run.data.name, settings.data)
        head = config_head(searched.name, called, metric, figures, len(trials), asked.command, config)
        write_config(config, config_text(settings, model, list(searched.space), head))
        files = [config, *write_artefacts(config, text, searched, metric, trials, best)]
        nested.end(
            run_id,
            settings={**key, "metrics": (metric,)},
            tags={"search": name, "command": asked.command},
            metrics={
                metric: figures["mean"],
                f"{metric}_low": figures["low"],
                f"{metric}_high": figures["high"],
            },
            files=files,
        )
    return Tuned(name, trials, best, model, figures, beyond, config, run_id, text)


class _Search(NamedTuple):
    """The trials of one call. judge: it has the run that they are derived from."""

    searched: Searched
    asked: Asked
    judge: Judge
    study: Study
    nested: Nested

    def go_on(self) -> None:
        """Tries until so many trials are settled or the time is over."""
        left, known = self.study.mark_interrupted(), len(self.study.trials)
        if known or left:
            again = f"; {left} interrupted, tried again" if left else ""
            self.judge.run.steps.say(f"Going on after {known} trials{again}.")
        elif self.searched.start is None:
            self.judge.run.steps.say("The settings as given lie outside the space and are not tried.")
        started = time.monotonic()
        while (settled := len(self.study.trials)) < self.asked.trials:
            if (
                self.asked.timeout is not None
                and settled
                and time.monotonic() - started >= self.asked.timeout
            ):
                self.judge.run.steps.say(f"The time is over: {settled} of {self.asked.trials} trials.")
                break
            self.judge.run.steps.say(self._line(self._try(settled + 1)))

    def best(self) -> Trial:
        """The best finished trial; of equals the first."""
        done = [trial for trial in self.study.trials if trial.state == "done"]
        if done:
            return max(done, key=lambda trial: trial.mean)
        reason = next(
            (trial.facts["reason"] for trial in self.study.trials[::-1] if trial.state == "failed"), "none"
        )
        raise ModelError(f"no trial of the search came to an end; the last reason: {reason}")

    def confirm(self, best: Trial) -> tuple[dict[str, Any], dict[str, Any], str]:
        """The settings to write, with figures of a model that learned by exactly them, and a remark on the
        epochs.

        A trial that ended at an epoch before the last is learned again with that number: a learning rate that
        falls over the epochs makes it another model. Where that is worse by more than a standard error, all
        are tried.
        """
        model = self.searched.settings(best.values)
        if best.facts["epochs"] in (None, model.get("epochs")):
            return model, dict(best.facts), ""
        error = (best.facts["high"] - best.facts["low"]) / _NORMAL
        confirmed = []
        for epochs in (best.facts["epochs"], model["epochs"]):
            confirmed.append(
                ({**model, "epochs": epochs}, self._learned_again(best, {**model, "epochs": epochs}))
            )
            if confirmed[0][1]["mean"] >= best.mean - error:
                break
        written, figures = max(confirmed, key=lambda one: one[1]["mean"])
        remark = (
            f"Trial {best.place} was best after {best.facts['epochs']} of {model['epochs']} epochs. "
            f"Learned again with epochs = {written['epochs']}, as written: {band(figures)}."
        )
        return written, figures, remark

    def _learned_again(self, best: Trial, model: Mapping[str, Any]) -> dict[str, Any]:
        key = f"confirmed {best.place} {model['epochs']}"
        if (known := self.study.note(key)) is None:
            trial = self.judge.run.trial(model)
            with trial.steps.step("learn the best again") as progress:
                tried = self.judge.try_settings(trial, progress, watched=False)
            assert isinstance(tried, Tried)
            known = _facts(tried)
            run_id = self.nested.begin(f"trial {best.place} again, epochs {model['epochs']}")
            self._log(replace(trial, run_id=run_id), "again", tried)
            self.study.note(key, known)
        return dict(known)

    def _try(self, place: int) -> Trial:
        begun = self.study.begin(self.searched.start)
        trial = self.judge.run.trial(
            self.searched.settings(begun.values), self.nested.begin(f"trial {place}")
        )
        try:
            with trial.steps.step(f"trial {place} of {self.asked.trials}") as progress:
                tried = self.judge.try_settings(trial, progress, hopeless=begun.hopeless)
        except Exception as error:  # a fault of another kind is settled too, lest the next call meet it again
            reason = str(error) or type(error).__name__
            tags = {"trial": "failed", "reason": reason[:500]}
            model = trial.settings.model_settings
            self.nested.end(trial.run_id, settings={"model": model}, tags=tags, status="FAILED")
            failed = begun.fail(reason, run_id=trial.run_id)
            if not isinstance(error, _OF_SETTINGS):
                raise
            return failed
        if isinstance(tried, Dropped):
            return self._prune(begun, trial, tried)
        self._log(trial, "done", tried)
        return begun.done(**_facts(tried), run_id=trial.run_id, start=begun.values == self.searched.start)

    def _prune(self, begun: Begun, trial: Run, dropped: Dropped) -> Trial:
        epochs, figure = dropped.looks[-1]
        self.nested.end(
            trial.run_id,
            settings={"model": trial.settings.model_settings},
            tags={"trial": "pruned"},
            metrics={"epochs": epochs, "seconds": dropped.seconds},
            curves={"looks": [{self.judge.label: one} for _, one in dropped.looks]},
            status="KILLED",
        )
        return begun.prune(run_id=trial.run_id, epochs=epochs, look=figure, seconds=dropped.seconds)

    def _log(self, trial: Run, state: str, tried: Tried) -> None:
        metric, interval = self.judge.label, tried.interval
        figures = {metric: interval.mean, f"{metric}_low": interval.low, f"{metric}_high": interval.high}
        if tried.epochs is not None:
            figures["epochs"] = tried.epochs
        self.nested.end(
            trial.run_id,
            settings={"model": trial.settings.model, "metrics": (metric,)},
            tags={"trial": state},
            metrics=figures | {"seconds": tried.seconds},
            curves={**tried.curves, "looks": [{metric: figure} for _, figure in tried.looks]},
            values=(metric, tried.values),
        )

    def _line(self, trial: Trial) -> str:
        values = ", ".join(f"{field} = {short(value)}" for field, value in trial.values.items())
        if trial.state == "failed":
            return f"trial {trial.place}: failed, {values}: {trial.facts['reason']}"
        if trial.state == "pruned":
            return f"trial {trial.place}: pruned after {trial.facts['epochs']} epochs, {values}"
        return f"trial {trial.place}: {band(trial.facts)}, best {self.best().mean:.4f}; {values}"


def name_of(run: Run, metric: str, key: Mapping[str, Any]) -> str:
    """The name of a search, for its study and its files: what one reads, and a digest of all it depends
    on."""
    digest = sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    return (
        re.sub(r"[^A-Za-z0-9._-]+", "-", f"{run.data.name[:60]}-{run.settings.model_name}-{metric}")
        + f"-{digest[:8]}"
    )


def _key(run: Run, searched: Searched, metric: str) -> dict[str, Any]:
    """What the figures of a search depend on, apart from the ranges, which may be widened later."""
    kinds: dict[str, Any] = {
        field: list(one.values) if isinstance(one, Choices) else ("log" if one.log else "linear")
        for field, one in searched.space.items()
    }
    fixed = {field: value for field, value in searched.fixed.items() if field not in searched.space}
    stated = run.settings.model_dump(mode="json", include=_STATED)
    return {
        **stated,
        "model": {"name": searched.name, **fixed},
        "searched": kinds,
        "metric": metric,
        "holdout": holdout_digest(run.holdout, run.data.digest),
        "version": __version__,
    }


def _facts(tried: Tried) -> dict[str, Any]:
    return {**tried.interval._asdict(), "epochs": tried.epochs, "seconds": round(tried.seconds, 2)}
