"""A log of an experiment whose truth is known: to try the commands on, and to judge the analysis by."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from recsys.arrays import F64, I64, Array
from recsys.experiments.draft import merge_by_draft
from recsys.experiments.exploration import PLACKETT_LUCE, draw_list, plackett_luce, propensities
from recsys.history import DAY_S
from recsys.seeding import generator

START = 1_796_083_200  # 2026-12-01T00:00:00Z
WINDOW_DAYS, PAST_DAYS, ITEMS = 7, 28, 50
PLAN = """control = "control"
weights = {{ control = 0.5, wide = 0.5 }}
people = {people}
window_days = {window}
past_days = {past}

[[metrics]]
name = "plays"
event = "play"
role = "primary"
mde = {mde}

[[metrics]]
name = "skips a list"
event = "skip"
per = "exposures"
role = "guardrail"
better = "lower"
margin = 0.1

[[metrics]]
name = "came back"
event = "play"
value = "any"
"""


class PlantedLog(NamedTuple):
    """exposures: a row for each list that was shown; outcomes: what people did, from 28 days before the first
    on."""

    exposures: pa.Table
    outcomes: pa.Table


def plant(people: int, effect: float, *, seed: int = 0, days: int = 14, heavy: bool = False) -> PlantedLog:
    """Half of the people see `wide`, by which they play `effect` more; everybody skips alike.

    People come evenly over `days` days and then return for three weeks; heavy: most come in the first days,
    and a few do most of all. Outcomes are complete for everybody's window of seven days.
    """
    rng = generator(seed, "ab log")
    taste = rng.lognormal(-0.5, 1.0, people) if heavy else rng.gamma(2.0, 0.5, people)
    treated = rng.random(people) < 0.5
    late = rng.exponential(days / 4, people) % days if heavy else rng.random(people) * days
    first = START + (late * DAY_S).astype(np.int64)
    end = START + (days + WINDOW_DAYS) * DAY_S
    visits = 1 + rng.poisson(2.0 * (end - first) / DAY_S / WINDOW_DAYS)
    person = np.repeat(np.arange(people), visits)
    opening = np.r_[0, np.cumsum(visits)[:-1]]
    second = first[person] + (rng.random(len(person)) * (end - first[person])).astype(np.int64)
    second[opening] = first
    request = np.arange(len(person))
    plays = rng.poisson(taste[person] * (1 + effect * treated[person]))
    skips = rng.poisson(0.5, len(person))
    past = rng.poisson(taste * 1.7 * PAST_DAYS / WINDOW_DAYS) * (rng.random(people) < 0.8)
    before = np.repeat(np.arange(people), past)
    times = [
        np.repeat(second, plays) + rng.integers(1, 600, int(plays.sum())),
        np.repeat(second, skips) + rng.integers(1, 600, int(skips.sum())),
        first[before] - 1 - (rng.random(len(before)) * (PAST_DAYS * DAY_S - 1)).astype(np.int64),
    ]
    who = [np.repeat(person, plays), np.repeat(person, skips), before]
    after = [np.repeat(request, plays), np.repeat(request, skips), np.full(len(before), -1)]
    kinds = np.repeat(["play", "skip", "play"], [len(one) for one in times])
    exposures = _exposures(person, second, treated[person], request)
    return PlantedLog(
        exposures, _outcomes(np.concatenate(who), np.concatenate(times), kinds, np.concatenate(after))
    )


def plant_lists(people: int, *, seed: int = 0) -> dict[str, pa.Table]:
    """Three tables by name: `merged`, lists drafted of the arms control and wide, of which `wide` puts better
    items on top; `clicks` on them; and `explored`, a log of lists with chances, and those of a policy that
    would do better."""
    rng = generator(seed, "ab lists")
    chance = 0.4 / np.arange(1, ITEMS + 1)  # how probably item 0, 1, ... is clicked by whoever looks
    names = [f"i{item}" for item in range(ITEMS)]
    merged: dict[str, list[Any]] = {"unit_id": [], "request_id": [], "items": [], "team": []}
    clicks: dict[str, list[Any]] = {"request_id": [], "item_id": [], "event": []}
    explored: dict[str, list[Any]] = {
        name: []
        for name in ("unit_id", "request_id", "position", "item_id", "reward", "propensity", "target")
    }
    logging = plackett_luce(names[:8], [0.0] * 8, 1.0)
    better = plackett_luce(names[:8], [-0.5 * item for item in range(8)], 1.0)
    for person in range(people):
        request = f"d{seed}-{person}"
        order = {
            arm: rng.permutation(ITEMS) * noise + np.arange(ITEMS)
            for arm, noise in (("control", 3), ("wide", 1))
        }
        lists = {
            arm: [names[item] for item in np.argsort(scores, kind="stable")[:10]]
            for arm, scores in order.items()
        }
        draft = merge_by_draft(lists, 10, request)
        for column, value in zip(
            merged.values(), (f"u{person}", request, draft.items, draft.team), strict=True
        ):
            column.append(value)
        for place, item in enumerate(draft.items):
            if rng.random() < chance[int(item[1:])] / (1 + 0.1 * place):
                for clicked, told in zip(clicks.values(), (request, item, "click"), strict=True):
                    clicked.append(told)
        shown = draw_list(logging, 2, request, PLACKETT_LUCE)
        asked = propensities(better, shown.items)
        for place, item in enumerate(shown.items):
            reward = float(rng.random() < chance[int(item[1:])] / (1 + place))
            row = (f"u{person}", request, place + 1, item, reward, shown.propensity[place], asked[place])
            for seen, cell in zip(explored.values(), row, strict=True):
                seen.append(cell)
    return {"merged": pa.table(merged), "clicks": pa.table(clicks), "explored": pa.table(explored)}


def _exposures(person: I64, second: I64, treated: Array, request: I64) -> pa.Table:
    order = np.argsort(second, kind="stable")
    return pa.table(
        {
            "unit_id": _ids("u", person[order]),
            "timestamp": second[order],
            "arm": pa.array(np.where(treated[order], "wide", "control")).dictionary_encode(),
            "request_id": _ids("r", request[order]),
        }
    )


def _outcomes(person: I64, second: I64, kind: Array, request: I64) -> pa.Table:
    order = np.argsort(second, kind="stable")
    asked = request[order]
    return pa.table(
        {
            "unit_id": _ids("u", person[order]),
            "timestamp": second[order],
            "event": pa.array(kind[order]).dictionary_encode(),
            "event_id": _ids("e", np.arange(len(order))),
            "request_id": pa.array(_ids("r", asked).to_pylist(), mask=asked < 0)
            if (asked < 0).any()
            else _ids("r", asked),
        }
    )


def _ids(letter: str, numbers: I64 | F64) -> pa.Array:
    text = pa.array(numbers).cast(pa.string())
    return pc.binary_join_element_wise(pa.scalar(letter), text, "")


def write_log(
    folder: Path, log: PlantedLog, people: int, mde: float, lists: Mapping[str, pa.Table] | None = None
) -> list[Path]:
    """Writes daily Parquet into `exposures/` and `outcomes/` of a folder, `plan.toml`, and a file for each of
    `lists`; what was written."""
    written = []
    for name, table in log._asdict().items():
        day = table["timestamp"].to_numpy() // DAY_S
        (folder / name).mkdir(parents=True, exist_ok=True)
        edges = [0, *(np.flatnonzero(np.diff(day)) + 1).tolist(), len(table)]
        for begin, end in pairwise(edges):
            date = np.datetime64(int(day[begin]), "D")
            written.append(folder / name / f"{date}.parquet")
            parquet.write_table(table.slice(begin, end - begin), written[-1])
    plan = folder / "plan.toml"
    plan.write_text(PLAN.format(people=people, window=WINDOW_DAYS, past=PAST_DAYS, mde=mde), "utf-8")
    for name, table in (lists or {}).items():
        written.append(folder / f"{name}.parquet")
        parquet.write_table(table, written[-1])
    return [*written, plan]
