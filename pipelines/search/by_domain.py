"""Settings of a model of all domains and of one for each, tried on validation alike, and what stands beside
what."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recsys.arrays import F64
from recsys.data.dataset import Dataset
from recsys.encoders.guarded import Weights
from recsys.errors import ModelError
from recsys.evaluation.significance import Comparison, compare_pairs
from recsys.evaluation.transfer import CONTROL, DomainQuestion, by_domain
from recsys.models.base import fit_with
from recsys.models.mixture import score_spread
from recsys.models.popularity import Popularity
from recsys.models.registry import make_model
from recsys.models.search import Choices, Span
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.run import Run
from recsys.pipelines.search.space import Searched, search_space
from recsys.progress import Progress, silent
from recsys.retrieval.embeddings import Embeddings, concat, embeddings_of
from recsys.retrieval.recommender import Recommender
from recsys.seeding import generator

WEIGHTS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)  # of cross beside control


class Guard(NamedTuple):
    """What validation says of a domain.

    known: the weight of cross beside control for people with events there, 0 = no gain was shown. new:
    whether cross answers people without: it does where its mean is not below that of what is popular there,
    for these are few and either answer is a guess; asked for a proof, one of the two would win by default.
    gain: of the best weight over control; gain_new: of cross over what is popular in the domain; None =
    nobody was there to ask.
    """

    known: float
    new: bool
    gain: Comparison | None
    gain_new: Comparison | None


class Chosen(NamedTuple):
    """What validation chose: the model of all domains, that of each alone, each its `name` and settings, and
    guards."""

    cross: dict[str, Any]
    controls: dict[str, dict[str, Any]]
    guards: dict[str, Guard]

    @classmethod
    def of(cls, run: Run, trials: int) -> "Chosen":
        """Tries as many settings for all domains as for each one alone, on the validation part.

        Where a domain alone has too little to learn from, what is popular in it is its control.
        """
        questions, metric, model = by_domain(run.holdout), metric_of(run), run.settings.model_name
        own = {key: value for key, value in run.settings.model.items() if key != "name"}
        tried = [
            {"name": model} | settings
            for settings in candidates(search_space(model, own), trials, run.settings.seed)
        ]

        def best(
            label: str, data: Dataset, judged: Sequence[DomainQuestion]
        ) -> tuple[dict[str, Any], Embeddings]:
            scores, learned = [], []
            for number, settings in enumerate(tried):
                with run.steps.step(f"{label}, settings {number + 1} of {len(tried)}") as progress:
                    learned.append(learn(settings, data, run.settings.seed, progress))
                engine = recommender_for(run, learned[-1])
                scores.append(
                    np.mean([question.values(engine, metric).mean() for question in judged] or [0.0])
                )
            at = int(np.argmax(scores))
            return tried[at], learned[at]

        train = run.holdout.train
        cross, of_all = best("all domains", train, list(questions.values()))
        controls, guards = dict[str, dict[str, Any]](), dict[str, Guard]()
        for name in train.domains[0]:
            data, question = train.in_domain(name), questions.get(name)
            try:
                controls[name], alone = best(f"{name} alone", data, [] if question is None else [question])
            except ModelError:
                controls[name] = {"name": "popularity"}
                alone = learn(controls[name], data, run.settings.seed)
            nobody = Guard(0.0, True, None, None)
            guards[name] = nobody if question is None else _guard(run, question, of_all, alone, data)
        return cls(cross, controls, guards)

    @property
    def rules(self) -> dict[str, Weights]:
        """The weights of the model of all domains and of each domain's own, by the domain that is asked
        for."""
        rules = {}
        for at, (name, guard) in enumerate(self.guards.items()):
            own = [float(at == place) for place in range(len(self.controls))]
            rules[name] = Weights((guard.known, *own), (float(guard.new), *[0.0] * len(own)))
        return rules


def learn(model: Mapping[str, Any], data: Dataset, seed: int, progress: Progress = silent) -> Embeddings:
    """The embeddings that a model learns from data. model: its `name` and settings."""
    own = {key: value for key, value in model.items() if key != "name"}
    return embeddings_of(
        model["name"], fit_with(make_model(model["name"], own), data, seed=seed, progress=progress)
    )


def candidates(searched: Searched, count: int, seed: int) -> list[dict[str, Any]]:
    """Settings to try: those as given, then random draws from the space of the model."""
    rng, drawn = generator(seed, "transfer trials"), [searched.settings({})]
    for _ in range(count - 1):
        values = {}
        for path, one in searched.space.items():
            if isinstance(one, Choices):
                values[path] = one.values[int(rng.integers(len(one.values)))]
            else:
                values[path] = _draw(one, rng)
        drawn.append(searched.settings(values))
    return drawn


def _draw(span: Span, rng: np.random.Generator) -> float | int:
    low, high = (np.log(edge) if span.log else edge for edge in (span.low, span.high))
    value = rng.uniform(low, high)
    value = float(np.exp(value) if span.log else value)
    return round(value) if isinstance(span.low, int) and isinstance(span.high, int) else value


def _guard(run: Run, question: DomainQuestion, of_all: Embeddings, own: Embeddings, data: Dataset) -> Guard:
    """Compares mixtures of both with control among people with events in the domain, and cross with what is
    popular among those without."""
    metric, seed = metric_of(run), run.settings.seed
    sizes = score_spread(of_all, run.holdout.train, seed=seed), score_spread(own, data, seed=seed)

    def values(cross: float, control: float) -> F64:
        both = concat([of_all, own], [cross / sizes[0], control / sizes[1]])
        return question.values(recommender_for(run, both), metric)

    known, control = question.events > 0, values(0.0, 1.0)
    weight, gain, new, gain_new = 0.0, None, True, None
    if known.sum() > 1:
        tried = {str(one): values(one, 1.0)[known] for one in WEIGHTS}
        pairs = [(one, CONTROL) for one in tried]
        comparisons = compare_pairs(
            tried | {CONTROL: control[known]}, pairs, warm=dict.fromkeys(pairs, int(known.sum()))
        )
        best = max(tried, key=lambda one: float(tried[one].mean()))
        gain = comparisons[best, CONTROL]  # its p-value is corrected over all weights
        weight = float(best) if gain.verdict == "better" else 0.0
    if (~known).sum() > 1:
        cross = values(1.0, 0.0)[~known]
        popular = question.values(_popular(run, question.name), metric)[~known]
        new, gain_new = choose_new(cross, popular)
    return Guard(weight, new, gain, gain_new)


def choose_new(cross: F64, popular: F64) -> tuple[bool, Comparison]:
    """Whether cross answers people without events in a domain, by the values of both (n,), and the test."""
    comparison = compare_values(cross, popular)
    return comparison.difference.mean >= 0, comparison


def _popular(run: Run, domain: str) -> Recommender:
    """A recommender of the items that are most popular in the domain."""
    return recommender_for(run, Popularity().fit(run.holdout.train.in_domain(domain), seed=run.settings.seed))


def compare_values(first: F64, second: F64) -> Comparison:
    """The paired test of the first against the second, values per person (n,) each."""
    pair = ("first", "second")
    return compare_pairs({"first": first, "second": second}, [pair], warm={pair: len(first)})[pair]


def metric_of(run: Run) -> str:
    """The metric that domains are compared by."""
    named = [name for name in run.settings.metrics if isinstance(name, str)]
    return "ndcg_at_10" if "ndcg_at_10" in named or not named else named[0]
