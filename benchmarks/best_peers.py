"""`recsys best` beside implicit, LightFM and RecTools, each tuned by Optuna for as many minutes.

    python -m benchmarks.best_peers --work FOLDER --set-up      makes the peers' environments, once
    RECSYS_DATA=... python -m benchmarks.best_peers --work FOLDER [--data NAME] [--minutes 30] [--seeds 1] ...

A peer tries the settings of `benchmarks.best_peers_worker` on the standard validation part, ours chooses its
own; each then learns once more for the test part, which is read once. A peer's last trial may end after its
time, and its last fit is not counted in it. Ours are the rows of `benchmarks.best` of the same minutes and
seeds, which come first. Values are paired by person; p by Holm over a set. What was tuned lies in FOLDER, and
goes on where it was stopped.
"""

import json
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.best import SETS, question_settings, values_of
from benchmarks.results import cores, read_rows, report
from recsys.arrays import F64, I64
from recsys.data.split.holdout import Holdout
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate, users_of
from recsys.evaluation.significance import bootstrap, compare_pairs
from recsys.pipelines.best.choice import parts_of
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import ask, read
from recsys.retrieval.ranker import Answer

PACKAGES = {
    "implicit": ["implicit==0.7.3", "scipy<1.15", "optuna"],
    "lightfm": ["lightfm-next==1.19", "optuna"],
    "rectools": ["rectools[torch]==0.19.0", "torch==2.13.0", "optuna"],
}
OURS, SLACK = "recsys best", 1.1  # how much longer than asked a peer may try
NO_TRIAL = "no trial ended"
Row = dict[str, Any]


class Lists:
    """What another system recommends to the people of a holdout, in their order."""

    def __init__(self, lists: I64, n_items: int) -> None:
        self.n_items, self._lists, self._at = n_items, lists, 0

    def recommend(self, users: Users, k: int, among: Any = None) -> Answer:
        ids = self._lists[self._at : self._at + len(users), :k]
        self._at += len(users)
        scores = np.broadcast_to(-np.arange(k, dtype=np.float32), ids.shape)
        return Answer(ids, scores, np.zeros(len(ids), np.int8))


def tune_peer(library: str, name: str, minutes: float, seed: int, work: Path) -> Path:
    """The folder with the lists of a peer on the test part of a set."""
    folder = work / f"{name}, {minutes:g} minutes, seed {seed}"
    folder.mkdir(exist_ok=True)
    for judge in ("validation", "test"):
        if not (folder / f"{judge}.npz").exists():
            _write(_holdout(name, seed, judge), folder / f"{judge}.npz")
    asked = {"library": library, "folder": str(folder.resolve()), "minutes": minutes, "seed": seed}
    asked["k"] = int(SETS[name].metric.rpartition("_")[2])
    if not (folder / f"{library}.npy").exists():
        _run(library, asked | {"task": "tune"}, work, minutes * 60 * SLACK)
        if (folder / f"{library}.json").exists():
            _run(library, asked | {"task": "answer"}, work, None)
        else:
            print(f"{library} ended no trial on {name} in {minutes:g} minutes.", flush=True)
    return folder


def _run(library: str, asked: dict[str, Any], work: Path, seconds: float | None) -> None:
    """Runs the worker; after so many seconds it is ended, and what it has kept counts."""
    python = work.resolve() / library / "bin" / "python"
    command = [str(python), str(Path(__file__).with_name("best_peers_worker.py")), json.dumps(asked)]
    try:
        done = subprocess.run(command, timeout=seconds, stderr=subprocess.PIPE, text=True, check=False)
    except subprocess.TimeoutExpired:
        return
    if done.returncode:
        raise SystemExit(f"{library} failed on {asked}:\n{done.stderr[-3000:]}")


def _holdout(name: str, seed: int, judge: str) -> Holdout:
    """A part of the set, cut as a search cuts it: at random where there are neither times nor a published
    split."""
    steps, settings = Steps(quiet=True), question_settings(name, seed)
    planted, data = read(settings, steps)
    kind = parts_of(settings, data)[0].split.kind
    cut = settings.split.model_copy(update={"kind": kind})
    return ask(settings.model_copy(update={"judge": judge, "split": cut}), steps, planted, data).holdout


