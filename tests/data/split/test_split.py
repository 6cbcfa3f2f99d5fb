"""Splits, against slow second versions: what may be learned from, who is asked, and for what."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.read.load import load_dataset
from recsys.data.read.tables import dataset_of
from recsys.data.split.cuts import SPLITS
from recsys.data.split.holdout import Split, SplitSettings
from recsys.data.split.moments import refuse_global_time
from recsys.data.split.split import split
from recsys.errors import DataError, SettingError
from recsys.testing.toys import dataset
from tests.helpers.splits import Expected, check, random_data, refusal, rows_of, slowly


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("repeats", [False, True])
def test_the_global_time_split_equals_a_slow_one(seed: int, repeats: bool) -> None:
    data = random_data(seed)
    rows = rows_of(data.interactions)
    times = sorted(time for _, _, time in rows)
    at_validation, at_test = (int(np.ceil(np.quantile(times, share))) for share in (0.7, 0.85))
    settings = SplitSettings(kind="global_time", validation=0.15, test=0.15, repeats=repeats)
    cut = split(data, settings, seed=1)
    for holdout, moment, end in (
        (cut.validation, at_validation, at_test),
        (cut.test, at_test, times[-1] + 1),
    ):
        past = [row for row in rows if row[2] < moment]
        future = [row for row in rows if moment <= row[2] < end]
        assert rows_of(holdout.train.interactions) == past
        assert holdout.now == moment
        check(holdout, slowly(past, future, repeats), None)
        assert holdout.history.time is not None
        assert holdout.history.time.max() < moment
        own = {user: [time for who, _, time in past if who == user] for user in holdout.user.tolist()}
        assert holdout.history.time.tolist() == [time for user in holdout.user.tolist() for time in own[user]]
    assert "global time split" in cut.title
    assert ("repeats count" in cut.title) == repeats


def test_events_of_the_moment_of_the_cut_are_judged_and_never_learned() -> None:
    frame = pd.DataFrame(
        {
            "user_id": list("aaaabbbbcd"),
            "item_id": list("0123456789"),
            "timestamp": [1, 2, 3, 4, 5, 6, 7, 9, 9, 9],
        }
    )
    cut = split(dataset_of(frame), SplitSettings(validation=0.2, test=0.2), seed=1)
    assert (cut.validation.now, cut.test.now) == (7, 9)
    assert len(cut.validation.train.interactions) == 6
    assert [cut.test.train.user_ids[user] for user in cut.test.user] == ["b", "c", "d"]
    assert cut.test.history.lengths.tolist() == [3, 0, 0]
    assert cut.test.known.tolist() == [True, False, False]
    assert cut.test.targets.values.tolist() == [7, 8, 9]
    assert cut.test.take(np.array([2, 0])).known.tolist() == [False, True]


def test_taking_rows_of_a_holdout_keeps_what_belongs_together() -> None:
    whole = split(random_data(1), SplitSettings(), seed=1).test
    rows = np.array([3, 0, 5])
    part = whole.take(rows)
    assert whole.history.time is not None
    assert part.history.time is not None
    for at, row in enumerate(rows):
        assert part.user[at] == whole.user[row]
        assert part.known[at] == whole.known[row]
        assert part.history.items.row(at).tolist() == whole.history.items.row(row).tolist()
        assert part.targets.row(at).tolist() == whole.targets.row(row).tolist()
        start, end = whole.history.items.offsets[row : row + 2]
        mine = slice(*part.history.items.offsets[at : at + 2])
        assert part.history.time[mine].tolist() == whole.history.time[start:end].tolist()
    assert part.now == whole.now


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("repeats", [False, True])
def test_the_later_half_split_equals_a_slow_one(seed: int, repeats: bool) -> None:
    data = random_data(seed)
    rows = rows_of(data.interactions)
    cut = int(np.ceil(np.quantile([time for _, _, time in rows], 0.6)))
    before, later = [row for row in rows if row[2] < cut], [row for row in rows if row[2] >= cut]
    past, future = list(before), []
    for user in range(data.n_users):
        own = [row for row in later if row[0] == user]
        half = (len(own) + 1) // 2
        past += own[:half]
        future += own[half:]
    expected = slowly(past, future, repeats)
    parts = split(data, SplitSettings(kind="later_half", repeats=repeats), seed=7)
    tuned, judged = set(parts.validation.user.tolist()), set(parts.test.user.tolist())
    assert not tuned & judged
    assert tuned | judged == set(expected.targets)
    assert abs(len(tuned) - len(judged)) <= 1
    for holdout in (parts.validation, parts.test):
        users = set(holdout.user.tolist())
        mine = Expected(*({user: of[user] for user in users} for of in (expected.history, expected.targets)))
        check(holdout, mine, trained=set())
        assert rows_of(holdout.train.interactions) == before
    assert "later-half split" in parts.title


def test_the_first_half_of_later_events_is_brought_and_the_odd_one_too() -> None:
    frame = pd.DataFrame(
        {"user_id": ["old"] * 12 + ["new"] * 5 + ["once"] * 3, "item_id": [f"{n}" for n in range(20)]}
    )
    frame["timestamp"] = range(20)
    both = split(dataset_of(frame), SplitSettings(kind="later_half", cut=0.6), seed=1)
    asked = [
        (
            holdout.train.user_ids[user],
            holdout.history.items.row(row).tolist(),
            holdout.targets.row(row).tolist(),
        )
        for holdout in (both.validation, both.test)
        for row, user in enumerate(holdout.user)
    ]
    assert sorted(asked) == [("new", [12, 13, 14], [15, 16]), ("once", [17, 18], [19])]


def test_the_seed_of_the_later_half_decides_who_tunes_and_nothing_else() -> None:
    data, settings = random_data(0), SplitSettings(kind="later_half")
    first, again, other = (split(data, settings, seed=seed) for seed in (1, 1, 2))
    assert first.test.user.tolist() == again.test.user.tolist()
    assert first.test.user.tolist() != other.test.user.tolist()


def test_published_parts_are_respected_and_validation_joins_the_refit() -> None:
    data = random_data(3, part=True)
    assert data.published is not None
    rows, part = rows_of(data.interactions), data.published.part.tolist()
    cut = split(data, SplitSettings(), seed=1)
    learned = [row for row, of in zip(rows, part, strict=True) if of == TRAIN]
    refit = [row for row, of in zip(rows, part, strict=True) if of != TEST]
    validation = [row for row, of in zip(rows, part, strict=True) if of == VALIDATION]
    judged = [row for row, of in zip(rows, part, strict=True) if of == TEST]
    assert rows_of(cut.validation.train.interactions) == learned
    assert rows_of(cut.test.train.interactions) == refit
    check(cut.validation, slowly(learned, validation, False), None)
    check(cut.test, slowly(refit, judged, False), None)
    assert "published split (drawn), not by time: it leaks" in cut.title
    assert (cut.test.now, cut.test.history.time) == (None, None)


def test_where_no_validation_was_published_a_tenth_of_train_is_drawn() -> None:
    data = random_data(3, part=True)
    assert data.published is not None
    data.published.part[data.published.part == VALIDATION] = TRAIN
    n_train = int((data.published.part == TRAIN).sum())
    cut, again, other = (split(data, SplitSettings(), seed=seed) for seed in (1, 1, 2))
    drawn = n_train - len(cut.validation.train.interactions)
    assert 0.05 * n_train < drawn < 0.15 * n_train
    assert len(cut.test.train.interactions) == n_train
    assert rows_of(cut.validation.train.interactions) == rows_of(again.validation.train.interactions)
    assert rows_of(cut.validation.train.interactions) != rows_of(other.validation.train.interactions)


def test_times_make_the_global_time_split_the_default() -> None:
    assert "global time" in split(random_data(0), SplitSettings(), seed=1).title


def test_what_cannot_be_split_is_refused_with_the_reason() -> None:
    timeless = dataset_of(pd.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"]}), name="shop")
    at_once = dataset_of(
        pd.DataFrame({"user_id": ["a"] * 9, "item_id": ["x"] * 9, "timestamp": [5] * 9}), name="shop"
    )
    same = pd.DataFrame({"user_id": ["a"] * 20, "item_id": ["x"] * 20, "timestamp": range(20)})
    assert "shop has neither timestamps nor a published split. Name" in refusal(timeless)
    assert "'global_time' needs timestamps, and shop has none" in refusal(timeless, kind="global_time")
    assert "'later_half' needs timestamps, and shop has none" in refusal(timeless, kind="later_half")
    with pytest.raises(SettingError, match="'global_time', 'later_half'"):
        SplitSettings.build({"kind": "by_luck"}, where="test")
    assert "shop has neither timestamps nor" not in refusal(at_once)
    assert "shop is too small or too short in time to cut twice: 9 events in 0 seconds" in refusal(at_once)
    assert "shop has no event before the cut at 60%" in refusal(at_once, kind="later_half")
    assert "no user has anything to be asked for that is new to them" in refusal(dataset_of(same))
    nothing = at_once.having(at_once.interactions.where(slice(0)))
    for kind in ("global_time", "later_half"):
        assert "shop has no events to split" in refusal(nothing, kind=kind)
    assert len(split(dataset_of(same), SplitSettings(repeats=True), seed=1).test.user) == 1


def test_a_split_that_leaks_where_it_promises_not_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A random split that calls itself one by time."""
    data = random_data(0)
    assert data.interactions.time is not None

    def leaking(data: Dataset, settings: SplitSettings, seed: int) -> Split:
        honest = SPLITS["later_half"](data, settings, seed)
        moment = int(np.median(honest.test.train.interactions.time))  # type: ignore[arg-type]
        return Split("by time", *(replace(part, now=moment) for part in (honest.validation, honest.test)))

    monkeypatch.setitem(SPLITS, "global_time", leaking)
    said = refusal(data, kind="global_time")
    assert "a time after the cut" in said
    assert "allow_leaks=true" in said
    allowed = split(data, SplitSettings(kind="global_time", allow_leaks=True), seed=1)
    assert allowed.title == "by time"


