"""Schemathesis against a real service: every answer as the OpenAPI document says, with keys and without.

    python -m benchmarks.service_contract [--cases 10000] [--quick] [--json]

Examples, the edges of every schema, drawn requests, and walks along the document's links (stateful). A failure is a 5xx
that is no 503, an answer or a header that is not as described, a route that answers without its key, a wrong `Allow`.
Left out is one check: that whatever fits the schema is taken, for an unknown domain fits it and is refused by name.
"""

import json
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from benchmarks.answer import made
from benchmarks.results import report
from benchmarks.service_load import serving
from recsys.bundle.root import point_to
from recsys.keys import FILE, make_key

DOCUMENT = Path(__file__).parents[1] / "docs/openapi.json"
_LEFT_OUT = "positive_data_acceptance"


def check(url: str, key: str | None, examples: int, seed: int) -> dict[str, Any]:
    """What schemathesis found of a service. examples: drawn requests for each operation."""
    command = [
        str(Path(sysconfig.get_path("scripts"), "schemathesis")),
        "run",
        "openapi.json",
        "--url",
        url,
        "--no-color",
    ]
    command += ["--exclude-checks", _LEFT_OUT, "--max-examples", str(examples), "--seed", str(seed)]
    command += ["--request-timeout", "20", "--generation-database", "none", "--continue-on-failure"]
    if key is not None:
        command += ["--header", f"Authorization: Bearer {key}"]
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        Path(folder, "openapi.json").write_text(json.dumps(_described(asks=key is not None)))
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=3_600)
    said = done.stdout
    cases = re.search(r"([\d,]+) generated", said)
    links = re.search(r"(\d+) covered / (\d+) selected", said)
    return {
        "cases": int(cases[1].replace(",", "")) if cases else 0,
        "failures": sum(int(count) for count in re.findall(r"❌ ST\d+ [^:]+: (\d+)", said)),
        "links": f"{links[1]} of {links[2]}" if links else "",
        "status": done.returncode,
        "seconds": round(time.monotonic() - start),
        "said": "" if done.returncode == 0 else said[-6_000:] + done.stderr[-2_000:],
    }


def _described(*, asks: bool) -> dict[str, Any]:
    """The document; of a service that asks for no key, without saying that it does."""
    document: dict[str, Any] = json.loads(DOCUMENT.read_text())
    for methods in document["paths"].values():
        for operation in methods.values():
            if not asks:
                del operation["security"]
    return document


@contextmanager
def served(folder: Path, *, keyed: bool) -> Iterator[tuple[str, str | None]]:
    """(address of a service, a key with every scope, where it asks for one)."""
    bundle = made(1_000, 200, folder / "bundles").path
    root = bundle.parent
    point_to(root, bundle.name)
    key = make_key(folder / "state" / FILE, "checks", ["read", "write", "admin"])[0] if keyed else None
    with serving(root, "--exposures", "off", "--state", str(folder / "state") if keyed else "off") as process:
        host, port = process.address
        yield f"http://{host}:{port}", key


@click.command()
@click.option("--cases", default=10_000, show_default=True, help="At least so many, with keys and without together.")
@click.option("--quick", is_flag=True, help="Few; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(cases: int, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service_contract.md; exit status 1 where something fails."""
    rows, examples = list[dict[str, Any]](), 5 if quick else 60
    seed = 0
    while not rows or (not quick and sum(row["cases"] for row in rows) < cases):
        for keyed in (True, False):
            with TemporaryDirectory() as folder, served(Path(folder), keyed=keyed) as (url, key):
                seed += 1
                found = check(url, key, examples, seed)
            print(found.pop("said"), file=sys.stderr, end="")
            rows.append({"keys": "with" if keyed else "without", "seed": seed, **found})
        report("service_contract", rows, title="Answers against the contract", quick=quick, as_json=as_json)
    sys.exit(any(row["status"] or row["failures"] for row in rows))


if __name__ == "__main__":
    main()
