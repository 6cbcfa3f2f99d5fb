"""The bridge to published tables: popularity on gowalla's published split, over its full catalogue."""

import numpy as np
import pytest

from recsys.data.read.load import load_dataset
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.encoders.users import Users
from recsys.evaluation.evaluate import evaluate
from recsys.models.popularity import Popularity, fallback_order
from recsys.retrieval.recommender import recommender_of


@pytest.mark.data
def test_popularity_on_gowalla_gives_the_published_figures_to_four_digits() -> None:
    cut = split(load_dataset("gowalla"), SplitSettings(), seed=1)
    test, train = cut.test, cut.test.train
    assert (len(test.user), train.n_items) == (29_858, 40_981)
    assert (len(train.interactions), len(test.targets.values)) == (810_128, 217_242)
    engine = recommender_of(
        Popularity().fit(train, seed=1), fallback_order(train.interactions, None), seen="exclude"
    )
    report = evaluate(
        engine, Users.of_rows(test.user, test.history), test.targets, metrics=("recall_at_20", "ndcg_at_20")
    )
    assert report.sources() == {"known": 29_858}
    assert {name: round(float(np.mean(values)), 4) for name, values in report.values.items()} == {
        "recall_at_20": 0.0416,
        "ndcg_at_20": 0.0317,
    }
