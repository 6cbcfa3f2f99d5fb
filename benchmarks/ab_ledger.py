"""The ledger where the truth is known: 40 tests whose offline differences mean something online, many times
over.

Worlds: `plain`, every challenger is tested; `chosen`, the best of five candidates offline is tested, so that
what was chosen is too large by chance; `nothing`, offline says nothing of online. Held against: taking
offline figures alone at their word; a least-squares line through the tests, which knows of no errors; and no
forecast at all.

    python -m benchmarks.ab_ledger [--quick] [WORLD]...    each world is written for itself, in half a minute
"""

import sys
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.results import read_rows, report
from recsys.analysis.ledger import Entry, Ledger, learn_ledger
from recsys.arrays import F64

TESTS, LATER = 40, 8  # tests of a ledger, and challengers whose online effect is forecast from it
OMEGA, OFFLINE_ERROR, TAU, ONLINE_ERROR = 0.03, 0.02, 0.004, 0.006  # shares of the control


class World(NamedTuple):
    """slope: online per offline. candidates: of whom the best is tested."""

    slope: float
    candidates: int
    centre: float = 0.01


WORLDS = {
    "plain": World(0.3, 1),
    "chosen": World(0.3, 5),
    "nothing": World(0.0, 5),
    "steep": World(0.8, 5),
}


class Drawn(NamedTuple):
    """x, s, y, t (n,): as measured; v: the true online effect."""

    x: F64
    s: F64
    y: F64
    t: F64
    v: F64


def draw(rng: np.random.Generator, world: World, n: int) -> Drawn:
    true = rng.normal(world.centre, OMEGA, (n, world.candidates))
    s = OFFLINE_ERROR * rng.uniform(0.5, 1.5, n)
    measured = true + s[:, None] * rng.standard_normal(true.shape)
    best = measured.argmax(axis=1)
    rows = np.arange(n)
    v = world.slope * true[rows, best] + rng.normal(0, TAU, n)
    t = ONLINE_ERROR * rng.uniform(0.5, 1.5, n)
    return Drawn(measured[rows, best], s, v + t * rng.standard_normal(n), t, v)


def learn(drawn: Drawn, world: World) -> Ledger:
    figures = zip(drawn.x.tolist(), drawn.s.tolist(), drawn.y.tolist(), drawn.t.tolist(), strict=True)
    return learn_ledger(
        [Entry(f"test {at}", x, s, y, t, world.candidates) for at, (x, s, y, t) in enumerate(figures)]
    )


def judge(name: str, seeds: int) -> dict[str, Any]:
    """How often the slope's interval holds the truth, and how far forecasts are from what came."""
    world = WORLDS[name]
    rng = np.random.default_rng([ord(letter) for letter in name])
    covered, widths, singles, effective = 0, [], [], []
    errors: dict[str, list[float]] = {"ledger": [], "offline": [], "line": [], "none": []}
    shrunk, raw = [], []
    for seed in range(seeds):
        past, later = draw(rng, world, TESTS), draw(rng, world, LATER)
        ledger = learn(past, world)
        covered += ledger.slope.low <= world.slope <= ledger.slope.high
        widths.append(ledger.slope.high - ledger.slope.low)
        effective.append(ledger.effective)
        forecasts = [ledger.forecast(float(x), float(s)) for x, s in zip(later.x, later.s, strict=True)]
        singles += [one.single.low <= v <= one.single.high for one, v in zip(forecasts, later.v, strict=True)]
        line = np.polyfit(past.x, past.y, 1)
        said = {
            "ledger": np.array([one.single.mean for one in forecasts]),
            "offline": later.x,
            "line": np.polyval(line, later.x),
            "none": np.zeros(LATER),
        }
        for who, values in said.items():
            errors[who].append(float(np.mean((values - later.v) ** 2)))
        if seed % 5:
            continue
        shrunk.append(
            np.mean([(one.online.mean - v) ** 2 for one, v in zip(ledger.shrunk(), past.v, strict=True)])
        )
        raw.append(np.mean((past.y - past.v) ** 2))
    mean = {who: 100 * float(np.sqrt(np.mean(several))) for who, several in errors.items()}
    return {
        "world": name,
        "slope": world.slope,
        "ledgers": seeds,
        "slope's interval holds it, %": round(100 * covered / seeds, 2),
        "its standard error": round(100 * float(np.sqrt(0.95 * 0.05 / seeds)), 2),
        "interval's width": round(float(np.mean(widths)), 3),
        "forecast's interval holds the effect, %": round(100 * float(np.mean(singles)), 2),
        "error of forecast, points": round(mean["ledger"], 3),
        "of offline alone": round(mean["offline"], 3),
        "of a least-squares line": round(mean["line"], 3),
        "of none": round(mean["none"], 3),
        "p, below offline alone": _p_below(errors["ledger"], errors["offline"]),
        "p, below the line": _p_below(errors["ledger"], errors["line"]),
        "online figure's error": round(100 * float(np.sqrt(np.mean(raw))), 3),
        "shrunk": round(100 * float(np.sqrt(np.mean(shrunk))), 3),
        "least effective draws": round(min(effective)),
    }  # fmt: skip


def _p_below(one: list[float], other: list[float]) -> float:
    """That the first is below the second by chance: a paired test over ledgers."""
    return float(f"{stats.ttest_rel(one, other, alternative='less').pvalue:.2g}")


def main() -> None:
    quick = "--quick" in sys.argv
    asked = [name for name in sys.argv[1:] if name in WORLDS] or list(WORLDS)
    rows = {} if quick else {row["world"]: row for row in read_rows("ab_ledger")}
    for name in asked:
        rows[name] = judge(name, 40 if quick else 400)
        report(
            "ab_ledger",
            [rows[world] for world in WORLDS if world in rows],
            title=f"The ledger on {TESTS} planted tests, {LATER} later challengers",
            note=(
                "Errors are root mean squares in points of the online effect (1 = one percent of the "
                "control)."
            ),
            quick=quick,
        )


if __name__ == "__main__":
    main()
