"""Leave last out, drawn and published candidates, against slow second versions."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recsys.arrays import Ragged
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.encoders.users import Users
from recsys.errors import DataError
from recsys.evaluation.evaluate import evaluate, users_of
from recsys.models.popularity import Popularity, fallback_order
from recsys.retrieval.recommender import recommender_of
from recsys.testing.toys import random_log
from tests.helpers.splits import check, random_data, refusal, rows_of, slowly


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("timeless", [False, True])
def test_the_last_event_of_each_user_is_asked_for(seed: int, timeless: bool) -> None:
    data = random_data(seed, part=timeless)
    rows = rows_of(data.interactions)
    places: dict[int, list[int]] = {}
    for at, (user, _, _) in enumerate(rows):
        places.setdefault(user, []).append(at)
    last = {own[-1] for own in places.values() if len(own) > 1}
    before = {own[-2] for own in places.values() if len(own) > 2}
    parts = split(data, SplitSettings(kind="leave_last_out", repeats=True), seed=1)
    past = [row for at, row in enumerate(rows) if at not in last]
    check(parts.test, slowly(past, [rows[at] for at in sorted(last)], True), None)
    assert rows_of(parts.test.train.interactions) == past
    tuned_past = [row for at, row in enumerate(rows) if at not in last | before]
    check(parts.validation, slowly(tuned_past, [rows[at] for at in sorted(before)], True), None)
    assert "leave-last-out split, not by time: it leaks the future" in parts.title
    assert parts.test.targets.lengths.tolist() == [1] * len(last)


def test_a_user_keeps_what_he_has_where_that_is_one_event() -> None:
    frame = pd.DataFrame({"user_id": list("aabccc"), "item_id": list("123456")})
    cut = split(dataset_of(frame), SplitSettings(kind="leave_last_out"), seed=1)
    assert rows_of(cut.test.train.interactions) == [(0, 0, 0), (1, 2, 0), (2, 3, 0), (2, 4, 0)]
    assert cut.test.targets.values.tolist() == [1, 5]
    assert cut.validation.targets.values.tolist() == [4]


@pytest.mark.parametrize("clumps", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(3))
def test_a_share_of_what_each_user_had_is_hidden_whatever_its_time(seed: int, clumps: float) -> None:
    data = random_log(seed, n_users=200, n_items=80, n=6_000)
    settings = SplitSettings(kind="random", test=0.3, validation=0.2, clumped=clumps)
    parts, again, other = (split(data, settings, seed=one) for one in (1, 1, 2))
    assert rows_of(parts.test.train.interactions) == rows_of(again.test.train.interactions)
    assert rows_of(parts.test.train.interactions) != rows_of(other.test.train.interactions)
    events = data.interactions
    every = set(zip(events.user.tolist(), events.item.tolist(), strict=True))
    for holdout, share, whole in (
        (parts.test, 0.3, every),
        (parts.validation, 0.2, {row[:2] for row in rows_of(parts.test.train.interactions)}),
    ):
        kept = {row[:2] for row in rows_of(holdout.train.interactions)}
        asked = {
            (int(user), int(item))
            for user, row in zip(holdout.user, range(holdout.targets.rows), strict=True)
            for item in holdout.targets.row(row)
        }
        assert not kept & asked  # all events of a pair together
        assert {user for user, _ in kept} == {user for user, _ in whole}  # everybody keeps something
        assert len(asked) == pytest.approx(share * len(whole), rel=0.08)
        own = {user: len([1 for one, _ in whole if one == user]) for user in {user for user, _ in asked}}
        for user in own:
            assert abs(len([1 for one, _ in asked if one == user]) - share * own[user]) < 1
    assert "not by time: it leaks the future of everybody" in parts.title
    assert ("in clumps" in parts.title) == bool(clumps)


def test_whoever_had_one_item_is_asked_for_nothing() -> None:
    data = dataset_of(pd.DataFrame({"user_id": list("aabccc"), "item_id": list("113456")}))
    parts = split(data, SplitSettings(kind="random", test=0.4, validation=0.5), seed=1)
    assert parts.test.user.tolist() == [2]


def test_drawn_candidates_are_the_targets_and_unseen_items_of_their_domains() -> None:
    data = random_log(1, n_users=50, n_items=200, n=1_500)  # odd items are films, even ones books
    settings = SplitSettings(kind="leave_last_out", candidates=20)
    cut, again, other = (split(data, settings, seed=seed).test for seed in (1, 1, 2))
    assert cut.among is not None
    assert again.among is not None
    assert other.among is not None
    assert cut.among.values.tolist() == again.among.values.tolist() != other.among.values.tolist()
    for row in range(len(cut.user)):
        (target,) = cut.targets.row(row)
        among = cut.among.row(row).tolist()
        assert len(among) == len(set(among)) == 21
        assert target in among
        assert {item % 2 for item in among} == {target % 2}
        assert not set(among) & set(cut.history.items.row(row).tolist())
    drawn = np.bincount(cut.among.values, minlength=200)
    assert drawn.max() < 20  # spread over the catalogue, not the same items for all
    assert "ranked among 20 drawn unseen items and not all" in split(data, settings, seed=1).title
    part = cut.take(np.array([3, 0]))
    assert part.among is not None
    assert part.among.row(0).tolist() == cut.among.row(3).tolist()


def test_people_who_rank_items_of_one_domain_are_asked_in_it() -> None:
    data = random_log(1, n_users=50, n_items=200, n=1_500)
    cut = split(data, SplitSettings(kind="leave_last_out", candidates=20), seed=1).test
    assert cut.among is not None
    names, codes = data.domains
    asked = users_of(cut).domain
    assert asked is not None
    assert asked.tolist() == codes[cut.targets.values].tolist()
    assert set(asked) == set(range(len(names)))
    mixed = Ragged.of([[0, 2, 1], [2], *[[]] * (len(cut.user) - 2)])
    asked = users_of(replace(cut, among=mixed)).domain
    assert asked is not None
    assert asked.tolist() == [-1, codes[2], *[-1] * (len(cut.user) - 2)]
    assert users_of(replace(cut, among=None)).domain is None


def test_every_unseen_item_is_drawn_where_there_are_not_enough() -> None:
    data = random_log(1, n_users=10, n_items=12, n=60)
    cut = split(data, SplitSettings(kind="leave_last_out", candidates=1_000, repeats=True), seed=1).test
    assert cut.among is not None
    for row in range(len(cut.user)):
        domains = {item % 2 for item in cut.targets.row(row)}
        seen = set(cut.history.items.row(row).tolist())
        unseen = {item for item in range(12) if item % 2 in domains and item not in seen}
        assert set(cut.among.row(row).tolist()) == unseen | set(cut.targets.row(row).tolist())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two users with a published split and candidates."""
    pd.DataFrame({"user_id": [1, 2, 3], "item_id": [10, 10, 11]}).to_parquet(tmp_path / "train.parquet")
    pd.DataFrame({"user_id": [1, 2], "item_id": [11, 12]}).to_parquet(tmp_path / "validation.parquet")
    pd.DataFrame({"user_id": [1, 2], "item_id": [12, 13]}).to_parquet(tmp_path / "test.parquet")
    pd.DataFrame({"item_id": [10, 11, 12, 13, 14]}).to_parquet(tmp_path / "items.parquet")
    pd.DataFrame({"user_id": [2, 1], "negatives": [[14, 11], [13, 14]]}).to_parquet(
        tmp_path / "test_negatives.parquet"
    )
    return tmp_path


