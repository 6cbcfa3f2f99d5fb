"""Two arms side by side: Welch for means, the delta method for ratios, CUPED, and relative effects by
Fieller."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from recsys.analysis.effects.moments import Moments, pool
from recsys.arrays import F64


class Quantity(NamedTuple):
    """The mean of column `over`, or the ratio of its mean to that of column `under` (clicks per list of all
    people)."""

    over: int
    under: int | None = None

    def value(self, moments: Moments) -> F64:
        """(...,); NaN where the ratio has nothing to divide by."""
        over = moments.mean[..., self.over]
        return over if self.under is None else _divide(over, moments.mean[..., self.under])

    def gradient(self, moments: Moments) -> F64:
        """(..., c): by how much the value moves with the mean of each column."""
        slope = np.zeros_like(moments.mean)
        if self.under is None:
            slope[..., self.over] = 1.0
        else:
            slope[..., self.over] = _divide(1.0, moments.mean[..., self.under])
            slope[..., self.under] -= _divide(self.value(moments), moments.mean[..., self.under])
        return slope


class Pair(NamedTuple):
    """Adjusted means of control and treated people with their variances and covariance, all (...,).

    within_control, within_treated: the variance of each without the shared centre of the covariates, with the
    people they come from: what Welch's degrees of freedom are made of. theta: (..., p), of the control where
    each arm has one.
    """

    control: F64
    treated: F64
    var_control: F64
    var_treated: F64
    cov: F64
    within_control: F64
    within_treated: F64
    n_control: F64
    n_treated: F64
    theta: F64

    @property
    def n(self) -> F64:
        return self.n_control + self.n_treated


class Contrast(NamedTuple):
    """treated - factor * control: estimate, standard error and Welch's degrees of freedom, all (...,)."""

    estimate: F64
    error: F64
    df: F64

    @property
    def z(self) -> F64:
        """What a normal variable would show for the same p-value; 0 where nothing varies."""
        tail = stats.t.logsf(np.abs(self.t), self.df)
        size: F64 = stats.norm.isf(np.exp(np.maximum(tail, -700.0)))
        return np.sign(self.t) * size

    @property
    def t(self) -> F64:
        return np.divide(self.estimate, self.error, out=np.zeros_like(self.estimate), where=self.error > 0)

    @property
    def p(self) -> F64:
        """Two-sided; 1 where nothing varies."""
        return 2 * stats.t.sf(np.abs(self.t), self.df)  # type: ignore[no-any-return]

    def interval(self, alpha: float) -> tuple[F64, F64]:
        """At level 1 - alpha, for one look that was fixed before."""
        half = stats.t.isf(alpha / 2, self.df) * self.error
        return self.estimate - half, self.estimate + half


def pair_of(
    control: Moments,
    treated: Moments,
    target: Quantity,
    covariates: Sequence[Quantity] = (),
    *,
    by_arm: bool = False,
) -> Pair:
    """The target of both arms, adjusted by covariates that were read before anything was shown.

    by_arm: a theta for each arm (Lin's), which splits far from even want; else one for both. Covariates that
    do not vary, or say what others say, change nothing.

    Sources: Deng et al., "Improving the Sensitivity of Online Controlled Experiments by Utilizing
    Pre-Experiment Data", WSDM 2013; Deng, Knoblich and Lu, "Applying the Delta Method in Metric Analytics",
    KDD 2018; Lin, Annals of Applied Statistics 2013.
    """
    both, arms = pool(control, treated), (control, treated)
    slopes = _slopes(covariates, both)
    values, rests, thetas = [], [], []
    for arm in arms:
        source = arm if by_arm else both
        theta = _theta(source, target.gradient(source), slopes)
        gaps = [one.value(arm) - one.value(both) for one in covariates]
        values.append(
            target.value(arm) - (theta * np.stack([*gaps, np.zeros_like(arm.n)], -1)[..., :-1]).sum(-1)
        )
        rests.append(target.gradient(arm) - _times(_slopes(covariates, arm), theta))
        thetas.append(theta)
    within = [_quadratic(rest, arm.cov, rest) / arm.n for rest, arm in zip(rests, arms, strict=True)]
    # the centre of the covariates is that of all people, which both adjusted means share
    moves = [_times(slopes, theta) for theta in thetas]
    spread = np.add(*(arm.cov * (arm.n / both.n**2)[..., None, None] for arm in arms))
    shared = [
        [_quadratic(rest, arm.cov, move) / both.n for move in moves]
        for rest, arm in zip(rests, arms, strict=True)
    ]
    total = [within[at] + 2 * shared[at][at] + _quadratic(moves[at], spread, moves[at]) for at in (0, 1)]
    cov = shared[0][1] + shared[1][0] + _quadratic(moves[0], spread, moves[1])
    return Pair(
        values[0], values[1], total[0], total[1], cov, within[0], within[1], control.n, treated.n, thetas[0]
    )


