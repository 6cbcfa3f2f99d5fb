"""What offline differences have meant online: a regression over finished tests that knows the errors of both.

A test i has an offline difference x with standard error s, and an online effect y with standard error t, both
as shares of the control. Behind them stand true ones: u ~ N(mu, omega^2) and v = a + b u + N(0, tau^2); x = u
+ N(0, s^2), y = v + N(0, t^2). Where an arm was tested because it was the best of m candidates offline, x is
the largest of m such differences: what was chosen is too large by chance, which is the winner's curse, and
the likelihood says so.

Priors are weak, and shrink: the slope b ~ N(0, 1), so few tests say little; the others have the scale of the
figures at hand. The posterior is drawn by importance sampling around its mode, with a seed of its own, so
that the same ledger gives the same figures.

Sources: Fuller, "Measurement Error Models", Wiley 1987; Carlin and Louis, "Bayesian Methods for Data
Analysis", 2008; Owen, "Monte Carlo Theory, Methods and Examples", 2013, chapter 9 (importance sampling).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from recsys.arrays import F64
from recsys.errors import DataError
from recsys.evaluation.significance import Interval
from recsys.seeding import generator

LEAST = 5  # tests, before anything is said
DRAWS = 12_000
_FREEDOM = 4  # degrees of freedom of what is drawn from: heavier tails than the posterior
_LEAST_SPREAD = (1e-12, 1e-6, 1e-12, 1e-8, 1e-6)  # of the parameters, where all draws but one weigh nothing
MU, LOG_OMEGA, A, B, LOG_TAU = range(5)


class Entry(NamedTuple):
    """A finished test of one arm. Shares of the control with standard errors; candidates: how many there were
    offline, of which the arm was the best (1 = it was not chosen by its figure)."""

    name: str
    offline: float
    offline_error: float
    online: float
    online_error: float
    candidates: int = 1


class Shrunk(NamedTuple):
    """What a test's true online effect probably is, given all others: the winner's curse taken out."""

    name: str
    online: Interval


class Forecast(NamedTuple):
    """For a challenger. offline: its difference with the winner's curse taken out. meant: what such a
    difference has meant on average; single: where the effect of this one will probably lie."""

    offline: Interval
    meant: Interval
    single: Interval


@dataclass(frozen=True, eq=False)
class Ledger:
    """What the tests together say. slope: online per offline; intercept: online where offline nothing
    differs.

    draws: (d, 5) of the posterior, weights (d,), and effective: how many equal draws they are worth.
    """

    entries: Sequence[Entry]
    slope: Interval
    intercept: Interval
    draws: F64
    weights: F64
    effective: float

    def shrunk(self) -> list[Shrunk]:
        """Each test's online effect, between its own figure and what its offline difference has meant
        elsewhere."""
        mu, omega, a, b, tau = _plain(self.draws)
        estimates = []
        for at, one in enumerate(self.entries):
            mean, variance = _true_offline(one.offline, one.offline_error, mu, omega)
            before, spread = a + b * mean, b**2 * variance + tau**2
            kept = spread / (spread + one.online_error**2)
            centre, deviation = before + kept * (one.online - before), one.online_error * np.sqrt(kept)
            estimates.append(Shrunk(one.name, self._interval(centre, deviation, at)))
        return estimates

    def forecast(self, offline: float, error: float = 0.0) -> Forecast:
        """Of a challenger with this offline difference and standard error, as shares of what it is held
        against."""
        mu, omega, a, b, tau = _plain(self.draws)
        mean, variance = _true_offline(offline, error, mu, omega)
        centre = a + b * mean
        return Forecast(
            self._interval(mean, np.sqrt(variance), 1_000),
            self._interval(centre, np.zeros_like(centre), 1_001),
            self._interval(centre, np.sqrt(b**2 * variance + tau**2), 1_002),
        )

    def _interval(self, centre: F64, deviation: F64, stream: int) -> Interval:
        """Mean and 95 % of the mixture of normals (d,) by the weights."""
        noise = generator(stream, "ledger interval").standard_normal(len(centre))
        low, high = _quantiles(centre + deviation * noise, self.weights, (0.025, 0.975))
        return Interval(float(self.weights @ centre), low, high)


def learn_ledger(entries: Sequence[Entry]) -> Ledger:
    """The posterior of slope, intercept and spread, by finished tests. Raises DataError where they are fewer
    than LEAST, or where an error is not above 0."""
    if len(entries) < LEAST:
        raise DataError(
            f"the ledger has {len(entries)} finished tests, and {LEAST} are needed before it says anything."
        )
    for one in entries:
        if not (one.online_error > 0 and one.offline_error >= 0 and one.candidates >= 1):
            raise DataError(
                f"test {one.name!r} has no standard error of its online effect, or no candidates."
            )
    table = np.array([one[1:] for one in entries], np.float64)
    scale = _Scale.of(table)

    def loss(theta: F64) -> float:
        return -float(_log_posterior(theta[None], table, scale)[0])

    def rise(theta: F64) -> F64:
        step = _steps(theta)
        moved = theta + np.concatenate([np.diag(step), -np.diag(step)])
        height = -_log_posterior(moved, table, scale)
        return np.asarray((height[:5] - height[5:]) / (2 * step), np.float64)

    starts = [_start(table, scale, slope) for slope in (0.0, 0.3, 1.0)]
    modes = [optimize.minimize(loss, start, jac=rise, method="BFGS") for start in starts]
    mode = min(modes, key=lambda one: float(one.fun))
    centre, covariance = mode.x, _covariance(loss, mode.x)
    for count in (
        DRAWS // 4,
        DRAWS,
    ):  # the first draws say where the posterior lies better than its mode does
        draws, weights = _draw(count, centre, covariance, table, scale)
        centre = weights @ draws
        covariance = (weights[:, None] * (draws - centre)).T @ (draws - centre) + np.diag(_LEAST_SPREAD)
    ends = (0.025, 0.975)
    slope, intercept = (
        Interval(float(weights @ draws[:, at]), *_quantiles(draws[:, at], weights, ends)) for at in (B, A)
    )
    return Ledger(tuple(entries), slope, intercept, draws, weights, float(1 / (weights**2).sum()))


def _draw(count: int, centre: F64, covariance: F64, table: F64, scale: "_Scale") -> tuple[F64, F64]:
    """(count, 5) draws around a centre, and what each weighs in the posterior, adding up to 1."""
    rng = generator(count, "ledger")
    stretch = np.sqrt(_FREEDOM / rng.chisquare(_FREEDOM, count))
    draws = centre + (rng.standard_normal((count, 5)) * stretch[:, None]) @ np.linalg.cholesky(covariance).T
    proposed = stats.multivariate_t.logpdf(draws, centre, covariance, df=_FREEDOM)
    log_weight = _log_posterior(draws, table, scale) - proposed
    weights = np.exp(log_weight - log_weight.max())
    return draws, weights / weights.sum()


class _Scale(NamedTuple):
    """How large offline differences and online effects are, root mean square: what the weak priors are made
    of."""

    offline: float
    online: float

    @classmethod
    def of(cls, table: F64) -> "_Scale":
        size = np.sqrt((table[:, [0, 2]] ** 2).mean(axis=0))
        errors = np.sqrt((table[:, [1, 3]] ** 2).mean(axis=0))
        return cls(*(float(max(one, error, 1e-9)) for one, error in zip(size, errors, strict=True)))


def _plain(draws: F64) -> tuple[F64, F64, F64, F64, F64]:
    """mu, omega, a, b, tau (d,)."""
    return draws[:, MU], np.exp(draws[:, LOG_OMEGA]), draws[:, A], draws[:, B], np.exp(draws[:, LOG_TAU])


def _true_offline(x: F64 | float, error: F64 | float, mu: F64, omega: F64) -> tuple[F64, F64]:
    """Mean and variance of the true difference, given the one that was measured."""
    kept = omega**2 / (omega**2 + np.square(error))
    return mu + kept * (x - mu), omega**2 * (1 - kept)


def _log_posterior(draws: F64, table: F64, scale: _Scale) -> F64:
    """(d,) up to a constant. draws: (d, 5); table: (tests, 5)."""
    x, s, y, t, m = table.T
    mu, omega, a, b, tau = (one[:, None] for one in _plain(draws))
    spread = np.sqrt(omega**2 + s**2)
    z = (x - mu) / spread
    offline = -0.5 * z**2 - np.log(spread)
    if (m > 1).any():
        offline = offline + (m - 1) * special.log_ndtr(z)
    mean, variance = _true_offline(x, s, mu, omega)
    around = np.sqrt(b**2 * variance + tau**2 + t**2)
    online = -0.5 * ((y - a - b * mean) / around) ** 2 - np.log(around)
    prior = (
        -0.5 * (draws[:, MU] / (2 * scale.offline)) ** 2
        - 0.5 * (np.exp(draws[:, LOG_OMEGA]) / (2 * scale.offline)) ** 2 + draws[:, LOG_OMEGA]
        - 0.5 * (draws[:, A] / scale.online) ** 2
        - 0.5 * draws[:, B] ** 2
        - 0.5 * (np.exp(draws[:, LOG_TAU]) / scale.online) ** 2 + draws[:, LOG_TAU]
    )  # fmt: skip
    return np.asarray((offline + online).sum(axis=1) + prior, np.float64)


def _start(table: F64, scale: _Scale, slope: float) -> F64:
    slope *= min(1.0, scale.online / scale.offline)
    return np.array([table[:, 0].mean(), np.log(scale.offline), 0.0, slope, np.log(scale.online / 3)])


def _steps(at: F64) -> F64:
    """(5,): by how much each parameter is moved to see how the posterior changes."""
    return 1e-5 * np.maximum(np.abs(at), [1e-2, 1, 1e-2, 1e-1, 1])


def _covariance(loss: object, at: F64) -> F64:
    """The inverse of the curvature at the mode, by differences; what is flat, or bends the wrong way, gets a
    unit."""
    step = 100 * _steps(at)
    curve = np.empty((5, 5))
    for i in range(5):
        for j in range(i, 5):
            total = 0.0
            for one, sign in ((1, 1), (-1, -1)):
                for other, second in ((1, 1), (-1, -1)):
                    moved = at.copy()
                    moved[i] += one * step[i]
                    moved[j] += other * step[j]
                    total += sign * second * loss(moved)  # type: ignore[operator]
            curve[i, j] = curve[j, i] = total / (4 * step[i] * step[j])
    size = np.sqrt(np.maximum(np.abs(np.diag(curve)), 1e-12))
    values, vectors = np.linalg.eigh(curve / size[:, None] / size[None])
    values = np.where(values > 0.02, values, 0.02)
    inverse = (vectors / values) @ vectors.T / size[:, None] / size[None]
    return np.asarray((inverse + inverse.T) / 2, np.float64)


def _quantiles(values: F64, weights: F64, levels: tuple[float, float]) -> tuple[float, float]:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    at = np.minimum(np.searchsorted(reached, np.array(levels)), len(values) - 1)
    return float(values[order[at[0]]]), float(values[order[at[1]]])
