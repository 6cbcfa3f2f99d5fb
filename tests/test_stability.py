"""What is promised to others stands in a file, and the names that moved lead somewhere
(docs/stability.md)."""

import importlib.util
import re
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_public_name_that_the_page_promises_is_there() -> None:
    """A line that goes or changes is a change for users: say it in the changelog, then `make docs`, which
    adds new ones too. A new name breaks nobody, so it waits for that."""
    spec = importlib.util.spec_from_file_location("public_names", ROOT / "docs/public_names.py")
    assert spec is not None
    assert spec.loader is not None
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    promised = (ROOT / "docs/public-names.txt").read_text().splitlines()
    assert len(promised) > 300
    assert not set(promised) - set(program.page().splitlines())


def test_every_old_name_leads_to_a_new_one_that_is_there() -> None:
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", (ROOT / "docs/stability.md").read_text(), re.MULTILINE)
    assert len(rows) > 100
    for old, cell in rows:
        first, *others = cell.split("; ")
        place = re.match(r"`([\w.]+)`", first)
        assert place, old
        import_module(place[1])
        for other in others:
            module, *names = re.findall(r"`([\w.]+)`", other)
            for name in names:
                new = re.search(rf"`{name}` \(now (\w+)\)", other)
                assert hasattr(import_module(module), new[1] if new else name), (old, other)


def test_nothing_is_installed_or_imported_by_the_names_of_the_folders_at_the_top() -> None:
    for link, folder in (("recsys/pipelines", "pipelines"), ("recsys/serving", "serving")):
        assert (ROOT / link).is_symlink()
        assert (ROOT / link).resolve() == ROOT / folder
    for path in (*ROOT.glob("*/**/*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md"):
        if not any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            text = path.read_text()
            named = re.findall(r"^ *(?:>>> )?(?:from|import) (?:pipelines|serving)\b", text, re.MULTILINE)
            named += re.findall(r"-m (?:pipelines|serving)\b", text)
            assert not named or path.name == Path(__file__).name, path


def test_no_page_says_to_install_the_package_of_somebody_else() -> None:
    for path in (
        *ROOT.glob("docs/*"),
        ROOT / "README.md",
        *ROOT.glob("recsys/**/*.py"),
        *ROOT.glob("serving/*.py"),
    ):
        if path.is_file():
            assert not re.search(r"pip install [\"']?recsys(?![-\w])", path.read_text()), path
