"""The rule on language in docs/rules.md, as far as a machine can hold it: short lines, verbs as names, no
`found`.
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
        "built",
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
BESIDE = sorted(
    path for name in ("benchmarks", "docs", "tests", ".ci") for path in (ROOT / name).rglob("*.py")
)
NO_PARTICIPLES = {"embed", "feed", "need", "seed", "speed"}
VIEWS = {"merged", "sorted"}  # functions that only look at their argument in another way


def is_participle(name: str) -> bool:
    """Whether a name is a past participle and nothing else, such as `placed` or `_told`."""
    word = name.strip("_")
    regular = word.isalpha() and word.endswith("ed") and word not in NO_PARTICIPLES
    return (regular or word in IRREGULAR) and word not in VIEWS


def long_lines(text: str) -> list[str]:
    """Lines over LONGEST, those with an address in them left out."""
    return [line for line in text.splitlines() if len(line) > LONGEST and "://" not in line]


def participles(tree: ast.AST) -> list[str]:
    """Functions that are named by a bare participle; a property is a noun, and may be."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    properties = [
        node for node in functions if any("property" in ast.unparse(one) for one in node.decorator_list)
    ]
    return [node.name for node in functions if is_participle(node.name) and node not in properties]


def founds(tree: ast.AST) -> list[int]:
    """The lines that set a variable, or take an argument, called `found`."""
    lines = []
    for node in ast.walk(tree):
        stored = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id == "found"
        if stored or (isinstance(node, ast.arg) and node.arg == "found"):
            lines.append(node.lineno)
    return sorted(lines)


@pytest.mark.parametrize("path", [*CODE, *BESIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_code_speaks_plainly(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert long_lines(text) == []
    assert participles(tree) == []
    assert founds(tree) == []


def test_the_counts_see_what_they_look_for() -> None:
    code = "class A:\n    @property\n    def told(self): ...\ndef placed(found):\n    found = 1\n"
    code += f"# {'x' * LONGEST}\n# https://{'x' * LONGEST}"
    tree = ast.parse(code)
    assert (len(long_lines(code)), participles(tree), founds(tree)) == (1, ["placed"], [4, 5])
    assert not any(map(is_participle, ("sorted", "seed", "encode", "read_file", "merged")))


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_prose_of_the_pages_fits(page: Path) -> None:
    """Tables, code, outputs, pictures and what a program wrote apart."""
    if page.name == "commands.md":
        return
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    long = [line for line in prose.splitlines() if len(line) > LONGEST]
    assert not [line for line in long if not line.startswith(("|", "    ", "!", "`")) and "://" not in line]
