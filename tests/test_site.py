"""The pages as a whole: links, pictures, the order of the index and the menu, and the site that is built of
them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import PAGES, ROOT, every_page


@every_page
def test_links_in_a_page_lead_somewhere(page: Path) -> None:
    for target, _, heading in (
        link.partition("#") for link in re.findall(r"\]\((?!https?:)([^)]+)", page.read_text())
    ):
        goal = page.parent / target if target else page
        assert goal.exists(), f"{page.name} links to {target}"
        if heading:
            named = [
                re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower())
                for line in goal.read_text().splitlines()
            ]
            assert heading.replace("-", " ") in [name.replace("-", " ") for name in named], (
                f"{target}#{heading}"
            )


@pytest.mark.parametrize("name", ["quickstart", "family"])
def test_a_notebook_links_to_what_is_there(name: str) -> None:
    text = (ROOT / f"docs/{name}.ipynb").read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert len(links) > 5
    assert all((ROOT / "docs" / target).exists() for target in links)


def test_pictures_of_the_pages_are_small_and_shown() -> None:
    pages = "".join(path.read_text() for path in PAGES)
    pictures = sorted((ROOT / "docs/pictures").iterdir())
    assert len(pictures) > 4
    for path in pictures:
        assert path.stat().st_size < 150_000, path.name
        assert f"](pictures/{path.name})" in pages, path.name


def test_every_page_is_reached_from_the_readme_through_the_index() -> None:
    assert "](docs/index.md)" in (ROOT / "README.md").read_text()
    reached = set(re.findall(r"\]\(([^)#/]+)", (ROOT / "docs/index.md").read_text()))
    assert "](decisions/index.md)" in (ROOT / "docs/index.md").read_text()
    assert {
        path.name for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".ipynb")
    } <= reached | {"index.md"}


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    start = (tmp_path / "quickstart/index.html").read_text()
    assert "<h1" in start
    assert "because of" in start  # what a cell of the notebook gives
    assert "The pages, in the order" in (tmp_path / "index.html").read_text()
    assert "From a log of clicks" in (tmp_path / "readme/index.html").read_text()


def test_the_menu_of_the_site_is_the_index_with_every_page_in_the_same_order() -> None:
    menu = (ROOT / "mkdocs.yml").read_text().partition("  - Start: index.md\n")[2]
    sections = [
        (part.partition(":")[0], re.findall(r": (\S+\.md)$", part, re.M)) for part in menu.split("\n  - ")
    ]
    sections[0] = (sections[0][0].strip(" -"), sections[0][1])
    index = [part.partition("\n") for part in (ROOT / "docs/index.md").read_text().split("\n## ")[1:]]
    assert [name for name, _ in sections] == [name for name, _, _ in index]
    for (name, pages), (_, _, text) in zip(sections, index, strict=True):
        linked = re.findall(r"\]\((?!\.\.)(\S+)\)", text.replace(".ipynb", ".md"))
        assert [page for page in pages if page in linked] == linked, name
        assert set(pages) - set(linked) <= {"CHANGELOG.md", "CONTRIBUTING.md"}
    pages = {page for _, named in sections for page in named}
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= pages | {"index.md"}


@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted((ROOT / "benchmarks/results").glob("*.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_lists_and_tables_are_read_as_such_by_every_program(page: Path) -> None:
    """GitHub takes a list right after a sentence, or one that is indented by two blanks; others do not."""
    fenced, before = False, ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            item, row = re.match(r"([-*]|\d+\.) ", line), line.startswith("|")
            follows_text = bool(before.strip()) and not re.match(r"\||#|( |[-*] |\d+\. )", before)
            assert not (item and follows_text), f"{page.name}:{number} a list needs a blank line above"
            assert not re.match(r" {1,3}([-*]|\d+\.) ", line), (
                f"{page.name}:{number} indent lists by four blanks"
            )
            if row and not before.startswith("|"):
                rule = page.read_text().splitlines()[number]
                assert not before.strip(), f"{page.name}:{number} a table needs a blank line above"
                assert re.fullmatch(r"\|[-:| ]+\|", rule), f"{page.name}:{number} a table needs a heading"
        before = line


def test_every_decision_is_in_the_index_with_its_date() -> None:
    folder = ROOT / "docs/decisions"
    rows = re.findall(
        r"^\| (\d{4}-\d\d-\d\d) \| \[(.+)\]\((.+)\) \|$", (folder / "index.md").read_text(), re.M
    )
    assert {name for _, _, name in rows} == {path.name for path in folder.glob("*.md")} - {"index.md"}
    for date, title, name in rows:
        assert (folder / name).read_text().startswith(f"# {title}\n\nDecided on {date}.\n")
