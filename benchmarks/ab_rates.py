"""How often the analysis is wrong where the truth is known: false positives, coverage, power, sample ratio.

Two worlds, fixed here: `even`, people come evenly and do much alike; `heavy`, most come in the first days,
return, and a few do most. Every method sees people with whole windows alone, by day. 10,000 tests a method,
in a few minutes.

    python -m benchmarks.ab_rates [--quick]
    python -m benchmarks.ab_rates --cell    the cell that lies farthest above 95, alone, 200,000 tests
"""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.results import report
from recsys.analysis.effects.bounds import END, WATCH, band, group_bounds
from recsys.analysis.effects.moments import Moments, from_sums
from recsys.analysis.effects.pair import Pair, Quantity, contrast, pair_of, relative
from recsys.analysis.health.assigned import ratio_p
from recsys.arrays import F64

PEOPLE = 2_500  # in each arm
LOOKS, MANY = 14, 100
AT_ONCE = 25  # tests whose people are in memory
PLAYS, LISTS, PAST_PLAYS, PAST_LISTS, BEFORE, MONEY, PAST_MONEY = range(7)
METRICS: dict[str, tuple[Quantity, tuple[Quantity, ...]]] = {
    "plays": (Quantity(PLAYS), ()),
    "plays, CUPED": (Quantity(PLAYS), (Quantity(PAST_PLAYS), Quantity(BEFORE))),
    "plays per list": (Quantity(PLAYS, LISTS), ()),
    "plays per list, CUPED": (
        Quantity(PLAYS, LISTS),
        (Quantity(PAST_PLAYS), Quantity(PAST_LISTS), Quantity(BEFORE)),
    ),
    "money, 3 % buy": (Quantity(MONEY), ()),
    "money, CUPED": (Quantity(MONEY), (Quantity(PAST_MONEY), Quantity(PAST_PLAYS), Quantity(BEFORE))),
}


class World(NamedTuple):
    """taste: how much a person does, mean 1. arrivals: the share of people who have come by each day."""

    taste: Callable[[np.random.Generator, tuple[int, ...]], F64]
    arrivals: F64


WORLDS = {
    "even": World(lambda rng, shape: rng.gamma(2.0, 0.5, shape), np.arange(1, LOOKS + 1) / LOOKS),
    "heavy": World(
        lambda rng, shape: rng.lognormal(-0.5, 1.0, shape),
        (1 - np.exp(-np.arange(1, LOOKS + 1) / 3)) / (1 - np.exp(-LOOKS / 3)),
    ),
}


def people(rng: np.random.Generator, world: World, shape: tuple[int, ...], effect: float) -> F64:
    """(..., 7) columns of people: seven days of the test and twenty-eight before; a fifth have no past."""
    taste = world.taste(rng, shape)
    lists = 1 + rng.poisson(2.0 * np.sqrt(taste))
    plays = rng.poisson(taste * lists * (1 + effect) * 0.5)
    past = rng.random(shape) < 0.8
    past_lists = rng.poisson(12.0 * np.sqrt(taste)) * past
    past_plays = rng.poisson(taste * past_lists * 0.5)
    buys = rng.random(shape) < np.minimum(0.03 * taste, 1.0)
    money = np.where(buys, rng.lognormal(3.0, 1.0, shape) * (1 + effect), 0.0)
    past_buys = rng.random(shape) < np.minimum(0.12 * taste, 1.0) * past
    past_money = np.where(past_buys, rng.lognormal(3.0, 1.0, shape), 0.0)
    before = (past_lists > 0).astype(np.float64)
    return np.stack([plays, lists, past_plays, past_lists, before, money, past_money], -1).astype(np.float64)


