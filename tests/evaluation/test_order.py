"""What order brings: much where it says all, nothing where it says nothing; a shuffle changes the order
alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.errors import SettingError
from recsys.evaluation.evaluate import Report, evaluate_on
from recsys.evaluation.order import (
    ASKED,
    BOTH,
    IN_ORDER,
    OrderReport,
    order_of,
    order_report,
    shuffled_data,
    shuffled_histories,
)
from recsys.history import Histories
from recsys.models.base import fit_with
from recsys.models.popularity import fallback_order
from recsys.models.registry import make_model
from recsys.retrieval.ranker import Answer
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.testing.toys import dataset

PEOPLE, ITEMS, LENGTH = 600, 60, 8
PAIRS = {
    "back": 0.0,
    "half_life": 0.5,
}  # of co-occurrence: which item comes after which, the last one above all
SEQUENCE = {"dim": 16, "layers": 1, "heads": 1, "widened": 32, "epochs": 12, "batch_size": 512,
            "learning_rate": 1e-2, "dropout": 0.1, "longest_history": 8, "device": "cpu"}  # fmt: skip


def log(rng: np.random.Generator, *, chain: bool) -> Dataset:
    """Eight items of each person, drawn; in a chain every second item, and the last, is the one after that
    before it.

    So the last item but one says all of the last, and the set of those before it leaves several that may be
    next.
    """
    items = rng.random((PEOPLE, ITEMS)).argsort(axis=1)[:, :LENGTH]
    if chain:
        items[:, 1::2] = (items[:, ::2] + 1) % ITEMS
    user = np.repeat(np.arange(PEOPLE), LENGTH)
    return dataset(user, items.ravel(), PEOPLE, ITEMS, time=np.tile(np.arange(LENGTH) * 1_000, PEOPLE) + user)


def question_of(data: Dataset) -> Holdout:
    return split(data, SplitSettings(kind="leave_last_out"), seed=1).test


def report_order(
    holdout: Holdout, name: str, settings: dict[str, Any], seeds: tuple[int, ...] = (1,)
) -> OrderReport:
    fallback = fallback_order(holdout.train.interactions, None)
    return order_report(
        holdout,
        fit=lambda data, seed: fit_with(make_model(name, settings), data, seed=seed),
        engine=lambda learned: recommender_of(learned, fallback, "exclude"),
        judge=lambda engine: evaluate_on(engine, holdout, metrics=("ndcg_at_10", "recall_at_10")),
        seeds=seeds,
    )


@pytest.mark.parametrize(("name", "settings"), [("cooccurrence", PAIRS), ("sequence", SEQUENCE)])
def test_order_brings_much_where_it_says_all(name: str, settings: dict[str, Any]) -> None:
    report = report_order(question_of(log(np.random.default_rng(1), chain=True)), name, settings)
    means = {row: one.interval("ndcg_at_10").mean for row, one in report.reports.items()}
    assert means[IN_ORDER] > 0.7
    assert report.gain.verdict == report.leaning.verdict == "better"
    assert report.gain.difference.mean == pytest.approx(means[IN_ORDER] - means[BOTH])
    assert report.leaning.difference.mean == pytest.approx(means[IN_ORDER] - means[ASKED])
    assert min(report.gain.difference.low, report.leaning.difference.low) > 0.2


def test_order_brings_nothing_where_items_are_drawn() -> None:
    """0 lies within twice the interval: once in ten thousand logs it does not."""
    report = report_order(question_of(log(np.random.default_rng(2), chain=False)), "cooccurrence", PAIRS)
    for mean, low, high in (report.gain.difference, report.leaning.difference):
        assert 2 * low - mean < 0 < 2 * high - mean
        assert high - low < 0.1


@pytest.mark.parametrize("name", ["als", "popularity"])
def test_who_looks_at_no_order_leans_on_none(name: str) -> None:
    report = report_order(
        question_of(log(np.random.default_rng(3), chain=True)), name, {"dim": 4} if name == "als" else {}
    )
    assert tuple(report.leaning.difference) == (0, 0, 0)
    assert tuple(report.gain.difference) == (0, 0, 0)
    assert (
        report.sentence
        == "Order brings nothing that was shown: +0.0000 [+0.0000, +0.0000] of ndcg_at_10, p = 1."
    )


def test_item_knn_leans_on_a_half_life_and_else_on_the_last_bits_of_its_sums_at_most() -> None:
    holdout = question_of(log(np.random.default_rng(4), chain=True))
    alike, recent = (report_order(holdout, "item_knn", {"half_life": events}) for events in (None, 1.0))
    assert abs(alike.leaning.difference.mean) < 0.01
    assert recent.leaning.verdict == "better"


def test_each_person_counts_with_the_mean_of_the_seeds() -> None:
    holdout = question_of(log(np.random.default_rng(5), chain=True))
    first, second, both = (
        report_order(holdout, "cooccurrence", PAIRS, seeds) for seeds in ((1,), (2,), (1, 2))
    )
    for row in (IN_ORDER, ASKED, BOTH):
        means = [one.reports[row].values["ndcg_at_10"] for one in (first, second)]
        np.testing.assert_array_equal(both.reports[row].values["ndcg_at_10"], np.mean(means, axis=0))
    assert (first.reports[ASKED].values["ndcg_at_10"] != second.reports[ASKED].values["ndcg_at_10"]).any()
    assert both.by_seed == {1: first.gain.difference.mean, 2: second.gain.difference.mean}
    assert f"Gain by seed: {first.gain.difference.mean:+.4f}, {second.gain.difference.mean:+.4f}" in both.text
    assert report_order(holdout, "cooccurrence", PAIRS, (2,)).text == second.text
    with pytest.raises(SettingError, match=r"several distinct ones, got \[1, 1\]"):
        report_order(holdout, "cooccurrence", PAIRS, (1, 1))


@pytest.mark.parametrize(
    ("shift", "people", "said"),
    [
        (0.1, 400, "Order brings +0."),
        (0.0, 400, "Order brings nothing that was shown: "),
        (-0.1, 400, "Order brings a loss: -0."),
        (0.1, 100, "Too few people to say what order brings, 100 of 200 with a history: +0."),
    ],
)
def test_the_sentence_says_what_the_interval_holds(shift: float, people: int, said: str) -> None:
    shuffled = np.random.default_rng(6).random(people)
    noise = np.tile([0.01, -0.01], people // 2)
    values = {IN_ORDER: shuffled + shift + noise, ASKED: shuffled, BOTH: shuffled}
    reports = {name: Report({"ndcg_at_10": one}, np.zeros(people, np.int8)) for name, one in values.items()}
    assert order_of({1: reports}, warm=people).sentence.startswith(said)


def log_with_weights(rng: np.random.Generator) -> Dataset:
    """A log with repeats, weights and types, in which a third of the events is had and not learned from."""
    n, people = 3_000, 40
    columns = {"time": np.sort(rng.integers(0, 500, n)), "event": rng.integers(0, 3, n)}
    weight = rng.choice([0.0, -1.0, 1.0, 2.0, 3.0], n).astype(np.float32)
    names = ("view", "cart", "buy")
    user, item = rng.integers(0, people, n), rng.integers(0, 30, n)
    data = dataset(user, item, people, 30, weight=weight, event_names=names, **columns)
    return data.having(data.interactions.where(weight > 0), data.interactions)


def test_what_is_learned_from_changes_its_order_and_nothing_else() -> None:
    data = log_with_weights(np.random.default_rng(7))
    shuffled = shuffled_data(data, np.random.default_rng(1))
    for before, after in ((data.interactions, shuffled.interactions), (data.whole, shuffled.whole)):
        np.testing.assert_array_equal(before.user, after.user)
        np.testing.assert_array_equal(before.time, after.time)
        assert (before.item != after.item).mean() > 0.5
        assert sorted(zip(before.user, before.item, before.weight, before.event, strict=True)) == sorted(
            zip(after.user, after.item, after.weight, after.event, strict=True)
        )
    rest = ~data.learned
    np.testing.assert_array_equal(data.whole.item[rest], shuffled.whole.item[rest])
    np.testing.assert_array_equal(data.learned, shuffled.learned)
    for name in ("item", "weight", "event"):
        of_whole = getattr(shuffled.whole, name)[shuffled.learned]
        np.testing.assert_array_equal(of_whole, getattr(shuffled.interactions, name))


def test_histories_keep_their_times_and_what_counts_for_nothing_its_place() -> None:
    past = log_with_weights(np.random.default_rng(8)).whole.histories()
    shuffled = shuffled_histories(past, np.random.default_rng(1))
    np.testing.assert_array_equal(past.items.offsets, shuffled.items.offsets)
    np.testing.assert_array_equal(past.time, shuffled.time)
    idle = past.weight <= 0
    np.testing.assert_array_equal(past.items.values[idle], shuffled.items.values[idle])
    rows = past.items.row_of_value()
    before, after = (
        sorted(zip(rows, one.items.values, one.weight, one.event, strict=True)) for one in (past, shuffled)
    )
    assert before == after
    assert (past.items.values[~idle] != shuffled.items.values[~idle]).mean() > 0.5


def test_every_order_is_as_likely_as_another() -> None:
    """Six orders of three items, 1,000 times each: none further off than five standard deviations."""
    past = Histories(Ragged(np.arange(6_001) * 3, np.tile(np.arange(3, dtype=np.int32), 6_000)))
    orders = shuffled_histories(past, np.random.default_rng(1)).items.values.reshape(-1, 3)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts - 1_000).max() < 5 * np.sqrt(6_000 / 6 * 5 / 6)


class Remembers:
    """A ranker that answers the items in their order and remembers what it was asked."""

    trained, n_items, folds_in, explains = np.ones(ITEMS, bool), ITEMS, True, False

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def top(self, users: Any, k: int, *, forbid: Ragged, among: Any = None, available: Any = None) -> Answer:
        self.asked.append((users, forbid))
        shape = (len(users), k)
        return Answer(
            np.broadcast_to(np.arange(k), shape), np.zeros(shape, np.float32), np.ones(shape[0], np.int8)
        )


def test_the_rules_around_the_model_know_the_true_history() -> None:
    holdout, rankers = question_of(log(np.random.default_rng(9), chain=False)), [Remembers(), Remembers()]
    learned = iter(rankers)
    seen: list[Dataset] = []

    def fit(data: Dataset, seed: int) -> Any:
        seen.append(data)
        return next(learned)

    order_report(
        holdout,
        fit=fit,
        engine=lambda ranker: Recommender(ranker, np.arange(ITEMS, dtype=np.int32)),
        judge=lambda engine: evaluate_on(engine, holdout, metrics=("ndcg_at_10",)),
    )
    assert seen[0] is holdout.train
    assert (seen[1].interactions.item != holdout.train.interactions.item).any()
    true = holdout.history.items.values
    (in_order, _), (of_first, forbid) = rankers[0].asked
    ((of_second, again),) = rankers[1].asked
    np.testing.assert_array_equal(in_order.history.items.values, true)
    np.testing.assert_array_equal(forbid.values, true)
    np.testing.assert_array_equal(again.values, true)
    assert (of_first.history.items.values != true).mean() > 0.5
    np.testing.assert_array_equal(of_first.history.items.values, of_second.history.items.values)
    np.testing.assert_array_equal(of_first.history.time, holdout.history.time)


def test_logs_without_weights_or_times_are_shuffled_too() -> None:
    data = log(np.random.default_rng(10), chain=False)
    bare = data.having(replace(data.interactions, time=None))
    events = shuffled_data(bare, np.random.default_rng(1)).interactions
    assert events.time is events.weight is events.event is None
    np.testing.assert_array_equal(events.matrix().toarray(), bare.interactions.matrix().toarray())
