"""How fast does the sequence model learn beside RecTools' SASRec, its fast path included?

    python -m benchmarks.sequence_peers --work FOLDER --set-up             makes the peer's environment, once
    RECSYS_DATA=... python -m benchmarks.sequence_peers --work FOLDER      hours, most of them the peer's
    ... --data s3rec-beauty                                                one set; the rows of others stay
    ... --quick                                                            ours alone, a small world

The training parts of the sets, dim 64, two blocks of two heads, the same window, dropout, rate and loss (the
softmax over all items), float32, the same number of steps an epoch; each person's last window alone, which is
all that the peer reads. `fast` is the net and the sequences of RecTools' `fast_transformers` in the loop of
its UniSRec model, and `plain torch` what one would write in a few lines. Each fit is a process of its own, in
turn, and CPU time is compared, so that other work on the machine tells little. N@10 is that after ten epochs,
of the validation item of each person among all items that they have not had, the mean over the seeds of a
row; differences are paired. What a fit left lies in FOLDER, so that a run which was cut off goes on where it
stopped.
"""

import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.results import read_rows, report
from recsys.arrays import F64, I64
from recsys.data.planted.world import WorldSettings, make_world
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.evaluation.significance import Interval, bootstrap
from recsys.progress import silent

PEER = ["torch==2.13.0", "rectools[torch]==0.19.0"]
DIM = 64
Case = dict[str, Any]
Row = dict[str, Any]
WINDOWS = {"ml-1m-seq": 200, "s3rec-beauty": 50}
# A user's window is a row of the peer's batch; ours has as many events a step as so many windows hold: both
# take as many steps an epoch. epochs: how many are timed; after ten, lists are made.
USERS_A_BATCH = 128
OURS = {"library": "recsys", "rate": 1e-3, "precision": "float32", "widened": 64}
MODEL, BF16, PEER_MODEL = "recsys", "recsys, bf16", "RecTools SASRec"
CASES: dict[str, Case] = {
    MODEL: OURS | {"epochs": 10, "lists": True},
    BF16: OURS | {"epochs": 10, "lists": True, "precision": "bf16"},
    PEER_MODEL: {"library": "rectools", "epochs": 10, "lists": True},
    "RecTools SASRec, fast": {"library": "rectools_fast", "epochs": 2, "lists": False},
    "plain torch": {"library": "plain", "epochs": 2, "lists": False},
}
SEEDS = {MODEL: (1, 2, 3), BF16: (1, 2, 3)}  # of the others 1 alone: hours each
AGAINST = {MODEL: PEER_MODEL, BF16: MODEL}  # of N@10
DROPOUT = {"ml-1m-seq": 0.2, "s3rec-beauty": 0.5}


