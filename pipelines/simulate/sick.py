"""What goes wrong in tests, planted into simulated ones at three strengths, and what a report calls each of
it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.answers.exposure import uuid7
from recsys.experiments.hashing import place
from recsys.history import DAY_S
from recsys.pipelines.simulate.shop import START, publish
from recsys.pipelines.simulate.weeks import Alter, Altered, Weeks, Written, run_inside
from recsys.seeding import generator

B = "better"  # the arm in which things go wrong
PLAN = """window_days = 7
past_days = 0
people = {people}
[[metrics]]
name = "clicks"
event = "click"
role = "primary"
covariate = "score"
"""


@dataclass(frozen=True)
class Sickness:
    """names: of the checks of which one at least must be sick. strengths: the weakest first, in its own
    measure."""

    name: str
    measure: str
    strengths: tuple[float, float, float]
    names: tuple[str, ...]


SICKNESSES = (
    Sickness(
        "lost exposures",
        "share of lists of one arm",
        (0.005, 0.02, 0.1),
        ("outcomes find their lists in all arms alike",),
    ),
    Sickness(
        "double clicks",
        "share of clicks in one arm",
        (0.005, 0.05, 0.2),
        ("outcomes come once and in time in all arms alike",),
    ),
    Sickness(
        "clock skew",
        "share of people, an hour behind",
        (0.005, 0.05, 0.3),
        ("outcomes find their lists in all arms alike",),
    ),
    Sickness(
        "a bot that loves one arm", "clicks of one person", (50, 300, 1_000), ("no few people carry an arm",)
    ),
    Sickness(
        "a covariate that leaks",
        "share by which the arm moves it",
        (0.02, 0.1, 0.3),
        ("people were alike before they were shown anything",),
    ),
    Sickness(
        "hash collision",
        "share of people whose arms in two experiments are one",
        (0.02, 0.2, 1.0),
        ("other experiments are independent",),
    ),
    Sickness(
        "weights changed midway",
        "weight moved from one arm to the other",
        (0.0005, 0.02, 0.2),
        ("everybody was in the arm that the definition gives them",),
    ),
    Sickness(
        "impressions counted twice",
        "share of lists of one arm",
        (0.0005, 0.01, 0.1),
        ("each list was written down once",),
    ),
    Sickness(
        "another bundle served",
        "share of lists of one arm",
        (0.005, 0.05, 0.5),
        ("each arm was served its own bundle",),
    ),
    Sickness(
        "a retrain during the test",
        "days of the test that were learned from",
        (0.0, 1.0, 5.0),
        ("no arm learned from what its own test brought",),
    ),
)


def run_sick(
    weeks: Weeks, sickness: Sickness, strength: float, folder: Path
) -> tuple[Written, dict[str, Any]]:
    """The lines and outcomes of a sick test, and what its report is told besides (people, plan)."""
    rng = generator(weeks.seed, f"sickness {sickness.name}")
    alter = _ALTERS.get(sickness.name)
    written = run_inside(weeks, None if alter is None else alter(weeks, strength))
    mine = [line for line in written.lines if line["arm"] == B]
    plant = _PLANTS.get(sickness.name)
    beside = plant(weeks, written, mine, strength, rng, folder) if plant is not None else None
    return written, beside or {}


def _lose(weeks: Weeks, written: Written, mine: list[Any], strength: float, rng: Any, folder: Path) -> None:
    lost = {
        line["request_id"] for line, out in zip(mine, rng.random(len(mine)) < strength, strict=True) if out
    }
    written.lines[:] = [line for line in written.lines if line["request_id"] not in lost]


def _double(weeks: Weeks, written: Written, mine: list[Any], strength: float, rng: Any, folder: Path) -> None:
    requests = {line["request_id"] for line in mine}
    clicks = [one for one in written.events if one["event"] == "click" and one["request_id"] in requests]
    for one in (one for one, twice in zip(clicks, rng.random(len(clicks)) < strength, strict=True) if twice):
        written.events.append(
            {**one, "event_id": f"{one['event_id']}-again", "timestamp": one["timestamp"] + 1}
        )


def _skew(weeks: Weeks, written: Written, mine: list[Any], strength: float, rng: Any, folder: Path) -> None:
    behind = {user for user in weeks.shop.user_ids if place("clock", user) < strength}
    for one in written.events:
        if one["user_id"] in behind:
            one["timestamp"] -= 3_600


def _bot(weeks: Weeks, written: Written, mine: list[Any], strength: float, rng: Any, folder: Path) -> None:
    early = [line for line in mine if line["now_s"] < START + 3 * DAY_S]
    line = early[int(rng.integers(len(early)))]
    for number in range(int(strength)):
        written.events.append({
            "event_id": f"bot-{number}", "kind": "outcome", "event": "click", "user_id": line["user_id"],
            "item_id": line["items"][number % len(line["items"])], "request_id": line["request_id"],
            "timestamp": line["now_s"] + 30 * (number + 1),
        })  # fmt: skip


def _leak(
    weeks: Weeks, written: Written, mine: list[Any], strength: float, rng: Any, folder: Path
) -> dict[str, Any]:
    """A score of people that was read when the test had moved it."""
    treated = {line["user_id"] for line in mine}
    score = weeks.shop.expected_clicks("control") * rng.lognormal(0, 0.2, len(weeks.shop.user_ids))
    moved = [
        value * (1 + strength * (user in treated))
        for user, value in zip(weeks.shop.user_ids, score, strict=True)
    ]
    people, plan = folder / "people.parquet", folder / "plan.toml"
    pq.write_table(pa.table({"user_id": weeks.shop.user_ids, "score": moved}), people)
    plan.write_text(PLAN.format(people=weeks.frozen.experiment.plan["people"]))
    return {"people": str(people), "plan": plan}


def _collide(
    weeks: Weeks, written: Written, mine: list[Any], strength: float, rng: Any, folder: Path
) -> None:
    """Another experiment elsewhere in the shop, whose arms are ours for some people, else drawn anew."""
    arm_of = {line["user_id"]: line["arm"] for line in written.lines if line["arm"] is not None}
    first = {line["user_id"]: line for line in reversed(written.lines) if line["arm"] is not None}
    for user, line in first.items():
        same, drawn = place("collision", user) < strength, place("other", user) < 0.5
        treated = arm_of[user] == B if same else drawn
        written.lines.append({
            **line, "experiment": "other", "arm": "on" if treated else "off", "placement": "cart",
            "request_id": uuid7(line["time_ms"]),
        })  # fmt: skip


def _twice(weeks: Weeks, written: Written, mine: list[Any], strength: float, rng: Any, folder: Path) -> None:
    written.lines += [
        line for line, again in zip(mine, rng.random(len(mine)) < strength, strict=True) if again
    ]


def _other_weights(weeks: Weeks, strength: float) -> Alter:
    """From the middle of the test on, whoever stands just below the edge of an arm is in the other."""
    salt = weeks.frozen.experiment.phases[0].salt
    middle = START + weeks.days * DAY_S // 2
    bundles = {arm: weeks.frozen.experiment.arm(arm).bundle for arm in ("control", B)}

    def alter(person: int, moment: int, was: Altered) -> Altered:
        at = place(salt, weeks.shop.user_ids[person])
        if moment < middle or not 0.5 <= at < 0.5 + strength:
            return was
        other = B if was[0] == "control" else "control"
        return other, other, bundles[other]

    return alter


def _other_bundle(weeks: Weeks, strength: float) -> Alter:
    control = weeks.frozen.experiment.arm("control").bundle

    def alter(person: int, moment: int, was: Altered) -> Altered:
        wrong = was[0] == B and place("wrong", f"{person} {moment}") < strength
        return (B, "control", control) if wrong else was

    return alter


def _retrain(weeks: Weeks, strength: float) -> Alter:
    """A day before its new people's end, an arm gets a bundle that learned up to some day of the test."""
    until = START + int(strength * DAY_S) if strength else START - DAY_S + 1
    anew = publish(weeks.root, weeks.shop, B, learned_until=until)

    def alter(person: int, moment: int, was: Altered) -> Altered:
        late = was[0] == B and moment >= START + max(strength, 6) * DAY_S
        return (B, B, anew) if late and strength else was

    return alter


