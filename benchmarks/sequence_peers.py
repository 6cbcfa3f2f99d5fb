"""How fast does the sequence model learn beside RecTools' SASRec, its fast path included?

    python -m benchmarks.sequence_peers --work FOLDER --set-up             makes the peer's environment, once
    RECSYS_DATA=... python -m benchmarks.sequence_peers --work FOLDER      hours, most of them the peer's
    ... --quick                                                            ours alone, a small world

The training parts of the sets, dim 64, two blocks of two heads, the same window, dropout, rate and loss (the
softmax over all items), float32; each person's last window alone, which is all that the peer reads. `fast` is
the net and the sequences of RecTools' `fast_transformers` in the loop of its UniSRec model, and `plain torch`
what one would write in a few lines. Each fit is a process of its own, in turn, and CPU time is compared, so
that other work on the machine tells little. N@10 is that after ten epochs, of the validation item of each
person among all items that they have not had.
"""

import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.results import report
from recsys.data.planted.world import WorldSettings, make_world
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.progress import silent

PEER = ["torch==2.13.0", "rectools[torch]==0.19.0"]
DIM = 64
Case = dict[str, Any]
WINDOWS = {"ml-1m-seq": 200, "s3rec-beauty": 50}
# epochs: how many are timed; after ten, lists are made. A user's window is a row of the peer's batch.
OURS = {"library": "recsys", "batch": 4_096, "rate": 1e-3, "precision": "float32", "widened": 64}
CASES: dict[str, Case] = {
    "recsys": OURS | {"epochs": 10, "lists": True},
    "recsys, bf16": OURS | {"epochs": 10, "lists": True, "precision": "bf16"},
    "RecTools SASRec": {"library": "rectools", "epochs": 10, "lists": True},
    "RecTools SASRec, fast": {"library": "rectools_fast", "epochs": 2, "lists": False},
    "plain torch": {"library": "plain", "epochs": 10, "lists": True},
}
DROPOUT = {"ml-1m-seq": 0.2, "s3rec-beauty": 0.5}


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for the environment and data."
)
@click.option("--set-up", is_flag=True, help="Makes the peer's environment in the folder, with pip.")
@click.option("--data", multiple=True, help="Only this data set. Repeatable.")
@click.option(
    "--epochs", default=10, show_default=True, help="Of each fit; with fewer, speeds alone are measured."
)
@click.option("--threads", default=1, show_default=True, help="Of each library.")
@click.option(
    "--quick", is_flag=True, help="Ours alone, on a small world; keeps the results of the last full run."
)
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
def main(
    work: Path, set_up: bool, data: tuple[str, ...], epochs: int, threads: int, quick: bool, as_json: bool
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    if set_up:
        venv.create(work / "rectools", with_pip=True, clear=True)
        subprocess.run([str(work / "rectools" / "bin" / "pip"), "install", "--quiet", *PEER], check=True)
        return
    if not quick and not (work / "rectools").exists():
        raise click.UsageError(f"{work} has no environment of rectools: run with --set-up first.")
    rows = []
    for name in ["world"] if quick else [one for one in WINDOWS if not data or one in data]:
        rows += _measured(name, _question(name), work, 1 if quick else epochs, threads, quick)
    report(
        "sequence_peers",
        rows,
        title="Learning sequences beside RecTools",
        columns={
            name: name for name in ("data", "what", "epoch_cpu_s", "events_a_second", "ratio", "ndcg_at_10")
        },
        note=f"{threads} thread{'s' * (threads > 1)}, dim {DIM}, the last window of each person; CPU "
        f"seconds, medians of epochs. ratio: how many times as many events a CPU-second as RecTools' "
        f"SASRec. N@10 after ten epochs, on the validation part.",
        quick=quick,
        as_json=as_json,
    )


def _measured(
    name: str, question: Holdout, work: Path, epochs: int, threads: int, quick: bool
) -> list[dict[str, Any]]:
    folder = work / f"sequences-{name}"
    folder.mkdir(exist_ok=True)
    past = question.train.interactions.histories()
    np.save(folder / "user.npy", past.items.row_of_value().astype(np.int32))
    np.save(folder / "item.npy", past.items.values)
    rows = []
    for label, case in CASES.items():
        if quick and case["library"].startswith("rectools"):
            continue
        shared = {
            "threads": threads,
            "longest": WINDOWS.get(name, 50),
            "dropout": DROPOUT.get(name, 0.2),
            "users_a_batch": 128,
        }
        asked = (
            shared | case | {"epochs": min(epochs, case["epochs"]), "lists": case["lists"] and epochs >= 10}
        )
        found, lists = _fit(asked, folder, work)
        epoch = statistics.median(found["epochs_cpu_s"])
        row = {"data": name, "what": label, "epoch_cpu_s": epoch, "events_a_second": found["events"] / epoch}
        row["ndcg_at_10"] = None if lists is None else _ndcg(lists, question)
        rows.append(row)
        click.echo(f"{name}, {label}: {epoch:.1f} CPU-s an epoch", err=True)
    peer = [row["events_a_second"] for row in rows if row["what"] == "RecTools SASRec"]
    return [row | {"ratio": row["events_a_second"] / peer[0] if peer else None} for row in rows]


def _fit(case: Case, folder: Path, work: Path) -> tuple[Any, Any]:
    """What a worker prints, and its lists, where it leaves any."""
    library = "rectools" if case["library"].startswith("rectools") else "recsys"
    out = folder / "out"
    out.mkdir(exist_ok=True)
    (out / "lists.npy").unlink(missing_ok=True)
    python = sys.executable if library == "recsys" else str(work.absolute() / library / "bin" / "python")
    asked = {"data": str(folder.resolve()), "out": str(out.resolve()), "dim": DIM, "seed": 1}
    asked |= {"last_only": True, "rate": 1e-3}
    command = [
        python,
        str(Path(__file__).with_name("sequence_worker.py").resolve()),
        json.dumps(asked | case),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": str(case["threads"])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out)
    if done.returncode:
        raise SystemExit(f"{library} failed on {case}:\n{done.stderr[-3000:]}")
    lists = np.load(out / "lists.npy") if (out / "lists.npy").exists() else None
    return json.loads(done.stdout.splitlines()[-1]), lists


def _question(name: str) -> Holdout:
    if name != "world":
        return split(load_dataset(name), SplitSettings(kind="published"), seed=1).validation
    world = make_world(WorldSettings(users=300, items=120), silent)
    return split(world.dataset, SplitSettings(kind="leave_last_out"), seed=1).validation


def _ndcg(lists: Any, question: Holdout) -> float:
    target = question.targets.values[question.targets.offsets[:-1]]
    hit = lists[question.user] == target[:, None]
    return float(np.where(hit.any(axis=1), 1 / np.log2(hit.argmax(axis=1) + 2), 0).mean())


if __name__ == "__main__":
    main()
