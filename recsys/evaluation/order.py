"""What the order of histories is worth: the same learner on the same data, in order and shuffled.

Two differences, person by person. **Gain of order**: learned and asked in order, against learned and asked
with shuffled histories: what order brings to such a model on these data. **What the model leans on**: the
model that learned in order, asked in order and asked with shuffled histories: how much it reads from the
order, be it worth anything or not.

Source: Klenitskiy, Volodkevich, Pembek, Vasilev, "Does It Look Sequential? An Analysis of Datasets for
Evaluation of Sequential Recommendations", RecSys 2024.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recsys.arrays import F32, I64, Array, Bool, Ragged
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout
from recsys.encoders.users import Users
from recsys.errors import SettingError
from recsys.evaluation.evaluate import Report
from recsys.evaluation.significance import FEW_USERS, Comparison, compare, p_text
from recsys.evaluation.tables import against, main_table, shown_metrics
from recsys.history import EventColumns, Histories
from recsys.retrieval.embeddings import Embeddings
from recsys.retrieval.ranker import Answer, Ranker, TrainedRanker
from recsys.retrieval.recommender import Recommender
from recsys.seeding import generator

IN_ORDER, ASKED, BOTH = "in order", "asked shuffled", "learned and asked shuffled"
Learned = Embeddings | TrainedRanker


@dataclass(frozen=True, eq=False)
class OrderReport:
    """What order is worth. reports: of IN_ORDER, ASKED and BOTH, each person's values the mean over seeds.
    metric: the one that is compared. gain: IN_ORDER minus BOTH. leaning: IN_ORDER minus ASKED. by_seed: the
    gain of each seed, whose spread is the luck of learning, which the intervals over people do not hold."""

    reports: Mapping[str, Report]
    metric: str
    gain: Comparison
    leaning: Comparison
    by_seed: Mapping[int, float]

    @property
    def sentence(self) -> str:
        """The gain in words."""
        said = f"{self.gain.difference.text('+.4f')} of {self.metric}, {p_text(self.gain.p_holm)}"
        if self.gain.verdict == "better":
            return f"Order brings {said}."
        if self.gain.verdict == "worse":
            return f"Order brings a loss: {said}. This model learns more from shuffled histories; tune it."
        if self.gain.warm < FEW_USERS:
            return (
                f"Too few people to say what order brings, {self.gain.warm} of {FEW_USERS} with a history: "
                f"{said}."
            )
        return f"Order brings nothing that was shown: {said}."

    @property
    def text(self) -> str:
        """A row for each of the three, the two differences, and the sentence."""
        lines = [
            f"Gain of order ({IN_ORDER} minus {BOTH}): {against(self.gain)}",
            f"What the model leans on ({IN_ORDER} minus {ASKED}): {against(self.leaning)}",
        ]
        if len(self.by_seed) > 1:
            lines.append("Gain by seed: " + ", ".join(f"{gain:+.4f}" for gain in self.by_seed.values()))
        return "\n".join([main_table(self.reports), "", *lines, "", self.sentence])


def order_report(
    holdout: Holdout,
    *,
    fit: Callable[[Dataset, int], Learned],
    engine: Callable[[Learned], Recommender],
    judge: Callable[[Recommender], Report],
    seeds: Sequence[int] = (1,),
) -> OrderReport:
    """Learns twice for each seed, from the training part as it is and shuffled, and asks the same people
    three times.

    fit: learns from data by a seed. engine: what was learned, with the rules of answering around it. judge:
    its report on the question of the holdout. What its people had is shuffled for the model alone: the rules
    on what they may see again know it as it was. Intervals are over people; more seeds take the luck of
    learning and of shuffling out.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise SettingError(f"the order report needs one seed or several distinct ones, got {list(seeds)}.")
    train, reports_by_seed = holdout.train, dict[int, dict[str, Report]]()
    for seed in seeds:
        in_order = engine(fit(train, seed))
        reports = {IN_ORDER: judge(in_order), ASKED: judge(_asked_shuffled(in_order, seed))}
        shuffled = engine(fit(shuffled_data(train, generator(seed, "order learned")), seed))
        reports_by_seed[seed] = reports | {BOTH: judge(_asked_shuffled(shuffled, seed))}
    return order_of(reports_by_seed, warm=int(holdout.warm.sum()))


