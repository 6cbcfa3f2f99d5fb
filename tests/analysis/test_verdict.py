"""From two tables to a sentence: right where the truth is planted, and silent where something is sick."""

import tomllib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys.analysis.compare import looks_of
from recsys.analysis.health.assigned import ratio_p
from recsys.analysis.plan import Plan, read_plan
from recsys.analysis.planted import PLAN, START, PlantedLog, plant, write_log
from recsys.analysis.verdict import DISTRUST, DO_NOT_SHIP, SHIP, WAIT, Verdict, analyse
from recsys.errors import DataError, SettingError
from recsys.history import DAY_S

PEOPLE = 4_000
LOG = plant(PEOPLE, 0.25, seed=1)
SAME = plant(PEOPLE, 0.0, seed=2)


def plan(people: int | None = PEOPLE, **changes: Any) -> Plan:
    values = tomllib.loads(PLAN.format(people=people or 0, window=7, past=28, mde=0.1))
    if people is None:
        del values["people"]
    return Plan.build(values | changes, where="a test")


def decide(log: PlantedLog, asked: Plan | None = None, **more: Any) -> Verdict:
    return analyse(log.exposures, log.outcomes, asked or plan(), **more)


def sick(verdict: Verdict) -> list[str]:
    return [one.name for one in verdict.checks if one.state == "sick"]


def test_a_planted_gain_is_shipped_and_nothing_is_sick() -> None:
    verdict = decide(LOG)
    assert sick(verdict) == []
    assert (verdict.word, verdict.arm) == (SHIP, "wide")
    assert verdict.sentence.startswith("Ship wide: plays +")
    plays = verdict.effects[0]
    assert plays.share.low < 0.25 < plays.share.high
    assert plays.always.low < plays.difference.low
    assert 0.5 < plays.variance < 0.9
    assert [one.segment for one in verdict.segments] == ["active before", "new"]
    skips = verdict.effects[1]
    assert skips.state == "kept"
    assert skips.control == pytest.approx(0.5, abs=0.03)


def test_no_effect_ends_without_a_gain_and_a_loss_is_named() -> None:
    verdict = decide(SAME)
    assert verdict.word == DO_NOT_SHIP
    assert "no gain of wide was shown" in verdict.sentence
    worse = decide(plant(PEOPLE, -0.25, seed=3))
    assert (worse.word, worse.effects[0].state) == (DO_NOT_SHIP, "worse")


def test_before_the_end_it_says_how_long_to_wait() -> None:
    verdict = decide(SAME, plan(2 * PEOPLE))
    assert verdict.word == WAIT
    assert "nobody new has come for a week" in verdict.next_step
    early = decide(SAME, until=START + 12 * DAY_S)
    assert early.word == WAIT
    assert "5 days of the 7" in early.sentence
    middle = decide(SAME, until=START + 16 * DAY_S)
    assert "more days for the 4,000 planned people" in middle.next_step
    assert 4 <= int(middle.next_step.split()[1]) <= 7
    assert sum(middle.study.people) < 3_000


def test_without_planned_people_a_watch_decides_and_says_what_that_costs() -> None:
    verdict = decide(SAME, plan(None))
    assert verdict.word == WAIT
    assert verdict.looks.kind == "always-valid watch"
    assert "a third of the power" in verdict.next_step
    ended = decide(SAME, plan(None, ends="2026-12-20T00:00:00Z"))
    assert (ended.word, ended.looks.kind) == (DO_NOT_SHIP, "at the end")
    assert decide(LOG, plan(None)).effects[0].state == "better"


def test_people_count_only_with_their_whole_window() -> None:
    """Outcomes outside a person's seven days change nothing, and neither do people whose days are not
    over."""
    until = START + 15 * DAY_S
    verdict = decide(LOG, until=until)
    first = {}
    for unit, second in zip(
        LOG.exposures["unit_id"].to_pylist(), LOG.exposures["timestamp"].to_pylist(), strict=True
    ):
        first.setdefault(unit, second)
    ripe = {unit for unit, second in first.items() if second + 7 * DAY_S <= until}
    assert sum(verdict.study.people) == len(ripe)
    plays = 0
    for unit, second, event in zip(
        *(LOG.outcomes[name].to_pylist() for name in ("unit_id", "timestamp", "event")), strict=True
    ):
        plays += event == "play" and unit in ripe and 0 <= second - first[unit] < 7 * DAY_S
    assert verdict.study.figures["plays"].columns[:, 0].sum() == plays


