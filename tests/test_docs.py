"""What the documents promise is run."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_python_in_a_page_gives_what_it_shows(page: Path) -> None:
    results = doctest.testfile(str(page), module_relative=False)
    assert results.failed == 0
    if page.name == "README.md":
        assert results.attempted > 5


@every_page
def test_links_in_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@every_page
def test_commands_in_a_page_exist(page: Path) -> None:
    from pipelines.cli import main

    lines = page.read_text().splitlines()
    named = {word for line in lines for word in re.findall(r"^(?:\.venv/bin/)?recsys ([a-z]+)", line.strip())}
    assert named <= set(main.commands)
    targets = {word for line in lines for word in re.findall(r"^make ([a-z]+)", line.strip())}
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in targets)


def test_docstring_examples_run() -> None:
    import recsys.ids

    results = doctest.testmod(recsys.ids)
    assert results.attempted > 0
    assert results.failed == 0


def test_make_help_lists_every_documented_target() -> None:
    said = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("install", "demo", "test", "check", "ui", "bench"):
        assert re.search(rf"^{target}\s+\S", said, re.MULTILINE)


def test_the_design_page_names_every_module_of_the_base() -> None:
    page = (ROOT / "docs/design.md").read_text()
    for path in (ROOT / "recsys").glob("*.py"):
        if path.name != "__init__.py":
            assert path.stem in page


def test_the_package_says_its_version() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert re.search(r"recsys, version \d+\.\d+\.\d+", said.stdout)
