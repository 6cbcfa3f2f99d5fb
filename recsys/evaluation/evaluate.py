"""Full-ranking evaluation through the very `Recommender` that serves: one pass over the users, every metric
in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from recsys.arrays import F64, I8, I32, Array, Bool, Ragged
from recsys.data.split.holdout import Holdout
from recsys.encoders.encoder import SOURCES
from recsys.encoders.users import Users
from recsys.errors import DataError, SettingError
from recsys.evaluation.metrics.by_name import Named, PerSystem, PerUser, refuse_worthless, resolve_all
from recsys.evaluation.metrics.hits import hits_of
from recsys.evaluation.metrics.item_facts import ItemFacts, facts_of
from recsys.evaluation.metrics.lists import Lists
from recsys.evaluation.segments import NO_SEGMENTS, Segments
from recsys.evaluation.significance import Interval, bootstrap
from recsys.progress import Progress, Step, silent
from recsys.retrieval.ranker import Answer

DEFAULT_METRICS = (
    *(f"{name}_at_{k}" for k in (10, 20, 100) for name in ("ndcg", "recall", "mrr", "hit_rate")),
    "precision_at_10",
    "map_at_10",
)
LIST_DEFAULTS = (
    "novelty_at_10",
    "mean_popularity_at_10",
    "diversity_at_10",
    "item_coverage_at_10",
    "gini_at_10",
)
RUN_METRICS = DEFAULT_METRICS + LIST_DEFAULTS  # those of a run, which knows the facts of its items
_BLOCK = 4_096
_CALIBRATION = "miscalibration"
_MOST_DOMAINS = 8  # rows of their own; with more, domains are left to the user's own metric


class Recommends(Protocol):
    """What can be judged: a `Recommender`, or a system that answers in its place."""

    @property
    def n_items(self) -> int: ...

    def recommend(self, users: Users, k: int, *, among: Ragged | None = None) -> Answer: ...


@dataclass(frozen=True, eq=False)
class Report:
    """What an evaluation found.

    values: float64 (n,) per metric, a value per user, NaN where it does not apply to them. source: int8 (n,),
    where each answer came from. system: one value per metric of the whole system. segments: name -> metric ->
    float64 (n,), the metrics of hits among a part of the users (cold, warm: without and with a history) or
    with regard to a part of the items alone (head, tail, each domain: only targets there count, NaN for users
    without one); and those of `own`, which the caller named by columns: of people with every metric, of items
    with the metrics of hits.
    """

    values: Mapping[str, F64]
    source: I8
    system: Mapping[str, float] = field(default_factory=dict)
    segments: Mapping[str, Mapping[str, F64]] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    _intervals: dict[tuple[str, str | None], Interval] = field(default_factory=dict, init=False, repr=False)

    def interval(self, metric: str, where: Bool | None = None, *, segment: str | None = None) -> Interval:
        """Mean and 95 % interval of a metric over the users to whom it applies, all or those of a mask (n,).

        Drawn once and remembered, for tables, records and plots ask for the same ones; a mask is drawn anew.
        """
        if where is None and (metric, segment) in self._intervals:
            return self._intervals[metric, segment]
        values = self.values[metric] if segment is None else self.segments[segment][metric]
        chosen = values if where is None else values[where]
        resampled = bootstrap(chosen[~np.isnan(chosen)])
        if where is None:
            self._intervals[metric, segment] = resampled
        return resampled

    def sources(self) -> dict[str, int]:
        """How many users each source answered."""
        return {
            name: int((self.source == code).sum())
            for code, name in enumerate(SOURCES)
            if (self.source == code).any()
        }


def evaluate(
    recommender: Recommends,
    users: Users,
    targets: Ragged,
    *,
    metrics: Sequence[Named] = DEFAULT_METRICS,
    among: Ragged | None = None,
    facts: ItemFacts | None = None,
    segments: Segments = NO_SEGMENTS,
    progress: Progress = silent,
) -> Report:
    """One value per user and metric, over all items that the recommender may answer.

    targets: rows of distinct items, one for each user and none empty; an item that cannot be recommended
    stays in the denominator. metrics: names, or own functions from `Lists` to a value per user. among: rows
    of published or drawn candidates, if only these are to be ranked; there a tie goes against the target, for
    a short list of candidates would otherwise reward a model that gives everything the same score. facts: of
    the items (`facts_of(train)`), for the metrics of lists and the segments by item. segments: parts that are
    judged by themselves (`segments_of`).
    """
    if targets.rows != len(users) or (targets.lengths == 0).any():
        raise DataError(f"evaluation needs a target for each of {len(users)} users; drop users without any.")
    asked = resolve_all(metrics)
    _refuse_without_facts(asked, facts)
    deepest = max(metric.cut for metric in asked)
    if among is not None:
        deepest = max(deepest, int(among.lengths.max(initial=1)))
    k = min(deepest, recommender.n_items)
    pass_ = _Pass(asked, len(users), facts, users.history.counting().lengths == 0, segments)
    for start in range(0, len(users), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(users)))
        part = users.take(rows)
        answer = recommender.recommend(part, k, among=None if among is None else among.take(rows))
        wanted = targets.take(rows)
        ids, hits = answer.ids, hits_of(answer.ids, wanted)
        if among is not None:
            ids, hits = _against_targets(answer, hits)
        pass_.add(rows, Lists(ids, hits, wanted, part.history.counting().items, facts), answer.source)
        progress(Step("evaluating", int(rows[-1]) + 1, len(users)))
    return pass_.report()


def _refuse_without_facts(asked: Sequence[PerUser | PerSystem], facts: ItemFacts | None) -> None:
    for metric in asked:
        kind = metric.name.rpartition("_at_")[0]
        if facts is None and (isinstance(metric, PerSystem) or metric.describes or metric.column):
            raise SettingError(
                f"metric {metric.name!r} needs facts on the items: evaluate(..., facts=facts_of(train))."
            )
        if facts is not None and kind == _CALIBRATION and facts.categories is None:
            raise SettingError(
                f"metric {metric.name!r} needs categories in the item table, which has none. Leave it out."
            )

    if facts is not None:
        refuse_worthless(asked, facts.table)


def _against_targets(answer: Answer, hits: Bool) -> tuple[Array, Bool]:
    """The answer's ids and hits with targets behind whatever has the same score."""
    order = np.lexsort((hits, -answer.scores), axis=1)
    return np.take_along_axis(answer.ids, order, axis=1), np.take_along_axis(hits, order, axis=1)


