"""Which validation part a search goes by, and which model it takes."""

from collections.abc import Iterable

import numpy as np

from recsys.data.dataset import TEST, VALIDATION, Dataset
from recsys.data.planted.world import World
from recsys.data.split.clumped import excess_variance
from recsys.evaluation.significance import paired_gap
from recsys.pipelines.best.ledger import Tried
from recsys.pipelines.best.mixing import MIXED, PARTS, learned_again, parts_to_learn
from recsys.pipelines.best.result import Choice
from recsys.pipelines.best.trials import Trials
from recsys.pipelines.run.question import ask
from recsys.pipelines.run.settings import RunSettings

CLUMPS, DRAWN = "clumps", "drawn"
_AS_DRAWN = 2.0  # variance of the numbers of a published test part, by that of a draw: gowalla has 7.5
_CLUMPED = 0.2  # of what each user had, where there are no times to cut by
_FINALISTS = 4
_TWICE = 0.1  # of the time: what the finalists may take on a second part
_REST = 0.04  # of the time: the tables of the test part, the bundle, the record
# how much longer the chosen model takes on the test part, which holds the validation part as well
_AGAIN = 1.3


def parts_of(settings: RunSettings, data: Dataset) -> tuple[RunSettings, RunSettings | None]:
    """The settings of the validation part to search on, and of another to look at it from, where it had to be
    drawn.

    By time where there are times, and as published where a part was. Else it is drawn as the test part is: at
    random, or in clumps, like a stretch of time, where the numbers of a published test part say so. No model
    is asked for that.
    """
    kind = settings.split.kind
    if kind == "auto" and data.interactions.time is None and data.published is None:
        kind = "random"
    split = settings.split.model_copy(update={"kind": kind})
    first = settings.model_copy(update={"judge": "validation", "split": split})
    published = (
        kind in ("auto", "published") and data.interactions.time is None and data.published is not None
    )
    if published and data.published is not None and (data.published.part == VALIDATION).any():
        return first, None
    if split.clumped or not (published or kind == "random"):
        return first, None
    clumped = first.model_copy(update={"split": split.model_copy(update={"clumped": _CLUMPED})})
    return (clumped, first) if published and not _is_drawn(data) else (first, clumped)


def _is_drawn(data: Dataset) -> bool:
    """Whether the published test part looks as if it had been drawn at random."""
    assert data.published is not None
    events, parts = data.interactions, data.published.part[data.learned]
    learned, judged = (
        np.bincount(events.item[one], minlength=events.n_items) for one in (parts != TEST, parts == TEST)
    )
    return excess_variance(learned, judged) < _AS_DRAWN


def choose_model(trials: Trials, other: Trials | None) -> Choice:
    """The model to train: the best that an index can serve, by the part that was searched; what the `other`
    part says is told beside it."""
    order = finalists_of(trials)
    relative: dict[str, dict[str, float]] = {one.label: {} for one in order}
    searched = "validation" if other is None else DRAWN if other.part == CLUMPS else CLUMPS
    for part, judged in ((searched, trials), *([(other.part, other)] if other else [])):
        known = [(one.label, judged.find_earlier(one.model)) for one in order]
        means = {label: one.mean for label, one in known if one is not None}
        top = max((mean for mean in means.values() if mean == mean), default=1.0) or 1.0
        for label, mean in means.items():
            relative[label][part] = mean / top
    winner, runner_up = order[0], order[1] if len(order) > 1 else None
    gap, error = 0.0, 0.0
    if runner_up is not None:
        gap, error = paired_gap(trials.ledger.values(winner), trials.ledger.values(runner_up))
    return Choice(winner, relative, runner_up, gap, error)


def finalists_of(trials: Trials) -> list[Tried]:
    """The best that an index can serve: of each family one, mixtures included, a few at most."""
    finalists: dict[str, Tried] = {}
    for one in trials.best():
        if one.vectors:
            finalists.setdefault(one.family, one)
    return list(finalists.values())[:_FINALISTS]


def check_elsewhere(
    trials: Trials, second: RunSettings | None, metric: str, world: World | None, data: Dataset
) -> Trials | None:
    """The finalists on a second part, the best first, as far as the time reaches; None where there is no
    second part, or no time for the best and one more."""
    if second is None:
        return None
    part = CLUMPS if second.split.clumped else DRAWN
    other = Trials(ask(second, trials.run.steps, world, data), metric, trials.ledger, part)
    known = 0
    for one in finalists_of(trials):
        new = [part for part in parts_to_learn(trials, one) if other.find_earlier(part.model) is None]
        if trials.ledger.left >= _seconds(new) + seconds_to_keep(trials, False):
            learned_again(trials, one, other)
            known += 1
        elif not known:
            return None
    return other if known > 1 else None


def seconds_to_keep(trials: Trials, twice: bool) -> float:
    """Seconds to keep for what comes last: the chosen model learned and judged once more, or, where the
    judged model learns from no more than was searched on, judged alone; and, where the finalists are judged
    `twice`, some of the time for that.

    Until spaces were put side by side, the chosen model is taken to be as dear as the best of three families
    together.
    """
    finalists = finalists_of(trials)
    if trials.run.settings.split.learn_validation:
        costs = [_seconds(parts_to_learn(trials, one)) for one in finalists]
        together = _seconds(finalists[:PARTS])
    else:
        costs = [one.judging_s for one in finalists]
        together = sum(one.judging_s for one in finalists[:PARTS])
    if not any(one.family == MIXED for one in finalists):
        costs.append(together)
    again = _AGAIN * max(costs, default=0.0) + _REST * trials.ledger.seconds
    return again + (min(_seconds(finalists), _TWICE * trials.ledger.seconds) if twice else 0.0)


def _seconds(models: Iterable[Tried]) -> float:
    return sum(one.seconds for one in models)