def by_look(columns: F64, edges: np.ndarray[Any, Any]) -> Moments:
    """(tests, looks, c): moments of the first `edges[l]` people of each test (tests, people, c)."""
    starts = np.r_[0, edges[:-1]]
    centre = columns.mean(axis=(0, 1))
    shifted = columns - centre
    sums = np.add.reduceat(shifted, starts, axis=1).cumsum(axis=1)
    products = np.stack(
        [
            shifted[:, start:end].swapaxes(1, 2) @ shifted[:, start:end]
            for start, end in zip(starts, edges, strict=True)
        ],
        axis=1,
    ).cumsum(axis=1)
    n = np.broadcast_to(edges.astype(np.float64), sums.shape[:2])
    return from_sums(n, sums, products, centre)


def simulate(name: str, tests: int, effect: float, looks: int) -> dict[str, list[Pair]]:
    """For each metric the pairs by look (tests, looks), in blocks."""
    world, rng = WORLDS[name], np.random.default_rng([ord(name[0]), int(effect * 1_000), looks])
    if looks == LOOKS:
        edges = np.round(world.arrivals * PEOPLE).astype(int)
    else:
        edges = np.round(np.linspace(PEOPLE / looks, PEOPLE, looks)).astype(int)
    pairs: dict[str, list[Pair]] = {metric: [] for metric in METRICS}
    for _ in range(tests // AT_ONCE):
        control, treated = (
            by_look(people(rng, world, (AT_ONCE, PEOPLE), lift), edges) for lift in (0.0, effect)
        )
        for metric, (target, covariates) in METRICS.items():
            pairs[metric].append(pair_of(control, treated, target, covariates))
    return pairs


def concat_pairs(pairs: list[Pair]) -> Pair:
    return Pair(
        *(np.concatenate([np.asarray(getattr(one, field)) for one in pairs]) for field in Pair._fields)
    )


def false_positives(pair: Pair) -> dict[str, float]:
    """The share of tests in which each method says that arms differ, by the last of the looks."""
    z, n = contrast(pair).z, pair.n
    planned = float(n[0, -1])
    watch = np.abs(z) > band(n, WATCH * 0.05, planned)
    end = np.abs(z[:, -1]) > stats.norm.isf(END * 0.05 / 2)
    return {
        "group-sequential": float((np.abs(z) > group_bounds(n[0] / planned)).any(axis=1).mean()),
        "hybrid": float((watch.any(axis=1) | end).mean()),
        "always-valid": float((np.abs(z) > band(n, 0.05, planned)).any(axis=1).mean()),
        "fixed at the end": float((contrast(pair).p[:, -1] < 0.05).mean()),
        "a fixed test at every look": float((np.abs(z) > stats.norm.isf(0.025)).any(axis=1).mean()),
    }


def coverage(pair: Pair, difference: float, share: float) -> dict[str, float]:
    """How often intervals of 95 % at the end hold the truth; share: of the control."""
    end = Pair(*(np.asarray(part)[:, -1] for part in pair))
    one = contrast(end)
    low, high = one.interval(0.05)
    _, below, above = relative(end, stats.t.isf(0.025, one.df))
    return {
        "absolute": float(((low <= difference) & (difference <= high)).mean()),
        "relative": float(((below <= share) & (share <= above)).mean()),
    }


def rates(tests: int) -> list[dict[str, Any]]:
    """False positives and coverage of every metric in both worlds."""
    rows = []
    for name in WORLDS:
        null = {metric: concat_pairs(pairs) for metric, pairs in simulate(name, tests, 0.0, LOOKS).items()}
        many = {metric: concat_pairs(pairs) for metric, pairs in simulate(name, tests, 0.0, MANY).items()}
        lifted = {metric: concat_pairs(pairs) for metric, pairs in simulate(name, tests, 0.1, LOOKS).items()}
        for metric in METRICS:
            truth = float((lifted[metric].treated[:, -1] - lifted[metric].control[:, -1]).mean())
            wrong = false_positives(null[metric])
            rows.append(
                {
                    "world": name,
                    "metric": metric,
                    **{key: round(100 * value, 2) for key, value in wrong.items()},
                    "always-valid, 100 looks": round(100 * false_positives(many[metric])["always-valid"], 2),
                    **{
                        f"{key}, no effect": round(100 * value, 2)
                        for key, value in coverage(null[metric], 0, 0).items()
                    },
                    **{
                        f"{key}, +10 %": round(100 * value, 2)
                        for key, value in coverage(lifted[metric], truth, 0.1).items()
                    },
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def one_cell(tests: int, name: str = "even", metric: str = "money, CUPED") -> list[dict[str, Any]]:
    """Whether the largest coverage of the table is chance: the same cell on a fresh stream, one look, and its
    sides."""
    pairs = {effect: concat_pairs(simulate(name, tests, effect, 1)[metric]) for effect in (0.0, 0.1)}
    truth = float((pairs[0.1].treated[:, -1] - pairs[0.1].control[:, -1]).mean())
    rows = []
    for effect, difference in ((0.0, 0.0), (0.1, truth)):
        end = Pair(*(np.asarray(part)[:, -1] for part in pairs[effect]))
        one = contrast(end)
        _, low, high = relative(end, stats.t.isf(0.025, one.df))
        for key, value in coverage(pairs[effect], difference, effect).items():
            rows.append(
                {
                    "cell": f"{name}, {metric}: {key}, {effect:+.0%}",
                    "tests": tests,
                    "coverage": round(100 * value, 3),
                    "its standard error": round(100 * float(np.sqrt(value * (1 - value) / tests)), 3),
                    "truth above, relative": round(100 * float((high < effect).mean()), 3),
                    "truth below, relative": round(100 * float((low > effect).mean()), 3),
                }
            )
    return rows


def growing(tests: int, days: int = 28, arm: int = 600) -> list[dict[str, Any]]:
    """Why windows: totals to date of people who return, against whole windows of the same people, 28 daily
    looks."""
    rng = np.random.default_rng(28)
    come = np.searchsorted(
        (1 - np.exp(-np.arange(1, days + 1) / 3)) / (1 - np.exp(-days / 3)),
        np.linspace(0, 1, arm, endpoint=False),
        side="right",
    )
    wrong = {"totals to date": 0, "whole windows of 7 days": 0}
    for _ in range(tests // AT_ONCE):
        rate = rng.gamma(2.0, 0.05, (AT_ONCE, 2, arm))
        total, window = np.zeros((AT_ONCE, 2, arm)), np.zeros((AT_ONCE, 2, arm))
        z = {key: np.zeros((AT_ONCE, days)) for key in wrong}
        counts: dict[str, list[int]] = {key: [] for key in wrong}
        for day in range(days):
            here = come <= day
            events = rng.poisson(rate[:, :, here])
            total[:, :, here] += events
            window[:, :, here] += events * (day - come[here] < 7)
            for key, values, rows in (
                ("totals to date", total, here),
                ("whole windows of 7 days", window, day - come >= 6),
            ):
                counts[key].append(int(rows.sum()))
                if rows.sum() >= 100:
                    seen = values[:, :, rows]
                    error = np.sqrt(seen.var(axis=2, ddof=1).sum(axis=1) / rows.sum())
                    z[key][:, day] = (seen[:, 1].mean(1) - seen[:, 0].mean(1)) / error
        for key in wrong:
            information = np.array(counts[key]) / counts[key][-1]
            wrong[key] += int((np.abs(z[key]) > group_bounds(information)).any(axis=1).sum())
    return [{"figure": f"group-sequential false positives, {key}", "percent": round(100 * count / tests, 2)}
            for key, count in wrong.items()]  # fmt: skip


def power(tests: int) -> list[dict[str, Any]]:
    """Daily looks at a walk whose fixed test at the end has power .80; 10,000 people planned."""
    rows = []
    for looks in (14, 28):
        t = np.arange(1, looks + 1) / looks
        rng = np.random.default_rng(looks)
        walk = np.cumsum(rng.standard_normal((tests, looks)) / np.sqrt(looks), axis=1)
        z = np.abs(walk + (stats.norm.isf(0.025) + stats.norm.isf(0.2)) * t) / np.sqrt(t)
        n = 10_000 * t
        watch = (z > band(n, WATCH * 0.05, 10_000)).any(axis=1)
        for method, detected in (
            ("fixed at the end", z[:, -1] > stats.norm.isf(0.025)),
            ("group-sequential", (z > group_bounds(t)).any(axis=1)),
            ("hybrid", watch | (z[:, -1] > stats.norm.isf(END * 0.05 / 2))),
            ("always-valid", (z > band(n, 0.05, 10_000)).any(axis=1)),
        ):
            rows.append(
                {
                    "figure": f"power, {looks} looks, {method}",
                    "percent": round(100 * float(detected.mean()), 2),
                }
            )
    width = float(band(np.array([10_000.0]), 0.05, 10_000)[0] / stats.norm.isf(0.025))
    return [
        *rows,
        {
            "figure": "width of the always-valid band at the planned people, fixed = 100",
            "percent": round(100 * width, 1),
        },
    ]


def near_zero(tests: int) -> list[dict[str, Any]]:
    """A control mean that is 1 to 20 standard errors from zero: figures given, and how often they hold the
    truth."""
    rng = np.random.default_rng(5)
    rows = []
    one, zero = np.ones(tests), np.zeros(tests)
    for distance in (1, 2, 3, 5, 20):
        control, treated = distance + rng.standard_normal(tests), 1.1 * distance + rng.standard_normal(tests)
        pair = Pair(control, treated, one, one, zero, one, one, one * 1e4, one * 1e4, np.zeros((tests, 0)))
        _, low, high = relative(pair, stats.norm.isf(0.025))
        given = np.isfinite(low)
        holds = (low <= 0.1) & (high >= 0.1)
        rows.append(
            {
                "figure": f"control mean {distance} standard errors from 0: relative figure given",
                "percent": round(100 * float(given.mean()), 2),
            }
        )
        rows.append(
            {
                "figure": f"control mean {distance} standard errors from 0: given and wrong",
                "percent": round(100 * float((given & ~holds).mean()), 2),
            }
        )
    return rows


def sample_ratio(tests: int) -> list[dict[str, Any]]:
    """200 looks, each at 1,000 more people."""
    rng, rows = np.random.default_rng(6), []
    weights = np.array([0.5, 0.5])
    for share in (0.5, 0.51):
        counts = np.cumsum(rng.binomial(1_000, share, (tests, 200)), axis=1)
        both = np.stack([counts, 1_000 * np.arange(1, 201) - counts], axis=-1).astype(float)
        alarm = ratio_p(both, weights) < 0.001
        if share == 0.5:
            rows.append(
                {
                    "figure": "sample ratio: false alarms, 200 looks",
                    "percent": round(100 * float(alarm[:, -1].mean()), 3),
                }
            )
        else:
            rows.append(
                {
                    "figure": "sample ratio: 51/49 found by 120,000 people",
                    "percent": round(100 * float(alarm[:, 119].mean()), 2),
                }
            )
            rows.append(
                {
                    "figure": "sample ratio: median people until 51/49 is found",
                    "people": int(np.median(alarm.argmax(1) + 1)) * 1_000,
                }
            )
    return rows


def main() -> None:
    quick = "--quick" in sys.argv
    if "--cell" in sys.argv:
        title = "The largest coverage of `ab_rates`, alone, in percent"
        report("ab_rates_cell", one_cell(2_000 if quick else 200_000), title=title, quick=quick)
        return
    tests = 500 if quick else 10_000
    others = [
        *growing(200 if quick else 4_000),
        *power(4_000 if quick else 100_000),
        *near_zero(10 * tests),
        *sample_ratio(tests),
    ]
    report(
        "ab_other_rates",
        others,
        title="Experiments: power, windows, small control means, sample ratio",
        quick=quick,
    )
    report(
        "ab_rates",
        rates(tests),
        title=(
            f"Experiments without an effect: false positives and coverage, {tests:,} tests a row, in percent"
        ),
        note=f"{PEOPLE:,} people an arm; {LOOKS} looks. A fixed test at every look is what not to do.",
        quick=quick,
    )


if __name__ == "__main__":
    main()
