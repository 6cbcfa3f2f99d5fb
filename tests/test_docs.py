"""What the documents promise is run, parsed, or held against the code."""

import doctest
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from recsys.analysis.plan import read_plan
from recsys.bundle.deployment import FILE, read_deployment
from recsys.config import read_toml
from recsys.experiments.definition import Holdouts
from recsys.experiments.folder import read_experiment
from recsys.models.registry import MODELS
from recsys.pipelines.cli import main
from recsys.pipelines.commands.stage import config_for
from recsys.pipelines.run.settings import CONFIGS, load_settings
from recsys.serving.cli import main as serving

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs/commands.md"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "deploy/README.md",
    *sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
SETTINGS_OF = ("train", "evaluate", "demo", "split")
EXPERIMENTS = {  # a table that only such a file has -> what reads it
    "metrics": read_plan,
    "phases": read_experiment,
    "holdouts": lambda path: Holdouts.build(read_toml(path), where=str(path)).holdouts,
}
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_of(page: Path) -> tuple[list[str], list[str]]:
    """The lines of a page's code blocks, fenced or indented, and the code inside its sentences."""
    lines, inline, fenced = [], [], False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(line.strip().removeprefix("$ "))
        else:
            inline += re.findall(r"`([^`]+)`", line)
    return lines, inline


def quoted_commands() -> list[tuple[str, str, bool]]:
    """(page, command line, whole) of every `recsys ...` that a page quotes; in sentences arguments may be
    left out."""
    commands = []
    for page in PAGES:
        if page != GENERATED:
            for whole, quoted in zip((True, False), code_of(page), strict=True):
                commands += [
                    (page.name, line, whole)
                    for line in quoted
                    if re.match(r"(\.venv/bin/)?recsys [a-z-]", line)
                ]
    return commands


COMMANDS = quoted_commands()


@pytest.mark.parametrize("page", [p for p in PAGES if ">>> " in p.read_text()], ids=lambda page: page.name)
def test_python_in_a_page_gives_what_it_shows(page: Path) -> None:
    results = doctest.testfile(str(page), module_relative=False)
    assert results.failed == 0
    assert results.attempted == sum(line.startswith(">>> ") for line in page.read_text().splitlines()) > 2


def test_the_pages_for_users_of_the_library_show_python() -> None:
    for name in ("README.md", "docs/judge-your-system.md", "docs/splits.md", "docs/your-own-data.md"):
        assert ">>> " in (ROOT / name).read_text()


def test_every_rule_says_why_and_names_tests_that_are_there() -> None:
    rules = (ROOT / "docs/rules.md").read_text().split("\n## ")[1:]
    assert len(rules) > 25
    for rule in rules:
        title, _, body = rule.partition("\n")
        assert re.search(r"^- Why: .{20}", body, re.M), title
        tests = re.findall(r"`(tests/[^`]+)`", body.partition("- Test: ")[2])
        assert tests, title
        assert all((ROOT / path).is_file() for path in tests), title


def test_every_word_has_a_meaning_and_a_name_in_the_literature() -> None:
    rows = [
        line.strip("|").split("|")
        for line in (ROOT / "docs/words.md").read_text().splitlines()
        if "|" in line
    ]
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
    words = [row[0].strip().lower() for row in rows[2:]]
    assert words == sorted(set(words))


@pytest.mark.parametrize("name", ["docs/architecture.md", "docs/contracts.md", "CONTRIBUTING.md"])
def test_code_that_a_page_points_to_is_there(name: str) -> None:
    page = (ROOT / name).read_text()
    paths = re.findall(
        r"`((?:recsys|serving|pipelines|tests|benchmarks)/[\w/]+(?:\.py|/)?)(?:: (\w+))?`", page
    )
    assert len(paths) > 10
    for path, function in paths:
        assert (ROOT / path).exists(), path
        assert not function or re.search(rf"(def|class) {function}\b", (ROOT / path).read_text()), (
            path,
            function,
        )


