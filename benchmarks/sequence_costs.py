"""What does a sequence model cost: an epoch over a large catalogue, and the vector of one person?

    python -m benchmarks.sequence_costs [--quick] [--json]

Two million drawn events on a million items (200,000 people, no pattern to learn), dim 64: seconds of an
epoch, and the most memory that the process held, its checkpoint, the finished vectors and the encoder
included (VmHWM, less what it held before it learned). And milliseconds of `encode` for one person, ids in,
vector out, in one thread, of a catalogue of 50,000 items: medians of 300. Each learning is a process of its
own.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.results import report

LENGTHS = (1, 50, 200, 1_000)


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--quick", is_flag=True, help="A small catalogue; keeps the results of the last full run.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
@click.option("--learn", "asked", hidden=True, help="What a process of its own does.")
def main(quick: bool, as_json: bool, asked: str | None) -> None:
    if asked is not None:
        click.echo(json.dumps(_learning_costs(**json.loads(asked))))
        return
    size = (
        {"people": 2_000, "items": 5_000, "each": 10}
        if quick
        else {"people": 200_000, "items": 1_000_000, "each": 10}
    )
    command = [sys.executable, "-m", "benchmarks.sequence_costs", "--learn", json.dumps(size)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    rows: list[dict[str, Any]] = [{"what": "an epoch", **size, **json.loads(done.stdout.splitlines()[-1])}]
    for net in ("transformer", "gru"):
        rows += [
            {"what": f"encode, {net}", "each": length, "ms": ms}
            for length, ms in _encoding_ms(net, quick).items()
        ]
    report(
        "sequence_costs",
        rows,
        title="What a sequence model costs",
        columns={"what": "what", "people": "people", "items": "items", "each": "events of each"}
        | {"seconds": "seconds", "GiB": "GiB at most", "ms": "ms"},
        note=(
            "Dim 64, two layers; an epoch with 4,096 drawn items a step and its checkpoint; `encode` in "
            "one thread."
        ),
        quick=quick,
        as_json=as_json,
    )


def _log(people: int, items: int, each: int) -> Any:
    from recsys.testing.toys import dataset

    rng = np.random.default_rng(1)
    item = rng.zipf(1.3, people * each) % items
    item[: min(items, len(item))] = np.arange(min(items, len(item)))  # so that every item has an event
    return dataset(np.repeat(np.arange(people), each), rng.permutation(item), people, items)


def _learning_costs(people: int, items: int, each: int) -> dict[str, float]:
    from recsys.models.registry import make_model
    from recsys.training.checkpoint import Checkpoint
    from recsys.training.loop import Aids

    data, model = _log(people, items, each), make_model("sequence", {"epochs": 1, "batch_size": 4_096})
    data.interactions.histories()
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        aids: Any = Aids(checkpoint=Checkpoint(Path(folder), "key"), checkpoint_s=0)
        model.fit(data, seed=1, aids=aids)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "GiB": (_memory("VmHWM") - before) / (1 << 30)}


def _memory(name: str) -> int:
    """Bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def _encoding_ms(net: str, quick: bool) -> dict[int, float]:
    """Milliseconds by how long the history is."""
    from recsys.arrays import Ragged
    from recsys.encoders.users import Users
    from recsys.models.registry import make_model

    data = _log(500, 1_000 if quick else 50_000, 20)
    learned: Any = make_model("sequence", {"net": net, "epochs": 1, "negatives": 256}).fit(data, seed=1)
    rng, by_length = np.random.default_rng(1), {}
    for length in LENGTHS:
        seconds = []
        for _ in range(20 if quick else 300):
            person = Users.unknown(Ragged.of([rng.integers(data.n_items, size=length)]))
            began = time.perf_counter()
            learned.encoder.encode(person)
            seconds.append(time.perf_counter() - began)
        by_length[length] = statistics.median(seconds) * 1e3
    return by_length


if __name__ == "__main__":
    main()
