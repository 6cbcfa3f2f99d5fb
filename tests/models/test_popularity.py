"""The trend of items: what has been had lately, beside all of time."""

import dataclasses

import numpy as np
import pytest

from recsys.encoders.users import Users
from recsys.errors import ModelError
from recsys.models.popularity import trend
from recsys.models.registry import make_model
from recsys.testing.toys import dataset, random_log


def test_trend_is_the_gain_over_all_time_of_what_was_had_lately() -> None:
    """Of 40 events each, item 0 had all long ago, item 1 evenly, item 2 lately; item 3 none."""
    days = np.concatenate([np.zeros(40), np.linspace(0, 200, 40), np.full(40, 200.0)])
    item = np.repeat([0, 1, 2], 40)
    events = dataset(
        np.zeros(120, int), item, 1, 4, time=(1_700_000_000 + days * 86_400).astype(int)
    ).interactions
    trends = trend(events, 10.0)
    recent = np.bincount(item, 0.5 ** ((200 - days) / 10), minlength=4)
    expected = recent.sum() * np.array([1 / 3, 1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(trends, np.log((recent + 3) / (expected + 3)), rtol=1e-4)
    assert trends[0] < trends[1] < trends[3] == 0 < trends[2]
    assert not trend(events, None).any()
    with pytest.raises(ModelError, match="trend_days needs timestamps"):
        trend(dataclasses.replace(events, time=None), 10.0)


def test_what_rises_gains_in_the_score_of_everyone_alike() -> None:
    data = random_log(1)
    with_trend, without = (
        make_model("variational", {"dim": 3, "epochs": 2, "trend_days": days}).fit(data, seed=1)
        for days in (10.0, None)
    )
    everybody = Users.of_rows(np.arange(data.n_users), data.interactions.histories())
    scores = [learned.encoder.encode(everybody)[0] @ learned.items.T for learned in (with_trend, without)]
    rising = trend(data.interactions, 10.0)
    assert rising.std() > 0.1
    np.testing.assert_allclose(
        scores[0] - scores[1], np.tile(rising - rising.mean(), (data.n_users, 1)), atol=1e-3
    )