SICK: dict[str, tuple[str, Callable[[PlantedLog], dict[str, Any]]]] = {}


def sickness(named: str) -> Callable[[Callable[[PlantedLog], dict[str, Any]]], None]:
    def add(make: Callable[[PlantedLog], dict[str, Any]]) -> None:
        SICK[make.__name__] = (named, make)

    return add


def _wide(log: PlantedLog) -> Any:
    return np.asarray(pc.equal(log.exposures["arm"].cast(pa.string()), "wide").to_numpy())


def _people(table: pa.Table) -> Any:
    return np.array([int(one[1:]) for one in table["unit_id"].to_pylist()])


def _of_wide(log: PlantedLog) -> Any:
    """Whether each outcome is of somebody who saw `wide`."""
    return np.isin(_people(log.outcomes), _people(log.exposures)[_wide(log)])


@sickness("people came to the arms as planned")
def a_tenth_of_one_arm_is_lost(log: PlantedLog) -> dict[str, Any]:
    return {"exposures": log.exposures.filter(pa.array(~(_wide(log) & (_people(log.exposures) % 5 == 0))))}


@sickness("nobody saw several arms")
def people_change_arms(log: PlantedLog) -> dict[str, Any]:
    moved = pa.array(_people(log.exposures) % 50 == 0)
    late = pc.greater(log.exposures["timestamp"], START + 10 * DAY_S)
    arm = pc.if_else(pc.and_(moved, late), "wide", log.exposures["arm"].cast(pa.string()))
    return {"exposures": log.exposures.set_column(2, "arm", arm)}


@sickness("all arms are in the plan")
def an_arm_that_nobody_planned(log: PlantedLog) -> dict[str, Any]:
    odd = pc.if_else(
        pa.array(_people(log.exposures) % 100 == 0), "old", log.exposures["arm"].cast(pa.string())
    )
    return {"exposures": log.exposures.set_column(2, "arm", odd)}


@sickness("outcomes find their lists in all arms alike")
def lists_of_one_arm_are_not_logged(log: PlantedLog) -> dict[str, Any]:
    request = np.array([int(one[1:]) for one in log.exposures["request_id"].to_pylist()])
    return {"exposures": log.exposures.filter(pa.array(~(_wide(log) & (request % 20 == 0))))}


@sickness("outcomes come once and in time in all arms alike")
def one_arm_counts_twice(log: PlantedLog) -> dict[str, Any]:
    again = log.outcomes.filter(pa.array(_of_wide(log) & (_people(log.outcomes) % 20 == 0)))
    return {"outcomes": pa.concat_tables([log.outcomes, again]).drop_columns("event_id")}


