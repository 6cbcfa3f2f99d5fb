"""The report of an experiment that the service ran: the same page, tracked alike, and down to one person's
requests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recsys.events.clock import follow_machine
from recsys.events.store import EventStore
from recsys.pipelines.ab.page.advice import ADVICE
from recsys.pipelines.cli import main
from recsys.pipelines.simulate.shop import NAME, START, make_shop
from recsys.pipelines.simulate.weeks import Weeks, prepare, run_inside, store_written
from recsys.pipelines.tracking import ab_tests
from recsys.text import utc_text

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:::(mlflow|sqlalchemy|alembic|optuna).*")]


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weeks]:
    """Nine days of a small shop, in whose folder all commands are given."""
    folder = tmp_path_factory.mktemp("served")
    simulated = prepare(folder, make_shop(400, 60, 0.3, 5), days=9, seed=5)
    store_written(simulated, run_inside(simulated))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("RECSYS_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield simulated
    follow_machine()


def answer(*words: str, rc: int = 0) -> Any:
    said = CliRunner().invoke(main, [*words, "--json"])
    assert said.exit_code == rc, said.output + repr(said.exception)
    return json.loads(said.stdout.splitlines()[-1])


def where(weeks: Weeks) -> list[str]:
    return [NAME, "--bundles", str(weeks.root), "--store", str(weeks.state), "--until", utc_text(weeks.until)]


def test_what_the_service_wrote_down_gives_page_and_tracked_test(weeks: Weeks) -> None:
    result = CliRunner().invoke(main, ["ab", "report", *where(weeks), "--report", "served.html", "--track"])
    assert result.exit_code in (0, 1), result.output
    report = json.loads(Path("served.json").read_text())
    bundles = {arm: weeks.frozen.experiment.arm(arm).bundle for arm in ("control", "better")}
    assert {one["arm"]: one["bundle_id"] for one in report["models"]} == bundles
    assert all(one["run_id"] is None for one in report["models"])  # this store did not train them
    assert {one["name"] for one in report["health"]} <= ADVICE.keys()
    page = Path("served.html").read_text()
    assert "each arm was served its own bundle" in page
    assert bundles["better"] in page
    test = ab_tests.known_test(NAME)
    assert test.word == report["verdict"]
    assert test.arms["better"].tags["served_bundle"] == bundles["better"]
    assert test.run.tags["hypothesis"] == weeks.frozen.experiment.hypothesis
    listed = answer("ab", "list", "--bundles", str(weeks.root))
    assert [one["name"] for one in listed["experiments"]] == [NAME]
    assert [(one["name"], one["verdict"]) for one in listed["tests"]] == [(NAME, report["verdict"])]


def test_a_person_of_a_served_experiment_is_followed_to_their_requests(weeks: Weeks) -> None:
    lines = [json.loads(text) for _, text in EventStore(weeks.state).exposures()]
    line = next(one for one in lines if one["arm"] is not None and one["now_s"] > START)
    trail = answer("ab", "explain", *where(weeks), "--user", line["unit_id"] or line["user_id"])
    mine = next(one for one in trail["shown"] if one["names"]["request"] == line["request_id"])
    assert (mine["arm"], mine["names"]["bundle"]) == (line["arm"], line["bundle_id"])
    joined = [one for one in trail["done"] if one["shown"] is not None]
    assert all(trail["shown"][one["shown"]]["names"]["request"] == one["names"]["request"] for one in joined)
    assert (
        sum(one["said"] == "counts" and "clicks" in one["metrics"] for one in trail["done"])
        == (trail["figures"]["clicks"]["window"])
    )
    said = CliRunner().invoke(main, ["ab", "explain", "--user", "x"])
    assert (said.exit_code, "name the experiment" in said.output) == (2, True)


def test_the_plan_of_an_experiment_is_registered_when_it_starts(weeks: Weeks) -> None:
    follow_machine()
    own = weeks.frozen.experiment
    arms = "\n".join(f'[arms.{arm}]\nbundle = "{own.arm(arm).bundle}"' for arm in ("control", "better"))
    Path("experiments").mkdir()
    Path("experiments/again.toml").write_text(f"""
control = "control"
hypothesis = "As before."
placement = "elsewhere"
{arms}
[plan]
people = 1000
[[plan.metrics]]
name = "clicks"
event = "click"
role = "primary"
[[phases]]
salt = "again"
starts = 2090-01-01T00:00:00Z
weights = {{ control = 0.5, better = 0.5 }}
""")
    answer("ab", "start", "again", "--bundles", str(weeks.root))
    test = ab_tests.known_test("again")
    assert test.registration()["late"] is False
    assert test.registration()["hypothesis"] == "As before."
    assert (test.plan()["experiment"], test.plan()["phase"], test.plan()["people"]) == ("again", "0", 1000)
    assert test.run.params["metrics.0.name"] == "clicks"