def order_of(reports_by_seed: Mapping[int, Mapping[str, Report]], *, warm: int) -> OrderReport:
    """The order report of the reports by seed of IN_ORDER, ASKED and BOTH, all on the same people.

    warm: how many of them have a history.
    """
    reports = {name: _mean([of[name] for of in reports_by_seed.values()]) for name in (IN_ORDER, ASKED, BOTH)}
    metric = shown_metrics(reports[IN_ORDER])[0]
    values = {name: report.values[metric] for name, report in reports.items()}
    compared = compare(values.pop(IN_ORDER), values, warm=warm)
    by_seed = {
        seed: float(np.nanmean(of[IN_ORDER].values[metric] - of[BOTH].values[metric]))
        for seed, of in reports_by_seed.items()
    }
    return OrderReport(reports, metric, compared[BOTH], compared[ASKED], by_seed)


def _mean(reports: Sequence[Report]) -> Report:
    """One report of several on the same people, each value the mean."""

    def mean(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {name: np.mean([part[name] for part in parts], axis=0) for name in parts[0]}

    segments = {name: mean([one.segments[name] for one in reports]) for name in reports[0].segments}
    return replace(reports[0], values=mean([one.values for one in reports]), system={}, segments=segments)


def shuffled_data(train: Dataset, rng: np.random.Generator) -> Dataset:
    """The data in which what each person did stands in a drawn order; when they did something stays.

    Weights and types go with their items. What was had but is not learned from stays in its place.
    """
    taken = _drawn_places(train.interactions.user, rng)
    events, whole = train.interactions, train.whole
    if whole is not None:
        learned, taken_whole = np.flatnonzero(train.learned), np.arange(len(whole))
        taken_whole[learned] = learned[taken]
        whole = replace(whole, item=whole.item[taken_whole], **_beside(whole, taken_whole))
    return train.having(replace(events, item=events.item[taken], **_beside(events, taken)), whole)


def shuffled_histories(history: Histories, rng: np.random.Generator) -> Histories:
    """The same of histories: among the times of its events of weight, each row has them in a drawn order."""
    counting = np.arange(len(history)) if history.weight is None else np.flatnonzero(history.weight > 0)
    taken = np.arange(len(history))
    taken[counting] = counting[_drawn_places(history.items.row_of_value()[counting], rng)]
    items = Ragged(history.items.offsets, history.items.values[taken])
    return replace(history, items=items, **_beside(history, taken))


def _drawn_places(row: Array, rng: np.random.Generator) -> I64:
    """int64 (n,): from which place of the same row each takes what stands there; rows (n,) in any order."""
    taken = np.empty(len(row), np.int64)
    taken[np.argsort(row, kind="stable")] = np.lexsort((rng.random(len(row)), row))
    return taken


def _beside(events: EventColumns, taken: I64) -> dict[str, Any]:
    """What goes with the items when they are taken from other places: all columns but the times."""
    return {name: column[taken] for name, column in events.columns().items() if name != "time"}


@dataclass(frozen=True, eq=False)
class _Shuffled:
    """A ranker that is shown histories in a drawn order."""

    ranker: Ranker
    rng: np.random.Generator

    @property
    def n_items(self) -> int:
        return self.ranker.n_items

    @property
    def folds_in(self) -> bool:
        return self.ranker.folds_in

    @property
    def explains(self) -> bool:
        return False

    def top(
        self,
        users: Users,
        k: int,
        *,
        forbid: Ragged,
        among: Ragged | None = None,
        available: Bool | None = None,
    ) -> Answer:
        shown = replace(users, history=shuffled_histories(users.history, self.rng))
        return self.ranker.top(shown, k, forbid=forbid, among=among, available=available)

    def contributions(self, user: Users, ids: I64) -> F32 | None:
        return None


def _asked_shuffled(engine: Recommender, seed: int) -> Recommender:
    """The same engine, its model asked with shuffled histories: the same ones for the same seed."""
    return replace(engine, ranker=_Shuffled(engine.ranker, generator(seed, "order asked")))
