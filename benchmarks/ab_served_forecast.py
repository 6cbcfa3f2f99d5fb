"""Whether forecasts of a test, and values of policies that were not served, are right where the truth is
known.

    python -m benchmarks.ab_served_forecast [--parts forecast,off-policy] [--pairs 10] [--logs 100] [--quick]

`forecast`: pairs of bundles whose lists differ for 10 to 100 % of people; from a log of the control alone,
the people whom an effect of 5 % needs: of all, of those whose lists differ, and with merged lists; against
the people it needs by what is really done in the test. `off-policy`: the value of lists drawn with little
chance, from a log of lists drawn with much, against the value that is known. Each pair is a line in
mlruns/ab_served_forecast.jsonl.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
from scipy import stats

from benchmarks.results import report
from recsys.analysis.off_policy import ListLog, evaluate_policy
from recsys.arrays import F64
from recsys.config import home
from recsys.experiments.arms import Explore
from recsys.experiments.draft import merge_by_draft
from recsys.experiments.exploration import plackett_luce, propensities
from recsys.history import DAY_S
from recsys.pipelines.ab.served.forecast import forecast_experiment
from recsys.pipelines.console import Steps
from recsys.pipelines.simulate.people import draw_clicks
from recsys.pipelines.simulate.shop import START, K, Shop, make_shop
from recsys.pipelines.simulate.weeks import Weeks, prepare, run_inside, store_written
from recsys.seeding import generator

PEOPLE, ITEMS, EFFECT, MDE, WINDOW_DAYS, LISTS = 6_000, 400, 0.1, 0.05, 7, 8_000
Z = float(stats.norm.isf(0.025) + stats.norm.isf(0.2))
DEFINITION = """
control = "control"
[arms.control]
bundle = "{control}"
[arms.better]
bundle = "{better}"
[plan]
window_days = 7
past_days = 0
metrics = [{{ name = "clicks", event = "click", role = "primary", mde = 0.05 }}]
[[phases]]
salt = "next"
starts = 2100-01-01T00:00:00Z
weights = {{ control = 0.5, better = 0.5 }}
"""


def pair(number: int, pairs: int, people: int) -> dict[str, Any]:
    """The forecast for one pair, and the people that the same effects really need."""
    share = (number + 1) / pairs
    shop = make_shop(people, ITEMS, EFFECT * share, 200 + number, differ=share)
    differs = (shop.lists["control"] != shop.lists["better"]).any(axis=1)
    with TemporaryDirectory() as name:
        folder = Path(name)
        weeks = prepare(folder, shop, days=14, seed=number)
        bundles = {arm: weeks.frozen.experiment.arm(arm).bundle for arm in ("control", "better")}
        log_of_control(weeks, bundles["control"])
        (folder / "next.toml").write_text(DEFINITION.format(**bundles))
        forecasts = forecast_experiment(
            Steps(quiet=True), "next", folder, weeks.root, weeks.state, limit=LISTS
        )
    clicks, merged, preferred = what_people_do(replace_seed(weeks), shop)
    inflation = forecasts.whole.inflation
    carried = float(clicks[differs].sum() / clicks.sum())
    whole = people_needed(clicks, MDE) * inflation
    triggered = people_needed(clicks[differs], MDE / carried) * inflation
    interleaved = Z**2 * merged.var() / (preferred * MDE / shop.effect) ** 2
    assert forecasts.triggered is not None
    assert forecasts.interleaved is not None
    return {
        "pair": number,
        "differ": float(differs.mean()),
        "forecast differ": forecasts.share,
        **{
            name: float(np.sqrt(forecast / truth) - 1)
            for name, forecast, truth in (
                ("all", forecasts.whole.planned, whole),
                ("triggered", forecasts.triggered.planned, triggered),
                ("interleaving", forecasts.interleaved.people, interleaved),
            )
        },
        "people": float(whole),
        "people triggered": float(triggered),
        "people interleaving": float(interleaved),
    }


def people_needed(figures: F64, effect: float) -> float:
    """People of both arms whom an effect, as a share of the mean of these figures, needs in one look."""
    return float(4 * Z**2 * figures.var() / (effect * figures.mean()) ** 2)


def log_of_control(weeks: Weeks, bundle: str) -> None:
    """Writes weeks in which everybody is served the control, in no experiment."""
    lists = dict.fromkeys(("control", "better"), weeks.shop.lists["control"])
    plain = replace(weeks, shop=replace(weeks.shop, lists=lists))
    written = run_inside(plain)
    for line in written.lines:
        line |= {"experiment": None, "phase": None, "arm": None, "bundle_id": bundle}
    store_written(weeks, written)


def replace_seed(weeks: Weeks) -> Weeks:
    """The same people in other weeks: those of the test."""
    return replace(weeks, seed=weeks.seed + 1_000)


def what_people_do(weeks: Weeks, shop: Shop) -> tuple[F64, F64, float]:
    """Of each person, in the week from their first visit on: clicks on the control's lists, and on merged
    lists those on the better arm's picks less those on the control's, and the mean of the latter that is to
    be expected."""
    first = np.full(len(shop.people), np.iinfo(np.int64).max)
    np.minimum.at(first, weeks.person, weeks.second)
    inside = weeks.second < first[weeks.person] + WINDOW_DAYS * DAY_S
    person, rng = weeks.person[inside], generator(weeks.seed, "what people do")
    chances = shop.people.chances(person, shop.lists["control"][person])
    row, _ = draw_clicks(chances, rng)
    clicks = np.bincount(person[row], minlength=len(shop.people)).astype(np.float64)
    lists, sign = np.empty((len(person), K), np.int64), np.zeros((len(person), K))
    for at, who in enumerate(person.tolist()):
        both = {arm: [str(item) for item in shop.lists[arm][who].tolist()] for arm in ("better", "control")}
        draft = merge_by_draft(both, K, f"{weeks.seed} {at}")
        lists[at] = [int(item) for item in draft.items]
        sign[at] = [0 if team is None else 1 if team == "better" else -1 for team in draft.team]
    chances = shop.people.chances(person, lists)
    row, place = draw_clicks(chances, rng)
    preferred = np.bincount(person[row], weights=sign[row, place], minlength=len(shop.people))
    came = np.isfinite(first) & (first < START + 14 * DAY_S)
    expected = np.bincount(person, weights=(chances * sign).sum(axis=1), minlength=len(shop.people))
    return clicks[came], preferred[came], float(expected[came].mean())


def off_policy(logs: int, people: int) -> dict[str, Any]:
    """Logs of three of the best six by temperature 1, and the value of the same by temperature 0.3."""
    shop = make_shop(people, ITEMS, EFFECT, 1)
    logging, target = Explore(temperature=1.0, candidates=6), Explore(temperature=0.3, candidates=6)
    scores = shop.tables["control"] @ shop.people.items.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    names = [[str(item) for item in row] for row in best.tolist()]
    told = np.take_along_axis(scores, best, axis=1).astype(np.float64).tolist()

    def lists_of(explore: Explore, who: Sequence[int], what: str) -> list[tuple[list[int], list[float]]]:
        return [explore.draw(names[one], told[one], 3, f"{what} {at}") for at, one in enumerate(who)]

    everybody = np.tile(np.arange(people), 20)
    drawn = np.array([places for places, _ in lists_of(target, everybody.tolist(), "truth")])
    truth = float(shop.people.chances(everybody, best[everybody[:, None], drawn]).sum(axis=1).mean())
    covered, refused = dict.fromkeys(("ips", "snips", "cascade"), 0), 0
    for log in range(logs):
        rng = generator(log, "off-policy people")
        who = rng.integers(people, size=2 * people)
        shown = lists_of(logging, who.tolist(), f"log {log}")
        places = np.array([one for one, _ in shown])
        chosen = best[who[:, None], places]
        asked = [
            propensities(plackett_luce(names[one], told[one], 0.3), [names[one][at] for at in row])
            for one, row in zip(who.tolist(), places.tolist(), strict=True)
        ]
        reward = (rng.random(chosen.shape) < shop.people.chances(who, chosen)).astype(np.float64)
        values = evaluate_policy(
            ListLog(who, reward, np.array([chance for _, chance in shown]), np.array(asked))
        )
        for value in values:
            refused += bool(value.refused)
            covered[value.estimator] += not value.refused and value.value.low <= truth <= value.value.high
    return {"logs": logs, "truth": truth, "refused": refused, **covered}


@click.command()
@click.option("--parts", default="forecast,off-policy", show_default=True, help="Which, separated by commas.")
@click.option("--pairs", default=10, show_default=True, help="Of bundles.")
@click.option("--logs", default=100, show_default=True, help="Of explored lists.")
@click.option("--first", default=100, show_default=True, help="Make at most so many pairs now.")
@click.option("--quick", is_flag=True, help="Few people and logs; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(parts: str, pairs: int, logs: int, first: int, quick: bool, as_json: bool) -> None:
    """Measure forecasts and off-policy values against what is known."""
    kept = home() / "mlruns" / ("ab_served_forecast_quick.jsonl" if quick else "ab_served_forecast.jsonl")
    kept.parent.mkdir(exist_ok=True)
    if quick and kept.exists():
        kept.unlink()
    done = [json.loads(text) for text in kept.read_text().splitlines()] if kept.exists() else []
    people = 1_500 if quick else PEOPLE
    new = [
        number for number in range(1 if quick else pairs) if all(one.get("pair") != number for one in done)
    ]
    runs: list[Any] = [lambda n=n: pair(n, pairs, people) for n in new[:first]] if "forecast" in parts else []
    if "off-policy" in parts and all("logs" not in one for one in done):
        runs.append(lambda: off_policy(3 if quick else logs, 500 if quick else 2_000))
    for run in runs:
        done.append(run())
        with kept.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(done[-1], file=sys.stderr, flush=True)
    rows = [
        {"what": f"pair whose lists differ for {one['differ']:.0%}", **one} for one in done if "pair" in one
    ]
    rows += [{"what": "off-policy values that hold the truth", **one} for one in done if "logs" in one]
    names = ("what", "all", "triggered", "interleaving", "logs", "ips", "snips", "cascade")
    report(
        "ab_served_forecast",
        rows,
        title="Forecasts of tests, and values of policies that were not served, against the truth",
        columns={name: name for name in names},
        note="By how much the smallest effect that the forecast's people show is off (0.25 = a quarter), for "
        f"{MDE:.0%} of clicks: by all people, by those whose lists differ, with merged lists. Off-policy: "
        f"logs whose 95 % interval holds the true value.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
