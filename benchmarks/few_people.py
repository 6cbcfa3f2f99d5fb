"""By which rule should a model be chosen where few people judge: the best one, a safe one, or several?

    RECSYS_DATA=... python -m benchmarks.few_people [--data NAME] ... [--json]

Two parts of each set that follow each other, none of them the test part: the validation part, and the one
before it, to choose on. 26 settings of seven families learn for both, and so do mixtures of the best setting
of each family, of two and three parts. Rules choose by the values of so many people, drawn anew 200 times;
all people of the later part say what was chosen is worth. Its regret is what is missing to the best of all
there. What was measured is kept by data.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import click
import numpy as np

from benchmarks.best import SETS, question_settings
from benchmarks.results import read_rows, report
from recsys.arrays import F64, I64, Bool
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.models.base import fit_with
from recsys.models.mixture import score_spread
from recsys.pipelines.best.choice import parts_of
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import judge, recommender_for
from recsys.pipelines.run.question import ask, read
from recsys.pipelines.run.run import Run
from recsys.progress import silent
from recsys.retrieval.embeddings import Embeddings, concat
from recsys.seeding import generator

DATA = ("ml-100k", "s3rec-lastfm", "world, few events", "world, many events", "world, drift")
PEOPLE, DRAWS, MEAN = (50, 100, 250, 1_000), 200, "mean of all"
FAMILIES: dict[str, list[dict[str, Any]]] = {
    "als": [
        {"dim": 64, "unobserved_weight": weight, "half_life": half_life}
        for weight in (0.03, 0.1, 0.5, 2.0)
        for half_life in (None, 10.0)
    ],
    "spectral": [
        {"dim": 128, "exponent": exponent, "filter": amount, "half_life": half_life}
        for exponent, amount in ((0.5, 0.0), (0.3, 0.5))
        for half_life in (None, 10.0)
    ],
    "cooccurrence_svd": [
        {"dim": 128, "from_exponent": 0.5, "to_exponent": 0.3, "half_life": half_life, "back": back}
        for half_life in (2.5, 6.0)
        for back in (0.1, 0.5)
    ],
    "variational": [{"dim": 65}, {"dim": 65, "regularization": 16.0, "half_life": 10.0}],
    "softmax": [
        {"dim": 64, "temperature": temperature, "half_life": half_life}
        for temperature in (0.1, 0.2)
        for half_life in (None, 10.0)
    ],
    "item2vec": [{"dim": 64, "half_life": 3.0}, {"dim": 64, "half_life": 10.0}],
    "glove": [{"dim": 64, "half_life": 3.0}, {"dim": 64, "half_life": 10.0}],
}  # in the order of the time that they take


class Candidate(NamedTuple):
    """What may be chosen: its parts, by family and setting, and their weights."""

    parts: tuple[tuple[str, int], ...]
    weights: tuple[float, ...]


def singles() -> list[Candidate]:
    return [
        Candidate(((family, number),), (1.0,))
        for family, settings in FAMILIES.items()
        for number in range(len(settings))
    ]


def mixtures(best: Sequence[tuple[str, int]]) -> list[Candidate]:
    """Of two and three of these, the first of them with the largest weight."""
    mixed = [
        Candidate(pair, weights)
        for pair in itertools.permutations(best, 2)
        for weights in ((1.0, 0.3), (1.0, 1.0))
        if weights != (1.0, 1.0) or pair[0] < pair[1]
    ]
    for parts in itertools.permutations(best, 3):
        if parts[1] < parts[2]:
            mixed.append(Candidate(parts, (1.0, 0.3, 0.3)))
        if parts[0] < parts[1]:
            mixed.append(Candidate(parts, (1.0, 1.0, 0.3)))
        if parts[0] < parts[1] < parts[2]:
            mixed.append(Candidate(parts, (1.0, 1.0, 1.0)))
    return mixed


class Judged:
    """Learns and judges on one part. values: (n, candidates) of those who were asked about."""

    def __init__(self, run: Run, metric: str) -> None:
        self.run, self.metric, self.facts = run, metric, facts_of(run.holdout.train)
        self.learned: dict[tuple[str, int], tuple[Embeddings, float]] = {}

    def values(self, candidates: Sequence[Candidate]) -> F64:
        return np.stack([self._values(self._embeddings(one)) for one in candidates], axis=1)

    def _values(self, embeddings: Embeddings) -> F64:
        recommender = recommender_for(self.run, embeddings)
        return next(iter(judge(self.run, recommender, self.facts, silent, [self.metric]).values.values()))

    def _embeddings(self, one: Candidate) -> Embeddings:
        parts = [self._learn(*part) for part in one.parts]
        if len(parts) == 1:
            return parts[0][0]
        weights = [weight / spread for weight, (_, spread) in zip(one.weights, parts, strict=True)]
        return concat([learned for learned, _ in parts], weights)

    def _learn(self, family: str, number: int) -> tuple[Embeddings, float]:
        if (family, number) not in self.learned:
            model = {"name": family, **FAMILIES[family][number]}
            run = replace(self.run, settings=self.run.settings.model_copy(update={"model": model}))
            train = self.run.holdout.train
            learned = fit_with(run.learner(), train, seed=1)
            assert isinstance(learned, Embeddings)
            self.learned[family, number] = learned, score_spread(learned, train, seed=1)
        return self.learned[family, number]


def parts_in_a_row(name: str) -> tuple[Run, Run]:
    """The part to choose on, and the one that follows, which is the validation part."""
    settings, steps = question_settings(name, 1), Steps(quiet=True)
    world, data = read(settings, steps)
    later = ask(parts_of(settings, data)[0], steps, world, data)
    kind = "leave_last_out" if name.startswith("s3rec") else settings.split.kind
    split = settings.split.model_copy(update={"kind": kind, "learn_validation": True})
    before = settings.model_copy(update={"judge": "test", "split": split})
    return ask(before, steps, world, later.holdout.train), later


Rule = Callable[[F64, list[Candidate]], int]  # by values (people, candidates): the place of one


def best_model(values: F64, candidates: list[Candidate]) -> int:
    alone = [at for at, one in enumerate(candidates) if len(one.parts) == 1]
    return alone[int(values[:, alone].mean(axis=0).argmax())]


def quickest_in_reach(values: F64, candidates: list[Candidate]) -> int:
    """The first model that is no more than two paired standard errors below the best."""
    top = best_model(values, candidates)
    behind = values[:, [top]] - values
    near: Bool = behind.mean(axis=0) <= 2 * behind.std(axis=0, ddof=1) / np.sqrt(len(values))
    return next(at for at, one in enumerate(candidates) if len(one.parts) == 1 and near[at])


def proven_mixture(values: F64, candidates: list[Candidate]) -> int:
    """Parts by the values of half of the people, each if the others bear it out by a standard error."""
    half = len(values) // 2
    first, second = values[:half], values[half:]

    def bears_out(now: int, then: int) -> bool:
        gain = second[:, then] - second[:, now]
        return bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))

    return _grow(first, candidates, best_model(values, candidates), bears_out)


def worthwhile_mixture(values: F64, candidates: list[Candidate]) -> int:
    """Parts by the values of all, each if it brings a five-hundredth: what `recsys best` does."""
    means = values.mean(axis=0)
    best = best_model(values, candidates)
    return _grow(values, candidates, best, lambda now, then: bool(means[then] > 1.002 * means[now]))


def _grow(values: F64, candidates: list[Candidate], now: int, takes: Callable[[int, int], bool]) -> int:
    means = values.mean(axis=0)
    while True:
        had = set(candidates[now].parts)
        grown = [
            at for at, one in enumerate(candidates) if len(one.parts) == len(had) + 1 and had < set(one.parts)
        ]
        if not grown:
            return now
        then = max(grown, key=lambda at: means[at])
        if means[then] <= means[now] or not takes(now, then):
            return now
        now = then


def equal_parts(values: F64, candidates: list[Candidate]) -> int:
    """The best three families in equal parts, whatever they bring."""
    means, top = values.mean(axis=0), list[tuple[str, int]]()
    mixed = {part for one in candidates if len(one.parts) > 1 for part in one.parts}
    for at in np.argsort(-means):
        if len(candidates[at].parts) == 1 and candidates[at].parts[0] in mixed:
            top.append(candidates[at].parts[0])
    wanted = set(top[:3])
    return next(
        at for at, one in enumerate(candidates) if set(one.parts) == wanted and set(one.weights) == {1.0}
    )


RULES: dict[str, Rule] = {
    "the best model": best_model,
    "the quickest within two errors of it": quickest_in_reach,
    "parts that others bear out": proven_mixture,
    "parts that bring a five-hundredth": worthwhile_mixture,
    "three in equal parts": equal_parts,
}


def measure(name: str) -> list[dict[str, Any]]:
    """The mean regret of each rule on a set, by the number of people."""
    before, later = (Judged(run, SETS[name].metric) for run in parts_in_a_row(name))
    known = singles()
    chosen_on = before.values(known)
    order = np.argsort(-np.nanmean(chosen_on, axis=0))
    best: dict[str, tuple[str, int]] = {}
    for at in order:
        best.setdefault(known[at].parts[0][0], known[at].parts[0])
    grown = mixtures(list(best.values())[:6])
    candidates = [*known, *grown]
    chosen_on = np.hstack([chosen_on, before.values(grown)])
    chosen_on = chosen_on[~np.isnan(chosen_on).any(axis=1)]
    worth = np.nanmean(later.values(candidates), axis=0)
    regrets: dict[str, dict[str, float]] = {rule: {} for rule in RULES}
    for people in PEOPLE:
        rng = generator(1, f"few people, {people}")
        drawn: list[I64] = [
            rng.choice(len(chosen_on), people, replace=len(chosen_on) < people) for _ in range(DRAWS)
        ]
        for rule, choose in RULES.items():
            taken = [choose(chosen_on[rows], candidates) for rows in drawn]
            regrets[rule][f"{people}"] = float(1 - worth[taken].mean() / worth.max())
    return [{"data": name, "rule": rule} | by_people for rule, by_people in regrets.items()]


def over_sets(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each rule: its mean regret over the sets, by the number of people."""
    return [
        {"data": MEAN, "rule": rule}
        | {
            f"{people}": float(np.mean([row[f"{people}"] for row in rows if row["rule"] == rule]))
            for people in PEOPLE
        }
        for rule in RULES
    ]


@click.command()
@click.option("--data", "names", multiple=True, type=click.Choice(DATA), help="Only these; repeatable.")
@click.option("--json", "as_json", is_flag=True)
def main(names: Sequence[str], as_json: bool) -> None:
    """Writes benchmarks/results/few_people.md."""
    rows = [row for row in read_rows("few_people") if row["data"] != MEAN]
    unknown = [name for name in names or DATA if not any(row["data"] == name for row in rows)]
    for name in unknown:
        rows += measure(name)
        _report(rows, as_json)
    if not unknown:
        _report(rows, as_json)


def _report(rows: list[dict[str, Any]], as_json: bool) -> None:
    report(
        "few_people",
        [*over_sets(rows), *rows],
        title="What to choose where few people judge",
        columns={"data": "data", "rule": "what is taken"}
        | {f"{people}": f"{people:,} people" for people in PEOPLE},
        note="Mean regret, on the part that follows, of what so many people would have chosen.",
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
