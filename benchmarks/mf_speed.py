"""How fast is implicit ALS beside implicit 0.7.3 and irspack 0.5.2, each in an environment of its own?

    python -m benchmarks.mf_speed --work FOLDER --set-up             makes the peers' environments, once
    RECSYS_DATA=... python -m benchmarks.mf_speed --work FOLDER      all parts, several hours of peers
    ... --part seconds --data gowalla --dim 64 [--solver cg]         one part, or a piece of it
    ... --quick                                                      a small world, one repeat; writes nothing

Parts: `seconds` an iteration, by data, dim and solver; `scale`, seconds and memory from 1M to 30M events;
`quality`, seconds to a peer's final NDCG on gowalla's validation part. Every fit is a process of its own
(`mf_worker`), the libraries in turn; what the folder holds already is not measured again, so a run can be
broken off and gone on with. Rows of the last table stay where nothing newer was measured.
"""

import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.mf_measured import LIBRARIES, Measured
from benchmarks.mf_quality import seconds_to_ndcg
from benchmarks.mf_tables import write_tables

PEERS = dict(zip(LIBRARIES[1:], ("implicit==0.7.3", "irspack==0.5.2"), strict=True))
REPEATS, EPOCHS = 5, 15
# a fit longer than this is not repeated, and neither is that of a peer which is slower than the other
LONG_S = 60.0
SIZES = {"world-1M": 1, "world-3M": 3, "world-10M": 10, "world-30M": 30}


@click.command(help=__doc__.split("\n\n")[0])
@click.option(
    "--work", type=click.Path(path_type=Path), required=True, help="Folder for environments, data, rows."
)
@click.option("--set-up", is_flag=True, help="Makes the peers' environments in the folder, with pip.")
@click.option(
    "--part", type=click.Choice(["seconds", "scale", "quality", "report"]), multiple=True, help="Some parts."
)
@click.option("--data", multiple=True, default=("gowalla", "world-10M"), help="For `seconds`.")
@click.option("--dim", multiple=True, type=int, default=(64, 128, 256), help="For `seconds`.")
@click.option("--solver", multiple=True, default=("cg", "exact"), help="For `seconds`.")
@click.option("--library", multiple=True, default=LIBRARIES, help="Some of the libraries.")
@click.option("--epochs", type=int, default=EPOCHS, help="Iterations of the fit whose objective is compared.")
@click.option("--quick", is_flag=True, help="A small world; keeps the results of the last full run.")
@click.option("--json", "as_json", is_flag=True, help="Only the JSON lines on standard output.")
def main(
    work: Path,
    set_up: bool,
    part: Sequence[str],
    data: Sequence[str],
    dim: Sequence[int],
    solver: Sequence[str],
    library: Sequence[str],
    epochs: int,
    quick: bool,
    as_json: bool,
) -> None:
    work.mkdir(parents=True, exist_ok=True)
    if set_up:
        return _set_up(work)
    rows = Measured(work / ("quick.jsonl" if quick else "measured.jsonl"), work, library)
    if quick:
        rows.path.unlink(missing_ok=True)
        data, dim, epochs, part = ("world-quick",), (64,), 3, part or ("seconds",)
    if not part or "seconds" in part:
        for name, width, way in ((name, width, way) for name in data for way in solver for width in dim):
            _seconds(rows, name, width, way, epochs, repeats=1 if quick else REPEATS)
    if not part or "scale" in part:
        for name, one in ((name, one) for name in SIZES for one in rows.libraries):
            rows.fit("scale", one, name, 64, "cg", 4, 0, kept=False)
    if not part or "quality" in part:
        for row in seconds_to_ndcg(rows, REPEATS):
            rows.add({"kind": "quality", **row})
    write_tables(rows, quick, as_json)


def _seconds(rows: Measured, data: str, dim: int, solver: str, epochs: int, repeats: int) -> None:
    """A long fit of each for the objective, then shorter ones in turn; long ones are not repeated."""
    asked = (data, dim, solver)
    first = {
        library: rows.fit("seconds", library, *asked, epochs, 0, kept=True) for library in rows.libraries
    }
    slow = {library: row["total_s"] for library, row in first.items() if library != "recsys"}
    for repeat in range(1, repeats):
        for library in rows.libraries:
            if library == "recsys" or (slow[library] == min(slow.values()) and slow[library] < LONG_S):
                rows.fit("seconds", library, *asked, min(epochs, 4), repeat, kept=False)


def _set_up(work: Path) -> None:
    for name, pinned in PEERS.items():
        venv.create(work / name, with_pip=True, clear=True)
        subprocess.run([str(work / name / "bin" / "pip"), "install", "--quiet", pinned], check=True)


if __name__ == "__main__":
    main()
