"""Experiments in a root of bundles: what must be well before one starts, and what may change while it
runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recsys.bundle.prune import prune
from recsys.bundle.root import assign, deployment_of, point_to
from recsys.bundle.trials import find_frozen, note_edition, ramp_experiment, start_experiment, stop_experiment
from recsys.errors import BundleError, RecsysError, SettingError
from recsys.experiments.definition import Experiment, Holdout
from recsys.experiments.folder import experiment_of
from recsys.experiments.frozen import read_frozen
from recsys.pipelines.ab.served.plans import plan_of
from recsys.pipelines.cli import main
from tests.helpers.service import publish_toy

NOW = 1_800_000_000
METRIC = {"name": "clicks", "event": "click", "role": "primary"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two bundles, of which the second is current."""
    publish_toy(tmp_path, 1)
    publish_toy(tmp_path, 2)
    return tmp_path


def ids(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("*/manifest.json"))


def build(name: str = "towers", starts: int = NOW + 60, **values: Any) -> Experiment:
    phase = {"salt": f"{name}-1", "starts": starts, "weights": {"control": 0.5, "wide": 0.5}}
    return experiment_of({"control": "control", "phases": [phase], **values}, name, where=f"{name}.toml")


def assert_refused(
    root: Path, words: str, experiment: Experiment, kind: type[RecsysError] = SettingError
) -> None:
    with pytest.raises(kind, match=words):
        start_experiment(root, experiment, (), NOW)
    assert not read_frozen(root)


def test_what_an_arm_may_not_say() -> None:
    for words, arms in (
        ("has no weight", {"wdie": {}}),
        ("of two others", {"wide": {"interleave": ["control", "b"], "seen": "allow"}}),
        ("twice", {"wide": {"interleave": ["b", "b"]}}),
        (
            "itself merges or explores",
            {"wide": {"interleave": ["control", "b"]}, "b": {"explore": {"epsilon": 0.1}}},
        ),
        ("epsilon or by temperature", {"wide": {"explore": {}}}),
        ("epsilon or by temperature", {"wide": {"explore": {"epsilon": 0.1, "temperature": 1.0}}}),
        ("did you mean 'bundle'", {"wide": {"bundel": "x"}}),
        ("pattern", {"wide": {"bundle": "../x"}}),
    ):
        with pytest.raises(SettingError, match=words):
            build(arms=arms)
    alone = [{"salt": "s", "starts": NOW, "weights": {"control": 1.0}}]
    with pytest.raises(SettingError, match="has one arm"):
        build(phases=alone)
    assert build(phases=alone, arms={"control": {"interleave": ["a", "b"]}}).arm_names == [
        "control",
        "a",
        "b",
    ]


def test_nothing_starts_that_could_not_be_served(root: Path) -> None:
    assert_refused(
        root, "arm 'wide'.*has no bundle", build(arms={"wide": {"bundle": "20260101T000000Z"}}), BundleError
    )
    assert_refused(root, "in the past", build(starts=NOW - 1))
    assert_refused(root, "in 5 s, .*at least 10 s ahead", build(starts=NOW + 5))
    assert_refused(
        root,
        "arm 'wide'.*seen.domains names 'toys'",
        build(arms={"wide": {"seen": {"domains": {"toys": "allow"}}}}),
    )
    first = ids(root)[0]
    vectors = root / first / "item_vectors.npy"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-4] + b"\0\0\0\1")
    assert_refused(root, "item_vectors", build(arms={"wide": {"bundle": first}}), BundleError)
    vectors.write_bytes(whole)
    assert start_experiment(root, build(arms={"wide": {"bundle": first}}), (), NOW).bundles == set(ids(root))


def test_no_list_is_of_two_experiments(root: Path) -> None:
    part = {"salt": "x", "starts": NOW + 60, "weights": {"control": 0.5, "wide": 0.5}}
    home = {"namespace": "home", "phases": [part | {"slots": [0.0, 0.5]}]}
    start_experiment(root, build("towers", **home), (), NOW)
    for words, other in (
        (
            "overlap in namespace 'home'",
            {"namespace": "home", "phases": [part | {"salt": "y", "slots": [0.4, 0.6]}]},
        ),
        ("would both decide", {}),
        ("would both decide", {"placement": "cart"}),
        ("both have the salt 'x'", {"phases": [part], "placement": "cart"}),
    ):
        with pytest.raises(SettingError, match=words):
            start_experiment(root, build("other", **other), (), NOW)
    beside = {"namespace": "home", "phases": [part | {"salt": "z", "slots": [0.5, 1.0]}]}
    start_experiment(root, build("other", **beside), (), NOW)
    stop_experiment(root, "towers", NOW + 200, NOW + 100)
    stop_experiment(root, "other", NOW + 200, NOW + 100)
    start_experiment(root, build("later", NOW + 200), (), NOW + 110)
    assert [one.state(NOW + 201) for one in read_frozen(root)] == ["running", "over", "over"]