_Plant = Callable[[Weeks, Written, list[Any], float, Any, Path], dict[str, Any] | None]
_PLANTS: Mapping[str, _Plant] = {
    "lost exposures": _lose,
    "double clicks": _double,
    "clock skew": _skew,
    "a bot that loves one arm": _bot,
    "a covariate that leaks": _leak,
    "hash collision": _collide,
    "impressions counted twice": _twice,
}
_ALTERS: Mapping[str, Callable[[Weeks, float], Alter]] = {
    "weights changed midway": _other_weights,
    "another bundle served": _other_bundle,
    "a retrain during the test": _retrain,
}


def names_sickness(report: Mapping[str, Any], sickness: Sickness) -> bool:
    """Whether one of the checks that are sick in a report belongs to this sickness."""
    return any(check["state"] == "sick" and check["name"] in sickness.names for check in report["health"])


def sick_checks(report: Mapping[str, Any]) -> list[str]:
    """The names of the checks that a report finds sick."""
    return [check["name"] for check in report["health"] if check["state"] == "sick"]


def mean_effect(report: Mapping[str, Any]) -> tuple[float, float, float]:
    """The effect on clicks as a share, with its interval; NaN where there is none."""
    for effect in report["effects"] or ():
        if effect["metric"] == "clicks" and effect["share"] is not None:
            share = effect["share"]
            return float(share["mean"]), float(share["low"]), float(share["high"])
    return float(np.nan), float(np.nan), float(np.nan)
