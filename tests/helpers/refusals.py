"""Bad input to a command: what it must say, and that it writes nothing."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recsys.bundle.write import publish
from tests.helpers.bundles import content

ROOT = Path(__file__).parents[2]
START = 1_700_000_000
EVENTS = [(f"u{k % 7}", f"i{k % 101}", str(START + k)) for k in range(300)]
STEP = re.compile(r"[\w ]+( \.\.\.|: [\d.]+ s)")
Made = Callable[[Path], object]


def table(*changed: str, at: int = 150, columns: str = "user_id,item_id,timestamp", more: str = "") -> str:
    """A sound CSV of 300 events, but for the lines `changed` from line `at` on. more: added to every other
    line."""
    lines = [",".join(event) + more for event in EVENTS]
    lines[at - 1 : at - 1 + len(changed)] = changed
    return "\n".join([columns, *lines]) + "\n"


def file(text: str | bytes, name: str = "c.csv") -> Made:
    return lambda folder: (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def bundles(folder: Path) -> Path:
    return publish(folder / "bundles", content())


GOOD, JUNK = table(), np.random.default_rng(1).bytes(3_000)


def snapshot(folder: Path) -> dict[str, str | None]:
    """Every path below a folder with the digest of what it holds."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else None
        for path in folder.rglob("*")
    }


def assert_refused(code: int, stdout: str, stderr: str, said: tuple[str, ...]) -> None:
    assert code == 2, stdout + stderr
    *steps, sentence = stderr.splitlines()
    assert all(STEP.fullmatch(line) for line in steps), stderr
    assert sentence.startswith("recsys: ")
    assert sentence.isprintable()
    assert sentence.endswith((".", "?", "recsys export last")), sentence
    for words in said:
        assert words in sentence
