"""Writes what a benchmark found: a table for people, a JSON file for machines, and the last line of standard
output."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recsys import __version__

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("numpy", "faiss-cpu", "pyarrow", "scipy", "numba", "torch", "pandas", "scikit-learn")

Row = Mapping[str, Any]


def report(
    name: str,
    rows: Sequence[Row],
    *,
    title: str,
    columns: Mapping[str, str] | None = None,
    note: str = "",
    quick: bool = False,
    as_json: bool = False,
) -> None:
    """Writes `results/<name>.md` and `.json`, and prints the table and, as the last line, the JSON object.

    columns: key of a row -> heading; what is left out is in the JSON only. None: every key is a heading.
    note: a paragraph below the title. quick: nothing is written, for a quick run must not replace the figures
    of a full one.
    as_json: no table on standard output.
    """
    summary = {"name": name, "machine": machine(), "rows": list(rows)}
    headings = columns or {key: key for row in rows for key in row}
    text = (
        f"# {title}\n\n"
        + (f"{note}\n\n" if note else "")
        + table(rows, headings)
        + f"\n{describe_machine()}\n"
    )
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
        (RESULTS / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    if not as_json:
        print(text)
    print(json.dumps(summary), flush=True)


def read_rows(name: str) -> list[dict[str, Any]]:
    """The rows of the last full run; none where there was none."""
    path = RESULTS / f"{name}.json"
    return list(json.loads(path.read_text(encoding="utf-8"))["rows"]) if path.exists() else []


def table(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A Markdown table. Numbers stand to the right; an absent value is an empty cell."""
    numeric = [all(isinstance(row.get(key) or 0, int | float) for row in rows) for key in columns]
    lines = [list(columns.values()), ["---:" if right else "---" for right in numeric]]
    lines += [[_cell(row.get(key)) for key in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def machine() -> dict[str, Any]:
    """What the figures depend on; no name of a host, no path."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gib": round(memory / 2**30, 1),
        "python": platform.python_version(),
        "versions": {"recsys": __version__}
        | {library: version for library in LIBRARIES if (version := _version(library))},
    }


def describe_machine() -> str:
    """`machine` in a sentence."""
    facts = machine()
    versions = ", ".join(f"{library} {version}" for library, version in facts["versions"].items())
    return (
        f"Measured on {facts['cpu']}, {facts['cores']} cores, {facts['memory_gib']} GiB; "
        f"Python {facts['python']}; {versions}."
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
