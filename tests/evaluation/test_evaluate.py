"""One pass over the users: values, segments, own functions, ties among candidates."""

from typing import Any

import numpy as np
import pytest

from recsys.arrays import F64, Ragged
from recsys.data.dataset import Dataset
from recsys.encoders.users import Users
from recsys.errors import DataError, SettingError
from recsys.evaluation.evaluate import LIST_DEFAULTS, RUN_METRICS, Report, evaluate
from recsys.evaluation.metrics.item_facts import facts_of
from recsys.evaluation.metrics.lists import Lists
from recsys.evaluation.outside_lists import ListRanker
from recsys.evaluation.planted import ScoreRanker
from recsys.history import Histories
from recsys.models.popularity import Popularity, fallback_order
from recsys.retrieval.recommender import Recommender, recommender_of
from recsys.testing.toys import dataset, random_log

# item 0 and 2 are books, 1 and 3 films; item 0 took most events and is the head
DATA = dataset(np.array([0, 1, 2, 3, 0, 1, 2]), np.array([0, 0, 0, 0, 1, 2, 3]), 4, 4)
LISTS = [[0, 1, 2], [3, 0, -1], [2, 3, 1], [1, 0, 2]]
TARGETS = [[0, 3], [0], [1, 2], [3]]


def engine(lists: list[list[int]], n_items: int) -> Recommender:
    """Answers these lists, whatever the user had."""
    rows = Ragged.of([[item for item in row if item >= 0] for row in lists])
    return Recommender(ListRanker(rows, n_items), np.arange(n_items, dtype=np.int32), "allow")


def report_of(**options: Any) -> Report:
    users = Users.of_rows(np.arange(4), Ragged.of([[1], [], [0, 3], []]))
    return evaluate(engine(LISTS, 4), users, Ragged.of(TARGETS), facts=facts_of(DATA), **options)


def test_segments_typed_by_hand() -> None:
    report = report_of(metrics=("recall_at_2", "mrr_at_3", "novelty_at_2"))
    nan = np.nan
    expected = {
        "cold": [nan, 1.0, nan, 0.0],
        "warm": [0.5, nan, 0.5, nan],
        "head": [1.0, 1.0, nan, nan],  # only item 0 counts
        "tail": [0.0, nan, 0.5, 0.0],  # user 0: item 3, not in their two; user 2: item 2 of 1 and 2
        "domain books": [1.0, 1.0, 1.0, nan],
        "domain films": [0.0, nan, 0.0, 0.0],
    }
    assert set(report.segments) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(report.segments[name]["recall_at_2"], values, err_msg=name)
        assert set(report.segments[name]) == {"recall_at_2", "mrr_at_3"}
    np.testing.assert_array_equal(report.segments["domain films"]["mrr_at_3"], [0.0, nan, 1 / 3, 0.0])
    assert report.interval("recall_at_2", segment="warm").mean == 0.5
    assert report.interval("recall_at_2").mean == 0.5


def test_the_values_of_a_system_are_apart_and_see_their_own_cut() -> None:
    report = report_of(metrics=("item_coverage_at_1", "item_coverage_at_3", "gini_at_1", "recall_at_1"))
    assert set(report.values) == {"recall_at_1"}
    assert report.system == {"item_coverage_at_1": 1.0, "item_coverage_at_3": 1.0, "gini_at_1": 0.0}
    alone = evaluate(
        engine(LISTS, 4),
        Users.of_rows(np.arange(1), Ragged.of([[]])),
        Ragged.of([[0]]),
        facts=facts_of(DATA),
        metrics=("item_coverage_at_2", "gini_at_2"),
    )
    assert alone.system == {"item_coverage_at_2": 0.5, "gini_at_2": 0.5}
    assert dict(alone.values) == {}


def test_a_function_of_the_user_is_a_metric() -> None:
    def first_is_hit(lists: Lists) -> F64:
        assert lists.facts is not None
        assert lists.ids.shape == (4, 4)  # ten, or the whole catalogue
        assert lists.history.lengths.tolist() == [1, 0, 2, 0]
        return np.where(lists.hits[:, 0], 1.0, np.nan)

    report = report_of(metrics=("ndcg_at_3", first_is_hit))
    np.testing.assert_array_equal(report.values["first_is_hit"], [1.0, np.nan, 1.0, np.nan])
    assert report.interval("first_is_hit") == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "wrong",
    [lambda lists: 0.5, lambda lists: lists.hits, lambda lists: np.full(4, np.inf), lambda lists: ["a"] * 4],
)
def test_a_function_that_gives_no_number_per_user_is_refused(wrong: object) -> None:
    with pytest.raises(SettingError, match="must return one finite number"):
        report_of(metrics=("ndcg_at_3", wrong))


def test_metrics_of_lists_are_refused_without_what_they_need() -> None:
    users, targets = Users.of_rows(np.arange(1), Ragged.of([[]])), Ragged.of([[0]])
    for metric in (*LIST_DEFAULTS, "miscalibration_at_3"):
        with pytest.raises(SettingError, match=f"'{metric}' needs facts on the items"):
            evaluate(engine(LISTS, 4), users, targets, metrics=(metric,))
    with pytest.raises(SettingError, match="needs categories in the item table"):
        report_of(metrics=("miscalibration_at_3",))


