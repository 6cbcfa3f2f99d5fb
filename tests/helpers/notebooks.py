"""Notebooks of docs/: what their cells print in a fresh process, beside what the files show."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
FIX = "After a wanted change: make docs, and look at what it changed."
_FRACTION = re.compile(r"[+-]?\d+\.\d+(?:e[+-]?\d+)?")
_WORDS = 0.9  # of a cell's words that stay where a list has two neighbours in the other order


def read_outputs(notebook: Path) -> list[str]:
    """The outputs that the file holds, a text for each cell of code."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return _texts([cell["outputs"] for cell in cells if cell["cell_type"] == "code"])


def run_notebook(notebook: Path, **environment: str) -> list[str]:
    """The outputs of a run in a process of its own, which must write no error. environment: in place of
    `RECSYS_DATA`."""
    command = [sys.executable, str(ROOT / "docs/notebook.py"), str(notebook)]
    kept = {name: value for name, value in os.environ.items() if name != "RECSYS_DATA"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=kept | environment)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return _texts(json.loads(done.stdout))


def assert_alike(run: list[str], stored: list[str], *, atol: float, exact: bool = True) -> None:
    """Fails where a cell gave other words than the file shows, or figures further from them than `atol`.

    Another processor rounds otherwise, by far less than what a figure of another model differs by. exact:
    whether every word and whole number is the same; else nine in ten of each cell's, for lists in which two
    neighbours may change places.
    """
    for number, (new, old) in enumerate(zip(run, stored, strict=True), 1):
        place = f"cell {number}. {FIX}"
        words = [_FRACTION.sub("#", text) for text in (new, old)]
        if exact:
            assert words[0] == words[1], place
        else:
            first, second = (set(re.findall(r"\w+", text)) for text in words)
            assert len(first & second) >= _WORDS * len(first | second), place
        figures = [[float(figure) for figure in _FRACTION.findall(text)] for text in (new, old)]
        np.testing.assert_allclose(*figures, rtol=0, atol=atol, err_msg=place)


def _texts(outputs: list[list[dict[str, Any]]]) -> list[str]:
    """Each cell's outputs, what they show and as what."""
    return [
        "\n".join(f"{kind}: {''.join(lines)}" for output in cell for kind, lines in _parts(output))
        for cell in outputs
    ]


def _parts(output: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [("printed", output["text"])] if "text" in output else sorted(output["data"].items())
