"""How long a full evaluation takes on gowalla: every user, the whole catalogue, masks, every metric down to
rank 500.

    RECSYS_DATA=... python -m benchmarks.evaluation_speed [--quick] [--threads 1] [--json]

Learns iALS vectors of dim 64 first (not timed: three epochs give vectors whose lists look like those of a
real run), then times the facts on the items and the evaluation with every metric of the library, by segment
as well. --quick: 2,000 users, and nothing is written.
"""

import argparse
import os
import time

import numpy as np

from benchmarks.results import report
from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import RUN_METRICS, evaluate
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.models.als.als import ALS, ALSSettings
from recsys.models.popularity import fallback_order
from recsys.pipelines.threads import set_threads
from recsys.retrieval.recommender import recommender_of

METRICS = (
    *RUN_METRICS,
    "recall_at_500",
    "ndcg_at_500",
    "map_at_20",
    "precision_at_20",
    "item_coverage_at_100",
)
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2,000 users; writes nothing")
    parser.add_argument("--json", action="store_true", help="the JSON object only")
    parser.add_argument("--threads", type=int, default=0, help="0 = all cores")
    asked = parser.parse_args()
    threads = set_threads(asked.threads)
    holdout = split(load_dataset("gowalla"), SplitSettings(), seed=1).test
    if asked.quick:
        holdout = holdout.take(np.arange(2_000))
    train = holdout.train
    model = ALS(ALSSettings(dim=64, epochs=3, unobserved_weight=0.01, regularization=0.003))
    engine = recommender_of(model.fit(train, seed=1), fallback_order(train.interactions, None), "exclude")
    users = Users.of_rows(holdout.user, holdout.history)
    rows = []
    for name, metrics in (
        ("default metrics, to rank 100", RUN_METRICS),
        ("all metrics, to rank 500", METRICS),
    ):
        seconds, cpu_seconds, facts_seconds = [], [], []
        for _ in range(1 if asked.quick else REPEATS):
            started = time.perf_counter()
            facts = facts_of(train)
            _ = facts.features, facts.information, facts.head
            facts_seconds.append(time.perf_counter() - started)
            started, cpu_started = time.perf_counter(), time.process_time()
            evaluate(engine, users, holdout.targets, metrics=metrics, facts=facts)
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - cpu_started)
        rows.append(
            {
                "what": name,
                "users": len(holdout.user),
                "items": train.n_items,
                "metrics": len(metrics),
                "facts_s": min(facts_seconds),
                "evaluate_s": min(seconds),
                "slowest_s": max(seconds),
                "cpu_s": min(cpu_seconds),
                "threads": threads,
            }
        )
    report(
        "evaluation_speed",
        rows,
        title="Seconds of a full evaluation",
        columns={
            "what": "what",
            "users": "users",
            "items": "items",
            "metrics": "metrics",
            "facts_s": "facts on items, s",
            "evaluate_s": "evaluate, s (best)",
            "slowest_s": "slowest, s",
            "cpu_s": "CPU-s, all threads",
            "threads": "threads",
        },
        note=f"gowalla, dim 64, seen items masked, head and tail beside the whole; best of {REPEATS}. "
        f"Load of the machine at the end: {os.getloadavg()[0]:.1f}.",
        quick=asked.quick,
        as_json=asked.json,
    )


if __name__ == "__main__":
    main()
