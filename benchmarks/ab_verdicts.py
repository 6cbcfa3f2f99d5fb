"""Whether verdicts on planted logs are right: 100 logs with an effect sized for power .99, and 100 without.

python -m benchmarks.ab_verdicts [--quick]
"""

import sys
import tomllib
from collections import Counter
from math import ceil
from typing import Any

from benchmarks.results import report
from recsys.analysis.effects.moments import moments_of
from recsys.analysis.effects.pair import spread_of
from recsys.analysis.effects.power import people_for
from recsys.analysis.health.check import SICK
from recsys.analysis.plan import Plan
from recsys.analysis.planted import PLAN, plant
from recsys.analysis.verdict import DO_NOT_SHIP, SHIP, Verdict, analyse

EFFECT, POWER = 0.1, 0.99


def plan_for(people: int) -> Plan:
    return Plan.build(
        tomllib.loads(PLAN.format(people=people, window=7, past=28, mde=EFFECT)), where="a benchmark"
    )


def verdict_on(seed: int, effect: float, people: int, heavy: bool) -> Verdict:
    log = plant(people, effect, seed=seed, heavy=heavy)
    return analyse(log.exposures, log.outcomes, plan_for(people))


def people_needed(heavy: bool) -> int:
    """People of both arms whom a fixed test of the primary metric, with CUPED, needs: by a log of another
    seed."""
    figures = verdict_on(999, 0.0, 20_000, heavy).study.figures["plays"]
    mean, variance = (
        float(one) for one in spread_of(moments_of(figures.columns), figures.target, figures.covariates)
    )
    return ceil(people_for(EFFECT * mean, variance, power=POWER))


def main() -> None:
    quick, heavy = "--quick" in sys.argv, "--heavy" in sys.argv
    logs = 10 if quick else 100
    rows: list[dict[str, Any]] = []
    people = people_needed(heavy)
    for effect, right in ((EFFECT, SHIP), (0.0, DO_NOT_SHIP)):
        verdicts = [verdict_on(seed, effect, people, heavy) for seed in range(logs)]
        sick = Counter(one.name for each in verdicts for one in each.checks if one.state == SICK)
        words = Counter(each.word for each in verdicts)
        rows.append(
            {
                "world": "heavy" if heavy else "even",
                "effect": f"{effect:+.0%}",
                "people": people,
                "logs": logs,
                "right": words[right],
                "ship": words[SHIP],
                "sick": sum(any(one.state == SICK for one in each.checks) for each in verdicts),
                "share in its interval": sum(
                    each.effects[0].share.low <= effect <= each.effects[0].share.high for each in verdicts
                ),
            }
        )
        print(rows[-1], dict(words), dict(sick), file=sys.stderr, flush=True)
    report(
        "ab_verdicts_heavy" if heavy else "ab_verdicts",
        rows,
        title="Verdicts on planted logs, read as tables: one primary metric, one guardrail, daily looks",
        note=(
            "Right is `ship` where there is an effect, and `do not ship` (no gain shown) where there is none."
        ),
        quick=quick,
    )


if __name__ == "__main__":
    main()
