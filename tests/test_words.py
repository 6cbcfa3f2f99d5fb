"""The rule on language in docs/rules.md, as far as a machine can hold it: short lines, verbs as names, no
`found`.

LEFT is what remains from before the rule, by folder. A folder that is not in it has none. It only shrinks:
whoever mends lines lowers the figures.
"""

import ast
import re
from pathlib import Path

import pytest

from tests.test_rooms import CODE, ROOT

LONGEST = 110  # characters of a line
IRREGULAR = frozenset(
    [
        "asked",
        "brought",
        "chosen",
        "drawn",
        "forbidden",
        "forgotten",
        "found",
        "held",
        "kept",
        "known",
        "left",
        "made",
        "met",
        "said",
        "shown",
        "taken",
        "told",
        "written",
    ]
)
NO_PARTICIPLES = {"embed", "feed", "need", "seed", "speed"}
VIEWS = {
    "merged",
    "sorted",
}  # what a function of an argument may be called that only looks at it in another way
# folder -> lines over LONGEST, functions named by a bare participle, variables called `found`
LEFT: dict[str, tuple[int, int, int]] = {
    "pipelines": (0, 0, 14),
    "pipelines/ab": (0, 0, 27),
    "pipelines/best": (0, 0, 16),
    "pipelines/commands": (0, 0, 14),
    "pipelines/events": (0, 0, 10),
    "pipelines/run": (0, 0, 11),
    "pipelines/search": (0, 0, 25),
    "pipelines/simulate": (0, 0, 2),
    "pipelines/tracking": (0, 0, 27),
    "recsys": (0, 0, 3),
    "recsys/answers": (0, 0, 7),
    "recsys/bundle": (0, 0, 22),
    "recsys/data": (0, 0, 40),
    "recsys/encoders": (0, 0, 15),
    "recsys/events": (0, 0, 2),
    "recsys/experiments": (0, 0, 4),
    "recsys/matrix": (0, 0, 9),
    "recsys/models": (0, 0, 15),
    "recsys/retrieval": (0, 0, 15),
    "recsys/training": (0, 0, 27),
    "serving": (0, 0, 10),
    "serving/access": (0, 0, 2),
    "serving/lists": (0, 0, 5),
    "serving/page": (0, 0, 1),
    "serving/routes": (0, 0, 10),
    "serving/runtime": (0, 0, 2),
}


def folder_of(path: Path) -> str:
    """The first two folders of a file, as in recsys/data."""
    return "/".join(path.relative_to(ROOT).parts[:-1][:2])


def is_participle(name: str) -> bool:
    """Whether a name is a past participle and nothing else, such as `placed` or `_told`."""
    word = name.strip("_")
    regular = word.isalpha() and word.endswith("ed") and word not in NO_PARTICIPLES
    return (regular or word in IRREGULAR) and word not in VIEWS


def long_lines(text: str) -> int:
    """Lines over LONGEST, those with an address in them left out."""
    return sum(len(line) > LONGEST and "://" not in line for line in text.splitlines())


def participles(tree: ast.AST) -> int:
    """Functions that are named by a bare participle; a property is a noun, and may be."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    properties = [
        node for node in functions if any("property" in ast.unparse(one) for one in node.decorator_list)
    ]
    return sum(is_participle(node.name) for node in functions if node not in properties)


def founds(tree: ast.AST) -> int:
    """Variables and arguments called `found`, each place where one is set."""
    stored = [
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    arguments = [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    return [*stored, *arguments].count("found")


def counted() -> dict[str, tuple[int, int, int]]:
    """folder -> what remains in it, in the order of LEFT."""
    rows: dict[str, list[int]] = {}
    for path in CODE:
        text = path.read_text()
        tree = ast.parse(text)
        row = rows.setdefault(folder_of(path), [0, 0, 0])
        for at, number in enumerate((long_lines(text), participles(tree), founds(tree))):
            row[at] += number
    return {folder: (row[0], row[1], row[2]) for folder, row in rows.items()}


REMAINS = counted()


@pytest.mark.parametrize("folder", REMAINS)
def test_no_folder_has_more_than_it_had(folder: str) -> None:
    assert all(now <= then for now, then in zip(REMAINS[folder], LEFT.get(folder, (0, 0, 0)), strict=True)), (
        REMAINS[folder]
    )


def test_what_remains_is_of_folders_that_are_there() -> None:
    assert LEFT.keys() <= REMAINS.keys()


def test_the_counts_see_what_they_look_for() -> None:
    code = "class A:\n    @property\n    def told(self): ...\ndef placed(found):\n    found = 1\n"
    code += f"# {'x' * LONGEST}\n# https://{'x' * LONGEST}"
    tree = ast.parse(code)
    assert (long_lines(code), participles(tree), founds(tree)) == (1, 1, 2)
    assert not any(map(is_participle, ("sorted", "seed", "encode", "read_file", "merged")))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_prose_of_the_pages_fits(page: Path) -> None:
    """Tables, code, outputs, pictures and what a program wrote apart."""
    if page.name == "commands.md":
        return
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    long = [line for line in prose.splitlines() if len(line) > LONGEST]
    assert not [line for line in long if not line.startswith(("|", "    ", "!", "`")) and "://" not in line]
