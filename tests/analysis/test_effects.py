"""Effects, intervals and bounds: equal to what other packages say, and true where nothing is certain."""

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from recsys.analysis.effects.bounds import (
    always_valid_p,
    band,
    group_bounds,
    group_inflation,
    group_p,
    group_power,
    hybrid_p,
    looks_taken,
    spent,
)
from recsys.analysis.effects.moments import moments_by_look, moments_of, pool
from recsys.analysis.effects.pair import Pair, Quantity, contrast, pair_of, post_stratified, relative
from recsys.analysis.effects.power import days_for, detectable, people_for, power_of, whole_weeks
from tests.analysis.oracle_tables import NUMBERS, TABLES, Arm, table

Y, UNDER, PAST_Y, PAST_UNDER = range(4)
ORACLES: list[dict[str, Any]] = json.loads(NUMBERS.read_text())
CASES = {
    "mean": (Quantity(Y), ()),
    "ratio": (Quantity(Y, UNDER), ()),
    "cuped": (Quantity(Y), (Quantity(PAST_Y),)),
    "cuped_ratio": (Quantity(Y, UNDER), (Quantity(PAST_Y, PAST_UNDER),)),
}


def pair(seed: int, case: str) -> Pair:
    control, treated = (moments_of(np.stack(arm, axis=1)) for arm in table(seed))
    return pair_of(control, treated, *CASES[case])


@pytest.mark.parametrize("case", CASES)
def test_effects_are_those_of_tea_tasting_and_gbstats(case: str) -> None:
    for seed in range(TABLES):
        arms = pair(seed, case)
        one = contrast(arms)
        low, high = one.interval(0.05)
        ours = [
            arms.control,
            arms.treated,
            one.estimate,
            low,
            high,
            one.p,
            arms.treated / arms.control - 1,
        ]
        assert np.allclose(ours, ORACLES[seed]["tea"][case], rtol=1e-9, atol=1e-12), seed
        if case in ORACLES[seed]["gb"]:
            assert np.allclose(
                [one.estimate, low, high, one.p], ORACLES[seed]["gb"][case], rtol=1e-9, atol=1e-12
            )


def test_welch_is_that_of_scipy_and_statsmodels() -> None:
    for seed in range(TABLES):
        control, treated = table(seed)
        one = contrast(pair(seed, "mean"))
        both = stats.ttest_ind(treated.y, control.y, equal_var=False)
        interval = both.confidence_interval(0.95)
        ours = [one.t, one.p, *one.interval(0.05)]
        assert np.allclose(
            ours, [both.statistic, both.pvalue, interval.low, interval.high], rtol=1e-9, atol=0
        )
        assert np.allclose(ours, ORACLES[seed]["sm"], rtol=1e-9, atol=0)
        assert stats.norm.sf(abs(one.z)) * 2 == pytest.approx(float(one.p), rel=1e-9)


def test_the_confidence_sequence_is_that_of_gbstats() -> None:
    for seed in range(TABLES):
        arms = pair(seed, "mean")
        one = contrast(arms)
        half = band(arms.n, 0.05, 1_000) * one.error
        p = always_valid_p(one.estimate / one.error, arms.n, 0.05, 1_000)
        ours = [one.estimate, one.estimate - half, one.estimate + half, p]
        assert np.allclose(ours, ORACLES[seed]["gb"]["sequential"], rtol=1e-9, atol=0)


def test_a_relative_interval_is_near_that_of_the_delta_method_where_the_control_mean_is_far_from_zero() -> (
    None
):
    """And not the same: Fieller's is longer on the far side. Without variance of the control they are one."""
    for seed in range(TABLES):
        arms = pair(seed, "mean")
        ours = np.array(relative(arms, stats.t.isf(0.025, contrast(arms).df)))
        theirs = np.array(ORACLES[seed]["gb"]["relative"][:3])
        assert ours[0] == pytest.approx(theirs[0], rel=1e-9)
        assert np.abs(ours - theirs).max() < 0.2 * (theirs[2] - theirs[1])


def test_people_needed_are_those_of_tea_tasting_and_statsmodels() -> None:
    for seed in range(20):
        control = table(seed)[0]
        moments, said = moments_of(np.stack(control, axis=1)), ORACLES[seed]["power"]
        mean, variance = moments.mean[Y], moments.cov[Y, Y]
        needed = people_for(0.1 * mean, variance)
        assert np.ceil(needed) == said["tea_n"]
        assert needed / 2 == pytest.approx(said["statsmodels_n"], rel=1e-6)
        ratio = Quantity(Y, UNDER)
        slope = ratio.gradient(moments)
        assert (
            np.ceil(people_for(0.1 * float(ratio.value(moments)), slope @ moments.cov @ slope))
            == said["tea_ratio_n"]
        )
        assert power_of(0.1 * mean, variance, needed) == pytest.approx(0.8, abs=1e-6)
        assert detectable(variance, needed) == pytest.approx(0.1 * mean, rel=1e-6)


