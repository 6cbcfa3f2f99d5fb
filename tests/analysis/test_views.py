"""Effects seen in other ways, lists by arm, and one person's rows: what they add up to is what decided."""

import tomllib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys.analysis.plan import Plan
from recsys.analysis.planning import plan_power
from recsys.analysis.planted import PLAN, PlantedLog, plant
from recsys.analysis.tables.lists import read_lists
from recsys.analysis.trail import BEFORE, COUNTS, follow
from recsys.analysis.verdict import analyse
from recsys.analysis.views import by_look, by_step, other_ways, smallest_shown
from recsys.errors import DataError

PEOPLE = 4_000
LOG = plant(PEOPLE, 0.25, seed=1)


def plan(**changes: Any) -> Plan:
    return Plan.build(
        tomllib.loads(PLAN.format(people=PEOPLE, window=7, past=28, mde=0.1)) | changes, where="a test"
    )


VERDICT = analyse(LOG.exposures, LOG.outcomes, plan())
PLAYS = VERDICT.effects[0]


def test_the_days_of_a_window_add_up_to_it() -> None:
    steps = by_step(VERDICT.study, PLAYS.metric, 1)
    assert [(one.first_day, one.last_day) for one in steps] == [(day, day) for day in range(1, 8)]
    figures = VERDICT.study.figures["plays"].columns[:, 0]
    for arm, name in enumerate(("control", "treated")):
        assert sum(getattr(one, name) for one in steps) == pytest.approx(
            figures[VERDICT.study.arm == arm].mean()
        )
    assert steps[0].control > 2 * steps[3].control  # everybody comes on the first day
    assert all(one.share.low < one.share.mean < one.share.high for one in steps)


def test_a_ratio_is_shown_by_day_too_and_a_long_window_by_week() -> None:
    metrics = [
        {"name": "skips a list", "event": "skip", "per": "exposures", "role": "primary", "better": "lower"}
    ]
    study = analyse(LOG.exposures, LOG.outcomes, plan(metrics=metrics)).study
    steps = by_step(study, study.plan.metrics[0], 1)
    assert all(one.control == pytest.approx(0.5, abs=0.1) for one in steps)
    lists = study.outcomes.daily["skips a list"][study.rows, :, 1].sum(axis=1)
    assert np.array_equal(lists, study.figures["skips a list"].columns[:, 1])
    assert [one.last_day for one in by_step(VERDICT.study, PLAYS.metric, 1)][-1] == 7
    short = analyse(LOG.exposures, LOG.outcomes, plan(window_days=1, people=None)).study
    assert by_step(short, short.plan.metrics[0], 1) == []


def test_the_last_look_is_what_holds_whenever_one_looks() -> None:
    looks = by_look(VERDICT.study, PLAYS.metric, 1)
    assert looks[-1].share == pytest.approx(PLAYS.always_share)
    assert looks[-1].people == PLAYS.people
    assert [one.second for one in looks] == sorted(one.second for one in looks)
    assert looks[0].share.high - looks[0].share.low > 3 * (looks[-1].share.high - looks[-1].share.low)


def test_other_ways_begin_with_what_decided() -> None:
    ways = {one.name: one for one in other_ways(VERDICT.study, PLAYS)}
    assert ways["as it was decided"].share == pytest.approx(PLAYS.share)
    assert ways["without CUPED"].share == pytest.approx(PLAYS.plain)
    capped = next(one for name, one in ways.items() if name.startswith("capped at"))
    fewer = ways["without the 1 % who have most"]
    assert capped.people == PEOPLE > fewer.people > 0.98 * PEOPLE
    assert fewer.share.mean < PLAYS.share.mean  # whoever has most is rather in the better arm


def test_an_effect_of_few_people_is_seen_to_be_one() -> None:
    """Ten people of the arm play a thousand times each: what decides says so, and nothing is left without
    them."""
    same = plant(PEOPLE, 0.0, seed=2)
    wide = [
        unit
        for unit, arm in zip(*(same.exposures[name].to_pylist() for name in ("unit_id", "arm")), strict=True)
        if arm == "wide"
    ]
    units = list(dict.fromkeys(wide))[:10]
    first = dict(
        reversed(
            list(zip(*(same.exposures[name].to_pylist() for name in ("unit_id", "timestamp")), strict=True))
        )
    )
    rows = [(unit, first[unit] + second) for unit in units for second in range(1_000)]
    more = pa.table({"unit_id": [unit for unit, _ in rows], "timestamp": [second for _, second in rows],
                     "event": ["play"] * len(rows)})  # fmt: skip
    outcomes = pa.concat_tables([same.outcomes.select(more.column_names).cast(more.schema), more])
    verdict = analyse(same.exposures, outcomes, plan())
    ways = {one.name: one.share for one in other_ways(verdict.study, verdict.effects[0])}
    assert ways["as it was decided"].mean > 0.5
    assert abs(ways["without the 1 % who have most"].mean) < 0.05
    metrics = [{"name": "plays", "event": "play", "role": "primary", "cap": 20.0}]
    capped = analyse(same.exposures, outcomes, plan(metrics=metrics))
    again = {one.name: one.share for one in other_ways(capped.study, capped.effects[0])}
    assert again["without the cap"].mean == pytest.approx(ways["without CUPED"].mean, abs=0.2)
    assert abs(again["as it was decided"].mean) < 0.1