@sickness("no day is missing")
def a_day_of_outcomes_is_missing(log: PlantedLog) -> dict[str, Any]:
    day = pc.divide(log.outcomes["timestamp"], DAY_S)
    return {"outcomes": log.outcomes.filter(pc.not_equal(day, START // DAY_S + 9))}


@sickness("people were alike before they were shown anything")
def a_covariate_that_the_arm_moved(log: PlantedLog) -> dict[str, Any]:
    people = np.arange(PEOPLE)
    treated = np.isin(people, _people(log.exposures)[_wide(log)])
    score = np.random.default_rng(0).standard_normal(PEOPLE) + 0.3 * treated
    metrics = [one.model_dump() for one in plan().metrics]
    metrics[0]["covariate"] = "score"
    return {
        "people": pa.table({"unit_id": [f"u{one}" for one in people], "score": score}),
        "plan": plan(metrics=metrics),
    }


@sickness("what is said of people was read before their first exposure")
def a_covariate_that_was_read_late(log: PlantedLog) -> dict[str, Any]:
    metrics = [one.model_dump() for one in plan().metrics]
    metrics[0]["covariate"] = "score"
    units = [f"u{one}" for one in range(PEOPLE)]
    table = {"unit_id": units, "score": np.ones(PEOPLE), "as_of": np.full(PEOPLE, START + 2 * DAY_S)}
    return {"people": pa.table(table), "plan": plan(metrics=metrics)}


@sickness("nobody was left out because of their arm")
def bots_love_one_arm(log: PlantedLog) -> dict[str, Any]:
    bots = np.unique(_people(log.exposures)[_wide(log)])[:60]
    people = np.arange(PEOPLE)
    return {"people": pa.table({"unit_id": [f"u{one}" for one in people], "bot": np.isin(people, bots)})}


@sickness("other experiments are independent")
def another_experiment_follows_the_arm(log: PlantedLog) -> dict[str, Any]:
    names = ["unit_id", "timestamp", "arm", "experiment"]
    ours = log.exposures.append_column("experiment", pa.array(["ours"] * len(log.exposures)))
    other = pc.if_else(pa.array(_wide(log) & (_people(log.exposures) % 3 > 0)), "x", "y")
    both = [
        ours.select(names).cast(
            pa.schema(
                [
                    ("unit_id", pa.string()),
                    ("timestamp", pa.int64()),
                    ("arm", pa.string()),
                    ("experiment", pa.string()),
                ]
            )
        )
    ]
    both.append(
        both[0].set_column(2, "arm", other).set_column(3, "experiment", pa.array(["theirs"] * len(ours)))
    )
    return {"exposures": pa.concat_tables(both), "plan": plan(experiment="ours")}


@sickness("each day and each segment alone")
def one_country_sees_one_arm_more(log: PlantedLog) -> dict[str, Any]:
    """A tenth of the control is taken for people of another country, and nobody is lost."""
    people = _people(log.exposures)
    country = np.where((people % 10 == 0) & ~_wide(log), "at", np.where(people % 7 == 0, "at", "de"))
    return {
        "exposures": log.exposures.append_column("country", pa.array(country)),
        "plan": plan(segments=["country"]),
    }


@pytest.mark.parametrize("name", SICK)
def test_a_sickness_is_named_and_hides_the_effect(name: str) -> None:
    named, make = SICK[name]
    given = {"exposures": LOG.exposures, "outcomes": LOG.outcomes, "plan": plan()} | make(LOG)
    verdict = analyse(given["exposures"], given["outcomes"], given["plan"], people=given.get("people"))
    assert named in sick(verdict)
    assert (verdict.word, verdict.arm) == (DISTRUST, None)
    assert verdict.sentence.startswith("Cannot be trusted")


def test_repeats_with_ids_are_left_out_and_counted() -> None:
    again = LOG.outcomes.slice(0, 40_000)
    verdict = analyse(LOG.exposures, pa.concat_tables([LOG.outcomes, again]), plan())
    clean = decide(LOG)
    assert verdict.effects[0].difference == clean.effects[0].difference
    assert sick(verdict) == []
    assert verdict.study.outcomes.repeated.sum() > 1_000


def test_late_outcomes_are_left_out_once_they_were_given_time_to_come() -> None:
    late = pa.array(_people(LOG.outcomes) % 10 == 0)
    received = pc.multiply(pc.add(LOG.outcomes["timestamp"], pc.if_else(late, 3 * DAY_S, 5)), 1_000)
    verdict = analyse(
        LOG.exposures, LOG.outcomes.append_column("received_ms", received), plan(settle_hours=24)
    )
    assert verdict.study.outcomes.late.sum() > 1_000
    of_tenth = verdict.study.figures["plays"].columns[verdict.study.rows % 1 == 0]
    assert of_tenth[:, 0].sum() < decide(LOG).study.figures["plays"].columns[:, 0].sum()


def test_testers_and_the_busy_are_counted_and_left_out() -> None:
    units = list(dict.fromkeys(LOG.exposures["unit_id"].to_pylist()))
    verdict = decide(LOG, plan(testers=units[:7], max_events_a_day=2))
    assert verdict.study.excluded["testers"].sum() == 7
    assert 0 < verdict.study.excluded["bots by how much they do"].sum() < 300


def test_only_people_whose_lists_differ_are_analysed_where_that_is_known() -> None:
    """The others only dilute: here a third of people get other lists, and only they play more."""
    differs = _people(LOG.exposures) % 3 == 0
    exposures = LOG.exposures.append_column("differs", pa.array(differs))
    verdict = analyse(exposures, LOG.outcomes, plan(1_300))
    assert sum(verdict.study.people) == len(np.unique(_people(LOG.exposures)[differs]))
    assert sick(verdict) == []
    assert verdict.study.excluded["lists that did not differ"].sum() == PEOPLE - sum(verdict.study.people)


def test_several_arms_are_held_against_the_control_with_holm() -> None:
    third = np.where(_people(LOG.exposures) % 2 == 0, "wide", "other")
    arm = pa.array(np.where(_wide(LOG), third, "control"))
    weights = {"control": 0.5, "wide": 0.25, "other": 0.25}
    verdict = analyse(LOG.exposures.set_column(2, "arm", arm), LOG.outcomes, plan(weights=weights))
    primary = [one for one in verdict.effects if one.metric.role == "primary"]
    assert [one.arm for one in primary] == ["wide", "other"]
    assert max(one.p_corrected for one in primary) == pytest.approx(max(one.p for one in primary))
    assert min(one.p_corrected for one in primary) >= min(one.p for one in primary)
    assert verdict.word == SHIP


def test_what_other_tools_write_is_read_as_it_is(tmp_path: Any) -> None:
    """GrowthBook's names, whole numbers for variations, dates with a zone, CSV."""
    shown = pa.table(
        {
            "user_id": LOG.exposures["unit_id"],
            "timestamp": LOG.exposures["timestamp"].cast(pa.timestamp("s", "UTC")),
            "experiment_id": pa.array(["towers"] * len(LOG.exposures)),
            "variation_id": pa.array(_wide(LOG).astype(np.int64)),
        }
    )
    from pyarrow import csv

    csv.write_csv(shown, tmp_path / "exposures.csv")
    asked = plan(control="0", weights={"0": 0.5, "1": 0.5})
    verdict = analyse(tmp_path / "exposures.csv", LOG.outcomes, asked)
    assert verdict.effects[0].difference == decide(LOG).effects[0].difference
    assert (verdict.word, verdict.arm) == (SHIP, "1")


def test_the_export_of_the_event_store_is_read_as_it_is() -> None:
    """A row for each item of a list, people under either name, and lists that were shown outside the
    experiment."""
    shown = LOG.exposures.rename_columns(["user_id", "timestamp", "arm", "request_id"])
    shown = shown.append_column("unit_id", pa.array([None] * len(shown), pa.string()))
    shown = shown.set_column(2, "arm", shown["arm"].cast(pa.string()))
    shown = shown.append_column("experiment", pa.array(["towers"] * len(shown)))
    shown = shown.append_column("item_id", pa.array(["i"] * len(shown)))
    items = [shown.append_column("position", pa.array([place] * len(shown))) for place in (1, 2, 3)]
    outside = items[0].slice(0, 50)
    for name in ("arm", "experiment"):
        outside = outside.set_column(
            outside.column_names.index(name), name, pa.array([None] * 50, pa.string())
        )
    outcomes = LOG.outcomes.append_column("user_id", LOG.outcomes["unit_id"])
    verdict = analyse(pa.concat_tables([*items, outside]), outcomes, plan(experiment="towers"))
    assert verdict.effects == decide(LOG).effects
    assert verdict.study.exposures.faults == []


def test_daily_files_give_what_one_table_gives(tmp_path: Any) -> None:
    write_log(tmp_path, LOG, PEOPLE, 0.1)
    steps = []
    verdict = analyse(
        tmp_path / "exposures",
        tmp_path / "outcomes",
        read_plan(tmp_path / "plan.toml"),
        progress=steps.append,
    )
    assert verdict.effects == decide(LOG).effects
    read = [step for step in steps if step.task == "read exposures"]
    assert read[-1].done == read[-1].total > 14


def test_bad_rows_are_named_counted_and_left_out() -> None:
    unit = LOG.exposures["unit_id"].to_pylist()
    second = LOG.exposures["timestamp"].to_pylist()
    unit[5], second[7], second[8] = None, None, None
    table = LOG.exposures.set_column(0, "unit_id", pa.array(unit)).set_column(
        1, "timestamp", pa.array(second)
    )
    verdict = analyse(table, LOG.outcomes, plan())
    assert len(verdict.study.exposures.faults) == 2
    assert any(
        "1 rows have an empty unit id" in said and "row 6" in said for said in verdict.study.exposures.faults
    )
    assert any("2 rows have no time" in said and "row 8" in said for said in verdict.study.exposures.faults)


def test_an_arm_without_people_is_no_verdict() -> None:
    only = LOG.exposures.filter(pa.array(~_wide(LOG)))
    verdict = analyse(only, LOG.outcomes, plan())
    assert verdict.word == DISTRUST
    assert "people came to the arms as planned" in sick(verdict)
    few = analyse(only.slice(0, 15), LOG.outcomes, plan(min_days=1))
    assert few.word in (WAIT, DISTRUST)
    assert {one.state for one in few.effects} == {"too few people"}


def test_a_metric_that_is_the_same_for_everybody_is_said_to_be() -> None:
    value = pa.array(np.where(pc.equal(LOG.outcomes["event"].cast(pa.string()), "skip").to_numpy(), 0.0, 1.0))
    metrics = [{"name": "worth", "event": "skip", "value": "sum", "role": "primary"}]
    verdict = analyse(LOG.exposures, LOG.outcomes.append_column("value", value), plan(metrics=metrics))
    assert verdict.word == WAIT
    assert "worth of wide: the same for everybody" in verdict.sentence


def _without(column: str) -> dict[str, pa.Table]:
    return {"exposures": LOG.exposures.drop_columns(column)}


def _of_two_experiments() -> dict[str, pa.Table]:
    names = pa.array(np.where(_people(LOG.exposures) % 2 == 0, "a", "b"))
    return {"exposures": LOG.exposures.append_column("experiment", names)}


def _skips_alone() -> dict[str, pa.Table]:
    return {"outcomes": LOG.outcomes.filter(pc.equal(LOG.outcomes["event"].cast(pa.string()), "skip"))}


def _of_other_arms() -> dict[str, pa.Table]:
    return {"exposures": LOG.exposures.set_column(2, "arm", pa.array(["x"] * len(LOG.exposures)))}


def _of_the_first_day() -> dict[str, pa.Table]:
    return {"outcomes": LOG.outcomes.filter(pc.less(LOG.outcomes["timestamp"], START + DAY_S))}


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("no column 'unit_id' or 'user_id'", lambda: _without("unit_id")),
        ("no column 'arm' or 'variation_id'", lambda: _without("arm")),
        ("no outcome is of type 'play'", _skips_alone),
        ("hold none of the arms control, wide; arms there are x", _of_other_arms),
        ("the exposures are of several experiments: a, b", _of_two_experiments),
        ("nobody is left to be analysed: 4,000 window not over yet", _of_the_first_day),
    ],
)
def test_tables_that_cannot_be_analysed_say_why(words: str, make: Callable[[], dict[str, pa.Table]]) -> None:
    tables = LOG._asdict() | make()
    with pytest.raises(DataError, match=words):
        analyse(tables["exposures"], tables["outcomes"], plan())


def test_plans_that_break_a_rule_say_which() -> None:
    for words, changes in (
        ("add up to 0.9", {"weights": {"control": 0.5, "wide": 0.4}}),
        ("has no weight; did you mean 'control'", {"control": "contrl"}),
        ("no metric is primary", {"metrics": [{"name": "x"}]}),
        ("two metrics are called 'x'", {"metrics": [{"name": "x", "role": "primary"}, {"name": "x"}]}),
        ("greater than or equal to 1000", {"people": 10}),
        ("windw_days.*did you mean 'window_days'", {"windw_days": 3}),
    ):
        with pytest.raises(SettingError, match=words):
            plan(**changes)


def test_looks_end_at_the_planned_people_or_moment() -> None:
    ends = START + DAY_S * np.arange(1, 6)
    people = np.array([100, 1_000, 2_000, 2_500, 2_500])
    by_people = looks_of(plan(2_000), people, ends)
    assert (by_people.last, by_people.ended) == (2, True)
    assert by_people.information is not None
    assert list(by_people.information) == [0.05, 0.5, 1.0]
    assert not looks_of(plan(3_000), people, ends).ended
    by_time = looks_of(plan(3_000, ends=START + 4 * DAY_S), people, ends)
    assert (by_time.last, by_time.ended) == (3, True)
    assert by_time.information is not None
    assert by_time.information[-1] == 1


def test_the_sample_ratio_alarm_is_found_soon_and_rarely_false() -> None:
    rng = np.random.default_rng(1)
    looks = 1_000 * np.arange(1, 121)

    def alarms(share: float, tests: int) -> Any:
        counts = rng.binomial(1_000, share, (tests, 120)).cumsum(axis=1)
        both = np.stack([counts, looks - counts], -1).astype(float)
        return ratio_p(both, np.array([0.5, 0.5]))[:, -1] < 0.001

    assert (
        alarms(0.5, 3_000).sum() <= 12
    )  # .1 % would be 3; certain for this seed, and one in 10,000 for another
    assert alarms(0.51, 1_000).mean() > 0.985