def test_power_where_there_is_nothing_to_show_or_nothing_varies() -> None:
    assert people_for(0.0, 1.0) == people_for(1e-9, 1.0) == float("inf")
    assert people_for(1.0, 0.0) == 0
    assert detectable(0.0, 100) == 0
    assert people_for(0.1, 1.0, share=0.1) > 2.5 * people_for(0.1, 1.0)
    assert days_for(250, np.array([100, 100, 60, 30])) == 3
    assert days_for(291, np.array([100, 100, 60, 30])) is None
    assert [whole_weeks(days) for days in (1, 7, 8)] == [7, 7, 14]


def test_published_bounds() -> None:
    """Five looks of O'Brien-Fleming type: Jennison and Turnbull, and every package since."""
    assert np.allclose(group_bounds(np.arange(1, 6) / 5), [4.877, 3.357, 2.680, 2.290, 2.031], atol=5e-4)
    assert group_bounds(np.arange(1, 15) / 14)[-1] == pytest.approx(2.103, abs=5e-4)
    assert group_bounds(np.array([1.0]))[0] == pytest.approx(stats.norm.isf(0.025), abs=1e-9)


def test_bounds_spend_what_they_may() -> None:
    """By simulation of the walk itself: a million paths, five standard deviations."""
    information = np.array([0.1, 0.35, 0.351, 0.5, 0.97, 1.0])
    bounds = group_bounds(information)
    assert list(np.isinf(bounds)) == [False, False, True, False, False, False]
    walk = np.random.default_rng(0).standard_normal((1_000_000, 6)) * np.sqrt(np.diff(np.r_[0, information]))
    crossed = (np.abs(walk.cumsum(axis=1)) / np.sqrt(information) > bounds).cumsum(axis=1) > 0
    for at in (1, 3, 4, 5):
        expected = float(spent(information[at], 0.05))
        assert abs(crossed[:, at].mean() - expected) < 5 * np.sqrt(expected / 1e6)


def test_looks_that_gain_nothing_are_none_and_the_last_always_is_one() -> None:
    assert list(looks_taken(np.array([0.001, 0.2, 0.2, 0.203, 0.204]))) == [False, False, False, False, True]
    assert list(looks_taken(np.array([0.3, 0.6, 0.6]))) == [True, False, True]
    assert list(looks_taken(np.array([0.003]))) == [True]
    assert not looks_taken(np.zeros(3)).any()


def test_sequential_p_values_are_where_the_bounds_are() -> None:
    information = np.arange(1, 6) / 5
    for alpha in (0.01, 0.05, 0.2):
        bounds = group_bounds(information, alpha)
        for at in range(5):
            assert group_p(bounds[at], information[: at + 1]) == pytest.approx(alpha, rel=2e-3)
            assert group_p(-1.001 * bounds[at], information[: at + 1]) < alpha
    assert group_p(0.0, information) == 1.0
    assert group_p(40.0, information) <= 1e-11


def test_the_hybrid_decides_at_the_end_or_when_the_watch_cries() -> None:
    assert hybrid_p(2.06, 10_000, 0.05, 10_000, ended=True) < 0.05
    assert hybrid_p(2.06, 10_000, 0.05, 10_000, ended=False) > 0.05
    assert hybrid_p(2.0, 10_000, 0.05, 10_000, ended=True) > 0.05
    assert hybrid_p(5.0, 2_000, 0.05, 10_000, ended=False) < 0.05


def test_power_of_bounds_is_what_simulation_gives() -> None:
    information = np.arange(1, 15) / 14
    drift = float(stats.norm.isf(0.025) + stats.norm.isf(0.2))
    walk = np.cumsum(np.random.default_rng(7).standard_normal((200_000, 14)) / np.sqrt(14), axis=1)
    crossed = (np.abs(walk + drift * information) / np.sqrt(information) > group_bounds(information)).any(
        axis=1
    )
    assert group_power(drift, information) == pytest.approx(crossed.mean(), abs=5 * np.sqrt(0.16 / 200_000))
    assert group_power(0.0, information) == pytest.approx(0.05, abs=1e-6)
    assert group_power(drift * np.sqrt(group_inflation(14)), information) == pytest.approx(0.8, abs=1e-6)
    assert 1 < group_inflation(5) < group_inflation(14) < 1.06
    assert group_inflation(1) == 1


