"""Interleaving against an A/B test of the same people: who is wrong how often, and who sees more.

Two worlds, fixed here: in `even` everybody comes twice and clicks alike; in `heavy` a few come often and
click much. Lists of ten out of sixty items; B's scores are less noisy than A's, or, where nothing differs, as
noisy.

    python -m benchmarks.ab_lists [--quick]
"""

import sys
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.results import report
from recsys.analysis.interleaving import preference
from recsys.arrays import F64, I64
from recsys.experiments.draft import merge_by_draft

K, ITEMS, PEOPLE, GAIN = 10, 60, 150, 0.35
SEEN = 1 / np.log2(np.arange(2, K + 2))  # how probably a place is looked at
_REQUESTS = count()


class Test(NamedTuple):
    """People of one test (n,): visits, and how probably they click each item (n, items); both lists (n,
    k)."""

    visits: I64
    chance: F64
    one: I64
    other: I64


def people(rng: np.random.Generator, heavy: bool, gain: float) -> Test:
    taste = rng.beta(0.6, 8, (PEOPLE, ITEMS))
    visits = np.full(PEOPLE, 2)
    activity = np.ones(PEOPLE)
    if heavy:
        visits = np.clip(rng.lognormal(0.3, 1.0, PEOPLE).astype(np.int64), 1, 12)
        activity = np.clip(rng.lognormal(-0.2, 0.6, PEOPLE), 0.05, 3)
    one = np.argsort(-(taste + rng.normal(0, 0.08, taste.shape)), axis=1)[:, :K]
    other = np.argsort(-(taste + rng.normal(0, 0.08 * (1 - gain), taste.shape)), axis=1)[:, :K]
    return Test(visits, np.clip(taste * activity[:, None], 0, 0.9), one, other)


def interleaving_scores(rng: np.random.Generator, test: Test) -> F64:
    """Each person's clicks on B's items less those on A's."""
    score = np.zeros(PEOPLE)
    for person, (visits, one, other) in enumerate(
        zip(test.visits.tolist(), test.one.tolist(), test.other.tolist(), strict=True)
    ):
        for _ in range(visits):
            merged: Any = merge_by_draft({"a": one, "b": other}, K, f"r{next(_REQUESTS)}")
            team = np.array([0 if of is None else 1 if of == "b" else -1 for of in merged.team])
            clicks = rng.random(K) < test.chance[person, merged.items] * SEEN
            score[person] += (clicks * team).sum()
    return score


def ab_test(rng: np.random.Generator, test: Test) -> float:
    """The p-value of clicks a person, half of whom see each list."""
    treated = rng.random(PEOPLE) < 0.5
    shown = np.where(treated[:, None], test.other, test.one)
    chance = np.take_along_axis(test.chance, shown, axis=1) * SEEN
    clicks = rng.binomial(test.visits[:, None], chance).sum(axis=1)
    return float(stats.ttest_ind(clicks[treated], clicks[~treated], equal_var=False).pvalue)


def _tests(heavy: bool, gain: float, quick: bool) -> int:
    if quick:
        return 100
    return 1_000 if gain else 2_000 if heavy else 10_000


def main() -> None:
    quick = "--quick" in sys.argv
    rows: list[dict[str, Any]] = []
    for heavy in (False, True):
        for gain in (0.0, GAIN):
            tests = _tests(heavy, gain, quick)
            rng = np.random.default_rng([int(heavy), int(gain * 100)])
            means, shown, shown_ab = [], [], []
            for _ in range(tests):
                test = people(rng, heavy, gain)
                difference, _, z, p = preference(interleaving_scores(rng, test))
                means.append(difference.mean)
                shown.append(p < 0.05 and (gain == 0 or z > 0))
                shown_ab.append(ab_test(rng, test) < 0.05)
            rows.append(
                {
                    "world": "heavy" if heavy else "even",
                    "B is better": "yes" if gain else "no",
                    "tests": tests,
                    "interleaving shows it, %": round(100 * float(np.mean(shown)), 2),
                    "A/B shows it, %": round(100 * float(np.mean(shown_ab)), 2),
                    "mean preference": round(float(np.mean(means)), 5),
                    "its standard error": round(float(np.std(means, ddof=1) / np.sqrt(tests)), 5),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    report(
        "ab_lists",
        rows,
        title=f"Interleaving against A/B, {PEOPLE} people, at the 5 % level",
        note=(
            "Where B is not better, what is shown is wrong, and the mean preference is to be 0 within its "
            "error."
        ),
        quick=quick,
    )


if __name__ == "__main__":
    main()
