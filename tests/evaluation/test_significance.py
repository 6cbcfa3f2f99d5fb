"""Intervals that cover, tests that agree with the textbook, and words for the verdict."""

import numpy as np
import pytest
from scipy import stats

from recsys.evaluation.significance import FEW_USERS, Comparison, Interval, bootstrap, compare, paired_p


@pytest.mark.parametrize("kind", ["normal", "rare hits"])
def test_the_bootstrap_interval_covers_the_true_mean_about_95_times_in_100(kind: str) -> None:
    rng = np.random.default_rng(1)
    trials, n, covered = 200, 200, 0
    for trial in range(trials):
        values = rng.normal(3.0, 2.0, n) if kind == "normal" else (rng.random(n) < 0.2).astype(float)
        interval = bootstrap(values, seed=trial)
        covered += interval.low <= (3.0 if kind == "normal" else 0.2) <= interval.high
    assert 0.895 < covered / trials < 0.985


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(2).exponential(size=5_000)
    mean, low, high = bootstrap(values)
    assert mean == pytest.approx(values.mean())
    expected = 1.96 * values.std() / np.sqrt(len(values))
    assert high - mean == pytest.approx(expected, rel=0.15)
    assert mean - low == pytest.approx(expected, rel=0.15)


def test_the_interval_draws_from_a_stream_of_its_own() -> None:
    values = np.random.default_rng(3).random(50)
    np.random.seed(1)  # noqa: NPY002  the global state must neither matter nor move
    first = bootstrap(values)
    np.random.seed(2)  # noqa: NPY002
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    assert bootstrap(values) == first
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002
    assert bootstrap(values, seed=1) != first


def test_intervals_of_no_users_and_of_equal_users() -> None:
    assert np.isnan(bootstrap(np.array([]))).all()
    assert bootstrap(np.full(7, 0.5)) == pytest.approx((0.5, 0.5, 0.5))
    assert bootstrap(np.array([0.25])) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("n", [2, 10, 1_000])
def test_the_paired_test_is_the_t_test_of_scipy(n: int) -> None:
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.05, 0.5, -0.2):
        first = rng.random(n)
        second = first + rng.normal(shift, 0.3, n)
        assert paired_p(first, second) == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-9)


def test_the_paired_test_on_differences_without_spread() -> None:
    ones, halves = np.ones(20), np.full(20, 0.5)
    assert paired_p(ones, ones) == 1.0
    assert paired_p(ones, halves) == 0.0
    assert paired_p(np.array([1.0]), np.array([0.0])) == 1.0


def test_false_alarms_come_at_the_promised_rate() -> None:
    rng = np.random.default_rng(5)
    p = np.array([paired_p(*(rng.random((2, 300)) < 0.3).astype(float)) for _ in range(800)])
    assert 0.03 < (p < 0.05).mean() < 0.075


def with_p(monkeypatch: pytest.MonkeyPatch, p: dict[str, float]) -> dict[str, float]:
    """What Holm's correction makes of these p-values."""
    others = {name: np.full(3, float(at + 1)) for at, name in enumerate(p)}
    by_level = {float(at + 1): value for at, value in enumerate(p.values())}
    monkeypatch.setattr("recsys.evaluation.significance.paired_p", lambda _, other: by_level[other[0]])
    comparisons = compare(np.zeros(3), others, warm=FEW_USERS)
    assert {name: comparison.p for name, comparison in comparisons.items()} == p
    assert list(comparisons) == list(p)
    return {name: comparison.p_holm for name, comparison in comparisons.items()}


@pytest.mark.parametrize(
    ("p", "holm"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # .005*4, .01*3, .03*2, max(.04*1, .06)
        ([0.6, 0.5], [1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
        ([0.04], [0.04]),
        ([0.9, 0.001], [0.9, 0.002]),
    ],
)
def test_holms_correction_by_hand(monkeypatch: pytest.MonkeyPatch, p: list[float], holm: list[float]) -> None:
    by_row = with_p(monkeypatch, {f"row {at}": value for at, value in enumerate(p)})
    assert list(by_row.values()) == pytest.approx(holm)


def test_a_comparison_is_first_minus_other() -> None:
    rng = np.random.default_rng(7)
    first = rng.random(400)
    comparisons = compare(first, {"worse": first - 0.2 + rng.normal(0, 0.1, 400), "same": first}, warm=400)
    assert comparisons["worse"].difference.mean == pytest.approx(0.2, abs=0.02)
    assert comparisons["worse"].difference.low > 0.15
    assert (comparisons["worse"].verdict, comparisons["same"].verdict) == ("better", "no difference shown")
    assert (comparisons["same"].p, comparisons["same"].p_holm) == (1.0, 1.0)
    assert comparisons["worse"].warm == 400


@pytest.mark.parametrize(
    ("mean", "p_holm", "warm", "verdict"),
    [
        (0.1, 0.001, FEW_USERS, "better"),
        (-0.1, 0.001, FEW_USERS, "worse"),
        (0.1, 0.05, FEW_USERS, "no difference shown"),
        (0.1, 0.0499, FEW_USERS, "better"),
        (0.1, 1e-9, FEW_USERS - 1, "too few to compare"),
        (-0.1, 1.0, 0, "too few to compare"),
    ],
)
def test_the_verdict_in_words(mean: float, p_holm: float, warm: int, verdict: str) -> None:
    assert Comparison(Interval(mean, mean - 0.01, mean + 0.01), 0.0, p_holm, warm).verdict == verdict


def test_under_200_warm_users_nothing_is_concluded() -> None:
    assert FEW_USERS == 200
