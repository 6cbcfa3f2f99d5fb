"""What a log sees of a long step, where standard error is no terminal: its start, its end, and a line now and
then."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from recsys.pipelines import console
from recsys.pipelines.cli import main
from recsys.pipelines.console import Steps
from recsys.progress import Step
from recsys.text import fit_tables, text_table


def lines_of(quiet: bool, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with Steps(quiet=quiet).step("learn") as progress:
        for done in range(4):
            progress(Step("als", done, 3))
    said = capsys.readouterr()
    assert said.out == ""
    return re.sub(r"\d+\.\d s$", "0.0 s", said.err, flags=re.MULTILINE).splitlines()


def test_a_log_has_the_start_and_the_end_of_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(False, capsys) == ["learn ...", "als", "learn: 0.0 s"]
    assert lines_of(True, capsys) == []


def test_a_long_step_says_now_and_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LOG_EVERY_S", 0.0)
    assert lines_of(False, capsys)[1:-1] == ["als", *(f"als: {done} of 3" for done in range(4))]


def test_a_step_that_fails_has_been_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no"), Steps().step("learn"):
        raise ValueError("no")
    assert capsys.readouterr().err == "learn ...\n"


def test_colours_are_for_terminals_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where standard error is a file, as here, not even FORCE_COLOR makes any."""
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"):
        monkeypatch.setenv(name, "1")
    assert lines_of(False, capsys) == ["learn ...", "als", "learn: 0.0 s"]


METRICS = [f"metric_{number}_at_10" for number in range(9)]


def test_a_table_fits_the_console_or_says_what_was_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    title = "A very long title of a film that goes on and on, with | a bar and no end in sight " * 2
    wide = text_table(
        ["item", "title", *METRICS], [["tt0111161", title, *["0.1234 [0.1200, 0.1300]"] * 9]] * 2
    )
    Steps().say(f"before\n\n{wide}\n\nafter")
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert max(map(len, lines[:-3])) <= 100
    assert "…" in lines[4]
    names = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert names[:3] == ["item", "title", METRICS[0]]
    left = ", ".join(METRICS[len(names) - 2 :])
    assert lines[6] == f"Left out, for the width of 100 columns (COLUMNS): {left}."
    assert {len(line) for line in lines[2:6]} == {len(lines[2])}


def test_a_table_that_fits_is_left_as_it_is() -> None:
    table = text_table(["item", "title"], [["1", "A | B"], ["2", "back\\|slash"]])
    text = f"{table}\nand a line that is no table, " + "x" * 200
    assert fit_tables(text) == text
    assert fit_tables(table, 20).count("\n") == table.count(
        "\n"
    )  # no column but the last two: nothing to leave out


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ((), ["no table of events", "recsys demo", "recsys data check FILE.csv"]),
        (("my clicks.csv.gz", "notes.txt"), ["recsys data check 'my clicks.csv.gz'", "--minutes 10"]),
        (("clicks.csv", "mlruns/trained/b1/manifest.json"), ["none is published", "recsys export last"]),
        (("mlruns/trained/b1/manifest.json", "mlruns/bundles/current"), ["recsys serve", "recsys runs"]),
    ],
)
def test_without_a_command_the_next_step_in_this_folder_is_said(
    made: tuple[str, ...], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECSYS_HOME", raising=False)
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 0
    assert all(text in done.output for text in said), done.output
    assert done.output.endswith("All commands: recsys --help\n")