def test_the_readme_is_one_screen_or_two() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize(
    ("page", "line", "whole"), COMMANDS, ids=[f"{page}: {line}" for page, line, _ in COMMANDS]
)
def test_a_quoted_command_is_one_that_the_program_takes(page: str, line: str, whole: bool) -> None:
    words = shlex.split(line.removeprefix(".venv/bin/"), comments=True)[1:]
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: no command {words[0]}"
        command = command.commands[words.pop(0)]
    if isinstance(command, click.Group):
        return
    command = serving if command.name == "serve" else command
    given: dict[str, Any] = {}
    try:
        if whole:
            given = command.make_context(line, list(words)).params
        else:
            options, *_ = command.make_parser(click.Context(command, info_name=line)).parse_args(list(words))
            needed = [one.name for one in command.params if isinstance(one, click.Argument) and one.required]
            assert sum(isinstance(options[name], str) for name in needed) in (0, len(needed)), (
                f"{page}: {line}"
            )
    except click.exceptions.Exit:  # --help
        return
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.message}")
    settings = [
        word for word in words if re.match(r"[a-z_.]+=", word) and "..." not in word and "NAME" not in word
    ]
    model = given.get("model")
    if model is not None and ":" not in model and model != "NAME":
        settings = [f"model={model}", *settings]
    if settings and command.name in SETTINGS_OF:  # with the config of the data, as the command takes it
        config = given.get("config") or config_for(given.get("data") or "")
        named = config is None or (CONFIGS / f"{config}.toml").is_file()
        load_settings(config if named else None, [word for word in settings if "mine:" not in word])


def test_quoted_commands_are_found() -> None:
    pages = {page for page, *_ in COMMANDS}
    assert {
        "README.md",
        "your-own-data.md",
        "splits.md",
        "judge-your-system.md",
        "runs.md",
        "serving.md",
    } <= pages
    assert any("--user-col visitor" in line for _, line, _ in COMMANDS)
    assert any("split.repeats=true" in line for _, line, _ in COMMANDS)


@every_page
def test_other_programs_in_a_page_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    lines, inline = code_of(page)
    for line in (*lines, *inline):
        if match := re.match(r"make ([a-z]+)", line):
            assert f"\n{match[1]}:" in makefile, line
        if match := re.match(r"(?:\S*/)?python -m ([a-z_.]+)", line):
            file = ROOT / f"{match[1].replace('.', '/')}.py"
            assert file.exists() or importlib.util.find_spec(match[1].split(".")[0]) is not None, line


@every_page
def test_settings_files_in_a_page_are_taken(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        if block.startswith("champion"):
            (tmp_path / FILE).write_text(block)
            assert read_deployment(tmp_path, "another").arms
            continue
        path = tmp_path / "settings.toml"
        path.write_text(block)
        if reader := next((read for table, read in EXPERIMENTS.items() if f"[[{table}]]" in block), None):
            assert reader(path)
            continue
        assert read_toml(path)
        load_settings(str(path), [])


def test_the_page_of_commands_is_what_the_code_says() -> None:
    said = subprocess.run(
        [sys.executable, "docs/reference.py"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert GENERATED.read_text() == said, (
        "docs/commands.md is not what the code says. Write it again: make docs"
    )
    for promised in (
        "recsys data check",
        "--until-stdin-closes",
        "`model.unobserved_weight`",
        "`world.new_boost`",
    ):
        assert promised in said


def test_every_command_but_serve_takes_json_and_debug_and_every_option_has_a_meaning() -> None:
    groups: list[click.Group] = [main]
    while groups:
        for name, command in groups.pop().commands.items():
            if isinstance(command, click.Group):
                groups.append(command)
                continue
            assert name == "serve" or {"as_json", "debug"} <= {one.name for one in command.params}, name
            options = [one for one in command.params if isinstance(one, click.Option)]
            assert all(one.help for one in options), name


def test_the_page_of_learners_names_each_of_them_and_every_setting_has_a_sentence() -> None:
    page = (ROOT / "docs/learners.md").read_text()
    assert not [name for name in MODELS if f"`{name}`" not in page]
    rows = [line.strip("|").split(" | ") for line in GENERATED.read_text().splitlines() if line[:3] == "| `"]
    assert len(rows) > 300
    bare = [row[0] for row in rows if len(row[-1].strip()) < 8]
    assert not bare


def test_docstring_examples_run() -> None:
    import recsys.ids

    results = doctest.testmod(recsys.ids)
    assert results.attempted > 0
    assert results.failed == 0


def test_make_help_lists_every_documented_target() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("install", "demo", "test", "check", "smoke", "docs", "ui", "bench"):
        assert re.search(rf"^{target}\s+\S", said, re.MULTILINE)


def test_the_package_says_its_version() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "recsys.pipelines.cli", "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert re.search(r"recsys, version \d+\.\d+\.\d+", said.stdout)