def test_a_published_split_needs_both_sides() -> None:
    data = random_data(0, part=True)
    assert data.published is not None
    data.published.part[:] = TRAIN
    assert "needs events to train on and to judge on" in refusal(data)


def test_shares_that_leave_nothing_to_learn_from_are_refused_before_work_starts() -> None:
    with pytest.raises(
        SettingError, match=r"'test' in run\.toml is refused: .*nothing is left to learn from.*got 0\.5"
    ):
        SplitSettings.build({"validation": 0.5, "test": 0.5}, where="run.toml")
    with pytest.raises(SettingError, match="'cut'"):
        SplitSettings.build({"cut": 1.0}, where="run.toml")


def counts(cut: Split) -> tuple[int, int]:
    return int((cut.test.history.lengths > 0).sum()), len(cut.test.user)


@pytest.mark.data
@pytest.mark.parametrize(("name", "warm", "users"), [("ml-latest-small", 27, 74), ("ml-100k", 90, 166)])
def test_few_users_of_the_film_sets_are_warm_under_a_split_by_time(name: str, warm: int, users: int) -> None:
    cut = split(load_dataset(name), SplitSettings(), seed=1)
    assert counts(cut) == (warm, users)
    assert cut.test.known.sum() == warm


@pytest.mark.data
def test_the_two_files_of_check_ins_are_joined_and_split_by_time() -> None:
    data = load_dataset("poi-gowalla")
    assert (data.n_users, data.n_items, len(data.interactions)) == (8_685, 13_812, 507_197)
    cut = split(data, SplitSettings(), seed=1)
    assert "global time split" in cut.title
    learned = cut.test.train.interactions
    assert learned.time is not None
    assert learned.time.max() < cut.test.now
    assert 0.89 < len(learned) / len(data.interactions) < 0.91


@pytest.mark.data
def test_published_sequences_without_times_use_their_own_parts() -> None:
    data = load_dataset("s3rec-lastfm")
    cut = split(data, SplitSettings(repeats=True), seed=1)
    assert "column split" in cut.title
    assert (data.n_users, data.n_items, len(data.interactions)) == (1_090, 3_646, 52_551)
    assert cut.test.targets.lengths.tolist() == [1] * 1_090


@pytest.mark.parametrize("seed", range(40))
def test_what_the_default_split_refuses_is_known_without_it(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, users, items = random.integers(3, 90), random.integers(1, 6), random.integers(1, 30)
    user, item = (random.integers(0, size, n).astype(np.int32) for size in (users, items))
    time = random.integers(0, random.choice([3, 10, 10**6]), n)
    data = dataset(user, item, users, items, time=time)
    said = []
    for ask in (
        lambda: split(data, SplitSettings(), seed=1),
        lambda: refuse_global_time("toy", user, item, time),
    ):
        try:
            ask()
            said.append("")
        except DataError as error:
            said.append(str(error))
    assert said[0] == said[1]
