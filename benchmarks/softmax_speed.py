"""Seconds of one epoch of full-softmax matrix factorization on gowalla's training part, as a fit goes through
it.

    RECSYS_DATA=... python -m benchmarks.softmax_speed [--quick] [--json]

Times the public `fit` between the ends of its epochs, after a first one: 29,858 users against all 40,981
items, cosine, at the settings' defaults. --quick: 3 epochs of dim 64 alone, and nothing is written.
"""

import argparse
import os
import statistics
import time
from dataclasses import dataclass, field

from benchmarks.results import report
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.models.factors.softmax import SoftmaxMF, SoftmaxSettings
from recsys.pipelines.threads import set_threads
from recsys.progress import Step

BARS = {64: (8.0, 4.0)}  # must, aim: seconds


@dataclass
class Watch:
    """Notes the time, and the CPU-time of all threads, at the end of each epoch."""

    ends: list[tuple[float, float]] = field(default_factory=list)

    def __call__(self, step: Step) -> None:
        if step.values:
            self.ends.append((time.perf_counter(), time.process_time()))

    def medians(self) -> tuple[float, float]:
        spent = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(self.ends, self.ends[1:], strict=False)]
        return statistics.median(wall for wall, _ in spent), statistics.median(cpu for _, cpu in spent)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="three epochs of dim 64; writes nothing")
    parser.add_argument("--json", action="store_true", help="the JSON object only")
    asked = parser.parse_args()
    threads = set_threads(0)
    train = split(load_dataset("gowalla"), SplitSettings(), seed=1).test.train
    rows = []
    for dim in (64,) if asked.quick else (64, 128, 256):
        watch = Watch()
        settings = SoftmaxSettings(dim=dim, epochs=3 if asked.quick else 8)
        SoftmaxMF(settings).fit(train, seed=1, progress=watch)
        wall, cpu = watch.medians()
        must, aim = BARS.get(dim, (None, None))
        rows.append(
            {
                "dim": dim,
                "epoch_s": wall,
                "cpu_s": cpu,
                "must_s": must,
                "aim_s": aim,
                "load": os.getloadavg()[0],
            }
        )
    report(
        "softmax_speed",
        rows,
        title="One epoch of full-softmax matrix factorization on gowalla",
        note=f"{threads} threads; median of {len(watch.ends) - 1} epochs of a fit.",
        quick=asked.quick,
        as_json=asked.json,
    )


if __name__ == "__main__":
    main()