def spread_of(moments: Moments, target: Quantity, covariates: Sequence[Quantity] = ()) -> tuple[F64, F64]:
    """The target's value, and the variance of one person's share in it, with what covariates say taken
    away."""
    slope, slopes = target.gradient(moments), _slopes(covariates, moments)
    rest = slope - _times(slopes, _theta(moments, slope, slopes))
    return target.value(moments), _quadratic(rest, moments.cov, rest)


def contrast(pair: Pair, factor: float = 1.0) -> Contrast:
    """treated - factor * control: 1 is the difference, 1 - margin asks whether what was lost is below a
    margin."""
    variance = pair.var_treated + factor**2 * pair.var_control - 2 * factor * pair.cov
    one, other = pair.within_treated, factor**2 * pair.within_control
    below = one**2 / np.maximum(pair.n_treated - 1, 1) + other**2 / np.maximum(pair.n_control - 1, 1)
    df = np.divide((one + other) ** 2, below, out=np.ones_like(below), where=below > 0)
    return Contrast(pair.treated - factor * pair.control, np.sqrt(np.maximum(variance, 0)), df)


def relative(pair: Pair, critical: F64 | float) -> tuple[F64, F64, F64]:
    """(effect, low, high) as a share of the control mean, by Fieller; low and high are NaN where the control
    mean is so near zero that no interval is bounded. critical: the quantile, 1.96 for 95 %, or wider for
    always-valid bands.

    Source: Fieller, "Some Problems in Interval Estimation", Journal of the Royal Statistical Society B 1954.
    """
    c, t = pair.control, pair.treated
    square = np.asarray(critical) ** 2
    a = c**2 - square * pair.var_control
    b = c * t - square * pair.cov
    root = np.sqrt(np.maximum(b**2 - a * (t**2 - square * pair.var_treated), 0))
    bounded = a > 0
    effect = np.where(bounded, _divide(t, c) - 1, np.nan)
    below = np.where(bounded, a, np.nan)
    return effect, (b - root) / below - 1, (b + root) / below - 1


def post_stratified(pairs: Sequence[Pair], factor: float = 1.0) -> Contrast:
    """The contrast of several groups of people (warm and cold), each weighted by its people in both arms."""
    n = sum(pair.n for pair in pairs)
    shares = [pair.n / n for pair in pairs]
    parts = [contrast(pair, factor) for pair in pairs]
    estimate = np.asarray(sum(share * part.estimate for share, part in zip(shares, parts, strict=True)))
    pieces = [(share * part.error) ** 2 for share, part in zip(shares, parts, strict=True)]
    variance = np.asarray(sum(pieces))
    spread = (
        sum(share * (part.estimate - estimate) ** 2 for share, part in zip(shares, parts, strict=True)) / n
    )
    below = np.asarray(sum(piece**2 / part.df for piece, part in zip(pieces, parts, strict=True)))
    df = np.divide(variance**2, below, out=np.ones_like(below), where=below > 0)
    return Contrast(estimate, np.sqrt(variance + spread), df)


def _slopes(covariates: Sequence[Quantity], moments: Moments) -> F64:
    """(..., c, p)"""
    return np.stack([np.zeros_like(moments.mean), *(one.gradient(moments) for one in covariates)], -1)[
        ..., 1:
    ]


def _times(slopes: F64, theta: F64) -> F64:
    return np.einsum("...cp,...p->...c", slopes, theta)  # type: ignore[no-any-return]


def _theta(moments: Moments, slope: F64, slopes: F64) -> F64:
    """(..., p): the least-squares coefficients of the linearised target on the linearised covariates."""
    if not slopes.shape[-1]:
        return np.zeros((*slope.shape[:-1], 0))
    spread = np.einsum("...cp,...cd,...dq->...pq", slopes, moments.cov, slopes)
    shared = np.einsum("...cp,...cd,...d->...p", slopes, moments.cov, slope)
    scale = np.sqrt(np.maximum(np.einsum("...pp->...p", spread), 0))
    safe = np.where(scale > 0, scale, 1.0)
    inverse = np.linalg.pinv(spread / (safe[..., :, None] * safe[..., None, :]), rcond=1e-9, hermitian=True)
    return np.einsum("...pq,...q->...p", inverse, shared / safe) / safe  # type: ignore[no-any-return]


def _quadratic(one: F64, cov: F64, other: F64) -> F64:
    return np.einsum("...c,...cd,...d->...", one, cov, other)  # type: ignore[no-any-return]


def _divide(over: F64 | float, under: F64) -> F64:
    over = np.broadcast_to(np.asarray(over, np.float64), np.shape(under))
    out = np.full(np.shape(under), np.nan)
    np.divide(over, under, out=out, where=np.asarray(under) != 0)
    return out
