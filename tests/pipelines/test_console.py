"""What a log sees of a long step, where standard error is no terminal: its start, its end, and a line now and then."""

import pytest

from recsys.pipelines import console
from recsys.pipelines.console import Steps
from recsys.progress import Step


def shown(quiet: bool, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with Steps(quiet=quiet).step("learn") as progress:
        for done in range(4):
            progress(Step("als", done, 3))
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()


def test_a_log_has_the_start_and_the_end_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(False, capsys) == ["learn ...", "als", "learn: 0.0 s"]
    assert shown(True, capsys) == []


def test_a_long_step_says_now_and_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LOG_EVERY_S", 0.0)
    assert shown(False, capsys)[1:-1] == ["als", *(f"als: {done} of 3" for done in range(4))]


def test_a_step_that_fails_has_been_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), Steps().step("learn"):
        raise ValueError("no")
    assert capsys.readouterr().err == "learn ...\n"
