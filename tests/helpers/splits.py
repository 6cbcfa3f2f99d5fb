"""Slow second versions of the splits, and data to cut."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset
from recsys.data.interactions import Interactions
from recsys.data.read.tables import dataset_of
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.errors import DataError

Row = tuple[int, int, int]  # user, item, time


def rows_of(events: Interactions) -> list[Row]:
    times = [0] * len(events) if events.time is None else events.time.tolist()
    return list(zip(events.user.tolist(), events.item.tolist(), times, strict=True))


def random_data(seed: int, part: bool = False) -> Dataset:
    rng = np.random.default_rng(seed)
    n = 600
    columns = {"user_id": rng.integers(0, 60, n).astype(str), "item_id": rng.integers(0, 40, n).astype(str)}
    if not part:
        columns["timestamp"] = np.sort(rng.integers(1_000, 1_400, n))  # many ties
    codes = rng.choice([TRAIN, VALIDATION, TEST], n, p=[0.7, 0.1, 0.2]) if part else None
    return dataset_of(pd.DataFrame(columns), part=codes, part_name="drawn", name="random")


@dataclass
class Expected:
    """A holdout the slow way: for each asked user the history, and the set of targets."""

    history: dict[int, list[int]]
    targets: dict[int, set[int]]


def slowly(past: list[Row], future: list[Row], repeats: bool) -> Expected:
    history: dict[int, list[int]] = {}
    targets: dict[int, set[int]] = {}
    for user, item, _ in past:
        history.setdefault(user, []).append(item)
    for user, item, _ in future:
        if repeats or item not in history.get(user, []):
            targets.setdefault(user, set()).add(item)
    return Expected({user: history.get(user, []) for user in targets}, targets)


def check(holdout: Holdout, expected: Expected, trained: set[int] | None) -> None:
    """trained: the users whom the learner saw; None = whoever occurs in the train part."""
    users = holdout.user.tolist()
    assert users == sorted(expected.targets)
    assert [set(holdout.targets.row(row).tolist()) for row in range(len(users))] == [
        expected.targets[u] for u in users
    ]
    assert holdout.targets.lengths.tolist() == [len(expected.targets[user]) for user in users]
    assert [holdout.history.items.row(row).tolist() for row in range(len(users))] == [
        expected.history[u] for u in users
    ]
    seen = set(holdout.train.interactions.user.tolist()) if trained is None else trained
    assert holdout.known.tolist() == [user in seen for user in users]


def refusal(data: Dataset, **settings: object) -> str:
    with pytest.raises(DataError) as caught:
        split(data, SplitSettings.build(settings, where="test"), seed=1)
    return str(caught.value)
