"""Served experiments where the truth is known: what the service writes, what the report says, and what it
must find."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from recsys.answers.question import Question
from recsys.answers.recipe import recipe_of
from recsys.bundle.bundle import load
from recsys.bundle.trials import find_frozen, start_experiment
from recsys.errors import SettingError
from recsys.events.clock import follow_machine, now_ms
from recsys.events.store import EventStore
from recsys.experiments.draft import merge_by_draft
from recsys.experiments.folder import experiment_of
from recsys.history import DAY_S
from recsys.pipelines.ab.served.forecast import forecast_experiment, told_forecast
from recsys.pipelines.ab.served.replayed import differing
from recsys.pipelines.ab.served.report import report_experiment
from recsys.pipelines.ab.served.store import lines_of
from recsys.pipelines.cli import main
from recsys.pipelines.commands.stage import Negative
from recsys.pipelines.console import Steps
from recsys.pipelines.simulate.shop import NAME, START, Shop, make_shop
from recsys.pipelines.simulate.sick import (
    SICKNESSES,
    Sickness,
    mean_effect,
    names_sickness,
    run_sick,
    sick_checks,
)
from recsys.pipelines.simulate.weeks import (
    HOUR_S,
    Weeks,
    prepare,
    report_weeks,
    run_inside,
    run_served,
    store_written,
)

pytestmark = pytest.mark.slow

PEOPLE, DAYS, SEED = 1_800, 14, 3
QUIET = Steps(quiet=True)


@pytest.fixture(scope="module")
def shop() -> Shop:
    """Half of the people get one list in both arms; the arms differ by much, so that few people show it."""
    return make_shop(PEOPLE, 120, 0.2, SEED, differ=0.5)


@pytest.fixture(scope="module")
def inside(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weeks]:
    weeks = prepare(tmp_path_factory.mktemp("inside"), shop, days=DAYS, seed=SEED)
    store_written(weeks, run_inside(weeks))
    yield weeks
    follow_machine()


def lines(weeks: Weeks) -> list[dict[str, Any]]:
    return [orjson.loads(text) for _, text in EventStore(weeks.state).exposures()]


def test_the_world_is_as_it_was_asked_for(shop: Shop) -> None:
    assert abs(shop.effect - 0.2) < 1e-3
    alike = (shop.lists["control"] == shop.lists["better"]).all(axis=1)
    assert 0.4 < alike.mean() < 0.65


def test_the_service_writes_what_the_pure_functions_say(shop: Shop, inside: Weeks, tmp_path: Path) -> None:
    """A tenth of the weeks over HTTP, and every line of it against that of a run without a service."""
    weeks = prepare(tmp_path, shop, days=DAYS, seed=SEED)
    until = int(np.searchsorted(weeks.second, START + DAY_S))
    short = Weeks(
        shop, weeks.root, weeks.state, weeks.frozen, weeks.person[:until], weeks.second[:until], DAYS, SEED
    )
    run_served(short, tmp_path / "clock")
    assert now_ms() > START * 1_000 - 10**12  # the clock of this process is its own again

    def facts_of(one: dict[str, Any], bundles: dict[str, str]) -> tuple[Any, ...]:
        place = tuple(one[name] for name in ("user_id", "experiment", "phase", "arm"))
        return one["now_s"] // HOUR_S, place, bundles[one["bundle_id"]], tuple(one["items"])

    def by_arm(weeks: Weeks) -> dict[str, str]:
        return {weeks.frozen.experiment.arm(arm).bundle: arm for arm in ("control", "better")}

    served = sorted((facts_of(one, by_arm(weeks)) for one in lines(weeks)), key=str)
    expected = sorted(
        (facts_of(one, by_arm(inside)) for one in lines(inside) if one["now_s"] < START + DAY_S), key=str
    )
    assert len(served) == until
    assert served == [one for one in expected if one[0] <= weeks.second[until - 1] // HOUR_S]
    assert {one[1][3] for one in served} == {None, "control", "better"}
    clicks = [event for _, _, event in EventStore(weeks.state).events() if event.event == "click"]
    assert len(clicks) > until / 2
    requests = {one["request_id"] for one in lines(weeks)}
    assert all(event.request_id in requests for event in clicks)


def test_a_healthy_test_is_shipped_and_its_interval_holds_the_truth(
    shop: Shop, inside: Weeks, tmp_path: Path
) -> None:
    report = report_weeks(inside, tmp_path / "clock")
    assert not sick_checks(report)
    assert report["verdict"] == "ship"
    _, low, high = mean_effect(report)
    assert low <= shop.effect <= high
    assert report["experiment"]["digest"] == inside.frozen.digest
    assert {
        "each arm was served its own bundle",
        "everybody was in the arm that the definition gives them",
    } <= {check["name"] for check in report["health"] if check["state"] == "ok"}


def test_lists_made_again_say_for_whom_the_arms_differ(shop: Shop, inside: Weeks, tmp_path: Path) -> None:
    log = lines(inside)
    some = [one for one in log if one["arm"] is not None][:600]
    differs = differing(inside.frozen.experiment, 0, inside.root, some)
    number = {user: at for at, user in enumerate(shop.user_ids)}
    for one in some:
        person = number[one["user_id"]]
        truth = bool((shop.lists["control"][person] != shop.lists["better"][person]).any())
        assert differs[one["request_id"]] == truth
    result = report_experiment(QUIET, NAME, inside.root, inside.state, until=inside.until, triggered=True)
    report = result.result if isinstance(result, Negative) else result
    whole = report_experiment(QUIET, NAME, inside.root, inside.state, until=inside.until)
    people = [
        sum(one["people"].values())
        for one in (report, whole.result if isinstance(whole, Negative) else whole)
    ]
    assert 0.3 < people[0] / people[1] < 0.7
    share = mean_effect(report)
    assert share[0] > 0.2  # the same effect among half of the people
    assert 0.3 < report["lists_differ"]["differ"] / report["lists_differ"]["lists"] < 0.7


def test_a_forecast_knows_for_whom_lists_differ_and_that_interleaving_is_shorter(
    shop: Shop, inside: Weeks, tmp_path: Path
) -> None:
    definition = inside.frozen.experiment
    arms = "\n".join(
        f'[arms.{arm}]\nbundle = "{definition.arm(arm).bundle}"' for arm in ("control", "better")
    )
    (tmp_path / "next.toml").write_text(f"""