def test_arms_keep_their_bundles_whatever_becomes_of_the_champion(root: Path) -> None:
    older, newer = ids(root)
    start_experiment(root, build(arms={"wide": {"bundle": older}}), (), NOW)
    third, fourth = publish_toy(root, 3), publish_toy(root, 4)
    assign(root, "shadow", newer)
    assign(root, "shadow", None)
    point_to(root, third)
    assert find_frozen(root, "towers").experiment.arm("control").bundle == newer
    _, deployed = deployment_of(root)
    assert deployed.champion == third
    assert {older, newer} <= deployed.named
    assert {older, newer} <= set(deployed.live)
    publish_toy(root, 5)
    prune(root, 1)
    assert {older, newer} <= set(ids(root))
    assert third in ids(root) or fourth in ids(root)
    before = deployed.etag
    stop_experiment(root, "towers", NOW + 100, NOW + 70)
    assert deployment_of(root)[1].etag != before


def test_a_running_experiment_changes_only_in_what_lies_ahead(root: Path) -> None:
    older = ids(root)[0]
    steps = [{"at": NOW + 60, "share": 0.1}]
    phase = {"salt": "s", "starts": NOW + 60, "weights": {"control": 0.5, "wide": 0.5}, "ramp": steps}
    first = start_experiment(root, build(phases=[phase]), (), NOW)
    assert start_experiment(root, build(phases=[phase]), (), NOW) == first
    later = NOW + 1_000
    with pytest.raises(SettingError, match="in the past"):
        ramp_experiment(root, "towers", 0.5, later - 1, later)
    assert (
        ramp_experiment(root, "towers", 0.5, later + 20, later).experiment.phases[0].share_at(later + 20)
        == 0.5
    )
    with pytest.raises(SettingError, match="a ramp must go up"):
        ramp_experiment(root, "towers", 0.4, later + 30, later)
    for words, changed in (
        (
            "weights, slots and conditions stay",
            build(phases=[phase | {"weights": {"control": 0.4, "wide": 0.6}}]),
        ),
        ("arm 'wide'.*has people", build(phases=[phase], arms={"wide": {"bundle": older}})),
        ("in the past", build(phases=[phase, phase | {"salt": "t", "starts": later - 5, "ramp": []}])),
    ):
        with pytest.raises(SettingError, match=words):
            start_experiment(root, changed, (), later)
    ramped = [*steps, {"at": later + 20, "share": 0.5}]
    second = phase | {"salt": "t", "starts": later + 100, "weights": {"control": 0.5, "new": 0.5}}
    more = build(phases=[phase | {"ramp": ramped}, second | {"ramp": []}], arms={"new": {"bundle": older}})
    frozen = start_experiment(root, more, (), later)
    assert frozen.experiment.arm("new").bundle == older
    assert [change.what.split()[0] for change in frozen.history] == ["started", "ramp", "changed"]
    assert len({change.digest for change in frozen.history}) == 3
    with pytest.raises(SettingError, match=r"no experiment 'tower'.*did you mean 'towers'"):
        stop_experiment(root, "tower", later + 500, later)
    stopped = stop_experiment(root, "towers", later + 50, later)
    assert stopped is not None
    assert [one.salt for one in stopped.experiment.phases] == ["s"]
    with pytest.raises(SettingError, match="is over since"):
        stop_experiment(root, "towers", later + 500, later + 50)
    with pytest.raises(SettingError, match="another name"):
        start_experiment(root, build(starts=later + 100), (), later + 60)


def test_what_has_not_started_is_taken_back(root: Path) -> None:
    start_experiment(root, build(), (), NOW)
    stop_experiment(root, "towers", NOW + 30, NOW + 10)
    assert not read_frozen(root)