def test_what_was_reached_is_what_the_plan_asks_people_for() -> None:
    """A log of as many people as the plan wants reaches about the effect that it was planned for."""
    asked = plan(metrics=[{"name": "plays", "event": "play", "role": "primary", "mde": 0.1}])
    needs = plan_power(LOG.outcomes, asked, exposures=LOG.exposures)
    reached = smallest_shown(PLAYS)
    assert reached == pytest.approx(0.1 * np.sqrt(needs.planned / PEOPLE), rel=0.15)


def test_lists_are_told_by_arm_with_items_in_a_list_or_in_rows() -> None:
    exposures = pa.table(
        {
            "unit_id": ["a", "b", "c"],
            "timestamp": [1, 2, 3],
            "arm": ["control", "wide", "wide"],
            "bundle_id": ["x", "y", "x"],
            "source": ["known", "known", "fallback"],
            "differs": [True, True, False],
            "items": [["i1", "i2"], ["i1", "i3"], ["i1", "i2"]],
        }
    )
    whole = read_lists(exposures, plan())
    assert (whole.lists, whole.differs) == ({"control": 1, "wide": 2}, pytest.approx(2 / 3))
    assert whole.overlap["wide"] == pytest.approx(0.75)
    assert whole.bundles["wide"] == {"y": 1, "x": 1}
    assert (whole.main_bundle("control"), whole.items) == ("x", {"control": 2, "wide": 3})
    rows = [(row | {"item_id": item, "position": at + 1}) for row in exposures.to_pylist()
            for at, item in enumerate(row["items"])]  # fmt: skip
    by_item = pa.Table.from_pylist(
        [{key: value for key, value in row.items() if key != "items"} for row in rows]
    )
    assert read_lists(by_item, plan()) == whole
    bare = read_lists(exposures.select(["unit_id", "timestamp", "arm"]), plan())
    assert np.isnan(bare.overlap["wide"])
    assert bare.main_bundle("wide") is None


def damage_outcomes() -> PlantedLog:
    """Every third outcome twice, every fifth an hour late."""
    rows = LOG.outcomes.to_pylist()
    told = [
        row | {"received_ms": 1_000 * (row["timestamp"] + (7_200 if at % 5 == 0 else 1))}
        for at, row in enumerate(rows)
    ]
    told += [row for at, row in enumerate(told) if at % 3 == 0]
    return PlantedLog(LOG.exposures, pa.Table.from_pylist(sorted(told, key=lambda row: row["timestamp"])))


def test_what_a_person_did_adds_up_row_by_row_to_what_was_counted() -> None:
    log = damage_outcomes()
    study = analyse(log.exposures, log.outcomes, plan(settle_hours=1)).study
    said = set()
    for unit in [f"u{at}" for at in range(0, 60, 2)]:
        trail = follow(log.exposures, log.outcomes, study, unit)
        assert trail.counts
        for name, event in (("plays", "play"), ("skips a list", "skip")):
            for state, figure in ((COUNTS, 0), (BEFORE, 2)):
                rows = [one for one in trail.done if one.said == state and name in one.metrics]
                assert len(rows) == trail.figures[name][figure], (unit, name, state)
                assert {one.event for one in rows} <= {event}
        assert sum(one.first for one in trail.shown) == 1
        inside = [one for one in trail.shown if one.second < trail.ends]
        assert len(inside) == trail.figures["skips a list"][1]
        assert all(trail.shown[one.shown].names["request"] == one.names["request"] for one in trail.done
                   if one.shown is not None)  # fmt: skip
        said |= {one.said for one in trail.done}
    assert said == {COUNTS, BEFORE, "after the window", "came before: the same event_id",
                    "came later than 1 hours after it happened"}  # fmt: skip


def test_who_does_not_count_is_told_why() -> None:
    first = LOG.exposures.slice(0, 1)
    other = "wide" if first["arm"][0].as_py() == "control" else "control"
    again = first.set_column(2, "arm", pa.array([other]).dictionary_encode())
    both = pa.concat_tables([LOG.exposures, again])
    mixed = LOG.exposures["unit_id"][0].as_py()
    study = analyse(both, LOG.outcomes, plan(testers=["u9"])).study
    trail = follow(both, LOG.outcomes, study, mixed)
    assert (trail.counts, trail.arm, trail.why) == (False, None, "saw several arms")
    assert follow(both, LOG.outcomes, study, "u9").why == "testers"
    with pytest.raises(DataError, match="the exposures say nothing of 'nobody'"):
        follow(both, LOG.outcomes, study, "nobody")
