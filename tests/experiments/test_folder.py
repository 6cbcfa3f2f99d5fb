"""Definitions: what a file may say, and what may not change while people live in it."""

from pathlib import Path
from typing import Any

import pytest

from recsys.errors import SettingError
from recsys.experiments.definition import Experiment
from recsys.experiments.folder import experiment_of, read_experiments, refuse_change

NOW = 1_800_000_000
DAY = 86_400
PHASE = {"salt": "s1", "starts": NOW, "weights": {"control": 0.5, "wide": 0.5}}
PLAIN = {"control": "control", "phases": [PHASE]}


def build(**values: Any) -> Experiment:
    return experiment_of(PLAIN | values, "towers", where="towers.toml")


def phase(**values: Any) -> dict[str, Any]:
    return {"phases": [PHASE | values]}


def assert_refused(words: str, **values: Any) -> None:
    with pytest.raises(SettingError, match=words):
        build(**values)


def test_what_a_file_may_not_say() -> None:
    assert_refused("add up to 1, and these add up to 0.9", **phase(weights={"control": 0.5, "wide": 0.4}))
    assert_refused("wieghts.*did you mean 'weights'", **phase(wieghts={}))
    assert_refused("no arm 'old', which is the control", control="old")
    assert_refused("slots must rise", **phase(slots=[0.5, 0.5]), namespace="home")
    assert_refused("name it", **phase(slots=[0.0, 0.5]))
    assert_refused(
        "a ramp must go up", **phase(ramp=[{"at": NOW, "share": 0.5}, {"at": NOW + 1, "share": 0.4}])
    )
    assert_refused("begins before the phase", **phase(ramp=[{"at": NOW - 1, "share": 0.5}]))
    assert_refused("each starts later", phases=[PHASE, PHASE | {"salt": "s2"}])
    assert_refused("have one salt", phases=[PHASE, PHASE | {"starts": NOW + 1}])
    assert_refused("ends before", ends=NOW)
    assert_refused("tester 't' is given the arm 'narrow'", testers={"t": "narrow"})
    assert_refused("needs a rule", **phase(where={"country": {}}))
    assert_refused("needs its zone", **phase(starts="2026-12-01T00:00:00"))
    assert_refused("hash_version", hash_version=2)
    assert_refused("called as its file", name="other")
    assert build(**phase(starts="2027-01-15T08:00:00Z")).phases[0].starts == NOW


def write(folder: Path, name: str, slots: str, starts: str, ends: str, salt: str = "") -> None:
    (folder / f"{name}.toml").write_text(
        f"""
control = "control"
namespace = "home"
ends = {ends}
[[phases]]
salt = "{salt or name}"
starts = {starts}
weights = {{ control = 0.5, wide = 0.5 }}
slots = {slots}
"""
    )


def test_a_folder_is_read_as_a_whole(tmp_path: Path) -> None:
    assert read_experiments(tmp_path / "none").by_name == {}
    write(tmp_path, "a", "[0.0, 0.5]", "2026-12-01T00:00:00Z", "2026-12-15T00:00:00Z")
    write(tmp_path, "b", "[0.5, 1.0]", "2026-12-01T00:00:00Z", "2026-12-15T00:00:00Z")
    write(tmp_path, "c", "[0.0, 1.0]", "2026-12-15T00:00:00Z", "2026-12-20T00:00:00Z")
    (tmp_path / "holdouts.toml").write_text(
        '[[holdouts]]\nname = "year"\nsalt = "year"\nshare = 0.05\nstarts = 2026-01-01T00:00:00Z\n'
    )
    experiments = read_experiments(tmp_path)
    assert set(experiments.by_name) == {"a", "b", "c"}
    assert experiments.holdouts[0].share == 0.05
    write(tmp_path, "d", "[0.4, 0.6]", "2026-12-14T00:00:00Z", "2026-12-20T00:00:00Z")
    with pytest.raises(
        SettingError, match=r"'a' and 'd' overlap in namespace 'home'.*\[0, 0.5\] and \[0.4, 0.6\]"
    ):
        read_experiments(tmp_path)
    write(tmp_path, "d", "[0.0, 0.1]", "2027-12-14T00:00:00Z", "2027-12-20T00:00:00Z", salt="a")
    with pytest.raises(SettingError, match="both have the salt 'a'"):
        read_experiments(tmp_path)


def test_a_digest_says_whether_a_definition_changed() -> None:
    assert build().digest == build().digest
    assert build().digest != build(**phase(weights={"control": 0.4, "wide": 0.6})).digest


def test_while_it_runs_only_what_moves_nobody_may_change() -> None:
    ramp = [{"at": NOW, "share": 0.1}, {"at": NOW + 2 * DAY, "share": 0.5}]
    before, now = build(**phase(ramp=ramp)), NOW + DAY
    later = PHASE | {"salt": "s2", "starts": NOW + 3 * DAY, "weights": {"control": 0.2, "wide": 0.8}}
    for allowed in (
        before,
        build(**phase(ramp=[ramp[0], {"at": NOW + 4 * DAY, "share": 1.0}])),
        build(**phase(ramp=ramp), testers={"t": "wide"}, ends=NOW + 9 * DAY),
        build(phases=[PHASE | {"ramp": ramp}, later]),
    ):
        refuse_change(before, allowed, now)
    for words, after in (
        (
            "weights, slots and conditions stay",
            build(**phase(ramp=ramp, weights={"control": 0.4, "wide": 0.6})),
        ),
        ("weights, slots and conditions stay", build(**phase(ramp=ramp, where={"country": "de"}))),
        ("gone up to 10%", build(**phase(ramp=[{"at": NOW, "share": 0.05}]))),
        ("gone up to 10%", build()),
        ("starts in the future", build(phases=[PHASE | {"ramp": ramp}, later | {"starts": now}])),
        ("cannot end in the past", build(**phase(ramp=ramp), ends=now)),
        ("its namespace stays", build(**phase(ramp=ramp), namespace="home")),
    ):
        with pytest.raises(SettingError, match=words):
            refuse_change(before, after, now)
    refuse_change(
        before, build(**phase(weights={"control": 0.4, "wide": 0.6})), NOW - 1
    )  # nobody lives in it yet
    with pytest.raises(SettingError, match="starts in the future"):
        refuse_change(build(), build(**phase(starts=NOW - DAY)), NOW - 1)
