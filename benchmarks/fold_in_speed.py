"""How fast people are folded into implicit ALS, beside the normal equations as one would write them.

    python -m benchmarks.fold_in_speed [--quick] [--json]

Random vectors of 12,000 items, one thread; histories of about so many events. One person at a time, the
median of 50, and 2,000 people at once, ours in one call and the normal equations in a loop, since each person
has a matrix of their own; the best of three. How far apart the vectors are stands beside it.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import numpy as np

from benchmarks.results import report
from recsys.arrays import F32, Ragged
from recsys.encoders.solve import Solve
from recsys.encoders.users import Users
from recsys.pipelines.threads import set_threads

ITEMS, WEIGHT, RIDGE = 12_000, 0.1, 0.003


def plain(items: F32, gram: F32, history: Ragged) -> F32:
    """The user's half-step of implicit ALS, person by person."""
    rows = np.empty((history.rows, items.shape[1]), np.float32)
    for user in range(history.rows):
        own = items[history.values[history.offsets[user] : history.offsets[user + 1]]]
        matrix = WEIGHT * gram + own.T @ own
        matrix.ravel()[:: len(matrix) + 1] += RIDGE * (len(own) + WEIGHT * len(items))
        rows[user] = np.linalg.solve(matrix, own.sum(axis=0))
    return rows


def measure(dim: int, events: int, people: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    items = 0.1 * rng.standard_normal((ITEMS, dim), dtype=np.float32)
    gram = items.T @ items
    encoder = Solve(items, gram, None, regularization=RIDGE, unobserved_weight=WEIGHT, exponent=1.0)
    history = Ragged.of([rng.integers(0, ITEMS, 1 + rng.poisson(events - 1)) for _ in range(people)])
    users = Users.unknown(history)
    ours, theirs = encoder.encode(users).vectors, plain(items, gram, history)
    ours_alone, theirs_alone = list[float](), list[float]()
    for user in range(min(50, people)):
        one = users.take(np.array([user]))
        ours_alone.append(_seconds(partial(encoder.encode, one)))
        theirs_alone.append(_seconds(partial(plain, items, gram, one.history.items)))
    ours_many = min(_seconds(partial(encoder.encode, users)) for _ in range(3))
    theirs_many = min(_seconds(partial(plain, items, gram, history)) for _ in range(3))
    return {
        "dim": dim,
        "events": events,
        "ours_ms": 1e3 * float(np.median(ours_alone)),
        "plain_ms": 1e3 * float(np.median(theirs_alone)),
        "times": float(np.median(theirs_alone) / np.median(ours_alone)),
        "ours_many_s": ours_many,
        "plain_many_s": theirs_many,
        "times_many": theirs_many / ours_many,
        "apart": float(np.abs(ours - theirs).max() / np.abs(theirs).max()),
    }


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


@click.command()
@click.option("--quick", is_flag=True, help="A few people; nothing is written.")
@click.option("--json", "as_json", is_flag=True)
def main(quick: bool, as_json: bool) -> None:
    """Writes benchmarks/results/fold_in_speed.md."""
    set_threads(1)
    people = 50 if quick else 2_000
    rows = [measure(dim, events, people) for dim in (64, 128, 512) for events in (5, 25, 100)]
    report(
        "fold_in_speed",
        rows,
        title="Folding people into implicit ALS",
        columns={
            "dim": "dim",
            "events": "events",
            "ours_ms": "one person, ms",
            "plain_ms": "normal equations, ms",
            "times": "times as fast",
            "ours_many_s": f"{people:,} people, s",
            "plain_many_s": "normal equations, s",
            "times_many": "times as fast, many",
            "apart": "largest difference",
        },
        note="One thread; the difference is that of the vectors, over the largest number in them.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
