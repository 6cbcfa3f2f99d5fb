"""Assignment: a million people under a hundred salts, and how many a second.

python -m benchmarks.ab_assignment [--quick]
"""

import sys
import time
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.results import report
from recsys.evaluation.significance import holm
from recsys.experiments.assignment import Assigner
from recsys.experiments.definition import Experiments, Holdout
from recsys.experiments.folder import experiment_of
from recsys.experiments.hashing import place

SALTS, BINS = 100, 100
NOW = 1_800_000_000


def uniform(people: int) -> list[dict[str, Any]]:
    """Chi-square over a hundred bins for each salt, and over the four cells of each pair of salts, Holm at
    .05."""
    units = [str(unit) for unit in range(people)]
    halves = np.zeros((SALTS, people), np.float32)
    alone: dict[tuple[int, ...], float] = {}
    pairs: dict[tuple[int, ...], float] = {}
    for salt in range(SALTS):
        name = f"experiment-{salt}"
        places = np.fromiter((place(name, unit) for unit in units), np.float64, people)
        alone[salt,] = float(stats.chisquare(np.bincount((places * BINS).astype(int), minlength=BINS)).pvalue)
        halves[salt] = places < 0.5
    both = (halves @ halves.T).astype(np.float64)
    sums = halves.sum(axis=1, dtype=np.float64)
    for one, other in combinations(range(SALTS), 2):
        yes = both[one, other]
        table = np.array(
            [[yes, sums[one] - yes], [sums[other] - yes, people - sums[one] - sums[other] + yes]]
        )
        pairs[one, other] = float(stats.chi2_contingency(table, correction=False).pvalue)
    rows = []
    for what, p in (("salts uniform", alone), ("pairs of salts independent", pairs)):
        adjusted = holm(p)
        rows.append(
            {
                "what": f"{what}, {people:,} people",
                "number": len(p),
                "least p": round(min(p.values()), 6),
                "least p, Holm": round(min(adjusted.values()), 4),
                "refused at .05": sum(one < 0.05 for one in adjusted.values()),
            }
        )
    return rows


def ramp(people: int) -> dict[str, Any]:
    """Who changes arm, or leaves, while 1, 5, 20, 50 and 100 % are let in."""
    steps = [{"at": NOW + at, "share": share} for at, share in enumerate((0.01, 0.05, 0.2, 0.5, 1.0))]
    phase = {"salt": "ramp", "starts": NOW, "weights": {"control": 0.5, "wide": 0.5}, "ramp": steps}
    one = Assigner(
        Experiments({"e": experiment_of({"control": "control", "phases": [phase]}, "e", where="here")})
    )
    before: list[str | None] = [None] * people
    moved = 0
    for at in range(5):
        after = [one.assign(str(unit), {}, NOW + at)[0].arm for unit in range(people)]
        moved += sum(old is not None and old != new for old, new in zip(before, after, strict=True))
        before = after
    return {"what": f"people moved by a ramp 1-5-20-50-100 %, {people:,} people", "number": moved}


def rate(calls: int) -> dict[str, Any]:
    """Three experiments, two of a namespace, two with conditions, and a holdout."""
    weights = {"control": 0.5, "wide": 0.5}
    base = {"starts": NOW, "weights": weights}
    where = {"country": ["de", "at"], "app": {"at_least": 3}}
    experiments: dict[str, dict[str, Any]] = {
        "a": {"namespace": "home", "phases": [{**base, "salt": "a", "slots": [0.0, 0.5], "where": where}]},
        "b": {"namespace": "home", "phases": [{**base, "salt": "b", "slots": [0.5, 1.0]}]},
        "c": {"phases": [{**base, "salt": "c", "where": {"country": "de"}}]},
    }
    built = {
        name: experiment_of({"control": "control", **one}, name, where="here")
        for name, one in experiments.items()
    }
    holdout = Holdout(name="year", salt="year", share=0.05, starts=NOW - 1)
    assigner, attributes = Assigner(Experiments(built, (holdout,))), {"country": "de", "app": 4}
    units = [str(unit) for unit in range(calls)]
    best = 0.0
    for _ in range(3):
        began = time.process_time()
        for unit in units:
            assigner.assign(unit, attributes, NOW)
        best = max(best, calls / (time.process_time() - began))
    return {
        "what": "calls of assign() a second of one processor, three experiments each",
        "number": round(best),
    }


def main() -> None:
    quick = "--quick" in sys.argv
    people = 20_000 if quick else 1_000_000
    rows = [*uniform(people), ramp(people // 10), rate(people // 10)]
    report("ab_assignment", rows, title="Assignment by SHA-256", quick=quick)


if __name__ == "__main__":
    main()
