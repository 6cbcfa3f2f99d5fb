"""Lists with some chance in them, and how probable each pick was given what stands above it.

Only what might have been shown can be judged later (`recsys.analysis.off_policy`). Candidates are stated:
items outside them have propensity 0. All chance is of the request and a purpose, so a replay draws the same
list.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import permutations
from math import exp, fsum, inf, log, log1p
from typing import NamedTuple, Protocol

from recsys.experiments.hashing import uniforms

EPSILON, PLACKETT_LUCE = "epsilon", "plackett_luce"  # purposes of the chance
_LEAST = 2.0**-54  # stands for a 0 among numbers that are multiples of 2 ** -53


class Explored(NamedTuple):
    """A list, and for each item the probability of it, given those above."""

    items: list[str]
    propensity: list[float]


class Policy(Protocol):
    """How a list comes about, one item after the other."""

    def __call__(self, above: Sequence[str]) -> dict[str, float]:
        """The probability of each item to stand below these; empty where none is left."""

    def draw(self, k: int, chance: Iterator[float]) -> Explored:
        """At most k items by numbers from [0, 1): a list comes as often as the probabilities of its items
        say."""


class _EpsilonBelow(NamedTuple):
    candidates: Sequence[str]
    epsilon: float
    position: int

    def __call__(self, above: Sequence[str]) -> dict[str, float]:
        taken = set(above)
        if not (left := [item for item in self.candidates if item not in taken]):
            return {}
        first, other = self._shares(len(above), len(left))
        return {**(dict.fromkeys(left, other) if other else {}), left[0]: first}

    def draw(self, k: int, chance: Iterator[float]) -> Explored:
        left, explored = list(self.candidates), Explored([], [])
        while left and len(explored.items) < k:
            first, other = self._shares(len(explored.items), len(left))
            beyond = next(chance) - first
            at = 0 if beyond < 0 or not other else min(1 + int(beyond / other), len(left) - 1)
            explored.items.append(left.pop(at))
            explored.propensity.append(other if at else first)
        return explored

    def _shares(self, above: int, left: int) -> tuple[float, float]:
        """The probability of the best that is left, and of each other one."""
        share = self.epsilon if above + 1 >= self.position else 0.0
        return share / left + 1 - share, share / left


class _PlackettLuce(NamedTuple):
    logits: dict[str, float]

    def __call__(self, above: Sequence[str]) -> dict[str, float]:
        taken = set(above)
        left = {item: logit for item, logit in self.logits.items() if item not in taken}
        best = max(left.values(), default=0.0)  # of those left: none is too bad for a float where all are bad
        odds = {item: exp(logit - best) for item, logit in left.items()}
        total = fsum(odds.values())
        return {item: one / total for item, one in odds.items()}

    def draw(self, k: int, chance: Iterator[float]) -> Explored:
        """By a race in place of k lotteries: who arrives first at a rate of exp(logit) comes first, and so
        on."""
        arrival = {item: log(-log(next(chance) or _LEAST)) - logit for item, logit in self.logits.items()}
        order = sorted(arrival, key=arrival.__getitem__)
        # total: the logarithm of the odds of this item and those below
        propensity, total = [1.0] * len(order), -inf
        for at in range(len(order) - 1, -1, -1):
            logit = self.logits[order[at]]
            high, low = (total, logit) if total > logit else (logit, total)
            total = high + log1p(exp(low - high))
            propensity[at] = exp(logit - total)
        return Explored(order[:k], propensity[:k])


def epsilon_below(candidates: Sequence[str], epsilon: float, position: int) -> Policy:
    """From `position` on (1 = top), with probability epsilon any candidate that is left, else the best that
    is left.

    candidates: best first, each once.
    """
    return _EpsilonBelow(candidates, epsilon, position)


def plackett_luce(candidates: Sequence[str], scores: Sequence[float], temperature: float) -> Policy:
    """Each next item is drawn from those left with odds exp(score / temperature).

    Source: Plackett, "The Analysis of Permutations", Applied Statistics 1975.
    """
    best = max(scores, default=0.0)
    return _PlackettLuce(
        {one: (score - best) / temperature for one, score in zip(candidates, scores, strict=True)}
    )


def draw_list(policy: Policy, k: int, request_id: str, purpose: str) -> Explored:
    """At most k items by the chance of a request, the same whenever it is asked again."""
    return policy.draw(k, uniforms(request_id, purpose))


def propensities(policy: Policy, items: Sequence[str]) -> list[float]:
    """How probable each item of a list is under a policy, given those above it; 0 for what it never shows."""
    return [policy(items[:at]).get(item, 0.0) for at, item in enumerate(items)]


def lists_of(policy: Policy, k: int, candidates: Sequence[str]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every list of k candidates with its probability: for few candidates, since there are n! / (n - k)! of
    them."""
    for items in permutations(candidates, k):
        probability = 1.0
        for each in propensities(policy, items):
            probability *= each
        if probability:
            yield items, probability


def digest_of(candidates: Sequence[str]) -> str:
    """Changes with the candidates and their order: stands beside the propensities, which are about these
    alone."""
    return sha256("\0".join(candidates).encode()).hexdigest()[:16]
