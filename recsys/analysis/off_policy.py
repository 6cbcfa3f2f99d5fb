"""What another policy would have earned, from the log of one whose chances are known.

A log holds one row for each item that was shown: the reward, how probable the item was under the policy that
showed it, and under the one that is asked about, both given what stood above it. Every estimator here is
unbiased where its assumption holds; none says anything about what the log could never show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from recsys.analysis.effects.moments import moments_of
from recsys.analysis.effects.pair import Quantity
from recsys.arrays import F64, I64, Array
from recsys.errors import DataError
from recsys.evaluation.significance import Interval

LEAST_EFFECTIVE = 100.0  # requests: with fewer effective ones nothing is said
WRONG = 0.001  # the control variate's p-value below which propensities are taken for wrong
ASSUMES = {
    "ips": "of lists: nothing",
    "snips": "as ips; weights are divided by their mean, which costs a little bias and saves much variance",
    "dr": "as ips; a model of the reward takes away variance, however wrong it is",
    "cascade": "what is clicked depends on the items above and not on those below",
    "independent": "what is clicked depends on the item and its place alone",
    "pseudo-inverse": "the reward of a list is the sum of what each item at its place adds",
}


class ListLog(NamedTuple):
    """Lists of one length k of n requests. person: (n,) numbers; all others (n, k).

    logged, target: the chance of each item given those above it; slot_logged, slot_target: at its place,
    whatever stands above (None = not known). predicted: what a model expects of the item that was shown, and
    predicted_target: of the target policy at that place, given those above.
    """

    person: I64
    reward: F64
    logged: F64
    target: F64
    slot_logged: F64 | None = None
    slot_target: F64 | None = None
    predicted: F64 | None = None
    predicted_target: F64 | None = None


@dataclass(frozen=True)
class Value:
    """What a policy earns a request by one estimator. effective: requests that the weights leave of all;
    largest: the largest weight over their sum; control: the mean weight, 1 where propensities are right, with
    its p-value."""

    estimator: str
    value: Interval
    effective: float
    largest: float
    control: float
    control_p: float

    @property
    def refused(self) -> str:
        """Why nothing may be said; empty where something may."""
        if self.control_p < WRONG:
            return (
                f"the weights have mean {self.control:.3f} and not 1 (p = {self.control_p:.1g}): "
                f"propensities are wrong, or the policy asked about shows what this log could not"
            )
        if self.effective < LEAST_EFFECTIVE:
            return (
                f"{self.effective:.0f} effective requests are left of all, and {LEAST_EFFECTIVE:.0f} are "
                "needed"
            )
        return ""


def evaluate_policy(log: ListLog) -> list[Value]:
    """The value of the target policy by every estimator that the log allows; intervals are over people.

    Raises DataError where a propensity is no chance, or nothing was left to chance though the policies
    differ.

    Sources: Horvitz and Thompson 1952; Swaminathan and Joachims, "The Self-Normalized Estimator for
    Counterfactual Learning", NeurIPS 2015; Dudik, Langford and Li, "Doubly Robust Policy Evaluation and
    Learning", ICML 2011; Li et al., "Offline Evaluation of Ranking Policies with Click Models", KDD 2018;
    McInerney et al., KDD 2020; Swaminathan et al., "Off-Policy Evaluation for Slate Recommendation", NeurIPS
    2017.
    """
    _refuse(log)
    steps = log.target / log.logged
    whole = steps.prod(axis=1)
    reward = log.reward.sum(axis=1)
    cascade = steps.cumprod(axis=1)
    estimates = [
        _value("ips", log.person, whole * reward, whole),
        _self_normalise(log.person, whole * reward, whole),
    ]
    if log.predicted is not None and log.predicted_target is not None:
        before = np.concatenate([np.ones((len(steps), 1)), cascade[:, :-1]], axis=1)
        robust = before * log.predicted_target + cascade * (log.reward - log.predicted)
        estimates.append(_value("dr", log.person, robust.sum(axis=1), whole))
    if log.reward.shape[1] > 1:
        estimates.append(
            _value("cascade", log.person, (cascade * log.reward).sum(axis=1), cascade.mean(axis=1))
        )
        if log.slot_logged is not None and log.slot_target is not None:
            slots = log.slot_target / log.slot_logged
            estimates.append(
                _value("independent", log.person, (slots * log.reward).sum(axis=1), slots.mean(axis=1))
            )
    return estimates


def pseudo_inverse(
    lists: Sequence[tuple[str, ...]],
    logging: Mapping[tuple[str, ...], float],
    target: Mapping[tuple[str, ...], float],
) -> F64:
    """The weight of each logged list (n,): times its reward, the mean is the target's value. logging, target:
    list -> probability, as `lists_of` gives them; for few candidates."""
    places = sorted({(at, item) for items in (*logging, *target) for at, item in enumerate(items)})
    column = {place: at for at, place in enumerate(places)}

    def indicators(several: Sequence[tuple[str, ...]]) -> F64:
        shown = np.zeros((len(several), len(places)))
        for row, items in enumerate(several):
            shown[row, [column[at, item] for at, item in enumerate(items)]] = 1.0
        return shown

    known = indicators(list(logging))
    spread = known.T @ (np.array(list(logging.values()))[:, None] * known)
    wanted = np.array(list(target.values())) @ indicators(list(target))
    weights = np.linalg.pinv(spread, hermitian=True) @ wanted
    if not np.allclose(spread @ weights, wanted, atol=1e-8):
        raise DataError(
            "the policy asked about shows items at places where the log could not. There is no support."
        )
    return np.asarray(indicators(lists) @ weights)


def value_of_weights(name: str, person: I64, weights: F64, reward: F64) -> Value:
    """The value from weights of whole lists (n,), as `pseudo_inverse` gives them."""
    return _value(name, person, weights * reward, weights)


def _value(name: str, person: I64, earned: F64, weights: F64) -> Value:
    """A mean over requests with its interval over people."""
    n, error, mean = _over_people(person, earned, np.ones(len(earned)))
    return _make_value(name, person, mean, error, n, weights)


def _self_normalise(person: I64, earned: F64, weights: F64) -> Value:
    n, error, mean = _over_people(person, earned, weights)
    return _make_value("snips", person, mean, error, n, weights)


def _make_value(name: str, person: I64, mean: float, error: float, n: int, weights: F64) -> Value:
    half = float(stats.t.isf(0.025, max(n - 1, 1))) * error
    total = float(weights.sum())
    effective = total**2 / float((weights**2).sum()) if total else 0.0
    people, spread, control = _over_people(person, weights, np.ones(len(weights)))
    if spread > 1e-12:
        p = float(2 * stats.t.sf(abs(control - 1) / spread, max(people - 1, 1)))
    else:
        p = 1.0 if abs(control - 1) < 1e-9 else 0.0
    largest = float(weights.max()) / total if total else 1.0
    return Value(name, Interval(mean, mean - half, mean + half), effective, largest, control, p)


def _over_people(person: I64, over: F64, under: F64) -> tuple[int, float, float]:
    """(people, standard error, sum of `over` by sum of `under`), by the delta method over people."""
    index = np.unique(person, return_inverse=True)[1]
    sums = np.stack([np.bincount(index, weights=values) for values in (over, under)], axis=1).astype(
        np.float64
    )
    moments = moments_of(sums)
    ratio = Quantity(0, 1)
    slope = ratio.gradient(moments)
    variance = max(float(slope @ moments.cov @ slope), 0.0)
    return len(sums), float(np.sqrt(variance / len(sums))), float(ratio.value(moments))


def _refuse(log: ListLog) -> None:
    for name in ("logged", "target", "slot_logged", "slot_target"):
        chances: Array | None = getattr(log, name)
        if chances is None:
            continue
        least = 0.0 if "target" in name else np.nextafter(0.0, 1.0)
        wrong = ~((chances >= least) & (chances <= 1 + 1e-9))
        if wrong.any():
            row = int(np.argmax(wrong.any(axis=1))) + 1
            raise DataError(
                f"{int(wrong.sum()):,} of {wrong.size:,} {name} propensities are no chances (first in "
                f"request {row}): what was shown had a chance above 0 and at most 1. Log it when the list "
                "is drawn."
            )
    if not np.isfinite(log.reward).all():
        raise DataError("a reward is missing or infinite; write 0 where nothing was earned.")
    if (log.logged == 1).all() and not (log.target == 1).all():
        raise DataError(
            "nothing in this log was left to chance (every propensity is 1), so it says nothing of another "
            "policy. Explore: `epsilon_below` or `plackett_luce`."
        )
