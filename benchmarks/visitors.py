"""Does a sequence beside a factorization answer better: people with their whole history, and visitors by
their clicks?

    RECSYS_DATA=... python -m benchmarks.visitors [--data poi-gowalla] [--judge validation] [--quick] [--json]

The end of a log is asked for (a split at one moment), what a person had is out. `als` is as the config of the
data set has it, `sequence` learns beside it, and `mixture` is both in one index, by the weight that is best
on the validation part, 0 included. A visitor is a person of whom the last 1, 2, 4 or 8 events are known, and
nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click
import numpy as np

from benchmarks.results import read_rows, report
from recsys.arrays import F64
from recsys.data.split.holdout import Holdout
from recsys.encoders.towers.inputs import places_from_end
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate, users_of
from recsys.evaluation.significance import bootstrap, compare_pairs, p_text
from recsys.models.base import fit_with
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.threads import set_threads
from recsys.retrieval.embeddings import Embeddings, concat
from recsys.retrieval.recommender import recommender_of

METRIC, SEED = "ndcg_at_10", 1
CLICKS = (1, 2, 4, 8)
GRID = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5)
ALS, SEQUENCE, MIXTURE = "als", "sequence", "mixture"
# Chosen by ndcg_at_10 on the validation part; poi-gowalla: ahead 1, 10, repeats true and false, epochs 10 and
# 20, dropout .3 and .4, dim 64 and 128, half_life 5 and 50.
SEQUENCES: dict[str, dict[str, Any]] = {
    "poi-gowalla": {
        "epochs": 10,
        "batch_size": 2048,
        "dropout": 0.3,
        "initial": "spectral",
        "half_life": 5.0,
        "negatives": 2048,
        "ahead": 10,
        "repeats": False,
    },
    "ml-100k": {"epochs": 20, "batch_size": 512, "dropout": 0.3, "initial": "spectral", "half_life": 5.0},
}


def prepare_question(data: str, judge: str) -> tuple[Holdout, dict[str, Any]]:
    """The question, and the settings of the config's model."""
    settings = load_settings(data, [f"judge={judge}"])
    model = {key: value for key, value in dict(settings.model).items() if key != "name"}
    return prepare(settings, Steps(quiet=True)).holdout, model


def learn_models(
    data: str, holdout: Holdout, als: Mapping[str, Any], quick: bool, steps: Steps
) -> dict[str, Embeddings]:
    """The two models."""
    models: dict[str, Any] = {}
    for name, settings in ((ALS, dict(als)), (SEQUENCE, SEQUENCES[data])):
        few = {"epochs": 1} if quick and name == SEQUENCE else {}
        with steps.step(f"{data}, {name}") as progress:
            models[name] = fit_with(
                make_model(name, settings | few), holdout.train, seed=SEED, progress=progress
            )
    return models


def sizes(parts: Sequence[Embeddings], users: Users) -> list[float]:
    """How far the scores of a person are apart, by which the parts of a mixture are brought to one size."""
    some = users.take(np.arange(min(len(users), 1_000)))
    return [
        float((part.encoder.encode(some).vectors @ part.items[part.trained].T).std(axis=1).mean())
        for part in parts
    ]


def mix(parts: Sequence[Embeddings], size: Sequence[float], weight: float) -> Embeddings:
    """The first part, and so much of the second."""
    return concat(parts, [1 / size[0], weight / size[1]])


def values(model: Embeddings, holdout: Holdout, users: Users) -> F64:
    """float64 (n,): the metric of each person."""
    engine = recommender_of(model, fallback_order(holdout.train.interactions, None), "exclude")
    return evaluate(engine, users, holdout.targets, metrics=(METRIC,)).values[METRIC]


def chosen_weight(parts: Sequence[Embeddings], holdout: Holdout) -> float:
    """The weight of the second part by which the validation part is answered best."""
    users = users_of(holdout)
    size = sizes(parts, users)
    means = {weight: float(values(mix(parts, size, weight), holdout, users).mean()) for weight in GRID}
    return max(means, key=means.__getitem__)


def visitors(holdout: Holdout, clicks: int) -> Users:
    """Nobody that the models know, each with the last events of a person."""
    users = users_of(holdout)
    last = users.history.keep(places_from_end(users.history.items) < clicks)
    return replace(users, index=np.full(len(users), -1), history=last)


def rows_of(data: str, judge: str, quick: bool, steps: Steps) -> list[dict[str, Any]]:
    """Each model with everybody's whole history, and with so many clicks of those who have as many."""
    validation, als = prepare_question(data, "validation")
    tried = list(learn_models(data, validation, als, quick, steps).values())
    weight = chosen_weight(tried, validation)
    holdout = validation if judge == "validation" else prepare_question(data, judge)[0]
    models = dict(zip((ALS, SEQUENCE), tried, strict=True)) if holdout is validation else {}
    models = models or learn_models(data, holdout, als, quick, steps)
    parts = list(models.values())
    everybody = users_of(holdout)
    models[MIXTURE] = mix(parts, sizes(parts, everybody), weight)
    history = everybody.history.lengths
    groups = {"whole history": (everybody, history > 0)}
    groups |= {f"{n} click{'s' * (n > 1)}": (visitors(holdout, n), history >= n) for n in CLICKS}
    rows, gains = [], {}
    for group, (users, who) in groups.items():
        some, question = users.take(np.flatnonzero(who)), holdout.take(np.flatnonzero(who))
        for name, model in models.items():
            gains[group, name] = values(model, question, some)
    pairs = [((group, name), (group, ALS)) for group in groups for name in (SEQUENCE, MIXTURE)]
    compared = compare_pairs(gains, pairs, warm={pair: len(gains[pair[0]]) for pair in pairs})
    for (group, name), each in gains.items():
        interval = bootstrap(each)
        row = {"data": data, "known": group, "model": name, "people": len(each), METRIC: interval.mean}
        row["95 %"] = f"{interval.low:.4f} to {interval.high:.4f}"
        if name != ALS:
            one = compared[(group, name), (group, ALS)]
            row |= {"against als": one.difference.text("+.4f"), "p": p_text(one.p_holm)}
        rows.append(row | {"weight": weight if name == MIXTURE else None})
    return rows


@click.command()
@click.option(
    "--data", multiple=True, type=click.Choice(list(SEQUENCES)), help="Only this data set. Repeatable."
)
@click.option("--judge", default="test", show_default=True, type=click.Choice(["test", "validation"]))
@click.option("--quick", is_flag=True, help="One epoch on the smaller set; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(data: tuple[str, ...], judge: str, quick: bool, as_json: bool) -> None:
    """Compare a factorization, a sequence model and both in one index, by how much is known of a person."""
    set_threads(0)
    chosen = ("ml-100k",) if quick else data or tuple(SEQUENCES)
    rows = [row for row in ([] if quick else read_rows("visitors")) if row["data"] not in chosen]
    for name in chosen:
        rows += rows_of(name, judge, quick, Steps(quiet=as_json))
    report(
        "visitors",
        rows,
        title="By how much is known of a person",
        note=f"{METRIC} on the {judge} part, split at one moment, what a person had is out; one seed. "
        "Intervals over people, differences paired, Holm over a data set. weight: of the sequence beside "
        "als, chosen on validation.",
        quick=quick or judge == "validation",
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
