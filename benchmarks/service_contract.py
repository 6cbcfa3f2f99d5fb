"""Schemathesis against a real service: every answer as the OpenAPI document says, with keys and without.

    python -m benchmarks.service_contract [--cases 10000] [--resume] [--quick] [--json]

Examples, the edges of every schema, drawn requests, and walks along the document's links (stateful). A
failure is a 5xx that is no 503, an answer or a header that is not as described, a route that answers without
its key, a wrong `Allow`.
Left out is one check: that whatever fits the schema is taken, for an unknown domain fits it and is refused by
name.

The service holds two bundles, an event store and an experiment that runs; in turn the bundles are ALS's, and
those of a two-tower model that also encodes new items. What only this service knows (an item, the
experiment's name) is added to the document as examples, so that more than refusals is drawn.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pyarrow as pa

from benchmarks.answer import make_bundle
from benchmarks.results import read_rows, report
from benchmarks.service_load import serving
from recsys.bundle.bundle import load
from recsys.bundle.root import point_to
from recsys.bundle.trials import start_experiment
from recsys.bundle.write import write
from recsys.experiments.folder import experiment_of
from recsys.keys import FILE, make_key

DOCUMENT = Path(__file__).parents[1] / "docs/openapi.json"
_LEFT_OUT = "positive_data_acceptance"
_CONFIG = 'hooks = "hooks.py"\n[checks.not_a_server_error]\nexpected-statuses = ["2xx", "3xx", "4xx", 503]\n'
_HOOKS = """import schemathesis

@schemathesis.hook
def filter_case(context, case):  # HTTP ignores headers that nobody knows: to take one is no fault
    return "x-schemathesis-unknown-property" not in (case.headers or {})
"""
_NAME, EXPERIMENT, ACCESS = "service_contract", "rows", "access.jsonl"
_NOTE = """\
Failures: what schemathesis finds wrong. Faults: answers with a 5xx but 503; a 503 is `state_behind`, where a
drawn `min_state_seq` is one that nobody was told. Links: those of the document, and what schemathesis infers.
Answered: operations with a 2xx among their answers; without keys, admin calls are refused, and ALS encodes
no items."""
_ARMS: dict[str, Any] = {
    "older": {"bundle": ""},  # whose id is known when it is written
    "again": {"seen": "allow"},
    "curious": {"explore": {"epsilon": 0.5, "position": 2, "candidates": 20}},
    "merged": {"interleave": ["control", "older"]},
}
_PARAMETERS = {"item_id": "i1", "user_id": "u1", "label": "champion", "name": "recommender", "unit_id": "u1"}
_BODIES: dict[str, list[Any]] = {
    "RecommendRequest": [
        {"user_id": "u1", "history": [{"item_id": "i2"}], "placement": "home", "k": 3},
        {"user_id": "u2", "cursor": "", "k": 5},
        {"experiment": EXPERIMENT, "arm": "older", "unit_id": "u3"},
    ],
    "EncodeRequest": [{"items": [{"item_id": "new", "features": {"colour": "odd"}}], "k": 2}],
    "EventsRequest": [
        [{"event_id": "1", "kind": "outcome", "event": "click", "user_id": "u1", "item_id": "i2"}]
    ],
}


def check(url: str, key: str | None, examples: int, seed: int) -> dict[str, Any]:
    """What schemathesis found of a service. examples: drawn requests for each operation."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", url, "--no-color"]
    command += ["--exclude-checks", _LEFT_OUT, "--max-examples", str(examples), "--seed", str(seed)]
    command += ["--request-timeout", "20", "--generation-database", "none", "--continue-on-failure"]
    if key is not None:
        command += ["--header", f"Authorization: Bearer {key}"]
    start = time.monotonic()
    with TemporaryDirectory() as folder:
        Path(folder, "openapi.json").write_text(json.dumps(_document_with_examples(asks=key is not None)))
        Path(folder, "schemathesis.toml").write_text(_CONFIG)
        Path(folder, "hooks.py").write_text(_HOOKS)
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


def count_answers(log: Path) -> dict[str, Any]:
    """What an access log says: faults (a 5xx but 503), 503s, and how many of the operations were once
    answered well."""
    lines = [json.loads(line) for line in log.read_bytes().splitlines()]
    document = json.loads(DOCUMENT.read_text())["paths"]
    operations = {(method.upper(), path) for path, methods in document.items() for method in methods}
    done = {(line["method"], line["route"]) for line in lines if line["status"] < 300} & operations
    return {
        "faults": sum(line["status"] >= 500 and line["status"] != 503 for line in lines),
        "503": sum(line["status"] == 503 for line in lines),
        "answered": f"{len(done)} of {len(operations)}",
    }