def test_published_candidates_stand_beside_the_target_of_their_user(folder: Path) -> None:
    data = load_dataset(str(folder))
    cut = split(data, SplitSettings(kind="published_candidates"), seed=3)
    assert cut.test.among is not None
    named = [[data.item_ids[int(item)] for item in cut.test.among.row(row)] for row in range(2)]
    assert [data.user_ids[int(user)] for user in cut.test.user] == ["1", "2"]
    assert [sorted(row) for row in named] == [["12", "13", "14"], ["11", "13", "14"]]
    assert "ranked among 2 published candidates and not all items" in cut.title
    assert split(data, SplitSettings(kind="published"), seed=3).test.among is None


def test_published_candidates_that_do_not_fit_are_refused(folder: Path) -> None:
    path = folder / "test_negatives.parquet"

    def message() -> str:
        with pytest.raises(DataError) as caught:
            split(load_dataset(str(folder)), SplitSettings(kind="published_candidates"), seed=3)
        return str(caught.value)

    pd.DataFrame({"user_id": [1], "negatives": [[13]]}).to_parquet(path)
    assert "1 of 2 users to judge have no row, the first is '2'" in message()
    pd.DataFrame({"user_id": [1, 2], "negatives": [[99], [13]]}).to_parquet(path)
    assert "column 'negatives'" in message()
    assert "1 ids are not in" in message()
    pd.DataFrame({"user_id": [1, 2], "negatives": ["13", "14"]}).to_parquet(path)
    assert "must hold lists of item ids" in message()
    pd.DataFrame({"user_id": [1, 2]}).to_parquet(path)
    assert "has no column 'negatives'" in message()
    path.unlink()
    assert "has no published candidates" in message()
    assert "'published_candidates'" not in refusal(random_data(0, part=True), kind="published_candidates")


@pytest.mark.data
def test_popularity_among_the_published_99_gives_the_published_figures() -> None:
    """NeuMF's protocol on MovieLens 1M: hit rate .4535 and NDCG .2543 at 10 for popularity; its ties fell
    otherwise."""
    cut = split(load_dataset("ml-1m-ncf"), SplitSettings(kind="published_candidates"), seed=1).test
    assert cut.among is not None
    assert len(cut.user) == 6_040
    fallback = fallback_order(cut.train.interactions, None)
    engine = recommender_of(Popularity().fit(cut.train, seed=1), fallback, "exclude")
    users = Users.of_rows(cut.user, cut.history)
    report = evaluate(engine, users, cut.targets, metrics=("hit_rate_at_10", "ndcg_at_10"), among=cut.among)
    assert report.interval("hit_rate_at_10").mean == pytest.approx(0.4535, abs=0.001)
    assert report.interval("ndcg_at_10").mean == pytest.approx(0.2543, abs=0.001)


def test_the_title_says_how_many_items_were_drawn_where_there_are_no_more() -> None:
    data = random_log(1, n_users=30, n_items=12, n=150)
    cut = split(data, SplitSettings(kind="leave_last_out", candidates=99), seed=1)
    assert cut.test.among is not None
    drawn = cut.test.among.lengths - cut.test.targets.lengths
    assert (
        f"among {drawn.min()} to {drawn.max()} drawn unseen items (99 were asked for, and there are no more)"
        in cut.title
    )