def _write(holdout: Holdout, file: Path) -> None:
    """The question in plain arrays, for a worker without recsys."""
    past, had = holdout.train.interactions.histories(), holdout.history.counting().items
    user, item = past.items.row_of_value(), past.items.values
    np.savez(
        file,
        user=user,
        item=item,
        second=np.arange(len(item)) if past.time is None else past.time,
        n_users=holdout.train.n_users,
        n_items=holdout.train.n_items,
        asked=holdout.user,
        had_offsets=had.offsets,
        had=had.values,
        wanted_offsets=holdout.targets.offsets,
        wanted=holdout.targets.values,
    )


def rows_of(name: str, minutes: float, seeds: Sequence[int], work: Path) -> list[Row]:
    """Ours and each peer that was tuned, the mean over the seeds of each person, ours against them."""
    metric, values, chosen = SETS[name].metric, dict[str, list[F64]](), dict[str, list[str]]()
    for seed in seeds:
        ours = values_of(name, minutes, seed)
        if ours is not None:
            values.setdefault(OURS, []).append(ours)
        holdout = _holdout(name, seed, "test")
        for library in PACKAGES:
            folder = work / f"{name}, {minutes:g} minutes, seed {seed}"
            if (folder / f"{library}.npy").exists():
                lists = Lists(np.load(folder / f"{library}.npy"), holdout.train.n_items)
                one = evaluate(lists, users_of(holdout), holdout.targets, metrics=(metric,)).values[metric]
                values.setdefault(library, []).append(one)
                best = json.loads((folder / f"{library}.json").read_text())
                chosen.setdefault(library, []).append(f"{best['settings']} of {best['trials']}")
    means = {label: np.mean(each, axis=0) for label, each in values.items()}
    pairs = [(OURS, label) for label in means if label != OURS and OURS in means]
    compared = compare_pairs(means, pairs, warm={pair: len(means[pair[1]]) for pair in pairs})
    rows = []
    for label, mean in means.items():
        row: Row = {
            "data": name,
            "minutes": minutes,
            "cores": cores(),
            "what": label,
            "seeds": len(values[label]),
        }
        row |= {"metric": metric, "test": bootstrap(mean).text(".4f")}
        if (OURS, label) in compared:
            against = compared[OURS, label]
            row |= {f"{OURS} less it": against.difference.text("+.4f"), "p (Holm)": against.p_holm}
        rows.append(row | {"chosen": "; ".join(chosen.get(label, []))})
    tried = work / f"{name}, {minutes:g} minutes, seed {seeds[0]}"
    none_ended = [one for one in PACKAGES if one not in means and (tried / f"{one}.db").exists()]
    return [*rows, *(rows[0] | {"what": library, "test": None, "chosen": NO_TRIAL} for library in none_ended)]


@click.command(help=__doc__.split("\n\n")[0])
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Environments and studies.")
@click.option("--set-up", is_flag=True, help="Makes the peers' environments in the folder, with pip.")
@click.option("--data", "names", multiple=True, type=click.Choice(list(SETS)), help="Only these; repeatable.")
@click.option("--peer", "peers", multiple=True, type=click.Choice(list(PACKAGES)), help="Only these.")
@click.option("--minutes", default=30.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--seeds", default="1", show_default=True, help="Numbers with commas between them.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON line on standard output.")
def main(
    work: Path,
    set_up: bool,
    names: Sequence[str],
    peers: Sequence[str],
    minutes: float,
    seeds: str,
    as_json: bool,
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    chosen = list(peers or PACKAGES)
    if set_up:
        for library in chosen:
            venv.create(work / library, with_pip=True, clear=True)
            pip = [str(work / library / "bin" / "pip"), "install", "--quiet", *PACKAGES[library]]
            subprocess.run(pip, check=True)
        return
    if missing := [library for library in chosen if not (work / library).exists()]:
        raise click.UsageError(f"{work} has no environment of {', '.join(missing)}: run with --set-up first.")
    numbers = [int(word) for word in seeds.split(",")]
    for name in names or SETS:
        for seed in numbers:
            for library in chosen:
                tune_peer(library, name, minutes, seed, work)
        kept = [row for row in read_rows("best_peers") if (row["data"], row["minutes"]) != (name, minutes)]
        report(
            "best_peers",
            kept + rows_of(name, minutes, numbers, work),
            title="The best in a stated time, beside peers",
            columns=None,
            note="`recsys best` and three libraries tuned by Optuna, each for so many minutes on the same "
            "machine; the test part of the split, people paired.",
            as_json=as_json,
        )


if __name__ == "__main__":
    main()