def _document_with_examples(*, asks: bool) -> dict[str, Any]:
    """The document with examples of this service; of one that asks for no key, without saying that it
    does."""
    document: dict[str, Any] = json.loads(DOCUMENT.read_text())
    for path, methods in document["paths"].items():
        for operation in methods.values():
            if not asks:
                del operation["security"]
            for parameter in operation.get("parameters", ()):
                if (value := _PARAMETERS.get(parameter["name"])) is not None:
                    tried = EXPERIMENT if parameter["name"] == "name" and "/experiments/" in path else value
                    parameter["examples"] = {"known": {"value": tried}}
    for name, bodies in _BODIES.items():
        model = document["components"]["schemas"][name]
        model["examples"] = [*model.get("examples", ()), *bodies]
    return document


@contextmanager
def example_service(folder: Path, *, keyed: bool, towers: bool = False) -> Iterator[tuple[str, str | None]]:
    """(address of a service, a key with every scope, where it asks for one). towers: bundles of a two-tower
    model."""
    root, state = folder / "bundles", folder / "state"
    older, newer = (two_tower(root) if towers else make_bundle(1_000, 200, root).path for _ in range(2))
    point_to(root, newer.name)
    arms = {**_ARMS, "older": {"bundle": older.name}}
    now = int(time.time())
    phase = {"salt": "s", "starts": now, "weights": dict.fromkeys(("control", *arms), 0.2)}
    stated = {"control": "control", "placement": "home", "arms": arms, "phases": [phase]}
    start_experiment(root, experiment_of(stated, EXPERIMENT, where="this benchmark"), (), now - 60)
    key = make_key(state / FILE, "checks", ["read", "write", "admin"])[0] if keyed else None
    with serving(
        root, "--exposures", "off", "--state", str(state), "--access-log", str(folder / ACCESS)
    ) as process:
        host, port = process.address
        yield f"http://{host}:{port}", key


def two_tower(root: Path) -> Path:
    """A bundle of a two-tower model that places new items by their colour."""
    from recsys.models.export import content_of
    from recsys.models.registry import make_model
    from recsys.testing.toys import checkerboard

    data = checkerboard(40)
    data = replace(data, item_features=pa.table({"colour": ["even", "odd"] * 20}))
    settings = {
        "dim": 8,
        "epochs": 2,
        "batch_size": 256,
        "history": "others",
        "item_features": [{"column": "colour"}],
    }
    fitted: Any = make_model("two_tower", settings).fit(data, seed=1)
    return load(write(root, content_of("two_tower", fitted, data))).path


def _round(seed: int, examples: int) -> dict[str, Any]:
    keyed, towers = seed % 2 == 1, seed % 4 in (3, 0)
    with (
        TemporaryDirectory() as folder,
        example_service(Path(folder), keyed=keyed, towers=towers) as (url, key),
    ):
        counts = check(url, key, examples, seed) | count_answers(Path(folder, ACCESS))
    print(counts.pop("said"), file=sys.stderr, end="")
    return {
        "keys": "with" if keyed else "without",
        "model": "two_tower" if towers else "als",
        "seed": seed,
    } | counts


@click.command()
@click.option(
    "--cases", default=10_000, show_default=True, help="At least so many, with keys and without together."
)
@click.option("--resume", is_flag=True, help="Keeps the good rounds of the last run.")
@click.option("--quick", is_flag=True, help="Few; writes no results.")
@click.option("--json", "as_json", is_flag=True)
def main(cases: int, resume: bool, quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/service_contract.md after each round; exit status 1 where something fails."""
    before = [row for row in read_rows(_NAME) if resume and not row["status"]]
    rows, examples = {int(row["seed"]): row for row in before}, 5 if quick else 60
    for seed in range(1, 1_000):
        if seed not in rows:
            rows[seed] = _round(seed, examples)
            ordered = [rows[one] for one in sorted(rows)]
            report(
                _NAME, ordered, title="Answers against the contract", note=_NOTE, quick=quick, as_json=as_json
            )
        if seed % 4 == 0 and (
            quick or sum(row["cases"] for one, row in rows.items() if one <= seed) >= cases
        ):
            break
    sys.exit(any(row["status"] or row["failures"] or row["faults"] for row in rows.values()))


if __name__ == "__main__":
    main()
