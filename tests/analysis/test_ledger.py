"""The ledger: what offline differences have meant online, with errors in both and the winner's curse taken
out."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from recsys.analysis.ledger import LEAST, Entry, learn_ledger
from recsys.errors import DataError


def entries(
    rng: np.random.Generator, slope: float = 0.3, n: int = 40, candidates: int = 1, **sizes: float
) -> list[Entry]:
    size = {"omega": 0.03, "offline": 0.02, "tau": 0.004, "online": 0.006} | sizes
    true = rng.normal(0.01, size["omega"], (n, candidates))
    measured = true + rng.normal(0, size["offline"], true.shape)
    best = measured.argmax(axis=1)
    rows = np.arange(n)
    online = slope * true[rows, best] + rng.normal(0, size["tau"], n) + rng.normal(0, size["online"], n)
    offline = measured[rows, best].tolist()
    return [
        Entry(f"test {at}", x, size["offline"], y, size["online"], candidates)
        for at, (x, y) in enumerate(zip(offline, online.tolist(), strict=True))
    ]


@pytest.mark.certain
def test_where_nothing_has_an_error_the_slope_is_that_of_the_line(certain_seed: int) -> None:
    known = entries(np.random.default_rng(certain_seed), offline=1e-6, online=1e-6, tau=1e-4)
    ledger = learn_ledger(known)
    line = np.polyfit([one.offline for one in known], [one.online for one in known], 1)
    assert ledger.slope.mean == pytest.approx(line[0], abs=0.002)
    assert ledger.intercept.mean == pytest.approx(line[1], abs=1e-4)
    assert ledger.slope.low < line[0] < ledger.slope.high
    assert ledger.forecast(0.03).meant.mean == pytest.approx(np.polyval(line, 0.03), abs=1e-4)


def test_errors_of_the_offline_figures_do_not_flatten_the_slope() -> None:
    """The mean of many ledgers is the truth, where a plain line has lost a third of it."""
    slopes, lines = [], []
    for seed in range(8):
        known = entries(np.random.default_rng(seed), n=80)
        slopes.append(learn_ledger(known).slope.mean)
        lines.append(np.polyfit([one.offline for one in known], [one.online for one in known], 1)[0])
    assert np.mean(slopes) == pytest.approx(0.3, abs=0.05)
    assert np.mean(lines) < 0.25


def test_the_best_of_many_is_not_taken_at_its_word() -> None:
    rng = np.random.default_rng(3)
    known = entries(rng, candidates=5)
    told, untold = learn_ledger(known), learn_ledger([one._replace(candidates=1) for one in known])
    middle = float(np.mean([one.offline for one in known]))
    assert (
        told.forecast(middle, 0.02).offline.mean < untold.forecast(middle, 0.02).offline.mean < middle + 1e-9
    )
    assert told.slope.low < 0.3 < told.slope.high


def test_a_lucky_test_is_shrunk_towards_what_its_offline_difference_meant_elsewhere() -> None:
    known = entries(np.random.default_rng(4))
    lucky = Entry("lucky", 0.01, 0.02, 0.05, 0.02)
    shrunk = {one.name: one.online for one in learn_ledger([*known, lucky]).shrunk()}
    assert shrunk["lucky"].mean < 0.02
    assert shrunk["lucky"].high - shrunk["lucky"].low < 2 * 1.96 * 0.02
    errors = [abs(shrunk[one.name].mean - one.online) for one in known]
    assert max(errors) < 0.03


def test_forecasts_widen_with_their_doubt_and_are_the_same_each_time() -> None:
    known = entries(np.random.default_rng(5))
    ledger, again = learn_ledger(known), learn_ledger(known)
    for one, other in zip(ledger.forecast(0.03, 0.01), again.forecast(0.03, 0.01), strict=True):
        assert one == other
    widths = [ledger.forecast(0.03, error).single for error in (0.0, 0.01, 0.03)]
    assert all(one.high - one.low < other.high - other.low for one, other in pairwise(widths))
    one = ledger.forecast(0.03, 0.01)
    assert one.single.low < one.meant.low < one.meant.mean < one.meant.high < one.single.high
    assert ledger.effective > 500


def test_few_tests_say_little() -> None:
    widths = []
    for seed in range(5):
        known = entries(np.random.default_rng([6, seed]))
        slopes = [learn_ledger(known[:LEAST]).slope, learn_ledger(known).slope]
        widths.append([one.high - one.low for one in slopes])
    few, many = np.mean(widths, axis=0)
    assert few > 2.5 * many
    with pytest.raises(DataError, match=f"has 4 finished tests, and {LEAST} are needed"):
        learn_ledger(known[:4])


@pytest.mark.parametrize("changed", [{"online_error": 0.0}, {"candidates": 0}, {"offline_error": -1.0}])
def test_entries_without_errors_are_refused(changed: dict[str, Any]) -> None:
    known = entries(np.random.default_rng(7))
    with pytest.raises(DataError, match="'test 0' has no standard error"):
        learn_ledger([known[0]._replace(**changed), *known[1:]])