control = "control"
{arms}
[plan]
window_days = 3
past_days = 3
metrics = [{{ name = "clicks", event = "click", role = "primary", mde = 0.1 }}]
[[phases]]
salt = "next"
starts = 2100-01-01T00:00:00Z
weights = {{ control = 0.5, better = 0.5 }}
""")
    forecast = forecast_experiment(QUIET, "next", tmp_path, inside.root, inside.state)
    truth = (shop.lists["control"] != shop.lists["better"]).any(axis=1)
    assert abs(forecast.share - truth.mean()) < 0.03
    assert forecast.triggered is not None
    assert forecast.interleaved is not None
    assert forecast.triggered.planned < forecast.whole.planned
    assert forecast.interleaved.people < forecast.whole.planned / 3
    assert "Lists differ for" in told_forecast(forecast)
    with pytest.raises(SettingError, match=r"has no nxet.toml; did you mean 'next'"):
        forecast_experiment(QUIET, "nxet", tmp_path, inside.root, inside.state)


@pytest.mark.parametrize("sickness", SICKNESSES, ids=lambda one: one.name)
def test_each_sickness_is_named_and_none_is_called_a_win(
    shop: Shop, sickness: Sickness, tmp_path: Path
) -> None:
    weeks = prepare(tmp_path, shop, days=DAYS, seed=SEED)
    written, beside = run_sick(weeks, sickness, sickness.strengths[2], tmp_path)
    store_written(weeks, written)
    report = report_weeks(weeks, tmp_path / "clock", **beside)
    assert names_sickness(report, sickness), sick_checks(report)
    assert report["verdict"] == "cannot be trusted"


def test_what_cannot_be_reported_is_said(inside: Weeks) -> None:
    for words, changed in (
        ("no experiment 'better-list'.*did you mean", {"name": "better-list"}),
        ("has 1 phases, and none is number 2", {"phase": 2}),
        ("nobody was in it yet", {"until": START - 1}),
    ):
        given: dict[str, Any] = {"name": NAME, "until": inside.until} | changed
        with pytest.raises(SettingError, match=words):
            report_experiment(QUIET, given.pop("name"), inside.root, inside.state, **given)
    assert next(iter(lines_of(EventStore(inside.state))))["question"]["k"] == 10


def test_the_command_simulates_and_refuses_what_it_cannot(tmp_path: Path) -> None:
    def run(*words: str, rc: int) -> str:
        result = CliRunner().invoke(main, ["simulate", *words])
        assert result.exit_code == rc, result.output + repr(result.exception)
        return result.output

    assert "hash collision" in run(str(tmp_path / "x"), "--sickness", "list", rc=0)
    assert "it goes with --inside" in run(str(tmp_path / "x"), "--sickness", "hash collision", rc=2)
    assert "did you mean 'clock skew'" in run(
        str(tmp_path / "x"), "--inside", "--sickness", "clock skw", rc=2
    )
    (tmp_path / "x").mkdir()
    (tmp_path / "x/file").touch()
    assert "is not empty" in run(str(tmp_path / "x"), rc=2)
    words = ("--people", "2000", "--items", "100", "--effect", "0", "--inside", "--json")
    result = json.loads(run(str(tmp_path / "shop"), *words, rc=1).splitlines()[-1])
    assert abs(result["true_effect"]) < 1e-3
    assert result["report"]["verdict"] in ("do not ship", "cannot tell yet")


def test_an_arm_that_merges_two_lists_says_which_one_people_prefer(shop: Shop, tmp_path: Path) -> None:
    """All people get merged lists; clicks are drawn by their taste, so that the better list is preferred."""
    weeks = prepare(tmp_path, shop, days=DAYS, seed=SEED)
    bundles = {arm: weeks.frozen.experiment.arm(arm).bundle for arm in ("control", "better")}
    arms: dict[str, Any] = {arm: {"bundle": bundle} for arm, bundle in bundles.items()}
    merged = {
        "control": "merged",
        "placement": "elsewhere",
        "arms": arms | {"merged": {"interleave": ["control", "better"]}},
        "plan": {"metrics": [{"name": "clicks", "event": "click", "role": "primary"}]},
        "phases": [{"salt": "m", "starts": START, "weights": {"merged": 1.0}}],
    }
    start_experiment(weeks.root, experiment_of(merged, "both", where="a test"), (), START - DAY_S)
    written = run_inside(weeks)
    written.lines[:] = [line for line in written.lines if line["arm"] is not None][:4_000]
    written.events.clear()
    number = {user: at for at, user in enumerate(shop.user_ids)}
    rng = np.random.default_rng(SEED)
    for line in written.lines:
        person = number[line["user_id"]]
        lists = {arm: [shop.item_ids[item] for item in shop.lists[arm][person]] for arm in bundles}
        draft = merge_by_draft(lists, 10, line["request_id"])
        line |= {"experiment": "both", "arm": "merged", "bundle_id": bundles["control"]}
        line |= {"items": draft.items, "team": draft.team}
        items = np.array([[shop.item_ids.index(item) for item in draft.items]])
        chances = shop.people.chances(np.array([person]), items)[0]
        for place in np.flatnonzero(rng.random(10) < chances).tolist():
            event = {"event_id": f"{line['request_id']} {place}", "kind": "outcome", "event": "click"}
            event |= {
                "item_id": draft.items[place],
                "user_id": line["user_id"],
                "request_id": line["request_id"],
            }
            written.events.append(event | {"timestamp": line["now_s"] + 5})
    store_written(weeks, written)
    report = report_experiment(QUIET, "both", weeks.root, weeks.state, until=weeks.until)
    assert not isinstance(report, Negative)
    assert report["preference"]["winner"] == "better"
    (line,) = written.lines[:1]
    opened = {bundle: load(weeks.root / bundle) for bundle in bundles.values()}
    recipe = recipe_of(find_frozen(weeks.root, "both").experiment, "merged", opened.__getitem__)
    again = recipe.make(Question(line["user_id"], k=10, now=START), line["request_id"])
    assert (again.item_ids, again.team) == (line["items"], line["team"])
