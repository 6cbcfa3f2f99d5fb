"""How sure a figure is: bootstrap intervals over users, a paired test, and Holm's correction for several."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from recsys.arrays import F64, I32
from recsys.seeding import generator

DRAWS = 1_000
FEW_USERS = 200
SMALLEST_P = 1e-300
Key = TypeVar("Key", bound=Hashable)


class Interval(NamedTuple):
    """A mean over users and its 95 % interval; all three are NaN where there are no users."""

    mean: float
    low: float
    high: float

    def text(self, form: str = ".4f") -> str:
        """As in tables: `0.1234 [0.1200, 0.1268]`, empty where there is no mean; form: of each figure, `+.4f`
        say."""
        if np.isnan(self.mean):
            return ""
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"


def bootstrap(values: F64, *, seed: int = 0) -> Interval:
    """Mean of one value per user (n,), with the 2.5 and 97.5 percentiles of 1,000 draws of n users with
    replacement.

    Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979.
    """
    n = len(values)
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"))
    means = np.array([values[rows].mean() for rows in resamples(n, seed)])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def resamples(n: int, seed: int) -> Iterator[I32]:
    """DRAWS times the rows, int32 (n,), of n users drawn with replacement."""
    rng = generator(seed, "bootstrap")
    return (rng.integers(0, n, n, dtype=np.int32) for _ in range(DRAWS))


class Comparison(NamedTuple):
    """Whether the first of two systems is better, over the same users.

    difference: mean of first minus second with its interval. p: two-sided, paired, before correction. p_holm:
    after it. warm: how many of the users the systems could tell apart; under FEW_USERS nothing is concluded.
    """

    difference: Interval
    p: float
    p_holm: float
    warm: int

    @property
    def verdict(self) -> str:
        """In words, at the 5 % level after correction."""
        if self.warm < FEW_USERS:
            return "too few to compare"
        if self.p_holm >= 0.05:
            return "no difference shown"
        return "better" if self.difference.mean > 0 else "worse"


def p_text(p: float) -> str:
    """A p-value in words; what is below the smallest number that a float holds well is not said to be 0."""
    return f"p = {p:.2g}" if p >= SMALLEST_P else f"p < {SMALLEST_P:g}"


def paired_p(first: F64, second: F64) -> float:
    """Two-sided p-value of the paired t-test over users: the chance of so large a mean difference if there
    were none.

    With hundreds of users the mean is close to normal whatever the metric. 1.0 where no user differs.
    """
    from scipy import stats

    difference = first - second
    if len(difference) < 2 or not difference.any():
        return 1.0
    if np.ptp(difference) <= 1e-12 * abs(difference.mean()):  # all users differ by the same
        return 0.0
    return float(stats.ttest_rel(first, second).pvalue)


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """Each p-value after correction for all of them together.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 1979.
    """
    corrected: dict[Key, float] = {}
    running = 0.0
    for rank, key in enumerate(sorted(p, key=p.__getitem__)):
        running = max(running, min(1.0, p[key] * (len(p) - rank)))
        corrected[key] = running
    return corrected


def compare(first: F64, others: Mapping[str, F64], *, warm: int, seed: int = 0) -> dict[str, Comparison]:
    """`first` against each of `others`, one value per user (n,) each, with Holm's correction over all of
    them."""
    values = {("first", ""): first, **{("other", name): other for name, other in others.items()}}
    pairs = [(("first", ""), ("other", name)) for name in others]
    compared = compare_pairs(values, pairs, warm=dict.fromkeys(pairs, warm), seed=seed)
    return {name: compared[pair] for name, pair in zip(others, pairs, strict=True)}


def compare_pairs(
    values: Mapping[Key, F64],
    pairs: Sequence[tuple[Key, Key]],
    *,
    warm: Mapping[tuple[Key, Key], int],
    seed: int = 0,
) -> dict[tuple[Key, Key], Comparison]:
    """The first of each pair against the second, with Holm's correction over all pairs.

    values: one per user (n,), the same users for all; users to whom the metric does not apply (NaN) in either
    of a pair are left out of it. warm: of each pair, as in `Comparison`.
    """
    both = {pair: ~np.isnan(values[pair[0]] + values[pair[1]]) for pair in pairs}
    p = {(a, b): paired_p(values[a][both[a, b]], values[b][both[a, b]]) for a, b in pairs}
    corrected = holm(p)
    return {
        (a, b): Comparison(
            bootstrap((values[a] - values[b])[both[a, b]], seed=seed), p[a, b], corrected[a, b], warm[a, b]
        )
        for a, b in pairs
    }


def paired_gap(first: F64, second: F64) -> tuple[float, float]:
    """The mean of first minus second over users (n,), and its standard error; users with NaN in either are
    left out.

    Users are hard or easy for both alike, and only what differs within a user counts.
    """
    gap = first - second
    gap = gap[~np.isnan(gap)]
    return float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(len(gap)))


def advised_dim(values: Mapping[int, F64]) -> tuple[int, int, dict[int, tuple[float, float]]]:
    """The best dim, the smallest within one standard error of it, and the differences: dim -> (mean, standard
    error).

    values: dim -> float64 (n,), one per user and the same users for all; who lacks a value in one is left out
    of all. The error is that of `paired_gap` to the best.

    Source: Breiman et al., "Classification and Regression Trees", 1984 (the rule of one standard error).
    """
    table = np.array(list(values.values()))
    table = table[:, ~np.isnan(table).any(axis=0)]
    dims = list(values)
    best = dims[int(np.argmax(table.mean(axis=1)))]
    differences = {
        dim: paired_gap(row, table[dims.index(best)]) for dim, row in zip(dims, table, strict=True)
    }
    return best, min(dim for dim, (mean, error) in differences.items() if -mean <= error), differences
