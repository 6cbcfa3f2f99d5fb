"""How many people an effect needs, and which effect so many people show: two-sided Welch tests of two
arms."""

from math import ceil

import numpy as np
from scipy import optimize, stats

MOST = 1e12  # people: beyond it an effect is nothing


def power_of(
    effect: float, variance: float, people: float, *, share: float = 0.5, alpha: float = 0.05
) -> float:
    """The chance that an effect is shown by `people` in both arms, of whom `share` are treated.

    variance: of one person's value (of the linearised value for ratios), the same in both arms.
    """
    treated, control = share * people, (1 - share) * people
    one, other = variance / treated, variance / control
    df = (one + other) ** 2 / (one**2 / (treated - 1) + other**2 / (control - 1))
    moved = abs(effect) / np.sqrt(one + other)
    bound = stats.t.isf(alpha / 2, df)
    exact = (
        stats.nct.sf(bound, df, moved) + stats.nct.cdf(-bound, df, moved)
        if df < 1e5 and moved < 10
        else np.nan
    )
    if np.isfinite(exact):
        return float(exact)
    return float(
        stats.norm.sf(bound - moved) + stats.norm.cdf(-bound - moved)
    )  # few degrees of freedom lose nct


def people_for(
    effect: float, variance: float, *, power: float = 0.8, share: float = 0.5, alpha: float = 0.05
) -> float:
    """People in both arms whom an effect needs, not rounded; infinity where there is no effect to be
    shown."""
    if effect == 0 or not np.isfinite(effect):
        return float("inf")
    if variance == 0:
        return 0.0

    def missing(people: float) -> float:
        return power - power_of(effect, variance, people, share=share, alpha=alpha)

    low, high = 3.0 / min(share, 1 - share), 10.0 / min(share, 1 - share)
    if missing(low) < 0:
        return low
    while missing(high) > 0:
        low, high = high, 2 * high
        if high > MOST:
            return float("inf")
    return float(optimize.brentq(missing, low, high, xtol=1e-9 * high))


def detectable(
    variance: float, people: float, *, power: float = 0.8, share: float = 0.5, alpha: float = 0.05
) -> float:
    """The smallest effect that so many people in both arms show with this power."""
    error = np.sqrt(variance / people / share / (1 - share))

    def missing(effect: float) -> float:
        return power - power_of(effect, variance, people, share=share, alpha=alpha)

    return float(optimize.brentq(missing, 0.0, 20 * error)) if error else 0.0


def days_for(people: float, new_by_day: np.ndarray) -> int | None:
    """Days until so many different people have come, of a log that counts those new on each day; None where
    it ends before: people who return are not new, so that days beyond the log cannot be had by
    multiplying."""
    reached = np.cumsum(new_by_day)
    return int(np.searchsorted(reached, people) + 1) if len(reached) and reached[-1] >= people else None


def whole_weeks(days: int) -> int:
    """Days up to whole weeks, so that each weekday counts alike."""
    return 7 * ceil(days / 7)
