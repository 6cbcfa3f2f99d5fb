"""What an experiment costs the service: CPU-milliseconds of a list with and without one.

    python -m benchmarks.service_experiment [--quick] [--json]

The same bundle with no experiment, with one whose two arms both serve it, with chance in every list, and with
two lists merged, in turn, medians of the rounds; lists go into the event store. Chance draws from the best
50, and a merged list is two searches, so these two cost more by what they are.
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.answer import K, make_bundle
from benchmarks.results import report
from benchmarks.service import cpu_ms
from benchmarks.service_load import serving
from recsys.bundle.root import point_to
from recsys.bundle.trials import start_experiment
from recsys.events.clock import keep_time
from recsys.experiments.folder import experiment_of

ITEMS, USERS, ROUNDS, ASKED = 10_000, 2_000, 5, 1_500
WAYS: dict[str, dict[str, Any]] = {
    "no experiment": {},
    "two arms": {"wide": {}},
    "two arms, chance in both": {
        "wide": {"explore": {"epsilon": 0.1}},
        "control": {"explore": {"epsilon": 0.1}},
    },
    "lists of two arms merged": {"merged": {"interleave": ["control", "wide"]}},
}


def start(root: Path, name: str, now: int) -> None:
    """Freezes the experiment of a way."""
    arms = WAYS[name]
    if not arms:
        return
    control = "merged" if "merged" in arms else "control"
    weights = {"merged": 1.0} if "merged" in arms else {"control": 0.5, "wide": 0.5}
    phase = {"salt": "cost", "starts": now, "weights": weights}
    values = {"control": control, "arms": arms, "phases": [phase]}
    start_experiment(root, experiment_of(values, "cost", where="a benchmark"), (), now - 100)


def rows_of(folder: Path, asked: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each way."""
    now, times = int(time.time()), dict[str, list[float]]()
    roots = {}
    for name in WAYS:
        roots[name] = folder / name.replace(" ", "-").replace(",", "")
        point_to(roots[name], make_bundle(ITEMS, USERS, roots[name]).path.name)
        start(roots[name], name, now)
    keep_time(folder / "clock", (now + 10) * 1_000)
    for number in range(rounds):
        for name, root in roots.items():
            state = folder / f"{number} {root.name}"
            with serving(root, "--state", str(state), "--clock", str(folder / "clock")) as process:
                times.setdefault(name, []).append(cpu_ms(process, asked))
    plain = np.array(times["no experiment"])
    return [
        {
            "what": name,
            "CPU-ms a list": float(np.median(spent)),
            "more": float(np.median(np.array(spent) / plain) - 1),
        }
        for name, spent in times.items()
    ]


@click.command()
@click.option("--quick", is_flag=True, help="Few questions, one round; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(quick: bool, as_json: bool) -> None:
    """Measure what an experiment adds to an answer."""
    with TemporaryDirectory() as folder:
        rows = rows_of(Path(folder), 100 if quick else ASKED, 1 if quick else ROUNDS)
    report(
        "service_experiment",
        rows,
        title="What an experiment costs the service",
        note=f"Lists of {K} among {ITEMS:,} items, one client, exposures in the event store; more: median "
        f"over rounds of the ratio to no experiment, less 1.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
