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
    "pipelines": (47, 14, 14),
    "pipelines/ab": (136, 13, 27),
    "pipelines/best": (50, 20, 16),
    "pipelines/commands": (113, 6, 14),
    "pipelines/events": (24, 3, 10),
    "pipelines/run": (77, 9, 11),
    "pipelines/search": (35, 19, 25),
    "pipelines/simulate": (24, 3, 2),
    "pipelines/tracking": (53, 8, 27),
    "recsys": (26, 8, 3),
    "recsys/answers": (40, 6, 7),
    "recsys/bundle": (50, 12, 22),
    "recsys/data": (265, 49, 40),
    "recsys/encoders": (80, 17, 15),
    "recsys/events": (66, 7, 2),
    "recsys/experiments": (58, 0, 4),
    "recsys/matrix": (18, 6, 9),
    "recsys/models": (308, 27, 15),
    "recsys/retrieval": (39, 12, 15),
    "recsys/training": (128, 19, 27),
    "serving": (127, 16, 10),
    "serving/access": (14, 2, 2),
    "serving/lists": (22, 5, 5),
    "serving/page": (7, 0, 1),
    "serving/routes": (28, 4, 10),
    "serving/runtime": (53, 1, 2),
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
