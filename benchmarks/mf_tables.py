"""The tables and the picture of `benchmarks.mf_speed`."""

import json
import statistics
from collections.abc import Sequence
from typing import Any

from benchmarks.mf_data import make
from benchmarks.mf_measured import LIBRARIES, Measured
from benchmarks.results import RESULTS, machine, read_rows, report
from recsys.pipelines.tracking.plots import GREYS, MODEL, figure_of

BARS = {("cg", 64): (1.4, 2.0), ("cg", 128): (1.4, 2.0), ("cg", 256): (1.8, 2.5)}  # must, aim: times faster
EXACT_BAR = (2.0, 4.0)

Row = dict[str, Any]


def write_tables(rows: Measured, quick: bool, as_json: bool) -> None:
    """Writes a table of each part that has rows."""
    said = {"quick": quick, "as_json": as_json}
    if table := _seconds_table(rows):
        fresh = {_case(row) for row in table}
        cpu = machine()["cpu"]
        table = [row | {"cpu": cpu} for row in table]
        table += [] if quick else [row for row in read_rows("mf_speed") if _case(row) not in fresh]
        report("mf_speed", table, title="Seconds of one ALS iteration", columns=SECONDS, note=NOTE, **said)
    scale = [
        {
            "events": json.loads((make(row["data"], rows.work / "data") / "counts.json").read_text())[
                "events"
            ],
            "library": row["library"],
            "epoch_s": statistics.median(row["epochs_s"]),
            "cpu_s": statistics.median(row["cpu_s"]),
            "rest_s": _rest(row),
            "peak_gib": row["peak_bytes"] / 2**30,
            "load": row["load"],
        }
        for row in rows.having(kind="scale")
    ]
    if scale:
        picture = scale_plot(scale)
        if not quick:
            picture.savefig(RESULTS / "mf_scale.png", dpi=110)
        report("mf_scale", scale, title="ALS from 1M to 30M events", columns=SCALE, note=SCALE_NOTE, **said)
    last = {row["peer"]: row for row in rows.having(kind="quality")}
    if last:
        title = "Seconds to a peer's final NDCG at 20"
        report("mf_quality", list(last.values()), title=title, columns=QUALITY, note=QUALITY_NOTE, **said)


def scale_plot(rows: Sequence[Row]) -> Any:
    """Seconds and memory by events, a line for each library, both axes logarithmic: a slope of 1 is
    linear."""
    figure, axes = figure_of(2)
    for panel, key, title in zip(
        axes, ("epoch_s", "peak_gib"), ("an iteration, s", "peak memory, GiB"), strict=True
    ):
        for library, color in zip(LIBRARIES, (MODEL, *GREYS), strict=False):
            own = sorted((row["events"], row[key]) for row in rows if row["library"] == library)
            panel.plot(*zip(*own, strict=True), color=color, marker="o", markersize=4, label=library)
        panel.set(title=title, xlabel="events", xscale="log", yscale="log")
    axes[0].legend(frameon=False)
    return figure


def _case(row: Row) -> tuple[str, str, int]:
    return row["data"], row["solver"], row["dim"]


def _seconds_table(rows: Measured) -> list[Row]:
    """A row for each data set, solver and dim that all libraries have been fitted to."""
    keys = {(row["data"], row["solver"], row["dim"]): None for row in rows.having(kind="seconds")}
    table = []
    for data, solver, dim in keys:
        fits = list(rows.having(kind="seconds", data=data, solver=solver, dim=dim))
        seconds, firsts = {}, {}
        for library in {row["library"]: None for row in fits}:
            own = [row for row in fits if row["library"] == library]
            seconds[library] = statistics.median(statistics.median(row["epochs_s"]) for row in own)
            firsts[library] = next(row for row in own if "objective" in row)
        peers = [library for library in seconds if library != "recsys"]
        anchor = min(peers, key=lambda library: seconds[library], default=None)
        must, aim = BARS.get((solver, dim), EXACT_BAR)
        row = {"data": data, "solver": solver, "dim": dim, "must": must, "aim": aim}
        row |= {f"{library}_s": value for library, value in seconds.items()}
        for library in seconds:
            spent = [statistics.median(one["cpu_s"]) for one in fits if one["library"] == library]
            row[f"{library}_cpu_s"] = statistics.median(spent)
        row |= {f"{library}_rest_s": _rest(first) for library, first in firsts.items()}
        row |= {"compile_s": firsts["recsys"]["compile_s"], "epochs": firsts["recsys"]["epochs"]}
        row["repeats"] = sum(one["library"] == "recsys" for one in fits)
        row["load"] = statistics.median(one["load"] for one in fits)
        if anchor:
            best = min(firsts[library]["objective"] for library in peers)
            row["faster"] = seconds[anchor] / seconds["recsys"]
            row["objective"] = firsts["recsys"]["objective"] / best - 1
        table.append(row)
    return table


