"""YouTube's network as a preset: its layer is the users' alone, and the age of examples is in learning
alone."""

import numpy as np
import pytest

from recsys.arrays import Ragged
from recsys.data.dataset import Dataset
from recsys.models.registry import make_model
from recsys.models.towers.youtube_dnn import YouTubeDNNFit, YouTubeDNNSettings
from recsys.retrieval.embeddings import Embeddings
from recsys.testing.learners import answers, scores_of
from recsys.testing.toys import dataset, random_log
from recsys.training.towers.bag_net import AgedBagNet

SMALL = {"dim": 8, "hidden": 8, "epochs": 4, "batch_size": 256}


def fit(data: Dataset, seed: int = 1, **more: object) -> Embeddings:
    learned = make_model("youtube_dnn", SMALL | more).fit(data, seed=seed)
    assert isinstance(learned, Embeddings)
    return learned


def test_the_tower_of_users_has_a_layer_and_that_of_items_has_none() -> None:
    fit = YouTubeDNNFit(YouTubeDNNSettings(**SMALL), random_log(1), 1)
    assert isinstance(fit.user_tower, AgedBagNet)
    assert {"first", "second", "age"} <= fit.user_tower.whole.keys()
    assert not {"first", "second", "age"} & fit.item_tower.whole.keys()
    plain = YouTubeDNNFit(YouTubeDNNSettings(**SMALL, example_age=False), random_log(1), 1)
    assert "age" not in plain.user_tower.whole


def test_without_times_the_age_does_nothing() -> None:
    log = random_log(2).interactions
    data = dataset(log.user, log.item, 40, 30)
    with_age, without = (fit(data, example_age=one) for one in (True, False))
    assert answers(with_age, data) == answers(without, data)
    timed = random_log(2)
    assert answers(fit(timed), timed) != answers(fit(timed, example_age=False), timed)


def test_the_age_is_that_of_the_event_and_none_in_the_end() -> None:
    fit = YouTubeDNNFit(YouTubeDNNSettings(**SMALL), random_log(1), 1)
    events, tower = fit.events, fit.user_tower
    assert isinstance(tower, AgedBagNet)
    assert events.past.time is not None
    tower.whole["age"] += 1.0
    at = np.arange(0, len(events), 7)
    inputs = fit._users(at, np.random.default_rng(1))
    tower.free = tower.whole
    zero = tower.rows(np.arange(1)).detach()[:1] * 0  # (1, dim)
    moved = tower.moved_by_when(zero.expand(len(at), -1), inputs).numpy()[:, 0]
    share = (tower.last - events.past.time[at]) / (tower.last - tower.first)
    np.testing.assert_allclose(moved, share + np.sqrt(share), rtol=1e-4, atol=1e-5)
    assert share.min() >= 0
    assert share.max() <= 1


def fashion(seed: int) -> Dataset:
    """People of equal histories, half of whose last items were the first ten in the first half of the log,
    and are the other ten since."""
    rng = np.random.default_rng(seed)
    n, each = 400, 5
    time = np.sort(rng.integers(10**7, size=n * each))
    late = time > 5 * 10**6
    return dataset(
        rng.integers(n, size=n * each), rng.integers(10, size=n * each) + 10 * late, n, 20, time=time
    )


def test_with_the_age_what_is_popular_is_so_as_of_today(certain_seed: int) -> None:
    """Of someone who had one item of each half: the margin of what is popular now over what was."""
    data, margin = fashion(certain_seed), {}
    for age in (True, False):
        learned = fit(data, certain_seed, epochs=15, learning_rate=0.03, example_age=age)
        scores = scores_of(learned, Ragged.of([[0, 10]]), 20)[0]
        margin[age] = scores[11:].mean() - scores[1:10].mean()
    assert margin[True] > 0
    assert margin[True] > margin[False]


@pytest.mark.parametrize("change", [{"user_ids": True}, {"hidden": 0}, {"similarity": "cosine"}])
def test_each_choice_may_be_another(change: dict[str, object]) -> None:
    data = random_log(3)
    assert answers(fit(data, **change), data) != answers(fit(data), data)
