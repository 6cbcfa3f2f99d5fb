"""The order report: on planted worlds, where with a drift order says much and without anything that moves it
says nothing, and on real logs.

    RECSYS_DATA=... python -m benchmarks.order [--only TEXT] [--seeds 1,2,3] [--quick] [--json]

The last event of each person left out; worlds of 8,000 people. What was measured is kept by world or log and
seed of learning, each person's values included (`order.npz`), so a run that was stopped goes on where it was.
Settings of the model were chosen on worlds of other seeds and sizes; the planted ones of CASES have been seen
by nothing else. `right`: order is said to bring something with a drift, and nothing that was shown without
one.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.results import RESULTS, report
from recsys.arrays import F64
from recsys.durable import write_whole
from recsys.evaluation.evaluate import Report
from recsys.evaluation.order import ASKED, BOTH, IN_ORDER, OrderReport, order_of
from recsys.pipelines.console import Steps
from recsys.pipelines.order import measure_order
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings

METRIC, KEPT = "ndcg_at_10", RESULTS / "order.npz"
SIZE = ("world.users=8000", "world.items=1500", "world.events_per_user=16")
STILL = (
    "world.wave=0",
    "world.new_share=0",
)  # no fashions and no new items: only the last item could say more
MODEL = ("model=sequence", "model.dim=32", "model.layers=1", "model.widened=64", "model.longest_history=50",
         "model.epochs=10", "model.batch_size=512", "model.learning_rate=3e-3")  # fmt: skip
SMALL = ("world.users=300", "world.items=100", "model.epochs=1")
_PUBLISHED = ("split.kind=published", "split.learn_validation=false")
_LOGGED = ("model=sequence", "model.epochs=10", "model.longest_history=50")
_SPARSE = ("model.batch_size=512", "model.dropout=0.5", "model.initial=spectral")


class Case(NamedTuple):
    """A log whose order is asked about. settings: of the data and the question. drifts: whether there is
    something in its order; None = nobody knows."""

    data: str
    settings: tuple[str, ...]
    model: tuple[str, ...] = MODEL
    drifts: bool | None = None

    def key(self, label: str, seed: int) -> str:
        """Names a measurement, by all that it depends on."""
        return " ".join([label, *self.settings, *self.model, f"seed={seed}"])


CASES: dict[str, Case] = {
    "drift 1.5, seed 31": Case("world", (*SIZE, "world.drift=1.5", "world.seed=31", *STILL), drifts=True),
    "no drift, seed 32": Case("world", (*SIZE, "world.drift=0", "world.seed=32", *STILL), drifts=False),
    "ml-100k": Case("ml-100k", (), (*_LOGGED, "model.batch_size=512")),
    "ml-1m-seq": Case("ml-1m-seq", _PUBLISHED, (*_LOGGED, "model.batch_size=4096")),
    "s3rec-beauty": Case("s3rec-beauty", _PUBLISHED, (*_LOGGED, *_SPARSE)),
    "s3rec-sports-outdoors": Case("s3rec-sports-outdoors", _PUBLISHED, (*_LOGGED, *_SPARSE)),
}


def question(case: Case, changes: tuple[str, ...]) -> Run:
    """The run on a log, whose settings all that is kept depends on."""
    asked = ("split.kind=leave_last_out", f'metrics=["{METRIC}"]', "threads=1", *case.settings)
    config = case.data if case.data == "world" else None
    settings = load_settings(config, [*asked, *case.model, *changes], data=case.data)
    return prepare(settings, Steps(quiet=True))


def by_seed(run: Run, seed: int) -> Run:
    """The same question, learned by a seed; a world has its own."""
    return replace(run, settings=run.settings.model_copy(update={"seed": seed}))


class Kept:
    """What was measured: each person's values (n,) by world, seed and row of the report, and what learning
    took."""

    def __init__(self, place: Path | None) -> None:
        self.place, self.values, self.seconds = place, dict[str, F64](), dict[str, float]()
        if place is not None and place.exists():
            with np.load(place, allow_pickle=False) as arrays:
                self.values = {name: arrays[name] for name in arrays.files if name != "seconds"}
                self.seconds = json.loads(str(arrays["seconds"]))

    def add(self, key: str, reports: Mapping[str, Report], seconds: float) -> None:
        self.values |= {f"{key}, {name}": one.values[METRIC] for name, one in reports.items()}
        self.seconds[key] = seconds
        if self.place is not None:
            arrays: dict[str, Any] = {**self.values, "seconds": np.array(json.dumps(self.seconds))}

            def write(path: Path) -> None:
                with path.open("wb") as file:
                    np.savez_compressed(file, **arrays)

            write_whole(self.place, write)

    def reports(self, key: str) -> dict[str, Report]:
        """The reports of one world and seed."""
        values = {name: self.values[f"{key}, {name}"] for name in (IN_ORDER, ASKED, BOTH)}
        return {name: Report({METRIC: one}, np.zeros(len(one), np.int8)) for name, one in values.items()}


def row_of(label: str, order: OrderReport, seconds: float) -> dict[str, Any]:
    """A row of the table."""
    gain, leaning = order.gain.difference, order.leaning.difference
    drifts, says = CASES[label].drifts, order.gain.verdict
    right = {True: "better", False: "no difference shown", None: says}[drifts] == says
    values = {name: one.values[METRIC] for name, one in order.reports.items()}
    return {
        "log": label,
        "people": len(values[IN_ORDER]),
        "seeds": len(order.by_seed),
        **{name: float(one.mean()) for name, one in values.items()},
        "gain": gain.text("+.4f"),
        "half-width": (gain.high - gain.low) / 2,
        "by seed": ", ".join(f"{one:+.4f}" for one in order.by_seed.values()),
        "p (Holm)": order.gain.p_holm,
        "leans on": leaning.text("+.4f"),
        "says": order.sentence,
        "right": "" if drifts is None else "yes" if right else "no",
        "CPU minutes a seed": seconds / 60,
    }


@click.command()
@click.option("--only", "text", default="", help="Only worlds and logs whose name holds this text.")
@click.option(
    "--seeds", default="1,2,3", show_default=True, help="Seeds of learning, the mean of which is judged."
)
@click.option("--quick", is_flag=True, help="A small world and one epoch; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(text: str, seeds: str, quick: bool, as_json: bool) -> None:
    """Measure what the order report says of worlds and logs; what is measured already is not measured
    again."""
    kept, steps = Kept(None if quick else KEPT), Steps(quiet=as_json)
    chosen = {label: case for label, case in CASES.items() if text in label}
    if quick:
        chosen = dict(list(chosen.items())[:1])
    runs: dict[str, Run] = {}
    for seed in [1] if quick else [int(word) for word in seeds.split(",")]:
        for label, case in chosen.items():
            key = case.key(label, seed)
            if key in kept.seconds:
                continue
            with steps.step(f"{label}, seed {seed}"):
                if label not in runs:
                    runs[label] = question(case, SMALL if quick else ())
                started = process_time()
                reports = measure_order(by_seed(runs[label], seed), 1).reports
                kept.add(key, reports, process_time() - started)
            tell(kept, quick, as_json)
    tell(kept, quick, as_json)


def tell(kept: Kept, quick: bool, as_json: bool) -> None:
    """Writes the table of all that was measured."""
    rows = []
    for label, case in CASES.items():
        keys = {
            seed: case.key(label, seed) for seed in range(1, 100) if case.key(label, seed) in kept.seconds
        }
        if keys:
            reports = {seed: kept.reports(key) for seed, key in keys.items()}
            order = order_of(reports, warm=len(reports[min(reports)][IN_ORDER].values[METRIC]))
            rows.append(row_of(label, order, float(np.mean([kept.seconds[key] for key in keys.values()]))))
    note = (
        f"{METRIC}, last event left out; worlds of 8,000 people without fashions or new items, where who has "
        "but one event is not asked, and real logs. The interval is over people, the values of each the mean "
        "over the seeds of learning. One thread."
    )
    report("order", rows, title="What order brings", note=note, quick=quick, as_json=as_json)


if __name__ == "__main__":
    main()