class _Pass:
    """Collects, block by block, the values of every metric."""

    def __init__(
        self, asked: Sequence[PerUser | PerSystem], n: int, facts: ItemFacts | None, cold: Bool, own: Segments
    ) -> None:
        self.per_user = [metric for metric in asked if isinstance(metric, PerUser)]
        self.per_system = [metric for metric in asked if isinstance(metric, PerSystem)]
        self.by_hits = [metric for metric in self.per_user if metric.hits_only]
        self.cold, self.own = cold, own
        self.parts = ({} if facts is None else _parts(facts)) | dict(own.items)
        self.values = {metric.name: np.zeros(n) for metric in self.per_user}
        self.source = np.zeros(n, np.int8)
        self.inside = {
            name: {metric.name: np.full(n, np.nan) for metric in self.by_hits}
            for name in self.parts
            if self.by_hits
        }
        n_items = 0 if facts is None else facts.n_items
        self.exposures = {metric.cut: np.zeros(n_items, np.int64) for metric in self.per_system}

    def add(self, rows: Array, lists: Lists, source: I8) -> None:
        cuts = {metric.cut: lists.at(metric.cut) for metric in self.per_user}
        for metric in self.per_user:
            self.values[metric.name][rows] = metric.function(cuts[metric.cut])
        for name, values in self.inside.items():
            _add_part(values, self.by_hits, rows, lists, self.parts[name])
        for cut, exposures in self.exposures.items():
            shown = lists.at(cut)
            exposures += np.bincount(shown.ids[shown.known], minlength=len(exposures))
        self.source[rows] = source

    def report(self) -> Report:
        system = {metric.name: metric.function(self.exposures[metric.cut]) for metric in self.per_system}
        segments: dict[str, Mapping[str, F64]] = {
            name: {metric.name: np.where(mask, self.values[metric.name], np.nan) for metric in self.by_hits}
            for name, mask in (("cold", self.cold), ("warm", ~self.cold))
        }
        for name, mask in self.own.people.items():
            segments[name] = {
                metric: np.where(mask, values, np.nan) for metric, values in self.values.items()
            }
        own = (*self.own.people, *(name for name in self.own.items if name in self.inside))
        return Report(self.values, self.source, system, segments | self.inside, own)


