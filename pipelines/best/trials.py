"""Learning and judging one model of a search: once, on everybody or on a share of the people, kept in the
ledger."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.linalg import LinAlgError

from recsys.arrays import F64
from recsys.errors import DataError, ModelError, SettingError
from recsys.pipelines.best.ledger import Ledger, Tried, key_of
from recsys.pipelines.run.run import Run
from recsys.pipelines.search.trial import Dropped, Judge
from recsys.retrieval.embeddings import Embeddings
from recsys.seeding import generator

_OF_SETTINGS = (ModelError, SettingError, DataError, MemoryError, ArithmeticError, LinAlgError)
_FEWEST = 3  # epochs below which learning says nothing
_ASKED = 200  # people of a sample who must be asked about, else a larger one is drawn


class Trials:
    """Tries models on the validation part of a run. ledger: where what was found is kept; part: what the part
    is called there, where it is not the first."""

    def __init__(self, run: Run, metric: str, ledger: Ledger, part: str = "") -> None:
        self.run, self.metric, self.ledger, self.part = run, metric, ledger, part
        self._samples: dict[float, Judge] = {}

    @cached_property
    def judge(self) -> Judge:
        return Judge(self.run, self.metric)

    def find_earlier(self, model: Mapping[str, Any], share: float = 1.0) -> Tried | None:
        """The result of an earlier call for the same model; None without one."""
        return self.ledger.tried.get(key_of(model, share, self.part))

    def try_model(
        self,
        label: str,
        model: Mapping[str, Any],
        stage: str,
        share: float = 1.0,
        within_s: float | None = None,
        changed: str = "",
        shorten: bool = False,
    ) -> Tried:
        """Learns and judges a model, unless it was: then it is what was found. A model that cannot learn is a
        finding, too, with its reason. within_s: seconds that learning may take; a model that would take
        longer is given up after an epoch, with that reason, which is not kept. shorten: whether it then
        learns in as many epochs as it may take, and so as another model."""
        if (known := self.find_earlier(model, share)) is not None:
            return known
        key, judge = key_of(model, share, self.part), self.judge if share == 1.0 else self._sample(share)
        settings = judge.run.settings.model_copy(update={"model": dict(model)})
        trial, started = replace(judge.run, settings=settings), time.monotonic()
        blank = Tried(key, label, model, share, stage, float("nan"), float("nan"), 0.0, 0.0, False)
        blank = replace(blank, part=self.part, changed=changed)
        try:
            with self.run.steps.step(
                label if share == 1.0 else f"{label}, {share:.0%} of the people"
            ) as progress:
                outcome = judge.try_settings(trial, progress, watched=False, within_s=within_s)
        except _OF_SETTINGS as error:
            reason = str(error) or type(error).__name__
            took = time.monotonic() - started
            return self.ledger.add(replace(blank, seconds=took, at=self.ledger.spent, reason=reason))
        if isinstance(outcome, Dropped):
            if shorten and outcome.fitting >= _FEWEST:
                shorter = dict(model) | {"epochs": outcome.fitting}
                shorter_label = f"{base_label(label)}, with epochs {outcome.fitting}"
                return self.try_model(shorter_label, shorter, stage, share)
            return replace(blank, seconds=outcome.seconds, reason=f"would take {outcome.expected_s:,.0f} s")
        values = outcome.values[~np.isnan(outcome.values)]
        mean = float(values.mean()) if len(values) else 0.0
        vectors = isinstance(outcome.learned, Embeddings)
        done = replace(
            blank,
            mean=mean,
            error=_error(values),
            seconds=time.monotonic() - started,
            at=self.ledger.spent,
            vectors=vectors,
            judging_s=outcome.judging_s,
        )
        return self._keep(done, outcome.values, outcome.learned if share == 1.0 and vectors else None)

    def _keep(self, one: Tried, values: F64, learned: Any = None) -> Tried:
        self.ledger.add(one, values, learned)
        if one.share == 1.0:
            top = f"best {self.best()[0].mean:.4f}, {max(self.ledger.left, 0):,.0f} s left"
            self.run.steps.say(f"{one.mean:.4f} {one.label} ({top})")
        return one

    def best(self) -> list[Tried]:
        """What everybody of this part learned from, the best first."""
        return self.ledger.whole(self.part)

    def spaces(self) -> list[Tried]:
        """Of these, those that were learned into vectors of their own: no mixtures, and not what is
        popular."""
        return [
            one
            for one in self.best()
            if one.vectors and one.family not in ("popularity", "mixture", "narrowed")
        ]

    def judge_mixture(self, label: str, model: Mapping[str, Any], learned: Embeddings, stage: str) -> Tried:
        """Judges a concatenation of spaces that were learned before."""
        if (known := self.find_earlier(model)) is not None:
            return known
        started = time.monotonic()
        values = self.judge.values(learned)
        there = values[~np.isnan(values)]
        took, at = time.monotonic() - started, self.ledger.spent
        key = key_of(model, 1.0, self.part)
        mean, unsure = float(there.mean()), _error(there)
        one = Tried(key, label, model, 1.0, stage, mean, unsure, took, at, True, part=self.part)
        return self._keep(replace(one, judging_s=took), values)

    def _sample(self, share: float) -> Judge:
        """The judge of about this share of the people: the same ones learn, and are asked."""
        if share not in self._samples:
            run, holdout = self.run, self.run.holdout
            drawn = generator(run.settings.seed, "sampled people").random(holdout.train.n_users)
            asked = np.sort(drawn[holdout.user])
            enough = float(asked[min(_ASKED, len(asked)) - 1])  # all who are asked about, where there are few
            people = drawn < max(share, np.nextafter(enough, 2.0))
            train = holdout.train
            whole = None if train.whole is None else train.whole.where(people[train.whole.user])
            part = train.having(train.interactions.where(people[train.interactions.user]), whole)
            question = replace(holdout.take(np.flatnonzero(people[holdout.user])), train=part)
            self._samples[share] = Judge(replace(run, holdout=question), self.metric)
        return self._samples[share]


def base_label(label: str) -> str:
    """The label of the model of the portfolio from which this one comes."""
    return label.partition(", with ")[0]


def _error(values: Any) -> float:
    """The standard error of a mean over people (n,)."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
