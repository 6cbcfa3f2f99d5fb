"""What leaks: planted leaks are found and counted as a slow second version counts them, and honest splits
pass."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from recsys.data.check.findings import errors
from recsys.data.split.audit import audit_split, audit_tables, refuse_leaks
from recsys.data.split.holdout import Split, SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError
from recsys.pipelines.cli import main
from recsys.testing.toys import random_log


def log(seed: int, n: int = 800) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    columns = {"user_id": random.integers(0, 30, n), "item_id": random.integers(0, 60, n)}
    return pd.DataFrame({**columns, "timestamp": 1_700_000_000 + np.sort(random.integers(0, 3_000, n))})


def counts(train: pd.DataFrame, test: pd.DataFrame, **options: Any) -> dict[str, int]:
    return {finding.kind: finding.count for finding in audit_tables(train, test, **options)}


def slow(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, int]:
    """Every leak by loops over rows."""
    learned = list(train.itertuples(index=False, name=None))
    asked = list(test.itertuples(index=False, name=None))
    cut = min(t for _, _, t in asked)
    first: dict[int, int] = {}
    for user, _, time in asked:
        first[user] = min(first.get(user, time), time)
    born: dict[int, int] = {}
    for _, item, time in learned:
        born[item] = min(born.get(item, time), time)
    rows, pairs = set(learned), {(user, item) for user, item, _ in learned}
    users = {user for user, _, _ in learned}
    same = sum(row in rows for row in asked)
    counts = {
        "future_in_train": sum(time > cut for _, _, time in learned),
        "own_future_in_train": sum(time > first.get(user, time) for user, _, time in learned),
        "item_from_the_future": sum(time > cut for time in born.values()),
        "duplicate_across": same,
        "target_in_history": sum((user, item) in pairs for user, item, _ in asked) - same,
        "cold_item": sum(item not in born for _, item, _ in asked),
        "cold_user": sum(user not in users for user, _, _ in asked),
    }
    return {kind: count for kind, count in counts.items() if count}


@pytest.mark.parametrize("seed", range(6))
def test_two_tables_leak_what_a_slow_second_version_finds(seed: int) -> None:
    events, random = log(seed), np.random.default_rng(seed)
    drawn = random.random(len(events)) < 0.2
    train, test = events[~drawn], events[drawn].sample(frac=1, random_state=seed)
    train = pd.concat([train[train.item_id != 3], test.iloc[:7]], ignore_index=True)
    train = train[train.user_id != 4]
    assert counts(train, test) == slow(train, test)
    assert {"future_in_train", "own_future_in_train", "duplicate_across", "cold_user"} <= set(
        slow(train, test)
    )


def test_a_cut_at_one_moment_leaks_nothing_but_what_users_had_before() -> None:
    events = log(9)
    late = events.timestamp > 1_700_002_400
    train, test = events[~late], events[late]
    had = set(zip(train.user_id, train.item_id, strict=True))
    new = [pair not in had for pair in zip(test.user_id, test.item_id, strict=True)]
    assert errors(audit_tables(train, test[new])) == []
    repeated = counts(train, test)
    assert repeated["target_in_history"] == len(test) - sum(new) > 0
    assert errors(audit_tables(train, test, repeats=True)) == []


def test_the_first_row_is_that_of_the_file_and_ids_meet_across_types() -> None:
    train = pd.DataFrame({"user_id": ["1", "2", "3"], "item_id": [5, 6, 7], "timestamp": [50, 900, 40]})
    test = pd.DataFrame({"user_id": [1, 2, 3], "item_id": ["9", "6", "8"], "timestamp": [200, 300, 100]})
    by_kind = {finding.kind: finding for finding in audit_tables(train, test)}
    assert (by_kind["future_in_train"].first_row, by_kind["future_in_train"].column) == (2, "train.timestamp")
    assert (by_kind["target_in_history"].first_row, by_kind["target_in_history"].count) == (2, 1)
    assert (by_kind["cold_item"].first_row, by_kind["cold_item"].count) == (1, 2)
    assert "cold_user" not in by_kind


def test_without_times_the_audit_says_what_it_cannot_see() -> None:
    train = pd.DataFrame({"user_id": ["1", "2"], "item_id": ["5", "6"]})
    findings = audit_tables(train, train)
    assert [(finding.level, finding.kind) for finding in findings] == [
        ("warning", "no_times"),
        ("error", "duplicate_across"),
    ]


def honest(seed: int = 1) -> Split:
    return split(random_log(seed, n=900), SplitSettings(), seed=1)


@pytest.mark.parametrize("kind", ["global_time", "later_half"])
@pytest.mark.parametrize("seed", range(3))
def test_our_own_splits_leak_nothing(kind: str, seed: int) -> None:
    data = random_log(seed, n=900)
    assert errors(audit_split(split(data, SplitSettings(kind=kind), seed=seed))) == []
    repeated = split(data, SplitSettings(kind=kind, repeats=True), seed=seed)
    assert errors(audit_split(repeated, repeats=True)) == []
    assert [finding.kind for finding in errors(audit_split(repeated))] == ["target_in_history"] * 2


def with_test(parts: Split, **changes: Any) -> Split:
    return replace(parts, test=replace(parts.test, **changes))


def test_train_from_after_the_cut_is_a_leak_and_refused_unless_allowed() -> None:
    whole = random_log(1, n=900)
    leaking = with_test(honest(), train=whole)
    findings = {finding.kind: finding for finding in errors(audit_split(leaking))}
    assert whole.interactions.time is not None
    late = whole.interactions.time >= leaking.test.now
    assert findings["future_in_train"].count == late.sum() > 0
    assert findings["future_in_train"].first_row == int(np.argmax(late)) + 1
    test = leaking.test
    pairs = set(zip(whole.interactions.user.tolist(), whole.interactions.item.tolist(), strict=True))
    slowly = sum(
        (user, item) in pairs
        for row, user in enumerate(test.user.tolist())
        for item in test.targets.row(row).tolist()
    )
    assert findings["target_in_train"].count == slowly == len(test.targets.values)
    with pytest.raises(
        DataError, match=r"rows have a time after the cut, first row .* split\.allow_leaks=true"
    ):
        refuse_leaks(leaking)
    assert {finding.kind for finding in refuse_leaks(leaking, allow=True)} >= {"future_in_train"}


def test_a_target_in_a_history_and_a_history_from_the_future_are_leaks() -> None:
    parts = honest()
    history, targets = parts.test.history, parts.test.targets
    row = int(np.flatnonzero(history.lengths)[0])
    values = history.items.values.copy()
    values[history.items.offsets[row]] = targets.row(row)[0]
    spoilt = with_test(parts, history=replace(history, items=history.items._replace(values=values)))
    assert [(one.kind, one.count) for one in errors(audit_split(spoilt))] == [("target_in_history", 1)]
    assert parts.test.history.time is not None
    later = parts.test.history.time.copy()
    later[5] = parts.test.now
    spoilt = with_test(parts, history=replace(parts.test.history, time=later))
    assert [(one.kind, one.first_row) for one in errors(audit_split(spoilt))] == [("future_in_history", 6)]


def test_the_command_exits_1_on_a_leak(tmp_path: Path) -> None:
    events = log(4).drop_duplicates(["user_id", "item_id"])
    events.iloc[:300].to_csv(tmp_path / "train.csv", index=False)
    events.iloc[300:].to_csv(tmp_path / "test.csv", index=False)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(main, ["data", "audit", *arguments])

    early, late = str(tmp_path / "train.csv"), str(tmp_path / "test.csv")
    assert run(early, late).exit_code == 0
    assert "no leak found" in run(early, late).stdout
    assert run(late, early).exit_code == 1
    assert "future_in_train" in run(late, early).stdout
    assert run(early).exit_code == 2


def test_a_random_split_invents_on_the_world_what_the_past_alone_cannot_give() -> None:
    from recsys.pipelines.console import Steps
    from recsys.pipelines.run.audit_world import ROWS, audit_world
    from recsys.pipelines.run.settings import load_settings

    settings = load_settings("world", ["world.users=1500", "world.items=400", "model.dim=8"])
    result = audit_world(settings, Steps(quiet=True))
    assert list(result["questions"]) == list(ROWS)
    honest_users, leaking_users = (result["questions"][name]["als"]["users"] for name in ROWS[2:])
    assert honest_users == leaking_users > 100
    assert result["leak_difference"]["low"] > 0
