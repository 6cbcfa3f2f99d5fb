"""How far a figure must be from nothing when it is looked at again and again.

Group-sequential bounds where the number of people is planned; an asymptotic confidence sequence that holds at
any time.
"""

from functools import lru_cache

import numpy as np
from scipy import optimize, special, stats

from recsys.arrays import F64

WIDEST = 8.0  # no bound is wider: the tail beyond it is 1e-15
_LEAST_STEP = 0.005  # of information between two looks: nearer ones are one look
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(120)
WATCH, END = 0.2, 0.8  # of alpha: what the hybrid gives the always-valid watch and the one test at the end


def spent(information: F64, alpha: float) -> F64:
    """The error allowed up to a share of the planned information: O'Brien-Fleming type, two-sided.

    Source: Lan and DeMets, "Discrete Sequential Boundaries for Clinical Trials", Biometrika 1983.
    """
    return 4 * special.ndtr(special.ndtri(alpha / 4) / np.sqrt(information))  # type: ignore[no-any-return]


def group_bounds(information: F64, alpha: float = 0.05) -> F64:
    """The bound of |z| at each look (looks,), for information that rises up to 1.

    A look that has gained less than half a percent of the planned information on the one before is none: its
    bound is infinite, and the last look is never such a one. Looks that were not taken cost a little power
    and no error.
    """
    return np.array(_bounds(tuple(np.round(information, 9).tolist()), alpha))


@lru_cache(maxsize=4096)
def _bounds(information: tuple[float, ...], alpha: float) -> tuple[float, ...]:
    taken = looks_taken(np.array(information))
    bounds = np.full(len(information), np.inf)
    grid, weight = np.zeros(0), np.zeros(0)
    last, done = 0.0, 0.0
    for at in np.flatnonzero(taken):
        now = information[at]
        need = float(spent(np.array(now), alpha)) - done
        root, step = np.sqrt(now), np.sqrt(now - last)
        if not len(grid):
            bound = min(WIDEST, -float(special.ndtri(max(need, 1e-300) / 2)))
        else:
            bound = _bound_of(need, root, step, grid, weight)
        new = bound * root * _NODES
        density = stats.norm.pdf(new / root) / root if not len(grid) else _advance(new, grid, weight, step)
        grid, weight = new, density * _WEIGHTS * bound * root
        bounds[at], last, done = bound, now, float(spent(np.array(now), alpha))
    return tuple(bounds.tolist())


def looks_taken(information: F64) -> F64:
    """Which looks count: those that have gained enough on the one before, and the last."""
    taken = np.zeros(len(information), bool)
    last = 0.0
    for at, now in enumerate(information):
        if now - last >= _LEAST_STEP:
            taken[at], last = True, now
    if len(information) and not taken[-1] and information[-1] > 0:
        before = np.flatnonzero(taken)
        taken[before[-1:]] = False  # the last look stands for the one just before it
        taken[-1] = True
    return taken


def _bound_of(need: float, root: float, step: float, grid: F64, weight: F64) -> float:
    def excess(bound: float) -> float:
        above = special.ndtr((grid - bound * root) / step) + special.ndtr((-bound * root - grid) / step)
        return float(weight @ above) - need

    return WIDEST if excess(WIDEST) > 0 else float(optimize.brentq(excess, 0.0, WIDEST, xtol=1e-10))


def _advance(new: F64, grid: F64, weight: F64, step: float) -> F64:
    """The density of those who have crossed no bound yet, one look later."""
    density: F64 = np.exp(-0.5 * ((new[:, None] - grid) / step) ** 2) @ weight
    density /= step * np.sqrt(2 * np.pi)
    return density


def group_power(drift: float, information: F64, alpha: float = 0.05) -> float:
    """The chance that bounds are crossed by a look, where z at the planned end has mean `drift`."""
    bounds = group_bounds(information, alpha)
    grid, weight, last, missed = np.zeros(1), np.ones(1), 0.0, 1.0
    for bound, now in zip(bounds, information, strict=True):
        if np.isinf(bound):
            continue
        root, step = np.sqrt(now), np.sqrt(now - last)
        new = bound * root * _NODES
        density = _advance(new, grid + drift * (now - last), weight, step)
        grid, weight, last = new, density * _WEIGHTS * bound * root, now
        missed = float(weight.sum())
    return 1 - missed


def group_inflation(looks: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """By how much more people than one test at the end so many even looks need for the same power."""
    information = np.arange(1, looks + 1) / looks
    fixed = float(stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power))
    if looks < 2:
        return 1.0
    return float(
        optimize.brentq(lambda more: group_power(fixed * np.sqrt(more), information, alpha) - power, 0.9, 2.0)
    )


def group_p(z: float, information: F64) -> float:
    """The smallest alpha at which the bound of the last of these looks would have been crossed: a p-value
    that may be read at every look.

    Source: Jennison and Turnbull, "Interim Analyses: The Repeated Confidence Interval Approach", JRSS B 1989.
    """

    def crosses(log_alpha: float) -> bool:
        return bool(abs(z) > group_bounds(information, float(np.exp(log_alpha)))[-1])

    low, high = np.log(1e-12), 0.0
    if crosses(low):
        return 1e-12
    if not crosses(np.log(0.999)):
        return 1.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (low, middle) if crosses(middle) else (middle, high)
    return float(np.exp(high))


def tuning(alpha: float, planned: float) -> float:
    """rho: the confidence sequence is narrowest near so many people.

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-Uniform Central Limit Theory and Asymptotic
    Confidence Sequences", Annals of Statistics 2024, appendix B.2.
    """
    return float(np.sqrt((-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / planned))


def band(n: F64, alpha: float, planned: float) -> F64:
    """By how many standard errors the always-valid interval reaches to each side with n people (...,); eq. 9
    there."""
    rho2n = n * tuning(alpha, planned) ** 2
    return np.sqrt(2 * (rho2n + 1) / rho2n * np.log(np.sqrt(rho2n + 1) / alpha))


def always_valid_p(z: F64, n: F64, alpha: float, planned: float) -> F64:
    """The p-value of the confidence sequence tuned at alpha for each n (...,); it holds at any time."""
    rho2n = n * tuning(alpha, planned) ** 2
    evidence = rho2n * z**2 / (2 * (rho2n + 1)) - 0.5 * np.log(rho2n + 1)
    return np.exp(-np.maximum(evidence, 0.0))


def hybrid_p(z: float, n: float, alpha: float, planned: float, ended: bool) -> float:
    """Of one look without a planned number of people: a fifth of the error is for an always-valid watch, the
    rest for one test at the end that was set before; until then the watch alone decides."""
    watch = float(always_valid_p(np.array(z), np.array(n), WATCH * alpha, planned)) / WATCH
    end = 2 * float(special.ndtr(-abs(z))) / END if ended else 1.0
    return min(1.0, watch, end)
