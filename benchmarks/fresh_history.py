"""Do events that were told since the training count as if they had been learned from, and is anybody better
off?

    python -m benchmarks.fresh_history [--only same --only better] [--people 1000] [--model NAME ...]
    [--quick] [--json]

`same`: of each learner that ends in vectors, a bundle of the first 70 % of a log by time. Each person's
vector from what the bundle stores and what is told of them since, against that of their history in the whole
log as one table, read
as training reads it: the largest difference, in shares of the longest coordinate. `better`: worlds with a
known truth and a drift, a bundle of all days but the last; everybody who does at least two things on that day
is asked for after the first half of them, once with these told, once without, which denies them all the same;
ndcg@10 on the second half, difference with a 95 % interval (bootstrap over people).
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np

from benchmarks.results import read_rows, report
from recsys.answers.person import person_of, usable_items
from recsys.answers.question import Event, Question
from recsys.answers.respond import respond
from recsys.bundle.bundle import Bundle, load
from recsys.bundle.write import publish
from recsys.data.dataset import Dataset
from recsys.data.planted.world import WorldSettings, make_world
from recsys.data.prepare import PrepareSettings, prepare_data
from recsys.encoders.users import Users
from recsys.evaluation.significance import bootstrap
from recsys.history import DAY_S
from recsys.models.export import content_of
from recsys.models.registry import MODELS, make_model
from recsys.testing.toys import random_log

PARTS, K, DAYS = ("same", "better"), 10, 5  # DAYS: at the end of a world, which no bundle learned from
_TINY: dict[str, Any] = {"dim": 8, "epochs": 1}
SMALL: dict[str, dict[str, Any]] = {
    "als": _TINY,
    "bpr": _TINY,
    "cooccurrence_svd": {"dim": 8},
    "fasttext": _TINY,
    "glove": _TINY,
    "item2vec": _TINY,
    "lightgcn": _TINY,
    "mixture": {
        "parts": [{"name": "als"} | _TINY, {"name": "cooccurrence_svd", "dim": 8}],
        "weights": [1.0, 0.5],
    },
    "narrowed": {"wide": {"name": "als"} | _TINY, "narrow": {"name": "softmax"} | _TINY},
    "node2vec": _TINY,
    "popularity": {},
    "sequence": _TINY | {"widened": 16, "layers": 1},
    "softmax": _TINY,
    "spectral": {"dim": 8},
    "two_tower": _TINY,
    "variational": _TINY,
    "youtube_dnn": _TINY,
}


def cut_log(n: int) -> tuple[Dataset, int]:
    """A log of so many people, and the second up to which it is learned from."""
    log = random_log(3, n_users=n, n_items=200, n=25 * n)
    assert log.interactions.time is not None
    return log, int(np.quantile(log.interactions.time, 0.7))


def told_since(log: Dataset, cut: int, row: int) -> list[Event]:
    """What somebody did after a moment."""
    time = log.interactions.time
    assert time is not None
    own = np.flatnonzero((log.interactions.user == row) & (time > cut))
    return [Event(log.item_ids[int(log.interactions.item[at])], int(time[at])) for at in own]


def same_row(name: str, settings: dict[str, Any], people: int, duplicates: str) -> dict[str, Any]:
    """How far the vectors of two ways to the same history are apart."""
    log, cut = cut_log(people)
    rule, time = PrepareSettings(duplicates=duplicates), log.interactions.time
    assert time is not None
    now = int(time.max()) + 60
    train, _ = prepare_data(log.having(log.interactions.where(time <= cut)), rule, compact=False)
    whole, _ = prepare_data(log, rule, compact=False)
    learned: Any = make_model(name, settings).fit(train, seed=1)
    with TemporaryDirectory() as folder:
        bundle = load(publish(Path(folder), content_of(name, learned, train, prepare=rule)))
        everybody = Users.of_rows(np.arange(people), whole.had.histories(), np.full(people, now))
        expected = bundle.encoder.encode(replace(everybody, fresh=np.ones(people, bool))).vectors
        vectors = np.array([_vector(bundle, log, cut, row, now) for row in range(people)])
    apart = float(np.abs(vectors - expected).max() / max(np.abs(expected).max(), 1e-12))
    return {"part": "same", "what": f"{name}, duplicates {duplicates}", "people": people, "apart": apart}


def _vector(bundle: Bundle, log: Dataset, cut: int, row: int, now: int) -> Any:
    question = Question(log.user_ids[row], since=told_since(log, cut, row), now=now)
    person, _ = person_of(bundle, question, usable_items(bundle, question.events, []))
    return bundle.encoder.encode(replace(person, fresh=np.ones(1, bool))).vectors[0]


def better_row(name: str, settings: dict[str, Any], world_seed: int, users: int) -> dict[str, Any]:
    """What it is worth to know what people did today."""
    log = make_world(
        WorldSettings(users=users, items=600, days=60, active_days=10.0, drift=1.0, seed=world_seed)
    ).dataset
    time = log.interactions.time
    assert time is not None
    cut = int(time.max()) - DAYS * DAY_S
    train, _ = prepare_data(log.having(log.interactions.where(time <= cut)), PrepareSettings(), compact=False)
    learned: Any = make_model(name, settings).fit(train, seed=1)
    gains, scores = [], {"with": list[float](), "without": list[float]()}
    with TemporaryDirectory() as folder:
        bundle = load(publish(Path(folder), content_of(name, learned, train, prepare=PrepareSettings())))
        for row in np.unique(log.interactions.user[time > cut]).tolist():
            today = told_since(log, cut, row)
            if len(today) < 2:
                continue
            first, then = today[: len(today) // 2], {one.item_id for one in today[len(today) // 2 :]}
            had = [one.item_id for one in first]
            asked = Question(log.user_ids[row], k=K, now=first[-1].timestamp, deny=had)
            for way, question in (("with", replace(asked, since=first)), ("without", asked)):
                scores[way].append(_ndcg([one.item_id for one in respond(bundle, question).items], then))
            gains.append(scores["with"][-1] - scores["without"][-1])
    gain = bootstrap(np.array(gains))
    return {
        "part": "better",
        "what": f"{name}, world {world_seed}",
        "people": len(gains),
        **{f"ndcg@10 {way}": float(np.mean(values)) for way, values in scores.items()},
        "gain": gain.mean,
        "low": gain.low,
        "high": gain.high,
    }


def _ndcg(items: Sequence[str], wanted: set[str]) -> float:
    gained = sum(1 / np.log2(rank + 2) for rank, item in enumerate(items) if item in wanted)
    return float(gained / sum(1 / np.log2(rank + 2) for rank in range(min(K, len(wanted)))))


@click.command()
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Parts to run; default both.")
@click.option("--people", default=1_000, show_default=True)
@click.option(
    "--model", "models", multiple=True, type=click.Choice(sorted(SMALL)), help="Learners; default all."
)
@click.option("--world", "worlds", multiple=True, type=int, default=(1, 2, 3), show_default=True)
@click.option("--quick", is_flag=True, help="Two learners, 50 people, one small world; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(
    only: Sequence[str], people: int, models: Sequence[str], worlds: Sequence[int], quick: bool, as_json: bool
) -> None:
    """Compare histories told since the training with the same learned from, and their worth."""
    chosen, parts = list(models or SMALL), only or PARTS
    if quick:
        people, worlds, chosen = 50, (1,), ["als", "sequence"]
    rows = {(row["part"], row["what"]): row for row in read_rows("fresh_history")}
    new = list[dict[str, Any]]()
    if "same" in parts:
        new += [same_row(name, SMALL[name], people, rule) for name in chosen for rule in ("all", "sum")]
    if "better" in parts:
        better = {"als": {"dim": 16}, "cooccurrence_svd": {"dim": 16}, "sequence": {"dim": 16, "epochs": 12}}
        users = 400 if quick else 8_000
        new += [
            better_row(name, better[name], world, users)
            for name in better
            for world in worlds
            if name in chosen
        ]
    rows |= {(row["part"], row["what"]): row for row in new}
    report(
        "fresh_history",
        list(rows.values()),
        title="What people did since the training",
        note="`apart`: the largest difference of a coordinate, in shares of the largest. Not exportable, "
        f"and so not here: {', '.join(sorted(set(MODELS) - set(SMALL)))}.",
        quick=quick,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
