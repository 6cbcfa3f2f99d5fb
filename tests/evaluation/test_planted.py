"""The share of the attainable gain is what its definition says."""

import numpy as np
import pytest

from recsys.data.planted.truth import oracle_scores
from recsys.data.planted.world import WorldSettings, make_world
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.evaluation.planted import attainable_gain, sample_rows, truths


def test_the_gain_is_zero_at_popularity_one_when_informed_and_linear_between() -> None:
    rng = np.random.default_rng(0)
    popularity, informed = rng.random(500) * 0.1, 0.2 + rng.random(500) * 0.1
    assert attainable_gain(popularity, popularity, informed).mean == 0
    assert attainable_gain(informed, popularity, informed) == pytest.approx((1, 1, 1))
    half = attainable_gain((popularity + informed) / 2, popularity, informed)
    assert half == pytest.approx((0.5, 0.5, 0.5))


def test_the_gain_is_a_ratio_of_means_with_an_interval_around_it() -> None:
    rng = np.random.default_rng(1)
    popularity, informed, model = rng.random((3, 400)) * np.array([[0.1], [0.3], [0.25]])
    gain = attainable_gain(model, popularity, informed)
    assert gain.mean == pytest.approx(
        (model.mean() - popularity.mean()) / (informed.mean() - popularity.mean())
    )
    assert gain.low < gain.mean < gain.high


def test_the_truths_are_judged_on_the_sampled_users_and_never_answer_what_was_seen() -> None:
    world = make_world(WorldSettings(users=400, items=120, events_per_user=15, seed=5))
    holdout = split(world.dataset, SplitSettings(), seed=1).test
    rows = sample_rows(holdout, seed=1)
    assert (holdout.history.lengths[rows] > 0).all()
    assert len(rows) == np.count_nonzero(holdout.history.lengths)
    reports = truths(world, holdout, rows, ("ndcg_at_10",))
    part = holdout.take(rows)
    scores = oracle_scores(world, part.user, part.now)
    expected = []
    for row in range(len(rows)):  # the slow, obvious way
        ranked = [
            item
            for item in np.argsort(-scores[row], kind="stable")
            if item not in set(part.history.items.row(row))
        ][:10]
        wanted = set(part.targets.row(row).tolist())
        gained = sum(1 / np.log2(rank + 2) for rank, item in enumerate(ranked) if item in wanted)
        expected.append(gained / sum(1 / np.log2(rank + 2) for rank in range(min(10, len(wanted)))))
    np.testing.assert_allclose(reports["oracle"].values["ndcg_at_10"], expected)
    assert reports["oracle"].values["ndcg_at_10"].mean() > reports["informed"].values["ndcg_at_10"].mean()
