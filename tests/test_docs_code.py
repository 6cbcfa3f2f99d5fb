"""Code of the pages that is not run: requests by curl against the document of the service, and Python by its
names."""

import ast
import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.test_docs import PAGES, ROOT

DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())
REFUSED = {'{"k": 0}': "shows what a refusal looks like"}
ADMIN = {"/metrics", "/debug"}  # of the port for operators, which the document does not describe
VALUES = ("-H", "-d", "-o", "-X", "--data-binary")


def blocks() -> list[tuple[Path, str, str]]:
    """(page, language, text) of each fenced block."""
    return [
        (page, language, text)
        for page in PAGES
        for language, text in re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.M | re.S)
    ]


def requests() -> list[tuple[str, str]]:
    """(page, command) of each curl that stands on a line, or on several that a backslash joins."""
    lines = [
        (page.name, line.strip().removeprefix("$ "))
        for page, _, text in blocks()
        for line in text.replace("\\\n", " ").splitlines()
    ]
    return [(page, line) for page, line in lines if line.startswith("curl ")]


def operation_of(path: str, method: str) -> Any | None:
    """What the document says of a request; None where it has no such route."""
    for route, operations in DOCUMENT["paths"].items():
        if re.fullmatch(re.sub(r"\\{[^}]+\\}", "[^/:]+", re.escape(route)), path) and method in operations:
            return operations[method]
    return None


@pytest.mark.parametrize(("page", "command"), requests(), ids=[page for page, _ in requests()])
def test_a_request_by_curl_is_one_that_the_service_takes(page: str, command: str) -> None:
    words = shlex.split(command.partition(" | ")[0])
    values = {flag: value for flag, value in itertools.pairwise(words) if flag in VALUES}
    at = next(word for before, word in itertools.pairwise(words) if is_address(before, word))
    path = re.sub(r"^(https?://)?[^/]+", "", at).partition("?")[0]
    if path in ADMIN:
        return
    method = values.get("-X", "POST" if "-d" in values or "--data-binary" in values else "GET").lower()
    operation = operation_of(path, method)
    assert operation is not None, f"{page}: no route {method.upper()} {path}"
    query = set(re.findall(r"[?&](\w+)=", at))
    assert query <= {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}
    body = values.get("-d", "")
    if body and not body.startswith("@") and "$" not in body and "..." not in body and body not in REFUSED:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": DOCUMENT["components"]}
        Draft202012Validator(whole).validate(json.loads(body))


def is_address(before: str, word: str) -> bool:
    return before not in VALUES and not word.startswith("-") and "/" in word


def test_requests_are_found_and_wrong_ones_are_seen() -> None:
    assert len(requests()) > 12
    assert operation_of("/v1/recommend", "post") is not None
    assert operation_of("/v1/recommend", "patch") is None
    assert operation_of("/v1/nothing", "get") is None


def defined_in(path: Path) -> set[str]:
    """The names that a module has at its top, imported ones too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names |= {(one.asname or one.name) for one in node.names}
    return names


PYTHON = [(page, text) for page, language, text in blocks() if language == "python" and ">>> " not in text]


@pytest.mark.parametrize(("page", "text"), PYTHON, ids=[page.name for page, _ in PYTHON])
def test_python_that_a_page_shows_and_nobody_runs_parses_and_imports_what_is_there(
    page: Path, text: str
) -> None:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "recsys":
            path = ROOT / (node.module or "").replace(".", "/")
            file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
            assert file.is_file(), f"{page.name}: no module {node.module}"
            missing = {one.name for one in node.names} - defined_in(file)
            missing = {name for name in missing if not (path / f"{name}.py").is_file()}
            assert not missing, f"{page.name}: {node.module} has no {sorted(missing)}"
