"""Who gets which arm: frozen, uniform, independent, and never moved by a ramp."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.experiments.assignment import Assigner, Assignment
from recsys.experiments.definition import Experiment, Experiments, Holdout
from recsys.experiments.folder import experiment_of
from recsys.experiments.hashing import place, two_places, uniforms

NOW = 1_800_000_000
DAY = 86_400


def experiment(name: str = "towers", **values: Any) -> Experiment:
    """Two even arms from NOW on; `phase` changes the only phase, other keys the experiment."""
    phase = {
        "salt": f"{name}-1",
        "starts": NOW,
        "weights": {"control": 0.5, "wide": 0.5},
        **values.pop("phase", {}),
    }
    return experiment_of({"control": "control", "phases": [phase], **values}, name, where="a test")


def assigner(*experiments: Experiment, holdouts: tuple[Holdout, ...] = ()) -> Assigner:
    return Assigner(Experiments({one.name: one for one in experiments}, holdouts))


def arms(one: Assigner, units: list[str], now: int = NOW, **attributes: Any) -> list[str | None]:
    """The arm of each unit in the only experiment."""
    return [one.assign(unit, attributes, now)[0].arm for unit in units]


def test_version_1_of_the_hash_is_frozen() -> None:
    """Written once, by sha256 alone. Nobody may write them anew: people who came back would find another
    arm."""
    lines = (Path(__file__).parent / "hash_vectors.jsonl").read_text().splitlines()
    assert len(lines) == 1_000
    for line in lines:
        salt, unit, first, second = json.loads(line)
        assert two_places(salt, unit) == (first / 2**53, second / 2**53)
        assert place(salt, unit) == first / 2**53


def test_another_process_assigns_the_same() -> None:
    program = (
        "from recsys.experiments.hashing import place, uniforms; from itertools import islice;"
        "print([place('s', str(u)) for u in range(50)], list(islice(uniforms('r', 'p'), 9)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            text=True,
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for seed in ("1", "2")
    }
    chance = uniforms("r", "p")
    assert said == {f"{[place('s', str(u)) for u in range(50)]} {[next(chance) for _ in range(9)]}\n"}


@pytest.mark.parametrize("salt", ["a", "b", "c"])
def test_arms_get_their_weights_and_two_salts_know_nothing_of_each_other(salt: str) -> None:
    """Bounds of five standard deviations: one in a million, for salts that are fixed."""
    units = [str(unit) for unit in range(20_000)]
    weights = {"control": 0.2, "other": 0.3, "wide": 0.5}
    one = arms(assigner(experiment(salt, phase={"weights": weights})), units)
    other = arms(assigner(experiment(salt + "x", phase={"weights": weights})), units)
    for arm, weight in weights.items():
        assert abs(one.count(arm) - weight * 20_000) < 5 * np.sqrt(20_000 * weight * (1 - weight))
        for beside, share in weights.items():
            both = sum(pair == (arm, beside) for pair in zip(one, other, strict=True))
            assert abs(both - weight * share * 20_000) < 5 * np.sqrt(20_000 * weight * share)


def test_a_ramp_moves_nobody() -> None:
    shares = (0.01, 0.05, 0.2, 0.5, 1.0)
    ramp = [{"at": NOW + day * DAY, "share": share} for day, share in enumerate(shares)]
    one, units = assigner(experiment(phase={"ramp": ramp})), [str(unit) for unit in range(5_000)]
    by_day = [arms(one, units, NOW + day * DAY) for day in range(5)]
    for before, after in pairwise(by_day):
        assert all(arm in (None, new) for arm, new in zip(before, after, strict=True))
    for of_day, share in zip(by_day, shares, strict=True):
        inside = sum(arm is not None for arm in of_day)
        assert abs(inside - share * 5_000) <= 5 * np.sqrt(5_000 * share * (1 - share))


def test_the_order_of_arms_in_the_file_moves_nobody() -> None:
    units = [str(unit) for unit in range(300)]
    turned = {"wide": 0.5, "control": 0.5}
    assert arms(assigner(experiment()), units) == arms(assigner(experiment(phase={"weights": turned})), units)


def test_experiments_of_a_namespace_share_its_people() -> None:
    halves = [
        experiment(name, namespace="home", phase={"slots": slots})
        for name, slots in (("a", (0.0, 0.5)), ("b", (0.5, 1.0)))
    ]
    one = assigner(*halves, experiment("apart"))
    for unit in range(500):
        first, apart, second = one.assign(str(unit), {}, NOW)
        assert (first.arm is None) != (second.arm is None)
        assert {first.reason, second.reason} == {"assigned", "outside its slots"}
        assert apart.arm is not None


def test_phases_start_and_end_to_the_second_and_draw_anew() -> None:
    later = {"salt": "towers-2", "starts": NOW + DAY, "weights": {"control": 0.9, "wide": 0.1}}
    first = experiment().phases[0].model_dump()
    both = experiment_of(
        {"control": "control", "phases": [first, later], "ends": NOW + 2 * DAY}, "towers", where="a test"
    )
    one, units = assigner(both), [str(unit) for unit in range(2_000)]
    assert one.assign("u", {}, NOW - 1) == []
    assert {one.assign("u", {}, NOW + second)[0].phase for second in (0, 1, DAY - 1)} == {0}
    assert one.assign("u", {}, NOW + DAY)[0].phase == 1
    assert one.assign("u", {}, NOW + 2 * DAY) == []
    assert one.assign("u", {}, NOW)[0].phase == 0  # and back: a replay asks about the past
    before, after = arms(one, units), arms(one, units, NOW + DAY)
    moved = sum(arm == "control" and new == "wide" for arm, new in zip(before, after, strict=True))
    assert 60 < moved < 140  # a tenth of those who were control: drawn anew


def test_testers_holdouts_and_conditions() -> None:
    holdout = Holdout(name="year", salt="year", share=0.2, starts=NOW - DAY)
    targeted = experiment(
        testers={"t": "wide"},
        phase={
            "where": {"country": ["de", "at"], "app": {"at_least": 3, "below": 5}, "beta": {"present": False}}
        },
    )
    one = assigner(targeted, holdouts=(holdout,))
    good = {"country": "de", "app": 4}
    assert one.assign("t", {}, NOW) == [Assignment("towers", 0, "wide", "tester")]
    held = [unit for unit in map(str, range(2_000)) if one.assign(unit, good, NOW)[0].reason == "holdout"]
    assert abs(len(held) - 400) < 90
    assert all(one.assign(unit, good, NOW)[0].arm is None for unit in held)
    free = next(unit for unit in map(str, range(50)) if unit not in held)
    assert one.assign(free, good, NOW)[0].reason == "assigned"
    for wrong in (
        {},
        {"country": "fr", "app": 4},
        {"country": "de"},
        {"country": "de", "app": 5},
        {"country": "de", "app": "4"},
        {"country": "de", "app": True},
        {"country": ["de"], "app": 4},
        good | {"beta": 1},
    ):
        assert one.assign(free, wrong, NOW)[0].reason == "not targeted"
    ended = Holdout(name="old", salt="year", share=0.2, starts=NOW - 9 * DAY, ends=NOW)
    assert all(
        one.arm for unit in held for one in assigner(targeted, holdouts=(ended,)).assign(unit, good, NOW)
    )


def test_a_truth_value_is_no_number() -> None:
    one = assigner(experiment(phase={"where": {"paid": True}}))
    assert one.assign("u", {"paid": True}, NOW)[0].arm
    assert not one.assign("u", {"paid": 1}, NOW)[0].arm
    anyone_else = assigner(experiment(phase={"where": {"plan": {"not_one_of": ["free"]}}}))
    assert anyone_else.assign("u", {"plan": "paid"}, NOW)[0].arm
    assert not anyone_else.assign("u", {"plan": "free"}, NOW)[0].arm
    assert not anyone_else.assign("u", {}, NOW)[0].arm