def test_moments_add_up() -> None:
    rng = np.random.default_rng(1)
    columns, look = 1e6 + rng.random((500, 3)), rng.integers(0, 4, 500)
    by_look = moments_by_look(columns, look, 4)
    for at in range(4):
        whole = moments_of(columns[look <= at])
        for ours, expected in zip((row[at] for row in by_look), whole, strict=True):
            assert np.allclose(ours, expected, rtol=1e-9)
    both = pool(moments_of(columns[:99]), moments_of(columns[99:]))
    assert all(np.allclose(*two, rtol=1e-9) for two in zip(both, moments_of(columns), strict=True))


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_cuped_leaves_one_minus_rho_squared_of_the_variance(rho: float) -> None:
    rng = np.random.default_rng(2)
    past = rng.standard_normal((2, 20_000))
    y = rho * past + np.sqrt(1 - rho**2) * rng.standard_normal((2, 20_000))
    control, treated = (moments_of(np.stack([y[arm], past[arm], np.ones(20_000)], 1)) for arm in (0, 1))
    plain = contrast(pair_of(control, treated, Quantity(0)))
    for by_arm in (False, True):  # and a column that never varies changes nothing
        adjusted = contrast(pair_of(control, treated, Quantity(0), [Quantity(1), Quantity(2)], by_arm=by_arm))
        assert (adjusted.error / plain.error) ** 2 == pytest.approx(1 - rho**2, abs=0.02)


def test_a_theta_for_each_arm_is_the_regression_with_interactions() -> None:
    """Lin's: the coefficient of the arm, where covariates are centred and interact with it."""
    for seed in range(20):
        control, treated = table(seed)
        y, x = (np.r_[getattr(control, name), getattr(treated, name)] for name in ("y", "past_y"))
        arm = np.r_[np.zeros(len(control.y)), np.ones(len(treated.y))]
        centred = x - x.mean()
        design = np.stack([np.ones(len(y)), arm, centred, arm * centred], 1)
        moments = [moments_of(np.stack(one, axis=1)) for one in (control, treated)]
        effect = contrast(pair_of(*moments, Quantity(Y), [Quantity(PAST_Y)], by_arm=True))
        coefficients, *_ = np.linalg.lstsq(design, y)
        assert float(effect.estimate) == pytest.approx(coefficients[1], rel=1e-9)
        rest = y - design @ coefficients
        bread = np.linalg.inv(design.T @ design)
        robust = bread @ (design * rest[:, None] ** 2).T @ design @ bread
        assert float(effect.error) == pytest.approx(np.sqrt(robust[1, 1]), rel=0.15)  # few people


def test_no_relative_figure_where_the_control_mean_may_be_zero() -> None:
    near = Pair(*(np.float64(v) for v in (0.1, 0.3, 0.01, 0.01, 0.0, 0.01, 0.01, 100, 100)), np.zeros(0))
    assert np.isnan(relative(near, 1.96)).all()
    far = near._replace(control=np.float64(1.0), treated=np.float64(1.2))
    effect, low, high = relative(far, 1.96)
    assert low < effect < high
    assert effect == pytest.approx(0.2)


def test_nothing_that_varies_gives_no_verdict_and_no_warning() -> None:
    same = moments_of(np.ones((100, 2)))
    one = contrast(pair_of(same, same, Quantity(0, 1), [Quantity(1)]))
    assert (float(one.estimate), float(one.error), float(one.p), float(one.z)) == (0.0, 0.0, 1.0, 0.0)


def test_post_stratified_is_the_whole_where_groups_are_alike_and_less_wide_where_they_differ() -> None:
    rng = np.random.default_rng(3)
    warm = rng.random((2, 4_000)) < 0.5
    y = np.where(warm, 10.0, 0.0) + rng.standard_normal((2, 4_000))
    pairs = [
        pair_of(*(moments_of(y[arm, warm[arm] == group][:, None]) for arm in (0, 1)), Quantity(0))
        for group in (0, 1)
    ]
    whole = contrast(pair_of(*(moments_of(y[arm][:, None]) for arm in (0, 1)), Quantity(0)))
    apart = post_stratified(pairs)
    assert apart.error < 0.25 * whole.error
    assert abs(apart.estimate) < 5 * apart.error
    single = pair_of(moments_of(y[0][:, None]), moments_of(y[1][:, None]), Quantity(0))
    assert post_stratified([single]).error == pytest.approx(float(whole.error), rel=1e-12)


def test_arms_of_the_oracles_are_not_alike() -> None:
    """The tables are worth asking about: people differ, and so do arms."""
    assert all(isinstance(arm, Arm) and arm.y.std() > 0 for seed in range(TABLES) for arm in table(seed))