def _rest(row: Row) -> float:
    """Seconds of a fit beside its iterations: conversions, initial vectors, a last pass."""
    return float(row["total_s"] - sum(row["epochs_s"]) - statistics.median(row["epochs_s"]))


SECONDS = {
    "data": "data",
    "solver": "solver",
    "dim": "dim",
    "recsys_s": "recsys, s",
    "implicit_s": "implicit, s",
    "irspack_s": "irspack, s",
    "faster": "times faster than the faster peer",
    "must": "must",
    "aim": "aim",
    "recsys_cpu_s": "CPU-s: recsys",
    "implicit_cpu_s": "CPU-s: implicit",
    "irspack_cpu_s": "CPU-s: irspack",
    "objective": "objective above the best peer's",
    "epochs": "iterations compared",
    "repeats": "repeats",
    "recsys_rest_s": "preparation and end: recsys, s",
    "implicit_rest_s": "implicit, s",
    "irspack_rest_s": "irspack, s",
    "compile_s": "loading compiled code, s",
    "load": "load",
    "cpu": "processor",
}
SCALE = {
    "events": "events",
    "library": "library",
    "epoch_s": "an iteration, s",
    "cpu_s": "an iteration, CPU-s",
    "rest_s": "preparation and end, s",
    "peak_gib": "peak above imports, GiB",
    "load": "load",
}
QUALITY = {
    "peer": "peer",
    "peer_settings": "its best settings",
    "peer_ndcg": "its NDCG",
    "peer_s": "its seconds",
    "settings": "our best settings",
    "epochs": "our iterations until then",
    "ndcg": "our NDCG",
    "s": "our seconds",
    "share": "share of the peer's",
}
NOTE = (
    "implicit 0.7.3 (OPENBLAS_NUM_THREADS=1) and irspack 0.5.2, two threads each, float32, three steps of "
    "conjugate gradient, the same matrix and the same objective (unobserved weight 0.01, plain ridge 1), "
    "computed from everybody's vectors by one function. Each fit is a process of its own; medians of the "
    "fits' median iterations, libraries in turn; the slower peer, and fits of more than a minute, run "
    "once. Our solver `cg` solves rows of up to 32 events exactly, for that costs no more. Preparation and "
    "end is a fit's time beside its iterations, the last exact pass over the users included. CPU-s: "
    "seconds of an iteration on both cores together, which other programs disturb less; load: of the "
    "machine, where two threads alone make 2. gowalla: the published training part without validation "
    "rows; world: see `benchmarks/mf_data.py`. Compiling, once in an installation, takes 10 to 20 s."
)
SCALE_NOTE = (
    "dim 64, conjugate gradient, four iterations, one fit each ([picture](mf_scale.png)). Peak: the "
    "high-water mark of the resident set from loading the data on, less what was resident after the "
    "imports; ours includes the compiled code."
)
QUALITY_NOTE = (
    "gowalla, judged on the validation rows, dim 64, conjugate gradient; 15 iterations of the peer. Grid "
    "of all three: unobserved weight .003, .01, .03; ridge .001, .003, .01 scaled by frequency, or, for "
    "implicit, which does not scale, plain ridge .3, 1, 3 (its regularization is the ridge times 1 + 1 / "
    "weight). Seconds of the whole fit, preparation included, the median of five in turn."
)
