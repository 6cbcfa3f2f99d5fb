"""Judging one type of event: what was merely viewed is asked for and answered, what was bought is not again."""

import numpy as np
import pandas as pd
import pytest

from recsys.arrays import I32, Array
from recsys.data.dataset import Dataset
from recsys.data.prepare import PrepareSettings, prepared
from recsys.data.read.tables import dataset_of
from recsys.data.split.audit import audit_holdout
from recsys.data.split.holdout import Holdout, SplitSettings
from recsys.data.split.split import split
from recsys.evaluation.evaluate import evaluate_on
from recsys.models.own_history import OwnHistory
from recsys.pipelines.console import Steps
from recsys.pipelines.run.measure import recommender_for
from recsys.pipelines.run.run import Run
from recsys.pipelines.run.settings import load_settings

BUY = PrepareSettings(target_event="buy")


def shop(n: int = 3_000, users: int = 60, items: int = 40) -> pd.DataFrame:
    """People who buy what they have viewed: each buy follows a view of the same item by the same user."""
    rng = np.random.default_rng(8)
    views = pd.DataFrame({"user_id": rng.integers(0, users, n), "item_id": rng.integers(0, items, n), "event": "view"})
    views["timestamp"] = np.arange(n) * 100
    bought = views[rng.random(n) < 0.3].assign(event="buy")
    bought["timestamp"] += 20_000
    log = pd.concat([views, bought]).sort_values("timestamp", kind="stable").reset_index(drop=True)
    return log.astype({"user_id": str, "item_id": str})


def asked(data: Dataset, holdout: Holdout) -> set[tuple[str, str]]:
    return {
        (data.user_ids[int(user)], data.item_ids[int(item)])
        for row, user in enumerate(holdout.user)
        for item in holdout.targets.row(row)
    }


@pytest.mark.parametrize("repeats", [False, True])
def test_buys_are_asked_for_though_viewed_unless_they_were_bought_before(repeats: bool) -> None:
    log = shop()
    data, _ = prepared(dataset_of(log), BUY)
    holdout = split(data, SplitSettings(repeats=repeats), seed=1).test
    buys = log[log.event == "buy"]
    later = buys[buys.timestamp >= holdout.now]
    earlier = set(
        zip(buys.user_id[buys.timestamp < holdout.now], buys.item_id[buys.timestamp < holdout.now], strict=True)
    )
    slow = set(zip(later.user_id, later.item_id, strict=True)) - (set() if repeats else earlier)
    assert asked(data, holdout) == slow
    viewed = set(zip(log.user_id[log.timestamp < holdout.now], log.item_id[log.timestamp < holdout.now], strict=True))
    assert len(slow & viewed) > len(slow) / 2
    assert holdout.train.interactions.event_names == ("buy", "view")
    assert len(holdout.history.items.values) > len(holdout.had.values) > 0
    assert {one.kind for one in audit_holdout(holdout, "test", repeats=repeats) if one.level == "error"} == set()


def test_a_target_bought_before_is_a_leak_and_one_viewed_before_is_none() -> None:
    data, _ = prepared(dataset_of(shop()), BUY)
    holdout = split(data, SplitSettings(repeats=True), seed=1).test
    leaks = {one.kind: one for one in audit_holdout(holdout, "test") if one.level == "error"}
    had = holdout.had
    both = sum(len(np.intersect1d(had.row(row), holdout.targets.row(row))) for row in range(had.rows))
    assert leaks["target_in_history"].count == both > 0


def test_drawn_candidates_may_have_been_viewed_as_targets_may() -> None:
    data, _ = prepared(dataset_of(shop()), BUY)
    holdout = split(data, SplitSettings(candidates=30), seed=1).test
    assert holdout.among is not None
    viewed = [len(np.intersect1d(row, past)) for row, past in _rows(holdout)]
    assert sum(viewed) > 0
    for row in range(len(holdout.user)):
        drawn = np.setdiff1d(holdout.among.row(row), holdout.targets.row(row))
        assert not len(np.intersect1d(drawn, holdout.had.row(row)))


def _rows(holdout: Holdout) -> list[tuple[Array, I32]]:
    assert holdout.among is not None
    drawn = [np.setdiff1d(holdout.among.row(row), holdout.targets.row(row)) for row in range(len(holdout.user))]
    return [(row, holdout.history.items.row(at)) for at, row in enumerate(drawn)]


def test_the_default_policy_of_a_run_keeps_out_what_was_bought_alone() -> None:
    settings = load_settings(None, ["prepare.target_event=buy"])
    assert settings.seen.stated == {"events": ["buy"]}
    excluding = load_settings(None, ["prepare.target_event=buy", "seen=exclude"])
    assert excluding.seen.stated == "exclude"
    assert load_settings(None, []).seen.stated == "exclude"
    data, _ = prepared(dataset_of(shop()), BUY)
    holdout = split(data, SplitSettings(), seed=1).test
    own = OwnHistory().fit(holdout.train, seed=1)
    found = {
        name: evaluate_on(
            recommender_for(Run(chosen, Steps(), data, holdout, "", 1), own), holdout, metrics=("recall_at_40",)
        ).interval("recall_at_40").mean
        for name, chosen in (("default", settings), ("exclude", excluding))
    }  # fmt: skip
    viewed = sum(
        len(np.intersect1d(holdout.history.items.row(row), holdout.targets.row(row)))
        for row in range(len(holdout.user))
    )
    assert viewed > 0
    assert found["default"] == pytest.approx(1.0)  # all 40 items but those bought before may be answered
    assert found["exclude"] < 0.6
