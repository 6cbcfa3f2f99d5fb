"""A validation part drawn in clumps: what a stretch of time looks like, and what it must not do to the test
part."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.data.dataset import TEST, TRAIN, VALIDATION, Dataset, Published
from recsys.data.interactions import Interactions
from recsys.data.split.clumped import draw_clumps
from recsys.data.split.holdout import SplitSettings
from recsys.data.split.split import split
from recsys.testing.toys import dataset

PLACES, TOWNS, PEOPLE = 40, 5, 400


@pytest.fixture(scope="module")
def journeys() -> Dataset:
    """People who each saw a dozen places of three towns; the first places of a town are its famous ones."""
    rng = np.random.default_rng(0)
    fame = 1 / np.arange(1, PLACES + 1) ** 0.7
    user, item = [], []
    for person in range(PEOPLE):
        for town in rng.choice(TOWNS, 3, replace=False):
            seen = rng.choice(PLACES, 12, replace=False, p=fame / fame.sum())
            user += [person] * 12
            item += (town * PLACES + seen).tolist()
    return dataset(np.array(user), np.array(item), PEOPLE, TOWNS * PLACES)


def test_each_user_gives_the_share_and_the_seed_decides_which(journeys: Dataset) -> None:
    events = journeys.interactions
    first, again, other = (draw_clumps(events, 0.25, seed=seed) for seed in (1, 1, 2))
    assert np.bincount(events.user[first]).tolist() == [9] * PEOPLE
    assert first.tolist() == again.tolist() != other.tolist()


def test_the_part_holds_whole_visits_where_a_random_one_holds_a_bit_of_each(journeys: Dataset) -> None:
    events = journeys.interactions
    drawn = draw_clumps(events, 0.25, seed=1)
    random = np.random.default_rng(1).permutation(drawn)
    visit = events.user * TOWNS + events.item // PLACES

    def of_one_town(part: np.ndarray) -> float:
        held = np.bincount(visit[part], minlength=PEOPLE * TOWNS).reshape(PEOPLE, TOWNS)
        return float((held.max(axis=1) / np.maximum(held.sum(axis=1), 1)).mean())

    assert of_one_town(random) < 0.6
    assert of_one_town(drawn) > 0.75


def test_famous_items_and_whole_items_stand_out_in_the_part(journeys: Dataset) -> None:
    events = journeys.interactions
    counts = events.item_counts()
    ratio, spread = [], []
    for seed in range(5):
        drawn = draw_clumps(events, 0.25, seed=seed)
        ratio.append(counts[events.item[drawn]].mean() / counts[events.item].mean())
        share = np.bincount(events.item[drawn], minlength=len(counts)) / np.maximum(counts, 1)
        famous = counts >= 30
        spread.append(float(np.mean((share[famous] - 0.25) ** 2 * counts[famous] / (0.25 * 0.75))))
    assert np.mean(ratio) > 1.02
    assert np.mean(spread) > 2  # 1 or less where it is a draw


def test_the_events_of_a_pair_stay_together_and_everyone_keeps_something(journeys: Dataset) -> None:
    once = journeys.interactions
    twice = Interactions(np.tile(once.user, 2), np.tile(once.item, 2), once.n_users, once.n_items)
    drawn = draw_clumps(twice, 0.9, seed=1)
    assert drawn[: len(once)].tolist() == drawn[len(once) :].tolist()
    assert np.unique(twice.user[~drawn]).tolist() == list(range(PEOPLE))
    single = Interactions(np.arange(3, dtype=np.int32), np.zeros(3, np.int32), 3, 1)
    assert not draw_clumps(single, 0.9, seed=1).any()


def test_it_takes_the_place_of_the_published_part_and_leaves_the_test_part_alone(journeys: Dataset) -> None:
    part = np.random.default_rng(3).choice(
        [TRAIN, VALIDATION, TEST], len(journeys.interactions), p=[0.7, 0.1, 0.2]
    )
    data = replace(journeys, published=Published(part.astype(np.int8), "drawn"))
    plain = split(data, SplitSettings(), seed=1)
    parts = split(data, SplitSettings(clumped=0.2), seed=1)
    assert parts.title == plain.title + "; tuned on 20% of train in clumps"
    refit, judged = parts.test.train.interactions, parts.test.targets
    assert (refit.user.tolist(), refit.item.tolist()) == (
        plain.test.train.interactions.user.tolist(),
        plain.test.train.interactions.item.tolist(),
    )
    assert judged.values.tolist() == plain.test.targets.values.tolist()
    held = len(refit) - len(parts.validation.train.interactions)
    assert held == len(parts.validation.targets.values)
    assert abs(held / len(refit) - 0.2) < 0.02
