"""`evaluate_users`: a run judged on a fixed sample of the people of its part."""

import numpy as np
import pytest

from recsys.errors import SettingError
from recsys.pipelines.console import Steps
from recsys.pipelines.run.question import prepare
from recsys.pipelines.run.settings import load_settings

WORLD = ["world.users=400", "world.items=100"]


def holdout(*assignments: str):
    return prepare(load_settings(None, [*WORLD, *assignments]), Steps(quiet=True)).holdout


def test_a_sample_asks_the_same_question_of_fewer_people():
    whole, part = holdout(), holdout("evaluate_users=50")
    assert len(whole.user) > 100
    assert len(part.user) == len(np.unique(part.user)) == 50
    rows = np.flatnonzero(np.isin(whole.user, part.user))
    np.testing.assert_array_equal(part.user, whole.user[rows])
    for row, at in enumerate(rows):
        np.testing.assert_array_equal(part.targets.row(row), whole.targets.row(at))
        np.testing.assert_array_equal(part.history.items.row(row), whole.history.items.row(at))
    assert len(part.train.interactions) == len(whole.train.interactions)  # learned from everyone


def test_the_seed_names_the_sample_and_a_large_number_means_everyone():
    same, again = holdout("evaluate_users=50"), holdout("evaluate_users=50")
    np.testing.assert_array_equal(same.user, again.user)
    everyone = holdout("evaluate_users=1000000")
    np.testing.assert_array_equal(everyone.user, holdout().user)
    rows = np.searchsorted(everyone.user, same.user)
    assert rows[0] > 0 or rows[-1] < len(everyone.user) - 1 or (np.diff(rows) > 1).any()
    assert rows.mean() == pytest.approx(len(everyone.user) / 2, rel=0.25)  # from all over, not the first


def test_a_sample_of_nobody_is_refused():
    with pytest.raises(SettingError, match="evaluate_users"):
        load_settings(None, ["evaluate_users=0"])
