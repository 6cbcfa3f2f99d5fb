"""Served experiments where the truth is known: verdicts over HTTP and inside, planted sicknesses, lists made
again.

    python -m benchmarks.ab_served [--parts served,inside,sick,replay,lists] [--runs 20] [--inside 100]
    [--quick]

`served`: seeded runs of the real service over HTTP, with +10 % clicks (sized for power .99) and with none;
`inside`: the same without a service, which are healthy runs, too; `sick`: ten sicknesses at three strengths;
`replay`: lists of the other arm, made again, against lists that were really served; `lists`: merged and
explored lists against a plain model. Each run is a line in mlruns/ab_served.jsonl, so that what was cut off
goes on; results are of all lines there.
"""

import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from http.client import HTTPConnection
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import click

from benchmarks.results import report
from recsys.answers.question import Question
from recsys.answers.recipe import Part, Recipe
from recsys.answers.replay import trace
from recsys.answers.respond import answer
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import point_to
from recsys.bundle.trials import start_experiment
from recsys.config import home
from recsys.events.clock import keep_time
from recsys.experiments.arms import Explore
from recsys.experiments.definition import Experiment
from recsys.experiments.draft import PURPOSE
from recsys.experiments.exploration import epsilon_below, plackett_luce, propensities
from recsys.experiments.folder import experiment_of
from recsys.experiments.hashing import uniforms
from recsys.pipelines.ab.served.replayed import Arms
from recsys.pipelines.service import running
from recsys.pipelines.simulate.shop import START, Shop, make_shop, publish
from recsys.pipelines.simulate.sick import SICKNESSES, mean_effect, names_sickness, run_sick, sick_checks
from recsys.pipelines.simulate.weeks import prepare, report_weeks, run_inside, run_served, store_written

PEOPLE, ITEMS, EFFECT, DAYS = 9_000, 400, 0.1, 14
PER_SHOP = 20  # seeds of one shop
PARTS = ("served", "inside", "sick", "replay", "lists")


@lru_cache(maxsize=2)
def shop_of(people: int, effect: float, seed: int) -> Shop:
    return make_shop(people, ITEMS, effect, seed)