def test_among_candidates_a_tie_goes_against_the_target() -> None:
    """A model that gives everything the same score is at the end of each list, and not where the item number
    says."""
    flat = ScoreRanker(lambda users: np.full((len(users), 6), 0.5, np.float32), 6)
    recommender = Recommender(flat, np.arange(6, dtype=np.int32), "allow")
    users = Users.of_rows(np.arange(3), Ragged.empty(3))
    among, targets = Ragged.of([[0, 1, 2, 3], [2, 3, 5], [1, 4]]), Ragged.of([[0], [2, 3], [4]])
    report = evaluate(recommender, users, targets, metrics=("mrr_at_4", "recall_at_2"), among=among)
    assert report.values["mrr_at_4"].tolist() == [1 / 4, 1 / 2, 1 / 2]
    assert report.values["recall_at_2"].tolist() == [0.0, 0.5, 1.0]
    whole = evaluate(recommender, users, targets, metrics=("mrr_at_4",))
    assert whole.values["mrr_at_4"][0] == 1.0  # over the whole catalogue as served: the lower index


def test_a_history_counts_by_its_weights_though_the_recommender_knows_fewer_items() -> None:
    """As a bundle does that is judged on data with more items; what was had and not learned from warms
    nobody."""
    seen = list[list[int]]()

    def note_histories(lists: Lists) -> F64:
        seen.extend(lists.history.row(row).tolist() for row in range(lists.history.rows))
        return np.zeros(len(lists.ids))

    past = Histories(Ragged.of([[9, 1], [8], [0]]), weight=np.float32([1, 0, 0, 1]))
    users = Users.of_rows(np.arange(3), past)
    report = evaluate(
        engine([[0], [1], [1]], 2),
        users,
        Ragged.of([[0], [0], [1]]),
        metrics=["hit_rate_at_1", note_histories],
    )
    assert seen == [[9], [], [0]]
    assert np.isnan(report.segments["cold"]["hit_rate_at_1"]).tolist() == [True, False, True]
    assert np.isnan(report.segments["warm"]["hit_rate_at_1"]).tolist() == [False, True, False]


def test_blocks_do_not_change_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    data = random_log(2, n_users=60, n_items=40, n=900)
    recommender = recommender_of(
        Popularity().fit(data, seed=1), fallback_order(data.interactions, None), "exclude"
    )
    rng = np.random.default_rng(0)
    users = Users.of_rows(np.arange(60), data.interactions.histories().items)
    targets = Ragged.of([rng.choice(40, 3, replace=False) for _ in range(60)])
    whole = evaluate(recommender, users, targets, metrics=RUN_METRICS, facts=facts_of(data))
    monkeypatch.setattr("recsys.evaluation.evaluate._BLOCK", 7)
    blocks = evaluate(recommender, users, targets, metrics=RUN_METRICS, facts=facts_of(data))
    assert blocks.system == whole.system
    assert list(blocks.values) == [name for name in RUN_METRICS if name not in whole.system]
    for name, values in whole.values.items():
        np.testing.assert_allclose(blocks.values[name], values, rtol=1e-6)
    for segment, of in whole.segments.items():
        for name, values in of.items():
            np.testing.assert_array_equal(blocks.segments[segment][name], values)


def slow_lists(data: Dataset, lists: list[list[int]], history: list[list[int]], k: int) -> list[list[int]]:
    return [[item for item in row if item not in had][:k] for row, had in zip(lists, history, strict=True)]


def test_finished_lists_are_ranked_by_the_rules_around_them() -> None:
    rng = np.random.default_rng(4)
    lists = [
        rng.permutation(13)[: rng.integers(0, 13)].tolist() for _ in range(40)
    ]  # 12: unknown to the data
    history = [rng.integers(0, 12, 4).tolist() for _ in range(40)]
    users = Users.of_rows(np.arange(40), Ragged.of(history))
    ranker = ListRanker(Ragged.of(lists), 12)
    answer = Recommender(ranker, np.arange(12, dtype=np.int32), "exclude").recommend(
        users.take(np.arange(39, -1, -1)), 5
    )
    for row, items in zip(answer.ids.tolist(), slow_lists(DATA, lists, history, 5)[::-1], strict=True):
        assert [item for item in row if item >= 0] == items
    assert np.isfinite(answer.scores).sum() == (answer.ids >= 0).sum()
    among = Ragged.of([rng.choice(12, 5, replace=False) for _ in range(40)])
    part = Recommender(ranker, np.arange(12, dtype=np.int32), "allow").recommend(users, 12, among=among)
    for at, row in enumerate(part.ids.tolist()):
        assert [item for item in row if item >= 0] == [item for item in lists[at] if item in among.row(at)]


@pytest.mark.parametrize(("lists", "row", "item"), [([[0, 0, 1]], 0, 0), ([[1, 0], [0, 1, 2, 1]], 1, 1)])
def test_a_list_with_an_item_twice_is_refused_and_gives_no_figure_above_1(
    lists: list[list[int]], row: int, item: int
) -> None:
    with pytest.raises(DataError, match=f"list of user number {row} has item number {item} a second time"):
        ListRanker(Ragged.of(lists), n_items=3)
    assert (
        ListRanker(Ragged.of([[3, 0, 3], []]), n_items=3).n_items == 3
    )  # 3: unknown items, which are never a hit