class Fit(NamedTuple):
    """What a case left. epochs_cpu_s: of each epoch. events: learned from in one. lists: int64 (users, 10);
    None where none were asked for."""

    epochs_cpu_s: list[float]
    events: int
    lists: I64 | None


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for the environment and fits."
)
@click.option("--set-up", is_flag=True, help="Makes the peer's environment in the folder, with pip.")
@click.option("--data", multiple=True, help="Only this data set. Repeatable.")
@click.option("--row", "text", default="", help="Only rows whose name holds this text.")
@click.option("--threads", default=1, show_default=True, help="Of each library.")
@click.option(
    "--quick", is_flag=True, help="Ours alone, on a small world; keeps the results of the last full run."
)
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
def main(
    work: Path, set_up: bool, data: tuple[str, ...], text: str, threads: int, quick: bool, as_json: bool
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    if set_up:
        venv.create(work / "rectools", with_pip=True, clear=True)
        subprocess.run([str(work / "rectools" / "bin" / "pip"), "install", "--quiet", *PEER], check=True)
        return
    if not quick and not (work / "rectools").exists():
        raise click.UsageError(f"{work} has no environment of rectools: run with --set-up first.")
    names = ["world"] if quick else [one for one in WINDOWS if not data or one in data]
    for name in names:
        fit_all(name, _question(name), work, text, threads, quick)
    rows = [row for name in names for row in rows_of(name, _question(name), work, threads, quick)]
    others = [] if quick else [row for row in read_rows("sequence_peers") if row["data"] not in names]
    columns = ("data", "what", "seeds", "epoch_cpu_s", "events_a_second", "ratio", "ndcg_at_10", "against")
    report(
        "sequence_peers",
        others + rows,
        title="Learning sequences beside RecTools",
        columns={name: name for name in (*columns, "difference")},
        note=f"{threads} thread{'s' * (threads > 1)}, dim {DIM}, the last window of each person; CPU "
        f"seconds, medians of epochs. ratio: how many times as many events a CPU-second as RecTools' "
        f"SASRec. N@10 after ten epochs, on the validation part, the mean over seeds; difference: of N@10, "
        "paired, with its 95 % interval over people.",
        quick=quick,
        as_json=as_json,
    )


def fit_all(name: str, question: Holdout, work: Path, text: str, threads: int, quick: bool) -> None:
    """Fits what lies in the folder not yet, each case and seed in a process of its own."""
    folder = _folder(work, name)
    past = question.train.interactions.histories()
    np.save(folder / "user.npy", past.items.row_of_value().astype(np.int32))
    np.save(folder / "item.npy", past.items.values)
    longest = WINDOWS.get(name, 50)
    learned_from = (
        np.minimum(past.lengths[past.lengths > 0], longest + 1) - 1
    )  # events after each window's first
    shared = {"longest": longest, "dropout": DROPOUT.get(name, 0.2), "users_a_batch": USERS_A_BATCH}
    shared["batch"] = max(1, round(USERS_A_BATCH * float(learned_from.mean())))
    for label, seed in _fits(quick):
        file = _file(folder, label, seed, threads)
        if file.exists() or text not in label:
            continue
        fit = _fit(shared | CASES[label] | {"threads": threads, "seed": seed}, folder, work, quick)
        lists = np.zeros((0, 0), np.int64) if fit.lists is None else fit.lists
        np.savez(file, epochs_cpu_s=fit.epochs_cpu_s, events=fit.events, lists=lists)
        click.echo(f"{name}, {label}, seed {seed}: {min(fit.epochs_cpu_s):.1f} CPU-s an epoch", err=True)


def rows_of(name: str, question: Holdout, work: Path, threads: int, quick: bool) -> list[Row]:
    """A row for each case that was fitted, the mean over its seeds."""
    rows, gains = dict[str, Row](), dict[str, F64]()
    for label in CASES:
        files = [
            _file(_folder(work, name), label, seed, threads) for one, seed in _fits(quick) if one == label
        ]
        fits = [_load(file) for file in files if file.exists()]
        if not fits:
            continue
        epoch = statistics.median(second for fit in fits for second in fit.epochs_cpu_s)
        rows[label] = {"data": name, "what": label, "seeds": len(fits), "epoch_cpu_s": epoch}
        rows[label]["events_a_second"] = fits[0].events / epoch
        lists = [fit.lists for fit in fits if fit.lists is not None]
        if lists:
            gains[label] = np.mean([_gains(one, question) for one in lists], axis=0)
            rows[label]["ndcg_at_10"] = float(gains[label].mean())
    for label, row in rows.items():
        if PEER_MODEL in rows:
            row["ratio"] = row["events_a_second"] / rows[PEER_MODEL]["events_a_second"]
        other = AGAINST.get(label)
        if label in gains and other in gains:
            difference: Interval = bootstrap(gains[label] - gains[other])
            row |= {"against": other, "difference": difference.text("+.4f")}
    return list(rows.values())


def _fits(quick: bool) -> list[tuple[str, int]]:
    """Each case with each of its seeds, the shortest first; quick: ours, once."""
    if quick:
        return [(MODEL, 1)]
    return [(label, seed) for label in CASES for seed in SEEDS.get(label, (1,))]


def _folder(work: Path, name: str) -> Path:
    folder = work / f"sequences-{name}"
    folder.mkdir(exist_ok=True)
    return folder


def _file(folder: Path, label: str, seed: int, threads: int) -> Path:
    return folder / f"{label}, seed {seed}, {threads} threads.npz"


def _load(file: Path) -> Fit:
    with np.load(file) as arrays:
        lists = arrays["lists"] if arrays["lists"].size else None
        return Fit([float(one) for one in arrays["epochs_cpu_s"]], int(arrays["events"]), lists)


def _fit(case: Case, folder: Path, work: Path, quick: bool) -> Fit:
    """What a worker prints, and its lists, where it leaves any."""
    library = "rectools" if case["library"].startswith("rectools") else "recsys"
    out = folder / "out"
    out.mkdir(exist_ok=True)
    (out / "lists.npy").unlink(missing_ok=True)
    python = sys.executable if library == "recsys" else str(work.absolute() / library / "bin" / "python")
    asked = {"data": str(folder.resolve()), "out": str(out.resolve()), "dim": DIM, "last_only": True}
    asked |= {"rate": 1e-3} | case | ({"epochs": 1} if quick else {})
    command = [python, str(Path(__file__).with_name("sequence_worker.py").resolve()), json.dumps(asked)]
    environment = os.environ | {"OMP_NUM_THREADS": str(case["threads"])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=out)
    if done.returncode:
        raise SystemExit(f"{library} failed on {case}:\n{done.stderr[-3000:]}")
    lists = np.load(out / "lists.npy") if (out / "lists.npy").exists() else None
    said = json.loads(done.stdout.splitlines()[-1])
    return Fit(said["epochs_cpu_s"], said["events"], lists)


def _question(name: str) -> Holdout:
    if name != "world":
        return split(load_dataset(name), SplitSettings(kind="published"), seed=1).validation
    world = make_world(WorldSettings(users=300, items=120), silent)
    return split(world.dataset, SplitSettings(kind="leave_last_out"), seed=1).validation


def _gains(lists: I64, question: Holdout) -> F64:
    """(n,) the NDCG at 10 of each person."""
    target = question.targets.values[question.targets.offsets[:-1]]
    hit = lists[question.user] == target[:, None]
    return np.where(hit.any(axis=1), 1 / np.log2(hit.argmax(axis=1) + 2), 0.0)


if __name__ == "__main__":
    main()