def one_run(
    people: int, effect: float, seed: int, how: str, sickness: int = -1, strength: float = 0
) -> dict[str, Any]:
    """A test of three weeks, and its report. how: served or inside."""
    shop, spent = shop_of(people, effect, 1 + seed // PER_SHOP), time.process_time()
    with TemporaryDirectory() as name:
        folder = Path(name)
        weeks, beside = (
            prepare(folder, shop, days=DAYS, seed=seed, salt=f"salt {effect} {seed}"),
            dict[str, Any](),
        )
        if sickness >= 0:
            written, beside = run_sick(weeks, SICKNESSES[sickness], strength, folder)
            store_written(weeks, written)
        elif how == "inside":
            store_written(weeks, run_inside(weeks))
        else:
            run_served(weeks, folder / "clock")
        week_report = report_weeks(weeks, folder / "clock", **beside)
    mean, low, high = mean_effect(week_report)
    result = {
        "verdict": week_report["verdict"],
        "arm": week_report["arm"],
        "sick": sick_checks(week_report),
        "true": shop.effect,
    }
    result |= {"mean": mean, "low": low, "high": high, "seconds": time.process_time() - spent}
    if sickness >= 0:
        result["named"] = names_sickness(week_report, SICKNESSES[sickness])
    return result


def replay_lists(requests: int) -> dict[str, Any]:
    """Lists of the other arm made again, against lists that were really served to the same people by it; and
    lists of arms with chance, and of merged ones, made again from their lines."""
    shop = shop_of(2_000, EFFECT, 1)
    arms = ("control", "better", "curious", "merged")
    with TemporaryDirectory() as name:
        folder = Path(name)
        root, clock, log = folder / "bundles", folder / "clock", folder / "lists.jsonl"
        ids = {arm: publish(root, shop, arm) for arm in ("control", "better")}
        point_to(root, ids["control"])
        start_experiment(root, _four_arms(ids, arms), (), START - 100)
        keep_time(clock, (START + 60) * 1_000)
        with running(root, "--clock", str(clock), "--exposures", str(log)) as url:
            connection = HTTPConnection(str(urlsplit(url).netloc))
            for number in range(requests):
                for arm in arms:
                    body = {
                        "user_id": shop.user_ids[number % 2_000],
                        "k": 5 + number % 10,
                        "experiment": "four",
                        "arm": arm,
                    }
                    body["deny"] = [shop.item_ids[(number * 7 + at) % ITEMS] for at in range(number % 5)]
                    connection.request(
                        "POST", "/v1/recommend", json.dumps(body), {"content-type": "application/json"}
                    )
                    assert connection.getresponse().read().startswith(b"{")
        lines = [json.loads(text) for text in log.read_bytes().splitlines()]
        opened = {bundle_id: load(root / bundle_id) for bundle_id in ids.values()}
        experiment = _four_arms(ids, arms)
        by_arm = {arm: [line for line in lines if line["arm"] == arm] for arm in arms}
        both = Arms(experiment, 0, root)
        pairs = zip(both.replay(by_arm["control"]), by_arm["better"], strict=True)
        other = sum(one.lists["better"] == line["items"] for one, line in pairs)
        own = sum(trace(opened[line["bundle_id"]], line, opened).same for line in lines)
    return {"requests": requests, "other arm identical": other, "own lists": len(lines), "own identical": own}


def _four_arms(ids: dict[str, str], arms: Sequence[str]) -> Experiment:
    served: dict[str, Any] = {arm: {"bundle": bundle} for arm, bundle in ids.items()}
    served["curious"] = {"bundle": ids["control"], "explore": {"epsilon": 0.3, "position": 2}}
    served["merged"] = {"interleave": ["control", "better"]}
    phase = {"salt": "four", "starts": START, "weights": dict.fromkeys(arms, 1 / len(arms))}
    return experiment_of(
        {"control": "control", "arms": served, "phases": [phase]}, "four", where="a benchmark"
    )


def plain_draft(
    one: list[str], other: list[str], k: int, request_id: str
) -> tuple[list[str], list[int | None]]:
    """Team draft as a page of a book says it: 0 and 1 pick in turns that a coin begins; what both would pick
    next is nobody's."""
    coins, lists = uniforms(request_id, PURPOSE), (list(one), list(other))
    shown, team = list[str](), list[int | None]()
    while len(shown) < k:
        left = [[item for item in items if item not in shown] for items in lists]
        if not left[0] and not left[1]:
            break
        if left[0] and left[1] and left[0][0] == left[1][0]:
            shown.append(left[0][0])
            team.append(None)
            continue
        for at in (0, 1) if next(coins) < 0.5 else (1, 0):
            mine = [item for item in lists[at] if item not in shown]
            if mine and len(shown) < k:
                shown.append(mine[0])
                team.append(at)
    return shown, team


def check_lists(count: int) -> dict[str, Any]:
    """Merged and explored lists under rules, against a plain model; faults are counted."""
    shop, faults, spread = shop_of(2_000, EFFECT, 1), 0, 0.0
    rng = random.Random(7)
    with TemporaryDirectory() as name:
        parts = [
            Part(arm, load(Path(name) / publish(Path(name), shop, arm))) for arm in ("better", "control")
        ]
        merged = Recipe(tuple(parts))
        for number in range(count):
            k, deny = rng.randint(1, 20), rng.sample(shop.item_ids, rng.randint(0, 30))
            allow = rng.sample(shop.item_ids, rng.randint(5, ITEMS)) if rng.random() < 0.3 else None
            asked = Question(rng.choice(shop.user_ids), k=k, deny=deny, allow=allow, now=START, reasons=0)
            request = f"request {number}"
            if number % 2:
                made = merged.make(asked, request)
                one, other = (answer(part.bundle, asked).item_ids for part in parts)
                items, team = plain_draft(one, other, k, request)
                names = [None if at is None else parts[at].arm for at in team]
                good = made.item_ids == items and made.team == names
            else:
                explore = _explore(rng)
                made = Recipe((parts[0],), explore).make(asked, request)
                good, off = _explored_well(parts[0].bundle, explore, asked, made)
                spread = max(spread, off)
            shown = made.item_ids
            kept = not set(shown) & set(deny) and (allow is None or set(shown) <= set(allow))
            faults += not (good and kept and len(shown) == len(set(shown)) <= k)
    return {"lists": count, "faults": faults, "furthest from 1": spread}


def _explore(rng: random.Random) -> Explore:
    if rng.random() < 0.5:
        return Explore(
            epsilon=rng.uniform(0.01, 1), position=rng.randint(1, 5), candidates=rng.randint(2, 60)
        )
    return Explore(temperature=rng.uniform(0.1, 3), candidates=rng.randint(2, 60))


def _explored_well(bundle: Bundle, explore: Explore, asked: Question, made: Any) -> tuple[bool, float]:
    """Whether propensities are those of the policy over the best that the rules allow, and how far they are
    from adding up to 1 at any place."""
    deep = max(asked.k, explore.candidates)
    best = answer(
        bundle, Question(asked.user_id, k=deep, deny=asked.deny, allow=asked.allow, now=START, reasons=0)
    )
    scores = best.scores.tolist()
    if explore.epsilon is not None:
        policy = epsilon_below(best.item_ids, explore.epsilon, explore.position)
    else:
        policy = plackett_luce(best.item_ids, scores, float(explore.temperature or 1))
    sums = [abs(sum(policy(made.item_ids[:at]).values()) - 1) for at in range(len(made.item_ids))]
    pairs = zip(propensities(policy, made.item_ids), made.propensity, strict=True)
    same = all(isclose(one, other, rel_tol=1e-9) for one, other in pairs)
    return same and len(made.item_ids) == min(asked.k, len(best.item_ids)), max(sums, default=0.0)


def jobs(parts: Sequence[str], runs: int, inside: int, quick: bool) -> Iterator[tuple[dict[str, Any], Any]]:
    """A key and a function for each run."""
    people = 2_500 if quick else PEOPLE
    for part, count in (("served", runs), ("inside", inside)):
        for seed in range(count if part in parts else 0):
            for effect in (EFFECT, 0.0):
                key = {"part": part, "people": people, "effect": effect, "seed": seed}
                yield key, lambda e=effect, s=seed, p=part: one_run(people, e, s, p)
    for number, one in enumerate(SICKNESSES if "sick" in parts else ()):
        for at, strength in enumerate(one.strengths, start=1):
            key = {"part": "sick", "people": people, "sickness": one.name, "strength": at}
            yield key, lambda n=number, s=strength: one_run(people, EFFECT, 5, "inside", n, s)
    if "replay" in parts:
        yield (
            {"part": "replay", "requests": 50 if quick else 1_000},
            lambda: replay_lists(50 if quick else 1_000),
        )
    if "lists" in parts:
        yield (
            {"part": "lists", "count": 500 if quick else 10_000},
            lambda: check_lists(500 if quick else 10_000),
        )


def rows_of(done: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each kind of run."""
    rows = []
    for part in ("served", "inside"):
        for effect, right in ((EFFECT, "ship"), (0.0, "do not ship")):
            mine = [one for one in done if one["part"] == part and one["effect"] == effect]
            if mine:
                rows.append({
                    "what": f"{part}, {effect:+.0%} clicks", "runs": len(mine),
                    "right": sum(one["verdict"] == right for one in mine),
                    "covered": sum(one["low"] <= one["true"] <= one["high"] for one in mine),
                    "alarms": sum(bool(one["sick"]) for one in mine),
                    "CPU-s a run": sum(one["seconds"] for one in mine) / len(mine),
                })  # fmt: skip
    for one in SICKNESSES:
        mine = sorted(
            (d for d in done if d["part"] == "sick" and d["sickness"] == one.name),
            key=lambda d: d["strength"],
        )
        if mine:
            said = ", ".join(f"{strength:g}" for strength in one.strengths)
            words = "".join("named " if each["named"] else "not named " for each in mine).split("named ")
            rows.append({
                "what": f"{one.name}: {one.measure} {said}", "runs": len(mine),
                "named": ", ".join("no" if part == "not " else "yes" for part in words[:-1]),
                "called a win": sum(each["verdict"] == "ship" for each in mine if each["strength"] > 1),
            })  # fmt: skip
    for each in done:
        if each["part"] == "replay":
            rows.append({"what": "the other arm's list, made again", "runs": each["requests"],
                         "right": each["other arm identical"]})  # fmt: skip
            rows.append({"what": "lists of four arms, made again from their lines", "runs": each["own lists"],
                         "right": each["own identical"]})  # fmt: skip
        if each["part"] == "lists":
            rows.append({"what": "merged and explored lists against a plain model", "runs": each["lists"],
                         "right": each["lists"] - each["faults"]})  # fmt: skip
    return rows


@click.command()
@click.option("--parts", default=",".join(PARTS), show_default=True, help="Which, separated by commas.")
@click.option("--runs", default=20, show_default=True, help="Of each effect over HTTP.")
@click.option("--inside", default=100, show_default=True, help="Of each effect without a service.")
@click.option("--quick", is_flag=True, help="Few people and runs; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(parts: str, runs: int, inside: int, quick: bool, as_json: bool) -> None:
    """Measure what reports of served experiments say where the truth is known."""
    kept = home() / "mlruns" / ("ab_served_quick.jsonl" if quick else "ab_served.jsonl")
    kept.parent.mkdir(exist_ok=True)
    if quick and kept.exists():
        kept.unlink()
    done = [json.loads(text) for text in kept.read_text().splitlines()] if kept.exists() else []
    for key, run in jobs(parts.split(","), 1 if quick else runs, 1 if quick else inside, quick):
        if any(all(one.get(name) == value for name, value in key.items()) for one in done):
            continue
        done.append({**key, **run()})
        with kept.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(done[-1], file=sys.stderr, flush=True)
    report(
        "ab_served",
        rows_of(done),
        title="Experiments that the service runs, in a world whose truth is known",
        note=f"{PEOPLE:,} people in both arms, {DAYS} days of arrivals and a week more, +10 % sized for "
        f"power .99. Right: `ship` where there is an effect, `do not ship` where there is none. Covered: "
        f"the 95 % interval holds the true effect. Alarms: healthy runs in which a check is sick. A "
        f"sickness is named at its three strengths or not.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
