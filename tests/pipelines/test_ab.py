"""The commands about experiments: the page's own lines, in order, and what they say of faults."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recsys.pipelines.cli import main

PAGE = (Path(__file__).parents[2] / "docs/ab.md").read_text()


def run(*words: str, rc: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == rc, result.output + repr(result.exception)
    return result


def answer(*words: str, rc: int = 0) -> Any:
    return json.loads(run(*words, "--json", rc=rc).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `recsys ab demo` writes, with the effect and people of the page."""
    folder = tmp_path_factory.mktemp("ab") / "shop"
    run("ab", "demo", str(folder), "--people", "6000", "--effect", "0.1")
    return folder


def tables(shop: Path) -> list[str]:
    return ["--exposures", str(shop / "exposures"), "--outcomes", str(shop / "outcomes")]


def test_every_line_of_the_page_runs(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shop.parent)
    definition = next(
        block for block in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[[phases]]" in block
    )
    (shop.parent / "experiments").mkdir()
    (shop.parent / "experiments/wide-towers.toml").write_text(definition)
    lines = [line.strip() for line in PAGE.splitlines() if line.startswith("    recsys ab ")]
    said = {}
    for line in lines:
        words = shlex.split(line)[1:]
        if words[1] != "demo":
            said[words[1]] = run(*words).output
    assert set(said) == {"plan", "analyse", "interleaving", "off-policy", "assign"}
    assert "Ship wide: plays +" in said["analyse"]
    assert "people, of all arms together, and " in said["plan"]
    assert "People prefer wide: go on to an A/B test" in said["interleaving"]
    assert "may be read" in said["off-policy"]
    assert "tester" in said["assign"]


def test_machines_get_the_whole_report(shop: Path, tmp_path: Path) -> None:
    words = [
        "ab",
        "analyse",
        *tables(shop),
        "--plan",
        str(shop / "plan.toml"),
        "--out",
        str(tmp_path / "report.json"),
    ]
    report = answer(*words)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert (report["verdict"], report["arm"]) == ("ship", "wide")
    assert {one["metric"]: one["state"] for one in report["effects"]}["skips a list"] == "kept"
    assert report["effects"][0]["share"]["low"] < 0.1 < report["effects"][0]["share"]["high"]
    assert report["people"]["control"] + report["people"]["wide"] == 6_000
    needs = answer("ab", "plan", "--outcomes", str(shop / "outcomes"), "--plan", str(shop / "plan.toml"))
    assert needs["weeks"] * 7 == needs["days"]
    assert needs["people"] == max(one["people"] for one in needs["metrics"] if one["metric"] != "came back")
    values = answer("ab", "off-policy", str(shop / "explored.parquet"))["values"]
    assert {one["estimator"] for one in values} == {"ips", "snips", "cascade"}
    assert all(one["value"]["low"] > 0 for one in values)


def test_a_sick_test_hides_its_effect_unless_it_is_asked_for(shop: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text(
        (shop / "plan.toml").read_text().replace("control = 0.5, wide = 0.5", "control = 0.6, wide = 0.4")
    )
    words = ["ab", "analyse", *tables(shop), "--plan", str(plan)]
    report = answer(*words, rc=1)
    assert (report["verdict"], report["effects"], report["segments"]) == ("cannot be trusted", None, None)
    assert "%" not in run(*words, rc=1).output.split("Find the cause")[0]
    assert answer(*words, "--show-sick", rc=1)["effects"]
    assert "THE TEST IS SICK" in run(*words, "--show-sick", rc=1).output


def test_before_the_end_the_status_is_that_of_no_verdict(shop: Path) -> None:
    words = [
        "ab",
        "analyse",
        *tables(shop),
        "--plan",
        str(shop / "plan.toml"),
        "--until",
        "2026-12-13T00:00:00Z",
    ]
    report = answer(*words, rc=1)
    assert report["verdict"] == "cannot tell yet"
    assert report["excluded"]["window not over yet"]["wide"] > 1_500


ANALYSE = "analyse --exposures {shop}/exposures --outcomes {shop}/outcomes --plan {shop}/plan.toml"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (ANALYSE.replace("/exposures", "/none"), "is not there"),
        (ANALYSE.replace("/plan.toml", "/x"), "there is no plan"),
        (ANALYSE.replace("/exposures", "/outcomes"), "no column 'arm'"),
        (f"{ANALYSE} --until soon", "is no moment"),
        ("demo {shop}", "is not empty"),
        ("off-policy {shop}/clicks.parquet", "no column 'reward'"),
        (
            "interleaving --exposures {shop}/clicks.parquet --outcomes {shop}/clicks.parquet",
            "no column 'unit_id'",
        ),
        (
            "plan --outcomes {shop}/outcomes --plan {shop}/plan.toml --since 2030-01-01T00:00:00Z",
            "has no rows from 2030",
        ),
    ],
)
def test_faults_are_one_sentence(shop: Path, line: str, said: str) -> None:
    result = run("ab", *shlex.split(line.format(shop=shop)), rc=2)
    assert said in result.output
    assert "Traceback" not in result.output


def test_wrong_experiments_are_named(tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(
        'control = "a"\n[[phases]]\nsalt = "s"\nstarts = 2026-12-01T00:00:00Z\n'
    )
    assert "'phases.0.weights'" in run("ab", "assign", str(tmp_path), rc=2).output