def test_a_frozen_file_that_was_changed_is_refused(root: Path) -> None:
    start_experiment(root, build(), (), NOW)
    file = root / "experiments/towers.json"
    said = json.loads(file.read_text())
    said["experiment"]["phases"][0]["weights"] = {"control": 0.1, "wide": 0.9}
    file.write_text(json.dumps(said))
    with pytest.raises(BundleError, match="changed since it was frozen"):
        deployment_of(root)
    file.write_text("{")
    with pytest.raises(BundleError, match="is no experiment that was started"):
        deployment_of(root)


def test_that_an_arm_was_written_anew_without_somebody_stands_in_its_history(root: Path) -> None:
    older = ids(root)[0]
    start_experiment(root, build(arms={"wide": {"bundle": older}}), (), NOW)
    before = find_frozen(root, "towers")
    assert note_edition(root, older, NOW + 100) == ["towers"]
    frozen = find_frozen(root, "towers")
    assert (frozen.experiment, frozen.digest) == (before.experiment, before.digest)
    assert frozen.history[:-1] == before.history
    assert older in frozen.history[-1].what
    assert note_edition(root, "nobody", NOW + 100) == []


def test_holdouts_stay_as_they_are_while_somebody_is_held_by_them(root: Path) -> None:
    def holdouts(share: float) -> tuple[Holdout, ...]:
        return (Holdout(name="year", salt="h", share=share, starts=NOW),)

    start_experiment(root, build("a", placement="home"), holdouts(0.1), NOW)
    with pytest.raises(SettingError, match="holdout 'year' is another one"):
        start_experiment(root, build("b", placement="cart"), holdouts(0.2), NOW)
    start_experiment(root, build("b", placement="cart"), holdouts(0.1), NOW)
    assert [one.holdouts for one in read_frozen(root)] == [holdouts(0.1)] * 2


def test_the_plan_of_the_analysis_is_frozen_with_the_rest() -> None:
    plan = {"window_days": 7, "metrics": [METRIC]}
    frozen = plan_of(build(plan=plan, testers={"t": "wide"}))
    assert (frozen.weights, frozen.experiment, frozen.phase) == ({"control": 0.5, "wide": 0.5}, "towers", "0")
    assert frozen.testers == ("t",)
    for words, wrong in (
        ("no table", {}),
        ("did you mean 'window_days'", plan | {"window_dais": 3}),
        ("says 'control', which the experiment itself says", plan | {"control": "wide"}),
    ):
        with pytest.raises(SettingError, match=words):
            plan_of(build(plan=wrong))


def test_the_commands_start_ramp_list_and_stop(root: Path, tmp_path: Path) -> None:
    def run(*words: str, rc: int = 0) -> str:
        result = CliRunner().invoke(main, ["ab", *words, "--bundles", str(root)])
        assert result.exit_code == rc, result.output + repr(result.exception)
        return result.output

    folder = tmp_path / "definitions"
    folder.mkdir()
    file = folder / "towers.toml"
    text = f"""
control = "control"
[arms.wide]
bundle = "{ids(root)[0]}"
[plan]
metrics = [{{ name = "clicks", event = "click", role = "primary" }}]
[[phases]]
salt = "s"
starts = 2100-01-01T00:00:00Z
weights = {{ control = 0.5, wide = 0.5 }}
ramp = [{{ at = 2100-01-01T00:00:00Z, share = 0.1 }}]
"""
    file.write_text(text.replace('role = "primary"', 'role = "prime"'))
    assert "plan of experiment 'towers'" in run("start", "towers", "--experiments", str(folder), rc=2)
    file.write_text(text)
    assert "has no tower.toml; did you mean 'towers'" in run(
        "start", "tower", "--experiments", str(folder), rc=2
    )
    assert "No experiment was started" in run("list")
    assert (
        "its next phase starts at 2100-01-01" in run("start", "towers", "--experiments", str(folder)).lower()
    )
    assert "0.5 of the people" in run("ramp", "towers", "0.5", "--at", "2100-01-02T00:00:00Z")
    listed = json.loads(run("list", "--json").splitlines()[-1])["experiments"]
    assert [(one["name"], one["state"]) for one in listed] == [("towers", "to come")]
    assert "to come" in run("list")
    assert "ends at 2100-02-01" in run("stop", "towers", "--at", "2100-02-01T00:00:00Z")
    assert "taken back" in run("stop", "towers")
