"""Small random tables, and what other packages say of them: `oracle_numbers.json`, which this program wrote.

    pip install --no-deps --target oracles gbstats==0.8.0 tea-tasting==1.14.0 statsmodels==0.15.0 \\
        ibis-framework patsy formulaic interface-meta atpublic parsy sqlglot toolz narwhals
    PYTHONPATH=.:oracles python tests/analysis/oracle_tables.py

They do not stand among the packages of development: gbstats refuses today's numpy and pandas, and installs as
an empty 0.2.1 in their place.
"""

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NUMBERS = Path(__file__).parent / "oracle_numbers.json"
TABLES = 100


class Arm(NamedTuple):
    """Columns of one arm, (people,) each: y and under, which make a ratio, and both in the time before."""

    y: Any
    under: Any
    past_y: Any
    past_under: Any


def table(seed: int) -> tuple[Arm, Arm]:
    """Control and treated of one table, made of uniform numbers alone, whose stream no version of numpy
    changes."""
    rng = np.random.default_rng(seed)
    sizes = 60 + (rng.random(2) * 400).astype(int)
    lift = 1 + 0.4 * rng.random()
    arms = []
    for at, n in enumerate(sizes):
        taste = -np.log(1 - rng.random(n))
        under, past_under = 1 + np.floor(9 * rng.random(n)), 1 + np.floor(9 * rng.random(n))
        y = np.floor((taste + 0.5 * rng.random(n)) * under * (lift if at else 1))
        past_y = np.floor((taste + 0.5 * rng.random(n)) * past_under)
        arms.append(Arm(y, under, past_y, past_under))
    return arms[0], arms[1]


def _tea(control: Arm, treated: Arm) -> dict[str, list[float]]:
    import pyarrow as pa
    import tea_tasting as tt

    columns = {name: np.r_[getattr(control, name), getattr(treated, name)] for name in Arm._fields}
    variant = np.r_[np.zeros(len(control.y), int), np.ones(len(treated.y), int)]
    results = tt.Experiment(
        mean=tt.Mean("y"),
        cuped=tt.Mean("y", covariate="past_y"),
        ratio=tt.RatioOfMeans("y", "under"),
        cuped_ratio=tt.RatioOfMeans("y", "under", numer_covariate="past_y", denom_covariate="past_under"),
    ).analyze(pa.table({"variant": variant, **columns}))
    return {
        name: [
            one.control,
            one.treatment,
            one.effect_size,
            one.effect_size_ci_lower,
            one.effect_size_ci_upper,
            one.pvalue,
            one.rel_effect_size,
        ]
        for name in ("mean", "cuped", "ratio", "cuped_ratio")
        for one in [results[name]]
    }


def _gb(control: Arm, treated: Arm) -> dict[str, list[float]]:
    from gbstats.frequentist.tests import (
        FrequentistConfig,
        SequentialConfig,
        SequentialTwoSidedTTest,
        TwoSidedTTest,
    )
    from gbstats.models.statistics import RatioStatistic, RegressionAdjustedStatistic, SampleMeanStatistic

    def mean(values: Any) -> Any:
        return SampleMeanStatistic(n=len(values), sum=values.sum(), sum_squares=(values**2).sum())

    def adjust(arm: Arm) -> Any:
        return RegressionAdjustedStatistic(
            n=len(arm.y), post_statistic=mean(arm.y), pre_statistic=mean(arm.past_y),
            post_pre_sum_of_products=(arm.y * arm.past_y).sum(), theta=0,
        )  # fmt: skip

    def ratio(arm: Arm) -> Any:
        return RatioStatistic(
            n=len(arm.y),
            m_statistic=mean(arm.y),
            d_statistic=mean(arm.under),
            m_d_sum_of_products=(arm.y * arm.under).sum(),
        )

    plain = {"difference_type": "absolute"}
    results = {
        name: TwoSidedTTest(make(control), make(treated), FrequentistConfig(**plain)).compute_result()
        for name, make in (("mean", lambda arm: mean(arm.y)), ("cuped", adjust), ("ratio", ratio))
    }
    results["relative"] = TwoSidedTTest(
        mean(control.y), mean(treated.y), FrequentistConfig(difference_type="relative")
    ).compute_result()
    results["sequential"] = SequentialTwoSidedTTest(
        mean(control.y), mean(treated.y), SequentialConfig(**plain, sequential_tuning_parameter=1_000)
    ).compute_result()
    return {name: [one.expected, *one.ci, one.p_value] for name, one in results.items()}


def _statsmodels(control: Arm, treated: Arm) -> list[float]:
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    both = CompareMeans(DescrStatsW(treated.y), DescrStatsW(control.y))
    return [*both.ttest_ind(usevar="unequal")[:2], *both.tconfint_diff(usevar="unequal")]


def _power(control: Arm) -> dict[str, float]:
    import pyarrow as pa
    import tea_tasting as tt
    from statsmodels.stats.power import TTestIndPower

    data = pa.table(control._asdict())
    effect = 0.1 * control.y.mean()
    return {
        "tea_n": tt.Mean("y", alpha=0.05, power=0.8, rel_effect_size=0.1).solve_power(data, "n_obs")[0].n_obs,
        "tea_ratio_n": tt.RatioOfMeans("y", "under", rel_effect_size=0.1).solve_power(data, "n_obs")[0].n_obs,
        "statsmodels_n": float(
            TTestIndPower().solve_power(effect / control.y.std(ddof=1), power=0.8, alpha=0.05)
        ),
    }


def main() -> None:
    """Writes the numbers, and prints who said them."""
    import statsmodels
    import tea_tasting

    rows = []
    for seed in range(TABLES):
        control, treated = table(seed)
        numbers = {
            "tea": _tea(control, treated),
            "gb": _gb(control, treated),
            "sm": _statsmodels(control, treated),
        }
        rows.append(numbers | ({"power": _power(control)} if seed < 20 else {}))
    NUMBERS.write_text("[\n" + ",\n".join(json.dumps(one, default=float) for one in rows) + "\n]\n")
    print(
        f"tea-tasting {tea_tasting.__version__}, statsmodels {statsmodels.__version__}, gbstats",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
