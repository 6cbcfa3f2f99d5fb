"""Whether a few people, far from all others, carry an arm: bots, testers, a shop's own staff."""

import numpy as np

from recsys.analysis.health.check import ALARM, OK, Check, sick_if
from recsys.analysis.study import Study
from recsys.arrays import F64

TOP = 3  # so many people at most are called few
TAIL = 40  # people after them say how figures fall off
APART = 1.5  # times the next one's figure, at least
SWAY = 0.3  # of the standard error of an arm's mean, that they add


def check_carried(study: Study) -> Check:
    """The gaps between the largest figures, on a log scale, are exponential with means as 1, 1/2, 1/3 ... of
    one number where the tail is a power law, and smaller where it falls off faster (Renyi 1953). One far too
    wide for the people below it sets those above apart; that is told where they sway the mean of their
    arm."""
    name = "no few people carry an arm"
    tried, unlike = 0, list[tuple[float, str]]()
    for metric in study.plan.metrics_of("primary"):
        figures = study.figures[metric.name]
        for code, arm in enumerate(study.plan.arms):
            values = figures.columns[study.arm == code, figures.target.over]
            if len(values) < 10 * TAIL:
                continue
            tried += 1
            p, few, sway = apart_at_the_top(values)
            if sway > SWAY:
                top = np.sort(values)[::-1][: few + 1]
                said = (
                    f"{metric.name} of {arm}: {few} {'person has' if few == 1 else 'people have'} "
                    f"{top[few - 1]:,.4g}"
                )
                unlike.append((p, f"{said} or more, the next one {top[few]:,.4g}"))
    if not unlike:
        return Check(name, OK, "nobody stands apart" if tried else "too few people")
    p, said = min(unlike)
    return Check(name, sick_if(p * tried * TOP < ALARM), f"{said}; p = {p:.2g}")


def apart_at_the_top(values: F64) -> tuple[float, int, float]:
    """(p-value, how many stand apart, by how many standard errors they move the mean) of the widest gap among
    the largest figures (n,); 1 where none is wide enough to look at.

    With figures in falling order, j (log x_j - log x_j+1) are exponential with one mean for all ranks j of a
    power law; that mean is read from the ranks below those that are looked at, so that a bot does not hide
    itself. Counts have ties, whose gaps are zero: the mean is then that of the steps between them, and stays
    right.
    """
    ordered = np.sort(values)[::-1]
    best = (1.0, 0, 0.0)
    for few in range(1, TOP + 1):
        rest = np.log(np.maximum(ordered[few : few + TAIL], 0) + 1)
        steps = -np.diff(rest) * np.arange(few + 1, few + len(rest))
        mean = float(steps.mean())
        high, low = ordered[few - 1] + 1, ordered[few] + 1
        if mean <= 0 or high < APART * low:
            continue
        p = float(np.exp(-few * np.log(high / low) / mean))
        spread = float(ordered[few:].std(ddof=1))
        sway = (
            float((ordered[:few] - ordered[few:].mean()).sum() / (spread * np.sqrt(len(values))))
            if spread
            else 0.0
        )
        best = min(best, (p, few, sway))
    return best
