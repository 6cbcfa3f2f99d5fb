"""Two domains by day: what people do next in Beauty and in Electronics, by how much they did there before.

    RECSYS_DATA=... python -m benchmarks.domain_days [--judge validation] [--quick] [--json]

The end of the log of ABXI's files is asked for (a split at one moment, as in production), in each domain by
lists of its items; what a person had is out. All models learn from the merged history of both domains. `als`
was tuned on the validation part by grid (dim, unobserved_weight, regularization, half_life), `sequence` has
the settings that `benchmarks.cross_domain` has, and `mixture`, which would be served, is both in one index,
by a weight for each domain, as `model.by_domain` has it: the one that is best there on validation, 0
included. The question is whether the mixture is above `als` among all people of each domain: p by Holm over
these two; over all other differences of the table by Holm as well.
"""

from typing import Any

import click
import numpy as np

from benchmarks.cross_domain import MODELS
from benchmarks.results import report
from benchmarks.visitors import GRID, mix, sizes
from recsys.arrays import F64
from recsys.evaluation.evaluate import users_of
from recsys.evaluation.significance import Comparison, bootstrap, compare_pairs, p_text
from recsys.evaluation.transfer import DomainQuestion, by_domain
from recsys.models.base import fit_with
from recsys.models.registry import make_model
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings
from recsys.pipelines.threads import set_threads

ALS, MIXTURE, COUNTED = "als", "mixture", "co-occurrence"
METRIC = "ndcg_at_10"
WEIGHTS = (*GRID, 5.0, 10.0, 30.0)
TUNED = {"name": "als", "dim": 128, "unobserved_weight": 0.05, "regularization": 0.01}
SEGMENTS = {"all": (0, np.inf), "0": (0, 0), "1": (1, 1), "2 to 3": (2, 3), "4 and more": (4, np.inf)}


def question(judge: str, quick: bool) -> Run:
    """The run that asks for the end of the log."""
    data = ["world", "world.users=300", "world.items=100", "world.shared_taste=1"] if quick else ["abxi-abe"]
    return prepare(load_settings(None, [*data[1:], f"judge={judge}"], data=data[0]), Steps(quiet=True))


def learn_models(run: Run, models: dict[str, dict[str, Any]], steps: Steps) -> dict[str, Any]:
    """What each model learns from the merged histories."""
    learned = {}
    for label, model in models.items():
        own = {name: one for name, one in model.items() if name != "name"}
        with steps.step(label) as progress:
            learned[label] = fit_with(
                make_model(model["name"], own), run.holdout.train, seed=1, progress=progress
            )
    return learned


def both(run: Run, models: dict[str, Any], weight: float) -> Any:
    """als, and so much of the sequence beside it."""
    parts = [models[ALS], models["sequence"]]
    return mix(parts, sizes(parts, users_of(run.holdout)), weight)


def values(run: Run, model: Any) -> dict[str, F64]:
    """The metric of each person, by the domain that is asked for."""
    engine = recommender_for(run, model)
    return {name: one.values(engine, METRIC) for name, one in by_domain(run.holdout).items()}


def chosen_weights(run: Run, models: dict[str, Any]) -> dict[str, float]:
    """Of each domain the weight of the sequence by which its validation part is answered best."""
    means = {
        w: {name: one.mean() for name, one in values(run, both(run, models, w)).items()} for w in WEIGHTS
    }
    return {
        name: max(means, key=lambda weight: float(means[weight][name])) for name in by_domain(run.holdout)
    }


def by_weights(run: Run, models: dict[str, Any], weights: dict[str, float]) -> dict[str, F64]:
    """The metric of each person, each domain answered by its own weight."""
    by_weight = {weight: values(run, both(run, models, weight)) for weight in set(weights.values())}
    return {name: by_weight[weight][name] for name, weight in weights.items()}


def segment(asked: DomainQuestion, name: str) -> Any:
    """(n,): who brings as many events in the domain as a segment says."""
    low, high = SEGMENTS[name]
    return (asked.events >= low) & (asked.events <= high)


def rows_of(judge: str, quick: bool, steps: Steps) -> list[dict[str, Any]]:
    """Each model in each domain, by what people did in it before, against als (Holm over all that are
    compared)."""
    models = {COUNTED: MODELS[COUNTED], ALS: TUNED, "sequence": MODELS["sequence"]}
    if quick:
        models["sequence"] = models["sequence"] | {"epochs": 1, "dim": 16}
    tuning = question("validation", quick)
    tried = learn_models(tuning, models, steps)
    weights = chosen_weights(tuning, tried)
    run = tuning if judge == "validation" else question(judge, quick)
    of = tried if run is tuning else learn_models(run, models, steps)
    by_model = {label: values(run, model) for label, model in of.items()}
    by_model[MIXTURE] = by_weights(run, of, weights)
    gains, facts = dict[tuple[str, str, str], F64](), {}
    for domain, asked in by_domain(run.holdout).items():
        for name in SEGMENTS:
            who = segment(asked, name)
            if who.sum() < 2:
                continue
            facts[domain, name] = int(who.sum())
            gains |= {(domain, name, label): one[domain][who] for label, one in by_model.items()}
    pairs = [(key, (*key[:2], ALS)) for key in gains if key[2] != ALS]
    first = [(key, other) for key, other in pairs if key[1:] == ("all", MIXTURE)]
    compared: dict[tuple[Any, Any], Comparison] = {}
    for family in (first, [pair for pair in pairs if pair not in first]):
        compared |= compare_pairs(gains, family, warm={pair: len(gains[pair[0]]) for pair in family})
    rows = []
    for (domain, name, label), each in gains.items():
        row = {"domain": domain, "events there before": name, "people": facts[domain, name], "model": label}
        row[METRIC] = bootstrap(each).text(".4f")
        if label != ALS:
            one = compared[(domain, name, label), (domain, name, ALS)]
            row |= {"against als": one.difference.text("+.4f"), "p": p_text(one.p_holm)}
        rows.append(row | {"weight": weights[domain] if label == MIXTURE else None})
    return rows


@click.command()
@click.option("--judge", default="test", show_default=True, type=click.Choice(["test", "validation"]))
@click.option("--quick", is_flag=True, help="On a small planted world; nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="Print only the last line, one JSON object.")
def main(judge: str, quick: bool, as_json: bool) -> None:
    """Compare models of two domains by day, and by how much is known of a person in the domain asked for."""
    set_threads(0)
    report(
        "domain_days",
        rows_of(judge, quick, Steps(quiet=as_json)),
        title="Two domains, by day",
        note=f"{METRIC} of lists of the domain's items on the {judge} part of ABXI's Beauty and "
        f"Electronics, split at one moment, what a person had is out; one seed. Intervals over people, "
        "differences paired, Holm over the mixture's two among all people, and over the rest. weight: of "
        "the sequence beside als in that domain, chosen on validation.",
        quick=quick or judge == "validation",
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
