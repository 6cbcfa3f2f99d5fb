"""How fast does the two-tower model learn beside those of TensorFlow Recommenders, RecBole, Cornac and
RecTools?

    python -m benchmarks.tower_peers --work FOLDER --set-up             makes the peers' environments, once
    RECSYS_DATA=... python -m benchmarks.tower_peers --work FOLDER      half an hour
    ... --quick                                                         ours alone, a small world

gowalla's training part, users and items by their ids, dim 64. TensorFlow Recommenders learns what ours does
with `sampler = "batch"`: the softmax over the items of a batch, corrected by popularity; the same batches,
Adam or Adagrad. RecBole's DSSM and Cornac's GMF learn pointwise, with one drawn negative for each event; ours
at the same batch compares each event with 256 drawn for the whole batch. The towers of RecTools' DSSM take
rows as wide as the catalogue, of which some steps are timed. ndcg@20 is that of the vectors after `EPOCHS`
epochs, over the validation rows of all users; rates were tried there for ours (.001 to .03) and TensorFlow
Recommenders (Adam .003, .01; Adagrad .1, .3), so it says whether the speeds are of like quality, and no more.
What compiles a step, or loads it compiled, comes before the clock runs; ours also starts at the spectrum and
takes up the users at the end, which both cost seconds once. Each fit is a process of its own, the libraries
in turn; of Cornac and RecTools there is one.
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

from benchmarks.mf_data import make
from benchmarks.results import report
from recsys.arrays import Ragged
from recsys.data.dataset import TRAIN, VALIDATION
from recsys.data.read.load import load_dataset
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.evaluation.planted import ScoreRanker
from recsys.models.popularity import fallback_order
from recsys.retrieval.recommender import Recommender

PEERS = {
    "tfrs": ["tensorflow-cpu", "tf-keras", "tensorflow-recommenders==0.7.7"],
    "recbole": ["torch==2.13.0", "setuptools<81", "numpy<2", "pandas<2.3", "scipy<1.11", "recbole==1.2.1"],
    "cornac": ["torch==2.13.0", "cornac==3.0"],
    "rectools": ["torch==2.13.0", "rectools[torch]==0.19.0"],
}
EPOCHS, REPEATS, THREADS, DIM = 3, 3, 2, 64
Case = dict[str, Any]
OURS = {"library": "recsys", "batch": 1_024, "rate": 0.02, "temperature": 0.1, "propagation": 0.35}
SHARED = OURS | {"batch": 8_192, "sampler": "uniform", "negatives": 256}
TFRS = {"library": "tfrs", "batch": 1_024, "temperature": 0.1}
CASES: dict[str, Case] = {
    "recsys, negatives of the batch": OURS,
    "recsys, 256 uniform negatives a batch": SHARED,
    "TensorFlow Recommenders, Adam": TFRS | {"optimizer": "adam", "rate": 0.01},
    "TensorFlow Recommenders, Adagrad": TFRS | {"optimizer": "adagrad", "rate": 0.1},
    "RecBole DSSM": {"library": "recbole", "batch": 8_192, "rate": 0.01},
    "Cornac GMF": {"library": "cornac", "batch": 8_192, "rate": 0.01, "fits": 1},
    "RecTools DSSM": {"library": "rectools", "batch": 128, "rate": 0.01, "fits": 1},
}


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for environments and data."
)
@click.option("--set-up", is_flag=True, help="Makes the peers' environments in the folder, with pip.")
@click.option(
    "--quick", is_flag=True, help="Ours alone, on a small world; keeps the results of the last full run."
)
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
def main(work: Path, set_up: bool, quick: bool, as_json: bool) -> None:
    work.mkdir(parents=True, exist_ok=True)
    if set_up:
        return _set_up(work)
    cases = {name: case for name, case in CASES.items() if case["library"] == "recsys" or not quick}
    if missing := [
        one for one in {case["library"] for case in cases.values()} - {"recsys"} if not (work / one).exists()
    ]:
        raise click.UsageError(
            f"{work} has no environment of {', '.join(sorted(missing))}: run with --set-up first."
        )
    data = make("world-quick" if quick else "gowalla", work / "data")
    speeds: dict[str, list[float]] = {name: [] for name in cases}
    figures: dict[str, float | None] = dict.fromkeys(cases)
    for repeat in range(1 if quick else REPEATS):
        for name, case in cases.items():
            if repeat >= case.get("fits", REPEATS):
                continue
            costs, vectors = _fit(case, work, data, epochs=1 if quick else EPOCHS)
            speeds[name] += [costs["events"] / one for one in costs["epochs_s"]]
            if not repeat and vectors is not None and not quick:
                figures[name] = _ndcg(*vectors)
            click.echo(f"{name}: {statistics.median(speeds[name]):,.0f} events a second", err=True)
    rows = [
        {
            "what": name,
            "batch": case["batch"],
            "events a second": statistics.median(speeds[name]),
            "ndcg@20": figures[name],
        }
        for name, case in cases.items()
    ]
    note = (
        f"{data.name}, {EPOCHS} epochs, {THREADS} threads, dim {DIM}; medians of the epochs of {REPEATS} "
        "fits."
    )
    report(
        "tower_peers", rows, title="Learning two towers beside peers", note=note, quick=quick, as_json=as_json
    )


def _set_up(work: Path) -> None:
    for name, packages in PEERS.items():
        venv.create(work / name, with_pip=True, clear=True)
        subprocess.run([str(work / name / "bin" / "pip"), "install", "--quiet", *packages], check=True)


def _fit(case: Case, work: Path, data: Path, epochs: int) -> tuple[Any, tuple[Any, Any] | None]:
    """What a worker prints, and its vectors of users and items, where it leaves any."""
    library, out = case["library"], work.resolve() / "out"
    out.mkdir(exist_ok=True)
    for path in out.glob("*.npy"):
        path.unlink()
    python = sys.executable if library == "recsys" else str(work.absolute() / library / "bin" / "python")
    asked = {
        "data": str(data.resolve()),
        "out": str(out),
        "dim": DIM,
        "epochs": epochs,
        "threads": THREADS,
        "seed": 1,
    }
    command = [python, str(Path(__file__).with_name("tower_worker.py")), json.dumps(asked | case)]
    environment = os.environ | {"OMP_NUM_THREADS": str(THREADS)}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=out
    )  # some leave logs there
    if done.returncode:
        raise SystemExit(f"{library} failed on {case}:\n{done.stderr[-3000:]}")
    paths = [out / f"{side}.npy" for side in ("users", "items")]
    vectors = (np.load(paths[0]), np.load(paths[1])) if paths[0].exists() else None
    return json.loads(done.stdout.splitlines()[-1]), vectors


def _ndcg(users: Any, items: Any) -> float:
    """ndcg@20 over the validation rows of everybody, what they had in training left out."""
    data = load_dataset("gowalla")
    assert data.published is not None
    had, asked = (data.interactions.where(data.published.part == part) for part in (TRAIN, VALIDATION))
    who = np.unique(asked.user)
    people = Users.of_rows(who, had.histories().take(who))
    targets = Ragged.from_pairs(asked.user, asked.item, data.n_users).take(who)
    ranker = ScoreRanker(lambda block: users[block.index] @ items.T, data.n_items)
    engine = Recommender(ranker, fallback_order(had, None))
    return float(evaluate(engine, people, targets, metrics=("ndcg_at_20",)).values["ndcg_at_20"].mean())


if __name__ == "__main__":
    main()