def _parts(facts: ItemFacts) -> dict[str, Bool]:
    """(n_items,) masks of the parts of the catalogue that get rows of their own."""
    parts = {"head": facts.head, "tail": ~facts.head}
    if 1 < len(facts.domains) <= _MOST_DOMAINS:
        parts |= {f"domain {name}": facts.domain == at for at, name in enumerate(facts.domains)}
    return parts


def _add_part(
    values: Mapping[str, F64], metrics: Sequence[PerUser], rows: Array, lists: Lists, part: Bool
) -> None:
    """The metrics of hits for the users with a target in a part of the catalogue, other targets forgotten."""
    known = lists.targets.values < len(part)
    inside = np.zeros(len(known), bool)
    inside[known] = part[lists.targets.values[known]]
    targets = lists.targets.keep(inside)
    asked = np.flatnonzero(targets.lengths)
    row, place = np.nonzero(lists.hits)
    hits = np.zeros_like(lists.hits)
    hits[row, place] = part[lists.ids[row, place]]
    chosen = replace(lists, ids=lists.ids[asked], hits=hits[asked], targets=targets.take(asked))
    for metric in metrics:
        values[metric.name][rows[asked]] = metric.function(chosen.at(metric.cut))


def users_of(holdout: Holdout) -> Users:
    """The people of a holdout as the recommender sees them: those whom the learner saw by their row, marked
    as fresh where their history holds more than it learned from.

    They ask at the moment of the split, or, where it has none, right after their last event; and in the
    domain of the items that they are to rank, where that is one.
    """
    index = np.where(holdout.known, holdout.user, -1).astype(np.int32)
    time, now = holdout.history.time, None
    if holdout.now is not None:
        now = np.full(len(index), holdout.now, np.int64)
    elif time is not None and len(time):
        last = holdout.history.items.offsets[1:] - 1
        now = np.where(holdout.history.lengths > 0, time[last], 0)
    fresh = holdout.fresh if holdout.fresh.any() else None
    return Users(index, holdout.history, now, domain=_asked_domain(holdout), fresh=fresh)


def _asked_domain(holdout: Holdout) -> I32 | None:
    """int32 (n,): the domain that people are asked in, where all items that they are to rank are of one; else
    -1."""
    names, codes = holdout.train.domains
    if holdout.among is None or len(names) < 2:
        return None
    of_item, row = codes[holdout.among.values], holdout.among.row_of_value()
    domain = np.full(holdout.among.rows, -1, np.int32)
    domain[row] = of_item
    domain[row[of_item != domain[row]]] = -1
    return domain


def evaluate_on(
    recommender: Recommends,
    holdout: Holdout,
    *,
    metrics: Sequence[Named] = RUN_METRICS,
    facts: ItemFacts | None = None,
    segments: Segments = NO_SEGMENTS,
    progress: Progress = silent,
) -> Report:
    """The report of anything that recommends on the question of a holdout: its users, targets and candidates.

    facts: of the items; None = those of the events to learn from, counted here. Whoever judges several
    systems on one holdout counts them once, with `facts_of(holdout.train)`.
    """
    return evaluate(
        recommender,
        users_of(holdout),
        holdout.targets,
        metrics=metrics,
        among=holdout.among,
        facts=facts or facts_of(holdout.train),
        segments=segments,
        progress=progress,
    )
