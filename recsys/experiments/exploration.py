"""Lists with some chance in them, and how probable each pick was given what stands above it.

Only what might have been shown can be judged later (`recsys.analysis.off_policy`). Candidates are stated: items outside
them have propensity 0. All chance is of the request and a purpose, so a replay draws the same list.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate, permutations
from math import exp, fsum
from typing import NamedTuple

from recsys.experiments.hashing import uniforms

EPSILON, PLACKETT_LUCE = "epsilon", "plackett_luce"  # purposes of the chance
Policy = Callable[[Sequence[str]], dict[str, float]]


class Explored(NamedTuple):
    """A list, and for each item the probability of it, given those above."""

    items: list[str]
    propensity: list[float]


def epsilon_below(candidates: Sequence[str], epsilon: float, position: int) -> Policy:
    """From `position` on (1 = top), with probability epsilon any candidate that is left, else the best that is left.

    candidates: best first, each once.
    """

    def next_item(above: Sequence[str]) -> dict[str, float]:
        taken = set(above)
        if not (left := [item for item in candidates if item not in taken]):
            return {}
        share = epsilon if len(above) + 1 >= position else 0.0
        chances = dict.fromkeys(left, share / len(left)) if share else {}
        return {**chances, left[0]: chances.get(left[0], 0.0) + 1 - share} if left else {}

    return next_item


def plackett_luce(candidates: Sequence[str], scores: Sequence[float], temperature: float) -> Policy:
    """Each next item is drawn from those left with odds exp(score / temperature).

    Source: Plackett, "The Analysis of Permutations", Applied Statistics 1975.
    """
    best = max(scores, default=0.0)
    odds = {item: exp((score - best) / temperature) for item, score in zip(candidates, scores, strict=True)}

    def next_item(above: Sequence[str]) -> dict[str, float]:
        taken = set(above)
        left = {item: weight for item, weight in odds.items() if item not in taken}
        total = fsum(left.values())
        if total == 0:  # what is left is too bad for a float, so it goes in order
            return {next(iter(left)): 1.0} if left else {}
        return {item: weight / total for item, weight in left.items()}

    return next_item


def draw_list(policy: Policy, k: int, request_id: str, purpose: str) -> Explored:
    """At most k items drawn one after the other by the chance of a request."""
    chance = uniforms(request_id, purpose)
    items: list[str] = []
    propensity: list[float] = []
    while len(items) < k and (chances := policy(items)):
        at = bisect_right(list(accumulate(chances.values())), next(chance))
        item = list(chances)[min(at, len(chances) - 1)]  # floats may add up to a little less than 1
        items.append(item)
        propensity.append(chances[item])
    return Explored(items, propensity)


def propensities(policy: Policy, items: Sequence[str]) -> list[float]:
    """How probable each item of a list is under a policy, given those above it; 0 for what it never shows."""
    return [policy(items[:at]).get(item, 0.0) for at, item in enumerate(items)]


def lists_of(policy: Policy, k: int, candidates: Sequence[str]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every list of k candidates with its probability: for few candidates, since there are n! / (n - k)! of them."""
    for items in permutations(candidates, k):
        probability = 1.0
        for each in propensities(policy, items):
            probability *= each
        if probability:
            yield items, probability


def digest_of(candidates: Sequence[str]) -> str:
    """Changes with the candidates and their order: stands beside the propensities, which are about these alone."""
    return sha256("\0".join(candidates).encode()).hexdigest()[:16]
