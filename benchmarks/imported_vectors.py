"""Does an imported model answer as the library does that learned it?

    python -m benchmarks.imported_vectors --work FOLDER --set-up    makes the peer's environment, once
    RECSYS_DATA=... python -m benchmarks.imported_vectors --work FOLDER [--data poi-gowalla]

implicit's ALS (its rows, and its fold-in by `recalculate_user`), and LightFM with the biases of items: the
best 20 of 1,000 people by the library and by the bundle that `recsys import vectors` makes of its model, item
by item.
"""

import json
import subprocess
import sys
import venv
from pathlib import Path

import click
import numpy as np
import pandas as pd

from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.root import current
from recsys.data.read.load import load_dataset

PEERS = {"implicit": ["implicit==0.7.3"], "lightfm": ["lightfm-next==1.19.0"]}


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for the environment and models."
)
@click.option("--set-up", is_flag=True, help="Makes the environment, with pip.")
@click.option("--data", default="poi-gowalla", show_default=True, help="A named data set, or a path.")
def main(work: Path, set_up: bool, data: str) -> None:
    python = work / "peers" / "bin" / "python"
    if set_up:
        venv.create(work / "peers", with_pip=True, clear=True)
        needed = [one for peer in PEERS.values() for one in peer]
        subprocess.run([python, "-m", "pip", "install", "-q", *needed, "pandas", "pyarrow"], check=True)
        return
    log = _events(data, work / "events.parquet")
    for library in PEERS:
        folder = work / library
        folder.mkdir(exist_ok=True)
        worker = Path(__file__).with_name("imported_worker.py")
        subprocess.run([python, worker, library, work / "events.parquet", folder], check=True)
        print(
            json.dumps({"data": data, "library": PEERS[library][0]} | _agreement(library, folder, work, log))
        )


def _events(data: str, path: Path) -> pd.DataFrame:
    """Each pair of user and item once, as a weight of 1."""
    read = load_dataset(data)
    events = read.interactions
    ids = {"user_id": list(read.user_ids), "item_id": list(read.item_ids)}
    pairs = np.unique(np.stack([events.user, events.item], axis=1), axis=0).T
    columns = {
        name: np.array(known, object)[column]
        for (name, known), column in zip(ids.items(), pairs, strict=True)
    }
    log = pd.DataFrame(columns | {"weight": 1.0})
    log.to_parquet(path)
    return log


def _agreement(library: str, folder: Path, work: Path, log: pd.DataFrame) -> dict[str, float]:
    """The share of answered items that both have, for known people and for those who bring their history."""
    given = {
        "implicit": ["--implicit", "als.npz", "--item-ids", "items.txt", "--user-ids", "users.txt"],
        "lightfm": ["--items", "items.parquet", "--users", "users.parquet"],
    }[library]
    program = [
        sys.executable,
        "-m",
        "recsys.pipelines.cli",
        "import",
        "vectors",
        str(work / "events.parquet"),
    ]
    files = [one if one.startswith("--") else str(folder / one) for one in given]
    subprocess.run([*program, *files, "--to", str(folder / "bundles")], check=True, capture_output=True)
    bundle, had = load(current(folder / "bundles")), log.groupby("user_id").item_id.apply(list)
    lists = pd.read_parquet(folder / "lists.parquet")
    shares = {}
    for kind, rows in lists.groupby("kind"):
        same = [
            len({*theirs} & {*_answer(bundle, user, had[user], str(kind), len(theirs))})
            for user, theirs in zip(rows.user_id, rows["items"], strict=True)
        ]
        shares[str(kind)] = round(float(np.sum(same)) / float(rows["items"].str.len().sum()), 5)
    return shares | {"people": lists.user_id.nunique()}


def _answer(bundle: Bundle, user: str, had: list[str], kind: str, k: int) -> list[str]:
    question = Question(user, k=k) if kind == "known" else Question(None, [Event(item) for item in had], k=k)
    return [item.item_id for item in respond(bundle, question).items]


if __name__ == "__main__":
    main()
