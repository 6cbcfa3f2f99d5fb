"""Spaces side by side: which of those that were learned are worth their width together, by weights on
validation."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from recsys.data.dataset import Dataset
from recsys.models.mixture import score_spread
from recsys.models.registry import model_class
from recsys.pipelines.best.ledger import Tried
from recsys.pipelines.best.trials import Trials
from recsys.pipelines.search.trial import Judge
from recsys.retrieval.embeddings import Embeddings, concat
from recsys.seeding import generator

MIXED, NARROWED, ELSEWHERE = "mixture", "narrowed", "second part"
# weights beside 1 of the first part, and factors around the best of them
_COARSE, _FINE = (0.1, 0.3, 1.0), (0.6, 1.7)
PARTS, SPACES = 3, 6  # of a mixture at most; spaces to choose from
_ASKED, _SCORES = 4_000, 1 << 26  # people by whom parts and weights are chosen, at most
# what a part has to bring to be worth its width: of the figure, or of what it lacks to 1 where that is less
_WORTH = 0.002


class _Part(NamedTuple):
    one: Tried
    learned: Embeddings
    spread: float


def mix_spaces(trials: Trials, until: float, max_dim: int | None = None) -> Tried | None:
    """The best mixture of the spaces that were learned, begun with the best of them, grown a part at a time;
    as wide as `max_dim` together, at most.

    A part is taken, by the weight that is best, where it brings a five-hundredth of the figure, or of what
    the figure lacks to 1. Whether other people bear that out is not asked: to halve those by whom it is found
    costs more than chance does (`docs/experiments.md`). None where no part is, or no time is left for any.
    Source: Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004.
    """
    chosen = _choose_parts(trials, max_dim, until)
    if len(chosen) < 2:
        return None
    model = {
        "name": "mixture",
        "parts": [dict(part.one.model) for part, _ in chosen],
        "weights": [float(f"{weight:.3g}") for _, weight in chosen],
    }
    label = " + ".join(f"{part.one.label} ({weight:.2g})" for part, weight in chosen)
    return trials.judge_mixture(label, model, _together(chosen), MIXED)


def mix_narrow(trials: Trials, until: float) -> Tried | None:
    """The best mixture of any width, distilled into the best narrow model that was tried: it starts from the
    mixture and learns on.

    None where nothing learned can start so, where there is no such mixture, or where the time does not reach.
    """
    starts = [one for one in trials.spaces() if getattr(model_class(one.family), "starts_narrow", False)]
    wide = mix_spaces(trials, until)
    if not starts or wide is None:
        return None
    narrow = starts[0]
    known = {one.label: one for one in trials.spaces()}
    parts = [one for one in known.values() if dict(one.model) in [dict(part) for part in wide.model["parts"]]]
    expected = sum(one.seconds for one in parts) + narrow.seconds
    if trials.ledger.spent + expected > until:
        return None
    model = {"name": "narrowed", "wide": dict(wide.model), "narrow": dict(narrow.model)}
    return trials.try_model(f"{narrow.label}, from {wide.label}", model, NARROWED)


def learned_again(trials: Trials, one: Tried, elsewhere: Trials) -> Tried:
    """A model on another part. The spaces of a mixture are learned there, unless they were, and judged side
    by side by the same weights."""
    if one.family != MIXED:
        return elsewhere.try_model(one.label, one.model, ELSEWHERE)
    parts = [elsewhere.try_model(_label(trials, model), model, ELSEWHERE) for model in one.model["parts"]]
    whole = _with_weights(elsewhere, parts, one.model["weights"])
    return elsewhere.judge_mixture(one.label, one.model, _together(whole), ELSEWHERE)


def learned_before(trials: Trials, one: Tried, train: Dataset) -> Embeddings | None:
    """What the search learned for a model, if that was from the same data; None where it was not, or is not
    kept."""
    if train.digest != trials.run.holdout.train.digest:
        return None
    if one.family != MIXED:
        return trials.ledger.load_learned(one)
    parts = [trials.find_earlier(model) for model in one.model["parts"]]
    whole = _with_weights(trials, parts, one.model["weights"])
    return _together(whole) if len(whole) == len(parts) else None


def parts_to_learn(trials: Trials, one: Tried) -> list[Tried]:
    """What is learned for a model: itself, or the spaces of a mixture, which then has to be judged as
    well."""
    if one.family != MIXED:
        return [one]
    known = (trials.find_earlier(part) for part in one.model["parts"])
    return [one, *(part for part in known if part is not None)]


def _label(trials: Trials, model: Mapping[str, Any]) -> str:
    known = trials.find_earlier(model)
    return str(model["name"]) if known is None else known.label


def _choose_parts(trials: Trials, max_dim: int | None, until: float) -> list[tuple[_Part, float]]:
    """The parts of the mixture with their weights; fewer than two where none is worth it."""
    spaces = _spaces(trials)
    chosen: list[tuple[_Part, float]] = []
    if len(spaces) < 2:
        return chosen
    judge = _judge_of_some(trials)
    chosen = [(spaces.pop(0), 1.0)]
    best = float(np.nanmean(judge.values(_together(chosen))))
    while spaces and len(chosen) < PARTS:
        weighed = []
        for part in spaces:
            width = sum(one.learned.items.shape[1] for one, _ in chosen) + part.learned.items.shape[1]
            if max_dim is not None and width > max_dim:
                continue
            if trials.ledger.spent > until:
                break
            weighed.append(_weigh(judge, chosen, part))
        if not weighed:
            break
        figure, weight, part = max(weighed, key=lambda one: one[0])
        if not figure > best + _least_gain(best):  # nor where nobody could be asked
            break
        best, chosen = figure, [*chosen, (part, weight)]
        spaces = [one for one in spaces if one is not part]
    return chosen


def _least_gain(figure: float) -> float:
    """What a part has to bring beside spaces of this figure: near 1, all that can be gained is little."""
    return _WORTH * (min(figure, 1 - figure) if figure < 1 else figure)


def _weigh(judge: Judge, chosen: Sequence[tuple[_Part, float]], part: _Part) -> tuple[float, float, _Part]:
    """The best figure that a part gives beside the chosen ones, and by which weight."""

    def figure(weight: float) -> float:
        return float(np.nanmean(judge.values(_together([*chosen, (part, weight)]))))

    coarse = {weight: figure(weight) for weight in _COARSE}
    top = max(coarse, key=coarse.__getitem__)
    fine = coarse | {top * factor: figure(top * factor) for factor in _FINE}
    weight = max(fine, key=fine.__getitem__)
    return fine[weight], weight, part


def spaces_to_mix(trials: Trials) -> list[Tried]:
    """The best of each family, and the next best after them, a few at most; the best of all first."""
    learned = trials.spaces()
    firsts = list({one.family: one for one in reversed(learned)}.values())
    rest = [one for one in learned if one not in firsts]
    return [*sorted(firsts, key=lambda one: -one.mean), *rest][:SPACES]


def _spaces(trials: Trials) -> list[_Part]:
    """Of the spaces to mix, those that are kept."""
    return [part for one in spaces_to_mix(trials) if (part := _part(trials, one)) is not None]


def _with_weights(
    trials: Trials, parts: Sequence[Tried | None], weights: Sequence[float]
) -> list[tuple[_Part, float]]:
    """Those of these spaces that are kept, with their weights."""
    spaces = [_part(trials, one) for one in parts]
    return [(part, weight) for part, weight in zip(spaces, weights, strict=True) if part is not None]


def _part(trials: Trials, one: Tried | None) -> _Part | None:
    """A space that was learned, as a part; None where it is not kept."""
    if one is None or (learned := trials.ledger.load_learned(one)) is None:
        return None
    spread = score_spread(learned, trials.run.holdout.train, seed=trials.run.settings.seed)
    return _Part(one, learned, spread)


def _together(chosen: Sequence[tuple[_Part, float]]) -> Embeddings:
    if len(chosen) == 1:
        return chosen[0][0].learned
    return concat([part.learned for part, _ in chosen], [weight / part.spread for part, weight in chosen])


def _judge_of_some(trials: Trials) -> Judge:
    """A judge of everybody, or of some drawn people where there are many."""
    run, people = trials.run, len(trials.run.holdout.user)
    most = max(1_000, min(_ASKED, _SCORES // max(run.data.n_items, 1)))
    if people <= most:
        return trials.judge
    rows = generator(run.settings.seed, "asked about a mixture").choice(people, most, replace=False)
    return Judge(replace(run, holdout=run.holdout.take(np.sort(rows))), trials.metric)
